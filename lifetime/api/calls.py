"""Calls are counted by token, and written down.

Each call becomes an entry of the audit log, but not at once: calls would wait for each other at the end of the chain.
It is kept as a row, without waiting for the disk; a worker brings the rows into the log once a minute.
"""

from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction

from audit import log
from lifetime.models import ApiCall, ServiceAccount, ServiceToken

WRITTEN_AT_ONCE = 200  # each batch holds the end of the chain, for which every act waits
READING = ("GET", "HEAD", "OPTIONS")
BATCHES = 500  # in one run; the next minute goes on

COUNT = """
INSERT INTO lifetime_apiquota AS q (token_id, began_at, used) VALUES (%s, clock_timestamp(), 1)
ON CONFLICT (token_id) DO UPDATE SET
    used = CASE WHEN q.began_at > clock_timestamp() - interval '1 minute' THEN q.used + 1 ELSE 1 END,
    began_at = CASE WHEN q.began_at > clock_timestamp() - interval '1 minute' THEN q.began_at ELSE clock_timestamp() END
RETURNING used, ceil(extract(epoch FROM began_at + interval '1 minute' - clock_timestamp()))::int
"""
KEEP = """
WITH patient AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO lifetime_apicall (account_id, at, method, path, status, took, request_id, address)
SELECT %s, clock_timestamp() - make_interval(secs => %s / 1000.0), %s, %s, %s, %s, %s, %s FROM patient
"""
COLUMNS = ("id", "account_id", "at", "method", "path", "status", "took", "request_id", "address")
TAKE = f"""
DELETE FROM lifetime_apicall c USING (
    SELECT id FROM lifetime_apicall ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
) AS taken WHERE c.id = taken.id
RETURNING {", ".join(f"c.{column}" for column in COLUMNS)}
"""  # noqa: S608 - the columns are ours


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How a token stands with the calls that it may make in a minute."""

    limit: int
    used: int
    seconds_left: int

    @property
    def is_exceeded(self) -> bool:
        return self.used > self.limit

    @property
    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "RateLimit-Reset": str(max(1, self.seconds_left)),
        }


def count(token: ServiceToken) -> Quota:
    """Count a call of this token."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT, [token.pk])
        used, seconds_left = cursor.fetchone()
    return Quota(limit=settings.API_CALLS_PER_MINUTE, used=used, seconds_left=seconds_left)


def keep(
    account: ServiceAccount, *, method: str, path: str, status: int, took: int, request_id: str, address: str
) -> None:
    """Keep a call for the audit log."""
    with connection.cursor() as cursor:
        cursor.execute(KEEP, [account.pk, took, method[:10], path[:500], status, took, request_id, address])


def write_down() -> int:
    """Bring the calls that were kept into the audit log; how many."""
    written = 0
    for _ in range(BATCHES):
        found = _write_some()
        written += found
        if found < WRITTEN_AT_ONCE:
            break
    return written


def _write_some() -> int:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(TAKE, [WRITTEN_AT_ONCE])
            rows = [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
        calls = sorted((ApiCall(**row) for row in rows), key=lambda call: call.pk)
        accounts = ServiceAccount.objects.in_bulk({call.account_id for call in calls})
        log.record_all([_entry(call, accounts[call.account_id]) for call in calls])
    return len(calls)


def _entry(call: ApiCall, account: ServiceAccount) -> log.Entry:
    return log.Entry(
        message=f"Service account '{account}' called {call.method} {call.path}: {call.status}",
        on=account.audit_object,
        by=account.actor(call.address),
        kind=log.Kind.VIEW if call.method in READING else log.Kind.UPDATE,
        succeeded=call.status < 400,
        details={"at": call.at.isoformat(), "milliseconds": call.took, "request": call.request_id},
    )
