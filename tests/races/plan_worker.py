"""A worker for plans, and for what the schedule does when others die: `python -m tests.races.plan_worker LEASE FLAG`.

It goes on until the file FLAG exists.
"""

import sys
import time
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402

from deployments import execution  # noqa: E402
from environments import ledger, maintenance, sync  # noqa: E402


def main() -> None:
    settings.LEASE_SECONDS = float(sys.argv[1])
    sync.ORPHANED_AFTER = 2 * settings.LEASE_SECONDS  # for workers that die before they open a contact
    stop = Path(sys.argv[2])
    while not stop.exists():
        execution.advance()
        ledger.close_lost()  # this and what follows is done by the tick, each minute
        maintenance.settle()
        sync.give_up_orphans()
        time.sleep(0.1)


if __name__ == "__main__":
    main()
