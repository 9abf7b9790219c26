"""Security settings of an application's own in one environment: they come before those of the environment.

Nothing is what the environment has. A change is carried out by the environment itself, or not at all.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from audit import log
from environments import application_tasks, gate, security
from environments.application_tasks import TaskRefused, Work
from environments.environment_api import ApplicationSecurityDocument, Stored, canonical, digest, read
from environments.models import Application, ApplicationSecurity, ApplicationTask, Environment, Purpose, TaskKind
from environments.operations import Operation

HTTPS = security.SWITCHES["force_https_screens"]
CSP = security.CSP
INHERITED = "as the environment"
OWN, OFF = "own", "off"  # the other two ways to have a policy
Document = Mapping[str, Any]


def stored(environment: Environment, application: Application) -> ApplicationSecurity | None:
    return ApplicationSecurity.objects.filter(environment=environment, application=application).first()


def request_reading(environment: Environment, application: Application, *, by: log.Actor) -> ApplicationTask:
    entry = application_tasks.asked_for("the security settings", environment, application, by=by)
    return application_tasks.request(READ, environment, application, by=by, entry=entry)[0]


def wanted(*, force_https: bool | None, policy: str, directives: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """The document of what somebody chose; raises ValidationError. `policy` is OWN, OFF, or the environment's."""
    if policy not in (OWN, OFF):
        return {"force_https_screens": force_https, "content_security_policy": None}
    kept = {name: security.clean_values(name, values) for name, values in directives.items()} if policy == OWN else {}
    found = {"enabled": policy == OWN, "directives": {name: values for name, values in kept.items() if values}}
    if policy == OWN:
        security.refuse_missing(found)
    return {"force_https_screens": force_https, "content_security_policy": found}


def differences(before: Document, after: Document) -> list[tuple[str, str, str]]:
    """What changed, from what, to what, in words."""
    found = []
    if before["force_https_screens"] != after["force_https_screens"]:
        found.append((HTTPS, _said(before["force_https_screens"]), _said(after["force_https_screens"])))
    old, new = before["content_security_policy"], after["content_security_policy"]
    if _mode(old) != _mode(new):
        found.append((CSP, _mode(old), _mode(new)))
    had, has = (old or {}).get("directives", {}), (new or {}).get("directives", {})
    for name in sorted({*had, *has}):
        if had.get(name, []) != has.get(name, []):
            found.append((f"{CSP} {name}", _values(had.get(name, [])), _values(has.get(name, []))))
    return found


def _said(value: bool | None) -> str:
    return INHERITED if value is None else "on" if value else "off"


def _mode(policy: Mapping[str, Any] | None) -> str:
    return INHERITED if policy is None else "its own" if policy["enabled"] else "none"


def _values(values: Iterable[str]) -> str:
    return f"“{' '.join(values)}”"


def request_change(
    environment: Environment, application: Application, after: Document, *, by: log.Actor, digest: str
) -> ApplicationTask | None:
    """Queue the change of what was read with this digest, unless nothing differs; raises TaskRefused, gate.Refused."""
    with transaction.atomic():
        Environment.objects.filter(pk=environment.pk).lock()
        known = ApplicationSecurity.objects.filter(environment=environment, application=application).first()
        if known is None or known.digest != digest:
            raise TaskRefused("They have changed since you opened this page. Look at them as they are now.")
        if not differences(known.document, after):
            return None
        task, is_new = application_tasks.request(
            CHANGE,
            environment,
            application,
            by=by,
            parameters={"before": known.document, "after": after},
            entry=application_tasks.asked_for(
                "a change of security settings", environment, application, by=by, kind=log.Kind.UPDATE
            ),
        )
        if not is_new:
            raise TaskRefused(f"{task.requested_by} is changing them there right now. Wait until that has ended.")
    return task


# What the worker does

Told = dict[str, Any]


def _path(task: ApplicationTask) -> str:
    assert task.application is not None  # noqa: S101 - for the type checker
    return f"/applications/{task.application.key}/security"


async def _read(client: gate.Client, task: ApplicationTask) -> Told:
    answer = await client.get(_path(task))
    told = read(answer, ApplicationSecurityDocument, step="GET security of the application")
    return told.model_dump(mode="json")


async def _change(client: gate.Client, task: ApplicationTask) -> Told:
    """What somebody else changed there meanwhile is not overwritten."""
    if await _read(client, task) != task.parameters["before"]:
        raise gate.Rejected("Somebody else changed them meanwhile. Read them again, then change what is still needed.")
    answer = await client.put(_path(task), canonical(task.parameters["after"]))
    told = read(answer, Stored, step="PUT security of the application")
    task.result = {"republish": told.republish, "apply_settings": told.apply_settings}
    present = await _read(client, task)
    if unlike := differences(task.parameters["after"], present):
        what, _, has = unlike[0]
        raise gate.Rejected(f"The environment took the change but has {what} {has} now. Read the settings again.")
    return present


def _store(task: ApplicationTask, told: Told) -> list[log.Entry]:
    ApplicationSecurity.objects.update_or_create(
        application=task.application,
        environment=task.environment,
        # Of what people see, be the environment's ETag what it may: `request_change` goes by it.
        defaults={"document": told, "digest": digest(canonical(told)), "read_at": timezone.now()},
    )
    return []


def _store_change(task: ApplicationTask, told: Told) -> list[log.Entry]:
    """One audit entry for each changed setting."""
    assert task.application is not None  # noqa: S101 - for the type checker
    _store(task, told)
    where = f"of application '{task.application}' in environment '{task.environment}'"
    return [
        log.Entry(
            message=f"Changed {what} {where} from {old} to {new}"[:2000],
            on=task.application.audit_object,
            by=task.by,
            details={"environment": task.environment.name, "setting": what, "before": old, "after": new},
        )
        for what, old, new in differences(task.parameters["before"], told)
    ]


def _change_failed(task: ApplicationTask, why: str) -> list[log.Entry]:
    return application_tasks.not_done("change security settings", task, why)


READ: Work[Told] = Work(
    kind=TaskKind.READ_SECURITY,
    operation=Operation.CHANGE_APPLICATION_SETTINGS,
    purpose=Purpose.APPLICATION,
    converse=_read,
    store=_store,
)
CHANGE: Work[Told] = Work(
    kind=TaskKind.CHANGE_SECURITY,
    operation=Operation.CHANGE_APPLICATION_SETTINGS,
    purpose=Purpose.APPLICATION,
    converse=_change,
    store=_store_change,
    failed=_change_failed,
)
