"""Versions of applications: tagging, history, and the package of each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

from pydantic import Field, StringConstraints

from environments.platform import clock, journal, packages, uploads
from environments.platform import content as contents
from environments.platform.answers import Problem
from environments.platform.canonical import canonical
from environments.platform.schemas import ByBody, Key, Strict, Text, bad_body, check
from environments.platform.shelf import full_disk_is_a_problem, in_thread

if TYPE_CHECKING:
    from environments.platform.environment import Environment

Number = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){0,2}$")]
GENERATED_BYTES = 64 * 1024  # more than a package without web files of its own may take


class MobileVersionBody(Strict):
    platform: Literal["Android", "iOS"]
    version: Number
    description: Text = ""


class PickBody(Strict):
    """A module as it was in one of its versions."""

    module_key: Key
    version_key: Key


class NewVersionBody(Strict):
    key: Key
    version: Number
    change_log: Text = ""
    by: ByBody
    base_version_key: Key | None = None
    modules: Annotated[list[PickBody], Field(max_length=1000)] = []
    mobile_versions: Annotated[list[MobileVersionBody], Field(max_length=2)] = []


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
    digest, size = await _build(environment, row.manifest, row.web, durably=False)
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


async def _build(
    environment: Environment, manifest: Mapping[str, Any], web: str | None, *, durably: bool = True
) -> tuple[str, int]:
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


# Tagging
async def tag(environment: Environment, application: dict[str, Any], body: Any) -> tuple[dict[str, Any], bool]:
    """A new version of an application; answer it and whether it is new."""
    order = check(NewVersionBody, body)
    request = canonical(body)
    key = str(order.key)
    if (known := _repeated(environment, application, key, request)) is not None:
        return await shown(environment, application, known), False
    adopt(environment, application)
    base = require(environment, application, str(order.base_version_key)) if order.base_version_key else None
    _check_numbers(environment, application, order, base)
    picked = _picked(environment, application, order.modules)
    version = {
        "key": key,
        "version": order.version,
        "change_log": order.change_log,
        "created_at": clock.text(environment.now()),
        "created_by": order.by.name,
        "created_by_username": order.by.username,
        "based_on": base.key if base else application["version_key"],
        "mobile_versions": [one.model_dump() for one in order.mobile_versions],
    }
    if base:
        manifest, web = {**base.manifest, "version": version}, base.web
    else:
        content = contents.load(environment, application)
        manifest, web = contents.manifest(application, content, version), content.package
    manifest = _with(manifest, picked)
    package = await _build(environment, manifest, web)

    # Nothing was written yet but a package nobody uses. The world may have moved meanwhile.
    if (known := _repeated(environment, application, key, request)) is not None:
        return await shown(environment, application, known), False
    now = environment.require(application["key"])
    _check_numbers(environment, now, order, base)
    if not base and [one["version_key"] for one in now["modules"]] != [
        one["version_key"] for one in application["modules"]
    ]:
        raise Problem(409, "changed-meanwhile", "The application changed meanwhile", "It was published. Tag it again.")
    with environment.changes():
        add(environment, application["key"], manifest, web=web, package=package, request=request)
        if not base and not picked:  # else the version is another than what is here
            modules = [{**module, "is_modified": False} for module in now["modules"]]
            now = {**now, "version": order.version, "version_key": key, "is_modified": False, "modules": modules}
            environment.save(now)
        journal.write(environment, now["key"], "Publish", f"Tagged version {order.version}.", user=order.by.name)
    return await shown(environment, now, require(environment, now, key)), True


def _picked(
    environment: Environment, application: Mapping[str, Any], picks: Sequence[PickBody]
) -> dict[str, dict[str, Any]]:
    """The definitions of the picked modules by their keys: from the versions of the application, or as it is now."""
    wanted = {str(pick.module_key): str(pick.version_key) for pick in picks}
    if len(wanted) != len(picks):
        raise bad_body("modules: a module is picked twice")
    if not wanted:
        return {}
    if application["kind"] != "WebResponsive":
        raise Problem(
            422, "picks-refused", "Modules cannot be picked", "Single modules are picked in web applications only."
        )
    found: dict[str, dict[str, Any]] = {}
    manifests = [contents.manifest(application, contents.load(environment, application), None)]
    rows = environment.store.rows(
        "SELECT manifest FROM version WHERE environment = ? AND application = ? ORDER BY sequence DESC",
        environment.id,
        application["key"],
    )
    for manifest in (*manifests, *(json.loads(row[0]) for row in rows)):
        for module in manifest["modules"]:
            if wanted.get(module["key"]) == module["version_key"]:
                found.setdefault(module["key"], module)
    for module_key in wanted.keys() - found:
        raise Problem(
            404,
            "module-version-unknown",
            "There is no such version of the module",
            f"No version of {application['name']} has module {module_key} in version {wanted[module_key]}.",
        )
    return found


def _with(manifest: dict[str, Any], picked: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The manifest with the picked modules in the place of its own, and behind them where it has none."""
    own = [picked.get(module["key"], module) for module in manifest["modules"]]
    keys = {module["key"] for module in own}
    modules = [*own, *(module for key, module in picked.items() if key not in keys)]
    names = [module["name"].casefold() for module in modules]
    if len(set(names)) != len(names):
        raise Problem(
            422, "picks-refused", "Modules cannot be picked", "Two modules of the version would have one name."
        )
    return {**manifest, "modules": modules}


def _repeated(environment: Environment, application: Mapping[str, Any], key: str, request: bytes) -> Row | None:
    found = environment.store.row(
        "SELECT application FROM version WHERE environment = ? AND key = ?", environment.id, key
    )
    if found is None:
        return None
    row = find(environment, application["key"], key)
    if row is None or row.request != request:
        raise key_taken(key)
    return row


def _check_numbers(
    environment: Environment, application: Mapping[str, Any], order: NewVersionBody, base: Row | None
) -> None:
    if not application["modules"]:
        raise Problem(
            409, "no-modules", "There is nothing to tag", f"{application['name']} has no modules; add one first."
        )
    if len({one.platform for one in order.mobile_versions}) != len(order.mobile_versions):
        raise bad_body("mobile_versions: a platform is named twice")
    history = [
        json.loads(body)
        for (body,) in environment.store.rows(
            "SELECT body FROM version WHERE environment = ? AND application = ?", environment.id, application["key"]
        )
    ]
    wanted = number(order.version)
    for version in history:
        if number(version["version"]) == wanted:
            raise Problem(
                409,
                "version-exists",
                "The number was used before",
                f"Version {version['version']} was tagged at {version['created_at']} by {version['created_by']}.",
            )
    older = base.body["version"] if base else application["version"]
    if older and wanted < number(older):
        raise Problem(
            409, "version-backwards", "The number goes backwards", f"It is based on {older}; take a higher one."
        )
    for mobile in order.mobile_versions:
        earlier = [
            one["version"]
            for version in history
            for one in version["mobile_versions"]
            if one["platform"] == mobile.platform and number(one["version"]) >= number(mobile.version)
        ]
        if earlier:
            raise Problem(
                409,
                "mobile-version-backwards",
                "A mobile version must be higher than all before",
                f"{mobile.platform} had {max(earlier, key=number)}.",
            )


def key_taken(key: str) -> Problem:
    return Problem(409, "key-taken", "The key is taken", f"Something else was made with the key {key}.")


def new_key() -> str:
    return str(uuid4())
