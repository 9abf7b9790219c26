"""What is decided about people before an environment is registered: what roles may do there, and whom to take over.

The check of the connection reads whom the environment knows. Who is known here already stays as they are; of the others
people choose whom to import. Everything is kept with the proposal and applied in the transaction that registers it.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models.functions import Upper
from pydantic import BaseModel

from audit import log
from environments import environment_api
from environments.gate import Answer, Rejected
from environments.models import Environment, Registration, RegistrationDraft
from lifetime import changes, people, roles
from lifetime.changes import Author, Refused
from lifetime.models import Level, Role, ServiceAccount, User
from lifetime.permissions import Rights, default_rights

MOST_PEOPLE = 2000
STEP = "GET /permissions"


class ChoicesRefused(Exception):
    """Nothing was stored. `reasons` say what is wrong, by the id of the newcomer."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(" ".join(reasons.values()))
        self.reasons = reasons


# What the environment told


class _Role(BaseModel):
    key: str
    name: str = ""


class _Person(BaseModel):
    username: str
    name: str | None = ""
    email: str | None = ""
    is_active: bool = True
    role_key: str | None = None


class _Permissions(BaseModel):
    roles: list[_Role] = []
    users: list[_Person] = []


def told(answer: Answer) -> dict[str, Any]:
    """The fields of the draft that say whom the environment knows; when it does not say so properly, why not."""
    try:
        found = environment_api.read(answer, _Permissions, step=STEP)
    except Rejected as trouble:
        return not_told(str(trouble))
    names = {role.key: role.name for role in found.roles}
    known = [
        {
            "username": _shown(one.username, 150),
            "name": _shown(one.name or one.username, 150),
            "email": _shown(one.email or "", 254),
            "is_active": one.is_active,
            "role": _shown(names.get(one.role_key or "", ""), 100),
        }
        for one in found.users[:MOST_PEOPLE]
    ]
    return {"people": known, "people_message": "", "people_left_out": max(len(found.users) - MOST_PEOPLE, 0)}


def not_told(why: str) -> dict[str, Any]:
    return {"people": [], "people_message": why[:500], "people_left_out": 0}


def _shown(text: str, longest: int) -> str:
    return "".join(one if one.isprintable() else " " for one in text).strip()[: longest + 1]


# Roles and permissions


def levels(draft: RegistrationDraft) -> list[tuple[Role, Rights]]:
    """What each role will be allowed in the environment: what was chosen, else its default there."""
    found = Role.objects.order_by("-is_built_in", "name", "pk")
    return [(role, _chosen_rights(draft, role) or default_rights(role, draft.environment)) for role in found]


def _chosen_rights(draft: RegistrationDraft, role: Role) -> Rights | None:
    chosen = draft.levels.get(str(role.key))
    if chosen is None or role.is_administrator:
        return None
    return Rights(Level(chosen["level"]), chosen["create_applications"], chosen["add_system_dependencies"])


def choose_levels(environment: Environment, wanted: Mapping[Role, Rights], *, by: Author) -> None:
    """Keep what roles shall be allowed in a proposed environment; raises changes.Refused."""
    with transaction.atomic():
        draft = _locked(environment)
        draft.levels |= {
            str(role.key): {
                "level": int(rights.level),
                "create_applications": rights.create_applications,
                "add_system_dependencies": rights.add_system_dependencies,
            }
            for role, rights in wanted.items()
            if not role.is_administrator
        }
        with transaction.atomic():  # a rehearsal: what would be refused in the end is refused now
            _apply_levels(draft, by)
            transaction.set_rollback(True)
        draft.save(update_fields=["levels"])


def _apply_levels(draft: RegistrationDraft, by: Author) -> None:
    for role in Role.objects.filter(key__in=draft.levels).order_by("pk"):
        rights = _chosen_rights(draft, role)
        if rights is not None:
            try:
                roles.edit(role, {}, {draft.environment: rights}, by=by)
            except Refused as refusal:
                raise Refused(f"{role}: {refusal}") from None


