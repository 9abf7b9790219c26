"""Quiet is a fact, not a hope: when a window's last contact is over, and the proof that nothing came after.

`settle` is idempotent, and whoever looks does it: the worker that closes a contact, the watch task that enabling
enqueues, a command that waits, the page that polls. No single process is needed for a window to become quiet.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from audit import log
from environments.models import Contact, MaintenanceWindow

# One clock for the ledger and the windows: the database's, read when the statement runs, not when its
# transaction began.
CLOSE_LOST = """
UPDATE environments_contact SET closed_at = clock_timestamp(), outcome = 'lost'
WHERE id IN (SELECT id FROM environments_contact
             WHERE environment_id = ANY(%s) AND closed_at IS NULL AND expires_at < clock_timestamp()
             ORDER BY id FOR UPDATE SKIP LOCKED)
"""
CERTIFY = """
WITH draining AS (
    SELECT id FROM environments_maintenancewindow
    WHERE environment_id = ANY(%s) AND status = 'draining' ORDER BY id FOR NO KEY UPDATE
)
UPDATE environments_maintenancewindow w SET status = 'in_force', quiet_at = clock_timestamp()
FROM draining
WHERE w.id = draining.id AND w.status = 'draining'
  AND NOT EXISTS (SELECT FROM environments_contact c WHERE c.environment_id = w.environment_id AND c.closed_at IS NULL)
RETURNING w.id, w.quiet_at
"""


def settle(environment_ids: Iterable[int]) -> list[int]:
    """Close contacts whose lease has run out, then certify each draining window that has none open any more.

    Returns the ids of the windows that became quiet now. Does nothing to windows that are not draining.
    """
    with transaction.atomic():
        certified = list(certify(environment_ids))
        if certified:
            windows = MaintenanceWindow.objects.filter(pk__in=certified).select_related("environment").order_by("pk")
            log.record_all(entries(windows))
    return certified


def certify(environment_ids: Iterable[int]) -> dict[int, datetime]:
    """`settle` without its audit entries: inside a transaction whose caller records them (`entries`).

    Returns when each window that became quiet now did, by its id.
    """
    ids = list(environment_ids)
    with connection.cursor() as cursor:
        cursor.execute(CLOSE_LOST, [ids])
        cursor.execute(CERTIFY, [ids])
        return dict(cursor.fetchall())


def entries(windows: Iterable[MaintenanceWindow]) -> list[log.Entry]:
    """The certificates of windows that just became quiet, for the audit log."""
    return [
        log.Entry(
            message=f"Environment '{window.environment}' is quiet, {found.time_to_quiet_text}: "
            f"{found.cut_short} contact{'' if found.cut_short == 1 else 's'} cut short, {found.lost} lost",
            on=window.environment.audit_object,
            by=log.SYSTEM,
            cause=window.audit_key,
            details=found.as_json(),
        )
        for window, found in certificates(windows)
    ]


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What the ledger says of a window. `breaches` are contacts with any instant inside the quiet: 0, or a defect."""

    window_key: str
    enabled_at: datetime
    quiet_at: datetime | None
    ended_at: datetime | None
    cut_short: int
    lost: int
    open: int
    breaches: int

    @property
    def time_to_quiet(self) -> timedelta | None:
        return self.quiet_at - self.enabled_at if self.quiet_at else None

    @property
    def time_to_quiet_text(self) -> str:
        if self.time_to_quiet is None:
            return "not yet"
        seconds = self.time_to_quiet.total_seconds()
        return f"{seconds * 1000:.0f} ms after enabling" if seconds < 1 else f"{seconds:.1f} s after enabling"

    @property
    def is_quiet(self) -> bool:
        return self.quiet_at is not None and self.breaches == 0

    def as_json(self) -> dict[str, Any]:
        span = self.time_to_quiet
        return {
            "window": self.window_key,
            "enabled_at": self.enabled_at.isoformat(),
            "quiet_at": self.quiet_at.isoformat() if self.quiet_at else None,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "seconds_to_quiet": span.total_seconds() if span is not None else None,
            "contacts_cut_short": self.cut_short,
            "contacts_lost": self.lost,
            "contacts_open": self.open,
            "contacts_inside_the_quiet": self.breaches,
        }


def certificates(windows: Iterable[MaintenanceWindow]) -> list[tuple[MaintenanceWindow, Certificate]]:
    """The certificates of these windows, from the ledger as it stands, in one query for all of them."""
    found = list(windows)
    if not found:
        return []
    with connection.cursor() as cursor:
        cursor.execute(CERTIFICATES, [[window.pk for window in found]])
        counts = {row[0]: row[1:] for row in cursor.fetchall()}
    result = []
    for window in found:
        cut, lost, still_open, breaches = counts.get(window.pk, (0, 0, 0, 0))
        certificate = Certificate(
            window_key=str(window.key),
            enabled_at=window.enabled_at,
            quiet_at=window.quiet_at,
            ended_at=window.disabled_at,
            cut_short=cut,
            lost=lost,
            open=still_open,
            breaches=breaches,
        )
        result.append((window, certificate))
    return result


CERTIFICATES = """
SELECT w.id,
       count(c.id) FILTER (WHERE c.opened_at <= w.enabled_at AND c.outcome = 'aborted'),
       count(c.id) FILTER (WHERE c.opened_at <= w.enabled_at AND c.outcome = 'lost'),
       count(c.id) FILTER (WHERE c.closed_at IS NULL),
       count(c.id) FILTER (WHERE w.quiet_at IS NOT NULL AND c.opened_at < coalesce(w.disabled_at, 'infinity')
                           AND coalesce(c.closed_at, 'infinity') > w.quiet_at)
FROM environments_maintenancewindow w
JOIN environments_contact c ON c.environment_id = w.environment_id
    AND c.opened_at > w.enabled_at - interval '1 day' AND c.opened_at < coalesce(w.disabled_at, 'infinity')
    AND coalesce(c.closed_at, 'infinity') > w.enabled_at
WHERE w.id = ANY(%s)
GROUP BY w.id
"""


def blockers(environment_id: int) -> list[Contact]:
    """The contacts that a draining window waits for, oldest first."""
    open_contacts = Contact.objects.open().filter(environment_id=environment_id)
    return list(open_contacts.select_related("sync_run").order_by("opened_at", "pk"))


def cut_short(window: MaintenanceWindow) -> list[Contact]:
    """The contacts that were open when the window was enabled, with their outcome and step."""
    overlapping = Contact.objects.filter(
        environment=window.environment_id,
        opened_at__lte=window.enabled_at,
        opened_at__gt=window.enabled_at - timedelta(days=1),
    ).filter(Q(closed_at__isnull=True) | Q(closed_at__gte=window.enabled_at))
    return list(overlapping.select_related("sync_run").order_by("opened_at", "pk"))
