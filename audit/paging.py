"""Pages of the log by number (keyset), newest first: the thousandth page costs what the first one does."""

from dataclasses import dataclass

from audit.log import AuditObject
from audit.models import AuditEvent, AuditEventQuerySet

SIZE = 50
COUNTED = 1_000


@dataclass(frozen=True, kw_only=True)
class Page:
    events: list[AuditEvent]
    newer: int | None  # there are entries with higher numbers than this one
    older: int | None  # there are entries with lower numbers than this one
    total: str


def page(events: AuditEventQuerySet, *, before: int | None = None, after: int | None = None) -> Page:
    """The page older than `before`, or newer than `after`, else the newest."""
    if after is not None:
        rows = list(events.filter(number__gt=after).order_by("number")[: SIZE + 1])
        if len(rows) > SIZE:
            shown = rows[SIZE - 1 :: -1]
            return _page(events, shown, newer=True, older=True)
        before = None  # it would be a part of the newest page: show that one
    rows = list((events if before is None else events.filter(number__lt=before)).order_by("-number")[: SIZE + 1])
    return _page(events, rows[:SIZE], newer=before is not None, older=len(rows) > SIZE)


def _page(events: AuditEventQuerySet, shown: list[AuditEvent], *, newer: bool, older: bool) -> Page:
    return Page(
        events=shown,
        newer=shown[0].number if newer and shown else None,
        older=shown[-1].number if older and shown else None,
        total=total(events) if newer or older else f"{len(shown):,}",
    )


@dataclass(frozen=True, kw_only=True)
class History:
    """The latest entries about one object; templates/audit/_history.html shows them."""

    on: AuditObject
    events: list[AuditEvent]
    more: bool


def history(on: AuditObject, *, size: int = 10) -> History:
    rows = list(AuditEvent.objects.about(on).newest_first()[: size + 1])
    return History(on=on, events=rows[:size], more=len(rows) > size)


def total(events: AuditEventQuerySet) -> str:
    """How many entries there are, counted up to a thousand."""
    count = events[: COUNTED + 1].count()
    return f"{count:,}" if count <= COUNTED else f"{COUNTED:,}+"
