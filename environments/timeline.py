"""What happened to an environment over time: windows, deployments, and times without synchronization.

Drawn as lanes of bars, in units of the picture. A constant number of queries, whatever the time shown.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import Model, Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from deployments.models import DeploymentPlan
from environments.models import Environment, MaintenanceWindow, SyncRun, SyncStatus

PERIODS = {1: "Day", 7: "Week", 30: "30 days", 90: "90 days"}
MOST = 500  # windows, plans in each direction, and times of failures; the newest
MOST_RUNS = 20_000
WIDTH, GUTTER, ROW, BAR, TOP = 1000, 150, 30, 18, 34  # of the picture
NARROWEST, TICK_WIDTH = 3, 44
MOST_ROWS = 6  # of a lane, when bars lie over each other
TICKS = {1: timedelta(hours=4), 7: timedelta(days=1), 30: timedelta(days=5), 90: timedelta(days=15)}
LONGEST_PAUSE = timedelta(hours=1)  # between two attempts while they fail
PLAN_VARIANTS = {
    "finished_successful": "success",
    "finished_with_warnings": "warning",
    "finished_with_errors": "danger",
    "aborted": "danger",
}

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Something that took time; one without an end is not over."""

    began_at: datetime
    ended_at: datetime | None
    what: str
    state: str
    variant: str
    url: str = ""
    quiet_at: datetime | None = None  # of a window: until then it was draining


@dataclass(frozen=True, kw_only=True)
class Bar:
    span: Span
    x: float
    y: int
    width: float


@dataclass(kw_only=True)
class Lane:
    name: str
    spans: Sequence[Span]
    top: int = 0
    rows: int = 1
    bars: list[Bar] = field(default_factory=list)

    @property
    def text_y(self) -> int:
        return self.top + BAR - 1

    @property
    def bottom(self) -> int:
        return self.top + self.rows * ROW


@dataclass(frozen=True, kw_only=True)
class Tick:
    x: float
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Timeline:
    since: datetime
    until: datetime
    days: int
    lanes: list[Lane]
    ticks: list[Tick]
    now_x: float | None
    is_cut: bool

    width, gutter, bar_height = WIDTH, GUTTER, BAR

    @property
    def height(self) -> int:
        return self.lanes[-1].bottom + 4

    @property
    def spans(self) -> list[tuple[str, Span]]:
        """Everything in the picture, newest first."""
        found = [(lane.name, span) for lane in self.lanes for span in lane.spans]
        return sorted(found, key=lambda one: one[1].began_at, reverse=True)


def of(
    environment: Environment,
    *,
    plans: QuerySet[DeploymentPlan],
    days: int,
    back: int = 0,
    now: datetime | None = None,
) -> Timeline:
    """The last `days` days, or those `back` times before them; of the deployments no others than these `plans`."""
    now = now or timezone.now()
    until = now - timedelta(days=days * back)
    since = until - timedelta(days=days)
    windows = _newest(_between(environment.windows.all(), since, until, "enabled_at", "disabled_at"), "enabled_at")
    deployments, deployments_cut = _deployments(environment, plans, since, until)
    failures, failures_cut = _failures(environment, since, until, now)
    lanes = [
        Lane(name="Maintenance", spans=[_window(environment, one) for one in windows]),
        Lane(name="Deployments", spans=deployments),
        Lane(name="Not synchronized", spans=[*_pauses(windows), *failures]),
    ]
    top = TOP
    for lane in lanes:
        lane.top = top
        _draw(lane, since, until, now)
        top = lane.bottom
    return Timeline(
        since=since,
        until=until,
        days=days,
        lanes=lanes,
        ticks=[one for one in _ticks(since, until, TICKS[days]) if one.x <= WIDTH - TICK_WIDTH],
        now_x=_x(now, since, until) if back == 0 else None,
        is_cut=deployments_cut or failures_cut or len(windows) == MOST,
    )


def _between(rows: QuerySet[Row], since: datetime, until: datetime, began: str, ended: str) -> QuerySet[Row]:
    """Rows of which a part lies in that time."""
    return rows.filter(Q(**{f"{ended}__isnull": True}) | Q(**{f"{ended}__gte": since}), **{f"{began}__lt": until})


def _newest(rows: QuerySet[Row], began: str) -> list[Row]:
    return list(rows.order_by(f"-{began}", "-pk")[:MOST])


def _window(environment: Environment, window: MaintenanceWindow) -> Span:
    return Span(
        began_at=window.enabled_at,
        ended_at=window.disabled_at,
        what=f"{window.reason} ({window.enabled_by})",
        state=window.get_status_display(),
        variant="maintenance",
        url=reverse("environments:window", args=[environment.key, window.key]),
        quiet_at=window.quiet_at,
    )


