"""Run the reference environment server: `python -m environments.platform --name Development --port 8101 --data DIR`."""

import argparse
import asyncio
import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from environments.platform import configuration, seed
from environments.platform import content as contents
from environments.platform.answers import CLOSE, Problem, date
from environments.platform.arrivals import Arrivals
from environments.platform.canonical import canonical
from environments.platform.environment import Environment
from environments.platform.events import Courier
from environments.platform.log import AccessLog
from environments.platform.server import Server
from environments.platform.shelf import Shelf
from environments.platform.store import Store

ENDED_CONTACTS_SECONDS = 7 * 24 * 3600  # a contact is ended for good; after a week no request of it can be on its way
KEEP_ALIVE_SECONDS = 120


class Unusable(Exception):
    """The server cannot start; the message says why."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol; the ASGI scope has the transport (to cut it), and what is no HTTP gets a problem."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"platform.transport": self.transport}  # type: ignore[dict-item]

    def send_400_response(self, msg: str) -> None:
        answer = Problem(400, "bad-request", "Not an HTTP request", msg).answer()
        headers = [date.at(time.time()), *answer.headers, CLOSE]
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + answer.body)
        self.transport.close()


class Process(uvicorn.Server):
    """uvicorn's server that ends with exit code 0 on SIGTERM and SIGINT and says when it listens."""

    def __init__(self, config: uvicorn.Config, server: Server, announce: "Announcement") -> None:
        super().__init__(config)
        self._app = server
        self._announce = announce
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True
        self._app.end_all()
        self._stopping.set()

    async def main_loop(self) -> None:
        await self._stopping.wait()  # instead of looking ten times a second

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._tasks:
            task.cancel()
        await super().shutdown(sockets=sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._tasks = [asyncio.create_task(work()) for work in self._app.background()]
        self._announce()


class Announcement:
    """Tells the port: on the terminal, and in a file for whoever started the server with port 0."""

    def __init__(self, listener: socket.socket, options: argparse.Namespace, token_place: str) -> None:
        self._address, self.port = listener.getsockname()[:2]
        self._options = options
        self._token_place = token_place

    def __call__(self) -> None:
        many = f" ({self._options.count} environments, /env-0001 and so on)" if self._options.count else ""
        host = f"[{self._address}]" if ":" in self._address else self._address
        print(
            f"{self._options.name} listens on http://{host}:{self.port}{many}; its token is in {self._token_place}.",
            flush=True,
        )
        if self._options.port_file:
            new = self._options.port_file.with_name(self._options.port_file.name + ".new")
            new.write_text(f"{self.port}\n")
            new.replace(self._options.port_file)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m environments.platform",
        description="Serve one environment, or many under path prefixes, by the Environment API v1.",
        epilog="Name, purpose and applications are given to a new environment; a known one keeps its own.",
    )
    parser.add_argument("--name", required=True, help="the environment's name; with --count the start of each name")
    parser.add_argument("--port", type=_port, required=True, help="0 picks a free one")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="state, token and access log; one process"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--purpose", choices=seed.PURPOSES, default="Development", help="default: %(default)s")
    token = parser.add_mutually_exclusive_group()
    token.add_argument("--token-file", type=Path, metavar="FILE", help="bearer token (default: made in DIR/token)")
    token.add_argument("--token-env", metavar="VARIABLE", help="environment variable with the bearer token")
    parser.add_argument("--count", type=_positive, help="host that many, at /env-0001, /env-0002, ...")
    parser.add_argument("--applications", type=_not_negative, help="how many applications a new environment has")
    parser.add_argument("--modules", type=_positive, help="how many modules each of them has")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="gets the port when the server listens")
    parser.add_argument("--switches", action="store_true", help="for tests: allow /platform/behaviour")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.port_file:
        options.port_file.unlink(missing_ok=True)  # nobody may take an earlier run's port for ours
    try:
        options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(options.data)
        token, token_place = _token(options)
        listener = _listen(options.host, options.port)
    except (Unusable, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with lock:
        store = Store(options.data / "platform.sqlite3")
        log = AccessLog(options.data / "access.jsonl")
        try:
            environments = _environments(store, options, Arrivals(listener))
            courier = Courier(store, {one.id: one for one in environments}, token.encode())
            server = Server(environments, log, courier, token=token, with_switches=options.switches)
            _process(server, Announcement(listener, options, token_place)).run(sockets=[listener])
        finally:
            log.close()
            store.close()
    return 0


def _process(server: Server, announcement: Announcement) -> Process:
    config = uvicorn.Config(
        server,
        http=Protocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="critical",  # the application logs its own failures
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
    )
    return Process(config, server, announcement)


def _environments(store: Store, options: argparse.Namespace, arrivals: Arrivals) -> list[Environment]:
    if options.count:
        names = {f"/env-{number:04d}": f"{options.name} {number}" for number in range(1, options.count + 1)}
    else:
        names = {"": options.name}
    known = {row.prefix for row in store.environments()}
    if new := [prefix for prefix in names if prefix not in known]:
        applications = [
            _row(application)
            for application in seed.applications(options.purpose, count=options.applications, modules=options.modules)
        ]
        with store.transaction():
            for prefix in new:
                store.add_environment(prefix, seed.documents(names[prefix], options.purpose), applications)
    documents = store.documents()
    ended = store.ended_contacts(since=time.time() - ENDED_CONTACTS_SECONDS)
    return [
        Environment(
            row,
            documents[row.id],
            ended.get(row.id, set()),
            store,
            arrivals,
            Shelf(options.data / "files" / str(row.id)),
        )
        for row in store.environments()
        if row.prefix in names
    ]


def _row(application: dict[str, Any]) -> dict[str, Any]:
    settings = configuration.digest_of(application, contents.seeded(application), {})
    body = canonical({**application, "settings_digest": settings})
    return {"key": application["key"], "name": application["name"], "body": body}


def _token(options: argparse.Namespace) -> tuple[str, str]:
    """The bearer token and where a person finds it."""
    if options.token_env:
        token, place = os.environ.get(options.token_env, ""), f"the variable {options.token_env}"
    else:
        path = options.token_file or options.data / "token"
        if not options.token_file and not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        token, place = path.read_text(), str(path)
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Unusable(f"There is no usable token in {place}.")
    return token, place


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise Unusable(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from error


def _lock(data: Path) -> IO[Any]:
    file = (data / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Unusable(f"Another process serves {data}.") from None
    return file


def _whole(text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
    return int(text)


def _port(text: str) -> int:
    return _whole(text, 0, 65_535)


def _positive(text: str) -> int:
    return _whole(text, 1, 9999)


def _not_negative(text: str) -> int:
    return _whole(text, 0, 100_000)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
