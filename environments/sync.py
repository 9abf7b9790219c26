"""Synchronization: who is due, who asked, what came of it.

A run is queued by the schedule, a person, or the end of maintenance mode; a worker claims it by a conditional UPDATE,
so a message that is delivered twice finds nothing to claim. One task takes a batch of runs and fans out inside.
"""

import asyncio
import gc
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import uvloop
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from audit import log
from environments import conversation, deliveries, gate
from environments.batching import Batcher
from environments.conversation import Errand, Report, Superseded
from environments.models import (
    Environment,
    MaintenanceWindow,
    Purpose,
    SyncRun,
    SyncState,
    SyncStatus,
    SyncTrigger,
)
from environments.operations import Operation, explain, refusal
from lifetime.queue import enqueue

logger = logging.getLogger(__name__)

BATCH = 200  # runs in one task
IN_FLIGHT = 256  # conversations at once in one task; more only wait for the processor
LONGEST_RUN = 240.0  # seconds; the queue ends whoever takes 300
ORPHANED_AFTER = 60  # seconds without a contact after which a running run is given up


def request(
    environment: Environment, *, by: log.Actor, trigger: SyncTrigger = SyncTrigger.MANUAL, is_full: bool = True
) -> SyncRun:
    """Queue a synchronization, or return the one that is queued or running; raises gate.Refused with the reason."""
    with transaction.atomic():
        [locked] = Environment.objects.filter(pk=environment.pk).lock()
        if locked.maintenance_window:
            raise gate.InMaintenance(explain(locked.name, locked.maintenance_window, Operation.SYNCHRONIZE.label))
        if not locked.is_registered:
            raise gate.NotRegistered(f"{locked} is not registered.")
        if active := SyncRun.objects.active().filter(environment=locked).first():
            queued = SyncRun.objects.filter(pk=active.pk, status=SyncStatus.QUEUED)
            if not queued.update(is_full=active.is_full or is_full) and is_full and not active.is_full:
                SyncState.objects.filter(environment=locked).update(full_due=True)  # the next one takes everything
            return active
        run = _queue([locked], trigger=trigger, by=by, is_full=is_full)[locked.pk]
        if trigger == SyncTrigger.MANUAL:
            log.record(f"Requested synchronization of environment '{locked}'", locked.audit_object, by=by)
    return run


def request_all(environments: Sequence[Environment], *, trigger: SyncTrigger, by: log.Actor) -> dict[int, SyncRun]:
    """Queue a full synchronization of each, inside the caller's transaction, which holds the environments' rows and
    knows that none has an active run; by environment id."""
    states = SyncState.objects.filter(environment__in=environments)
    if states.update(full_due=True, failures=0, due_at=Now()) < len(environments):
        SyncState.objects.bulk_create([SyncState(environment=one) for one in environments], ignore_conflicts=True)
    return _queue(environments, trigger=trigger, by=by, is_full=True)


QUEUE = """
INSERT INTO environments_syncrun (key, environment_id, trigger, is_full, status, requested_by)
SELECT gen_random_uuid(), wanted.id, %(trigger)s, %(is_full)s, 'queued', %(by)s
FROM unnest(%(environments)s::bigint[]) WITH ORDINALITY AS wanted(id, item) ORDER BY wanted.item
RETURNING *
"""


def _queue(
    environments: Sequence[Environment], *, trigger: SyncTrigger, by: log.Actor, is_full: bool
) -> dict[int, SyncRun]:
    parameters: dict[str, Any] = {
        "environments": [environment.pk for environment in environments],
        "trigger": trigger.value,
        "is_full": is_full,
        "by": by.name,
    }
    runs = list(SyncRun.objects.raw(QUEUE, parameters))
    for some in _chunks([run.pk for run in runs], BATCH):
        enqueue("environments.tasks.synchronize", some)
    return {run.environment_id: run for run in runs}


