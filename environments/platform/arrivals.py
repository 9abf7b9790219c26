"""What has reached this process's sockets but has not been read yet."""

import asyncio
import select
import socket

PASSES = 8  # of the event loop: poll, read, parse, begin the request, and some to spare
SECONDS = 0.25  # under a storm of connections; what is still unread then is refused when it is read


class Arrivals:
    def __init__(self, listener: socket.socket | None = None) -> None:
        self._waiting = select.poll()
        if listener is not None:
            self._waiting.register(listener, select.POLLIN)

    async def seen(self) -> None:
        """Return when the requests that lay in the sockets at the call have been read and begun.

        The event loop accepts one connection a pass, so the queue of the listening socket is emptied first.
        """
        until = asyncio.get_running_loop().time() + SECONDS
        while self._waiting.poll(0) and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
        for _ in range(PASSES):
            await asyncio.sleep(0)
