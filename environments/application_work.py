"""Carrying out a queued task on an application, whatever its kind."""

import logging

from environments import application_tasks, tagging
from environments.application_tasks import Work

logger = logging.getLogger(__name__)

WORK: dict[str, Work] = {work.kind: work for work in (tagging.TAG, tagging.READ_VERSIONS)}  # type: ignore[type-arg]


def carry_out(task_id: int) -> None:
    """Claim the task and do it. Delivered twice, the second delivery finds nothing to claim."""
    task = application_tasks.claim(task_id)
    if task is None:
        logger.info("Application task %s is claimed already, or over", task_id)
        return
    application_tasks.run(WORK[task.kind], task)