# Users to import


@dataclass(kw_only=True)
class Newcomer:
    """Somebody whom the environment knows and the console does not, with what was chosen."""

    id: str
    username: str
    name: str
    told_email: str
    told_role: str
    is_active: bool
    trouble: str  # why nobody can import this person; "" when one may
    is_chosen: bool
    email: str
    role: Role


@dataclass(frozen=True, kw_only=True)
class Found:
    newcomers: Sequence[Newcomer]
    known: Sequence[str]

    @property
    def chosen(self) -> list[Newcomer]:
        return [one for one in self.newcomers if one.is_chosen]

    @property
    def incomplete(self) -> int:
        """How many of those not chosen lack an e-mail address."""
        return sum(not one.is_chosen and not one.trouble and not is_email(one.email) for one in self.newcomers)


def id_of(username: str) -> str:
    """What names a newcomer on pages and in choices."""
    return hashlib.sha256(username.upper().lower().encode()).hexdigest()[:20]


def is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return len(text) <= 254


def find(draft: RegistrationDraft) -> Found:
    """Whom the environment knows: who is new here, with what was chosen, and who is known; some queries for all."""
    here = _usernames(User, draft.people)
    programs = _usernames(ServiceAccount, draft.people)
    by_name = {role.name.casefold(): role for role in Role.objects.order_by("pk")}
    developer = Role.objects.developer()
    newcomers: dict[str, Newcomer] = {}
    known = []
    for person in draft.people:
        folded = person["username"].upper()
        if folded in here:
            known.append(f"{person['name']} ({person['username']})")
            continue
        trouble = _trouble(person["username"])
        if folded in programs:
            trouble = "A service account here has this username."
        one = id_of(person["username"])
        if one not in newcomers:
            newcomers[one] = _newcomer(one, person, trouble, draft.choices.get(one), by_name, developer)
    return Found(newcomers=list(newcomers.values()), known=known)


def _newcomer(
    one: str,
    person: Mapping[str, Any],
    trouble: str,
    choice: Mapping[str, Any] | None,
    by_name: Mapping[str, Role],
    developer: Role,
) -> Newcomer:
    # What an environment says must not make an administrator: such a role is chosen by a person, never proposed.
    proposed = by_name.get(person["role"].casefold(), developer)
    if proposed.manage_teams_and_application_roles:
        proposed = developer
    by_key = {str(role.key): role for role in by_name.values()}
    email = choice["email"] if choice else person["email"]
    wanted = choice["is_chosen"] if choice else person["is_active"] and is_email(email)
    return Newcomer(
        id=one,
        username=person["username"],
        name=person["name"],
        told_email=person["email"],
        told_role=person["role"],
        is_active=person["is_active"],
        trouble=trouble,
        is_chosen=bool(wanted and not trouble),
        email=email,
        role=by_key.get(choice["role"], proposed) if choice else proposed,
    )


def _usernames(model: type[User | ServiceAccount], found: Iterable[Mapping[str, Any]]) -> set[str]:
    """Which of these usernames are taken, in upper case as the database compares them."""
    wanted = {one["username"].upper() for one in found}
    rows = model._default_manager.annotate(folded=Upper("username")).filter(folded__in=wanted)
    return set(rows.values_list("folded", flat=True)) if wanted else set()


def _trouble(username: str) -> str:
    try:
        people.clean_username(username)
    except Refused as refusal:
        return str(refusal)
    return ""


@dataclass(frozen=True, kw_only=True)
class Choice:
    is_chosen: bool
    email: str
    role: Role