def _deployments(
    environment: Environment, plans: QuerySet[DeploymentPlan], since: datetime, until: datetime
) -> tuple[list[Span], bool]:
    """Those of the plans that were started, from and to the environment."""
    found, is_cut = [], False
    for some in (plans.filter(target=environment), plans.filter(source=environment)):
        rows = _between(some.exclude(started_at=None), since, until, "started_at", "ended_at")
        newest = _newest(rows.select_related("source", "target"), "started_at")
        is_cut = is_cut or len(newest) == MOST
        found += newest
    spans = [
        Span(
            began_at=plan.started_at,
            ended_at=plan.ended_at or plan.aborted_at,
            what=f"#{plan.number} from {plan.source or 'a package'} to {plan.target}",
            state=plan.get_status_display(),
            variant=PLAN_VARIANTS.get(plan.status, "running"),
            url=plan.get_absolute_url(),
        )
        for plan in found
        if plan.started_at
    ]
    return sorted(spans, key=lambda one: one.began_at), is_cut


def _pauses(windows: Iterable[MaintenanceWindow]) -> Iterator[Span]:
    """From maintenance mode until the synchronization after it."""
    for window in windows:
        yield Span(
            began_at=window.enabled_at,
            ended_at=window.recovered_at if window.recovered_at or window.status != "ended" else window.disabled_at,
            what="Skipped because of maintenance mode",
            state="Over" if window.recovered_at or window.status == "ended" else "Until it is back in sync",
            variant="paused",
        )


def _failures(environment: Environment, since: datetime, until: datetime, now: datetime) -> tuple[list[Span], bool]:
    """Synchronizations that failed one after the other. What succeeds is forgotten after a day when it found nothing:
    so failures far from each other had a success between them.
    """
    pause = 2 * max(LONGEST_PAUSE, timedelta(seconds=environment.sync_interval)) + timedelta(minutes=10)
    runs = SyncRun.objects.filter(
        environment=environment,
        status__in=[SyncStatus.FAILED, SyncStatus.FINISHED],
        ended_at__gte=since - pause,
        requested_at__lt=until,
    )
    rows = list(runs.order_by("-pk").values_list("status", "requested_at", "ended_at", "message")[:MOST_RUNS])
    found: list[Span] = []
    began = last = None
    message = ""
    count = 0
    for status, requested_at, ended_at, why in reversed(rows):
        is_near = last is not None and requested_at - last <= pause
        if began is not None and last is not None and (status == SyncStatus.FINISHED or not is_near):
            found.append(
                _failure(began, ended_at if status == SyncStatus.FINISHED and is_near else last, count, message)
            )
            began = None
        if status == SyncStatus.FAILED:
            began, count = (began, count + 1) if began else (requested_at, 1)
            last, message = ended_at, why
    if began is not None and last is not None:
        is_over = now - last > pause or not environment.sync_state.failures
        found.append(_failure(began, last if is_over else None, count, message))
    found = [one for one in found if one.ended_at is None or one.ended_at >= since]
    return found[-MOST:], len(found) > MOST or len(rows) == MOST_RUNS


def _failure(began: datetime, ended: datetime | None, count: int, message: str) -> Span:
    return Span(
        began_at=began,
        ended_at=ended,
        what=f"{count} failed: {message}" if count > 1 else f"Failed: {message}",
        state="Over" if ended else "Still failing",
        variant="danger",
    )


def _draw(lane: Lane, since: datetime, until: datetime, now: datetime) -> None:
    """Give every span its bar; those that lie over each other get rows of their own, as long as there is room."""
    ends: list[float] = []
    for span in sorted(lane.spans, key=lambda one: one.began_at):
        left = _x(max(span.began_at, since), since, until)
        right = _x(min(span.ended_at or now, until), since, until)
        width = max(right - left, NARROWEST)
        left = min(left, WIDTH - NARROWEST)
        row = next((row for row, end in enumerate(ends) if end <= left), len(ends))
        row = min(row, MOST_ROWS - 1)
        ends[row : row + 1] = [left + width + 1]
        lane.bars.append(Bar(span=span, x=round(left, 1), y=lane.top + row * ROW, width=round(width, 1)))
    lane.rows = max(1, len(ends))


def _x(at: datetime, since: datetime, until: datetime) -> float:
    return round(GUTTER + (WIDTH - GUTTER) * ((at - since) / (until - since)), 1)


def _ticks(since: datetime, until: datetime, step: timedelta) -> Iterator[Tick]:
    """Round instants of the viewer's zone."""
    local = timezone.localtime(since)
    at = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    while True:
        aware = timezone.make_aware(at)
        if aware >= until:
            return
        if aware >= since:
            yield Tick(x=_x(aware, since, until), at=aware)
        at += step
