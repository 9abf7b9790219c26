"""What must survive a restart, in one SQLite file: documents, applications and their changes, epochs, ended contacts.

The tables of capabilities (versions, settings, deployments, ...) are read and written by the modules named after them.

One process owns the file. Writes are durable when they return (write-ahead log, fsync at each commit). Two facts arrive
in bursts, epochs and ended contacts, and are written together: many callers, one commit.
"""

import asyncio
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TOMBSTONES = 10_000  # removed applications remembered for each environment; older cursors must start anew

SCHEMA = """
CREATE TABLE environment (
    id INTEGER PRIMARY KEY,
    prefix TEXT NOT NULL UNIQUE,
    generation TEXT NOT NULL,
    sequence INTEGER NOT NULL DEFAULT 0,
    horizon INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE document (
    environment INTEGER NOT NULL REFERENCES environment (id),
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (environment, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE application (
    environment INTEGER NOT NULL REFERENCES environment (id),
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    body BLOB,  -- nothing: it was removed
    PRIMARY KEY (environment, key)
) STRICT;
CREATE UNIQUE INDEX application_feed ON application (environment, sequence);
CREATE UNIQUE INDEX application_name ON application (environment, name) WHERE body IS NOT NULL;
CREATE TABLE ended_contact (
    environment INTEGER NOT NULL REFERENCES environment (id),
    contact INTEGER NOT NULL,
    ended_at REAL NOT NULL,
    PRIMARY KEY (environment, contact)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""
CAPABILITIES = """
CREATE TABLE content (  -- what an application consists of, beside its description in the change feed
    environment INTEGER NOT NULL REFERENCES environment (id),
    application TEXT NOT NULL,
    parts BLOB NOT NULL,
    package TEXT,  -- digest of the package that has its web files; nothing: they are generated
    site TEXT,  -- folder that they are served from
    compiled BLOB NOT NULL,  -- security settings as they were when it was published
    PRIMARY KEY (environment, application)
) STRICT, WITHOUT ROWID;
CREATE TABLE setting (
    environment INTEGER NOT NULL REFERENCES environment (id),
    application TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (environment, application)
) STRICT, WITHOUT ROWID;
CREATE TABLE version (
    environment INTEGER NOT NULL REFERENCES environment (id),
    application TEXT NOT NULL,
    key TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,
    manifest BLOB NOT NULL,
    web TEXT,  -- as content.package
    digest TEXT,  -- of its package; nothing: not built yet
    bytes INTEGER,
    request BLOB,  -- what the console sent to make it
    PRIMARY KEY (environment, application, key)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX version_sequence ON version (environment, application, sequence);
CREATE INDEX version_key ON version (environment, key);
CREATE TABLE package (  -- those that are whole
    environment INTEGER NOT NULL REFERENCES environment (id),
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    application TEXT NOT NULL,
    version TEXT NOT NULL,
    added_at REAL NOT NULL,
    PRIMARY KEY (environment, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE creation (
    environment INTEGER NOT NULL REFERENCES environment (id),
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    PRIMARY KEY (environment, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_line (
    environment INTEGER NOT NULL REFERENCES environment (id),
    application TEXT NOT NULL,
    line INTEGER NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    level TEXT NOT NULL,
    module TEXT NOT NULL,
    user TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (environment, application, line)
) STRICT, WITHOUT ROWID;
CREATE TABLE block (
    environment INTEGER NOT NULL REFERENCES environment (id),
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    address TEXT NOT NULL,
    username TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    blocked_at REAL NOT NULL,
    blocked_until REAL NOT NULL,
    PRIMARY KEY (environment, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE password (
    environment INTEGER NOT NULL REFERENCES environment (id),
    username TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (environment, username)
) STRICT, WITHOUT ROWID;
CREATE TABLE event (
    id TEXT PRIMARY KEY,
    environment INTEGER NOT NULL REFERENCES environment (id),
    application TEXT NOT NULL,
    type TEXT NOT NULL,
    body BLOB NOT NULL,
    created_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL,
    outcome TEXT NOT NULL DEFAULT ''  -- nothing: to be delivered
) STRICT, WITHOUT ROWID;
CREATE INDEX event_due ON event (next_at) WHERE outcome = '';
CREATE TABLE deployment (
    environment INTEGER NOT NULL REFERENCES environment (id),
    id TEXT NOT NULL,
    request BLOB NOT NULL,
    state BLOB NOT NULL,
    ended_at REAL,
    started_at REAL NOT NULL,
    PRIMARY KEY (environment, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE deployment_line (
    environment INTEGER NOT NULL,
    deployment TEXT NOT NULL,
    line INTEGER NOT NULL,
    at TEXT NOT NULL,
    type TEXT NOT NULL,
    step TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (environment, deployment, line)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 2;
"""
PROTECTION = """
CREATE TABLE application_security (
    environment INTEGER NOT NULL REFERENCES environment (id),
    application TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (environment, application)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 3;
"""
REMOVALS = """
CREATE TABLE version_removal (  -- cursors are not given twice, though the newest version may be removed
    environment INTEGER NOT NULL REFERENCES environment (id),
    application TEXT NOT NULL,
    sequence INTEGER NOT NULL,  -- the highest that was removed
    PRIMARY KEY (environment, application)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 4;
"""
DATABASES = """
CREATE TABLE database_connection (
    environment INTEGER NOT NULL REFERENCES environment (id),
    key TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    body BLOB,  -- nothing: it was deleted, and its key is not given again
    password TEXT NOT NULL,
    revision INTEGER NOT NULL,
    request BLOB NOT NULL,  -- what the console sent last, without the password
    PRIMARY KEY (environment, key)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX database_connection_name ON database_connection (environment, name) WHERE body IS NOT NULL;
PRAGMA user_version = 5;
"""


class EnvironmentRow(NamedTuple):
    id: int
    prefix: str
    generation: str
    sequence: int
    horizon: int
    epoch: int


class FeedRow(NamedTuple):
    key: str
    sequence: int
    body: bytes | None


class Store:
    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        if self._one("PRAGMA user_version") == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
        if self._one("PRAGMA user_version") == 1:
            self._db.executescript(f"BEGIN IMMEDIATE; {CAPABILITIES} COMMIT;")
        if self._one("PRAGMA user_version") == 2:
            self._db.executescript(f"BEGIN IMMEDIATE; {PROTECTION} COMMIT;")
        if self._one("PRAGMA user_version") == 3:
            self._db.executescript(f"BEGIN IMMEDIATE; {REMOVALS} COMMIT;")
        if self._one("PRAGMA user_version") == 4:
            self._db.executescript(f"BEGIN IMMEDIATE; {DATABASES} COMMIT;")
        self._burst: list[tuple[str, tuple[Any, ...]]] = []
        self._commit: asyncio.Task[None] | None = None

    def close(self) -> None:
        self._write_burst()
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; inside another one it is a part of that."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # For the modules of capabilities
    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(statement, parameters).fetchall()

    def row(self, statement: str, *parameters: Any) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._db.execute(statement, parameters).fetchone()
        return found

    def write(self, statement: str, *parameters: Any) -> int:
        """Durable when it returns (outside a transaction); answers how many rows it changed."""
        return self._db.execute(statement, parameters).rowcount

    # Environments and their documents
    def environments(self) -> list[EnvironmentRow]:
        rows = self._db.execute("SELECT id, prefix, generation, sequence, horizon, epoch FROM environment ORDER BY id")
        return [EnvironmentRow(*row) for row in rows]

    def add_environment(self, prefix: str, documents: dict[str, bytes], applications: Sequence[dict[str, Any]]) -> None:
        """Inside a transaction."""
        cursor = self._db.execute(
            "INSERT INTO environment (prefix, generation, sequence) VALUES (?, ?, ?)",
            (prefix, secrets.token_hex(4), len(applications)),
        )
        key = cursor.lastrowid
        self._db.executemany(
            "INSERT INTO document (environment, name, body) VALUES (?, ?, ?)",
            [(key, name, body) for name, body in documents.items()],
        )
        self._db.executemany(
            "INSERT INTO application (environment, key, name, sequence, body) VALUES (?, ?, ?, ?, ?)",
            [
                (key, application["key"], application["name"], sequence, application["body"])
                for sequence, application in enumerate(applications, start=1)
            ],
        )

    def documents(self) -> dict[int, dict[str, bytes]]:
        found: dict[int, dict[str, bytes]] = {}
        for environment, name, body in self._db.execute("SELECT environment, name, body FROM document"):
            found.setdefault(environment, {})[name] = body
        return found

    def save_documents(self, environment: int, documents: dict[str, bytes]) -> None:
        with self.transaction():
            self._db.executemany(
                "INSERT INTO document (environment, name, body) VALUES (?, ?, ?)"
                " ON CONFLICT (environment, name) DO UPDATE SET body = excluded.body",
                [(environment, name, body) for name, body in documents.items()],
            )

    # Applications
    def feed(self, environment: int, *, since: int, limit: int) -> list[FeedRow]:
        """What changed after a sequence, oldest change first; from the start, without what is gone."""
        rows = self._db.execute(
            "SELECT key, sequence, body FROM application"
            " WHERE environment = ? AND sequence > ? AND (? OR body IS NOT NULL) ORDER BY sequence LIMIT ?",
            (environment, since, since > 0, limit),
        )
        return [FeedRow(*row) for row in rows]

    def application(self, environment: int, *, key: str = "", name: str = "") -> dict[str, Any] | None:
        column, value = ("key", key) if key else ("name", name)
        row = self._db.execute(
            f"SELECT body FROM application WHERE environment = ? AND {column} = ? AND body IS NOT NULL",  # noqa: S608
            (environment, value),
        ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def applications(self, environment: int) -> Iterator[dict[str, Any]]:
        for (body,) in self._db.execute(
            "SELECT body FROM application WHERE environment = ? AND body IS NOT NULL ORDER BY name, key", (environment,)
        ):
            yield json.loads(body)

    def save_application(self, environment: int, key: str, name: str, body: bytes) -> int:
        """Store an application as the newest change; answer the change's number."""
        with self.transaction():
            sequence = self._next_sequence(environment)
            self._db.execute(
                "INSERT INTO application (environment, key, name, sequence, body) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (environment, key) DO UPDATE"
                " SET name = excluded.name, sequence = excluded.sequence, body = excluded.body",
                (environment, key, name, sequence, body),
            )
        return sequence

    def remove_application(self, environment: int, key: str) -> tuple[int, int] | None:
        """Leave a tombstone; answer the change's number and the horizon. Nothing when there is no such application."""
        with self.transaction():
            found = self._db.execute(
                "SELECT 1 FROM application WHERE environment = ? AND key = ? AND body IS NOT NULL", (environment, key)
            ).fetchone()
            if found is None:
                return None
            sequence = self._next_sequence(environment)
            self._db.execute(
                "UPDATE application SET body = NULL, sequence = ? WHERE environment = ? AND key = ?",
                (sequence, environment, key),
            )
            horizon = self._forget_tombstones(environment)
        return sequence, horizon

    def _next_sequence(self, environment: int) -> int:
        return int(
            self._one("UPDATE environment SET sequence = sequence + 1 WHERE id = ? RETURNING sequence", environment)
        )

    def _forget_tombstones(self, environment: int) -> int:
        newest_forgotten = self._db.execute(
            "SELECT sequence FROM application WHERE environment = ? AND body IS NULL"
            " ORDER BY sequence DESC LIMIT 1 OFFSET ?",
            (environment, TOMBSTONES),
        ).fetchone()
        if newest_forgotten is not None:
            self._db.execute(
                "DELETE FROM application WHERE environment = ? AND body IS NULL AND sequence <= ?",
                (environment, newest_forgotten[0]),
            )
            self._db.execute("UPDATE environment SET horizon = ? WHERE id = ?", (newest_forgotten[0], environment))
        return int(self._one("SELECT horizon FROM environment WHERE id = ?", environment))

    # Epochs and ended contacts
    def ended_contacts(self, *, since: float) -> dict[int, set[int]]:
        """Contacts ended since an instant, by environment; older ones are forgotten."""
        self._db.execute("DELETE FROM ended_contact WHERE ended_at < ?", (since,))
        found: dict[int, set[int]] = {}
        for environment, contact in self._db.execute("SELECT environment, contact FROM ended_contact"):
            found.setdefault(environment, set()).add(contact)
        return found

    def note_ended_contact(self, environment: int, contact: int, *, at: float) -> None:
        """Becomes durable with the next `durable`."""
        self._burst.append(("INSERT OR IGNORE INTO ended_contact VALUES (?, ?, ?)", (environment, contact, at)))

    def note_epoch(self, environment: int, epoch: int) -> None:
        """Becomes durable with the next `durable`."""
        self._burst.append(("UPDATE environment SET epoch = max(epoch, ?) WHERE id = ?", (epoch, environment)))

    async def durable(self) -> None:
        """Return when everything noted so far is on disk; callers of the same moment share one commit."""
        if not self._burst:
            return
        if self._commit is None:
            self._commit = asyncio.create_task(self._write_burst_soon())
        await asyncio.shield(self._commit)

    async def _write_burst_soon(self) -> None:
        await asyncio.sleep(0)  # let everybody who came in the same moment note their fact first
        self._commit = None
        self._write_burst()

    def _write_burst(self) -> None:
        if self._burst:
            with self.transaction():
                for statement, parameters in self._burst:
                    self._db.execute(statement, parameters)
            self._burst.clear()

    def _one(self, statement: str, *parameters: Any) -> Any:
        return self._db.execute(statement, parameters).fetchone()[0]
