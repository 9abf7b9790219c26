"""What a plan can do with each application of its source: what both sides have, what is proposed, what else there is.

A constant number of queries for any number of applications.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db.models.functions import Lower

from deployments.choices import Choice, choice_of
from deployments.models import DeploymentPlan, OperationKind, PlanOperation
from environments import versions
from environments.models import (
    Application,
    ApplicationBlock,
    ApplicationStatus,
    ApplicationTask,
    ApplicationVersion,
    Environment,
    ModuleStatus,
    TaskKind,
)
from environments.models.application import ApplicationKind
from lifetime.models import Level
from lifetime.permissions import Permissions

OLDER_OFFERED = 20  # versions of an application beside the one that runs in the source


@dataclass(frozen=True, kw_only=True)
class Option:
    """One thing that a plan can do with an application."""

    kind: OperationKind
    version_key: UUID | None = None
    number: str = ""

    @property
    def value(self) -> str:
        """What a form calls it."""
        return f"{self.kind}:{self.version_key}" if self.kind == OperationKind.DEPLOY else str(self.kind)

    @property
    def label(self) -> str:
        return f"{self.kind.label} {self.number}".strip()


NOTHING = Option(kind=OperationKind.NOTHING)


@dataclass(frozen=True, kw_only=True)
class Block:
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An application of the source. `default` is proposed; `note` says why nothing, or something else, is."""

    pk: int
    key: UUID
    name: str
    kind: str
    team: str
    source_version: str
    source_key: UUID | None
    source_is_modified: bool
    target_version: str
    target_key: UUID | None
    target_is_modified: bool
    is_in_target: bool
    block: Block | None
    options: tuple[Option, ...]
    default: Option
    used: frozenset[versions.Order]
    note: str = ""

    @property
    def differs(self) -> bool:
        """Whether source and target have something else of it."""
        same = self.is_in_target and self.source_key == self.target_key and self.source_version == self.target_version
        return not same or self.source_is_modified or self.target_is_modified

    @property
    def is_proposed(self) -> bool:
        """Whether something is to be done with it."""
        return self.default.kind != OperationKind.NOTHING

    @property
    def may_be_customized(self) -> bool:
        """Whether it can be tagged at all here, and hence with an older version as the base, or picked modules."""
        return any(option.kind == OperationKind.TAG_AND_DEPLOY for option in self.options)

    @property
    def has_picks(self) -> bool:
        return self.kind == ApplicationKind.WEB

    def option(self, value: str) -> Option | None:
        return next((one for one in self.options if one.value == value), None)

    def choice(self, option: Option, *, zone_key: str = "") -> Choice:
        return Choice(
            application_key=self.key,
            kind=option.kind,
            version_key=option.version_key,
            version_number=option.number,
            zone_key=zone_key,
            is_proposed=option == self.default,
        )

    def is_free(self, number: str) -> bool:
        """Whether the application may still be tagged so."""
        return self.may_be_customized and versions.order(number) not in self.used

    def warning(self, option: Option) -> str:
        """That this would deploy something else than what runs in the source; "" when it would not."""
        if option.kind != OperationKind.DEPLOY:
            return ""
        if option.version_key != self.source_key:
            return f"The source runs {self.source_version or 'no tagged version'}, not {option.number}."
        if self.source_is_modified:
            return f"It was changed since {option.number} was tagged; the changes are not deployed."
        return ""


class _Status(NamedTuple):
    version: str = ""
    key: UUID | None = None
    is_modified: bool = False


def candidates(
    source: Environment, target: Environment, held: Permissions, *, keys: Collection[UUID] | None = None
) -> list[Candidate]:
    """The applications of the source that the person sees, by name; with `keys` these only."""
    found = Application.objects.filter(held.reaching(Level.LIST, [source, target]), statuses__environment=source)
    found = found.filter(is_system=False) if keys is None else found.filter(key__in=keys)
    fields = ("pk", "key", "name", "kind", "in_team__team__name")
    told = ("statuses__version", "statuses__version_key", "statuses__is_modified")
    rows = list(found.order_by(Lower("name"), "pk").values_list(*fields, *told))
    facts = _Facts(source, target, held, [row[0] for row in rows])
    return [
        _candidate(facts, pk, key, name, kind, team or "", _Status(version, version_key, is_modified))
        for pk, key, name, kind, team, version, version_key, is_modified in rows
    ]


