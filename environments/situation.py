"""How an environment stands with maintenance mode and synchronization: what its page shows, from stored state alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery, TextChoices
from django.utils import timezone

from environments import gate, quiet
from environments.conversation import LABELS
from environments.models import Contact, Environment, MaintenanceWindow, SyncRun, SyncStatus, WindowStatus
from environments.operations import Operation
from environments.quiet import Certificate

FORMER = (WindowStatus.RECOVERING, WindowStatus.ENDED)


class Rung(TextChoices):
    """How far a contact that maintenance mode called off has come down the ladder."""

    COOPERATING = "cooperating", "Cooperating: it tells the environment to stop and closes its connection"
    CLOSED = "closed", "Grace over: connection closed or worker silent; waits for the end of the lease"
    OVER = "over", "Lease over: lost, what the far side did is unknown"


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """A contact that a draining window waits for."""

    contact: Contact
    age: timedelta
    lease_left: timedelta
    rung: Rung

    @property
    def ladder(self) -> list[tuple[str, bool]]:
        """The rungs in words, and which of them it stands on."""
        return [(str(rung.label), rung == self.rung) for rung in Rung]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One line of what a synchronization brought or delivered."""

    what: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a synchronization found changed, and what it delivered."""

    found: list[Change]
    delivered: list[str]

    @property
    def is_empty(self) -> bool:
        return not (self.found or self.delivered)


@dataclass(frozen=True, kw_only=True)
class WindowStory:
    """A window with what the ledger proves of it and what came of it."""

    window: MaintenanceWindow
    certificate: Certificate
    blockers: list[Blocker] = field(default_factory=list)
    cut_short: list[Contact] = field(default_factory=list)
    recovery: SyncRun | None = None

    @property
    def is_overdue(self) -> bool:
        return bool(self.window.is_open and self.window.expected_end and self.window.expected_end < timezone.now())

    @property
    def changes(self) -> Changes | None:
        return changes(self.recovery.changes) if self.recovery and self.window.recovered_at else None


@dataclass(frozen=True, kw_only=True)
class Situation:
    environment: Environment
    story: WindowStory | None  # of the open window, else of the last one
    run: SyncRun | None  # queued or running
    doing: str
    last_runs: list[SyncRun]

    @property
    def is_moving(self) -> bool:
        """Something is going on that somebody who looks wants to see at once."""
        waits = {WindowStatus.DRAINING, WindowStatus.RECOVERING}
        return self.run is not None or (self.story is not None and self.story.window.status in waits)


def situation(environment: Environment, *, runs: int = 5) -> Situation:
    """How things stand now; asks the database only, in a constant number of queries."""
    window = environment.maintenance_window
    if window is None:
        window = environment.windows.newest_first().filter(status__in=FORMER).first()
    last_runs = list(SyncRun.objects.filter(environment=environment).newest_first()[:runs])
    run = active_runs().filter(environment=environment).first()
    return Situation(
        environment=environment,
        story=story(window) if window else None,
        run=run,
        doing=doing(run) if run else "",
        last_runs=last_runs,
    )


def story(window: MaintenanceWindow) -> WindowStory:
    [(_, certificate)] = quiet.certificates([window])
    return WindowStory(
        window=window,
        certificate=certificate,
        blockers=blockers(window) if window.status == WindowStatus.DRAINING else [],
        cut_short=quiet.cut_short(window),
        recovery=_recovery(window),
    )


def blockers(window: MaintenanceWindow) -> list[Blocker]:
    """What a draining window waits for, oldest first."""
    now = timezone.now()
    in_grace = now < window.enabled_at + timedelta(seconds=gate.GRACE_SECONDS)
    found = []
    for contact in quiet.blockers(window.environment_id):
        lease_left = max(contact.expires_at - now, timedelta(0))
        rung = Rung.OVER if not lease_left else Rung.COOPERATING if in_grace else Rung.CLOSED
        age = max(now - contact.opened_at, timedelta(0))
        found.append(Blocker(contact=contact, age=age, lease_left=lease_left, rung=rung))
    return found


def _recovery(window: MaintenanceWindow) -> SyncRun | None:
    """The synchronization that ended the window, which is not the first one when that failed; until then the latest."""
    if window.disabled_at is None:
        return None
    later = SyncRun.objects.filter(
        environment=window.environment_id, is_full=True, requested_at__gte=window.disabled_at
    ).newest_first()
    if window.recovered_at:
        ended = later.filter(status=SyncStatus.FINISHED, ended_at__lte=window.recovered_at + timedelta(seconds=1))
        return ended.first() or window.recovery_sync
    return later.first() or window.recovery_sync


def changes(told: Mapping[str, Any]) -> Changes:
    """What a run's record of its changes says, line by line."""
    counts = told.get("applications") or {}
    found = [
        Change(what=f"{number:,} {'application' if number == 1 else 'applications'} {name}")
        for name, number in counts.items()
        if number
    ]
    for fact in told.get("facts") or []:
        what = str(Environment._meta.get_field(fact["name"]).verbose_name)  # type: ignore[union-attr]
        found.append(
            Change(what=what[:1].upper() + what[1:], before=str(fact["before"] or "unknown"), after=str(fact["after"]))
        )
    found += [
        Change(what=f"Technical Preview feature {key} is available") for key in told.get("technical_previews", [])
    ]
    delivered = [_part(one["part"]) for one in told.get("delivered") or []]
    return Changes(found=found, delivered=delivered)


def _part(name: str) -> str:
    label = LABELS.get(name, name)
    for verb in ("Synchronizing ", "Propagating "):
        label = label.removeprefix(verb)
    label = label.removeprefix("the ")
    return label[:1].upper() + label[1:]


def active_runs() -> QuerySet[SyncRun]:
    """Queued and running synchronizations, each with the `step` of its contact, which is renewed every second."""
    contacts = Contact.objects.open().filter(environment=OuterRef("environment"), sync_run=OuterRef("pk"))
    return SyncRun.objects.active().annotate(step=Subquery(contacts.values("step")[:1]))


def doing(run: SyncRun) -> str:
    """What a run of `active_runs` does now, for people."""
    if run.status == SyncStatus.QUEUED:
        return "Waiting for a worker"
    method, _, path = (getattr(run, "step", "") or "").partition(" ")
    part = path.lstrip("/").partition("?")[0].partition("/")[0].replace("-", "_")
    if part == "technical_previews" and method == "GET":
        part = "technical_previews_available"
    label = LABELS.get(part, "")
    if run.part.startswith(label):
        return run.part or "Contacting the environment"  # the run's own words have more details
    return label


def clock(lower_bound: float | None) -> str:
    """How an environment's clock differs from the database's, as far as whole seconds can tell; "" when unknown."""
    if lower_bound is None:
        return ""
    middle = lower_bound + 0.5  # a Date header has whole seconds: the difference is within a second of the bound
    if abs(middle) <= 1:
        return "agrees with the console’s to about a second"
    return f"about {abs(middle):,.0f} s {'ahead of' if middle > 0 else 'behind'} the console’s"


def operation_label(value: str) -> str:
    return str(Operation(value).label) if value in Operation.values else value
