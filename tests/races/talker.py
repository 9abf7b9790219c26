"""A worker that opens contacts with random environments until it has made so many attempts.

`python -m tests.races.talker ATTEMPTS SEED ENVIRONMENT_ID...` prints how its attempts ended, as JSON.
"""

import asyncio
import json
import random
import sys
from collections import Counter

import django


async def talk(attempts: int, chance: random.Random, environment_ids: list[int]) -> Counter[str]:
    from environments import gate
    from environments.models import Purpose

    ended: Counter[str] = Counter()
    left = attempts

    async def attempt(session: gate.Session) -> None:
        try:
            async with session.contact(chance.choice(environment_ids), Purpose.SYNC) as client:
                for _ in range(chance.randint(1, 3)):
                    await client.get(chance.choice(["/facts", "/digests", "/applications?limit=5"]))
            ended["completed"] += 1
        except gate.InMaintenance:
            ended["refused"] += 1
            await asyncio.sleep(0.002)
        except gate.CalledOff:
            ended["called off"] += 1
        except (gate.Unreachable, gate.Rejected) as error:
            ended[f"{type(error).__name__}: {error}"] += 1

    async def one_after_another(session: gate.Session) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await attempt(session)

    async with gate.session() as session:
        await asyncio.gather(*(one_after_another(session) for _ in range(16)))
    return ended


if __name__ == "__main__":
    django.setup()
    attempts, seed, *ids = map(int, sys.argv[1:])
    print(json.dumps(asyncio.run(talk(attempts, random.Random(seed), ids))))
