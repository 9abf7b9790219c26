"""What applications consist of as far as others depend on it: modules, what they offer and what they use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from environments import versions


class Element(NamedTuple):
    kind: str
    name: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one module uses of another."""

    module_key: UUID
    module: str
    application_key: UUID
    application: str
    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    key: UUID
    name: str
    version_key: UUID | None
    produces: Mapping[tuple[str, str], str] | None = None  # signatures by kind and name; None when nobody can tell
    consumes: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application as one environment has it, or as it arrives. One that was not read has modules without content."""

    key: UUID
    name: str
    version: str
    is_modified: bool
    modules: tuple[Module, ...]
    is_read: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.version}{'+' if self.is_modified else ''}" if self.version else self.name

    @property
    def age(self) -> tuple[versions.Order, bool]:
        """What tells the newer of two."""
        return versions.order(self.version), self.is_modified


class Faults(NamedTuple):
    """Why a reference is broken."""

    is_module_missing: bool
    missing: tuple[str, ...] = ()
    incompatible: tuple[str, ...] = ()


def faults_of(provider: Module | None, use: Use) -> Faults | None:
    """What the user does not find; nothing when all is well, or nobody can tell."""
    if provider is None:
        return Faults(is_module_missing=True)
    offered = provider.produces
    if offered is None:
        return None
    missing, incompatible = [], []
    for kind, name, signature in use.elements:
        found = offered.get((kind, name))
        if found is None:
            missing.append(f"{kind} {name}")
        elif found != signature:
            incompatible.append(f"{kind} {name}")
    return Faults(False, tuple(missing), tuple(incompatible)) if missing or incompatible else None
