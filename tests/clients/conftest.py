"""A console that runs, as a pipeline finds it: web server with TLS, workers, two platforms with four environments."""

import json
import signal
import socket
import ssl
import time
from contextlib import ExitStack, closing
from http.client import HTTPSConnection
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from environments.models import Environment
from lifetime import processes
from lifetime.models import Level
from tests.clients.pipeline import Client
from tests.deployments.scenes import Place, synchronize
from tests.lifetime.api.conftest import create_caller
from tests.lifetime.factories import create_role
from tests.platforms import Platform
from tests.processes import Process

START_SECONDS = 60


class Console:
    """The running console with its four environments, of which the third is deployed to in two steps."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        first = stack.enter_context(Platform.start(folder / "first", count=1, applications=0))
        second = stack.enter_context(Platform.start(folder / "second", count=3, applications=0))
        self.development = Place(first, 1)
        self.quality, self.preproduction, self.recovery = (Place(second, number) for number in (1, 2, 3))
        names = ("Development", "Quality", "Pre Production", "Recovery")
        self.environments = {
            name: place.registered(name=name, position=position, two_stage_deployments=name == "Pre Production")
            for position, (name, place) in enumerate(
                zip(names, (self.development, self.quality, self.preproduction, self.recovery), strict=True)
            )
        }
        self.token = create_caller(create_role("Pipelines", level=Level.CHANGE)).secret
        self._certificates(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self._start(folder, stack)

    def _certificates(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.authority, self._certificate, self._key = (folder / name for name in ("ca.pem", "web.pem", "web.key"))
        authority.cert_pem.write_to_path(str(self.authority))
        self._certificate.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        form = serialization.PrivateFormat.PKCS8
        self._key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))

    def _start(self, folder: Path, stack: ExitStack) -> None:
        options = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", "--no-ws"]
        options += ["--blocking-threads", "4", "--log-level", "warning", "--workers-kill-timeout", "5"]
        options += ["--ssl-certificate", str(self._certificate), "--ssl-keyfile", str(self._key)]
        self.workers = stack.enter_context(
            Process("manage.py", "qcluster", log=folder / "workers.log", LIFETIME_WORKERS="2")
        )
        web = stack.enter_context(
            Process("-m", "granian", *options, "lifetime.wsgi:application", log=folder / "web.log")
        )
        until = time.monotonic() + START_SECONDS
        while not processes.is_answering(self.port):
            assert web.process.poll() is None, web.output()
            assert time.monotonic() < until, web.output()
            time.sleep(0.05)
        self.log = folder / "web.log"

    def stop_workers(self) -> None:
        self.workers.signal(signal.SIGTERM)
        assert self.workers.wait() == 0, self.workers.output()

    def client(self, folder: Path) -> Client:
        return Client(folder, url=self.url, token=self.token, authority=self.authority)

    def call(self, method: str, path: str, body: object = None, *, token: str = "") -> str:
        """What no script of the client asks for, by the pipeline's token or another."""
        sent = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        context = ssl.create_default_context(cafile=str(self.authority))
        with closing(HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)) as connection:
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            answer = response.read().decode()
        assert response.status < 300, answer
        return answer

    def synchronize(self) -> None:
        """What is registered and not in maintenance mode."""
        synchronize(*Environment.objects.filter(maintenance_window=None).in_order())


@pytest.fixture
def console(tmp_path, transactional_db):
    folder = tmp_path / "console"
    folder.mkdir()
    with ExitStack() as stack:
        running = Console(folder, stack)
        yield running
        running.stop_workers()


@pytest.fixture
def client_in(console, tmp_path):
    folder = tmp_path / "pipeline"
    folder.mkdir()
    return console.client(folder)
