"""Events: the environment tells the console what was published, signed, until it is heard."""

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID, uuid4

import pytest

from tests.platforms import package

KEY = str(uuid4())


class Console:
    """Hears events; answers with `statuses` in turn, the last one from then on."""

    def __init__(self, statuses=(204,)) -> None:
        self.statuses, self.heard = list(statuses), []
        console = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                console.heard.append((self.path, dict(self.headers.items()), body))
                statuses = console.statuses
                self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
                self.send_header("Location", "/elsewhere/")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/lifetime"

    def wait(self, count) -> list[dict]:
        until = time.monotonic() + 15
        while len(self.heard) < count and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        return [json.loads(body) for _, _, body in self.heard]


@pytest.fixture
def console() -> Iterator[Console]:
    found = Console()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def connect(platform, address, **changes) -> None:
    settings = {
        **platform.call("GET", "/settings").json,
        "lifetime_address": address,
        "environment_key": KEY,
        **changes,
    }
    assert platform.call("PUT", "/settings", settings).status == 200


def test_a_publish_is_told_and_signed(platform, console):
    connect(platform, console.address)
    made = platform.publish_package(package())

    [event] = console.wait(1)
    path, headers, body = console.heard[0]

    assert path == f"/lifetime/environments/{KEY}/events/"
    parts = dict(part.split("=") for part in headers["Lifetime-Signature"].split(","))
    expected = hmac.new(platform.token.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert parts["v1"] == expected
    assert abs(int(parts["t"]) - time.time()) < 5
    assert UUID(event["id"])
    assert (event["type"], event["application_key"]) == ("application-published", made["key"])
    assert (event["application"], event["by"], event["environment_key"]) == ("Hotel", "developer", KEY)
    assert event["applications"] == platform.call("GET", "/digests").json["applications"]


def test_each_kind_of_change_by_somebody_here_is_told_but_nothing_that_the_console_did(platform, console):
    connect(platform, console.address)
    made = platform.publish(name="Hotel")
    platform.tag(made["key"], "1.0")
    platform.create("Made by the console")
    platform.call("PUT", f"/applications/{made['key']}/settings", {})
    console.wait(1)
    platform.remove(made["key"])

    assert [one["type"] for one in console.wait(2)] == ["application-published", "application-removed"]


@pytest.mark.parametrize("missing", [{"lifetime_address": ""}, {"environment_key": ""}])
def test_without_an_address_nothing_is_told(platform, console, missing):
    connect(platform, console.address, **missing)
    platform.publish(name="Hotel")
    connect(platform, console.address)

    assert console.wait(0) == []


def test_what_was_not_heard_is_told_again_and_what_was_heard_is_not(platform, console):
    console.statuses = [503, 302, 204]
    connect(platform, console.address)
    platform.publish(name="Hotel")

    events = console.wait(3)
    time.sleep(1)

    assert len(console.heard) == 3
    assert len({one["id"] for one in events}) == 1


@pytest.mark.parametrize("status", [404, 409, 410])
def test_what_is_not_wanted_is_not_told_again(platform, console, status):
    console.statuses = [status]
    connect(platform, console.address)
    platform.publish(name="Hotel")
    console.wait(1)
    time.sleep(1.5)

    assert len(console.heard) == 1


def test_events_outlive_a_restart_and_newer_news_replaces_older(platform, console):
    connect(platform, "http://127.0.0.1:1")
    for number in range(3):
        platform.publish(name="Hotel", description=str(number))
    platform.publish(name="Other")
    platform.restart()
    connect(platform, console.address)

    events = console.wait(2)

    assert sorted(one["application"] for one in events) == ["Hotel", "Other"]
    newest = next(one for one in events if one["application"] == "Hotel")
    assert (
        int(newest["applications"].split("-")[1])
        == int(platform.call("GET", "/digests").json["applications"].split("-")[1]) - 1
    )


@pytest.mark.parametrize("address", ["nonsense", "ftp://x", "http://", "http://127.0.0.1:1", "http://[x"])
def test_an_address_that_leads_nowhere_harms_nothing(platform, address):
    connect(platform, address)
    platform.publish(name="Hotel")
    time.sleep(0.3)

    assert platform.call("GET", "/facts").status == 200
    assert "Traceback" not in platform.output()
    assert platform.stop() == 0


def test_a_console_that_never_answers_holds_nothing_up(platform):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect(platform, f"http://127.0.0.1:{silent.getsockname()[1]}")
        for number in range(12):
            platform.publish(name=f"Hotel {number}")
        made = platform.publish_package(package())

        assert platform.tag(made["key"], "1.0").status == 201
        began = time.monotonic()
        assert platform.stop() == 0
        assert time.monotonic() - began < 5
