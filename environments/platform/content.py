"""What an application consists of, beside its description in the feed: parts of modules, web files, references."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from environments.platform import seed
from environments.platform.canonical import canonical
from environments.platform.packages import WEB, Parts
from environments.platform.schemas import bad_body, faults

if TYPE_CHECKING:
    from environments.platform.environment import Environment
    from environments.platform.schemas import ApplicationChange

PARTS = tuple(Parts.model_fields)
SERVED = ("WebResponsive", "Mobile")  # kinds that have pages


@dataclass
class Content:
    parts: dict[str, dict[str, Any]]  # by module key
    extensibility: dict[str, Any]
    package: str | None = None
    site: str | None = None
    compiled: dict[str, Any] = field(default_factory=dict)
    is_stored: bool = False

    def of(self, module_key: str) -> dict[str, Any]:
        return {**EMPTY, **self.parts.get(module_key, {})}


EMPTY: dict[str, Any] = {name: [] for name in PARTS}


def load(environment: Environment, application: Mapping[str, Any]) -> Content:
    row = environment.store.row(
        "SELECT parts, package, site, compiled FROM content WHERE environment = ? AND application = ?",
        environment.id,
        application["key"],
    )
    if row is None:
        return seeded(application)
    stored = json.loads(row[0])
    return Content(stored["modules"], stored["extensibility"], row[1], row[2], json.loads(row[3]), is_stored=True)


def save(environment: Environment, application_key: str, content: Content) -> None:
    """Inside the transaction that saves the application."""
    environment.store.write(
        "INSERT INTO content (environment, application, parts, package, site, compiled) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (environment, application) DO UPDATE SET parts = excluded.parts, package = excluded.package,"
        " site = excluded.site, compiled = excluded.compiled",
        environment.id,
        application_key,
        canonical({"modules": content.parts, "extensibility": content.extensibility}),
        content.package,
        content.site,
        canonical(content.compiled),
    )


def seeded(application: Mapping[str, Any]) -> Content:
    """Of an application that nobody ever said more about."""
    parts = {
        module["key"]: seed.PARTS[module["name"]] for module in application["modules"] if module["name"] in seed.PARTS
    }
    return Content(parts, seed.EXTENSIBILITY if application["kind"] == "Mobile" else {})


def published(content: Content, application: Mapping[str, Any], change: ApplicationChange) -> Content | None:
    """The content after a developer's publish that says something about it; nothing when it does not."""
    extended = [module for module in change.modules or [] if module.model_fields_set & set(PARTS)]
    if not extended and change.extensibility is None:
        return None
    by_name = {module["name"]: module["key"] for module in application["modules"]}
    parts = {module["key"]: content.parts.get(module["key"], {}) for module in application["modules"]}
    for module in extended:
        given = {name: getattr(module, name) for name in PARTS if getattr(module, name) is not None}
        key = str(module.key) if module.key else by_name[module.name or ""]
        parts[key] = {**parts[key], **checked(given)}
    extensibility = content.extensibility if change.extensibility is None else change.extensibility
    return Content(parts, extensibility, content.package, content.site, content.compiled)


def checked(given: dict[str, Any]) -> dict[str, Any]:
    try:
        parts = Parts.model_validate(given)
    except ValidationError as error:
        raise bad_body(f"modules: {faults(error)}") from None
    return {name: value for name, value in parts.model_dump(mode="json").items() if name in given}


def compiled_security(environment: Environment) -> dict[str, Any]:
    """The security settings that take effect when a module is published."""
    security = environment.values["security"]
    return {"hsts": security["hsts"], "content_security_policy": security["content_security_policy"]}


def manifest(application: Mapping[str, Any], content: Content, version: Mapping[str, Any] | None) -> dict[str, Any]:
    """The manifest of a package of the application, without its files."""
    return {
        "format": 1,
        "application": {
            name: application.get(name, "") for name in ("key", "name", "kind", "description", "url_path", "colour")
        },
        "version": None if version is None else dict(version),
        "modules": [
            {
                **{name: module[name] for name in ("key", "name", "kind", "description", "version_key", "hash")},
                "created_at": module["changed_at"],
                "created_by": module["changed_by"],
                **content.of(module["key"]),
            }
            for module in application["modules"]
        ],
        "extensibility": content.extensibility,
    }


def generated(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """Web files of an application that came without any: a page that says what it is."""
    application, version = manifest["application"], manifest["version"]
    if application["kind"] not in SERVED:
        return {}
    shown = escape(version["version"]) if version else "not tagged yet"
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(application['name'])}</title></head><body><main><h1>{escape(application['name'])}</h1>"
        f"<p>{escape(application['description'])}</p><p>Version <strong>{shown}</strong></p></main></body></html>\n"
    )
    return {f"{WEB}index.html": page.encode()}


def references(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: module[name] for name in ("key", "name", "version_key", "produces", "consumes")}
        for module in manifest["modules"]
    ]
