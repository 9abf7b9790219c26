"""IT users: created, edited, made inactive. Nobody is deleted: what people did stays readable."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import password_validation
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from audit import log
from lifetime import changes, local_passwords
from lifetime.changes import Author, Refused
from lifetime.models import LoginCounter, Role, ServiceAccount, User

EDITABLE = ("name", "username", "email", "role", "is_active")
LABELS = {"email": "e-mail address", "role": "default role", "is_active": "active"}


def clean_line(text: str, field: str, *, longest: int, needed: bool = True) -> str:
    """The text, trimmed, when it is one line of this length at most; Refused otherwise."""
    text, label = text.strip(), LABELS.get(field, field)
    if needed and not text:
        raise Refused(f"The {label} is missing.", field=field)
    if len(text) > longest:
        raise Refused(f"The {label} has {len(text)} characters; {longest} at most.", field=field)
    if not text.isprintable():
        raise Refused(f"Write the {label} in one line, without control characters.", field=field)
    return text


@transaction.atomic
def create(
    *, username: str, name: str, email: str, role: Role, by: Author, password: str | None = None, is_active: bool = True
) -> User:
    """Create a person. Without a password they log in through the external provider only."""
    changes.one_at_a_time()
    user = User(username=username, name=name, email=email, role=role, is_active=is_active)
    _check(user)
    _refuse_taken_email(user)
    changes.refuse_above_own(by, [role], field="role")
    _set_password(user, password)
    user.save()
    changes.deliver()
    details = {"role": str(role), "email": user.email}
    log.record(f"Created user '{user.name}' ({user.username})", user.audit_object, by=by.actor, details=details)
    return user


@transaction.atomic
def edit(user: User, values: Mapping[str, Any], *, by: Author, password: str | None = None) -> User:
    """Change what is given (EDITABLE) of a person and leave the rest; one audit entry per detail."""
    changes.one_at_a_time()
    locked = User.objects.select_for_update(no_key=True, of=("self",)).select_related("role").get(pk=user.pk)
    before = {name: getattr(locked, name) for name in EDITABLE}
    for name in values.keys() & set(EDITABLE):
        setattr(locked, name, values[name])
    _check(locked)
    wanted = {name: value for name in EDITABLE if (value := getattr(locked, name)) != before[name]}
    if "email" in wanted:
        _refuse_taken_email(locked)
    _refuse_own(locked, wanted, by)
    # Whoever gives somebody a password, another role or an active account can act with that role.
    if wanted.keys() & {"role", "is_active", "username", "email"} or password:
        concerned = [before["role"], *([wanted["role"]] if "role" in wanted else [])]
        changes.refuse_above_own(by, concerned, field="role" if "role" in wanted else None)
    if password:
        _set_password(locked, password)
    if not wanted and not password:
        return locked
    locked.save(update_fields=[*wanted, *(["password"] if password else [])])
    if wanted.keys() & {"role", "is_active"}:
        refuse_without_administrator()
    changes.deliver()
    entries = [_entry(locked, name, before[name], value, by) for name, value in wanted.items()]
    if password:
        message = f"Set a new password for user '{locked.name}' ({locked.username})"
        entries.append(log.Entry(message=message, on=locked.audit_object, by=by.actor))
    log.record_all(entries)
    return locked


def unblock(user: User, *, by: Author) -> bool:
    """Forget the failed log-ins of a person, from wherever they came. Whether there were any."""
    with transaction.atomic():
        counters = LoginCounter.objects.filter(username=user.username.upper().lower())
        forgotten, _ = counters.delete()
        if forgotten:
            message = f"Unblocked user '{user.name}' ({user.username}) after failed log-ins"
            log.record(message, user.audit_object, by=by.actor)
    return bool(forgotten)


def refuse_without_administrator() -> None:
    """Refuse a change, made already in this transaction, after which nobody could undo it."""
    if not User.objects.filter(is_active=True, role__manage_infrastructure_and_users=True).exists():
        raise Refused(
            "Nobody would be left who may manage infrastructure and users. Give somebody else that right first."
        )
    if local_passwords.is_way_in_missing():
        raise Refused(
            "Nobody who may manage infrastructure and users would be left with a password here, for when the provider "
            "fails by which people log in. Give another administrator a password first."
        )


def refuse_taken_username(username: str, *, except_for: User | ServiceAccount | None = None) -> None:
    """Refuse a username that a person or a service account has, whatever its case."""
    for model in (User, ServiceAccount):
        others = model._default_manager.filter(username__iexact=username)
        if isinstance(except_for, model):
            others = others.exclude(pk=except_for.pk)
        if others.exists():
            whose = "a person" if model is User else "a service account"
            raise Refused(f"The username {username} is taken by {whose}.", field="username")


def clean_username(text: str) -> str:
    username = clean_line(User.normalize_username(text), "username", longest=150)
    try:
        UnicodeUsernameValidator()(username)
    except ValidationError:
        raise Refused("A username has letters, digits and @ . + - _ only.", field="username") from None
    return username


def _check(user: User) -> None:
    user.name = clean_line(user.name, "name", longest=150)
    user.username = clean_username(user.username)
    user.email = User.objects.normalize_email(clean_line(user.email, "email", longest=254))
    try:
        validate_email(user.email)
    except ValidationError:
        raise Refused(f"{user.email} is not an e-mail address.", field="email") from None
    refuse_taken_username(user.username, except_for=user)


def _refuse_taken_email(user: User) -> None:
    """People log in by it, where a provider says who they are."""
    if User.objects.filter(email__iexact=user.email).exclude(pk=user.pk).exists():
        raise Refused(f"Somebody else has the e-mail address {user.email}.", field="email")


def _set_password(user: User, password: str | None) -> None:
    if password:
        try:
            password_validation.validate_password(password, user)
        except ValidationError as error:
            raise Refused(" ".join(error.messages), field="password") from None
    user.set_password(password)


def _refuse_own(user: User, wanted: Mapping[str, Any], by: Author) -> None:
    if not by.is_(user):
        return
    if "role" in wanted:
        raise Refused("You cannot change your own role. Ask another administrator.", field="role")
    if wanted.get("is_active") is False:
        raise Refused("You cannot make yourself inactive. Ask another administrator.", field="is_active")


def _entry(user: User, name: str, before: Any, after: Any, by: Author) -> log.Entry:
    who = f"user '{user.name}' ({user.username})"
    if name == "is_active":
        message = f"Made {who} {'active' if after else 'inactive'}"
    else:
        message = f"Changed {LABELS.get(name, name)} of {who} from '{before}' to '{after}'"
    return log.Entry(message=message, on=user.audit_object, by=by.actor)
