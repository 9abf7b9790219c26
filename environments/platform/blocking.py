"""Log-ins of this environment: passwords, and who is blocked after too many wrong ones."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from environments.platform import clock
from environments.platform.answers import Problem

if TYPE_CHECKING:
    from environments.platform.environment import Environment

WINDOW_SECONDS = 3600.0
MOST_COUNTED = 100_000  # addresses and log-ins that are being counted
# kind -> after so many wrong passwords, blocked for so many seconds
LIMITS: dict[str, tuple[tuple[int, float], ...]] = {
    "login": ((3, 30.0), (6, 1800.0)),
    "address": ((20, 300.0), (50, 3600.0)),
}
SHORTLY = "Too many wrong attempts. Try again in a few minutes."
LATER = "Too many wrong attempts. Try again in 60 minutes."
COST = 2**14


class Blocked(Exception):
    """This log-in, or this address, has to wait; the message says how long."""


class Attempts:
    """Wrong passwords of the last hour, counted for each log-in and for each address."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str, str], deque[float]] = {}

    def refuse_blocked(self, environment: Environment, address: str, username: str) -> None:
        now = environment.now()
        row = environment.store.row(
            "SELECT max(blocked_until - blocked_at) FROM block WHERE environment = ? AND blocked_until > ?"
            " AND address = ? AND (kind = 'address' OR username = ?)",
            environment.id,
            now,
            address,
            username.casefold(),
        )
        if row is not None and row[0] is not None:
            raise Blocked(SHORTLY if row[0] <= 300 else LATER)

    def failed(self, environment: Environment, address: str, username: str) -> None:
        """Count a wrong password, and block when it was one too many."""
        now = environment.now()
        if len(self._failures) > MOST_COUNTED:
            self._failures.clear()
        for kind, name in (("login", username.casefold()), ("address", "")):
            times = self._failures.setdefault((kind, address, name), deque())
            times.append(now)
            while times[0] < now - WINDOW_SECONDS:
                times.popleft()
            seconds = next((seconds for count, seconds in LIMITS[kind] if len(times) == count), 0.0)
            last = LIMITS[kind][-1]
            if len(times) > last[0]:
                seconds = last[1]
            if seconds:
                _block(environment, kind, address, name, len(times), now, now + seconds)

    def succeeded(self, address: str, username: str) -> None:
        self._failures.pop(("login", address, username.casefold()), None)

    def forget(self, kind: str, address: str, username: str) -> None:
        self._failures.pop((kind, address, username), None)


def _block(
    environment: Environment, kind: str, address: str, username: str, attempts: int, now: float, until: float
) -> None:
    with environment.store.transaction():
        environment.store.write(
            "DELETE FROM block WHERE environment = ? AND (blocked_until <= ?"
            " OR (kind = ? AND address = ? AND username = ?))",
            *(environment.id, now, kind, address, username),
        )
        environment.store.write(
            "INSERT INTO block (environment, key, kind, address, username, attempts, blocked_at, blocked_until)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(environment.id, str(uuid4()), kind, address, username, attempts, now, until),
        )


def shown(environment: Environment) -> dict[str, Any]:
    """Who is blocked now."""
    rows = environment.store.rows(
        "SELECT key, kind, address, username, attempts, blocked_at, blocked_until FROM block"
        " WHERE environment = ? AND blocked_until > ? ORDER BY blocked_at, key",
        environment.id,
        environment.now(),
    )
    names = ("key", "kind", "address", "username", "attempts", "blocked_at", "blocked_until")
    blocked = [dict(zip(names, row, strict=True)) for row in rows]
    for one in blocked:
        one["blocked_at"], one["blocked_until"] = clock.text(one["blocked_at"]), clock.text(one["blocked_until"])
    return {"blocked": blocked}


def unblock(environment: Environment, key: str) -> None:
    row = environment.store.row(
        "SELECT kind, address, username FROM block WHERE environment = ? AND key = ? AND blocked_until > ?",
        environment.id,
        key,
        environment.now(),
    )
    if row is None:
        raise Problem(404, "block-unknown", "Nobody is blocked by that", f"There is no block with the key {key}.")
    environment.store.write("DELETE FROM block WHERE environment = ? AND key = ?", environment.id, key)
    environment.attempts.forget(*row)


# Passwords, kept by the environment itself: the console gives it people, not their passwords
async def set_password(environment: Environment, username: str, password: str) -> None:
    stored = await asyncio.to_thread(hashed, password)
    environment.store.write(
        "INSERT INTO password (environment, username, hash) VALUES (?, ?, ?)"
        " ON CONFLICT (environment, username) DO UPDATE SET hash = excluded.hash",
        environment.id,
        username.casefold(),
        stored,
    )


def password_hash(environment: Environment, username: str) -> str | None:
    row = environment.store.row(
        "SELECT hash FROM password WHERE environment = ? AND username = ?", environment.id, username.casefold()
    )
    return None if row is None else str(row[0])


def hashed(password: str, salt: bytes | None = None) -> str:
    salt = salt or secrets.token_bytes(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=COST, r=8, p=1)
    return f"{salt.hex()}${key.hex()}"


def is_right(password: str, stored: str | None) -> bool:
    """Slow on purpose, and as slow for a user who does not exist."""
    salt = (stored or "00").partition("$")[0]
    found = hashed(password, bytes.fromhex(salt))
    return hmac.compare_digest(found, stored or "")
