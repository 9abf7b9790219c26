"""The infrastructure at a glance: every registered environment in pipeline order, with the one state that matters most.

A constant number of queries and little work for each environment: a thousand of them fit on a page.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, FilteredRelation, Q, TextChoices
from django.urls import reverse
from django.utils import timezone

from environments import deliveries
from environments.deliveries import Pending
from environments.models import (
    ApplicationStatus,
    Environment,
    EnvironmentPurpose,
    Hosting,
    MaintenanceWindow,
    Registration,
    SyncRun,
    WindowStatus,
)
from environments.models.sync import ACTIVE
from environments.situation import active_runs, doing

PURPOSES = {str(value): str(label) for value, label in EnvironmentPurpose.choices}


class State(TextChoices):
    """What a person has to know first; an environment is in one of these."""

    MAINTENANCE = "maintenance", "In maintenance"
    UNREACHABLE = "unreachable", "Unreachable"
    FAILED = "failed", "Synchronization failed"
    SYNCHRONIZING = "synchronizing", "Synchronizing"
    UP_TO_DATE = "up-to-date", "Up to date"
    WAITING = "waiting", "Not synchronized yet"


ICONS = {
    State.MAINTENANCE: "maintenance",
    State.UNREACHABLE: "unreachable",
    State.FAILED: "failed",
    State.SYNCHRONIZING: "sync",
    State.UP_TO_DATE: "ok",
    State.WAITING: "queued",
}
# What was changed in the console waits for these; the others get it within moments.
OWES = (State.MAINTENANCE, State.UNREACHABLE, State.FAILED)


class Row(NamedTuple):
    """One environment, of all of them."""

    pk: int
    key: UUID
    name: str
    purpose: str
    hosting: str
    version: str
    window_status: str | None
    expected_end: datetime | None
    synchronized_at: datetime | None
    failures: int | None
    unreachable_since: datetime | None
    run_status: str | None

    @property
    def state(self) -> State:
        if self.window_status:
            return State.MAINTENANCE
        if self.unreachable_since:
            return State.UNREACHABLE
        if self.failures:
            return State.FAILED
        if self.run_status:
            return State.SYNCHRONIZING
        return State.UP_TO_DATE if self.synchronized_at else State.WAITING


class Tile(NamedTuple):
    """An environment where there is room for little."""

    css: str
    url: str
    name: str
    about: str
    word: str


def rows() -> list[Row]:
    """Every registered environment, in pipeline order, in one query."""
    running = FilteredRelation("sync_runs", condition=Q(sync_runs__status__in=ACTIVE))
    found = Environment.objects.registered().in_order().annotate(run=running)
    columns = found.values_list(
        "pk",
        "key",
        "name",
        "purpose",
        "hosting",
        "version",
        "maintenance_window__status",
        "maintenance_window__expected_end",
        "sync_state__synchronized_at",
        "sync_state__failures",
        "sync_state__unreachable_since",
        "run__status",
    )
    return [Row(*row) for row in columns]


def has_cloud(found: Iterable[Row]) -> bool:
    return any(row.hosting == Hosting.CLOUD for row in found)


def count(found: Iterable[Row]) -> dict[State, int]:
    """How many are in each state that any is in, what needs a person first."""
    counts = Counter(row.state for row in found)
    return {state: counts[state] for state in State if counts[state]}


def tiles(found: Iterable[Row]) -> list[Tile]:
    now, folder = timezone.now(), reverse("environments:list")
    return [_tile(row, now, folder) for row in found]


def _tile(row: Row, now: datetime, folder: str) -> Tile:
    state = row.state
    word = str(state.label)
    if state == State.MAINTENANCE:
        word = "In maintenance, draining" if row.window_status == WindowStatus.DRAINING else word
        if row.expected_end and row.expected_end < now:
            word = f"{word}, overdue"
    about = PURPOSES.get(row.purpose, row.purpose)
    if row.hosting == Hosting.CLOUD:
        about += " · cloud"
    if row.version:
        about += f" · {row.version}"
    return Tile(state.value, f"{folder}{row.key}/", row.name, about, word)


@dataclass(frozen=True, kw_only=True)
class Card:
    """An environment with all that its card says."""

    place: int
    environment: Environment
    state: State
    run: SyncRun | None
    is_recovering: bool
    applications: int
    pending: list[Pending] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.environment.address.partition("://")[2]

    @property
    def doing(self) -> str:
        return doing(self.run) if self.run else ""

    @property
    def icon(self) -> str:
        return ICONS[self.state]

    @property
    def is_overdue(self) -> bool:
        window = self.environment.maintenance_window
        return bool(window and window.expected_end and window.expected_end < timezone.now())


def cards(found: Sequence[tuple[int, Row]]) -> list[Card]:
    """The cards of these environments, given with their places in the pipeline; a constant number of queries."""
    ids = [row.pk for _, row in found]
    environments = Environment.objects.select_related("maintenance_window", "sync_state").defer(
        "sealed_token", "sync_state__digests", "sync_state__applied"
    )
    by_id = environments.in_bulk(ids)
    runs = {run.environment_id: run for run in active_runs().filter(environment__in=ids).defer("changes")}
    windows = MaintenanceWindow.objects.filter(environment__in=ids, status=WindowStatus.RECOVERING)
    recovering = set(windows.values_list("environment", flat=True))
    published = ApplicationStatus.objects.filter(environment__in=ids).values("environment").annotate(Count("pk"))
    counts = {row["environment"]: row["pk__count"] for row in published}
    owed = deliveries.pending(by_id[row.pk] for _, row in found if row.state in OWES and row.pk in by_id)
    return [
        Card(
            place=place,
            environment=by_id[row.pk],
            state=row.state,
            run=runs.get(row.pk),
            is_recovering=row.pk in recovering,
            applications=counts.get(row.pk, 0),
            pending=owed.get(row.pk, []),
        )
        for place, row in found
        if row.pk in by_id
    ]


def proposals() -> list[Environment]:
    """Environments that somebody began to register, newest first."""
    unfinished = [Registration.CHECKING, Registration.CHECKED, Registration.REFUSED]
    found = Environment.objects.filter(registration__in=unfinished).defer("sealed_token", "security")
    return list(found.order_by("-created_at", "-pk")[:50])
