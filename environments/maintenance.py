"""Maintenance mode: enable, disable, and what a person has to know before and after.

Both directions take any number of environments, in one transaction with one statement per kind of change. Enabling
returns at once: the flag never waits for the work that it stops (see `environments.quiet`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from audit import log
from deployments import plans
from deployments.models import DeploymentPlan
from environments import application_tasks, gate, quiet, sync
from environments.models import (
    ApplicationTask,
    Contact,
    Environment,
    MaintenanceWindow,
    SyncRun,
    SyncTrigger,
    WindowStatus,
)
from environments.models.maintenance import REASON_LENGTH
from environments.operations import Operation
from lifetime.queue import enqueue

LONGEST_EXPECTED = timedelta(days=366)


class MaintenanceRefused(Exception):
    """Nothing was toggled. The text says who, why, since when, and what to do."""


class AlreadyEnabled(MaintenanceRefused):
    pass


class NotEnabled(MaintenanceRefused):
    pass


class ChangedMeanwhile(MaintenanceRefused):
    """The form was filled in before somebody else's toggle."""


class NotRegistered(MaintenanceRefused):
    pass


def clean_reason(text: str) -> str:
    """The reason, trimmed: one line of 1 to 500 characters; ValidationError otherwise."""
    reason = text.strip()
    if not reason:
        raise ValidationError("Say why: the reason goes into the audit log and is shown to everybody concerned.")
    if len(reason) > REASON_LENGTH:
        raise ValidationError(f"Keep the reason to {REASON_LENGTH} characters; this one has {len(reason)}.")
    if any(ord(character) < 32 or character in "\x7f\x85\u2028\u2029" for character in reason):
        raise ValidationError("Write the reason in one line, without line breaks or other control characters.")
    return reason


def clean_expected_end(instant: datetime) -> datetime:
    """When maintenance mode is expected to end: within a year from now; ValidationError otherwise."""
    now = timezone.now()
    if instant <= now:
        raise ValidationError("The expected end is in the past.")
    if instant > now + LONGEST_EXPECTED:
        raise ValidationError("The expected end is more than a year from now.")
    return instant


def enable(
    environment: Environment,
    *,
    by: log.Actor,
    reason: str,
    expected_end: datetime | None = None,
    expected_epoch: int | None = None,
) -> MaintenanceWindow:
    """Stop all traffic between the console and the environment and abort what is in progress there.

    Raises ValidationError (reason, expected end), AlreadyEnabled, NotRegistered, and ChangedMeanwhile when
    `expected_epoch` is given and somebody toggled since.
    """
    expected = {environment.pk: expected_epoch} if expected_epoch is not None else {}
    return enable_all([environment], by=by, reason=reason, expected_end=expected_end, expected_epochs=expected)[0]


def enable_all(
    environments: Iterable[Environment],
    *,
    by: log.Actor,
    reason: str,
    expected_end: datetime | None = None,
    expected_epochs: Mapping[int, int] | None = None,
) -> list[MaintenanceWindow]:
    """Enable maintenance mode on all of these, or on none of them when one refuses; see `enable`."""
    reason = clean_reason(reason)
    if expected_end is not None:
        clean_expected_end(expected_end)
    with transaction.atomic():
        locked = _lock(environments)
        _refuse_unless_registered(locked)
        _refuse_changed(locked, expected_epochs or {})
        if enabled := [_already_enabled(one, one.maintenance_window) for one in locked if one.maintenance_window]:
            raise AlreadyEnabled(" ".join(enabled))
        windows = _open_windows(locked, by=by, reason=reason, expected_end=expected_end)
        _abort_in_progress(windows, by=by)
        gate.hang_up(windows)
        if any(window.status == WindowStatus.DRAINING for window in windows.values()):
            enqueue("environments.tasks.watch_draining")
    return list(windows.values())


def _lock(environments: Iterable[Environment]) -> list[Environment]:
    """The environments as they are now, locked, in the order given."""
    ids = [environment.pk for environment in environments]
    found = {environment.pk: environment for environment in Environment.objects.filter(pk__in=ids).lock()}
    return [found[pk] for pk in dict.fromkeys(ids)]


def _refuse_unless_registered(environments: Sequence[Environment]) -> None:
    if missing := [environment.name for environment in environments if not environment.is_registered]:
        raise NotRegistered(f"Not registered: {', '.join(missing)}.")


