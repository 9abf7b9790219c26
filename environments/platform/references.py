"""Do modules find what they use? Asked before a deployment is switched to, of everything that it touches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from environments.platform import content as contents

if TYPE_CHECKING:
    from environments.platform.content import Content
    from environments.platform.environment import Environment


@dataclass(frozen=True)
class Broken:
    application_key: str  # of the consumer
    application: str
    names: tuple[str, ...]  # modules and elements that are missing or of another signature
    message: str


Installed = dict[str, tuple[Mapping[str, Any], "Content"]]  # by application key


def installed(environment: Environment, arriving: Installed) -> Installed:
    """All applications with their contents, as they would be with those that arrive."""
    stored = {
        key: json.loads(parts)
        for key, parts in environment.store.rows(
            "SELECT application, parts FROM content WHERE environment = ?", environment.id
        )
    }
    found: Installed = {}
    for application in environment.applications():
        key = application["key"]
        if key in stored:
            found[key] = application, contents.Content(stored[key]["modules"], stored[key]["extensibility"])
        else:
            found[key] = application, contents.seeded(application)
    return {**found, **arriving}


def touched(everything: Installed, keys: set[str]) -> set[str]:
    """Applications with these keys, and those that use them."""
    users = {
        key
        for key, (application, content) in everything.items()
        for _, reference in _uses(application, content)
        if reference["application_key"] in keys
    }
    return (keys & everything.keys()) | users


def broken(everything: Installed, keys: set[str]) -> list[Broken]:
    """What the applications with these keys use and do not find."""
    offered = {
        module["key"]: {
            (element["kind"], element["name"]): element["signature"]
            for element in content.of(module["key"])["produces"]
        }
        for application, content in everything.values()
        for module in application["modules"]
    }
    found = []
    for key in sorted(keys, key=lambda one: str(everything[one][0]["name"])):
        application, content = everything[key]
        for module, reference in _uses(application, content):
            faults = list(_faults(offered.get(reference["module_key"]), reference))
            if faults:
                message = (
                    f"{application['name']}: module {module['name']} is incompatible with module"
                    f" {reference['module_name']} of {reference['application_name']}: {'; '.join(faults)}."
                )
                names = (reference["module_name"], *(one["name"] for one in reference["elements"]))
                found.append(Broken(key, application["name"], names, message[:2000]))
    return found


def _faults(offered: Mapping[tuple[str, str], str] | None, reference: Mapping[str, Any]) -> Iterator[str]:
    if offered is None:
        yield "the producer module is missing"
        return
    for element in reference["elements"]:
        signature = offered.get((element["kind"], element["name"]))
        if signature is None:
            yield f"{element['kind']} {element['name']} is missing"
        elif signature != element["signature"]:
            yield f"{element['kind']} {element['name']} has another signature"


def _uses(application: Mapping[str, Any], content: Content) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for module in application["modules"]:
        for reference in content.of(module["key"])["consumes"]:
            yield module, reference
