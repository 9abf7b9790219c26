"""Connections to databases that are kept in this environment. A password comes in and never goes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, StringConstraints

from environments.platform import clock, database_providers, versions
from environments.platform.answers import Problem
from environments.platform.canonical import canonical
from environments.platform.database_providers import Details
from environments.platform.schemas import ByBody, Key, Strict, Text, check

if TYPE_CHECKING:
    from environments.platform.environment import Environment

Permissions = dict[str, Literal["no-access", "read-only", "full-control"]]  # by key, as in /permissions
Line = r"^[^\x00-\x1f\x7f]*$"


class DetailsBody(Strict):
    provider: Annotated[str, StringConstraints(max_length=80)]
    username: Annotated[str, StringConstraints(max_length=200, pattern=Line)] = ""
    password: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] | None = None
    parameters: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_ ]{0,49}$")],
        Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=Line)],
    ] = {}

    def details(self, password: str = "") -> Details:
        """How to connect, by another password where this has none."""
        return Details(
            provider=self.provider,
            username=self.username,
            password=password if self.password is None else self.password,
            parameters=self.parameters,
        )


class ConnectionBody(DetailsBody):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,49}$")]
    description: Text = ""
    roles: Permissions | None = None
    users: Permissions | None = None
    by: ByBody


class NewConnectionBody(ConnectionBody):
    key: Key


class ChangedConnectionBody(ConnectionBody):
    revision: Annotated[int, Field(ge=1)]


class Row(NamedTuple):
    key: str
    body: bytes | None  # nothing: it was deleted
    password: str
    revision: int
    request: bytes  # that made it what it is, without its password

    @property
    def value(self) -> dict[str, Any]:
        return dict(json.loads(self.body or b"{}"))

    def shown(self) -> dict[str, Any]:
        return {**self.value, "key": self.key, "revision": self.revision, "has_password": bool(self.password)}

    def came_of(self, order: ConnectionBody, request: bytes) -> bool:
        """Whether this very request made it what it is."""
        return self.body is not None and self.request == request and order.password in (None, self.password)


def shown(environment: Environment) -> dict[str, Any]:
    rows = _rows(environment, "body IS NOT NULL ORDER BY name, key")
    return {"connections": [row.shown() for row in rows]}


def require(environment: Environment, key: str) -> Row:
    found = _rows(environment, "key = ? AND body IS NOT NULL", key)
    if not found:
        raise Problem(404, "connection-unknown", "There is no such connection", f"No connection has the key {key}.")
    return found[0]


def create(environment: Environment, body: Any) -> tuple[dict[str, Any], bool]:
    """A new connection; answer it and whether it is new."""
    order = check(NewConnectionBody, body)
    key, request = str(order.key), _request(body)
    for known in _rows(environment, "key = ?", key):
        if not known.came_of(order, request):
            raise versions.key_taken(key)
        return known.shown(), False
    return _save(environment, Row(key, None, "", 0, b""), order, request), True


def change(environment: Environment, key: str, body: Any) -> dict[str, Any]:
    """Replace what is there, but for a password and permissions that are left out."""
    row = require(environment, key)
    order = check(ChangedConnectionBody, body)
    request = _request(body)
    if row.came_of(order, request):
        return row.shown()
    _refuse_stale(row, order.revision)
    before = row.value
    is_elsewhere = any(before[name] != getattr(order, name) for name in ("provider", "username", "parameters"))
    if row.password and order.password is None and is_elsewhere:
        raise Problem(
            422,
            "password-needed",
            "The password is needed",
            "The stored password is not sent elsewhere: give it again with another provider, username or parameter.",
        )
    return _save(environment, row, order, request)


def delete(environment: Environment, key: str, revision: int | None) -> None:
    row = require(environment, key)
    if revision is not None:
        _refuse_stale(row, revision)
    environment.store.write(
        "UPDATE database_connection SET body = NULL, password = '', request = x'' WHERE environment = ? AND key = ?",
        environment.id,
        key,
    )


async def test(environment: Environment, body: Any) -> dict[str, Any]:
    """Try details that are not saved."""
    return await database_providers.test(environment, check(DetailsBody, body).details())


async def test_saved(environment: Environment, key: str) -> dict[str, Any]:
    row = require(environment, key)
    saved = row.value
    details = {name: saved[name] for name in ("provider", "username", "parameters")}
    return await database_providers.test(environment, Details(**details, password=row.password))


def _save(environment: Environment, row: Row, order: ConnectionBody, request: bytes) -> dict[str, Any]:
    details = order.details(row.password)
    database_providers.check(details)
    namesakes = _rows(environment, "name = ? AND key != ? AND body IS NOT NULL", order.name, row.key)
    if namesakes:
        raise Problem(409, "name-taken", "The name is taken", f"Another connection is named {order.name}.")
    value: Mapping[str, Any] = {
        **order.model_dump(include={"name", "provider", "description", "username", "parameters"}),
        "roles": row.value.get("roles", {}) if order.roles is None else order.roles,
        "users": row.value.get("users", {}) if order.users is None else order.users,
        "changed_at": clock.text(environment.now()),
        "changed_by": order.by.name,
    }
    saved = Row(row.key, canonical(value), details.password, row.revision + 1, request)
    environment.store.write(
        "INSERT INTO database_connection (environment, name, key, body, password, revision, request)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (environment, key) DO UPDATE SET name = excluded.name,"
        " body = excluded.body, password = excluded.password, revision = excluded.revision, request = excluded.request",
        *(environment.id, order.name, *saved),
    )
    return saved.shown()


def _refuse_stale(row: Row, revision: int) -> None:
    if revision != row.revision:
        now = row.value
        raise Problem(
            409,
            "changed-meanwhile",
            "It was changed meanwhile",
            f"{now['changed_by'] or 'Somebody'} changed {now['name']} at {now['changed_at']}; look at it as it is now.",
        )


def _request(body: Mapping[str, Any]) -> bytes:
    return canonical({**body, "password": body.get("password") is not None})


def _rows(environment: Environment, where: str, *parameters: Any) -> list[Row]:
    rows = environment.store.rows(
        f"SELECT key, body, password, revision, request FROM database_connection WHERE environment = ? AND {where}",  # noqa: S608
        environment.id,
        *parameters,
    )
    return [Row(*row) for row in rows]