def _refuse_changed(environments: Sequence[Environment], expected_epochs: Mapping[int, int]) -> None:
    for environment in environments:
        if expected_epochs.get(environment.pk, environment.epoch) != environment.epoch:
            last = environment.windows.newest_first().first()
            window = environment.maintenance_window
            what = _already_enabled(environment, window) if window else _last_disabled(last)
            raise ChangedMeanwhile(f"Somebody was faster: {what} Look at it as it is now, then decide again.")


def _already_enabled(environment: Environment, window: MaintenanceWindow) -> str:
    return (
        f"Maintenance mode of {environment} is enabled already: {window.enabled_by} enabled it on "
        f"{window.enabled_at:%d %b %H:%M} UTC, “{window.reason}”."
    )


def _last_disabled(window: MaintenanceWindow | None) -> str:
    if window is None or window.disabled_at is None:
        return "the environment was changed."
    return f"{window.disabled_by} disabled it on {window.disabled_at:%d %b %H:%M} UTC, “{window.disable_reason}”."


OPEN_WINDOWS = """
WITH opened AS (
    INSERT INTO environments_maintenancewindow (key, environment_id, status, epoch, enabled_at, enabled_by, reason,
        expected_end, audit_key, disabled_by, disable_reason, plans_aborted, syncs_aborted, contacts_cut, ticks_skipped)
    SELECT v.key, v.environment_id, 'draining', v.epoch, clock.now, %(by)s, %(reason)s, %(expected_end)s, v.audit_key,
        '', '', 0, 0, 0, 0
    FROM unnest(%(environments)s::bigint[], %(epochs)s::bigint[], %(keys)s::uuid[], %(audit_keys)s::uuid[])
             AS v(environment_id, epoch, key, audit_key),
         (SELECT clock_timestamp() AS now OFFSET 0) AS clock
    RETURNING id, environment_id, epoch, enabled_at
)
UPDATE environments_environment e SET maintenance_window_id = opened.id, epoch = opened.epoch
FROM opened WHERE e.id = opened.environment_id
RETURNING e.id, opened.id, opened.enabled_at
"""


def _open_windows(
    environments: Sequence[Environment], *, by: log.Actor, reason: str, expected_end: datetime | None
) -> dict[int, MaintenanceWindow]:
    """Insert the windows and raise the flags; by environment id. The rows are locked: nothing is admitted meanwhile."""
    windows = {
        environment.pk: MaintenanceWindow(
            environment=environment,
            status=WindowStatus.DRAINING,
            epoch=environment.epoch + 1,
            enabled_by=by.name,
            reason=reason,
            expected_end=expected_end,
            audit_key=uuid4(),
        )
        for environment in environments
    }
    parameters: dict[str, Any] = {
        "environments": list(windows),
        "epochs": [window.epoch for window in windows.values()],
        "keys": [window.key for window in windows.values()],
        "audit_keys": [window.audit_key for window in windows.values()],
        "by": by.name,
        "reason": reason,
        "expected_end": expected_end,
    }
    with connection.cursor() as cursor:
        cursor.execute(OPEN_WINDOWS, parameters)
        for environment_id, window_id, enabled_at in cursor.fetchall():
            windows[environment_id].pk, windows[environment_id].enabled_at = window_id, enabled_at
    return windows


COUNT_ABORTED = """
UPDATE environments_maintenancewindow w
SET plans_aborted = v.plans, syncs_aborted = v.syncs, contacts_cut = v.contacts
FROM unnest(%s::bigint[], %s::int[], %s::int[], %s::int[]) AS v(id, plans, syncs, contacts) WHERE w.id = v.id
"""


END_RECOVERING = """
UPDATE environments_maintenancewindow SET status = 'ended' WHERE environment_id = ANY(%s) AND status = 'recovering'
"""
COUNT_CONTACTS = """
SELECT environment_id, count(*) FROM environments_contact WHERE environment_id = ANY(%s) AND closed_at IS NULL
GROUP BY environment_id
"""


