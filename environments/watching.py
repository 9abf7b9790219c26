"""How maintenance mode stands on some environments: for whoever looks from outside, and for whoever waits.

Looking settles: a window that has become quiet is certified by the look that finds it so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.models import Q
from django.utils import timezone

from environments import maintenance, quiet
from environments.models import Contact, Environment, MaintenanceWindow, SyncRun, WindowStatus
from environments.quiet import Certificate


class Goal(StrEnum):
    """What one may wait for: no contact any more, or all of it synchronized again."""

    QUIET = "quiet"
    RECOVERED = "recovered"

    @property
    def label(self) -> str:
        return "Quiet" if self == Goal.QUIET else "Back in sync"


class State(StrEnum):
    PENDING = "pending"
    REACHED = "reached"
    FAILED = "failed"  # and waiting longer does not help


@dataclass(frozen=True)
class Blocker:
    """A contact that a draining window waits for."""

    contact: Contact

    def __str__(self) -> str:
        contact, now = self.contact, timezone.now()
        step = f" at {contact.step}" if contact.step else ""
        lease = max(0.0, (contact.expires_at - now).total_seconds())
        return (
            f"{contact.serves}{step}, worker {contact.worker}:{contact.pid}, "
            f"for {(now - contact.opened_at).total_seconds():.0f} s; its lease lasts {lease:.0f} s more"
        )

    def as_json(self) -> dict[str, Any]:
        contact = self.contact
        return {
            "contact": contact.pk,
            "purpose": contact.purpose,
            "serves": contact.serves,
            "step": contact.step,
            "worker": contact.worker,
            "pid": contact.pid,
            "opened_at": contact.opened_at.isoformat(),
            "lease_ends_at": contact.expires_at.isoformat(),
        }


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One environment with the window looked at, if it ever had one."""

    environment: Environment
    window: MaintenanceWindow | None
    certificate: Certificate | None
    blockers: Sequence[Blocker]
    is_synchronizing: bool

    @property
    def phase(self) -> str:
        if self.window is None or self.window.status in (WindowStatus.ENDED, WindowStatus.CANCELLED):
            return "not in maintenance mode"
        return self.window.get_status_display().lower()

    @property
    def certificate_text(self) -> str:
        found = self.certificate
        if found is None or found.quiet_at is None:
            return "no certificate yet"
        if found.breaches:
            return f"BROKEN: {found.breaches} contacts inside the quiet"
        return f"{found.cut_short} cut short, {found.lost} lost, none inside the quiet"

    @property
    def since_text(self) -> str:
        window = self.window
        return f"since {_minute(window.enabled_at)} UTC by {window.enabled_by}" if window else "never"

    def state(self, goal: Goal) -> State:
        window = self.window
        if window is None:
            return State.REACHED if goal == Goal.RECOVERED else State.FAILED
        if goal == Goal.QUIET:
            if window.status == WindowStatus.DRAINING:
                return State.PENDING
            is_quiet = window.status == WindowStatus.IN_FORCE and self.certificate and self.certificate.is_quiet
            return State.REACHED if is_quiet else State.FAILED
        if window.recovered_at:
            return State.REACHED
        if window.is_open or (window.status == WindowStatus.RECOVERING and self.is_synchronizing):
            return State.PENDING
        return State.FAILED

    def outcome_text(self, goal: Goal) -> str:
        """How it stands with the goal, for people."""
        window, state = self.window, self.state(goal)
        if window is None:
            return "was never in maintenance mode"
        if goal == Goal.QUIET:
            if state == State.REACHED and self.certificate:
                return f"quiet, {self.certificate.time_to_quiet_text}: {self.certificate_text}"
            if state == State.PENDING:
                return f"still draining: {'; '.join(map(str, self.blockers)) or 'about to be certified'}"
            if window.disabled_at:
                return f"no longer in maintenance mode: {window.disabled_by} disabled it, “{window.disable_reason}”"
            return self.certificate_text
        if state == State.REACHED:
            return "back in sync"
        if window.is_open:
            return "still in maintenance mode"
        run = window.recovery_sync
        if state == State.PENDING:
            return f"synchronizing: {run.get_status_display().lower() if run else 'queued'}"
        if window.status == WindowStatus.RECOVERING:
            return f"the synchronization did not end well: {run.message if run else 'it is gone'}"
        return "not synchronized: it was put into maintenance mode again, or unregistered"

    def row(self) -> list[str]:
        """Cells of a table: environment, phase, since, until, by, quiet after, certificate, reason."""
        window, found = self.window, self.certificate
        if window is None or found is None or self.phase == "not in maintenance mode":
            return [self.environment.name, "not in maintenance mode", "", "", "", "", "", ""]
        seconds = found.time_to_quiet.total_seconds() if found.time_to_quiet is not None else None
        return [
            self.environment.name,
            self.phase,
            _minute(window.enabled_at),
            _minute(window.expected_end) if window.expected_end else "",
            window.enabled_by,
            "not yet" if seconds is None else f"{seconds:.3f} s",
            self.certificate_text,
            window.reason,
        ]

    def as_json(self) -> dict[str, Any]:
        environment, window = self.environment, self.window
        known: dict[str, Any] = {
            "name": environment.name,
            "key": str(environment.key),
            "in_maintenance": environment.is_in_maintenance,
            "window": None,
            "status": None,
        }
        if window is None:
            return known
        run = window.recovery_sync
        return {
            **known,
            "window": str(window.key),
            "status": window.status,
            "enabled_at": _iso(window.enabled_at),
            "enabled_by": window.enabled_by,
            "reason": window.reason,
            "expected_end": _iso(window.expected_end),
            "quiet_at": _iso(window.quiet_at),
            "disabled_at": _iso(window.disabled_at),
            "disabled_by": window.disabled_by,
            "disable_reason": window.disable_reason,
            "recovered_at": _iso(window.recovered_at),
            "plans_aborted": window.plans_aborted,
            "synchronizations_aborted": window.syncs_aborted,
            "recovery": {"status": run.status, "message": run.message, "changes": run.changes} if run else None,
            "certificate": self.certificate.as_json() if self.certificate else None,
            "blockers": [blocker.as_json() for blocker in self.blockers],
        }


