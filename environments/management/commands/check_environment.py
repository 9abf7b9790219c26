import json
import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from environments import conformance

EPILOG = """\
exit codes:
  0  conformant: no check failed
  1  not conformant: at least one check failed
  2  bad usage

With --write the documents are put back as they were, but the epoch stays raised by one: a console that speaks
with the old one is refused from then on.
"""


class Command(BaseCommand):
    """A tool for people who implement an environment server, not a part of the console's work.

    It opens its own plain connections and never uses the console's client: it is no contact, leaves nothing in the
    ledger, and is not held by maintenance mode, because it is pointed at an address, not at a registered environment.
    """

    help = "Check that a server keeps the Environment API v1 and tell exactly which rule it breaks."
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        kwargs.setdefault("epilog", EPILOG)
        kwargs.setdefault("formatter_class", RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", help="the environment's address, such as http://127.0.0.1:8101")
        token = parser.add_mutually_exclusive_group()
        token.add_argument("--token-file", type=Path, metavar="FILE", help="file with the bearer token")
        token.add_argument(
            "--token-env", default="ENVIRONMENT_TOKEN", metavar="VARIABLE", help="or variable (default: %(default)s)"
        )
        parser.add_argument("--epoch", type=int, default=1, help="epoch to speak with (default: %(default)s)")
        parser.add_argument("--write", action="store_true", help="also try what changes the environment")
        parser.add_argument("--json", action="store_true", help="machine-readable results")

    def handle(self, **options: Any) -> None:
        if options["epoch"] < 0:
            raise CommandError("The epoch is a number from 0.", returncode=2)
        try:
            subject = conformance.Subject(
                options["address"], self._token(options), epoch=options["epoch"], may_write=options["write"]
            )
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        results = conformance.run(subject)
        if options["json"]:
            self.stdout.write(json.dumps([result.as_dict() for result in results], indent=2, ensure_ascii=False))
        else:
            self._write(results)
        if any(result.outcome == "failed" for result in results):
            sys.exit(1)

    def _token(self, options: dict[str, Any]) -> str:
        path: Path | None = options["token_file"]
        try:
            token = path.read_text().strip() if path else os.environ.get(options["token_env"], "").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"Cannot read the token: {error}", returncode=2) from error
        if not token or not token.isascii() or not token.isprintable():
            raise CommandError(f"Give the token with --token-file or in {options['token_env']}.", returncode=2)
        return token

    def _write(self, results: list[conformance.Result]) -> None:
        for result in results:
            style = {"passed": self.style.SUCCESS, "failed": self.style.ERROR, "skipped": self.style.WARNING}
            self.stdout.write(f"{style[result.outcome](result.outcome):8} {result.name}: {result.expected}")
            if result.came:
                self.stdout.write(f"{'':9}{'came' if result.outcome == 'failed' else 'because'}: {result.came}")
        counts = {word: sum(result.outcome == word for result in results) for word in ("passed", "failed", "skipped")}
        self.stdout.write(", ".join(f"{count} {word}" for word, count in counts.items()))
