"""Applications of one environment: the change feed and what a developer's publish does to them."""

import secrets
from typing import Any
from uuid import UUID, uuid4, uuid5

from environments.platform import clock
from environments.platform.answers import Problem
from environments.platform.canonical import canonical
from environments.platform.packages import Parts
from environments.platform.schemas import ApplicationChange, ModuleChange

NAMESPACE = UUID("6a1f0f0e-8a3c-5d7e-9b0a-4c2d1e3f5a6b")  # the same application has the same key in every environment


def key_of(name: str) -> UUID:
    return uuid5(NAMESPACE, name)


def module_key_of(application: str, module: str) -> UUID:
    return uuid5(key_of(application), module)


def version_key_of(application: str, version: str) -> UUID:
    return uuid5(key_of(application), f"version {version}")


def page(rows: list[bytes], removed: list[str], *, cursor: str, more: bool) -> bytes:
    """The canonical document of a page of the feed, put together from applications that are stored canonically."""
    return b'{"applications":[%s],"cursor":%s,"more":%s,"removed":%s}' % (
        b",".join(rows),
        canonical(cursor),
        b"true" if more else b"false",
        canonical(removed),
    )


def create(change: ApplicationChange, *, at: float) -> dict[str, Any]:
    """A new application; it begins unversioned and modified unless the change says otherwise."""
    if change.name is None:
        raise Problem(404, "application-unknown", "There is no such application", "A new application needs a name.")
    key = change.key or key_of(change.name)
    application: dict[str, Any] = {
        "key": str(key),
        "name": change.name,
        "kind": "WebResponsive",
        "description": "",
        "url_path": "",
        "is_system": False,
        "version": "",
        "version_key": None,
        "is_modified": True,
        "changed_at": clock.text(at),
        "changed_by": "developer",
        "consistency": "",
        "consistency_message": "",
        "modules": [],
        "team_key": None,
        "colour": "",
    }
    modules = change.modules if change.modules is not None else [ModuleChange(name=change.name.replace(" ", ""))]
    return publish(application, change.model_copy(update={"modules": modules}), at=at)


def publish(application: dict[str, Any], change: ApplicationChange, *, at: float) -> dict[str, Any]:
    """The application after a developer published it: changed members replaced, modified unless a version is given.

    A list of modules is the whole new list, each entry a change of the module with its key or name; without one, the
    first module counts as edited.
    """
    given = change.model_dump(mode="json", exclude_none=True, exclude={"key", "modules", "extensibility"})
    stamp = {"changed_at": clock.text(at), "changed_by": "developer", "is_modified": "version" not in given}
    after = {**application, **stamp, **given}
    if "version" in given and "version_key" not in given:
        after["version_key"] = str(version_key_of(after["name"], after["version"])) if after["version"] else None
    modules = change.modules
    if modules is None:
        edited = [ModuleChange(key=UUID(application["modules"][0]["key"]))] if application["modules"] else []
        others = [ModuleChange(key=UUID(module["key"])) for module in application["modules"][1:]]
        untouched = {str(other.key) for other in others}
        modules = edited + others
    else:
        untouched = set()
    after["modules"] = [_published_module(after, application["modules"], module, untouched) for module in modules]
    keys = [module["key"] for module in after["modules"]]
    if len(set(keys)) != len(keys):
        raise Problem(422, "bad-body", "The body is not what this path takes", "modules: two modules have one key")
    return after


def _published_module(
    application: dict[str, Any], before: list[dict[str, Any]], change: ModuleChange, untouched: set[str]
) -> dict[str, Any]:
    module = _find(before, change)
    if module is not None and module["key"] in untouched:
        return module
    if module is None:
        if change.name is None:
            raise Problem(422, "bad-body", "The body is not what this path takes", "modules: a new module needs a name")
        module = {
            "key": str(change.key or module_key_of(application["name"], change.name)),
            "name": change.name,
            "kind": "eSpace",
            "description": "",
            "consistency": "",
            "consistency_message": "",
        }
    return {
        **module,
        "version_key": str(uuid4()),
        "hash": secrets.token_hex(16),
        "is_modified": application["is_modified"],
        "changed_at": application["changed_at"],
        "changed_by": application["changed_by"],
        **change.model_dump(mode="json", exclude_none=True, exclude={"key", *Parts.model_fields}),
    }


def _find(modules: list[dict[str, Any]], change: ModuleChange) -> dict[str, Any] | None:
    for module in modules:
        if (change.key and module["key"] == str(change.key)) or (not change.key and module["name"] == change.name):
            return module
    return None
