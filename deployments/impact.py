"""What deploying does to the references between modules: computed from what both sides have, asking nobody.

The rules are those of an environment's own check before it switches: an element is the same when kind and name are, and
compatible when its signature is, too; a reference of an application that does not arrive counts when it gets broken, or
is broken in another way than before.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from deployments.content import Application, Faults, Module, Use, faults_of
from deployments.models import ConflictType, Severity
from environments import versions

NAMED = 3  # elements in one message; more are counted


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is asked: would this go well? `kept_out` are applications that must not be added, each with why."""

    source: str
    target: str
    in_source: Mapping[UUID, Application]
    in_target: Mapping[UUID, Application]
    arriving: Mapping[UUID, Application]
    kept_out: Mapping[UUID, str] = field(default_factory=dict)
    source_platform: str = ""
    target_platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`producer` and `consumer` are keys of applications; a type is missing where the API has none for it."""

    severity: Severity
    message: str
    type: ConflictType | None = None
    producer: UUID | None = None
    consumer: UUID | None = None
    producer_module: tuple[UUID, str] | None = None
    consumer_module: tuple[UUID, str] | None = None
    elements: int = 0


class Dependent(NamedTuple):
    """An application of the target that works on, but is outdated until it is republished."""

    application: Application
    reason: str


class Removal(NamedTuple):
    """A module that would go from the target."""

    application: Application
    module: Module


@dataclass(kw_only=True)
class Impact:
    """With `unread` nothing else counts: read these applications of the source, then ask again."""

    findings: list[Finding] = field(default_factory=list)
    dependencies: list[Application] = field(default_factory=list)
    dependents: list[Dependent] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    unread: set[UUID] = field(default_factory=set)


def assess(case: Case) -> Impact:
    """What the plan needs beside what it has, and what it would break, outdate and remove."""
    world = _World(case)
    found = Impact(dependencies=world.add_dependencies(), unread=world.unread)
    if found.unread:
        return found
    consumers = world.consumers_in_target()
    found.findings = [
        *_platforms(case),
        *world.moved(),
        *world.collisions(),
        *world.of_arrivals(),
        *world.broken_consumers(consumers),
    ]
    outdated = list(world.outdated(consumers))
    found.findings += [finding for _, finding in outdated]
    found.dependents = _dependents(outdated)
    found.removals = world.removals()
    found.unread = world.unread
    return found


class _Place(NamedTuple):
    application: Application
    module: Module
    arrives: bool = False


class _Reference(NamedTuple):
    """A use with who uses it."""

    application: Application
    module: Module
    use: Use


class _World:
    """The target as it is, as it would be, and the source, by module key."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.before = _places(case.in_target.values())
        self.home = _places(case.in_source.values())
        self.after = dict(self.before)
        self.arriving: dict[UUID, Application] = {}
        self.unread: set[UUID] = set()
        for application in case.arriving.values():
            self._arrive(application)

    def _arrive(self, application: Application) -> None:
        self.arriving[application.key] = application
        if there := self.case.in_target.get(application.key):
            for module in there.modules:
                place = self.after.get(module.key)
                if place and place.application.key == application.key:
                    del self.after[module.key]
        for module in application.modules:
            self.after[module.key] = _Place(application, module, arrives=True)

    # What is needed
    def add_dependencies(self) -> list[Application]:
        """Have everything arrive that the source can give to what arrives; in the order in which it was needed."""
        added: list[Application] = []
        is_complete = False
        while not is_complete:
            is_complete, waiting = True, list(self.arriving.values())
            while waiting:
                for _, _, use in _references(waiting.pop()):
                    if (needed := self._dependency(use)) is not None:
                        self._arrive(needed)
                        added.append(needed)
                        waiting.append(needed)
                        if needed.key in self.case.in_target:
                            is_complete = False  # what it replaces may have been found by others before
        return added

    def _dependency(self, use: Use) -> Application | None:
        """The application of the source that would mend this reference."""
        provider = self.after.get(use.module_key)
        if provider and (provider.arrives or not faults_of(provider.module, use)):
            return None
        home = self.home.get(use.module_key)
        if home is None or home.application.key in self.arriving or home.application.key in self.case.kept_out:
            return None
        offered = home.application
        if not offered.is_read:
            self.unread.add(offered.key)
            return None
        there = self.case.in_target.get(offered.key)
        if there and not offered.is_modified and versions.order(offered.version) < versions.order(there.version):
            return None  # the target is further: that would be a downgrade
        if provider and faults_of(home.module, use):
            return None  # it would not help
        return offered

    # What goes wrong
    def of_arrivals(self) -> Iterator[Finding]:
        """Every reference of what arrives: broken, whoever broke it, or to something else than in the source."""
        for application in self.arriving.values():
            for reference in _references(application):
                provider = self.after.get(reference.use.module_key)
                if faults := faults_of(provider.module if provider else None, reference.use):
                    yield from self._broken(reference, faults, provider, cause=application)
                elif provider and not provider.arrives and (home := self.home.get(reference.use.module_key)):
                    yield from self._otherwise_in_source(reference, provider, home)

    def _otherwise_in_source(self, reference: _Reference, provider: _Place, home: _Place) -> Iterator[Finding]:
        """The producer stays as the target has it; the source has it in another application, or newer."""
        application = reference.application
        if provider.application.key != home.application.key:
            yield _conflict(
                ConflictType.PRODUCER_MODULE_MOVED,
                f"Module {provider.module.name}, which {application} uses, is part of {home.application.name} in "
                f"{self.case.source}, but of {provider.application.name} in {self.case.target}. Deploy "
                f"{home.application.name} and {provider.application.name} in one plan.",
                reference,
                provider,
                severity=Severity.WARNING,
            )
        known = self.before.get(reference.module.key)
        is_as_before = known is not None and known.module.version_key == reference.module.version_key
        is_newer = home.application.age > provider.application.age
        if not is_as_before and is_newer and home.module.version_key != provider.module.version_key:
            yield _conflict(
                ConflictType.NEWER_PRODUCER_MODULE_AVAILABLE,
                f"{application} would use module {provider.module.name} of {provider.application}, as it is in "
                f"{self.case.target}; {self.case.source} has a newer one, of {home.application}. Add "
                f"{home.application.name} to the plan if {application.name} needs it.",
                reference,
                provider,
                severity=Severity.WARNING,
            )

    def consumers_in_target(self) -> list[_Reference]:
        """Every use that an application which stays as it is makes of one that arrives."""
        touched = {module.key for one in self.arriving.values() for module in one.modules}
        for key in self.arriving:
            if there := self.case.in_target.get(key):
                touched.update(module.key for module in there.modules)
        return [
            _Reference(application, module, use)
            for application in self.case.in_target.values()
            if application.key not in self.arriving
            for module in application.modules
            for use in module.consumes
            if use.module_key in touched
        ]

    def broken_consumers(self, consumers: Iterable[_Reference]) -> Iterator[Finding]:
        for reference in consumers:
            provider, earlier = self.after.get(reference.use.module_key), self.before.get(reference.use.module_key)
            faults = faults_of(provider.module if provider else None, reference.use)
            if faults and faults != faults_of(earlier.module if earlier else None, reference.use):
                cause = provider or earlier
                if cause is not None:
                    arriving = self.arriving.get(cause.application.key, cause.application)
                    yield from self._broken(reference, faults, provider, cause=arriving)

    def outdated(self, consumers: Iterable[_Reference]) -> Iterator[tuple[_Reference, Finding]]:
        """Consumers that find everything, in another version than they were published against."""
        for reference in consumers:
            provider, earlier = self.after.get(reference.use.module_key), self.before.get(reference.use.module_key)
            if provider is None or faults_of(provider.module, reference.use):
                continue
            version = provider.module.version_key
            if version is not None and earlier is not None and earlier.module.version_key == version:
                continue
            name = reference.application.name
            yield (
                reference,
                _conflict(
                    ConflictType.CONSUMER_MODULE_OUTDATED,
                    f"Deploying {provider.application} leaves {name} outdated in {self.case.target}: module "
                    f"{reference.module.name} was published against another version of module {provider.module.name}. "
                    f"Republish {name}.",
                    reference,
                    provider,
                    severity=Severity.WARNING,
                ),
            )

    def moved(self) -> Iterator[Finding]:
        """Modules that go from one application to another while the plan has only one of the two."""
        for application in self.arriving.values():
            for module in application.modules:
                there = self.before.get(module.key)
                if there is None or there.application.key == application.key:
                    continue
                other = self.arriving.get(there.application.key, there.application)
                if all(one.key != module.key for one in other.modules):
                    continue  # it gives the module up in the same plan
                type_ = ConflictType.PRODUCER_MODULE_MOVED if module.produces else ConflictType.CONSUMER_MODULE_MOVED
                yield Finding(
                    severity=Severity.ERROR,
                    message=f"Deploying {application} brings module {module.name}, which is part of {other.name} in "
                    f"{self.case.target}. Deploy {application.name} in one plan with a version of {other.name} that no "
                    "longer has it.",
                    type=type_,
                    producer=other.key,
                    consumer=application.key,
                    producer_module=(module.key, there.module.name),
                    consumer_module=(module.key, module.name),
                )

    def collisions(self) -> Iterator[Finding]:
        """Two applications, or modules of two, with one name; case does not count."""
        everything = [*self.arriving.values()]
        everything += [one for key, one in self.case.in_target.items() if key not in self.arriving]
        names: dict[str, Application] = {}
        modules: dict[str, _Place] = {}
        for application in everything:  # those that arrive come first: they are the cause
            first = names.setdefault(application.name.casefold(), application)
            if first is not application and first.key in self.arriving:
                yield self._collision(first, application, f"an application named {application.name}")
            for module in application.modules:
                place = modules.setdefault(module.name.casefold(), _Place(application, module))
                is_other = place.application is not application and place.module.key != module.key
                if is_other and place.application.key in self.arriving:
                    what = f"a module named {module.name} in {application.name}"
                    yield self._collision(place.application, application, what, (place.module, module))

    def _collision(
        self, arriving: Application, other: Application, what: str, modules: tuple[Module, Module] | None = None
    ) -> Finding:
        where = "the plan" if other.key in self.arriving else self.case.target
        mine, theirs = modules or (None, None)
        return Finding(
            severity=Severity.ERROR,
            message=f"Deploying {arriving} is not possible: {where} has {what} already, which is another one. "
            "Rename one of them.",
            type=ConflictType.NAME_COLLISION,
            producer=other.key,
            consumer=arriving.key,
            producer_module=(theirs.key, theirs.name) if theirs else None,
            consumer_module=(mine.key, mine.name) if mine else None,
        )

    def removals(self) -> list[Removal]:
        """Modules that the target has and that nothing brings again."""
        return [
            Removal(there, module)
            for key in self.arriving
            if (there := self.case.in_target.get(key))
            for module in there.modules
            if module.key not in self.after
        ]

    def _broken(
        self, reference: _Reference, faults: Faults, provider: _Place | None, *, cause: Application
    ) -> Iterator[Finding]:
        """One finding for what is missing, one for what has another signature."""
        application, module, use = reference
        is_arriving = application.key in self.arriving
        who = f"module {module.name}" if is_arriving else f"module {module.name} of {application.name}"
        producer = provider.application.name if provider else use.application
        begin = (
            f"Deploying {cause} results in broken references: {who} is incompatible with module {use.module} of "
            f"{producer} since"
        )
        hint = self._hint(reference, is_arriving=is_arriving)
        if faults.is_module_missing:
            message = f"{begin} the module is missing in {self.case.target}.{hint}"
            yield _conflict(ConflictType.PRODUCER_MODULE_MISSING, message, reference, provider)
        if faults.missing:
            message = f"{begin} {_listed(faults.missing)} missing.{hint}"
            count = len(faults.missing)
            yield _conflict(ConflictType.PRODUCER_ELEMENT_MISSING, message, reference, provider, elements=count)
        if faults.incompatible:
            message = f"{begin} {_listed(faults.incompatible)} of another signature.{hint}"
            count = len(faults.incompatible)
            yield _conflict(ConflictType.PRODUCER_ELEMENT_INCOMPATIBLE, message, reference, provider, elements=count)

    def _hint(self, reference: _Reference, *, is_arriving: bool) -> str:
        """What would help, as far as it is known; with a space before it."""
        home = self.home.get(reference.use.module_key)
        if is_arriving:
            if home is None:
                return f" {self.case.source} does not have it either." if self.case.source else ""
            why = self.case.kept_out.get(home.application.key)
            return f" {why}" if why else ""
        newer = self.case.in_source.get(reference.application.key)
        if newer is None or newer.key in self.case.kept_out:
            return ""
        if not newer.is_read:
            self.unread.add(newer.key)
            return ""
        places = ((self.after.get(use.module_key), use) for _, _, use in _references(newer))
        if all(place and not faults_of(place.module, use) for place, use in places):
            return f" {newer} of {self.case.source} would fit: add it to the plan."
        return ""


