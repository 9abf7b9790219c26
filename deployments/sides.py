"""Source and target of a plan while it is validated: what each has, and what is chosen of the source."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self
from uuid import UUID

from asgiref.sync import sync_to_async

from deployments import references
from deployments.content import Application, Module
from deployments.models import OperationKind, PlanOperation, PlanPackage
from deployments.references import Wanted
from environments import gate
from environments.environment_api import Facts, References, read
from environments.models import ApplicationStatus, Environment, ModuleStatus, ModuleVersion


@dataclass
class Side:
    """One environment, spoken to. Its applications are as it last said, their content as far as it was read.

    `untold` are those whose references nobody can tell.
    """

    environment: Environment
    client: gate.Client
    platform: str
    capabilities: frozenset[str]
    applications: dict[UUID, Application]
    versions: dict[UUID, UUID | None]  # the tagged version that each application is, or was changed since
    untold: set[UUID] = field(default_factory=set)

    @classmethod
    async def open(cls, environment: Environment, client: gate.Client) -> Self:
        facts = read(await client.get("/facts"), Facts, step="GET /facts")
        return cls(
            environment,
            client,
            facts.version,
            frozenset(facts.capabilities),
            await sync_to_async(installed)(environment),
            await sync_to_async(_based_on)(environment),
        )

    def is_current(self, operation: PlanOperation) -> bool:
        """Whether it deploys, or begins from, the application as it is here."""
        key, base = operation.application_key, _base_key(operation)
        now = self.applications.get(key)
        return base is None or (now is not None and not now.is_modified and self.versions.get(key) == base)

    @property
    def tells_references(self) -> bool:
        return references.CAPABILITY in self.capabilities

    async def read(self, keys: Iterable[UUID]) -> None:
        """Have the content of these applications. What was published meanwhile counts as it is now."""
        applications = [self.applications[key] for key in keys if key in self.applications]
        unread = [one for one in applications if not one.is_read]
        kept = await sync_to_async(references.known)(_version_keys(unread))
        missing = []
        for application in unread:
            modules = tuple(_kept(module, kept) for module in application.modules)
            self.applications[application.key] = replace(application, modules=modules, is_read=True)
            if any(module.produces is None for module in modules):
                missing.append(application)
        if not self.tells_references:
            self.untold.update(one.key for one in missing)
            return
        told = await references.read_for(self.client, [Wanted(one.key) for one in missing])
        for one in missing:
            answer = told[Wanted(one.key)]
            if answer is None:
                del self.applications[one.key]  # removed there meanwhile
            else:
                self.applications[one.key] = replace(one, modules=answer, is_read=True)


@dataclass
class Chosen:
    """What arrives by the plan's operations, by application key, and operations of which the source has nothing."""

    arriving: dict[UUID, Application] = field(default_factory=dict)
    gone: list[PlanOperation] = field(default_factory=list)
    untold: set[UUID] = field(default_factory=set)


async def choose(side: Side | None, operations: Sequence[PlanOperation]) -> Chosen:
    """The applications as these operations deploy them. Without a source, as their uploaded packages say."""
    found = Chosen()
    current = {one.application_key for one in operations if side is not None and side.is_current(one)}
    if side is not None:
        await side.read(one.application_key for one in operations if one.application_key in current or one.module_picks)
    others = [
        (one.application_key, base)
        for one in operations
        if one.application_key not in current and (base := _base_key(one))
    ]
    versions = await _versions(side, others)
    if side is None:
        versions |= await sync_to_async(_uploaded)(operations)
    picks = await _picked(side, [one for one in operations if one.module_picks])
    for operation in operations:
        key = operation.application_key
        now = side.applications.get(key) if side else None
        as_it_is = now.modules if now else None
        modules = as_it_is if key in current else versions.get((key, _base_key(operation) or key))
        if modules is None:
            if side is None or (now is not None and not side.tells_references):
                found.untold.add(key)
            else:
                found.gone.append(operation)
            continue
        if operation.module_picks:
            modules = _with_picks(modules, operation.module_picks, picks, now)
        if any(module.produces is None for module in modules):
            found.untold.add(key)
        found.arriving[key] = Application(
            key=key,
            name=operation.application_name,
            version=operation.version_number,
            is_modified=False,
            modules=modules,
        )
    return found


def installed(environment: Environment) -> dict[UUID, Application]:
    """What the environment has, as it said in its last synchronization; nothing is read of its modules."""
    modules: dict[UUID, list[Module]] = {}
    rows = ModuleStatus.objects.filter(environment=environment).order_by("module__name", "pk")
    for application, key, name, version_key in rows.values_list(
        "module__application__key", "module__key", "module__name", "version_key"
    ):
        modules.setdefault(application, []).append(Module(key=key, name=name, version_key=version_key))
    statuses = ApplicationStatus.objects.filter(environment=environment).order_by("application__name", "pk")
    return {
        key: Application(
            key=key,
            name=name,
            version=version,
            is_modified=is_modified,
            modules=tuple(modules.get(key, ())),
            is_read=False,
        )
        for key, name, version, is_modified in statuses.values_list(
            "application__key", "application__name", "version", "is_modified"
        )
    }


