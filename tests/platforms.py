"""Reference platforms for tests: real server processes on loopback, driven by the standard library alone.

`Platform.start(directory)` starts one; the fixture `platform` gives a fresh one to a test. Several run side by side:
each picks a free port.
"""

import hashlib
import http.client
import inspect
import io
import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import uuid4, uuid5

import pytest

from environments.platform.applications import key_of, module_key_of
from tests.forks import Forked

ROOT = Path(__file__).resolve().parent.parent
BY = {"name": "Ana Ferreira", "username": "ana"}
START_SECONDS = 30
STOP_SECONDS = 10
PLACES = 60  # for the tests of a module


class Refused(AssertionError):
    """The platform refused what a test asked of its own paths."""


class Platform:
    """One server process. `address` is its (first) environment, `addresses` all of them with `count`."""

    def __init__(self, data: Path, *, port: int = 0, options: tuple[str, ...] = (), name: str = "Development") -> None:
        self.data = data
        self.name = name
        self._wanted_port = port
        self._options = options
        self._process: Forked | None = None
        self.port = 0
        self.count = 0

    @classmethod
    def start(
        cls,
        data: Path,
        *,
        name: str = "Development",
        purpose: str = "Development",
        count: int | None = None,
        applications: int | None = None,
        modules: int | None = None,
        port: int = 0,
        switches: bool = True,
    ) -> Self:
        """Start a platform on a data directory, new or known, and wait until it listens."""
        options = ["--purpose", purpose]
        for option, value in (("--count", count), ("--applications", applications), ("--modules", modules)):
            if value is not None:
                options += [option, str(value)]
        if switches:
            options.append("--switches")
        platform = cls(data, port=port, options=tuple(options), name=name)
        platform.count = count or 0
        platform._run()
        return platform

    def _run(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        port_file = self.data / "port"
        port_file.unlink(missing_ok=True)
        self._process = Forked(
            [
                *("--name", self.name, "--port", str(self._wanted_port)),
                *("--data", str(self.data), "--port-file", str(port_file), *self._options),
            ],
            output=self.data / "output.txt",
        )
        until = time.monotonic() + START_SECONDS
        while not port_file.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"The platform did not start: {self.output()}")
            if time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"The platform did not listen within {START_SECONDS} s: {self.output()}")
            time.sleep(0.002)
        self.port = int(port_file.read_text())
        self.token = (self.data / "token").read_text().strip()

    # The process
    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def output(self) -> str:
        return (self.data / "output.txt").read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process by its id; answer its exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)  # a stopped one could not end
            self._process.send_signal(number)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(STOP_SECONDS)
        self._process = None
        return code

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, *, number: int = signal.SIGTERM) -> None:
        """Stop and start on the same data and port."""
        self.stop(number)
        self._wanted_port = self.port
        self._run()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)  # a clean end takes its time, and nobody looks

    # Where it is
    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def addresses(self) -> list[str]:
        if not self.count:
            return [self.root]
        return [f"{self.root}/env-{number:04d}" for number in range(1, self.count + 1)]

    @property
    def address(self) -> str:
        return self.addresses[0]

    # Its own paths. With `count` and no address given they mean all environments (publish, remove: the first one).
    def behave(self, *, address: str | None = None, **switch: Any) -> None:
        """Set the test switch: delay_seconds, paths, fail, times, clock_offset_seconds; nothing given sets it back."""
        self._own("PUT", "/platform/behaviour", switch, address=address or self.root)

    def publish(self, *, address: str | None = None, **application: Any) -> dict[str, Any]:
        """Create or change an application as a developer does; answer it."""
        return self._own("POST", "/platform/publish", application, address=address or self.address)

    def publish_package(self, content: bytes, *, address: str | None = None) -> dict[str, Any]:
        """Publish a package as a developer does; answer the application."""
        return self._own("POST", "/platform/packages", content, address=address or self.address)

    def set_password(self, username: str, password: str, *, address: str | None = None) -> None:
        """Give somebody of the permission model a password for the Service Center."""
        body = {"username": username, "password": password}
        self._own("PUT", "/platform/passwords", body, address=address or self.address)

    def remove(self, key: str, *, address: str | None = None) -> None:
        self._own("DELETE", f"/platform/applications/{key}", address=address or self.address)

    def log(self, since: int = 0, *, address: str | None = None) -> list[dict[str, Any]]:
        """Lines of the access log after a line number, oldest first."""
        lines: list[dict[str, Any]] = []
        while True:
            page = self._own("GET", f"/platform/access-log?since={since}", address=address or self.root)
            lines += page["lines"]
            if not page["more"]:
                return lines
            since = lines[-1]["line"]

    def serving(self, *, address: str | None = None) -> list[dict[str, Any]]:
        """Requests that are being served now."""
        return list(
            self._own("GET", f"/platform/access-log?since={10**17}", address=address or self.root)["serving"],
        )

    def wait_until_serving(self, count: int, *, seconds: float = 10, address: str | None = None) -> None:
        until = time.monotonic() + seconds
        while (found := len(self.serving(address=address))) != count:
            if time.monotonic() > until:
                raise AssertionError(f"{found} requests are being served, not {count}")
            time.sleep(0.01)

    def _own(self, method: str, path: str, body: Any = None, *, address: str) -> Any:
        status, _, answer = self.request(
            method, address.removeprefix(self.root) + path, body, {"Authorization": f"Bearer {self.token}"}
        )
        if status >= 400:
            raise Refused(f"{method} {path}: {status} {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None

    # The Environment API, for tests of the platform itself
    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        contact: int = 1,
        epoch: int = 1,
        seconds: float = 30,
        address: str | None = None,
        headers: dict[str, str | None] | None = None,
    ) -> "Reply":
        """One request of the API with all its headers; `headers` changes them, None leaves one out."""
        sent = {**self.headers(contact=contact, epoch=epoch, seconds=seconds), **(headers or {})}
        base = (address or self.address).removeprefix(self.root)
        status, got, answer = self.request(
            method,
            f"{base}/environment/v1{path}",
            body,
            {name: value for name, value in sent.items() if value is not None},
        )
        return Reply(status, got, answer)

    # The capabilities of the API
    def application(self, name: str, *, address: str | None = None) -> dict[str, Any]:
        """An application as the change feed has it."""
        feed = self.call("GET", "/applications?limit=2000", address=address).json
        return next(one for one in feed["applications"] if one["name"] == name)

    def versions(self, key: str, *, address: str | None = None) -> list[dict[str, Any]]:
        return list(self.call("GET", f"/applications/{key}/versions", address=address).json["versions"])

    def tag(self, key: str, version: str, *, address: str | None = None, **order: Any) -> "Reply":
        """Tag a version; `key` is the application's, the version's is new unless `version_key` gives it."""
        order.setdefault("by", BY)
        body = {"key": order.pop("version_key", None) or str(uuid4()), "version": version, **order}
        return self.call("POST", f"/applications/{key}/versions", body, address=address)

    def create(self, name: str, *, address: str | None = None, **order: Any) -> "Reply":
        """An application from a template."""
        body = {"key": str(uuid4()), "template_key": "reactive-web", "name": name, "by": BY, **order}
        return self.call("POST", "/applications", body, address=address)

    def package_of(self, key: str, version_key: str, *, address: str | None = None) -> bytes:
        return self.call("GET", f"/applications/{key}/versions/{version_key}/package", address=address).body

    def upload(self, package: bytes, *, digest: str = "", address: str | None = None, **headers: str) -> "Reply":
        """Send a package, or with Content_Range="bytes N-M/TOTAL" and its digest a part of one."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        path = f"/packages/{digest or digest_of(package)}"
        return self.call("PUT", path, package, headers={"Content-Type": "application/zip", **named}, address=address)

    def deploy(self, *packages: bytes, address: str | None = None, **order: Any) -> "Reply":
        """Upload packages and start a deployment of them; `settings` is by application key."""
        settings = order.pop("settings", {})
        applications = []
        for content in packages:
            uploaded = self.upload(content, address=address)
            assert uploaded.status in (200, 201), uploaded.body
            key = uploaded.json["application_key"]
            applications.append({"application_key": key, "package": digest_of(content)})
            if key in settings:
                applications[-1]["settings"] = settings[key]
        body = {"id": str(uuid4()), "label": "#1", "by": BY, "applications": applications, **order}
        return self.call("POST", "/deployments", body, address=address)

    def deployment(self, id_: str, *, address: str | None = None) -> dict[str, Any]:
        return dict(self.call("GET", f"/deployments/{id_}?limit=2000", address=address).json)

    def wait_for_deployment(
        self, id_: str, *, step: str = "", seconds: float = 20, address: str | None = None
    ) -> dict[str, Any]:
        """A deployment once it runs at a step, or, without one, once it waits for people or has ended."""
        until = time.monotonic() + seconds
        while True:
            found = self.deployment(id_, address=address)
            if found["status"] not in ("running", "aborting") or (step and found["step"] == step):
                return found
            if time.monotonic() > until:
                raise AssertionError(f"the deployment is {found['status']} at {found['step']}")
            time.sleep(0.02)

    def continue_deployment(self, id_: str, information: str, *, address: str | None = None, **body: Any) -> "Reply":
        order = {"information": information, "by": BY, **body}
        return self.call("POST", f"/deployments/{id_}/continue", order, address=address)

    def abort_deployment(self, id_: str, reason: str = "Enough.", *, address: str | None = None) -> "Reply":
        return self.call("POST", f"/deployments/{id_}/abort", {"reason": reason, "by": BY}, address=address)

    def headers(self, *, contact: int = 1, epoch: int = 1, seconds: float = 30) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.token}",
            "Lifetime-Contact": str(contact),
            "Lifetime-Epoch": str(epoch),
            "Lifetime-Deadline": instant(seconds),
        }

    def request(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            if body is not None:
                headers = {"Content-Type": "application/json", **headers}
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()


class Place:
    """One environment of a server process that hosts many, used as if it had the process for itself."""

    def __init__(self, platform: Platform, number: int) -> None:
        self.platform = platform
        self.address = platform.addresses[number - 1]

    def __getattr__(self, name: str) -> Any:
        """What the platform can do, here."""
        found = getattr(self.platform, name)
        if not callable(found):
            return found
        if "address" not in inspect.signature(found).parameters:
            raise AttributeError(f"{name} is about the whole process, which other tests use, too")
        return partial(found, address=self.address)


class Reply:
    """An answer of the Environment API."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The code of a problem answer, or "" for any other."""
        if self.headers.get_content_type() != "application/problem+json":
            return ""
        return str(self.json["type"]).removeprefix("urn:lifetime:problem:")


