"""Settings of an application in this environment: what its modules define, and the values that hold here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, StringConstraints

from environments.platform import content as contents
from environments.platform import events, journal
from environments.platform.answers import Document, Problem
from environments.platform.canonical import canonical, digest
from environments.platform.schemas import Key, check

if TYPE_CHECKING:
    from environments.platform.content import Content
    from environments.platform.environment import Environment

MASK = "***"
Value = Annotated[str, StringConstraints(max_length=4000)]
# kind of entry: the definitions of a module, and the member that has the effective value
KINDS = {"site_properties": "effective_value", "endpoints": "effective_url", "timers": "effective_schedule"}
SCHEDULE_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


class _Ignoring(BaseModel):
    """Members that only `GET` has may come back, and are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class PropertyChange(_Ignoring):
    module_key: Key
    name: str
    effective_value: Value | None = None


class EndpointChange(_Ignoring):
    module_key: Key
    name: str
    effective_url: Value | None = None


class TimerChange(_Ignoring):
    module_key: Key
    name: str
    effective_schedule: Value | None = None


class ExtensibilityChange(_Ignoring):
    mode: Literal["default", "custom"] | None = None
    custom: dict[str, Any] | None = None


class SettingsChange(_Ignoring):
    site_properties: list[PropertyChange] = []
    endpoints: list[EndpointChange] = []
    timers: list[TimerChange] = []
    extensibility: ExtensibilityChange | None = None


Values = dict[str, Any]  # kind of entry -> "module key/name" -> effective value; and "extensibility"


def load(environment: Environment, application_key: str) -> Values:
    row = environment.store.row(
        "SELECT body FROM setting WHERE environment = ? AND application = ?", environment.id, application_key
    )
    return dict(json.loads(row[0])) if row else {}


def save(environment: Environment, application_key: str, values: Values) -> None:
    """Inside the transaction that saves the application."""
    environment.store.write(
        "INSERT INTO setting (environment, application, body) VALUES (?, ?, ?)"
        " ON CONFLICT (environment, application) DO UPDATE SET body = excluded.body",
        environment.id,
        application_key,
        canonical(values),
    )


