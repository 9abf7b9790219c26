import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from lifetime import processes
from lifetime.supervisor import Supervisor


class Command(BaseCommand):
    help = (
        "Run workers on this host: a django-q2 cluster, watched, and replaced when it dies or hangs. "
        "Any number of hosts may do this on one database. SIGTERM lets running tasks end for a while."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = "LIFETIME_WORKERS sets the number of worker processes (2)."

    def handle(self, *_: Any, **__: Any) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="lifetime-pulse-") as folder,
            Supervisor(logs=None, say=self.stderr.write) as supervisor,
        ):
            supervisor.start(processes.queue(Path(folder)))
            supervisor.run()
