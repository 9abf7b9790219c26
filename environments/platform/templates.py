"""Templates of new applications, and making one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import StringConstraints

from environments.platform import applications, journal, versions
from environments.platform.answers import Document, Problem
from environments.platform.canonical import canonical
from environments.platform.schemas import (
    ApplicationChange,
    ByBody,
    Colour,
    Key,
    ModuleChange,
    Strict,
    Text,
    bad_body,
    check,
)

if TYPE_CHECKING:
    from environments.platform.environment import Environment

TEMPLATES: list[dict[str, str]] = [
    {"key": "reactive-web", "name": "Reactive Web App", "kind": "WebResponsive",
     "description": "Pages for every screen, from phones to large displays."},
    {"key": "mobile", "name": "Mobile App", "kind": "Mobile", "description": "Installed on phones; works offline."},
    {"key": "service", "name": "Service", "kind": "Service", "description": "Logic and data for other applications."},
    {"key": "library", "name": "Library", "kind": "Library", "description": "Blocks, themes and functions to reuse."},
    {"key": "plugin", "name": "Console Plugin", "kind": "WebResponsive",
     "description": "A page of the console, with sample data and the way to register it."},
]  # fmt: skip
DOCUMENT = Document(canonical({"templates": TEMPLATES}))
SUFFIXES = {"Service": "_CS"}


class NewApplicationBody(Strict):
    key: Key
    template_key: str
    team_key: Key | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^\S([^\x00-\x1f]*\S)?$")]
    description: Text = ""
    colour: Colour = ""
    by: ByBody


def create(environment: Environment, body: Any) -> tuple[dict[str, Any], bool]:
    """An application of a template; answer it and whether it is new."""
    order = check(NewApplicationBody, body)
    request, key = canonical(body), str(order.key)
    known = environment.store.row("SELECT request FROM creation WHERE environment = ? AND key = ?", environment.id, key)
    if known is not None:
        if known[0] != request:
            raise versions.key_taken(key)
        return environment.require(key), False
    if environment.find(key) is not None:
        raise versions.key_taken(key)
    template = next((one for one in TEMPLATES if one["key"] == order.template_key), None)
    if template is None:
        raise Problem(
            422,
            "template-unknown",
            "There is no such template",
            f"{order.template_key[:100]!r} is none; see /templates.",
        )
    module = module_name(order.name) + SUFFIXES.get(template["kind"], "")
    environment.refuse_taken_names(key, order.name, {module: ""})
    change = ApplicationChange(
        key=order.key,
        name=order.name,
        kind=template["kind"],  # type: ignore[arg-type]
        description=order.description,
        url_path=_free_path(environment, module_name(order.name))
        if template["kind"] in ("WebResponsive", "Mobile")
        else "",
        team_key=str(order.team_key) if order.team_key else None,
        colour=order.colour,
        changed_by=order.by.name,
        modules=[ModuleChange(name=module)],
    )
    application = applications.create(change, at=environment.now())
    with environment.changes():
        environment.store.write(
            "INSERT INTO creation (environment, key, request) VALUES (?, ?, ?)", environment.id, key, request
        )
        environment.save(application)
        message = f"Created from the template {template['name']}."
        journal.write(environment, key, "Publish", message, user=order.by.name)
    return application, True


def module_name(name: str) -> str:
    """A name of letters and digits from a person's words."""
    found = re.sub(r"[^A-Za-z0-9_]", "", name)
    if not found or not found[0].isalpha():
        found = f"App{found}"
    if len(found) > 80:
        raise bad_body("name: too long")
    return found


def _free_path(environment: Environment, wanted: str) -> str:
    path, number = wanted, 1
    while environment.application_at(path) is not None:
        number += 1
        path = f"{wanted}{number}"
    return path
