"""A worker that does nothing but plans, until it is told to stop: `python -m tests.races.plan_worker LEASE FLAG`."""

import sys
import time
from pathlib import Path

import django

django.setup()

from django.conf import settings  # noqa: E402

from deployments import execution  # noqa: E402
from environments import ledger, maintenance  # noqa: E402


def main() -> None:
    settings.LEASE_SECONDS = float(sys.argv[1])
    stop = Path(sys.argv[2])
    while not stop.exists():
        execution.advance()
        ledger.close_lost()
        maintenance.settle()
        time.sleep(0.1)


if __name__ == "__main__":
    main()
