"""Messages to the workers. With the queue on the database, a message commits with the change that causes it."""

from typing import Any

from django_q.tasks import async_task


def enqueue(task: str, *arguments: Any) -> None:
    """Have a worker call `task` (a dotted path). It may be delivered twice; pass ids, not objects."""
    async_task(task, *arguments)
