"""What nobody else forgets: sessions that are over, and failed tasks that nobody looked at for a month."""

from datetime import timedelta

from django.core.management import call_command
from django.utils import timezone
from django_q.models import Failure

FAILURES_KEPT = timedelta(days=30)


def tidy() -> None:
    """Run by the workers once a day; twice does no harm."""
    call_command("clearsessions")
    Failure.objects.filter(stopped__lt=timezone.now() - FAILURES_KEPT).delete()
