"""The infrastructure for trying the console out: three environments, each a reference server of its own on loopback."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from django.conf import settings

from audit import log
from environments import registry
from environments.models import Environment, EnvironmentPurpose, Registration
from lifetime import processes
from lifetime.supervisor import Process

FIRST_PORT = 8101


@dataclass(frozen=True)
class Server:
    """One environment's server; its folder keeps its data, its token and under which key it was registered."""

    name: str
    purpose: EnvironmentPurpose
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def process(self) -> Process:
        options = ["--name", self.name, "--purpose", self.purpose, "--port", str(self.port), "--data", str(self.folder)]
        command = [sys.executable, "-m", "environments.platform", *options]
        return Process(f"Environment {self.name}", command, folder=settings.BASE_DIR, grace=5.0)

    def is_up(self) -> bool:
        return (self.folder / "token").exists() and processes.is_answering(self.port)


def servers() -> list[Server]:
    """The three of them, on the ports that they had when these are free."""
    return list(_servers())


def find(server: Server) -> Environment | None:
    """The environment that was registered, or unregistered by a person, for this server."""
    known = server.folder / "environment"
    registered = Environment.objects.filter(registration__in=[Registration.REGISTERED, Registration.UNREGISTERED])
    return registered.filter(key=known.read_text()).first() if known.exists() else None


def propose(server: Server) -> Environment:
    """Have a worker check the connection to the server, which is up; `register` it once that is done."""
    for half_done in Environment.objects.filter(address=server.address):
        registry.discard(half_done)
    environment = Environment(name=server.name, address=server.address, purpose=server.purpose)
    return registry.propose(environment, token=(server.folder / "token").read_text().strip(), by=log.SYSTEM)


def is_checked(proposed: list[Environment]) -> bool:
    """Whether the connection to all of them has been checked."""
    keys = [environment.pk for environment in proposed]
    return not Environment.objects.filter(pk__in=keys, registration=Registration.CHECKING).exists()


def register(server: Server, environment: Environment) -> None:
    """Take the checked environment into the infrastructure; raises registry.RegistryRefused."""
    registry.register(environment, by=log.SYSTEM)
    (server.folder / "environment").write_text(str(environment.key))


def move(server: Server, environment: Environment) -> None:
    """Note the server's new port, when its former one was taken; raises gate.InMaintenance."""
    if environment.is_registered and environment.address != server.address:
        registry.edit(environment, {"address": server.address}, token=environment.token, by=log.SYSTEM)


def _servers() -> Iterator[Server]:
    taken: set[int] = set()
    for number, purpose in enumerate(EnvironmentPurpose):
        folder = settings.VAR_DIR / "demo" / purpose.value.lower()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = folder / "port"
        wanted = int(record.read_text()) if record.exists() else FIRST_PORT + number
        port = processes.free_port(wanted, taken=frozenset(taken))
        taken.add(port)
        record.write_text(str(port))
        yield Server(purpose.value, purpose, port, folder)