class _Facts:
    """What the console knows of these applications, by their ids."""

    def __init__(self, source: Environment, target: Environment, held: Permissions, ids: Collection[int]) -> None:
        self.source, self.target, self.held = source, target, held
        there = ApplicationStatus.objects.filter(environment=target, application__in=ids)
        self.in_target = {
            pk: _Status(version, key, is_modified)
            for pk, version, key, is_modified in there.values_list(
                "application", "version", "version_key", "is_modified"
            )
        }
        blocks = ApplicationBlock.objects.in_force().filter(environment=target, application__in=ids)
        self.blocks = {
            pk: Block(by=by, reason=reason)
            for pk, by, reason in blocks.values_list("application", "blocked_by", "reason")
        }
        modules = ModuleStatus.objects.filter(environment=source, module__application__in=ids)
        self.with_modules = set(modules.values_list("module__application", flat=True).distinct())
        self.versions: dict[int, list[tuple[versions.Order, UUID, str]]] = {}
        told = ApplicationVersion.objects.filter(application__in=ids).values_list("application", "key", "version")
        for pk, key, number in told:
            self.versions.setdefault(pk, []).append((versions.order(number), key, number))
        self.elsewhere: dict[int, set[str]] = {}
        statuses = ApplicationStatus.objects.filter(application__in=ids).exclude(version="")
        for pk, number in statuses.values_list("application", "version").distinct():
            self.elsewhere.setdefault(pk, set()).add(number)
        tagging = ApplicationTask.objects.active().filter(application__in=ids, kind=TaskKind.TAG)
        for pk, number in tagging.values_list("application", "parameters__version"):
            self.elsewhere.setdefault(pk, set()).add(number)
        earlier = ApplicationStatus.objects.filter(application__in=ids, environment__position__lt=source.position)
        self.earlier = set(
            earlier.filter(environment__registration="registered").values_list("application", flat=True).distinct()
        )

    def used(self, pk: int) -> set[str]:
        return {number for _, _, number in self.versions.get(pk, ())} | self.elsewhere.get(pk, set())

    def next_number(self, pk: int, here: _Status) -> str:
        """Above the highest of the infrastructure; where a hotfix is made, above what is there."""
        used = self.used(pk)
        highest = max([here.version, *used], key=versions.order)
        if pk in self.earlier and here.version and here.is_modified:
            number = versions.suggest(here.version, {*used, versions.following(here.version)})
            target = self.in_target.get(pk, _Status())
            if number and versions.order(number) > versions.order(target.version):
                return number
        return versions.suggest(highest, used)


def _candidate(facts: _Facts, pk: int, key: UUID, name: str, kind: str, team: str, here: _Status) -> Candidate:
    there = facts.in_target.get(pk, _Status())
    block = facts.blocks.get(pk)
    may_tag = pk in facts.with_modules and facts.held.level(pk, facts.source) >= Level.CHANGE
    options: list[Option] = []
    if block is None:
        options = _deployable(facts, pk, here, there)
        number = facts.next_number(pk, here) if may_tag else ""
        if number and versions.order(number) > versions.order(there.version):
            options.insert(0, Option(kind=OperationKind.TAG_AND_DEPLOY, number=number))
    options.append(NOTHING)
    default, note = _proposal(facts, options, pk, here, there)
    if block:
        note = f"Blocked from deployment to {facts.target} by {block.by}: “{block.reason}”"
    return Candidate(
        pk=pk,
        key=key,
        name=name,
        kind=kind,
        team=team,
        source_version=here.version,
        source_key=here.key,
        source_is_modified=here.is_modified,
        target_version=there.version,
        target_key=there.key,
        target_is_modified=there.is_modified,
        is_in_target=pk in facts.in_target,
        block=block,
        options=tuple(options),
        default=default,
        used=frozenset(map(versions.order, facts.used(pk))),
        note=note,
    )


def _deployable(facts: _Facts, pk: int, here: _Status, there: _Status) -> list[Option]:
    """The version that runs in the source, then older ones that it has had; none that would be a downgrade."""
    least, most = versions.order(there.version), versions.order(here.version)
    found = []
    if here.key and most >= least:
        found.append(Option(kind=OperationKind.DEPLOY, version_key=here.key, number=here.version))
    older = [one for one in facts.versions.get(pk, ()) if least < one[0] <= most and one[1] != here.key]
    older.sort(key=lambda one: (one[0], str(one[1])), reverse=True)
    for _, key, number in older[:OLDER_OFFERED]:
        found.append(Option(kind=OperationKind.DEPLOY, version_key=key, number=number))
    return found


def _proposal(facts: _Facts, options: list[Option], pk: int, here: _Status, there: _Status) -> tuple[Option, str]:
    """What is proposed, and a word on it where that is not plain."""
    running = next((one for one in options if one.version_key == here.key and one.kind == OperationKind.DEPLOY), None)
    if here.is_modified or not here.version:
        if options[0].kind == OperationKind.TAG_AND_DEPLOY:
            return options[0], ""
        if not here.version:
            return NOTHING, "It has no tagged version, and you cannot tag one here."
    if versions.order(here.version) < versions.order(there.version):
        return NOTHING, (
            f"{facts.target} runs {there.version}, which is higher. To go back, tag a new version that is based on "
            f"{here.version}, and deploy that."
        )
    if pk in facts.in_target and here.key == there.key:
        return NOTHING, f"{facts.target} has been changed since." if there.is_modified else "The target runs the same."
    return running or NOTHING, "" if running else "The console does not know the version that runs there."


# Plans


