"""Waiting for what a worker does: the API answers with the outcome, but the web never talks to an environment.

A wait is bounded, holds no database connection while it sleeps, and only so many calls wait in one process: the other
threads go on answering.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.conf import settings
from django.db import connection

from environments import gate
from environments.models import ApplicationTask, TaskStatus
from lifetime.api.answers import Failed

Found = TypeVar("Found")
SHORTEST, LONGEST, GROWTH = 0.05, 0.5, 1.5  # seconds between two looks
_places = threading.BoundedSemaphore(settings.API_WAITING_CALLS)


class TimedOut(Failed):
    """It still goes on."""


@contextmanager
def place() -> Iterator[None]:
    """A place to wait in, taken before anything is queued; without one nothing is queued."""
    if not _places.acquire(blocking=False):
        raise Failed("Too many calls are waiting for environments. Nothing was done; try again soon.", retry_after=5)
    try:
        yield
    finally:
        _places.release()


def until(look: Callable[[], Found | None], *, seconds: float | None = None) -> Found | None:
    """What `look` finds, as soon as it finds something; None when the time is over."""
    ends = time.monotonic() + (settings.API_WAIT_SECONDS if seconds is None else seconds)
    pause = SHORTEST
    while (found := look()) is None:
        left = ends - time.monotonic()
        if left <= 0:
            return None
        _lend_connection()
        time.sleep(min(pause, left))
        pause = min(pause * GROWTH, LONGEST)
    return found


def until_over(task: ApplicationTask, *, seconds: float | None = None) -> ApplicationTask:
    """The task when it has gone well. Raises Failed, or gate.Refused when maintenance mode came between."""

    def look() -> ApplicationTask | None:
        found = ApplicationTask.objects.select_related("environment", "application").get(pk=task.pk)
        return None if found.is_active else found

    limit = settings.API_WAIT_SECONDS if seconds is None else seconds
    found = until(look, seconds=limit)
    if found is None:
        raise TimedOut(
            f"{task.get_kind_display()} in {task.environment} is still going on after {limit:.0f} seconds. "
            "It goes on by itself: look again later, do not repeat it."
        )
    if found.status == TaskStatus.ABORTED:
        raise _aborted(found)
    if found.status == TaskStatus.FAILED:
        raise Failed(found.message)
    return found


def _aborted(task: ApplicationTask) -> gate.Refused:
    task.environment.refresh_from_db(fields=["maintenance_window"])
    kind = gate.InMaintenance if task.environment.is_in_maintenance else gate.Refused
    return kind(task.message)


def _lend_connection() -> None:
    """Give the connection back to the pool; the next look takes one again."""
    if connection.settings_dict["OPTIONS"].get("pool") and not connection.in_atomic_block:
        connection.close()
