"""`manage.py up` for real: embedded PostgreSQL, environments, queue and web, started and ended as a person does."""

import contextlib
import http.cookiejar
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import psycopg
import pytest

from lifetime import database, processes

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [
    pytest.mark.xdist_group("up"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"),
]


@pytest.fixture
def var():
    with tempfile.TemporaryDirectory(prefix="lifetime-test-") as folder:
        Path(folder).chmod(0o755)
        var = Path(folder) / "var"
        yield var
        for pid in processes_of(var):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(database.place(var).home, ignore_errors=True)


class Console:
    """A console that `up` runs in the background."""

    def __init__(self, var, *options, **environment):
        self.var = var
        self.log = var.parent / "terminal"
        self.log.write_text("")
        kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "LIFETIME_PULSE"}}
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", *options],
                cwd=ROOT,
                env={**kept, "LIFETIME_VAR": str(var), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def said(self):
        return self.log.read_text()

    def wait_until_it_says(self, pattern, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.said)):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        return found

    def address(self):
        return self.wait_until_it_says(r"The console is at (http://\S+)").group(1)

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(40)


def processes_of(var):
    """All processes that were started for this var folder."""
    wanted = f"LIFETIME_VAR={var}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_until_gone(var, seconds=10):
    deadline = time.monotonic() + seconds
    while left := processes_of(var):
        assert time.monotonic() < deadline, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        time.sleep(0.05)


def leader(console, pattern):
    """The console's own child with this in its command line."""
    pid = console.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if pattern in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError(pattern)


def log_in(address, username, password):
    """Log in as a browser does; return the names of the cookies that it got."""
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    with browser.open(address, timeout=10) as page:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.read().decode()).group(1)
    form = {"csrfmiddlewaretoken": token, "username": username, "password": password}
    request = urllib.request.Request(page.url, urllib.parse.urlencode(form).encode(), {"Referer": page.url})
    with contextlib.suppress(urllib.error.HTTPError), browser.open(request, timeout=10):
        pass
    return {cookie.name for cookie in cookies}


def status_of(address):
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def query(var, sql):
    here = database.place(var)
    with psycopg.connect(
        host=str(here.sockets), port=database.PORT, user=database.USER, dbname="postgres"
    ) as connection:
        return connection.execute(sql).fetchall()


def test_a_console_comes_up_whole_ends_whole_and_finds_its_data_again(var):
    console = Console(var)
    address = console.address()
    password = re.search(r"Password: +(\S+)", console.said).group(1)

    assert status_of(address) == 200
    assert "sessionid" in log_in(address, "admin", password)
    assert "sessionid" not in log_in(address, "admin", password.swapcase())
    environments = query(var, "SELECT name, address, registration FROM environments_environment ORDER BY position")
    assert [(name, registration) for name, _, registration in environments] == [
        ("Development", "registered"),
        ("Test", "registered"),
        ("Production", "registered"),
    ]
    for _, environment, _ in environments:
        assert status_of(f"{environment}/environment/v1/digests") == 401

    assert console.end() == 0
    wait_until_gone(var)

    console = Console(var)
    address = console.address()
    assert "Password:" not in console.said
    assert "sessionid" in log_in(address, "admin", password)
    assert len(query(var, "SELECT 1 FROM environments_environment")) == 3
    assert console.end(signal.SIGTERM) == 0
    wait_until_gone(var)


def test_what_is_killed_comes_back_and_nothing_outlives_the_console(var):
    console = Console(var, "--no-demo")
    address = console.address()
    os.kill(leader(console, b"granian"), signal.SIGKILL)
    console.wait_until_it_says("Web was killed by SIGKILL; it starts again in 0.5 s")
    deadline = time.monotonic() + 20
    while True:
        try:
            assert status_of(address) == 200
            break
        except OSError:  # refused, reset
            assert time.monotonic() < deadline
            time.sleep(0.1)

    refused = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env={**os.environ, "LIFETIME_VAR": str(var)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert refused.returncode == 1
    assert f"is running already: {address}" in refused.stderr

    console.process.kill()
    console.process.wait()
    deadline = time.monotonic() + 20
    while any(b"postgres" not in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(var)):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    console = Console(var, "--no-demo", "--without", "web")
    console.wait_until_it_says("Ctrl-C ends it")
    assert console.end() == 0
    wait_until_gone(var)


def test_a_taken_port_is_said_before_anything_starts(var):
    with processes.socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        console = Console(var, "--port", str(taken.getsockname()[1]))
        assert console.process.wait(20) == 1
    assert "is taken. Without --port the console finds a free one." in console.said
    assert not (var / "postgres").exists()


def test_a_database_that_does_not_answer_is_said(var):
    nowhere = f"postgres://nobody@127.0.0.1:{processes.free_port(9000)}/nothing"
    console = Console(var, DATABASE_URL=nowhere, LIFETIME_SECRET_KEY="x" * 50, LIFETIME_ENCRYPTION_KEYS="y" * 50)
    assert console.process.wait(30) == 1
    assert "The database does not answer" in console.said
    assert "Traceback" not in console.said


def test_a_missing_secret_stops_the_start_in_words(var):
    console = Console(var, DATABASE_URL="postgres://nobody@127.0.0.1/nothing")
    assert console.process.wait(30) == 1
    assert "Set LIFETIME_SECRET_KEY" in console.said
    assert "Traceback" not in console.said
