"""A worker with one contact, for tests that kill, stop or cut it off.

`python -m tests.races.holder ENVIRONMENT_ID LEASE FLAG` calls the environment over and over. When the file FLAG exists,
it stops itself (SIGSTOP) with a request ready to be sent, its deadline written, and sends it when it is continued.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import django


async def hold(environment_id: int, lease: float, flag: Path) -> None:
    import aiohttp

    from environments import gate
    from environments.models import Purpose

    send = aiohttp.ClientSession.request

    def stop_before_sending(session, method, url, **options):
        if flag.exists() and method == "GET":
            flag.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
        return send(session, method, url, **options)

    aiohttp.ClientSession.request = stop_before_sending
    async with gate.session(lease=lease) as session, session.contact(environment_id, Purpose.SYNC) as client:
        while True:
            await client.get("/facts")
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    django.setup()
    asyncio.run(hold(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
