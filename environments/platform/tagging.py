"""Tagging: a new version of an application, of what is here, of a version before, or of modules picked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from environments.platform import clock, journal, versions
from environments.platform import content as contents
from environments.platform.answers import Problem
from environments.platform.canonical import canonical
from environments.platform.schemas import ByBody, Key, Strict, Text, bad_body, check

if TYPE_CHECKING:
    from environments.platform.environment import Environment

Number = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){0,2}$")]


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


async def tag(environment: Environment, application: dict[str, Any], body: Any) -> tuple[dict[str, Any], bool]:
    """A new version of an application; answer it and whether it is new."""
    order = check(NewVersionBody, body)
    request = canonical(body)
    key = str(order.key)
    if (known := _repeated(environment, application, key, request)) is not None:
        return await versions.shown(environment, application, known), False
    versions.adopt(environment, application)
    base = versions.require(environment, application, str(order.base_version_key)) if order.base_version_key else None
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
    package = await versions.build(environment, manifest, web)

    # Nothing was written yet but a package nobody uses. The world may have moved meanwhile.
    if (known := _repeated(environment, application, key, request)) is not None:
        return await versions.shown(environment, application, known), False
    now = environment.require(application["key"])
    _check_numbers(environment, now, order, base)
    if not base and [one["version_key"] for one in now["modules"]] != [
        one["version_key"] for one in application["modules"]
    ]:
        raise Problem(409, "changed-meanwhile", "The application changed meanwhile", "It was published. Tag it again.")
    with environment.changes():
        versions.add(environment, application["key"], manifest, web=web, package=package, request=request)
        if not base and not picked:  # else the version is another than what is here
            modules = [{**module, "is_modified": False} for module in now["modules"]]
            now = {**now, "version": order.version, "version_key": key, "is_modified": False, "modules": modules}
            environment.save(now)
        journal.write(environment, now["key"], "Publish", f"Tagged version {order.version}.", user=order.by.name)
    return await versions.shown(environment, now, versions.require(environment, now, key)), True


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


def _repeated(
    environment: Environment, application: Mapping[str, Any], key: str, request: bytes
) -> versions.Row | None:
    found = environment.store.row(
        "SELECT application FROM version WHERE environment = ? AND key = ?", environment.id, key
    )
    if found is None:
        return None
    row = versions.find(environment, application["key"], key)
    if row is None or row.request != request:
        raise versions.key_taken(key)
    return row


def _check_numbers(
    environment: Environment, application: Mapping[str, Any], order: NewVersionBody, base: versions.Row | None
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
    wanted = versions.number(order.version)
    for version in history:
        if versions.number(version["version"]) == wanted:
            raise Problem(
                409,
                "version-exists",
                "The number was used before",
                f"Version {version['version']} was tagged at {version['created_at']} by {version['created_by']}.",
            )
    older = base.body["version"] if base else application["version"]
    if older and wanted < versions.number(older):
        raise Problem(
            409, "version-backwards", "The number goes backwards", f"It is based on {older}; take a higher one."
        )
    for mobile in order.mobile_versions:
        earlier = [
            one["version"]
            for version in history
            for one in version["mobile_versions"]
            if one["platform"] == mobile.platform and versions.number(one["version"]) >= versions.number(mobile.version)
        ]
        if earlier:
            raise Problem(
                409,
                "mobile-version-backwards",
                "A mobile version must be higher than all before",
                f"{mobile.platform} had {max(earlier, key=versions.number)}.",
            )