def _places(applications: Iterable[Application]) -> dict[UUID, _Place]:
    return {module.key: _Place(one, module) for one in applications for module in one.modules}


def _references(application: Application) -> Iterator[_Reference]:
    for module in application.modules:
        for use in module.consumes:
            yield _Reference(application, module, use)


def _conflict(
    type_: ConflictType,
    message: str,
    reference: _Reference,
    provider: _Place | None,
    *,
    severity: Severity = Severity.ERROR,
    elements: int | None = None,
) -> Finding:
    use = reference.use
    return Finding(
        severity=severity,
        message=message,
        type=type_,
        producer=provider.application.key if provider else use.application_key,
        consumer=reference.application.key,
        producer_module=(use.module_key, provider.module.name if provider else use.module),
        consumer_module=(reference.module.key, reference.module.name),
        elements=len(use.elements) if elements is None else elements,
    )


def _listed(names: tuple[str, ...]) -> str:
    """“Action A is”, “Action A and Entity B are”, “Action A, Entity B, Block C and 2 more are”."""
    if len(names) == 1:
        return f"{names[0]} is"
    shown = [*names[:NAMED], f"{len(names) - NAMED} more"] if len(names) > NAMED else list(names)
    return f"{', '.join(shown[:-1])} and {shown[-1]} are"


