"""Group commit: what many tasks ask for at the same time leaves in one batch."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_BATCH = 200


class Batcher(Generic[Item, Result]):
    """Hands everything submitted while the last batch was handled to `handle`, which answers item by item.

    An exception among the results, or raised for the whole batch, reaches the submitter. An item once submitted is
    handled even when its submitter is cancelled.
    """

    def __init__(self, handle: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]) -> None:
        self._handle = handle
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def aclose(self) -> None:
        """Handle what is still queued, then stop."""
        if self._task is not None:
            await self._queue.join()
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < LARGEST_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            results: Sequence[Result | Exception]
            try:
                results = await self._handle([item for item, _ in batch])
            except Exception as error:  # every submitter of the batch is told
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.cancelled():
                    pass  # its submitter is gone
                elif isinstance(result, Exception):
                    future.set_exception(result)
                    future.exception()  # its submitter may be about to go; that is no unseen error
                else:
                    future.set_result(result)
                self._queue.task_done()
