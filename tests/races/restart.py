"""PostgreSQL is restarted in the middle of a drain: on a server of its own, so that no other test notices.

`LIFETIME_VAR=FOLDER python -m tests.races.restart FOLDER` prints what became of the window and its contact, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import django


def main(folder: Path) -> None:
    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    from environments import maintenance, sync
    from environments.models import Contact
    from lifetime import database
    from tests.factories import actor, create_environment
    from tests.platforms import Platform
    from tests.processes import Process

    def settle() -> bool:
        connections.close_all()  # those of before the restart are broken
        return bool(maintenance.settle())

    try:
        call_command("migrate", verbosity=0)
        with Platform.start(folder / "platform") as platform:
            platform.behave(delay_seconds=60)
            environment = create_environment(platform=platform)
            holder = ("-m", "tests.races.holder", str(environment.pk), "6", str(folder / "flag"))
            with Process(*holder, log=folder / "holder"):
                platform.wait_until_serving(1, seconds=20)
                platform.freeze()  # its goodbye is not answered: the drain takes a while
                window = maintenance.enable(environment, by=actor(), reason="Upgrade")
                status = window.status
                connections.close_all()
                database.stop(settings.VAR_DIR)
                platform.thaw()
                database.start(settings.VAR_DIR)
                ends = time.monotonic() + 20
                while not settle() and time.monotonic() < ends:
                    window.refresh_from_db()
                    if window.quiet_at:
                        break
                    time.sleep(0.05)
            window.refresh_from_db()
            contact = Contact.objects.get()
            log = platform.log()
            platform.behave()
            maintenance.disable(environment, by=actor(), reason="Done")
            sync.run(list(environment.sync_runs.active().values_list("pk", flat=True)))
            result = {
                "at_first": status,
                "then": window.status,
                "contact": contact.outcome,
                "seconds": (window.quiet_at - window.enabled_at).total_seconds() if window.quiet_at else None,
                "last_heard_before_quiet": window.quiet_at is not None
                and max(line["ended_at"] for line in log) < window.quiet_at.isoformat(),
                "sync": environment.sync_runs.get().status,
            }
        print(json.dumps(result))
    finally:
        connections.close_all()
        database.stop(settings.VAR_DIR)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
