"""Requests that are cut short: by the end of their contact, their deadline, a later epoch, their client; under load."""

import asyncio
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from tests.platforms import Platform, instant


def request_bytes(platform, *, contact, path="/facts", method="GET", seconds=30) -> bytes:
    headers = "".join(
        f"{name}: {value}\r\n" for name, value in platform.headers(contact=contact, seconds=seconds).items()
    )
    return f"{method} /environment/v1{path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()


def in_background(platform, count, **options) -> tuple[ThreadPoolExecutor, list]:
    pool = ThreadPoolExecutor(count)
    calls = [pool.submit(platform.call, "GET", "/facts", **options) for _ in range(count)]
    platform.wait_until_serving(count)
    return pool, calls


def test_ending_a_contact_ends_its_fifty_slow_requests_and_no_other(platform):
    platform.behave(delay_seconds=3)
    pool, calls = in_background(platform, 50, contact=7)
    other = ThreadPoolExecutor(1).submit(platform.call, "GET", "/facts", contact=8)
    platform.wait_until_serving(51)

    began = time.monotonic()
    reply = platform.call("DELETE", "/contacts/7", contact=7)
    ended, took = instant(), time.monotonic() - began

    assert (reply.status, reply.body) == (204, b"")
    assert took < 1.5
    lines = [line for line in platform.log() if line["contact"] == 7 and line["path"] == "/facts"]
    assert [line["outcome"] for line in lines] == ["ended"] * 50
    assert all(line["ended_at"] <= ended for line in lines)
    assert {call.result().problem for call in calls} == {"contact-ended"}
    assert platform.call("GET", "/facts", contact=7).problem == "contact-ended"
    assert other.result().status == 200
    pool.shutdown()


def test_requests_still_unread_in_the_sockets_are_seen_before_the_end_is_answered(platform):
    farewell = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=30)
    farewell.connect()
    platform.call("GET", "/facts")
    platform.freeze()
    sockets = []
    try:
        farewell.putrequest("DELETE", "/environment/v1/contacts/7")
        for name, value in platform.headers(contact=7).items():
            farewell.putheader(name, value)
        farewell.endheaders()
        for _ in range(100):
            sockets.append(socket.create_connection(("127.0.0.1", platform.port)))
            sockets[-1].sendall(request_bytes(platform, contact=7))
    finally:
        platform.thaw()
    response = farewell.getresponse()
    ended = instant()
    response.read()
    farewell.close()

    for one in sockets:
        one.close()

    lines = [line for line in platform.log() if line["contact"] == 7 and line["method"] == "GET"]
    assert len(lines) == 100
    assert [line for line in lines if not line["began_at"] <= line["ended_at"] <= ended] == []


def test_nothing_of_a_contact_happens_after_its_end(platform):
    """Clients that go on asking as fast as they can while their contact is ended."""

    async def trial(contact: int) -> str:
        async with aiohttp.ClientSession() as session:

            async def ask() -> None:
                while True:
                    headers = platform.headers(contact=contact)
                    async with session.get(f"{platform.address}/environment/v1/applications", headers=headers) as reply:
                        await reply.read()
                        if reply.status == 409:
                            return

            tasks = [asyncio.create_task(ask()) for _ in range(8)]
            await asyncio.sleep(0.005)
            url = f"{platform.address}/environment/v1/contacts/{contact}"
            async with session.delete(url, headers=platform.headers(contact=contact)) as reply:
                assert reply.status == 204
            ended = instant()
            await asyncio.gather(*tasks)
            return ended

    async def trials() -> dict[int, str]:
        return {contact: await trial(contact) for contact in range(10, 40)}

    ends = asyncio.run(trials())

    lines = [line for line in platform.log() if line["method"] == "GET"]
    assert {line["outcome"] for line in lines} == {"answered", "refused"}
    late = [line for line in lines if line["outcome"] != "refused" and line["ended_at"] > ends[line["contact"]]]
    assert late == []


def test_the_log_never_says_later_than_the_client_knew(platform):
    for _ in range(200):
        before = instant()
        platform.call("GET", "/applications")
        after = instant()
        line = platform.log(since=platform.log()[-1]["line"] - 1)[-1]
        assert before <= line["began_at"] <= line["ended_at"] <= after


def test_a_request_ends_at_its_deadline(platform):
    platform.behave(delay_seconds=5)

    began = time.monotonic()
    reply = platform.call("GET", "/facts", seconds=0.3)

    assert 0.25 < time.monotonic() - began < 3
    assert (reply.status, reply.problem) == (503, "deadline-passed")
    [line] = platform.log()
    assert (line["outcome"], line["status"]) == ("deadline", 503)
    assert line["ended_at"] >= line["deadline"]