def _abort_in_progress(windows: Mapping[int, MaintenanceWindow], *, by: log.Actor) -> None:
    """Abort plans, synchronizations and queued tasks, certify what is quiet at once, and audit all of it.

    The audit log comes last: it holds the lock that every act takes last.
    """
    syncs = sync.abort_for(windows)
    aborted = plans.abort_for(windows, by=by)
    aborted_tasks = application_tasks.abort_queued_for(windows, by=by)
    with connection.cursor() as cursor:
        cursor.execute(END_RECOVERING, [list(windows)])  # never recovered: recovered_at stays empty
        cursor.execute(COUNT_CONTACTS, [list(windows)])
        cut = dict(cursor.fetchall())
    touched = Counter(environment_id for plan, _ in aborted for environment_id in (plan.source_id, plan.target_id))
    for environment_id, window in windows.items():
        window.syncs_aborted = syncs.get(environment_id, 0)
        window.contacts_cut = cut.get(environment_id, 0)
        window.plans_aborted = touched[environment_id]
    busy = [one for one in windows.values() if one.plans_aborted or one.syncs_aborted or one.contacts_cut]
    if busy:
        counts = zip(*((one.pk, one.plans_aborted, one.syncs_aborted, one.contacts_cut) for one in busy), strict=True)
        with connection.cursor() as cursor:
            cursor.execute(COUNT_ABORTED, [list(column) for column in counts])
    certified = quiet.certify(windows)
    quiet_windows = [window for window in windows.values() if window.pk in certified]
    for window in quiet_windows:
        window.status, window.quiet_at = WindowStatus.IN_FORCE, certified[window.pk]
    log.record_all(
        [
            *(_enabled_entry(window, by) for window in windows.values()),
            *(entry for _, entry in aborted),
            *aborted_tasks,
            *quiet.entries(quiet_windows),
        ]
    )


def _enabled_entry(window: MaintenanceWindow, by: log.Actor) -> log.Entry:
    return log.Entry(
        key=window.audit_key or uuid4(),
        message=f"Enabled maintenance mode of environment '{window.environment}': {window.reason}",
        on=window.environment.audit_object,
        by=by,
        reason=window.reason,
        details={
            "window": str(window.key),
            "expected_end": window.expected_end.isoformat() if window.expected_end else None,
            "plans_aborted": window.plans_aborted,
            "synchronizations_aborted": window.syncs_aborted,
            "contacts_open": window.contacts_cut,
        },
    )


def disable(
    environment: Environment, *, by: log.Actor, reason: str, expected_window: UUID | None = None
) -> MaintenanceWindow:
    """Resume contact and synchronize the environment fully; the window ends when that has gone well.

    Raises ValidationError (reason), NotEnabled, and ChangedMeanwhile when `expected_window` is given and the open
    window is another one.
    """
    expected = {environment.pk: expected_window} if expected_window else {}
    return disable_all([environment], by=by, reason=reason, expected_windows=expected)[0]


def disable_all(
    environments: Iterable[Environment],
    *,
    by: log.Actor,
    reason: str,
    expected_windows: Mapping[int, UUID] | None = None,
) -> list[MaintenanceWindow]:
    """Disable maintenance mode on all of these, or on none of them when one refuses; see `disable`."""
    reason = clean_reason(reason)
    with transaction.atomic():
        locked = _lock(environments)
        windows = {one.pk: one.maintenance_window for one in locked if one.maintenance_window}
        _refuse_another_window(windows, expected_windows or {})
        if missing := [one for one in locked if one.pk not in windows]:
            raise NotEnabled(" ".join(_not_enabled(one) for one in missing))
        Environment.objects.filter(pk__in=windows).update(maintenance_window=None, epoch=F("epoch") + 1)
        runs = sync.request_all(locked, trigger=SyncTrigger.MAINTENANCE, by=by)
        now = _database_now()
        for environment in locked:
            window = windows[environment.pk]
            window.environment = environment
            window.status = WindowStatus.RECOVERING
            window.disabled_at, window.disabled_by, window.disable_reason = now, by.name, reason
            window.recovery_sync = runs[environment.pk]
        _close_windows(windows.values())
        log.record_all([_disabled_entry(window, found, by) for window, found in quiet.certificates(windows.values())])
        gate.hang_up(windows)  # what was still draining is of an older epoch
    return list(windows.values())


