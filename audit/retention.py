"""Deleting old entries, so that the rest can still be verified."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from audit.log import SYSTEM, Actor, AuditObject, record
from audit.models import Anchor, AuditEvent

SHORTEST_DAYS = 30  # the database refuses to delete younger entries


class TooShort(ValueError):
    pass


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What retention deleted."""

    first: int
    last: int

    @property
    def entries(self) -> int:
        return self.last - self.first + 1


@transaction.atomic
def prune(*, days: int | None = None, by: Actor = SYSTEM) -> Cut | None:
    """Delete entries older than so many days (else as configured) and leave a signed anchor; None when there are none.

    Locks the head of the chain only for its own entry at the end: writing goes on meanwhile.
    """
    days = settings.AUDIT_RETENTION_DAYS if days is None else days
    if days < SHORTEST_DAYS:
        raise TooShort(f"Audit entries are kept for at least {SHORTEST_DAYS} days, not {days}.")
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE audit_anchor IN EXCLUSIVE MODE")  # one at a time; readers go on
    old = AuditEvent.objects.filter(at__lt=now - timedelta(days=days))
    last = old.order_by("-at", "-number").first()
    first = AuditEvent.objects.order_by("number").values_list("number", flat=True).first()
    if last is None or first is None:
        return None
    anchor = Anchor(number=last.number, at=last.at, hash=last.hash, cut_at=now).signed()
    anchor.save(force_insert=True)
    _delete_up_to(anchor)
    cut = Cut(first=first, last=last.number)
    record(
        f"Deleted {cut.entries} audit entries older than {days} days (#{cut.first} to #{cut.last})",
        AuditObject(type="audit log", key="", name="Audit log"),
        by=by,
        details={"first": cut.first, "last": cut.last, "hash": anchor.hash, "days": days},
    )
    return cut


def _delete_up_to(anchor: Anchor) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lifetime.audit_anchor', %s, true)", [str(anchor.number)])
        AuditEvent.objects.filter(number__lte=anchor.number).delete()
        cursor.execute("SELECT set_config('lifetime.audit_anchor', '', true)")