def test_a_deadline_ends_a_body_that_never_comes(platform):
    with socket.create_connection(("127.0.0.1", platform.port), timeout=10) as connection:
        head = request_bytes(platform, contact=3, method="PUT", path="/settings", seconds=0.3)[:-2]
        connection.sendall(head + b"Content-Length: 1000\r\n\r\n{")
        received = b""
        while piece := connection.recv(4096):
            received += piece

    assert b"503" in received.split(b"\r\n")[0]
    assert platform.log()[-1]["outcome"] == "deadline"
    assert platform.log()[-1]["bytes_in"] == 1


def test_a_deadline_cuts_an_answer_that_the_client_does_not_take(platform):
    platform.behave(fail="huge")
    with socket.create_connection(("127.0.0.1", platform.port), timeout=10) as connection:
        connection.sendall(request_bytes(platform, contact=3, seconds=0.5))
        platform.wait_until_serving(1)
        platform.wait_until_serving(0)
        [line] = platform.log()

        assert (line["outcome"], line["status"]) == ("deadline", 200)
        taken = 0
        while piece := connection.recv(1_000_000):
            taken += len(piece)
        assert taken < 20_000_000


def test_a_later_epoch_ends_what_an_earlier_one_began(platform):
    platform.behave(delay_seconds=3)
    pool, calls = in_background(platform, 5, epoch=1)
    platform.behave()

    assert platform.call("GET", "/digests", contact=99, epoch=2).status == 200

    assert platform.serving() == []
    assert {call.result().problem for call in calls} == {"epoch-passed"}
    assert [line["outcome"] for line in platform.log()] == ["ended"] * 5 + ["answered"]
    pool.shutdown()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_client_that_hangs_up_ends_its_request(platform, method):
    platform.behave(delay_seconds=20)
    connection = socket.create_connection(("127.0.0.1", platform.port))
    head = request_bytes(platform, contact=3, method=method, path="/settings")
    connection.sendall(head[:-2] + b"Content-Length: 2\r\n\r\n{}" if method == "PUT" else head)
    platform.wait_until_serving(1)

    connection.close()
    platform.wait_until_serving(0)

    [line] = platform.log()
    assert (line["outcome"], line["status"], line["contact"]) == ("disconnected", None, 3)


def test_stopping_the_server_ends_what_is_being_served(platform):
    platform.behave(delay_seconds=30)
    pool, calls = in_background(platform, 3)

    began = time.monotonic()
    code = platform.stop()

    assert code == 0
    assert time.monotonic() - began < 3
    assert {call.result().problem for call in calls} == {"stopping"}
    pool.shutdown()
    platform._run()
    assert [line["outcome"] for line in platform.log()] == ["ended"] * 3


def test_a_kill_loses_no_stored_change_and_numbers_go_on(platform):
    names = [platform.publish(name=f"Application {number}")["name"] for number in range(20)]
    platform.call("GET", "/facts")
    time.sleep(0.1)
    platform.restart(number=9)
    platform.call("GET", "/facts")

    found = {application["name"] for application in platform.call("GET", "/applications").json["applications"]}
    assert set(names) <= found
    assert [line["line"] for line in platform.log()] == [1, 2, 3]


def test_publishing_and_reading_at_once_loses_no_change(platform):
    stop = threading.Event()
    published: list[str] = []

    def develop() -> None:
        for number in range(100):
            published.append(platform.publish(name=f"New {number}")["key"])
        stop.set()

    developer = threading.Thread(target=develop)
    developer.start()
    seen: set[str] = set()
    cursor, done = "0", False
    while True:
        done = stop.is_set()
        page = platform.call("GET", f"/applications?since={cursor}&limit=7").json
        seen |= {application["key"] for application in page["applications"]}
        cursor = page["cursor"]
        if done and not page["more"]:
            break
    developer.join()

    assert set(published) <= seen


def test_a_thousand_environments_answer_from_one_process(tmp_path):
    with Platform.start(tmp_path, count=1000, applications=2) as platform:

        async def ask() -> list[str]:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:

                async def one(number: int, address: str) -> str:
                    headers = platform.headers(contact=number, epoch=number)
                    async with session.get(f"{address}/environment/v1/facts", headers=headers) as reply:
                        return (await reply.json())["name"]

                tasks = [one(number, address) for number, address in enumerate(platform.addresses, start=1)]
                return await asyncio.gather(*tasks)

        names = asyncio.run(ask())
        platform.restart(number=9)

        assert names == [f"Development {number}" for number in range(1, 1001)]
        last = platform.addresses[-1]
        assert platform.call("GET", "/facts", epoch=999, address=last).problem == "epoch-passed"
        assert platform.call("GET", "/facts", epoch=1000, address=last).status == 200
