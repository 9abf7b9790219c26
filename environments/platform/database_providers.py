"""Databases that this server can really connect to, and trying it: what happened, in words that tell no password."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from environments.platform.answers import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from environments.platform.environment import Environment

TEST_SECONDS = 5.0
LONGEST_MESSAGE = 400
ANYTHING = r".+"


class NoConnection(Exception):
    """The database was not reached, or did not let us in; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Details:
    """How to connect."""

    provider: str
    username: str
    password: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    name: str
    description: str
    is_required: bool = False
    pattern: str = ANYTHING

    def shown(self) -> dict[str, Any]:
        return {"name": self.name, "description": self.description, "is_required": self.is_required}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A kind of database. `connect` connects, looks, disconnects, and says what it saw; it raises NoConnection."""

    key: str
    name: str
    has_login: bool
    parameters: tuple[Parameter, ...]
    connect: Callable[[Environment, Details], Awaitable[str]]

    def shown(self) -> dict[str, Any]:
        parameters = [one.shown() for one in self.parameters]
        return {"key": self.key, "name": self.name, "has_login": self.has_login, "parameters": parameters}


def shown() -> dict[str, Any]:
    return {"providers": [one.shown() for one in PROVIDERS.values()]}


def check(details: Details) -> Provider:
    """The provider of these details; a problem when it is none, or cannot connect by such."""
    provider = PROVIDERS.get(details.provider)
    if provider is None:
        raise Problem(
            422,
            "provider-unknown",
            "There is no such provider",
            f"{details.provider!r} is none of /database-providers.",
        )
    known = {one.name: one for one in provider.parameters}
    if unknown := sorted(details.parameters.keys() - known):
        raise _bad(f"{provider.name} has no {unknown[0]}; it has {', '.join(known)}.")
    for one in provider.parameters:
        value = details.parameters.get(one.name)
        if value is None and one.is_required:
            raise _bad(f"{provider.name} needs {one.name}: {one.description}")
        if value is not None and not re.fullmatch(one.pattern, value, re.ASCII):
            raise _bad(f"{one.name} cannot be {value[:100]!r}: {one.description}")
    if provider.has_login and not details.username:
        raise _bad(f"{provider.name} needs a username.")
    if not provider.has_login and (details.username or details.password):
        raise _bad(f"{provider.name} takes no username and no password.")
    return provider


def _bad(detail: str) -> Problem:
    return Problem(422, "bad-parameters", "It cannot connect by these details", detail)


async def test(environment: Environment, details: Details) -> dict[str, Any]:
    """Connect, now and really, and say what came of it."""
    provider = check(details)
    began = time.monotonic()
    try:
        async with asyncio.timeout(TEST_SECONDS):
            succeeded, message = True, await provider.connect(environment, details)
    except TimeoutError:
        succeeded, message = False, f"The database did not answer within {TEST_SECONDS:.0f} s."
    except NoConnection as trouble:
        succeeded, message = False, " ".join(str(trouble).split())
    took = round((time.monotonic() - began) * 1000)
    return {"succeeded": succeeded, "message": message[:LONGEST_MESSAGE], "took_ms": took}


async def _connect_to_postgresql(environment: Environment, details: Details) -> str:
    psycopg = await asyncio.to_thread(importlib.import_module, "psycopg")  # not before somebody needs it
    given = details.parameters
    try:
        connection = await psycopg.AsyncConnection.connect(
            host=given["host"],
            port=given.get("port", "5432"),
            dbname=given["database"],
            user=details.username,
            password=details.password,
            sslmode=given.get("sslmode", "prefer"),
            passfile="/dev/null",  # of whoever runs this server
            application_name=f"{environment.name} (connection test)"[:60],
        )
        async with connection:
            version = connection.info.parameter_status("server_version") or "of an unknown version"
            await connection.execute("SELECT 1")
    except psycopg.Error as error:
        raise NoConnection(str(error) or type(error).__name__) from None
    return f"Logged in to {given['database']} on {given['host']} as {details.username}: PostgreSQL {version}."


async def _connect_to_sqlite(environment: Environment, details: Details) -> str:
    name = details.parameters["file"]
    return await asyncio.to_thread(_open_sqlite, environment.shelf.databases / name, name)


def _open_sqlite(path: Path, name: str) -> str:
    if not path.is_file():
        raise NoConnection(f"There is no file {name} in the folder of databases.")
    try:
        opened = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=TEST_SECONDS / 2)
        try:
            [count] = opened.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'").fetchone()
        finally:
            opened.close()
    except sqlite3.Error as error:
        raise NoConnection(f"{name}: {error}") from None
    return f"Opened {name}: {count} {'table' if count == 1 else 'tables'}."


_parameter = partial(Parameter, is_required=True)
PROVIDERS: dict[str, Provider] = {
    one.key: one
    for one in (
        Provider(
            key="postgresql",
            name="PostgreSQL",
            has_login=True,
            parameters=(
                _parameter(name="host", description="A host name or an IP address.", pattern=r"[A-Za-z0-9._:-]{1,253}"),
                Parameter(name="port", description="A number; 5432 when left out.", pattern=r"[1-9]\d{0,4}"),
                _parameter(name="database", description="The name of the database."),
                Parameter(
                    name="sslmode",
                    description="disable, allow, prefer (when left out), require, verify-ca or verify-full.",
                    pattern="disable|allow|prefer|require|verify-ca|verify-full",
                ),
            ),
            connect=_connect_to_postgresql,
        ),
        Provider(
            key="sqlite",
            name="SQLite",
            has_login=False,
            parameters=(
                _parameter(
                    name="file",
                    description="The name of a file in the environment's folder of databases.",
                    pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}",
                ),
            ),
            connect=_connect_to_sqlite,
        ),
    )
}
if importlib.util.find_spec("psycopg") is None:
    del PROVIDERS["postgresql"]