def digest_of(package: bytes) -> str:
    return "sha256:" + hashlib.sha256(package).hexdigest()


def package(
    name: str = "Hotel",
    version: str | None = "1.0.0",
    *,
    web: dict[str, bytes] | None = None,
    modules: list[dict[str, Any]] | None = None,
    raw: dict[str, bytes] | None = None,
    **manifest: Any,
) -> bytes:
    """A package as an environment makes it; `raw` adds entries that need not be right, other members replace."""
    files = {f"web/{path}": content for path, content in (web or {"index.html": b"<h1>Hotel</h1>"}).items()}
    joined = name.replace(" ", "")
    complete = [
        {
            "key": str(module_key_of(name, module["name"])),
            "version_key": str(uuid5(key_of(name), f"{module['name']} {version}")),
            "hash": hashlib.sha256(repr((module, files)).encode()).hexdigest()[:32],
            "created_at": instant(),
            "created_by": "Ana",
            **module,
        }
        for module in modules or [{"name": joined}]
    ]
    document = {
        "format": 1,
        "application": {"key": str(key_of(name)), "name": name, "kind": "WebResponsive", "url_path": joined},
        "version": version
        and {"key": str(uuid5(key_of(name), f"version {version}")), "version": version, "created_at": instant(),
             "created_by": "Ana"},
        "modules": complete,
        "files": {path: {"digest": digest_of(content), "bytes": len(content)} for path, content in files.items()},
        **manifest,
    }  # fmt: skip
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(document))
        for path, content in {**files, **(raw or {})}.items():
            archive.writestr(path, content)
    return stream.getvalue()


def instant(seconds: float = 0) -> str:
    """Now, or so many seconds from now, as the API writes instants."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Place]]:
    """Environments of one process for a module of tests; nobody has touched the next one."""
    with Platform.start(tmp_path_factory.mktemp("places"), count=PLACES) as started:
        yield (Place(started, number) for number in range(1, PLACES + 1))


OWN_PROCESS = pytest.mark.parametrize("platform", [pytest.param("own", id="")], indirect=True)


def place_or_process(request: pytest.FixtureRequest) -> Iterator[Any]:
    """For a fixture `platform`: an environment that nobody has touched, or with `OWN_PROCESS` a whole process."""
    if getattr(request, "param", "") == "own":
        with Platform.start(request.getfixturevalue("tmp_path") / "platform") as started:
            yield started
    else:
        yield next(request.getfixturevalue("places"))


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A fresh environment "Development" with the test switch allowed, ended after the test."""
    with Platform.start(tmp_path / "platform") as started:
        yield started
