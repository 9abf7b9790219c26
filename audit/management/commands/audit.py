"""`manage.py audit verify|prune|export`"""

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from audit import chain, retention
from audit.export import Format, TooMany
from audit.forms import FilterForm
from audit.models import ChainHead

EXIT_CODES = """\
exit codes:
  0  done; for verify: every entry is there, unchanged and in its place
  1  verify: the log is not what was written (what and where is said); prune, export: it could not be done
  2  bad usage
"""


class Command(BaseCommand):
    help = "Verify the audit log, delete its old entries, or write it to a file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXIT_CODES
        commands = parser.add_subparsers(dest="subcommand", required=True, metavar="verify|prune|export")
        shared: dict[str, Any] = {"formatter_class": RawDescriptionHelpFormatter, "epilog": EXIT_CODES}

        verify = commands.add_parser(
            "verify", help="check that no entry was changed, removed, moved or added", **shared
        )
        verify.add_argument("--json", action="store_true", help="answer as one JSON object")
        verify.add_argument(
            "--known", metavar="NUMBER:HASH", help="an entry noted at another place, as an earlier verify printed it"
        )

        prune = commands.add_parser("prune", help="delete old entries and leave a signed anchor", **shared)
        prune.add_argument(
            "--days", type=int, help=f"keep so many days (default {settings.AUDIT_RETENTION_DAYS}, as configured)"
        )

        export = commands.add_parser("export", help="write entries to a file, oldest first", **shared)
        export.add_argument("--format", choices=Format.values, required=True)
        export.add_argument("--output", required=True, metavar="FILE", help="- is the standard output")
        export.add_argument("--message", default="", help="only messages that contain this")
        export.add_argument("--from", default="", metavar="DATE", help="first day (UTC), as 2026-11-23")
        export.add_argument("--to", default="", metavar="DATE", help="last day (UTC)")
        export.add_argument("--user", default="", help="only acts of this person: username, name, or System")
        export.add_argument("--type", default="", help="only changes to this type of object")
        export.add_argument("--key", default="", help="only changes to the object with this key")
        export.add_argument("--updates", action="store_true", help="only updates")
        export.add_argument("--failed", action="store_true", help="only failed actions")

    def handle(self, *, subcommand: str, **options: Any) -> None:
        match subcommand:
            case "verify":
                self.verify(**options)
            case "prune":
                self.prune(**options)
            case "export":
                self.export(**options)

    def verify(self, *, known: str | None, **options: Any) -> None:
        head = ChainHead.objects.first()
        bar = tqdm(total=head.number if head else 0, unit=" entries", disable=None, leave=False)

        def show(done: int) -> None:
            bar.update(done - bar.n)

        with bar:
            report = chain.verify(known=_number_and_hash(known), on_progress=show)
        if options["json"]:
            self.stdout.write(json.dumps({"intact": report.is_intact, **asdict(report)}))
        elif report.fault:
            self.stderr.write(f"The audit log is NOT intact ({report.fault.kind}): {report.fault.explanation}")
        else:
            entries = f"{report.entries:,} entries" if report.entries else "No entries"
            self.stdout.write(f"The audit log is intact: {entries}, last {report.last}:{report.hash}")
        if report.fault:
            sys.exit(1)

    def prune(self, *, days: int | None, **options: Any) -> None:
        try:
            cut = retention.prune(days=days)
        except retention.TooShort as refusal:
            raise CommandError(str(refusal), returncode=2) from refusal
        if cut is None:
            self.stdout.write("No audit entry is old enough to be deleted.")
        else:
            self.stdout.write(f"Deleted {cut.entries:,} audit entries, #{cut.first} to #{cut.last}.")

    def export(self, *, output: str, **options: Any) -> None:
        form = FilterForm({name: options[name] for name in [*FilterForm.field_order, "key"]})
        if not form.is_valid():
            wrong = [f"--{name}: {error}" for name, errors in form.errors.items() for error in errors]
            raise CommandError("\n".join(wrong), returncode=2)
        file_format = Format(options["format"])
        try:
            file_format.refuse_too_many(form.events())
        except TooMany as refusal:
            raise CommandError(str(refusal)) from refusal
        pieces = file_format.write(form.events())
        if output == "-":
            sys.stdout.buffer.writelines(pieces)
            return
        try:
            with Path(output).open("wb") as file:
                file.writelines(pieces)
        except OSError as trouble:
            raise CommandError(f"Cannot write {output}: {trouble.strerror}") from trouble


def _number_and_hash(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise CommandError("--known has to be NUMBER:HASH, as verify prints it", returncode=2)
    return int(number), digest.lower()
