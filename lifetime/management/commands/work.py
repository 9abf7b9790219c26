import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error, connection

from lifetime import outage, processes
from lifetime.supervisor import Supervisor, interruptible

PAUSE = 2.0  # seconds between two looks at a database that is not ready


class Command(BaseCommand):
    help = (
        "Run workers on this host: a django-q2 cluster, watched, and replaced when it dies or hangs. "
        "Any number of hosts may do this on one database. SIGTERM lets running tasks end for a while."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = "LIFETIME_WORKERS sets the number of worker processes (2)."

    def handle(self, *_: Any, **__: Any) -> None:
        try:
            with interruptible():
                self._wait_for_database()
        except KeyboardInterrupt:
            return
        with (
            tempfile.TemporaryDirectory(prefix="lifetime-pulse-") as folder,
            Supervisor(logs=None, say=self.stderr.write) as supervisor,
        ):
            supervisor.start(processes.queue(Path(folder)))
            supervisor.run()

    def _wait_for_database(self) -> None:
        """Until it answers and has the tables of this version: hosts start in any order, and upgrades take a while."""
        said = ""
        while True:
            try:
                outage.require_current_schema()
            except (outage.NotMigrated, Error) as trouble:
                if not (text := outage.explain(trouble)):
                    raise
                if text != said:
                    self.stderr.write(f"The workers wait. {text}")
                said = text
                time.sleep(PAUSE)
            else:
                connection.close()  # the workers make their own
                return
