"""Versions of applications: their history, and the package of each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from environments.platform import content as contents
from environments.platform import journal, packages, uploads
from environments.platform.answers import Problem
from environments.platform.canonical import canonical
from environments.platform.shelf import full_disk_is_a_problem, in_thread

if TYPE_CHECKING:
    from environments.platform.environment import Environment

GENERATED_BYTES = 64 * 1024  # more than a package without web files of its own may take


class Row:
    """A version as it is stored."""

    __slots__ = ("body", "bytes", "digest", "key", "manifest", "request", "sequence", "web")
    COLUMNS = "key, sequence, body, manifest, web, digest, bytes, request"

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.key: str = values[0]
        self.sequence: int = values[1]
        self.body: dict[str, Any] = json.loads(values[2])
        self.manifest: dict[str, Any] = json.loads(values[3])
        self.web: str | None = values[4]
        self.digest: str | None = values[5]
        self.bytes: int | None = values[6]
        self.request: bytes | None = values[7]


def number(text: str) -> tuple[int, ...]:
    """A version as numbers that compare; `1.2` is `1.2.0`. Other tools' numbers count as far as they are numbers."""
    found = [int(part) for part in re.findall(r"\d+", text)[:3]]
    return tuple(found + [0] * (3 - len(found)))


# History
def adopt(environment: Environment, application: Mapping[str, Any]) -> None:
    """Have the version that an application came with in its history, before it changes."""
    key = application.get("version_key")
    if not key or not application["version"] or find(environment, application["key"], key) is not None:
        return
    content = contents.load(environment, application)
    version = {
        "key": key,
        "version": application["version"],
        "change_log": "",
        "created_at": application["changed_at"],
        "created_by": application["changed_by"],
        "created_by_username": "",
        "based_on": None,
        "mobile_versions": [],
    }
    add(environment, application["key"], contents.manifest(application, content, version), web=content.package)


def add(
    environment: Environment,
    application_key: str,
    manifest: Mapping[str, Any],
    *,
    web: str | None,
    package: tuple[str, int] | None = None,
    request: bytes | None = None,
) -> None:
    """Add a version to the history, unless it is there."""
    version = manifest["version"]
    body = {
        **version,
        "application_key": application_key,
        "modules": [
            {
                "module_key": module["key"],
                **{name: module[name] for name in ("name", "version_key", "hash", "created_at", "created_by")},
            }
            for module in manifest["modules"]
        ],
    }
    manifest = {name: value for name, value in manifest.items() if name != "files"}
    environment.store.write(
        "INSERT INTO version (environment, application, key, sequence, body, manifest, web, digest, bytes, request)"
        " SELECT ?1, ?2, ?3, max(coalesce(max(sequence), 0), coalesce((SELECT sequence FROM version_removal"
        " WHERE environment = ?1 AND application = ?2), 0)) + 1, ?4, ?5, ?6, ?7, ?8, ?9 FROM version"
        " WHERE environment = ?1 AND application = ?2 ON CONFLICT (environment, application, key) DO NOTHING",
        environment.id,
        application_key,
        version["key"],
        canonical(body),
        canonical(manifest),
        web,
        *(package or (None, None)),
        request,
    )


def find(environment: Environment, application_key: str, key: str) -> Row | None:
    found = environment.store.row(
        f"SELECT {Row.COLUMNS} FROM version WHERE environment = ? AND application = ? AND key = ?",  # noqa: S608
        environment.id,
        application_key,
        key,
    )
    return None if found is None else Row(found)


def require(environment: Environment, application: Mapping[str, Any], key: str) -> Row:
    adopt(environment, application)
    found = find(environment, application["key"], key)
    if found is None:
        raise Problem(
            404, "version-unknown", "There is no such version", f"{application['name']} has no version {key}."
        )
    return found


