import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Becomes the server's own process: serving costs nothing of Django, and a signal reaches the server itself."""

    help = "Serve a reference environment; takes the arguments of `python -m environments.platform` (see its --help)."

    def run_from_argv(self, argv: list[str]) -> None:
        paths = [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]  # relative arguments stay relative to here
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        os.execv(sys.executable, [sys.executable, "-m", "environments.platform", *argv[2:]])  # noqa: S606

    def handle(self, *args: Any, **options: Any) -> None:
        raise CommandError("This command replaces its process: start it from a shell, or run the module.")
