"""What is decided about people before an environment is registered: what roles may do there, and whom to take over.

The check of the connection reads whom the environment knows. Who is known here already stays as they are; of the others
people choose whom to import. Everything is kept with the proposal and applied in the transaction that registers it.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Upper
from django.utils import timezone
from pydantic import BaseModel

from audit import log
from environments import environment_api
from environments.gate import Answer, Rejected
from environments.models import Environment, Registration, RegistrationDraft
from environments.printable import printable
from lifetime import changes, people, roles
from lifetime.changes import Author, Refused
from lifetime.models import Level, Role, ServiceAccount, User
from lifetime.permissions import Ladder, Rights, default_rights

MOST_PEOPLE = 2000
PEOPLE_KEPT = timedelta(days=7)
FORGOTTEN = "What it said was forgotten after 7 days. Change what you gave, and check again."
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
            "username": _shown(User.normalize_username(one.username), 150),
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
    return printable(text).strip()[: longest + 1]


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
        for role, rights in wanted.items():
            draft.levels.pop(str(role.key), None)
            if not role.is_administrator and rights != default_rights(role, draft.environment):
                draft.levels[str(role.key)] = {
                    "level": int(rights.level),
                    "create_applications": rights.create_applications,
                    "add_system_dependencies": rights.add_system_dependencies,
                }
        with transaction.atomic():  # a rehearsal: what would be refused in the end is refused now
            _apply_levels(draft, by)
            transaction.set_rollback(True)
        draft.save(update_fields=["levels"])


def _apply_levels(draft: RegistrationDraft, by: Author) -> list[log.Entry]:
    entries: list[log.Entry] = []
    for role in Role.objects.filter(key__in=draft.levels).order_by("pk"):
        rights = _chosen_rights(draft, role)
        if rights is not None:
            try:
                entries += roles.change(role, {}, {draft.environment: rights}, by=by)[1]
            except Refused as refusal:
                raise Refused(f"{role}: {refusal}") from None
    return entries


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
    def roles(self) -> str:
        """The roles that those chosen get, with how many get each."""
        counted = Counter(one.role.name for one in self.chosen)
        return ", ".join(f"{name} ({count})" for name, count in sorted(counted.items()))

    @property
    def incomplete(self) -> int:
        """How many of those not chosen lack an e-mail address."""
        return sum(not one.is_chosen and not one.trouble and not is_email(one.email) for one in self.newcomers)


def id_of(username: str) -> str:
    """What names a newcomer on pages and in choices."""
    return hashlib.sha256(username.encode()).hexdigest()[:20]


def is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return len(text) <= 254


def find(draft: RegistrationDraft) -> Found:
    """Whom the environment knows: who is new here, with what was chosen, and who is known; some queries for all."""
    texts = [person[name] for person in draft.people for name in ("username", "email")]
    folded = _folded([*texts, *(choice["email"] for choice in draft.choices.values())])
    here, programs = _taken(User, "username", folded), _taken(ServiceAccount, "username", folded)
    emails = _taken(User, "email", folded)
    by_key, proposable = {str(role.key): role for role in Role.objects.order_by("pk")}, _proposable(draft)
    newcomers: dict[str, Newcomer] = {}
    known = []
    given: set[str] = set()  # e-mail addresses of those chosen
    for person in draft.people:
        username = folded[person["username"]]
        if username in here:
            known.append(f"{person['name']} ({person['username']})")
            continue
        if username in newcomers:
            continue
        trouble = _trouble(person)
        if username in programs:
            trouble = "A service account here has this username."
        elif folded[person["email"]] in emails:
            trouble = "Somebody here has this e-mail address."
        choice = draft.choices.get(id_of(person["username"]))
        one = newcomers[username] = _newcomer(person, trouble, choice, by_key, proposable)
        if one.is_chosen and not choice and folded[one.email] in given:
            one.is_chosen = False
        if one.is_chosen:
            given.add(folded[one.email])
    return Found(newcomers=list(newcomers.values()), known=known)


def _proposable(draft: RegistrationDraft) -> dict[str, Role]:
    """By name, the roles that allow nowhere more than Developer, and that one as "": what an environment says lifts
    nobody above it; such roles are chosen by people."""
    developer, found = Role.objects.developer(), list(Role.objects.order_by("pk"))
    environments = list(Environment.objects.registered().exclude(pk=draft.environment.pk).in_order())
    ladder, there = Ladder(found, environments), dict(levels(draft))
    modest = {
        role.name.casefold(): role
        for role in found
        if not role.manage_teams_and_application_roles
        and there[developer].covers(there[role])
        and all(ladder.of(developer, one).covers(ladder.of(role, one)) for one in environments)
    }
    return {**modest, "": developer}


def _newcomer(
    person: Mapping[str, Any],
    trouble: str,
    choice: Mapping[str, Any] | None,
    by_key: Mapping[str, Role],
    proposable: Mapping[str, Role],
) -> Newcomer:
    proposed = proposable.get(person["role"].casefold(), proposable[""])
    email = choice["email"] if choice else person["email"]
    wanted = choice["is_chosen"] if choice else person["is_active"] and is_email(email)
    return Newcomer(
        id=id_of(person["username"]),
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


def _folded(texts: Iterable[str]) -> dict[str, str]:
    """Each text as the database compares it, whose idea of upper case is not Python's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT one, upper(one) FROM unnest(%s::text[]) AS one", [sorted(set(texts))])
        return dict(cursor.fetchall())


