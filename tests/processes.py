"""Real processes beside a test, on the test's own database."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from asgiref.sync import SyncToAsync
from django.conf import settings
from django.db import connection, connections

ROOT = Path(__file__).resolve().parent.parent


def surroundings() -> dict[str, str]:
    """Environment variables with which another process works on the test's database, with the test's secrets."""
    database = connection.settings_dict
    host = quote(database["HOST"], safe="")
    password = f":{quote(database['PASSWORD'], safe='')}" if database.get("PASSWORD") else ""
    port = f":{database['PORT']}" if database.get("PORT") else ""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "lifetime.settings",
        "DATABASE_URL": f"postgres://{database['USER']}{password}@{host}{port}/{database['NAME']}",
        "LIFETIME_SECRET_KEY": settings.SECRET_KEY,
        "LIFETIME_ENCRYPTION_KEYS": ",".join(settings.ENCRYPTION_KEYS),
    }


def let_go_of_database() -> None:
    """Close the connection of the thread in which async code asks the database. It outlives the gate's sessions and
    would keep the test database from being dropped."""
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


class Process:
    """A Python process of a test; ended, by its own id, when the test leaves it."""

    def __init__(self, *arguments: str, log: Path, **variables: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**surroundings(), **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"It did not end within {seconds} s: {self.output()[-2000:]}") from None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGCONT)
            os.killpg(self.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.process.wait()
