"""Bringing packages into an environment: what an application becomes by one, and the switch to it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from environments.platform import (
    applications,
    clock,
    configuration,
    events,
    journal,
    packages,
    sites,
    uploads,
    versions,
)
from environments.platform import content as contents
from environments.platform.answers import Problem
from environments.platform.canonical import canonical, digest
from environments.platform.content import PARTS, Content
from environments.platform.packages import BadPackage, Package
from environments.platform.shelf import full_disk_is_a_problem, in_thread, remove, size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from environments.platform.environment import Environment

RESERVED = {"environment", "platform", "platform.css", "servicecenter"}  # paths of the environment's own
UNPACKED_FACTOR = 2  # room for the files and their compressed copies


@dataclass
class Arrival:
    """An application as a package makes it, ready to be switched to."""

    application: dict[str, Any]
    content: Content
    manifest: dict[str, Any]
    package: tuple[str, int]  # digest and size
    values: configuration.Values | None = None


async def publish_package(
    environment: Environment, path: Path, *, by: str, may: Callable[[Mapping[str, Any] | None], None]
) -> tuple[dict[str, Any], bool]:
    """Publish a developer's package; answer the application and whether it is new. `may` raises when they may not."""
    shelf = environment.shelf

    try:
        package = await in_thread(lambda stop: packages.read(path, by_developer=True, stop=stop))
    except BadPackage as error:
        raise Problem(422, "bad-package", "The file is no package", str(error)) from None
    checksum, size = await in_thread(lambda stop: packages.digest_of_file(path, stop=stop)), size_of(path)
    site = shelf.new_site()
    try:
        await compile_into(environment, path, package, site)
        known = _known(environment, package)
        may(known)
        replaced = contents.load(environment, known).site if known else None
        arrival = developed(environment, package, known, by=by, package_file=(checksum, size), site=site)
        refuse_clashes(environment, [arrival.application])
        with full_disk_is_a_problem():
            shelf.keep(path, checksum)
        with environment.changes():
            if known is not None:
                versions.adopt(environment, known)
            environment.save(arrival.application, content=arrival.content)
            uploads.remember(environment, checksum, size, arrival.application["key"])
            journal.write(environment, arrival.application["key"], "Publish", "Published from a package.", user=by)
            events.tell(environment, "application-published", arrival.application, by=by)
    except BaseException:
        remove(shelf.site(site))
        raise
    retire(environment, replaced)
    return arrival.application, known is None


async def compile_into(environment: Environment, path: Path, package: Package, site: str) -> None:
    """Make the folder of a site; nothing of it is left when that fails."""
    shelf = environment.shelf
    shelf.require_space(UNPACKED_FACTOR * sum(size for _, size in package.files.values()))
    folder = shelf.site(site)
    try:
        with full_disk_is_a_problem():
            await in_thread(lambda stop: sites.compile_site(path, package, folder, stop))
    except BadPackage as error:
        remove(folder)
        raise Problem(422, "bad-package", "The file is no package", str(error)) from None
    except BaseException:
        remove(folder)
        raise


def developed(
    environment: Environment,
    package: Package,
    known: Mapping[str, Any] | None,
    *,
    by: str,
    package_file: tuple[str, int],
    site: str,
) -> Arrival:
    """The application after a developer published the package: modified, and based on the version it was based on."""
    given = package.manifest.application
    now = clock.text(environment.now())
    key = known["key"] if known else str(given.key or applications.key_of(given.name))
    before = {module["key"]: module for module in known["modules"]} if known else {}
    by_name = {module["name"]: module["key"] for module in before.values()}
    modules, parts = [], {}
    for module in package.manifest.modules:
        module_key = str(module.key or by_name.get(module.name) or applications.module_key_of(given.name, module.name))
        parts[module_key] = {name: value for name, value in module.model_dump(mode="json").items() if name in PARTS}
        web = package.files if module is package.manifest.modules[0] else {}
        checksum = module.hash or digest(canonical([parts[module_key], {name: list(web[name]) for name in web}]))[7:39]
        old = before.get(module_key)
        is_same = old is not None and old["hash"] == checksum
        modules.append(
            {
                "key": module_key,
                "name": module.name,
                "kind": module.kind,
                "description": module.description,
                "version_key": old["version_key"] if is_same and old else str(module.version_key or uuid4()),
                "hash": checksum,
                "is_modified": old["is_modified"] if is_same and old else True,
                "changed_at": old["changed_at"] if is_same and old else now,
                "changed_by": old["changed_by"] if is_same and old else by,
                "consistency": "",
                "consistency_message": "",
            }
        )
    application = {
        **(known or {"version": "", "version_key": None, "is_system": False, "team_key": None, "colour": ""}),
        "key": key,
        "name": given.name,
        "kind": given.kind,
        "description": given.description or (known["description"] if known else ""),
        "url_path": _url_path(given.kind, given.url_path, known, given.name),
        "is_modified": True,
        "changed_at": now,
        "changed_by": by,
        "consistency": "",
        "consistency_message": "",
        "modules": modules,
    }
    if given.colour:
        application["colour"] = given.colour
    content = Content(
        parts,
        package.manifest.extensibility,
        package_file[0],
        site if package.files else None,
        contents.compiled_security(environment),
    )
    return Arrival(application, content, package.manifest.model_dump(mode="json"), package_file)


