"""`manage.py sync_environments`"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any, NoReturn

from django.core.management.base import BaseCommand

from audit import log
from environments import gate, selection, sync
from environments.management.commands.maintenance import BAD_USAGE, PARTLY, system_actor
from environments.models import Environment

EXIT_CODES = """\
exit codes:
  0  done: each is queued, or was queued or running already
  1  failed for an unexpected reason, which is said
  2  bad usage; nothing was queued
  5  partly: those in maintenance mode were skipped, the others are queued
"""


class Command(BaseCommand):
    help = "Queue a synchronization of environments; those in maintenance mode are skipped and named."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXIT_CODES
        parser.add_argument("names", nargs="*", metavar="NAME", help="an environment")
        parser.add_argument("--all", action="store_true", dest="everything", help="all registered environments")
        parser.add_argument("--changes-only", action="store_true", help="only what changed (default: everything)")

    def handle(self, *, names: list[str], everything: bool, changes_only: bool, **_: Any) -> None:
        if bool(names) == everything:
            self._stop(BAD_USAGE, "Say which environments: by their names, or --all.")
        try:
            environments = selection.everything() if everything else selection.by_names(names)
        except selection.BadSelection as mistake:
            self._stop(BAD_USAGE, f"Nothing was queued. {mistake}")
        by = system_actor()
        skipped = sum(not self._request(one, by=by, is_full=not changes_only) for one in environments)
        if skipped:
            self._stop(PARTLY, f"{skipped} of {len(environments)} skipped.")

    def _request(self, environment: Environment, *, by: log.Actor, is_full: bool) -> bool:
        name = selection.printable(environment.name)
        try:
            run = sync.request(environment, by=by, is_full=is_full)
        except gate.Refused as refusal:
            self.stdout.write(f"{name}: skipped. {selection.printable(str(refusal))}")
            return False
        self.stdout.write(f"{name}: {run} is {run.get_status_display().lower()}")
        return True

    def _stop(self, code: int, message: str) -> NoReturn:
        self.stderr.write(message)
        sys.exit(code)
