"""What modules offer and use: read from environments as far as nobody has read it yet, and kept.

The references of a module's version never change, so each version is asked for once, whichever environment has it.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection

from deployments.content import Element, Module, Use
from deployments.models import ModuleReferences
from environments import gate
from environments.environment_api import References, ReferencesItem, read
from environments.models import Application

CAPABILITY = "references"
IN_FLIGHT = 16  # requests at once to one environment
KEPT_AT_ONCE = 200  # applications; what was read until then is not asked again when the rest fails


class Wanted(NamedTuple):
    """An application as it is in the environment now, or in one of its versions."""

    application_key: UUID
    version_key: UUID | None = None


async def read_for(client: gate.Client, wanted: Iterable[Wanted]) -> dict[Wanted, tuple[Module, ...] | None]:
    """Ask an environment that has the capability, and keep the answers; None for what it does not have (any more).

    Raises Unreachable and Rejected.
    """
    found: dict[Wanted, tuple[Module, ...] | None] = {}
    waiting = iter(dict.fromkeys(wanted))
    while some := list(islice(waiting, KEPT_AT_ONCE)):
        told = await _ask(client, some)
        await sync_to_async(keep)([answer for answer in told.values() if answer])
        found.update({one: modules_of(answer) if answer else None for one, answer in told.items()})
    return found


async def _ask(client: gate.Client, wanted: Sequence[Wanted]) -> dict[Wanted, References | None]:
    found: dict[Wanted, References | None] = {}
    waiting = iter(wanted)

    async def ask() -> None:
        for one in waiting:
            found[one] = await _ask_one(client, one)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT, len(wanted))):
                group.create_task(ask())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # they all speak of the same environment
    return found


async def _ask_one(client: gate.Client, wanted: Wanted) -> References | None:
    query = f"?version_key={wanted.version_key}" if wanted.version_key else ""
    try:
        answer = await client.get(f"/applications/{wanted.application_key}/references{query}")
    except gate.Rejected as rejection:
        if rejection.code in ("application-unknown", "version-unknown"):
            return None
        raise
    told = read(answer, References, step="GET references")
    if told.application_key != wanted.application_key or told.version_key != wanted.version_key:
        raise gate.Rejected("GET references answered with another application or version than it was asked for.")
    return told


def keep(answers: Collection[References]) -> None:
    """Store what was told; what is known stays."""
    applications = Application.objects.filter(key__in=[answer.application_key for answer in answers])
    names = dict(applications.values_list("key", "name"))
    rows = [
        ModuleReferences(
            module_key=module.key,
            version_key=module.version_key,
            module_name=module.name,
            application_key=answer.application_key,
            application_name=names.get(answer.application_key, ""),
            produces=[one.model_dump(mode="json") for one in module.produces],
            consumes=[one.model_dump(mode="json") for one in module.consumes],
        )
        for answer in answers
        for module in answer.modules
        if module.version_key is not None
    ]
    rows.sort(key=lambda row: (row.module_key, row.version_key))  # two at once wait for each other, never in a ring
    ModuleReferences.objects.bulk_create(rows, ignore_conflicts=True, batch_size=1000)


def known(version_keys: Collection[UUID]) -> dict[tuple[UUID, UUID], Module]:
    """What is kept of these versions of modules, by module key and version key."""
    rows = ModuleReferences.objects.filter(version_key__in=version_keys)
    return {
        (key, version_key): Module(
            key=key,
            name=name,
            version_key=version_key,
            produces=_offered(produces),
            consumes=tuple(map(_kept_use, consumes)),
        )
        for key, name, version_key, produces, consumes in rows.values_list(
            "module_key", "module_name", "version_key", "produces", "consumes"
        )
    }


def prune() -> None:
    """Forget what was read `LEDGER_DAYS` ago; what is still there is read again when a plan needs it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM deployments_modulereferences WHERE read_at < clock_timestamp() - make_interval(days => %s)",
            [settings.LEDGER_DAYS],
        )


def modules_of(told: References) -> tuple[Module, ...]:
    return tuple(map(_module, told.modules))


def _module(told: ReferencesItem) -> Module:
    uses = (
        Use(
            module_key=use.module_key,
            module=use.module_name,
            application_key=use.application_key,
            application=use.application_name,
            elements=tuple(Element(one.kind, one.name, one.signature) for one in use.elements),
        )
        for use in told.consumes
    )
    return Module(
        key=told.key,
        name=told.name,
        version_key=told.version_key,
        produces={(one.kind, one.name): one.signature for one in told.produces},
        consumes=tuple(uses),
    )


def _kept_use(kept: Mapping[str, Any]) -> Use:
    return Use(
        module_key=UUID(kept["module_key"]),
        module=kept["module_name"],
        application_key=UUID(kept["application_key"]),
        application=kept["application_name"],
        elements=tuple(Element(one["kind"], one["name"], one["signature"]) for one in kept["elements"]),
    )


def _offered(kept: Iterable[Mapping[str, str]]) -> dict[tuple[str, str], str]:
    return {(one["kind"], one["name"]): one["signature"] for one in kept}
