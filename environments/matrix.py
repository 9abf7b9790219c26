"""Applications x environments: a page of the infrastructure's applications with what each environment has of them.

A constant number of queries; the work grows with what is shown, not with what exists.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Lower
from django.utils import timezone

from environments import versions
from environments.models import Application, ApplicationIcon, ApplicationStatus, Environment, SyncRun
from environments.models.application import ApplicationKind
from lifetime.models import Level, ServiceAccount, Team, TeamApplication, User
from lifetime.permissions import Permissions

SIZE = 50
COLUMNS_AT_MOST = 40  # more do not fit in anybody's head; a filter chooses
TEAMS_OFFERED = 500
KINDS = {str(value): str(label) for value, label in ApplicationKind.choices}


class Column:
    """An environment at the head of its column: the environment, what synchronizes it now, how it stands."""

    def __init__(self, environment: Environment, run: SyncRun | None) -> None:
        self.environment = environment
        self.run = run

    @property
    def is_overdue(self) -> bool:
        window = self.environment.maintenance_window
        return bool(window and window.expected_end and window.expected_end < timezone.now())


class Cell(NamedTuple):
    """What one environment has of one application."""

    environment_id: int
    application_id: int
    version: str
    is_modified: bool
    consistency: str
    consistency_message: str
    changed_at: datetime
    changed_by: str
    hotfix_solved_at: datetime | None

    def is_hotfix(self, reference: "Cell") -> bool:
        """Changed, or further, where the application was not published first, and nobody said that it is merged."""
        if self.environment_id == reference.environment_id:
            return False
        if self.hotfix_solved_at and self.changed_at <= self.hotfix_solved_at:
            return False
        return self.is_modified or versions.order(self.version) > versions.order(reference.version)


@dataclass(frozen=True, kw_only=True)
class Row:
    key: UUID
    name: str
    kind: str
    is_system: bool
    colour: str
    icon: str
    team: str
    cells: list[tuple[Cell, bool] | None]  # for each column what is there, and whether it is a hotfix


@dataclass(frozen=True, kw_only=True)
class Page:
    rows: list[Row]
    total: int
    number: int

    @property
    def first(self) -> int:
        return (self.number - 1) * SIZE + 1

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // SIZE))

    @property
    def previous(self) -> int | None:
        return self.number - 1 if self.number > 1 else None

    @property
    def next(self) -> int | None:
        return self.number + 1 if self.number < self.pages else None


class Columns(list[Column]):
    """The environments that somebody looks at, in pipeline order."""

    @property
    def environments(self) -> list[Environment]:
        return [column.environment for column in self]

    @cached_property
    def stamp(self) -> str:
        """Another text whenever a synchronization brought something into one of these environments."""
        found = [one.sync_state.changed_at for one in self.environments if one.sync_state.changed_at]
        return max(found).isoformat() if found else ""


def environments() -> list[Environment]:
    """Every registered environment in pipeline order, with its open window and the state of its synchronization."""
    found = Environment.objects.registered().in_order().select_related("maintenance_window", "sync_state")
    return list(found.defer("sealed_token", "security", "sync_state__digests", "sync_state__applied"))


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What somebody may see of the applications: of all environments those, and in them which applications."""

    permissions: Permissions
    pipeline: list[Environment]  # every registered environment
    environments: list[Environment]  # those in which the person sees any application

    @classmethod
    def of(cls, user: User | ServiceAccount) -> "Sight":
        pipeline = environments()
        held = Permissions.of(user, pipeline)
        return cls(
            permissions=held,
            pipeline=pipeline,
            environments=[one for one in pipeline if held.best_level(one) >= Level.LIST],
        )

    @cached_property
    def special(self) -> set[int]:
        """The applications for which another role than the default one counts."""
        return {*self.permissions.on_applications, *self.permissions.on_team_applications}

    @cached_property
    def ordinary(self) -> set[int]:
        """The environments in which all other applications are seen."""
        return {one.pk for one in self.environments if self.permissions.rights(one).level >= Level.LIST}

    def sees(self, application_id: int, environment: Environment) -> bool:
        if application_id in self.special:
            return self.permissions.level(application_id, environment) >= Level.LIST
        return environment.pk in self.ordinary

    def published_in(self, shown: Sequence[Environment]) -> QuerySet[Application]:
        """The applications that the person sees in any of these environments."""
        there = ApplicationStatus.objects.filter(
            application=OuterRef("pk"), environment__in=[one.pk for one in shown if one.pk in self.ordinary]
        )
        found = Q(Exists(there))
        if self.special:
            by_id = {one.pk: one for one in shown}
            pairs = ApplicationStatus.objects.filter(application__in=self.special, environment__in=list(by_id))
            seen = {
                application
                for application, environment in pairs.values_list("application", "environment")
                if self.sees(application, by_id[environment])
            }
            found = (found & ~Q(pk__in=self.special)) | Q(pk__in=seen)
        return Application.objects.filter(found)