@dataclass(frozen=True, kw_only=True)
class Row:
    """An operation of a plan beside its application as it is now; without a candidate that is gone from the source."""

    operation: PlanOperation
    candidate: Candidate | None
    zones: tuple[tuple[str, str], ...] = ()

    @property
    def value(self) -> str:
        return option_of(self.operation).value

    @property
    def options(self) -> list[Option]:
        """What can be chosen; the chosen one is always among them."""
        chosen = option_of(self.operation)
        if self.candidate is None:
            return [chosen, NOTHING] if chosen != NOTHING else [NOTHING]
        others = [one for one in self.candidate.options if one.value != chosen.value]
        return [chosen, *others] if self.candidate.option(chosen.value) is None else self._in_place(chosen)

    def _in_place(self, chosen: Option) -> list[Option]:
        assert self.candidate is not None  # noqa: S101 - for the type checker
        return [chosen if one.value == chosen.value else one for one in self.candidate.options]

    @property
    def warning(self) -> str:
        return self.candidate.warning(option_of(self.operation)) if self.candidate else ""

    @property
    def note(self) -> str:
        if self.candidate is None:
            return "It is not in the source any more. Remove it from the plan."
        return self.candidate.note if self.candidate.block or self.value == NOTHING.value else ""

    @property
    def is_stale(self) -> bool:
        """Whether source or target have changed since it was chosen."""
        if self.candidate is None:
            return True
        known, now = self.operation, self.candidate
        if now.block and known.is_deployed:
            return True
        return (known.source_version, known.source_is_modified) != (now.source_version, now.source_is_modified) or (
            known.target_version,
            known.target_existed,
        ) != (now.target_version, now.is_in_target)

    def choice(self, value: str, zone_key: str) -> Choice | None:
        """What was chosen for it; nothing when that is not offered."""
        if value == self.value or not value:
            kept = choice_of(self.operation)
            return kept if zone_key == kept.zone_key else _with_zone(kept, zone_key)
        option = next((one for one in self.options if one.value == value), None)
        if option is None:
            return None
        if self.candidate is None:
            return Choice(application_key=self.operation.application_key, kind=OperationKind.NOTHING)
        return self.candidate.choice(option, zone_key=zone_key)


def _with_zone(kept: Choice, zone_key: str) -> Choice:
    return Choice(**{**vars(kept), "zone_key": zone_key})


def option_of(operation: PlanOperation) -> Option:
    kind = OperationKind(operation.kind)
    if kind == OperationKind.NOTHING:
        return NOTHING
    key = operation.version_key if kind == OperationKind.DEPLOY else None
    return Option(kind=kind, version_key=key, number=operation.version_number)


def rows(plan: DeploymentPlan, held: Permissions) -> list[Row]:
    """The operations of a plan, in its order, with what is possible for each now."""
    operations = sorted(plan.operations.all(), key=lambda one: (one.position, one.pk))
    found: dict[UUID, Candidate] = {}
    if plan.source is not None:
        keys = [one.application_key for one in operations]
        found = {one.key: one for one in candidates(plan.source, plan.target, held, keys=keys)}
    zones = zones_of(plan.target)
    return [
        Row(
            operation=operation,
            candidate=candidate,
            # An application that is there already stays in its zone.
            zones=zones if len(zones) > 1 and candidate and not candidate.is_in_target and not candidate.block else (),
        )
        for operation in operations
        for candidate in (found.get(operation.application_key),)
    ]


def zones_of(target: Environment) -> tuple[tuple[str, str], ...]:
    """Key and name of the target's deployment zones."""
    return tuple((str(one["key"]), str(one.get("name") or one["key"])) for one in target.deployment_zones)


def with_added(plan: DeploymentPlan, added: Iterable[Candidate]) -> list[Choice]:
    """The plan's choices and, behind them, what is proposed for these applications, each once."""
    kept = [choice_of(one) for one in sorted(plan.operations.all(), key=lambda one: (one.position, one.pk))]
    known = {one.application_key for one in kept}
    return kept + [one.choice(one.default) for one in added if one.key not in known]


def refreshed(plan_rows: Iterable[Row]) -> tuple[list[Choice], list[str]]:
    """What the plan does after a new look at both sides, and what that changed, in words.

    What people chose stays as long as it is possible; what was proposed is proposed anew.
    """
    choices, messages = [], []
    for row in plan_rows:
        name, now = row.operation.application_name, row.candidate
        if now is None:
            messages.append(f"{name} is not in the source any more; it is removed from the plan.")
            continue
        chosen = option_of(row.operation)
        fits = now.is_free(chosen.number) if row.operation.is_tagged_first else now.option(chosen.value) == chosen
        if now.block or row.operation.is_proposed or not fits:
            choice = now.choice(now.default, zone_key=row.operation.zone_key)
            if now.default != chosen:
                messages.append(f"{name}: {now.default.label} instead of {chosen.label}.")
        else:
            choice = choice_of(row.operation)
        choices.append(choice)
    return choices, messages