async def shown(environment: Environment, application: Mapping[str, Any], row: Row) -> dict[str, Any]:
    digest, size = await built(environment, application, row)
    return {
        **row.body,
        "in_use": row.key == application["version_key"],
        "package": {"digest": digest, "bytes": size},
    }


async def page(environment: Environment, application: dict[str, Any], *, since: str, limit: int) -> dict[str, Any]:
    adopt(environment, application)
    start = environment.number_of(since)
    found = environment.store.rows(
        f"SELECT {Row.COLUMNS} FROM version WHERE environment = ? AND application = ? AND sequence > ?"  # noqa: S608
        " ORDER BY sequence LIMIT ?",
        environment.id,
        application["key"],
        start,
        limit + 1,
    )
    rows = [Row(values) for values in found[:limit]]
    end = rows[-1].sequence if rows else start
    return {
        "versions": [await shown(environment, application, row) for row in rows],
        "cursor": environment.cursor(end) if end else "0",
        "more": len(found) > limit,
    }


async def built(environment: Environment, application: Mapping[str, Any], row: Row) -> tuple[str, int]:
    """Digest and size of a version's package, which is made when nobody asked before, or when it was lost.

    Only packages that can be made again, byte by byte, are made like this.
    """
    if row.digest is not None and row.bytes is not None and environment.shelf.package(row.digest).exists():
        return row.digest, row.bytes
    digest, size = await build(environment, row.manifest, row.web, durably=False)
    if row.digest is None:
        environment.store.write(
            "UPDATE version SET digest = ?, bytes = ? WHERE environment = ? AND application = ? AND key = ?",
            digest,
            size,
            environment.id,
            application["key"],
            row.key,
        )
    elif row.digest != digest:
        raise Problem(500, "package-lost", "The package was lost", f"The package {row.digest} is not on the disk.")
    row.digest, row.bytes = digest, size
    return digest, size


async def build(
    environment: Environment, manifest: Mapping[str, Any], web: str | None, *, durably: bool = True
) -> tuple[str, int]:
    """Make the package of a version; answer its digest and size."""
    shelf = environment.shelf
    source = shelf.package(web) if web else None
    shelf.require_space((source.stat().st_size if source else 0) + GENERATED_BYTES)

    def work(path: Path, stop: Event) -> tuple[str, int]:
        return packages.build(
            path, manifest, web=source, generated={} if source else contents.generated(manifest), stop=stop
        )

    with shelf.temporary() as path, full_disk_is_a_problem():
        digest, size = await in_thread(lambda stop: work(path, stop))
        shelf.keep(path, digest, durably=durably)
    return digest, size


# Removing
def remove(environment: Environment, application: Mapping[str, Any], key: str) -> None:
    """Take a version out of the history; its package goes later, with others that nothing uses."""
    row = require(environment, application, key)
    number_of = f"Version {row.body['version']} of {application['name']}"
    if key == application["version_key"]:
        raise Problem(409, "version-in-use", "The version is in use", f"{number_of} is what runs here.")
    if row.digest is not None and row.digest in environment.deployments.packages():
        raise Problem(409, "version-in-use", "The version is in use", f"{number_of} is being deployed.")
    with environment.changes():
        environment.store.write(
            "INSERT INTO version_removal (environment, application, sequence) VALUES (?, ?, ?)"
            " ON CONFLICT (environment, application) DO UPDATE SET sequence = max(sequence, excluded.sequence)",
            environment.id,
            application["key"],
            row.sequence,
        )
        environment.store.write(
            "DELETE FROM version WHERE environment = ? AND application = ? AND key = ?",
            environment.id,
            application["key"],
            key,
        )
        if row.digest is not None and row.bytes is not None and environment.shelf.package(row.digest).exists():
            uploads.remember(environment, row.digest, row.bytes, application["key"])
        journal.write(environment, application["key"], "Publish", f"Removed version {row.body['version']}.")


def key_taken(key: str) -> Problem:
    return Problem(409, "key-taken", "The key is taken", f"Something else was made with the key {key}.")
