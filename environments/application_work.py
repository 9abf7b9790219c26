"""Carrying out a queued task on an application, whatever its kind."""

import logging
from typing import Any

from environments import (
    application_creation,
    application_logs,
    application_security,
    application_settings,
    application_tasks,
    blocked_addresses,
    database_connections,
    plugins,
    tagging,
    version_removal,
)
from environments.application_tasks import Work

logger = logging.getLogger(__name__)

_ALL: tuple[Work[Any], ...] = (
    tagging.TAG,
    tagging.READ_VERSIONS,
    version_removal.REMOVE,
    application_settings.READ,
    application_settings.CHANGE,
    application_security.READ,
    application_security.CHANGE,
    application_logs.READ,
    application_creation.READ_TEMPLATES,
    application_creation.CREATE,
    plugins.CREATE,
    blocked_addresses.READ,
    blocked_addresses.UNBLOCK,
    database_connections.READ,
    database_connections.SAVE,
    database_connections.DELETE,
    database_connections.TEST,
)
WORK: dict[str, Work[Any]] = {work.kind: work for work in _ALL}


def carry_out(task_id: int) -> None:
    """Claim the task and do it. Delivered twice, the second delivery finds nothing to claim."""
    task = application_tasks.claim(task_id)
    if task is None:
        logger.info("Application task %s is claimed already, or over", task_id)
        return
    application_tasks.run(WORK[task.kind], task)
