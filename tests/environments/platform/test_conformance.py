"""The conformance command passes the reference server and finds each rule that a server breaks."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from environments import conformance
from environments.conformance import rules


def check(address, token, *, write=True) -> dict[str, conformance.Result]:
    subject = conformance.Subject(address, token, epoch=1, may_write=write)
    return {result.name: result for result in conformance.run(subject)}


def failed(results) -> set[str]:
    return {name for name, result in results.items() if result.outcome == "failed"}


@contextmanager
def sabotaged(platform, spoil) -> Iterator[str]:
    """The platform behind a proxy that lets `spoil(method, path, headers, ask)` break one rule."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length) if length else None
            headers = {name: value for name, value in self.headers.items() if name != "Host"}

            def ask(method=self.command, path=self.path, headers=headers, body=body):
                connection = HTTPConnection("127.0.0.1", platform.port, timeout=20)
                connection.request(method, path, body=body, headers=headers)
                response = connection.getresponse()
                answer = response.status, dict(response.headers.items()), response.read()
                connection.close()
                return answer

            status, answered, content = spoil(self.command, self.path, headers, ask)
            self.close_connection = True
            self.send_response_only(status)
            for name, value in {**answered, "connection": "close"}.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            if status not in (204, 304):
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients that hang up are part of the test

    with Server(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_the_reference_server_is_conformant(platform):
    before = platform.call("GET", "/digests").body

    results = check(platform.address, platform.token)

    assert {result.outcome for result in results.values()} == {"passed"}
    assert platform.call("GET", "/digests", epoch=2).body == before


def test_without_leave_to_write_nothing_is_written(platform):
    results = check(platform.address, platform.token, write=False)

    assert failed(results) == set()
    assert {name for name, result in results.items() if result.outcome == "skipped"} == {
        "put-refused", "put", "secrets", "epoch-raised", "versions-refused", "application-settings-put",
        "application-security-put", "packages-refused", "deployments-refused",
        "versions-removal-refused", "database-connections-refused", "database-tests",
    }  # fmt: skip
    assert {line["status"] for line in platform.log() if line["method"] == "PUT"} <= {None, 405, 409, 503}
    assert platform.call("GET", "/facts", epoch=1).status == 200


# Each spoils the answers of the proxy in one way; the rule that must notice stands beside it.
def no_date(method, path, headers, ask):
    status, answered, body = ask()
    return status, {name: value for name, value in answered.items() if name.lower() != "date"}, body


def stale_date(method, path, headers, ask):
    status, answered, body = ask()
    return status, {**answered, "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, body


def any_token(method, path, headers, ask):
    status, answered, body = ask()
    return (403, answered, body) if status == 401 else (status, answered, body)


def problems_as_html(method, path, headers, ask):
    status, answered, body = ask()
    return (status, {**answered, "content-type": "text/html"}, body) if status >= 400 else (status, answered, body)


def lenient_headers(method, path, headers, ask):
    return ask(headers={"Lifetime-Contact": "1", "Lifetime-Epoch": "1", **headers})


def late_is_fine(method, path, headers, ask):
    return ask(headers={**headers, "Lifetime-Deadline": "2099-01-01T00:00:00.000000Z"})


def forgets_epochs(method, path, headers, ask):
    status, answered, body = ask()
    if b"epoch-passed" in body:
        return ask(headers={**headers, "Lifetime-Epoch": "2"})
    return status, answered, body


def epochs_bind_farewells(method, path, headers, ask):
    return ask(method="GET", path="/environment/v1/facts") if method == "DELETE" else ask()


def forgets_contacts(method, path, headers, ask):
    status, answered, body = ask()
    return ask(headers={**headers, "Lifetime-Contact": "3"}) if b"contact-ended" in body else (status, answered, body)


def pretty(method, path, headers, ask):
    status, answered, body = ask()
    if status == 200 and body:
        body = json.dumps(json.loads(body), indent=1).encode()
    return status, answered, body


def never_unchanged(method, path, headers, ask):
    return ask(headers={name: value for name, value in headers.items() if name != "If-None-Match"})


def no_etag(method, path, headers, ask):
    status, answered, body = ask()
    return status, {name: value for name, value in answered.items() if name.lower() != "etag"}, body


def changed(path_of, change):
    def spoil(method, path, headers, ask):
        status, answered, body = ask()
        if method == "GET" and path.split("?")[0].endswith(path_of) and status == 200:
            value = json.loads(body)
            change(value)
            body = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return status, answered, body

    spoil.__name__ = f"changed {path_of}"
    return spoil


def endless_feed(value):
    value["more"] = True


def without_last(value):
    if len(value["applications"]) == 8:
        value["applications"].pop()


def same_twice(value):
    if value["applications"]:
        value["applications"].append(value["applications"][0])


def any_cursor(method, path, headers, ask):
    return ask(path=path.replace("no-such-cursor", "0"))


def any_path(method, path, headers, ask):
    return ask(path=path.replace("no-such-path", "facts"))


def swallows_puts(method, path, headers, ask):
    if method != "PUT":
        return ask()
    status, answered, body = ask(path="/environment/v1/nothing")
    return (200, answered, b'{"digest":"sha256:0"}') if status == 404 else (status, answered, body)


def lacks_capabilities(method, path, headers, ask):
    """Does what it does not list."""
    return changed("/facts", lambda value: value.update(capabilities=["versions"]))(method, path, headers, ask)


def takes_any_number(method, path, headers, ask):
    return (201, {}, b"{}") if method == "POST" else ask()


def removes_anything(method, path, headers, ask):
    return (204, {}, b"") if method == "DELETE" and "/versions/" in path else ask()


def shows_passwords(value):
    names = dict.fromkeys(("name", "provider", "description", "username", "changed_by"), "sqlite")
    connection = {**names, "key": str(uuid4()), "revision": 1, "changed_at": "2026-11-23T10:00:00Z"}
    connection |= {name: {} for name in ("parameters", "roles", "users")}
    value["connections"].append({**connection, "has_password": True, "password": "s3cret"})


def every_database_answers(method, path, headers, ask):
    answered = (200, {"Content-Type": "application/json"}, b'{"message":"Fine.","succeeded":true,"took_ms":1}')
    status, headers, body = ask()
    return answered if path.endswith("/database-connections/test") and status == 200 else (status, headers, body)


def corrupts_packages(method, path, headers, ask):
    status, answered, body = ask()
    return (status, answered, body[:-1] + b"x") if path.endswith("/package") else (status, answered, body)


def no_ranges(method, path, headers, ask):
    return ask(headers={name: value for name, value in headers.items() if name != "Range"})


def takes_any_package(method, path, headers, ask):
    return (201, {}, b"{}") if method == "PUT" and "/packages/" in path else ask()


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lacks_capabilities, "capabilities"),
        (changed("/facts", lambda value: value.update(capabilities=["versions", "logs"])), "capabilities"),
        (changed("/versions", lambda value: value["versions"].append(value["versions"][0])), "versions"),
        (takes_any_number, "versions-refused"),
        (removes_anything, "versions-removal-refused"),
        (changed("/references", lambda value: value["modules"].pop()), "references"),
        (changed("/settings", lambda value: value.pop("timers", None)), "application-settings"),
        (no_etag, "application-settings"),
        (changed("/security", lambda value: value.pop("force_https_screens")), "application-security"),
        (swallows_puts, "application-security-put"),
        (changed("/logs", lambda value: value.update(lines=[{}])), "logs"),
        (changed("/templates", lambda value: value["templates"][0].pop("kind")), "templates"),
        (changed("/blocked-addresses", lambda value: value.pop("blocked")), "blocked-addresses"),
        (changed("/database-connections", shows_passwords), "database-connections"),
        (takes_any_number, "database-connections-refused"),
        (every_database_answers, "database-tests"),
        (corrupts_packages, "packages"),
        (no_ranges, "packages"),
        (takes_any_package, "packages-refused"),
        (takes_any_number, "deployments"),
        (takes_any_number, "deployments-refused"),
        (no_date, "date"),
        (stale_date, "date"),
        (any_token, "token"),
        (problems_as_html, "token"),
        (lenient_headers, "headers"),
        (late_is_fine, "deadline-passed"),
        (forgets_epochs, "epoch-passed"),
        (forgets_epochs, "epoch-raised"),
        (epochs_bind_farewells, "farewell"),
        (forgets_contacts, "contact-ended"),
        (forgets_contacts, "order"),
        (pretty, "canonical"),
        (never_unchanged, "etag"),
        (no_etag, "etag"),
        (changed("/digests", lambda value: value.update(facts="sha256:0")), "digests"),
        (changed("/facts", lambda value: value.update(name="Other")), "settings-name"),
        (changed("/facts", lambda value: value.update(purpose="Fun")), "shape"),
        (changed("/settings", lambda value: value.pop("two_stage_deployments")), "shape"),
        (changed("/authentication", lambda value: value["configuration"].update(client_secret="x")), "secrets"),
        (changed("/applications", endless_feed), "feed"),
        (changed("/applications", without_last), "feed"),
        (changed("/applications", same_twice), "shape"),
        (any_cursor, "feed-errors"),
        (any_path, "paths"),
        (swallows_puts, "put"),
        (swallows_puts, "put-refused"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_rule_is_found(platform, monkeypatch, spoil, rule):
    only(monkeypatch, "answers", rule)
    with sabotaged(platform, spoil) as address:
        results = check(address, platform.token)

    assert failed(results) == {rule}
    assert results[rule].came


def only(monkeypatch, *names: str) -> None:
    chosen = [entry for entry in rules.CHECKS if entry[0] in names]
    monkeypatch.setattr(rules, "CHECKS", chosen)
    monkeypatch.setattr(rules, "GRACE_SECONDS", 0.3)


def test_a_proxy_that_waits_for_whole_bodies_is_found(platform, monkeypatch):
    monkeypatch.setattr(rules, "GRACE_SECONDS", 1.0)
    with sabotaged(platform, lambda method, path, headers, ask: ask()) as address:
        results = check(address, platform.token)

    assert failed(results) == {"deadline-reached", "contact-cut", "epoch-raised"}


@pytest.mark.parametrize("failure", ["html", "garbage", "deep", "wrong_types", "half", "redirect", "status:500"])
def test_a_misbehaving_server_is_not_conformant(platform, monkeypatch, failure):
    only(monkeypatch, "answers", "shape", "settings-name")
    platform.behave(fail=failure, paths=["/facts"])

    assert failed(check(platform.address, platform.token)) == {"shape", "settings-name"}


def command(platform, *arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        token = str(platform.data / "token")
        call_command("check_environment", platform.address, "--token-file", token, *arguments, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    return 0, out.getvalue()


def test_the_command_says_what_it_found(platform):
    code, output = command(platform)
    assert (code, "32 passed, 0 failed, 12 skipped" in output) == (0, True)

    platform.behave(fail="status:500", paths=["/security"])
    code, output = command(platform, "--json")
    results = {result["name"]: result for result in json.loads(output)}
    assert code == 1
    assert results["shape"]["outcome"] == "failed"
    assert "GET /security: 500" in results["shape"]["came"]

    assert command(platform, "--epoch=-1")[0] == 2
    platform.stop()
    code, output = command(platform)
    assert (code, "Connection refused" in output) == (1, True)


@pytest.mark.parametrize("address", ["", "dev", "ftp://dev", "http://", "http://user:secret@dev", "http://dev/?x=1"])
def test_an_address_that_is_none_is_bad_usage(tmp_path, address):
    (tmp_path / "token").write_text("token")
    with pytest.raises(CommandError) as refusal:
        call_command("check_environment", address, "--token-file", tmp_path / "token")
    assert refusal.value.returncode == 2


def test_a_missing_token_is_bad_usage(tmp_path, monkeypatch):
    monkeypatch.delenv("ENVIRONMENT_TOKEN", raising=False)
    for arguments in ([], ["--token-file", str(tmp_path / "none")]):
        with pytest.raises(CommandError) as refusal:
            call_command("check_environment", "http://127.0.0.1:9", *arguments)
        assert refusal.value.returncode == 2