def _refuse_another_window(windows: Mapping[int, MaintenanceWindow], expected: Mapping[int, UUID]) -> None:
    for environment_id, window in windows.items():
        if expected.get(environment_id, window.key) != window.key:
            raise ChangedMeanwhile(
                f"Somebody was faster: it was disabled and enabled again. {window.enabled_by} enabled it on "
                f"{window.enabled_at:%d %b %H:%M} UTC, “{window.reason}”. Look at it as it is now, then decide again."
            )


def _not_enabled(environment: Environment) -> str:
    if not environment.is_registered:
        return f"{environment} is not registered."
    last = environment.windows.newest_first().first()
    return f"Maintenance mode of {environment} is not enabled: {_last_disabled(last) if last else 'it never was.'}"


def _close_windows(windows: Collection[MaintenanceWindow]) -> None:
    """Store that they were disabled, all by the same person at the same instant."""
    one = next(iter(windows))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM environments_maintenancewindow WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            [[window.pk for window in windows]],  # in the order in which who settles takes them
        )
        cursor.execute(
            "UPDATE environments_maintenancewindow w SET status = %s, disabled_at = %s, disabled_by = %s, "
            "disable_reason = %s, recovery_sync_id = v.sync_id "
            "FROM unnest(%s::bigint[], %s::bigint[]) AS v(id, sync_id) WHERE w.id = v.id",
            [
                *(one.status, one.disabled_at, one.disabled_by, one.disable_reason),
                *([window.pk for window in windows], [window.recovery_sync_id for window in windows]),
            ],
        )


def _disabled_entry(window: MaintenanceWindow, found: quiet.Certificate, by: log.Actor) -> log.Entry:
    return log.Entry(
        message=f"Disabled maintenance mode of environment '{window.environment}': {window.disable_reason}",
        on=window.environment.audit_object,
        by=by,
        reason=window.disable_reason,
        cause=window.audit_key,
        details=found.as_json(),
    )


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What enabling maintenance mode on these environments would abort now."""

    environments: Sequence[Environment]
    already_enabled: Sequence[Environment]
    plans: Sequence[DeploymentPlan]
    syncs: Sequence[SyncRun]
    tasks: Sequence[ApplicationTask]
    contacts: Sequence[Contact]

    @property
    def is_empty(self) -> bool:
        return not (self.plans or self.syncs or self.tasks or self.contacts)


def preview(environments: Iterable[Environment]) -> Preview:
    """What enabling would abort, and by whom it was started; asks the database only."""
    found = list(environments)
    ids = [environment.pk for environment in found]
    syncs = SyncRun.objects.active().filter(environment__in=ids).select_related("environment").order_by("pk")
    contacts = Contact.objects.open().filter(environment__in=ids).select_related("environment").order_by("pk")
    return Preview(
        environments=found,
        already_enabled=[environment for environment in found if environment.is_in_maintenance],
        plans=plans.in_progress_between(ids),
        syncs=list(syncs),
        tasks=application_tasks.in_progress(ids),
        contacts=list(contacts),
    )


def count_refusal(environment: Environment, operation: Operation, *, by: log.Actor) -> None:
    """Count an operation that was refused because of the open window, and audit it as a failed action."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO environments_refusedoperation AS r (window_id, operation, count, last_at, last_by) "
            "VALUES (%s, %s, 1, clock_timestamp(), %s) ON CONFLICT (window_id, operation) DO UPDATE "
            "SET count = r.count + 1, last_at = excluded.last_at, last_by = excluded.last_by",
            [environment.maintenance_window_id, operation.value, by.name],
        )
        log.record(
            f"Refused on environment '{environment}', which is in maintenance mode: {operation.label}",
            environment.audit_object,
            by=by,
            succeeded=False,
        )


def settle(environment_ids: Iterable[int] | None = None) -> list[int]:
    """Certify the draining windows of these environments (all of them when None) that are quiet; see `quiet.settle`."""
    draining = MaintenanceWindow.objects.draining()
    if environment_ids is not None:
        draining = draining.filter(environment__in=list(environment_ids))
    ids = list(draining.values_list("environment", flat=True))
    return quiet.settle(ids) if ids else []


def is_draining() -> bool:
    """Whether any window waits for contacts to end."""
    return MaintenanceWindow.objects.draining().exists()


def _database_now() -> datetime:
    """The database's clock at this very moment, not at the beginning of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