def _dependents(outdated: Iterable[tuple[_Reference, Finding]]) -> list[Dependent]:
    """Each application once, with the modules that it uses in another version from then on."""
    used: dict[UUID, tuple[Application, dict[str, None]]] = {}
    for reference, _ in outdated:
        _, modules = used.setdefault(reference.application.key, (reference.application, {}))
        modules[f"{reference.use.module} of {reference.use.application}"] = None
    found = []
    for application, modules in used.values():
        rest = len(modules) - NAMED
        more = f" and {rest} more" if rest > 0 else ""
        found.append(Dependent(application, f"It uses {', '.join(list(modules)[:NAMED])}{more}."))
    return sorted(found, key=lambda one: (one.application.name.casefold(), str(one.application.key)))


def _platforms(case: Case) -> Iterator[Finding]:
    """A platform takes what was made by an older one, or by one of the same release."""
    source, target = _release(case.source_platform), _release(case.target_platform)
    if not source or not target or target >= source:
        return
    is_major = target[0] < source[0]
    yield Finding(
        severity=Severity.ERROR if is_major else Severity.WARNING,
        message=f"{case.target} runs Platform Server {case.target_platform}, which is older than "
        f"{case.source_platform} in {case.source}: "
        + (f"upgrade {case.target} first." if is_major else "what needs the newer one will not work there."),
        type=ConflictType.INCOMPATIBLE_PLATFORM_SERVER,
    )


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number; nothing when it is none."""
    parts = version.split(".")[:2]
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() for part in parts) else ()