def true_document(application: Mapping[str, Any], content: Content, values: Values) -> dict[str, Any]:
    """The settings with their secrets."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for kind, module, definition in _definitions(application, content):
        place = f"{module['key']}/{definition['name']}"
        entry = {"module_key": module["key"], "module": module["name"], **definition}
        found[kind].append({**entry, KINDS[kind]: values.get(kind, {}).get(place)})
    chosen = values.get("extensibility", {})
    extensibility = {
        "mode": chosen.get("mode", "default"),
        "default": content.extensibility,
        "custom": chosen.get("custom"),
    }
    return {**found, "extensibility": extensibility}


def shown(application: Mapping[str, Any], content: Content, values: Values) -> dict[str, Any]:
    """The settings with their secrets masked."""
    true = true_document(application, content, values)
    return {**true, "site_properties": [_masked(entry) for entry in true["site_properties"]]}


def document(application: Mapping[str, Any], content: Content, values: Values) -> Document:
    """What GET answers: secrets masked, under the digest of the true settings."""
    true = true_document(application, content, values)
    return Document(canonical(shown(application, content, values)), true_digest=digest(canonical(true)))


def digest_of(application: Mapping[str, Any], content: Content, values: Values) -> str:
    return digest(canonical(true_document(application, content, values)))


def missing(application: Mapping[str, Any], content: Content, values: Values) -> list[str]:
    """Site properties that have no value."""
    return [
        f"{entry['module']}.{entry['name']}"
        for entry in true_document(application, content, values)["site_properties"]
        if entry["default_value"] is None and entry["effective_value"] is None
    ]


def changed(application: Mapping[str, Any], content: Content, values: Values, body: Any) -> Values:
    """The values after a change; a problem when it names what is not there or gives what cannot be."""
    change = check(SettingsChange, body)
    known = {
        (kind, module["key"], definition["name"]): definition
        for kind, module, definition in _definitions(application, content)
    }
    after: Values = {kind: dict(values.get(kind, {})) for kind in KINDS}
    for kind, member in KINDS.items():
        for entry in getattr(change, kind):
            definition = known.get((kind, str(entry.module_key), entry.name))
            if definition is None:
                raise Problem(
                    422,
                    "setting-unknown",
                    "There is no such setting",
                    f"{kind}: {entry.module_key} has no {entry.name}.",
                )
            if member not in entry.model_fields_set:
                continue
            value = getattr(entry, member)
            if value == MASK and definition.get("is_secret"):
                continue
            if value is not None and not _is_valid(kind, definition, value):
                shown = "" if definition.get("is_secret") else f" {value[:100]!r} is none."
                raise _bad_value(f"{kind}: {entry.name} must be {_wanted(kind, definition)}.{shown}")
            _set(after[kind], f"{entry.module_key}/{entry.name}", value)
    after["extensibility"] = _extensibility(values.get("extensibility", {}), change.extensibility)
    return {kind: value for kind, value in after.items() if value}


def put(environment: Environment, application: dict[str, Any], body: Any, *, by: str = "") -> str:
    """Store changed settings durably; answer their digest. `by` is somebody here, not the console."""
    content = contents.load(environment, application)
    before = load(environment, application["key"])
    after = changed(application, content, before, body)
    if after != before:
        with environment.changes():
            save(environment, application["key"], after)
            environment.save(application, content=content, values=after)
            journal.write(environment, application["key"], "Settings", "Settings were changed.", user=by or "LifeTime")
            if by:
                events.tell(environment, "application-settings-changed", application, by=by)
    return digest_of(application, content, after)


def _definitions(
    application: Mapping[str, Any], content: Content
) -> Iterator[tuple[str, Mapping[str, Any], dict[str, Any]]]:
    for module in application["modules"]:
        parts = content.of(module["key"])
        for kind in KINDS:
            for definition in parts[kind]:
                yield kind, module, definition


def _extensibility(before: Mapping[str, Any], change: ExtensibilityChange | None) -> dict[str, Any]:
    after = dict(before)
    if change is None:
        return after
    if "custom" in change.model_fields_set:
        _set(after, "custom", change.custom)
    if change.mode is not None:
        after["mode"] = change.mode
    if after.get("mode") == "custom" and after.get("custom") is None:
        raise _bad_value("extensibility: custom mode needs a custom object.")
    return {} if after == {"mode": "default"} else after


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


def _masked(entry: dict[str, Any]) -> dict[str, Any]:
    if not entry["is_secret"]:
        return entry
    hidden = {name: MASK for name in ("default_value", "effective_value") if entry[name] not in (None, "")}
    return {**entry, **hidden}


def _bad_value(detail: str) -> Problem:
    return Problem(422, "bad-value", "A value is not of its kind", detail)


def _wanted(kind: str, definition: Mapping[str, Any]) -> str:
    if kind == "endpoints":
        return "an http or https URL"
    if kind == "timers":
        return "five cron fields, or empty"
    return f"of the type {definition['data_type']}"


def _is_valid(kind: str, definition: Mapping[str, Any], value: str) -> bool:
    if kind == "endpoints":
        return _is_url(value)
    if kind == "timers":
        return is_schedule(value)
    if "\x00" in value:
        return False
    try:
        return TYPES[definition["data_type"]](value)
    except (ValueError, InvalidOperation):
        return False


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and value.isprintable() and " " not in value
    except ValueError:
        return False


def is_schedule(value: str) -> bool:
    """Five cron fields of numbers, ranges, lists, steps and stars; or nothing, which means never."""
    fields = value.split(" ")
    if value == "":
        return True
    return len(fields) == len(SCHEDULE_RANGES) and all(
        _is_field(text, least, most) for text, (least, most) in zip(fields, SCHEDULE_RANGES, strict=True)
    )


def _is_field(text: str, least: int, most: int) -> bool:
    for part in text.split(","):
        found = re.fullmatch(r"(\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?", part, re.ASCII)
        if found is None or (found[4] is not None and int(found[4]) == 0):
            return False
        first = int(found[2]) if found[2] else least
        last = int(found[3]) if found[3] else first
        if not least <= first <= last <= most:
            return False
    return True


def _integer(bits: int) -> Callable[[str], bool]:
    return lambda value: (
        bool(re.fullmatch(r"-?\d{1,19}", value, re.ASCII)) and -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1)
    )


def _decimal(value: str) -> bool:
    return bool(re.fullmatch(r"-?\d{1,28}(\.\d{1,8})?", value, re.ASCII)) and Decimal(value).is_finite()


TYPES: dict[str, Callable[[str], bool]] = {
    "Text": lambda value: True,
    "Integer": _integer(32),
    "LongInteger": _integer(64),
    "Decimal": _decimal,
    "Currency": _decimal,
    "Boolean": lambda value: value in ("True", "False"),
    "Date": lambda value: date.fromisoformat(value).isoformat() == value,
    "Time": lambda value: time.fromisoformat(value).isoformat() == value,
    "DateTime": lambda value: datetime.fromisoformat(value).isoformat(sep=" ") == value,
}
