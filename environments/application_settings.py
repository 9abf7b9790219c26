"""Settings of an application in one environment: what they are there, and changing them. Only differences are sent."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from audit import log
from environments import application_tasks, gate
from environments.application_tasks import TaskRefused, Work
from environments.environment_api import SettingsDocument, canonical, read
from environments.models import Application, ApplicationSettings, ApplicationTask, Environment, Purpose, TaskKind
from environments.operations import Operation

MASK = "***"
LONGEST_JSON = 100_000
# What a setting is called, where the document has it, and which members are its default and its effective value.
KINDS = {
    "site_properties": ("site property", "default_value", "effective_value"),
    "endpoints": ("address of the integration", "default_url", "effective_url"),
    "timers": ("schedule of the timer", "default_schedule", "effective_schedule"),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of the document."""

    kind: str
    module_key: str
    module: str
    name: str
    description: str
    data_type: str
    default: str | None
    effective: str | None
    is_secret: bool

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.module_key}/{self.name}"

    @property
    def is_missing(self) -> bool:
        return self.default is None and self.effective is None


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What somebody wants: effective values by `Setting.id`, None for the default; extensibility if it changed."""

    values: Mapping[str, str | None] = field(default_factory=dict)
    extensibility: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        return bool(self.values) or self.extensibility is not None


def stored(environment: Environment, application: Application) -> ApplicationSettings | None:
    return ApplicationSettings.objects.filter(environment=environment, application=application).first()


def settings_of(found: ApplicationSettings) -> list[Setting]:
    return list(_settings(found.document))


def _settings(document: Mapping[str, Any]) -> Iterator[Setting]:
    for kind, (_, default, effective) in KINDS.items():
        for one in document.get(kind, []):
            yield Setting(
                kind=kind,
                module_key=one["module_key"],
                module=one["module"],
                name=one["name"],
                description=one.get("description", ""),
                data_type=one.get("data_type") or one.get("kind") or "Schedule",
                default=one.get(default),
                effective=one.get(effective),
                is_secret=one.get("is_secret", False),
            )


def clean_extensibility(text: str) -> dict[str, Any]:
    """The JSON object of a custom extensibility configuration; ValidationError when it is none."""
    if len(text) > LONGEST_JSON:
        raise ValidationError(f"Keep it to {LONGEST_JSON:,} characters.")
    try:
        found = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"This is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValidationError("Write a JSON object: { … }.")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def request_reading(environment: Environment, application: Application, *, by: log.Actor) -> ApplicationTask:
    entry = application_tasks.asked_for("the settings", environment, application, by=by)
    return application_tasks.request(READ, environment, application, by=by, entry=entry)[0]


def request_change(
    environment: Environment, application: Application, changes: Changes, *, by: log.Actor, digest: str
) -> ApplicationTask:
    """Queue the change of settings that were read with this digest; raises TaskRefused and gate.Refused.

    Values of secrets are kept encrypted until they are delivered, and nowhere afterwards.
    """
    with transaction.atomic():
        Environment.objects.filter(pk=environment.pk).lock()
        found = ApplicationSettings.objects.select_for_update().filter(environment=environment, application=application)
        known = found.first()
        if known is None or known.digest != digest:
            raise TaskRefused("The settings have changed since you opened this page. Look at them as they are now.")
        by_id = {one.id: one for one in _settings(known.document)}
        if unknown := [name for name in changes.values if name not in by_id]:
            raise TaskRefused(f"{application} has no such setting in {environment}: {unknown[0]}.")
        secrets = {name: value for name, value in changes.values.items() if by_id[name].is_secret and value is not None}
        parameters: dict[str, Any] = {
            "values": {name: value for name, value in changes.values.items() if name not in secrets},
            "secret": sorted(secrets),
        }
        if changes.extensibility is not None:
            parameters["extensibility"] = changes.extensibility
        task, is_new = application_tasks.request(
            CHANGE,
            environment,
            application,
            by=by,
            parameters=parameters,
            secrets=json.dumps(secrets) if secrets else "",
            entry=application_tasks.asked_for(
                "a change of settings", environment, application, by=by, kind=log.Kind.UPDATE
            ),
        )
        if not is_new:
            raise TaskRefused(f"{task.requested_by} is changing settings there right now. Wait until that has ended.")
    return task


# What the worker does

Told = tuple[SettingsDocument, str]


def _path(task: ApplicationTask) -> str:
    assert task.application is not None  # noqa: S101 - for the type checker
    return f"/applications/{task.application.key}/settings"


async def _read(client: gate.Client, task: ApplicationTask) -> Told:
    answer = await client.get(_path(task))
    return read(answer, SettingsDocument, step="GET settings"), answer.etag.strip('"')


async def _change(client: gate.Client, task: ApplicationTask) -> Told:
    values = {**task.parameters["values"], **(json.loads(task.secrets) if task.sealed_secrets else {})}
    body: dict[str, Any] = {}
    for name, value in values.items():
        kind, module_key, setting = name.split("/", 2)
        body.setdefault(kind, []).append({"module_key": module_key, "name": setting, KINDS[kind][2]: value})
    if "extensibility" in task.parameters:
        body["extensibility"] = task.parameters["extensibility"]
    await client.put(_path(task), canonical(body))
    return await _read(client, task)


def _store(task: ApplicationTask, told: Told) -> list[log.Entry]:
    document, digest = told
    ApplicationSettings.objects.update_or_create(
        application=task.application,
        environment=task.environment,
        defaults={"document": document.model_dump(mode="json"), "digest": digest, "read_at": timezone.now()},
    )
    return []


def _store_change(task: ApplicationTask, told: Told) -> list[log.Entry]:
    """One audit entry for each changed setting; those of secrets tell no values."""
    assert task.application is not None  # noqa: S101 - for the type checker
    known = stored(task.environment, task.application)
    before = {one.id: one for one in _settings(known.document)} if known else {}
    _store(task, told)
    where = f"of application '{task.application}' in environment '{task.environment}'"
    messages = []
    for name, value in task.parameters["values"].items():
        kind, _, setting = name.split("/", 2)
        old = before[name].effective if name in before else None
        hidden = name in before and before[name].is_secret
        change = "" if hidden else f" from {_said(old)} to {_said(value)}"
        messages.append(f"Changed {KINDS[kind][0]} '{setting}' {where}{change or ' to its default'}")
    messages += [
        f"Changed secret site property '{name.split('/', 2)[2]}' {where}" for name in task.parameters["secret"]
    ]
    if "extensibility" in task.parameters:
        mode = task.parameters["extensibility"]["mode"]
        messages.append(f"Changed the extensibility configuration {where} to {mode}")
    return [
        log.Entry(
            message=message,
            on=task.application.audit_object,
            by=task.by,
            details={"environment": task.environment.name},
        )
        for message in messages
    ]


def _said(value: str | None) -> str:
    return "its default" if value is None else f"'{value}'"


def _change_failed(task: ApplicationTask, why: str) -> list[log.Entry]:
    return application_tasks.not_done("change settings", task, why)


READ: Work[Told] = Work(
    kind=TaskKind.READ_SETTINGS,
    operation=Operation.CHANGE_APPLICATION_SETTINGS,
    purpose=Purpose.APPLICATION,
    converse=_read,
    store=_store,
)
CHANGE: Work[Told] = Work(
    kind=TaskKind.CHANGE_SETTINGS,
    operation=Operation.CHANGE_APPLICATION_SETTINGS,
    purpose=Purpose.APPLICATION,
    converse=_change,
    store=_store_change,
    failed=_change_failed,
)