def _chunks(ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


QUEUE_DUE = """
WITH due AS (
    SELECT s.environment_id, s.full_due, e.maintenance_window_id
    FROM environments_syncstate s JOIN environments_environment e ON e.id = s.environment_id
    WHERE s.due_at <= clock_timestamp() AND e.registration = 'registered'
    ORDER BY s.environment_id FOR NO KEY UPDATE OF s SKIP LOCKED FOR SHARE OF e SKIP LOCKED
), later AS (
    UPDATE environments_syncstate s
    SET due_at = clock_timestamp() + make_interval(secs => e.sync_interval * (0.9 + 0.2 * random()))
    FROM due JOIN environments_environment e ON e.id = due.environment_id WHERE s.environment_id = due.environment_id
), in_maintenance AS (
    SELECT w.id FROM environments_maintenancewindow w JOIN due ON due.maintenance_window_id = w.id
    ORDER BY w.id FOR NO KEY UPDATE OF w
), skipped AS (
    UPDATE environments_maintenancewindow w SET ticks_skipped = ticks_skipped + 1
    FROM in_maintenance WHERE w.id = in_maintenance.id
)
INSERT INTO environments_syncrun (key, environment_id, trigger, is_full, status, requested_by)
SELECT gen_random_uuid(), environment_id, 'schedule', full_due, 'queued', 'System'
FROM due WHERE maintenance_window_id IS NULL ORDER BY environment_id
ON CONFLICT (environment_id) WHERE status IN ('queued', 'running') DO NOTHING
RETURNING id
"""


def queue_due() -> int:
    """Queue every environment whose time has come; count the tick that one in maintenance mode skips.

    Safe to run twice at once. Returns how many were queued.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(QUEUE_DUE)
        ids = [run_id for (run_id,) in cursor.fetchall()]
        for some in _chunks(ids, BATCH):
            enqueue("environments.tasks.synchronize", some)
    return len(ids)


def deliver(environments: Iterable[Environment]) -> None:
    """Synchronize these environments as soon as possible, in the caller's transaction: the console has something new.

    One in maintenance mode gets it on its return, one with a synchronization under way by that or by the next. A row
    that a worker writes right now is passed over rather than waited for: its turn comes one interval later.
    """
    states = SyncState.objects.filter(environment__in=list(environments)).order_by("pk")
    free = list(states.select_for_update(no_key=True, skip_locked=True).values_list("pk", flat=True))
    SyncState.objects.filter(pk__in=free).update(due_at=Now())
    queue_due()


ABORT = """
WITH active AS (
    SELECT id FROM environments_syncrun
    WHERE environment_id = ANY(%s) AND status IN ('queued', 'running') ORDER BY id FOR NO KEY UPDATE
)
UPDATE environments_syncrun r
SET status = 'aborted', ended_at = clock_timestamp(), part = '', window_id = v.window_id, message = v.message
FROM active, unnest(%s::bigint[], %s::bigint[], %s::text[]) AS v(environment_id, window_id, message)
WHERE r.id = active.id AND v.environment_id = r.environment_id
RETURNING r.environment_id
"""


def abort_for(windows: Mapping[int, MaintenanceWindow]) -> dict[int, int]:
    """Abort the queued and running synchronizations of these environments (by id), in the caller's transaction.

    Returns how many by environment id. The gate cuts their contacts when the transaction commits.
    """
    ids = list(windows)
    messages = [
        f"Aborted by maintenance mode, which {window.enabled_by} enabled: {window.reason}"[:500]
        for window in windows.values()
    ]
    with connection.cursor() as cursor:
        cursor.execute(ABORT, [ids, ids, [window.pk for window in windows.values()], messages])
        return dict.fromkeys((environment_id for (environment_id,) in cursor.fetchall()), 1)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one run ended. Without a report it failed, or was refused (`status` aborted)."""

    errand: Errand
    status: SyncStatus
    report: Report | None = None
    message: str = ""
    is_unreachable: bool = False
    clock_offset: float | None = None


def run(run_ids: Sequence[int]) -> None:
    """Carry out these runs: claim them, talk to their environments at once, store what came of each."""
    _collect_garbage_less_often()
    uvloop.run(_in_session(list(run_ids)))


async def carry_out(session: gate.Session, run_ids: Sequence[int]) -> None:
    """As `run`, for who is in the middle of something else; when that is cancelled, so are the runs."""
    errands = await sync_to_async(_claim)(list(run_ids))
    try:
        await _carry_out(session, errands)
    except asyncio.CancelledError:
        await sync_to_async(_let_go)([errand.run_id for errand in errands])
        raise


def _let_go(run_ids: Sequence[int]) -> None:
    """These are not carried out any further; what they were for has its turn soon."""
    message = "What had asked for it was called off. The next synchronization starts afresh."
    running = SyncRun.objects.filter(pk__in=run_ids, status=SyncStatus.RUNNING)
    running.update(status=SyncStatus.ABORTED, ended_at=Now(), part="", message=message)
    SyncState.objects.filter(environment__sync_runs__in=run_ids).update(due_at=Now())


@cache
def _collect_garbage_less_often() -> None:
    """A batch makes many objects that live for a moment: looking for cycles among them every 700 objects takes a
    quarter of its time. The program's own half a million objects are left out of it altogether."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _in_session(run_ids: list[int]) -> None:
    claiming = asyncio.create_task(sync_to_async(_claim)(run_ids))  # while the session connects
    async with gate.session() as session:
        errands = await claiming
        if not errands:
            logger.info("Synchronizations %s are claimed already, or aborted", run_ids)
        await _carry_out(session, errands)


async def _carry_out(session: gate.Session, errands: Sequence[Errand]) -> None:
    slots = asyncio.Semaphore(IN_FLIGHT)
    finishing: Batcher[Result, None] = Batcher(_finish_batch)
    async with asyncio.TaskGroup() as group:

        async def carry_out(errand: Errand) -> None:
            async with slots:
                result = await _attempt(session, errand)
            await finishing.submit(result)

        for errand in errands:
            group.create_task(carry_out(errand))
    await finishing.aclose()


CLAIM = """
WITH claimed AS (
    UPDATE environments_syncrun SET status = 'running', started_at = clock_timestamp()
    WHERE id = ANY(%s) AND status = 'queued' RETURNING id, environment_id, is_full
)
SELECT c.id, c.environment_id, c.is_full, s.etag, s.digests, s.applied, s.applications_cursor
FROM claimed c JOIN environments_syncstate s ON s.environment_id = c.environment_id
"""


def _claim(run_ids: list[int]) -> list[Errand]:
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [run_ids])
        claimed = cursor.fetchall()
    bodies = deliveries.due(Environment.objects.in_bulk([row[1] for row in claimed]).values())
    return [
        Errand(
            run_id=run_id,
            environment_id=environment_id,
            is_full=is_full,
            etag=etag,
            digests=json.loads(digests),
            applied=json.loads(applied),
            cursor=cursor,
            deliveries=bodies[environment_id],
        )
        for run_id, environment_id, is_full, etag, digests, applied, cursor in claimed
    ]


async def _attempt(session: gate.Session, errand: Errand) -> Result:
    """One run from contact to result. One environment's trouble is its own result, never the batch's."""
    try:
        async with asyncio.timeout(LONGEST_RUN):
            async with session.contact(errand.environment_id, Purpose.SYNC, sync_run_id=errand.run_id) as client:
                report = await conversation.converse(client, errand)
        return Result(
            errand=errand,
            status=SyncStatus.FAILED if report.trouble else SyncStatus.FINISHED,
            report=report,
            message=report.trouble,
            is_unreachable=report.is_unreachable,
            clock_offset=client.clock_offset,
        )
    except (gate.Refused, gate.CalledOff, Superseded) as why:
        return Result(errand=errand, status=SyncStatus.ABORTED, message=str(why))
    except TimeoutError:
        message = f"It took longer than {LONGEST_RUN / 60:.0f} minutes and was given up."
        return Result(errand=errand, status=SyncStatus.FAILED, message=message)
    except gate.Unreachable as trouble:
        return Result(errand=errand, status=SyncStatus.FAILED, message=str(trouble), is_unreachable=True)
    except gate.Rejected as trouble:
        return Result(errand=errand, status=SyncStatus.FAILED, message=str(trouble))
    except Exception:
        logger.exception("Synchronization %s failed", errand.run_id)
        message = "The console made a mistake here; its log has the details. Try again, then report it."
        return Result(errand=errand, status=SyncStatus.FAILED, message=message)


# A run that was aborted meanwhile stays aborted, and its result changes nothing: only what `ended` names goes on.
FINISH = """
WITH result AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(statuses)s::text[], %(messages)s::text[], %(changes)s::jsonb[],
        %(etags)s::text[], %(digests)s::jsonb[], %(applied)s::jsonb[], %(cursors)s::text[], %(unreachable)s::bool[],
        %(offsets)s::float8[])
    AS v(id, status, message, changes, etag, digests, applied, cursor, is_unreachable, clock_offset)
), running AS (
    SELECT r.id FROM environments_syncrun r WHERE r.id = ANY(%(ids)s) AND r.status = 'running' ORDER BY r.id FOR UPDATE
), ended AS (
    UPDATE environments_syncrun r
    SET status = v.status, message = v.message, changes = v.changes, ended_at = clock_timestamp(), part = ''
    FROM result v, running WHERE running.id = r.id AND v.id = r.id
    RETURNING r.id, r.environment_id, r.is_full, r.status
)
UPDATE environments_syncstate s
SET synchronized_at = CASE WHEN ended.status = 'finished' THEN clock_timestamp() ELSE s.synchronized_at END,
    changed_at = CASE WHEN v.changes - 'failed' <> '{}' THEN clock_timestamp() ELSE s.changed_at END,
    full_due = s.full_due AND NOT (ended.status = 'finished' AND ended.is_full),
    failures = CASE ended.status WHEN 'finished' THEN 0 WHEN 'failed' THEN s.failures + 1 ELSE s.failures END,
    message = CASE ended.status WHEN 'finished' THEN '' ELSE v.message END,
    unreachable_since = CASE WHEN v.is_unreachable THEN coalesce(s.unreachable_since, clock_timestamp()) END,
    etag = coalesce(v.etag, s.etag), digests = coalesce(v.digests, s.digests),
    applied = coalesce(v.applied, s.applied), applications_cursor = coalesce(v.cursor, s.applications_cursor),
    clock_offset = coalesce(v.clock_offset, s.clock_offset),
    clock_measured_at = CASE WHEN v.clock_offset IS NULL THEN s.clock_measured_at ELSE clock_timestamp() END,
    due_at = clock_timestamp() + (0.9 + 0.2 * random()) * make_interval(secs => CASE ended.status
        WHEN 'failed' THEN least(e.sync_interval * 2 ^ least(s.failures, 10), greatest(3600, e.sync_interval))
        ELSE e.sync_interval END)
