"""Checking that the log is whole and unchanged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.db import connection, transaction

from audit.log import digest
from audit.models import GENESIS, Anchor, AuditEvent, ChainHead

CHUNK = 2_000
FAR = 1_000  # how far from its place a moved entry is recognized
UNSIGNED = (
    "does not bear the console's signature. If LIFETIME_SECRET_KEY was changed, name the former key in "
    "LIFETIME_SECRET_KEY_FALLBACKS and verify again."
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The first thing wrong with the log: what, from which entry on, and how it shows."""

    kind: str  # changed, missing, reordered, added, anchor, head, rewritten
    number: int
    explanation: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a verification found: how many entries it read, from which on, and the last one's number and hash."""

    entries: int
    first: int | None
    last: int
    hash: str
    fault: Fault | None = None

    @property
    def is_intact(self) -> bool:
        return self.fault is None


class _Found(Exception):
    def __init__(self, kind: str, number: int, explanation: str) -> None:
        self.fault = Fault(kind=kind, number=number, explanation=explanation)


@dataclass
class _Place:
    """Where a verification is: the last entry that was right."""

    number: int = 0
    hash: str = GENESIS
    entries: int = 0
    first: int | None = None
    known: dict[int, str] = field(default_factory=dict)


def verify(
    *, known: tuple[int, str] | None = None, on_progress: Callable[[int], object] = lambda entries: None
) -> Report:
    """Read the whole log, as of now and in constant memory, and report the first fault.

    `known` is number and hash of an entry noted at another place (the last one of an earlier report): with it, even a
    log rewritten by someone who has the console's secret is told from the true one.
    """
    place = _Place(known=dict([known]) if known else {})
    fault = None
    with transaction.atomic():
        _freeze()
        try:
            anchor = _start(place)
            for event in _entries():
                _check(place, event, anchor)
                if place.entries % CHUNK == 0:
                    on_progress(place.entries)
            _check_end(place)
        except _Found as found:
            fault = found.fault
    on_progress(place.entries)
    return Report(entries=place.entries, first=place.first, last=place.number, hash=place.hash, fault=fault)


def _freeze() -> None:
    """See one state of the log throughout, however long it takes (a caller's transaction keeps its own ways)."""
    if not connection.savepoint_ids:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _entries() -> Iterator[AuditEvent]:
    return AuditEvent.objects.order_by("number").iterator(chunk_size=CHUNK)


def _start(place: _Place) -> Anchor | None:
    anchor = Anchor.objects.order_by("-number").first()
    if anchor is None:
        return None
    if not anchor.is_signed():
        raise _Found("anchor", anchor.number, f"The anchor at #{anchor.number} {UNSIGNED}")
    place.number, place.hash = anchor.number, anchor.hash
    _compare(place)
    return anchor


def _check(place: _Place, event: AuditEvent, anchor: Anchor | None) -> None:
    expected = place.number + 1
    if event.number < expected:
        raise _Found("added", event.number, f"Retention had deleted #{event.number}, but it is there again.")
    if event.number > expected:
        upto = f"to #{event.number - 1} are" if event.number - expected > 1 else "is"
        after = " although retention did not delete it" if anchor is None and expected == 1 else ""
        raise _Found("missing", expected, f"#{expected} {upto} missing{after}.")
    if event.hash != digest(event):
        raise _changed_or_moved(event)
    if event.previous_hash != place.hash:
        kind, number = ("anchor", place.number) if place.entries == 0 and anchor else ("changed", place.number)
        raise _Found(
            kind, max(number, 1), f"#{event.number} was written after another #{place.number} than the one stored."
        )
    place.number, place.hash = event.number, event.hash
    place.entries += 1
    place.first = place.first or event.number
    _compare(place)


def _changed_or_moved(event: AuditEvent) -> _Found:
    here = event.number
    for number in range(max(1, here - FAR), here + FAR):
        event.number = number
        if number != here and event.hash == digest(event):
            return _Found("reordered", here, f"What is stored as #{here} was written as #{number}.")
    return _Found("changed", here, f"#{here} is not what was written: its content does not have its hash.")


def _compare(place: _Place) -> None:
    if place.known.pop(place.number, place.hash) != place.hash:
        raise _Found("rewritten", place.number, f"#{place.number} has another hash than the one noted earlier.")


def _check_end(place: _Place) -> None:
    head = ChainHead.objects.first()
    if head is None:
        if place.number == 0:
            return
        raise _Found("head", place.number, "The head of the chain is missing.")
    if head.number > place.number:
        upto = f"to #{head.number} are" if head.number - place.number > 1 else "is"
        raise _Found("missing", place.number + 1, f"#{place.number + 1} {upto} missing at the end.")
    if head.number < place.number:
        raise _Found("added", head.number + 1, f"#{head.number + 1} was not written by the console.")
    if head.hash != place.hash:
        raise _Found("changed", place.number, f"#{place.number}, the last entry, is not the one that was written.")
    if head.number and not head.is_signed():
        raise _Found("head", head.number, f"The head of the chain {UNSIGNED}")
    for number in place.known:
        what = "was deleted by retention" if number < place.number else "does not exist"
        raise _Found("rewritten" if number > place.number else "missing", number, f"#{number}, noted earlier, {what}.")
