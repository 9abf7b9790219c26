"""The server as a process: what it needs, what it makes, what it imports, how it starts and ends."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from environments.platform import api
from environments.platform.log import AccessLog
from tests.platforms import ROOT, Platform

COMMAND = [sys.executable, "-m", "environments.platform"]


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False, **options
    )


def test_the_server_imports_nothing_of_the_console():
    script = "import environments.platform.__main__, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = done.stdout.split()

    ours = {name for name in modules if name.split(".")[0] in ("lifetime", "environments", "deployments", "audit")}
    assert {name for name in ours if not name.startswith("environments.platform")} == {"environments"}
    assert [name for name in modules if name.split(".")[0] in ("django", "aiohttp", "psycopg")] == []


def test_the_openapi_file_and_the_routes_agree():
    document = yaml.safe_load((ROOT / "docs" / "environment-api-v1.yaml").read_text())
    verbs = {"get", "put", "post", "delete", "patch", "head", "options"}

    described = {(verb.upper(), path) for path, item in document["paths"].items() for verb in item if verb in verbs}
    assert described == {(method, path) for path, methods in api.ROUTES.items() for method in methods}


def test_every_problem_of_the_server_is_in_the_documentation():
    described = "".join(
        (ROOT / "docs" / name).read_text() for name in ("environment-api-v1.yaml", "environment-api.md")
    )
    source = "".join(path.read_text() for path in (ROOT / "environments" / "platform").glob("*.py"))
    codes = set(re.findall(r'Problem\(\s*(?:\d{3}|status),\s*"([a-z-]+)"', source))

    assert {"unauthorized", "cursor-unknown", "version-exists", "too-late"} <= codes
    assert {code for code in codes if f"`{code}`" not in described} == {"switched"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly(platform, number):
    platform.call("GET", "/facts")
    idle = socket.create_connection(("127.0.0.1", platform.port))
    began = time.monotonic()

    assert platform.stop(number) == 0
    assert time.monotonic() - began < 3
    idle.close()
    assert "Traceback" not in platform.output()
    [line] = (platform.data / "access.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == "/facts"


def test_the_token_is_made_once_and_private(platform):
    token = platform.token
    assert stat.S_IMODE((platform.data / "token").stat().st_mode) == 0o600
    assert len(token) >= 40
    platform.restart()
    assert platform.token == token
    assert token not in platform.output()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "required"),
        (("--name", "x", "--port", "70000", "--data", "{data}"), 2, "70000"),
        (("--name", "x", "--port", "0", "--data", "{data}", "--purpose", "Fun"), 2, "Fun"),
        (("--name", "x", "--port", "0", "--data", "{data}", "--count", "0"), 2, "--count"),
        (("--name", "x", "--port", "0", "--data", "{data}", "--token-file", "{data}/none"), 1, "No such file"),
        (("--name", "x", "--port", "0", "--data", "{data}", "--token-env", "NO_SUCH_TOKEN"), 1, "NO_SUCH_TOKEN"),
        (("--name", "x", "--port", "0", "--data", "/dev/null/x"), 1, "/dev/null/x"),
    ],
)
def test_bad_usage_is_told(tmp_path, arguments, code, said):
    done = run(*(argument.format(data=tmp_path) for argument in arguments))

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_or_directory_in_use_is_told(platform, tmp_path):
    same_port = run("--name", "x", "--port", str(platform.port), "--data", str(tmp_path / "other"))
    same_data = run("--name", "x", "--port", "0", "--data", str(platform.data))

    assert (same_port.returncode, same_data.returncode) == (1, 1)
    assert str(platform.port) in same_port.stderr
    assert "Another process" in same_data.stderr
    assert platform.call("GET", "/facts").status == 200


def test_a_token_from_a_variable_is_used_and_not_written(tmp_path):
    environment = {**os.environ, "SECRET": "from-outside"}
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        [*COMMAND, "--name", "x", "--port", "0", "--data", str(tmp_path / "data"), "--token-env", "SECRET",
         "--port-file", str(port_file)],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 20
        while not port_file.exists() and time.monotonic() < until:
            time.sleep(0.02)
        platform = Platform(tmp_path / "data")
        platform.port, platform.token = int(port_file.read_text()), "from-outside"
        assert platform.call("GET", "/facts").status == 200
        assert not (tmp_path / "data" / "token").exists()
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_manage_py_starts_the_same_server(tmp_path):
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "platform", "--name", "Test", "--port", "0", "--data", "data",
         "--port-file", str(port_file)],
        cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 30
        while not port_file.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        assert (tmp_path / "data" / "token").exists()
        assert "environments.platform" in Path(f"/proc/{process.pid}/cmdline").read_text()
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_person_sees_what_it_holds(platform):
    platform.publish(name="<b>Bold</b>", description="x")
    status, headers, body = platform.request("GET", "/", None, {})
    page = body.decode()

    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Customer Portal" in page
    assert "&lt;b&gt;Bold&lt;/b&gt;" in page
    assert platform.token not in page
    assert platform.request("GET", "/platform.css", None, {})[0] == 200
    assert platform.request("GET", "/favicon.ico", None, {})[0] == 404
    assert platform.request("POST", "/", None, {})[0] == 405
    assert platform.log() == []


def test_a_process_of_many_lists_them(tmp_path):
    with Platform.start(tmp_path, count=2, name="Load & Test") as platform:
        assert b'<a href="/env-0002">Load &amp; Test 2</a>' in platform.request("GET", "/", None, {})[2]
        assert b"<h1>Load &amp; Test 2</h1>" in platform.request("GET", "/env-0002", None, {})[2]
        assert platform.request("GET", "/env-0003", None, {})[0] == 404


def test_what_is_no_http_gets_a_problem(platform):
    with socket.create_connection(("127.0.0.1", platform.port), timeout=5) as connection:
        connection.sendall(b"HELO there\r\n\r\n")
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"\r\ndate: " in answer
    assert b"urn:lifetime:problem:bad-request" in answer


async def test_the_log_goes_on_after_a_torn_line_and_reads_its_older_files(tmp_path):
    path = tmp_path / "access.jsonl"

    def write(log, count):
        for _ in range(count):
            log.append("", "Name", 1, 1, None, "GET", "/facts", 1.0, 2.0, 200, "answered", 0, 0)
            log.flush()

    log = AccessLog(path, in_memory=5, largest_file=4000)
    write(log, 18)
    log.close()
    with path.open("a") as file:
        file.write('{"line":99,"pre')
    log = AccessLog(path, in_memory=5, largest_file=4000)
    write(log, 7)

    lines, more = log.since(3, prefix="", limit=100)
    log.close()

    assert (tmp_path / "access.1.jsonl").exists()
    assert [json.loads(line)["line"] for line in lines] == list(range(4, 26))
    assert not more