def columns(found: Iterable[Environment]) -> Columns:
    shown = list(found)
    active = SyncRun.objects.active().filter(environment__in=shown).defer("changes")
    runs = {run.environment_id: run for run in active}
    return Columns(Column(environment, runs.get(environment.pk)) for environment in shown)


def teams(sight: Sight) -> list[Team]:
    """The teams of the applications that the person sees anywhere, by name."""
    owned = TeamApplication.objects.filter(application__in=sight.published_in(sight.environments))
    return list(Team.objects.filter(pk__in=owned.values("team")).order_by(Lower("name"), "pk")[:TEAMS_OFFERED])


def page(
    sight: Sight, shown: Sequence[Environment], *, name: str = "", team: Team | None = None, number: int = 1
) -> Page:
    """The applications that the person sees in `shown` environments, by name; what is a hotfix, all of them tell.

    A page that does not exist any more is the last one.
    """
    found = sight.published_in(shown)
    if name:
        found = found.filter(Q(name__icontains=name) | Q(in_team__team__name__icontains=name))
    if team:
        found = found.filter(in_team__team=team)
    total = found.count()
    number = min(max(1, number), max(1, -(-total // SIZE)))
    icons = ApplicationIcon.objects.filter(application_key=OuterRef("key")).values("digest")
    in_order = found.annotate(icon=Subquery(icons)).order_by(Lower("name"), "pk")
    some = in_order.values_list("pk", "key", "name", "kind", "is_system", "colour", "icon", "in_team__team__name")
    page_of_them = list(some[(number - 1) * SIZE : number * SIZE])
    there = _cells([row[0] for row in page_of_them], sight.pipeline)
    rows = [
        Row(
            key=key,
            name=name,
            kind=KINDS.get(kind, kind),
            is_system=is_system,
            colour=colour,
            icon=icon or "",
            team=team or "",
            cells=_row(there.get(pk, {}), [one.pk if sight.sees(pk, one) else 0 for one in shown]),
        )
        for pk, key, name, kind, is_system, colour, icon, team in page_of_them
    ]
    return Page(rows=rows, total=total, number=number)


def cells(application: Application, sight: Sight) -> dict[int, tuple[Cell, bool]]:
    """What each environment has of one application, by environment id, and whether it is a hotfix there."""
    found = _cells([application.pk], sight.pipeline).get(application.pk, {})
    seen = [one.pk for one in sight.environments if sight.sees(application.pk, one)]
    return {pk: one for pk, one in zip(seen, _row(found, seen), strict=True) if one}


def _cells(applications: Sequence[int], pipeline: Sequence[Environment]) -> dict[int, dict[int, Cell]]:
    """By application, then by environment in pipeline order."""
    places = {environment.pk: place for place, environment in enumerate(pipeline)}
    statuses = ApplicationStatus.objects.filter(application__in=applications, environment__in=list(places))
    found: dict[int, dict[int, Cell]] = {}
    for cell in sorted(map(Cell._make, statuses.values_list(*Cell._fields)), key=lambda one: places[one[0]]):
        found.setdefault(cell.application_id, {})[cell.environment_id] = cell
    return found


def _row(there: Mapping[int, Cell], ids: Iterable[int]) -> list[tuple[Cell, bool] | None]:
    reference = next(iter(there.values()), None)
    if reference is None:
        return [None for _ in ids]
    return [(cell, cell.is_hotfix(reference)) if (cell := there.get(pk)) else None for pk in ids]