def _based_on(environment: Environment) -> dict[UUID, UUID | None]:
    statuses = ApplicationStatus.objects.filter(environment=environment)
    return dict(statuses.values_list("application__key", "version_key"))


def _base_key(operation: PlanOperation) -> UUID | None:
    """The version that it deploys or begins from; nothing when that is the application as it is."""
    return operation.version_key if operation.kind == OperationKind.DEPLOY else operation.base_version_key


async def _versions(
    side: Side | None, wanted: Sequence[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], tuple[Module, ...]]:
    """The modules of tagged versions, by application key and version key; not of those that the source lacks.

    It is asked although they may be known: they need not be known there.
    """
    if side is not None and side.tells_references:
        told = await references.read_for(side.client, [Wanted(*one) for one in wanted])
        return {one: answer for one in wanted if (answer := told[Wanted(*one)]) is not None}
    return await sync_to_async(_known)(wanted)


def _known(wanted: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], tuple[Module, ...]]:
    versions: dict[UUID, list[Module]] = {}
    rows = ModuleVersion.objects.filter(application_version__key__in=[version for _, version in wanted])
    for version, key, name, version_key in rows.order_by("name", "pk").values_list(
        "application_version__key", "module_key", "name", "version_key"
    ):
        versions.setdefault(version, []).append(Module(key=key, name=name, version_key=version_key))
    kept = references.known([one.version_key for modules in versions.values() for one in modules if one.version_key])
    return {
        (application, version): tuple(_kept(module, kept) for module in versions[version])
        for application, version in wanted
        if version in versions
    }


def _uploaded(operations: Sequence[PlanOperation]) -> dict[tuple[UUID, UUID], tuple[Module, ...]]:
    """The modules of uploaded packages. They count for their plan only: nobody vouches for what a file says."""
    rows = PlanPackage.objects.filter(plan__in={one.plan_id for one in operations})
    told = [References.model_validate(one) for one in rows.values_list("references", flat=True)]
    return {(one.application_key, one.version_key): references.modules_of(one) for one in told if one.version_key}


async def _picked(side: Side | None, operations: Sequence[PlanOperation]) -> dict[tuple[UUID, UUID], Module]:
    """The modules picked one by one, by module key and version key; each is read with a version that has it."""
    wanted = {
        (UUID(module), UUID(version)): operation
        for operation in operations
        for module, version in operation.module_picks.items()
    }
    kept = await sync_to_async(references.known)([version for _, version in wanted])
    missing = [pair for pair in wanted if pair not in kept]
    if missing and side is not None and side.tells_references:
        homes = await sync_to_async(_homes)(missing)
        asked = [Wanted(wanted[pair].application_key, homes[pair]) for pair in missing if pair in homes]
        await references.read_for(side.client, asked)
        kept = await sync_to_async(references.known)([version for _, version in wanted])
    return {pair: kept.get(pair) or Module(key=pair[0], name="", version_key=pair[1]) for pair in wanted}


def _with_picks(
    modules: tuple[Module, ...],
    picks: Mapping[str, str],
    picked: Mapping[tuple[UUID, UUID], Module],
    now: Application | None,
) -> tuple[Module, ...]:
    names = {module.key: module.name for module in (*(now.modules if now else ()), *modules)}
    found = {module.key: module for module in modules}
    for key, version in picks.items():
        pair = (UUID(key), UUID(version))
        current = next((one for one in now.modules if (one.key, one.version_key) == pair), None) if now else None
        module = current or picked[pair]
        found[pair[0]] = module if module.name else replace(module, name=names.get(pair[0], key))
    return tuple(found.values())


def _homes(pairs: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], UUID]:
    """A version of the application that has this version of a module."""
    rows = ModuleVersion.objects.filter(version_key__in=[version for _, version in pairs]).order_by("pk")
    return {
        (module, version): key
        for module, version, key in rows.values_list("module_key", "version_key", "application_version__key")
    }


def _version_keys(applications: Iterable[Application]) -> list[UUID]:
    return [module.version_key for one in applications for module in one.modules if module.version_key]


def _kept(module: Module, kept: Mapping[tuple[UUID, UUID], Module]) -> Module:
    """The module with what is kept of it, under the name that it has there."""
    found = kept.get((module.key, module.version_key)) if module.version_key else None
    return replace(found, name=module.name) if found else module
