"""The registry of environments: register (after a connection check), edit, reorder, unregister."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Max
from django.db.models.functions import Now
from django.utils import timezone

from audit import log
from deployments import endings, plans
from environments import environment_api, gate, newcomers, sync
from environments.environment_api import Digests, Facts
from environments.gate import Client
from environments.models import (
    Application,
    Environment,
    Purpose,
    Registration,
    RegistrationDraft,
    SyncRun,
    SyncState,
    SyncStatus,
    SyncTrigger,
    WindowStatus,
)
from environments.operations import Operation, refusal
from lifetime import changes
from lifetime.changes import Author
from lifetime.queue import enqueue

logger = logging.getLogger(__name__)

INTERRUPTED = "The check was interrupted. Check again."
EDITABLE = (
    "name",
    "address",
    "purpose",
    "lifetime_address",
    "two_stage_deployments",
    "mobile_apps_service",
    "parallel_deployments",
    "parallel_deployment_limit",
    "sync_interval",
)
NAME_LENGTH = 60


class RegistryRefused(Exception):
    """Nothing was changed. The text says why and what to do."""


def clean_name(text: str) -> str:
    """The name, trimmed: one line of 1 to 60 characters; ValidationError otherwise."""
    name = text.strip()
    if not name or len(name) > NAME_LENGTH:
        raise ValidationError(f"A name has 1 to {NAME_LENGTH} characters.")
    if not name.isprintable():
        raise ValidationError("Write the name in one line, without control characters.")
    return name


def clean_token(text: str) -> str:
    """The bearer token, trimmed: visible ASCII characters, as an HTTP header takes them; ValidationError otherwise."""
    token = text.strip()
    if not all("!" <= character <= "~" for character in token):
        raise ValidationError("A token has no spaces and no other characters than ASCII. Copy it again.")
    return token


def propose(
    environment: Environment, *, token: str, by: log.Actor, instead_of: Environment | None = None
) -> Environment:
    """Store a new environment and have a worker check the connection to it; raises ValidationError.

    `environment` is unsaved, with name, address, purpose and the like. It takes part in nothing until `register`.
    `instead_of` is a former proposal that this one corrects, and that is forgotten. What was chosen for it stays:
    levels while the purpose is the same, people while the address is.
    """
    environment.name = clean_name(environment.name)
    environment.token = clean_token(token)
    environment.registration = Registration.CHECKING
    environment.registration_message = ""
    _refuse_taken(environment)
    environment.full_clean(exclude=["maintenance_window"])
    with transaction.atomic():
        former = newcomers.draft_of(instead_of) if instead_of else RegistrationDraft()
        if instead_of:
            discard(instead_of)
        environment.epoch = _next_epoch(environment.address)
        environment.save()
        SyncState.objects.get_or_create(environment=environment)
        RegistrationDraft.objects.create(
            environment=environment,
            levels=former.levels if instead_of and instead_of.purpose == environment.purpose else {},
            choices=former.choices if instead_of and instead_of.address == environment.address else {},
        )
        log.record(
            f"Checked the connection to environment '{environment}' at {environment.address}",
            environment.audit_object,
            by=by,
        )
        enqueue("environments.tasks.check_connection", environment.pk)
    return environment


def _next_epoch(address: str) -> int:
    """An environment refuses a lower epoch than it has heard of, also from when it was registered here before."""
    heard = Environment.objects.filter(address__iexact=address).aggregate(heard=Max("epoch"))["heard"]
    return (heard or 0) + 1


def _refuse_taken(environment: Environment) -> None:
    others = Environment.objects.registered().exclude(pk=environment.pk)
    if others.filter(name__iexact=environment.name).exists():
        raise ValidationError({"name": "Another registered environment has this name."})
    if others.filter(address__iexact=environment.address).exists():
        raise ValidationError({"address": "Another registered environment has this address."})


def check_again(environment: Environment) -> None:
    """Have a worker check the connection to a proposed environment once more, with what was given."""
    with transaction.atomic():
        unchecked = [Registration.CHECKING, Registration.REFUSED]
        rows = Environment.objects.select_for_update(no_key=True).filter(registration__in=unchecked)
        if proposed := rows.filter(pk=environment.pk).first():
            proposed.registration, proposed.registration_message = Registration.CHECKING, ""
            proposed.save(update_fields=["registration", "registration_message"])
            enqueue("environments.tasks.check_connection", proposed.pk)


def check_connection(environment_id: int) -> None:
    """Talk to a proposed environment and store what came of it. Delivered twice, the second finds nothing to check."""
    if Environment.objects.filter(pk=environment_id, registration=Registration.CHECKING).exists():
        asyncio.run(_check(environment_id))


async def _check(environment_id: int) -> None:
    draft: dict[str, Any] = {}
    async with gate.session() as session:
        try:
            async with session.contact(environment_id, Purpose.REGISTER) as client:
                values = _checked(await _look(client))
                draft = await _people(client)
        except (gate.Unreachable, gate.Rejected) as trouble:
            values = {"registration": Registration.REFUSED, "registration_message": str(trouble)[:500]}
        except gate.Refused:
            return  # somebody else's check has ended it
        except Exception as trouble:
            if not isinstance(trouble, gate.CalledOff):
                logger.exception("The connection check of environment %s failed", environment_id)
            values = {"registration": Registration.REFUSED, "registration_message": INTERRUPTED}
        await sync_to_async(_store)(environment_id, values, draft)


def _store(environment_id: int, values: Mapping[str, Any], draft: Mapping[str, Any]) -> None:
    with transaction.atomic():
        proposed = Environment.objects.filter(pk=environment_id, registration=Registration.CHECKING)
        if proposed.update(**values) and draft:
            RegistrationDraft.objects.update_or_create(environment_id=environment_id, defaults=draft)


def _checked(facts: Facts) -> dict[str, Any]:
    known = {
        "version",
        "application_server",
        "application_server_type",
        "database_provider",
        "number_of_front_ends",
        "deployment_zones",
    }
    return {
        "registration": Registration.CHECKED,
        "registration_message": f"{facts.name}, platform {facts.version}, {facts.purpose}",
        **facts.model_dump(include=known),
    }


async def _look(client: Client) -> Facts:
    facts = environment_api.read(await client.get("/facts"), Facts, step="GET /facts")
    environment_api.read(await client.get("/digests"), Digests, step="GET /digests")
    return facts


async def _people(client: Client) -> dict[str, Any]:
    """Whom the environment knows. One that does not say so is registered all the same."""
    try:
        return newcomers.told(await client.get("/permissions"))
    except gate.Rejected as trouble:
        return newcomers.not_told(str(trouble))


def register(
    environment: Environment, *, by: log.Actor, author: Author | None = None, seen: str | None = None
) -> SyncRun:
    """Take a checked environment into the infrastructure, last in order, and synchronize it fully.

    What was chosen for it is applied too: levels of roles, and people to import; `author` is who gives those rights,
    the console itself unless told otherwise, and `seen` the digest of what they were shown (`newcomers.digest`). Other
    environments' state does not matter. Raises RegistryRefused.
    """
    try:
        with transaction.atomic():
            changes.one_at_a_time()
            [locked] = Environment.objects.filter(pk=environment.pk).lock()
            if locked.registration != Registration.CHECKED:
                raise RegistryRefused(f"{locked}: {locked.get_registration_display()}. Check the connection first.")
            last = Environment.objects.registered().aggregate(last=Max("position"))["last"]
            locked.registration = Registration.REGISTERED
            locked.registered_at, locked.registered_by = timezone.now(), by.name
            locked.position = 0 if last is None else last + 1
            locked.save(update_fields=["registration", "registered_at", "registered_by", "position"])
            run = sync.request_all([locked], trigger=SyncTrigger.REGISTRATION, by=by)[locked.pk]
            entries = newcomers.apply(locked, by=author or Author(), actor=by, seen=seen)
            message = f"Registered environment '{locked}' at {locked.address}"
            log.record_all([log.Entry(message=message, on=locked.audit_object, by=by), *entries])
    except changes.Refused as refusal:
        raise RegistryRefused(str(refusal)) from None
    except IntegrityError:
        raise RegistryRefused("Another registered environment has this name or this address.") from None
    return run


def discard(environment: Environment) -> None:
    """Forget an environment that was proposed and never registered."""
    with transaction.atomic():
        proposed = Environment.objects.select_for_update().filter(pk=environment.pk)
        proposed = proposed.exclude(registration__in=[Registration.REGISTERED, Registration.UNREGISTERED])
        if proposed.exists():
            environment.contacts.all().delete()
            proposed.delete()


def edit(environment: Environment, changes: Mapping[str, Any], *, by: log.Actor, token: str = "") -> Environment:
    """Change an environment's details (EDITABLE) and synchronize it; one audit entry per detail.

    An empty token keeps the one that is stored. Raises gate.InMaintenance and ValidationError.
    """
    with transaction.atomic():
        [locked] = Environment.objects.filter(pk=environment.pk).lock()
        if reason := refusal(locked, Operation.EDIT_ENVIRONMENT):
            raise gate.InMaintenance(reason)
        before = {name: getattr(locked, name) for name in EDITABLE}
        changed = {name: value for name, value in changes.items() if name in EDITABLE and value != before[name]}
        for name, value in changed.items():
            setattr(locked, name, value)
        locked.name = clean_name(locked.name)
        if token:
            locked.token = clean_token(token)
        _refuse_taken(locked)
        locked.full_clean(exclude=["maintenance_window"])
        if "address" in changed and not token:
            raise ValidationError({"token": "Enter the token of this address; the stored one goes to the former only."})
        if "address" in changed and (busy := plans.in_progress_between([locked.pk])):
            names = ", ".join(f"#{plan.number}" for plan in busy[:5])
            raise ValidationError(
                {"address": f"Deployment plans to or from it are in progress: {names}. Wait for them, or abort them."}
            )
        locked.save(update_fields=[*changed, "sealed_token"])
        entries = [_changed_entry(locked, name, before[name], value, by) for name, value in changed.items()]
        if token:
            entries.append(
                log.Entry(message=f"Changed the token of environment '{locked}'", on=locked.audit_object, by=by)
            )
        if token or "address" in changed:
            _start_afresh(locked, by=by)
        if entries:
            _queue_after_edit(locked, by=by)
        log.record_all(entries)
    return locked


def _start_afresh(environment: Environment, *, by: log.Actor) -> None:
    """It may be another one from now on: cut what talks to it, forget what it has."""
    SyncRun.objects.active().filter(environment=environment).update(
        status=SyncStatus.ABORTED, ended_at=Now(), part="", message=f"{by.name} changed the address or the token."
    )
    SyncState.objects.filter(environment=environment).update(etag="", digests={}, applied={}, applications_cursor="")
    environment.epoch = F("epoch") + 1
    environment.save(update_fields=["epoch"])
    environment.refresh_from_db(fields=["epoch"])
    gate.hang_up([environment.pk])


def _queue_after_edit(environment: Environment, *, by: log.Actor) -> None:
    if not SyncRun.objects.active().filter(environment=environment).exists():
        sync.request_all([environment], trigger=SyncTrigger.MANUAL, by=by)
    else:
        SyncState.objects.filter(environment=environment).update(full_due=True, due_at=Now())


def _changed_entry(environment: Environment, name: str, before: Any, after: Any, by: log.Actor) -> log.Entry:
    label = str(getattr(Environment._meta.get_field(name), "verbose_name", name))
    return log.Entry(
        message=f"Changed {label} of environment '{environment}' from '{before}' to '{after}'",
        on=environment.audit_object,
        by=by,
    )


def move(environment: Environment, *, to: int, by: log.Actor) -> None:
    """Put a registered environment at a place of the pipeline, 0 being the leftmost; the others keep their order."""
    with transaction.atomic():
        order = Environment.objects.registered().lock()
        order.sort(key=lambda one: (one.position, one.pk))
        moved = next((one for one in order if one.pk == environment.pk), None)
        if moved is None:
            raise RegistryRefused(f"{environment} is not registered.")
        order.remove(moved)
        order.insert(max(0, min(to, len(order))), moved)
        for position, one in enumerate(order):
            one.position = position
        Environment.objects.bulk_update(order, ["position"])
        names = " → ".join(one.name for one in order)
        log.record(f"Moved environment '{moved}': the order is now {names}", environment.audit_object, by=by)


def unregister(environment: Environment, *, by: log.Actor) -> None:
    """Take an environment out of the infrastructure without contacting it, in maintenance mode too.

    What talks to it is cut off; its history stays.
    """
    with transaction.atomic():
        [locked] = Environment.objects.filter(pk=environment.pk).lock()
        if not locked.is_registered:
            raise RegistryRefused(f"{locked} is not registered.")
        active = SyncRun.objects.active().filter(environment=locked)
        active.update(status=SyncStatus.ABORTED, ended_at=Now(), message=f"{by.name} unregistered the environment.")
        locked.windows.filter(status=WindowStatus.RECOVERING).update(status=WindowStatus.ENDED)
        if window := locked.maintenance_window:
            window.status = "ended"
            window.disabled_at, window.disabled_by = timezone.now(), by.name
            window.disable_reason = "The environment was unregistered."
            window.save(update_fields=["status", "disabled_at", "disabled_by", "disable_reason"])
        Environment.objects.filter(pk=locked.pk).update(
            registration=Registration.UNREGISTERED,
            unregistered_at=Now(),
            unregistered_by=by.name,
            maintenance_window=None,
            epoch=F("epoch") + 1,
        )
        Application.objects.filter(definition_environment=locked).update(definition_environment=None)
        ended = endings.unregister(locked, by=by)
        unregistered = log.Entry(message=f"Unregistered environment '{locked}'", on=locked.audit_object, by=by)
        log.record_all([unregistered, *ended])
        gate.hang_up([locked.pk])
