"""The log of each application, as its developers and operators read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from environments.platform import clock

if TYPE_CHECKING:
    from environments.platform.environment import Environment

KEPT = 10_000  # lines of an application
FORGET_EVERY = 256
KINDS = ("General", "Error", "Screen", "Integration", "Timer", "Publish", "Deployment", "Security", "Settings")


def write(
    environment: Environment,
    application_key: str,
    kind: str,
    message: str,
    *,
    level: str = "Info",
    module: str = "",
    user: str = "",
) -> None:
    store = environment.store
    row = store.row(
        "INSERT INTO log_line (environment, application, line, at, kind, level, module, user, message)"
        " SELECT ?1, ?2, coalesce(max(line), 0) + 1, ?3, ?4, ?5, ?6, ?7, ?8 FROM log_line"
        " WHERE environment = ?1 AND application = ?2 RETURNING line",
        environment.id,
        application_key,
        clock.text(environment.now()),
        kind,
        level,
        module,
        user,
        message[:4000],
    )
    line = int(row[0]) if row else 0
    if line % FORGET_EVERY == 0:
        store.write(
            "DELETE FROM log_line WHERE environment = ? AND application = ? AND line <= ?",
            environment.id,
            application_key,
            line - KEPT,
        )


def page(environment: Environment, application_key: str, *, since: str, limit: int) -> dict[str, Any]:
    start = environment.number_of(since)
    found = _lines(environment, application_key, "AND line > ? ORDER BY line LIMIT ?", start, limit + 1)
    lines = found[:limit]
    end = lines[-1]["line"] if lines else start
    return {"lines": lines, "cursor": environment.cursor(end) if end else "0", "more": len(found) > limit}


def newest(environment: Environment, application_key: str, count: int) -> dict[str, Any]:
    lines = _lines(environment, application_key, "ORDER BY line DESC LIMIT ?", count)[::-1]
    return {"lines": lines, "cursor": environment.cursor(lines[-1]["line"]) if lines else "0", "more": False}


def _lines(environment: Environment, application_key: str, rest: str, *parameters: int) -> list[dict[str, Any]]:
    names = ("line", "at", "kind", "level", "module", "user", "message")
    rows = environment.store.rows(
        f"SELECT {', '.join(names)} FROM log_line WHERE environment = ? AND application = ? {rest}",  # noqa: S608
        environment.id,
        application_key,
        *parameters,
    )
    return [dict(zip(names, row, strict=True)) for row in rows]