def of_interest() -> list[int]:
    """The ids of the environments that are in maintenance mode or recovering from it, in pipeline order."""
    recovering = MaintenanceWindow.objects.filter(status=WindowStatus.RECOVERING).values("environment")
    found = Environment.objects.registered().filter(Q(maintenance_window__isnull=False) | Q(pk__in=recovering))
    return list(found.in_order().values_list("pk", flat=True))


def look(environment_ids: Iterable[int], *, window_ids: Iterable[int] | None = None) -> list[Watched]:
    """These environments in pipeline order, each with its last window, or with that of `window_ids`.

    A constant number of queries, and none of an environment.
    """
    ids = list(environment_ids)
    maintenance.settle(ids)
    environments = Environment.objects.filter(pk__in=ids).in_order()
    rows = MaintenanceWindow.objects.select_related("environment", "recovery_sync")
    if window_ids is None:
        last = rows.filter(environment__in=ids).order_by("environment_id", "-enabled_at", "-pk")
        windows = {window.environment_id: window for window in last.distinct("environment_id")}
    else:
        windows = {window.environment_id: window for window in rows.filter(pk__in=list(window_ids))}
    certificates = {window.environment_id: found for window, found in quiet.certificates(windows.values())}
    draining = [window.environment_id for window in windows.values() if window.status == WindowStatus.DRAINING]
    blockers: dict[int, list[Blocker]] = {}
    for contact in Contact.objects.open().filter(environment__in=draining).order_by("opened_at", "pk"):
        blockers.setdefault(contact.environment_id, []).append(Blocker(contact))
    syncing = set(SyncRun.objects.active().filter(environment__in=ids).values_list("environment", flat=True))
    return [
        Watched(
            environment=environment,
            window=windows.get(environment.pk),
            certificate=certificates.get(environment.pk),
            blockers=blockers.get(environment.pk, ()),
            is_synchronizing=environment.pk in syncing,
        )
        for environment in environments
    ]


@dataclass
class Awaited:
    """Environments that somebody waits for, with the windows that they had when the waiting began."""

    watched: list[Watched]
    _window_ids: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._window_ids = [one.window.pk for one in self.watched if one.window]

    def look(self) -> None:
        self.watched = look([one.environment.pk for one in self.watched], window_ids=self._window_ids)

    def count_over(self, goal: Goal) -> int:
        return sum(one.state(goal) != State.PENDING for one in self.watched)

    def is_over(self, goal: Goal) -> bool:
        return self.count_over(goal) == len(self.watched)

    def describe(self, goal: Goal) -> str:
        """What has not come about, environment by environment."""
        open_ones = [one for one in self.watched if one.state(goal) != State.REACHED]
        return (
            " ".join(f"{one.environment}: {one.outcome_text(goal)}." for one in open_ones) or "Everything came about."
        )


def begin(environment_ids: Iterable[int]) -> Awaited:
    """Begin to wait for these environments."""
    return Awaited(look(environment_ids))


def _iso(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
