"""Writing the audit log: one entry per act, in the transaction of the act.

The chain: an entry's hash is the SHA-256 of its canonical form (`canonical`), and the canonical form holds the hash of
the entry before. docs/audit.md describes it for people who want to check an export without this program.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.transaction import TransactionManagementError

from audit.models import Anchor, AuditEvent, ChainHead, Kind, instant

__all__ = ["SYSTEM", "Actor", "AuditObject", "Entry", "Kind", "record", "record_all"]

HIDDEN = "***"
_SECRET_NAMES = re.compile(
    r"password|passphrase|secret|token|api_?key|private_?key|authorization|cookie", re.IGNORECASE
)
_SECRETS_IN_TEXT = (
    (re.compile(r"://[^/\s@:]*:[^/\s@]*@"), f"://{HIDDEN}@"),  # user and password in an address
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_COLUMNS = [field.attname for field in AuditEvent._meta.concrete_fields]
_DETAILS = _COLUMNS.index("details")
_COPY = f"COPY audit_auditevent ({', '.join(_COLUMNS)}) FROM STDIN"
_canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who did it. `address` is the client's when the act came over HTTP."""

    name: str
    username: str = ""
    key: UUID | None = None
    address: str = ""


SYSTEM = Actor(name="System")


@dataclass(frozen=True, kw_only=True)
class AuditObject:
    """What it was done to: a type ("environment", "user", "plan", ...), the public key (or ""), the name of the day."""

    type: str
    key: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An act to be recorded. `cause` is the key of the entry that led to this one; `key` may be chosen
    beforehand, when what is written before the entry has to name it."""

    message: str
    on: AuditObject
    by: Actor
    kind: Kind = Kind.UPDATE
    succeeded: bool = True
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    cause: UUID | None = None
    key: UUID = field(default_factory=uuid.uuid4)


def record(
    message: str,
    on: AuditObject,
    *,
    by: Actor,
    kind: Kind = Kind.UPDATE,
    succeeded: bool = True,
    reason: str = "",
    details: dict[str, Any] | None = None,
    cause: UUID | None = None,
) -> AuditEvent:
    """Record one act in the transaction of the act; see `record_all`."""
    entry = Entry(
        message=message,
        on=on,
        by=by,
        kind=kind,
        succeeded=succeeded,
        reason=reason,
        details=details or {},
        cause=cause,
    )
    return record_all([entry])[0]


def record_all(entries: Sequence[Entry]) -> list[AuditEvent]:
    """Record acts in their order, in the transaction of the acts; raise TransactionManagementError outside of one.

    Locks the head of the chain until the transaction ends, so call it after the last other lock. Texts become one line,
    too long ones end in "…"; what looks like a secret is hidden.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("An audit entry is written in the transaction of the act: use atomic.")
    if not entries:
        return []
    prepared = [_prepare(entry) for entry in entries]  # before the lock
    last, previous, now = _lock_head()
    for number, event in enumerate(prepared, start=last + 1):
        event.number, event.at, event.previous_hash = number, now, previous
        event.hash = previous = digest(event)
    _move_head(ChainHead(number=last + len(prepared), at=now, hash=previous).signed())
    _insert(prepared)
    return prepared


def canonical(event: AuditEvent) -> dict[str, Any]:
    """What an entry's hash covers: everything it says. Written as JSON with sorted keys, no spaces, in UTF-8.

    A line of the JSON-lines export is this and the hash itself.
    """
    return {
        "actor": {
            "address": event.actor_address,
            "key": str(event.actor_key) if event.actor_key else None,
            "name": event.actor_name,
            "username": event.actor_username,
        },
        "at": instant(event.at),
        "cause": str(event.cause) if event.cause else None,
        "details": event.details,
        "key": str(event.key),
        "kind": str(event.kind),
        "message": event.message,
        "number": event.number,
        "object": {"key": event.object_key, "name": event.object_name, "type": event.object_type},
        "previous_hash": event.previous_hash,
        "reason": event.reason,
        "succeeded": event.succeeded,
    }


def to_json(value: dict[str, Any]) -> str:
    return _canonical_json(value)


def digest(event: AuditEvent) -> str:
    """The hash that an entry has to have."""
    return hashlib.sha256(_canonical_json(canonical(event)).encode()).hexdigest()


def _lock_head() -> tuple[int, str, datetime]:
    """Number and hash of the last entry, locked, and the time of new ones: the database's clock, never going back."""
    statement = "SELECT number, hash, greatest(clock_timestamp(), at) FROM audit_chainhead FOR UPDATE"
    with connection.cursor() as cursor:
        row: tuple[int, str, datetime] | None = cursor.execute(statement).fetchone()
        if row is None:
            if AuditEvent.objects.exists() or Anchor.objects.exists():
                raise RuntimeError("The head of the audit log is missing, but there are entries: run audit verify")
            ChainHead.objects.bulk_create([ChainHead()], ignore_conflicts=True)
            row = cursor.execute(statement).fetchone()
        assert row is not None  # noqa: S101 - for the type checker
        return row


def _move_head(head: ChainHead) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE audit_chainhead SET number = %s, at = %s, hash = %s, signature = %s",
            [head.number, head.at, head.hash, head.signature],
        )


def _insert(events: list[AuditEvent]) -> None:
    """COPY: for 200 entries less than half of what an INSERT by the ORM costs."""
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for event in events:
            values = [getattr(event, column) for column in _COLUMNS]
            values[_DETAILS] = _canonical_json(event.details)
            copy.write_row(values)


def _prepare(entry: Entry) -> AuditEvent:
    on, by = entry.on, entry.by
    if len(on.key) > 100 or len(on.type) > 50:
        raise ValueError("The key or the type of an audited object is too long to be stored")
    return AuditEvent(
        key=entry.key,
        actor_name=_line(by.name, 255),
        actor_username=_line(by.username, 255),
        actor_key=by.key,
        actor_address=_line(by.address, 64),
        kind=Kind(entry.kind),
        succeeded=entry.succeeded,
        object_type=on.type,
        object_key=on.key,
        object_name=_line(on.name, 255),
        message=_line(_without_secrets(entry.message), 2000),
        reason=_line(_without_secrets(entry.reason), 500),
        details=_plain(entry.details) if entry.details else {},
        cause=entry.cause,
    )


def _line(text: str, longest: int) -> str:
    """One line without control characters, cut with an ellipsis when it is too long."""
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    text = text.strip()
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _without_secrets(text: str) -> str:
    for pattern, replacement in _SECRETS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    """Details as they come back from the database, so that their hash does too; secrets hidden."""
    text = json.dumps(details, cls=DjangoJSONEncoder, allow_nan=False)
    plain: dict[str, Any] = _tidy(json.loads(text))
    return plain


def _tidy(value: Any) -> Any:
    match value:
        case dict():
            return {
                _CONTROLS.sub(" ", name): HIDDEN if _SECRET_NAMES.search(name) and inner else _tidy(inner)
                for name, inner in value.items()
            }
        case list():
            return [_tidy(inner) for inner in value]
        case str():
            return _without_secrets(_CONTROLS.sub(" ", value))
        case float() if value.is_integer():
            return int(value)  # the database gives 1e22 back as an integer
        case _:
            return value
