"""manage.py create_service_account: an account for a program, with its first token."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from lifetime import service_accounts
from lifetime.changes import Author, Refused
from lifetime.models import Role


class Command(BaseCommand):
    help = "Create a service account and issue its first token, which is written to the output, this once and alone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--role", default="Developer", help="Name of the role. Default: Developer.")
        parser.add_argument("--description", default="")
        parser.add_argument("--days", type=int, help="Days until the token expires. Default: never.")

    def handle(self, *, username: str, role: str, description: str, days: int | None, **options: Any) -> None:
        found = Role.objects.filter(name__iexact=role).first()
        if found is None:
            names = ", ".join(Role.objects.order_by("name").values_list("name", flat=True))
            raise CommandError(f"There is no role {role}. There are: {names}.")
        if days is not None and not 0 < days <= service_accounts.LONGEST_LIFE.days:
            raise CommandError(f"A token lives for 1 to {service_accounts.LONGEST_LIFE.days} days.")
        expires_at = timezone.now() + timedelta(days=days) if days else None
        try:
            with transaction.atomic():
                by = Author()
                account = service_accounts.create(username=username, description=description, role=found, by=by)
                issued = service_accounts.issue_token(account, by=by, expires_at=expires_at)
        except Refused as refusal:
            raise CommandError(str(refusal)) from None
        self.stderr.write(f"{account} is created with the role {found}. Its token is shown only this once:")
        self.stdout.write(issued.secret)
