"""Only the gate's client speaks HTTP to environments: nobody else imports what could."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("lifetime", "environments", "deployments", "audit")
SPEAK = {"aiohttp", "http.client", "httpx", "requests", "urllib3", "urllib.request", "websockets"}
MAY = {
    "environments/client.py": "the gate's client",
    "environments/conformance/subject.py": "a developer's tool, which talks to the server under test",
    "environments/outside.py": "looks at providers of log-ins, which are no environments",
    "environments/platform/events.py": "the environment's own side: it tells the console",
    "lifetime/management/commands/up.py": "asks its own web server whether it answers",
    "lifetime/openid.py": "asks the provider of log-ins, which is no environment",
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def speakers():
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            names = {name for name in imported(path) if any(name == one or name.startswith(one + ".") for one in SPEAK)}
            if names:
                yield path.relative_to(ROOT).as_posix()


def test_nobody_else_imports_what_speaks_http():
    assert set(speakers()) - set(MAY) == set()


def test_the_clients_importer_is_the_gate_alone():
    importers = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if "environments.client" in set(imported(path))
    }
    assert importers == {"environments/gate.py"}