FROM ended JOIN result v ON v.id = ended.id JOIN environments_environment e ON e.id = ended.environment_id
WHERE s.environment_id = ended.environment_id
RETURNING ended.id, ended.environment_id, ended.status, ended.is_full
"""


async def _finish_batch(results: Sequence[Result]) -> Sequence[None]:
    """Store what came of these runs; when that fails for all of them, one by one: one's trouble is not another's."""
    try:
        await sync_to_async(_finish)(results)
    except Exception:
        if len(results) == 1:
            logger.exception("Synchronization %s could not be ended; it is given up", results[0].errand.run_id)
        else:
            for one in results:
                await _finish_batch([one])
    return [None] * len(results)


def _finish(results: Sequence[Result]) -> None:
    reports = [result.report for result in results]
    busy = [report if report and not report.is_idle else None for report in reports]
    explained = _explained([result.errand for result in results if result.status == SyncStatus.ABORTED])
    parameters: dict[str, Any] = {
        "ids": [result.errand.run_id for result in results],
        "statuses": [result.status.value for result in results],
        "messages": [explained.get(result.errand.run_id, result.message)[:500] for result in results],
        "changes": [json.dumps(report.changes) if report else "{}" for report in reports],
        "etags": [report.etag if report else None for report in reports],
        "digests": [json.dumps(report.digests) if report else None for report in busy],
        "applied": [json.dumps(report.applied) if report else None for report in busy],
        "cursors": [report.cursor if report else None for report in busy],
        "unreachable": [result.is_unreachable for result in results],
        "offsets": [result.clock_offset for result in results],
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(FINISH, parameters)
        ended = cursor.fetchall()
        full = [environment_id for _, environment_id, status, is_full in ended if is_full and status == "finished"]
        if full:
            _end_recoveries(full)


def _explained(refused: Sequence[Errand]) -> dict[int, str]:
    """By run, who keeps it out and why: the gate knows no more than that the environment is in maintenance mode."""
    if not refused:
        return {}
    ids = [errand.environment_id for errand in refused]
    closed = Environment.objects.select_related("maintenance_window").in_bulk(ids)
    return {
        errand.run_id: reason
        for errand in refused
        if (reason := refusal(closed[errand.environment_id], Operation.SYNCHRONIZE))
    }


def _end_recoveries(environment_ids: Sequence[int]) -> None:
    """A full synchronization ended well: the window that waited for it is over."""
    recovering = MaintenanceWindow.objects.filter(environment__in=environment_ids, status="recovering")
    windows = list(recovering.select_related("environment", "recovery_sync").order_by("pk"))
    if not windows:
        return
    MaintenanceWindow.objects.filter(pk__in=[window.pk for window in windows]).update(
        status="ended", recovered_at=Now()
    )
    latest = {
        run.environment_id: run
        for run in SyncRun.objects.filter(environment__in=environment_ids, status="finished", is_full=True)
        .order_by("environment_id", "-pk")
        .distinct("environment_id")
    }
    entries = []
    for window in windows:
        run = latest[window.environment_id]
        entries.append(
            log.Entry(
                message=f"Environment '{window.environment}' is back in sync after maintenance mode: "
                f"{describe(run.changes)}",
                on=window.environment.audit_object,
                by=log.SYSTEM,
                cause=window.audit_key,
                details=run.changes,
            )
        )
    log.record_all(entries)


def describe(changes: Mapping[str, Any]) -> str:
    """The changes of a run in one line, for people."""
    parts = []
    if counts := changes.get("applications"):
        parts.append("applications: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count))
    parts += [f"{fact['name'].replace('_', ' ')} is now {fact['after']}" for fact in changes.get("facts", [])]
    if delivered := changes.get("delivered"):
        parts.append("delivered " + ", ".join(one["part"].replace("_", " ") for one in delivered))
    if failed := changes.get("failed"):
        parts.append("failed " + ", ".join(one["part"].replace("_", " ") for one in failed))
    return "; ".join(parts) or "nothing had changed"


GIVE_UP = """
UPDATE environments_syncrun r
SET status = 'failed', ended_at = clock_timestamp(), part = '',
    message = 'The worker that carried it out stopped answering. The next synchronization starts afresh.'
