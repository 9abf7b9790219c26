"""Somebody who toggles maintenance mode at random, one environment or many at once, until told to stop.

`python -m tests.races.toggler SEED ENVIRONMENT_ID...` ends on SIGTERM and prints its toggles as JSON.
"""

import json
import random
import signal
import sys
import time

import django


def main() -> None:
    django.setup()
    from audit.log import Actor
    from environments import maintenance
    from environments.models import Environment

    seed, *ids = map(int, sys.argv[1:])
    chance = random.Random(seed)
    by = Actor(name=f"Toggler {seed}")
    counts = {"enabled": 0, "disabled": 0, "refused": 0}
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    while not stopped:
        chosen = list(Environment.objects.filter(pk__in=chance.sample(ids, chance.choice([1, 1, 2, 5]))))
        try:
            if chance.random() < 0.5:
                counts["enabled"] += len(maintenance.enable_all(chosen, by=by, reason="A race"))
            else:
                counts["disabled"] += len(maintenance.disable_all(chosen, by=by, reason="The end of a race"))
        except maintenance.MaintenanceRefused:
            counts["refused"] += 1
        time.sleep(chance.random() * 0.02)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