def deployed(
    environment: Environment,
    package: Package,
    known: Mapping[str, Any] | None,
    *,
    by: str,
    package_file: tuple[str, int],
    site: str,
) -> Arrival:
    """The application as the version in a package makes it."""
    manifest = package.manifest.model_dump(mode="json")
    given, version = manifest["application"], manifest["version"]
    before = {module["key"]: module for module in known["modules"]} if known else {}
    now = clock.text(environment.now())
    application = {
        **(known or {"is_system": False, "team_key": None}),
        **{name: given[name] for name in ("key", "name", "kind", "description", "colour")},
        "url_path": _url_path(given["kind"], given["url_path"], known, given["name"]),
        "version": version["version"],
        "version_key": version["key"],
        "is_modified": False,
        "changed_at": now,
        "changed_by": by,
        "consistency": "",
        "consistency_message": "",
        "modules": [
            {
                **{name: module[name] for name in ("key", "name", "kind", "description", "version_key", "hash")},
                "is_modified": False,
                "changed_at": _changed_at(before.get(module["key"]), module, now),
                "changed_by": by,
                "consistency": "",
                "consistency_message": "",
            }
            for module in manifest["modules"]
        ],
    }
    parts = {module["key"]: {name: module[name] for name in PARTS} for module in manifest["modules"]}
    content = Content(
        parts,
        manifest["extensibility"],
        package_file[0],
        site if package.files else None,
        contents.compiled_security(environment),
    )
    return Arrival(application, content, manifest, package_file)


def refuse_clashes(environment: Environment, arriving: Sequence[Mapping[str, Any]]) -> None:
    """Raise a problem when two applications would have one name, one URL path, or modules of one name."""
    keys = {application["key"] for application in arriving}
    together = [*arriving, *(one for one in environment.applications() if one["key"] not in keys)]
    names: dict[str, Mapping[str, Any]] = {}
    paths: dict[str, Mapping[str, Any]] = {}
    modules: dict[str, Mapping[str, Any]] = {}
    for application in together:
        if names.setdefault(application["name"].casefold(), application) is not application:
            raise Problem(409, "name-taken", "The name is taken", f"Two are named {application['name']!r}.")
        path = application["url_path"].casefold()
        if path in RESERVED and application["key"] in keys:
            raise Problem(409, "url-path-taken", "The URL path is taken", f"/{path} is the environment's own.")
        if path and paths.setdefault(path, application) is not application:
            raise Problem(
                409, "url-path-taken", "The URL path is taken", f"/{path} is that of {paths[path]['name']} already."
            )
        for module in application["modules"]:
            owner = modules.setdefault(module["name"].casefold(), application)
            if owner is not application and (application["key"] in keys or owner["key"] in keys):
                raise Problem(
                    409,
                    "module-name-taken",
                    "A module's name is taken",
                    f"{owner['name']} and {application['name']} both have a module named {module['name']!r}.",
                )


def retire(environment: Environment, site: str | None) -> None:
    """Delete a site that is not served any more; answers that are on their way have their file open."""
    if site is not None:
        remove(environment.shelf.site(site))


def clean_up(environment: Environment, *, older_than: float) -> None:
    """Delete what nothing uses: leftovers of a crash, sites that were replaced, packages that came long ago."""
    shelf = environment.shelf
    environment.deployments.expire()
    if not shelf.folder.exists():
        return
    rows = environment.store.rows("SELECT site FROM content WHERE environment = ? AND site IS NOT NULL", environment.id)
    kept = {site for (site,) in rows} | environment.deployments.sites()
    before = time.time() - older_than
    for folder in (shelf.sites, shelf.staging):
        for path in folder.iterdir() if folder.exists() else ():
            if path.name not in kept and path.stat().st_mtime <= before:
                remove(path)
    uploads.forget_old(environment, used=environment.deployments.packages())


def _known(environment: Environment, package: Package) -> dict[str, Any] | None:
    given = package.manifest.application
    if given.key is not None:
        return environment.find(str(given.key))
    return environment.store.application(environment.id, name=given.name)


def _url_path(kind: str, given: str | None, known: Mapping[str, Any] | None, name: str) -> str:
    if kind not in contents.SERVED:
        return ""
    if given:
        return given
    if known and known["url_path"]:
        return str(known["url_path"])
    return "".join(name.split()) if re.fullmatch(r"[A-Za-z0-9_ -]+", name) else secrets.token_hex(4)


def _changed_at(old: Mapping[str, Any] | None, module: Mapping[str, Any], now: str) -> str:
    is_same = old is not None and old["version_key"] == module["version_key"]
    return str(old["changed_at"]) if is_same and old else now