def choose_people(environment: Environment, wanted: Mapping[str, Choice], *, by: Author) -> None:
    """Keep who shall be imported, by the id of the newcomer; others stay as they were. Raises ChoicesRefused."""
    with transaction.atomic():
        draft = _locked(environment)
        possible = {one.id: one for one in find(draft).newcomers}
        wanted = {one: choice for one, choice in wanted.items() if one in possible and not possible[one].trouble}
        refused_roles = _refused_roles(draft, {choice.role for choice in wanted.values() if choice.is_chosen}, by)
        reasons = {}
        for one, choice in wanted.items():
            if choice.is_chosen and not is_email(choice.email):
                reasons[one] = "Write an e-mail address, which everybody has here, or leave this person out."
            elif choice.is_chosen and choice.role in refused_roles:
                reasons[one] = refused_roles[choice.role]
        if reasons:
            raise ChoicesRefused(reasons)
        for one, choice in wanted.items():
            draft.choices[one] = {
                "is_chosen": choice.is_chosen,
                "email": choice.email if is_email(choice.email) else possible[one].told_email,
                "role": str(choice.role.key),
            }
        draft.save(update_fields=["choices"])


def _refused_roles(draft: RegistrationDraft, given: Collection[Role], by: Author) -> dict[Role, str]:
    """Which of these roles this person may not give, and why; what they will be in the new environment counts too."""
    rights = dict(levels(draft))
    refused = {}
    for role in given:
        try:
            changes.refuse_above_own(by, [role])
        except Refused as refusal:
            refused[role] = str(refusal)
        else:
            own = by.who.role if by.who else role
            if not rights[own].covers(rights[role]):
                refused[role] = f"The role {role} allows more than yours ({own}) in {draft.environment}."
    return refused


def _import(draft: RegistrationDraft, by: Author, actor: log.Actor) -> int:
    chosen = find(draft).chosen
    if not chosen:
        return 0
    changes.refuse_above_own(by, {one.role for one in chosen})
    for one in chosen:
        if not is_email(one.email):
            raise Refused(f"{one.name} has no e-mail address. Go back to the users to import.")
    imported = [
        User(
            username=people.clean_username(one.username),
            name=people.clean_line(one.name, "name", longest=150),
            email=User.objects.normalize_email(one.email),
            role=one.role,
            is_active=one.is_active,
            password=make_password(None),
        )
        for one in chosen
    ]
    try:
        with transaction.atomic():
            User.objects.bulk_create(imported, batch_size=500)
    except IntegrityError:
        raise Refused("One of the users to import was created here meanwhile. Try again.") from None
    log.record_all(
        [
            log.Entry(
                message=f"Created user '{user.name}' ({user.username})",
                on=user.audit_object,
                by=actor,
                details={"role": str(user.role), "email": user.email, "imported from": draft.environment.name},
            )
            for user in imported
        ]
    )
    return len(imported)


# Registering


def draft_of(environment: Environment) -> RegistrationDraft:
    """What was read and chosen for a proposed environment."""
    found = RegistrationDraft.objects.select_related("environment").filter(environment=environment).first()
    return found or RegistrationDraft(environment=environment)


def apply(environment: Environment, *, by: Author, actor: log.Actor) -> int:
    """In the transaction that registers: give roles their levels, import people; how many. Raises changes.Refused.

    Nobody is imported when the console itself registers: somebody has to have seen who comes. The caller has waited for
    other changes about people (`changes.one_at_a_time`).
    """
    draft = draft_of(environment)
    draft.environment = environment
    _apply_levels(draft, by)
    count = _import(draft, by, actor) if by.who else 0
    RegistrationDraft.objects.filter(environment=environment).delete()
    return count


def _locked(environment: Environment) -> RegistrationDraft:
    """The draft, for a change: environments that are registered, or being checked, have none to change."""
    changes.one_at_a_time()
    locked = Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)
    if locked.registration != Registration.CHECKED:
        raise Refused(f"{locked}: {locked.get_registration_display()}. Nothing is chosen for it now.")
    draft, _ = RegistrationDraft.objects.get_or_create(environment=locked)
    draft.environment = locked
    return draft