WHERE r.status = 'running' AND NOT EXISTS (
    SELECT FROM environments_contact c
    WHERE c.environment_id = r.environment_id AND c.sync_run_id = r.id AND c.closed_at IS NULL)
AND (r.started_at < clock_timestamp() - make_interval(secs => %s) OR EXISTS (
    SELECT FROM environments_contact c
    WHERE c.environment_id = r.environment_id AND c.sync_run_id = r.id AND c.outcome = 'lost'))
RETURNING r.environment_id, r.message
"""


def give_up_orphans() -> int:
    """End runs whose worker died: running, without an open contact, and with one that was lost, or old enough. Whoever
    waits for a run may ask this. Returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(GIVE_UP, [ORPHANED_AFTER])
        ended = dict(cursor.fetchall())
        SyncState.objects.filter(environment__in=ended).update(
            failures=F("failures") + 1, message="The worker stopped answering.", due_at=Now()
        )
    return len(ended)


def requeue_forgotten() -> None:
    """Enqueue again what has been queued for minutes: its message was lost with a worker. Twice does no harm."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM environments_syncrun "
            "WHERE status = 'queued' AND requested_at < clock_timestamp() - interval '2 minutes' ORDER BY id"
        )
        ids = [run_id for (run_id,) in cursor.fetchall()]
    for some in _chunks(ids, BATCH):
        enqueue("environments.tasks.synchronize", some)


PRUNE = """
DELETE FROM environments_syncrun r WHERE r.id IN (
    SELECT o.id FROM environments_syncrun o
    WHERE (o.ended_at < clock_timestamp() - make_interval(days => %s) AND o.window_id IS NULL
           OR o.ended_at < clock_timestamp() - interval '1 day'
              AND o.trigger = 'schedule' AND o.status = 'finished' AND o.changes = '{}')
      AND NOT EXISTS (SELECT FROM environments_maintenancewindow w WHERE w.recovery_sync_id = o.id)
    ORDER BY o.id LIMIT 10000)
"""


def prune() -> None:
    """Forget old runs: those that found nothing after a day, the others after `LEDGER_DAYS`."""
    with connection.cursor() as cursor:
        cursor.execute(PRUNE, [settings.LEDGER_DAYS])
