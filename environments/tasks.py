"""What workers do. Each task may be delivered twice; none outlives the queue's timeout."""

import time

from django.db import connection

from environments import (
    application_tasks,
    application_work,
    events,
    icons,
    ledger,
    maintenance,
    newcomers,
    provider_tests,
    registry,
    sync,
)

WATCH_SECONDS = 60.0
WATCH_PAUSE = 0.05
WATCH_LOCK = 4_207_001  # advisory lock: one watcher is enough


def synchronize(run_ids: list[int]) -> None:
    """Carry out queued synchronizations."""
    sync.run(run_ids)


def check_connection(environment_id: int) -> None:
    """Check the connection to an environment that is being registered."""
    registry.check_connection(environment_id)


def test_provider(test_id: int) -> None:
    """Test a provider of external authentication. Delivered twice, the second finds nothing."""
    provider_tests.run(test_id)


def work_on_application(task_id: int) -> None:
    """Carry out a task on an application: tagging, settings, logs. Delivered twice, the second finds nothing."""
    application_work.carry_out(task_id)


def tick() -> None:
    """Every minute: queue what is due, end what a dead worker left behind, forget what is too old."""
    sync.queue_due()
    sync.requeue_forgotten()
    ledger.close_lost()
    maintenance.settle()
    sync.give_up_orphans()
    application_tasks.recover()
    ledger.prune()
    application_tasks.prune()
    icons.prune()
    newcomers.prune()
    sync.prune()
    events.prune()


def watch_draining() -> None:
    """Settle draining windows until none is left. A window may wait for a dead worker's lease, seconds from now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [WATCH_LOCK])
        if not cursor.fetchone()[0]:
            return
        try:
            ends = time.monotonic() + WATCH_SECONDS
            while maintenance.is_draining() and time.monotonic() < ends:
                maintenance.settle()
                time.sleep(WATCH_PAUSE)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [WATCH_LOCK])
