"""Valid stretches of the log with any times, for tests and benchmarks."""

import json
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime

from django.db import connection, transaction

from audit.log import digest
from audit.models import AuditEvent, ChainHead

COLUMNS = [field.column for field in AuditEvent._meta.concrete_fields]


def event(at: datetime, **fields) -> AuditEvent:
    defaults = {
        "key": uuid.uuid4(),
        "actor_name": "System",
        "kind": "update",
        "succeeded": True,
        "object_type": "environment",
        "object_key": "",
        "object_name": "Production",
        "message": "Did something",
    }
    return AuditEvent(at=at, **(defaults | fields))


def append(events: Iterable[AuditEvent], *, tick: Callable[[int], object] = lambda count: None) -> int:
    """Append entries, oldest first, by COPY; they form one valid chain with those that are there. Return how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        head = ChainHead.objects.select_for_update().first() or ChainHead()
        first = head.number
        statement = f"COPY audit_new ({', '.join(COLUMNS)}) FROM STDIN"
        cursor.execute("CREATE TEMPORARY TABLE audit_new (LIKE audit_auditevent)")
        with cursor.copy(statement) as copy:
            for each in events:
                each.number, each.previous_hash = head.number + 1, head.hash
                each.hash = digest(each)
                head.number, head.at, head.hash = each.number, each.at, each.hash
                copy.write_row([_value(each, column) for column in COLUMNS])
                if head.number % 10_000 == 0:
                    tick(10_000)
        head.signed().save()
        cursor.execute("INSERT INTO audit_auditevent SELECT * FROM audit_new ORDER BY number")
        cursor.execute("DROP TABLE audit_new")
    return head.number - first


def _value(event: AuditEvent, column: str) -> object:
    value = getattr(event, column)
    return json.dumps(value) if column == "details" else value