def _taken(model: type[User | ServiceAccount], field: str, folded: Mapping[str, str]) -> set[str]:
    """Which of these texts somebody here has, folded."""
    wanted = set(folded.values()) - {""}
    rows = model._default_manager.annotate(folded=Upper(field)).filter(folded__in=wanted)
    return set(rows.values_list("folded", flat=True))


def _refused_emails(chosen: Mapping[str, str]) -> dict[str, str]:
    """Why these may not have these e-mail addresses, by what names them: people log in by their own."""
    folded = _folded(chosen.values())
    here, counted = _taken(User, "email", folded), Counter(folded[email] for email in chosen.values())
    refused = {
        one: "Somebody else to import has this e-mail address." for one in chosen if counted[folded[chosen[one]]] > 1
    }
    return refused | {one: "Somebody here has this e-mail address." for one in chosen if folded[chosen[one]] in here}


def _trouble(person: Mapping[str, Any]) -> str:
    try:
        people.clean_username(person["username"])
        people.clean_line(person["name"], "name", longest=150)
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
        emails = {one.id: one.email for one in possible.values() if one.is_chosen and one.id not in wanted}
        emails |= {one: choice.email for one, choice in wanted.items() if choice.is_chosen and is_email(choice.email)}
        reasons = {one: reason for one, reason in _refused_emails(emails).items() if one in wanted}
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


def _import(draft: RegistrationDraft, found: Found, by: Author, actor: log.Actor) -> list[log.Entry]:
    chosen = found.chosen
    if not chosen:
        return []
    changes.refuse_above_own(by, {one.role for one in chosen})
    for one in chosen:
        if not is_email(one.email):
            raise Refused(f"{one.name} has no e-mail address. Go back to the users to import.")
    for name, reason in _refused_emails({f"{one.name} ({one.username})": one.email for one in chosen}).items():
        raise Refused(f"{name}: {reason} Go back to the users to import.")
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
        left = {one.id for one in find(draft).newcomers if not one.trouble}
        names = ", ".join(f"{one.name} ({one.username})" for one in chosen if one.id not in left)
        raise Refused(f"{names or 'One of the users to import'} was created here meanwhile. Try again.") from None
    changes.deliver()
    return [
        log.Entry(
            message=f"Created user '{user.name}' ({user.username})",
            on=user.audit_object,
            by=actor,
            details={"role": str(user.role), "email": user.email, "imported from": draft.environment.name},
        )
        for user in imported
    ]


# Registering


def draft_of(environment: Environment) -> RegistrationDraft:
    """What was read and chosen for a proposed environment."""
    found = RegistrationDraft.objects.select_related("environment").filter(environment=environment).first()
    return found or RegistrationDraft(environment=environment)


def digest(given: Iterable[tuple[Role, Rights]], found: Found) -> str:
    """What registering would do about people, in short: whether it still is what somebody was shown."""
    told = [
        [[str(role.key), str(rights)] for role, rights in given],
        [[one.username, one.name, one.email, str(one.role.key), one.is_active] for one in found.chosen],
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def apply(environment: Environment, *, by: Author, actor: log.Actor, seen: str | None = None) -> list[log.Entry]:
    """In the transaction that registers: give roles their levels, import people. The caller records what was done.

    With `seen`, only when that is its digest still; raises changes.Refused. Only people import people: somebody has to
    have seen who comes. The caller has waited for other changes about people (`changes.one_at_a_time`).
    """
    draft = draft_of(environment)
    draft.environment = environment
    found = find(draft)
    if seen is not None and seen != digest(levels(draft), found):
        raise Refused("What was chosen, or who is known here, changed since you looked at it. Look at it again.")
    entries = _apply_levels(draft, by)
    if isinstance(by.who, User):
        entries += _import(draft, found, by, actor)
    RegistrationDraft.objects.filter(environment=environment).delete()
    return entries


def prune() -> None:
    """Forget whom proposed environments know, some days after they were asked."""
    since = timezone.now() - PEOPLE_KEPT
    old = RegistrationDraft.objects.exclude(people=[]).filter(environment__created_at__lt=since)
    old.exclude(environment__contacts__opened_at__gte=since).update(
        people=[], choices={}, people_left_out=0, people_message=FORGOTTEN
    )


def _locked(environment: Environment) -> RegistrationDraft:
    """The draft, for a change: environments that are registered, or being checked, have none to change."""
    changes.one_at_a_time()
    locked = Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)
    if locked.registration != Registration.CHECKED:
        raise Refused(f"{locked}: {locked.get_registration_display()}. Nothing is chosen for it now.")
    draft, _ = RegistrationDraft.objects.get_or_create(environment=locked)
    draft.environment = locked
    return draft
