import contextlib
import fcntl
import os
import secrets
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections, transaction
from django.shortcuts import resolve_url

from audit import log
from environments import gate, registry
from lifetime import database, demo, outage, processes
from lifetime.models import User
from lifetime.supervisor import DidNotStart, Supervisor, interruptible

ADMINISTRATOR = "admin"
DEFAULT_PORT = 8000
START_SECONDS = 60.0


class Command(BaseCommand):
    help = (
        "Run the whole console here: database, migrations, demo infrastructure, workers and web. "
        "Ctrl-C ends all of it; the next start finds its data again. For a real installation see docs/running.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, help=f"default: {DEFAULT_PORT}, or the next free one")
        parser.add_argument(
            "--demo",
            dest="with_demo",
            action=BooleanOptionalAction,
            default=not os.environ.get("DATABASE_URL"),
            help="run and register three environments (default: unless DATABASE_URL is set)",
        )
        parser.add_argument(
            "--without", choices=["web", "queue"], action="append", default=[], help="leave a part out; may be repeated"
        )

    def handle(self, *_: Any, host: str, port: int | None, with_demo: bool, without: list[str], **__: Any) -> None:
        if port and "web" not in without and not processes.is_free(port, host):
            raise CommandError(f"Port {port} is taken. Without --port the console finds a free one.")
        with self._alone() as running:
            try:
                with interruptible():
                    self._prepare(with_files="web" not in without)
                with Supervisor(logs=settings.VAR_DIR / "log", say=self._say) as supervisor:
                    self._start(supervisor, running, host=host, port=port, with_demo=with_demo, without=without)
                    supervisor.run()
                    self._say("Ending …")
            except KeyboardInterrupt:
                self._say("Interrupted.")
            except (DidNotStart, database.NotAvailable) as error:
                raise CommandError(str(error)) from error
            except OperationalError as error:
                raise CommandError(outage.explain(error) or str(error)) from error
            finally:
                self._end()

    def _prepare(self, *, with_files: bool) -> None:
        if not os.environ.get("DATABASE_URL"):
            database.start(settings.VAR_DIR)
            self._say(f"PostgreSQL: embedded, in {database.place(settings.VAR_DIR).home}")
        call_command("migrate", interactive=False, verbosity=0)
        if with_files:
            call_command("collectstatic", interactive=False, verbosity=0)
        self._create_administrator()

    def _create_administrator(self) -> None:
        if User.objects.exists():
            self._say("People: as before. A new password: manage.py changepassword USERNAME")
            return
        password = _make_password()
        with transaction.atomic():
            user = User.objects.create_superuser(
                ADMINISTRATOR, password, name="Administrator", email="admin@example.com"
            )
            about = log.AuditObject(type="user", key=str(user.key), name=user.name)
            log.record(f"Created the first administrator '{user.username}'", about, by=log.SYSTEM)
        self._say(f"\n  First administrator: {ADMINISTRATOR}\n  Password:            {password}\n")
        self._say("The password is shown this once. A new one: manage.py changepassword admin")

    def _start(
        self,
        supervisor: Supervisor,
        running: Any,
        *,
        host: str,
        port: int | None,
        with_demo: bool,
        without: list[str],
    ) -> None:
        servers = demo.servers() if with_demo else []
        for server in servers:
            supervisor.start(server.process)
        if "queue" not in without:
            supervisor.start(processes.queue(settings.VAR_DIR / "pulse"))
            self._say(f"Queue: {settings.Q_CLUSTER['workers']} workers")
        self._register(supervisor, servers, with_queue="queue" not in without)
        if "web" not in without:
            port = port or processes.free_port(DEFAULT_PORT, host=host)
            web = processes.web(host, port)
            supervisor.start(web)
            supervisor.wait_until(lambda: _answers(host, port), [web], START_SECONDS)
            running.write(f"http://{_shown(host)}:{port}/")
            running.flush()
        if not supervisor.is_asked_to_end:
            if "web" not in without:
                self._say(f"\n  The console is at http://{_shown(host)}:{port}/\n")
            self._say(f"Ctrl-C ends it. Logs: {settings.VAR_DIR / 'log'}")

    def _register(self, supervisor: Supervisor, servers: list[demo.Server], *, with_queue: bool) -> None:
        """Register what is new of the demo, as a person would: a worker checks the connection first."""
        started = [server.process for server in servers]
        supervisor.wait_until(lambda: all(server.is_up() for server in servers), started, START_SECONDS)
        new = {}
        for server in servers:
            if supervisor.is_asked_to_end:
                return
            try:
                if environment := demo.find(server):
                    demo.move(server, environment)
                elif with_queue:
                    new[server] = demo.propose(server)
            except (gate.InMaintenance, ValidationError) as refusal:
                self._say(f"WARNING {server.name}: {' '.join(getattr(refusal, 'messages', [str(refusal)]))}")
            self._say(f"Environment {server.name}: {server.address}")
        supervisor.wait_until(lambda: demo.is_checked(list(new.values())), started, START_SECONDS)
        for server, environment in new.items():
            try:
                demo.register(server, environment)
            except registry.RegistryRefused as refusal:
                self._say(f"WARNING {refusal}")
        connections.close_all()

    def _end(self) -> None:
        connections.close_all()
        if not os.environ.get("DATABASE_URL"):
            with contextlib.suppress(database.NotAvailable):
                database.stop(settings.VAR_DIR, only_when_unused=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Any]:
        """Refuse to run twice on one var folder; yield the file that says where this console answers."""
        settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
        with (settings.VAR_DIR / "up").open("a+") as running:
            try:
                fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                running.seek(0)
                where = running.read().strip() or "about to start"
                raise CommandError(f"The console of this folder is running already: {where}") from error
            running.truncate(0)
            yield running

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self.stdout.write(text)
            self.stdout.flush()


def _make_password() -> str:
    """A password of 96 random bits that every rule for passwords accepts."""
    while True:
        password = secrets.token_urlsafe(12)
        if any(map(str.isdigit, password)) and any(map(str.islower, password)) and any(map(str.isupper, password)):
            return password


def _shown(host: str) -> str:
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104


def _answers(host: str, port: int) -> bool:
    connection = HTTPConnection(_shown(host), port, timeout=5)
    try:
        connection.request("GET", resolve_url(settings.LOGIN_URL))
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
