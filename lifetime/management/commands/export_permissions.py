"""manage.py export_permissions: the user permissions report as a spreadsheet."""

import os
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from tqdm import tqdm

from audit import log
from lifetime import permissions_report
from lifetime.models import User


class Command(BaseCommand):
    help = "Write who may do what in each environment to an XLSX file. That it was taken is an entry of the audit log."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="The file to write; it ends in .xlsx.")
        parser.add_argument("--force", action="store_true", help="Replace the file if it exists.")

    def handle(self, *, file: Path, force: bool, **options: Any) -> None:
        if file.suffix.lower() != ".xlsx":
            raise CommandError(f"{file} does not end in .xlsx.")
        if file.exists() and not force:
            raise CommandError(f"{file} exists. Choose another name, or say --force.")
        if not file.parent.is_dir():
            raise CommandError(f"There is no folder {file.parent}.")
        count = self._write(file)
        with transaction.atomic():
            on = log.AuditObject(type="user", key="", name="All users")
            log.record("Exported the user permissions report", on, by=log.SYSTEM, kind=log.Kind.VIEW)
        self.stdout.write(f"{file}: {count} users")

    def _write(self, file: Path) -> int:
        """Write beside the file and then put it in place: nobody ever finds half a report, or reads it but us."""
        handle, name = tempfile.mkstemp(suffix=".xlsx", dir=file.parent)
        os.close(handle)
        part = Path(name)
        try:
            with tqdm(total=User.objects.count(), unit="user", leave=False, disable=None) as bar:
                count = permissions_report.write(part, progress=bar.update)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        return count
