"""The checks before a request is served, their order, and the fences that outlive a restart."""

import http.client
import signal
from email.utils import parsedate_to_datetime
from time import time

import pytest

from tests.platforms import instant

TOKEN = {"Authorization": "Bearer wrong"}


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "{token}"])
def test_a_request_without_the_token_is_unauthorized(platform, authorization):
    given = None if authorization is None else authorization.format(token=platform.token)

    reply = platform.call("GET", "/facts", headers={"Authorization": given})

    assert (reply.status, reply.problem) == (401, "unauthorized")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert [line["outcome"] for line in platform.log()] == ["refused"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Lifetime-Contact", None),
        ("Lifetime-Contact", ""),
        ("Lifetime-Contact", "0"),
        ("Lifetime-Contact", "-1"),
        ("Lifetime-Contact", "1.5"),
        ("Lifetime-Contact", "9223372036854775808"),
        ("Lifetime-Contact", "9" * 5000),
        ("Lifetime-Epoch", None),
        ("Lifetime-Epoch", "one"),
        ("Lifetime-Epoch", "-1"),
        ("Lifetime-Deadline", None),
        ("Lifetime-Deadline", "tomorrow"),
        ("Lifetime-Deadline", "2099-01-01"),
        ("Lifetime-Deadline", "2099-01-01T00:00:00Z"),
        ("Lifetime-Deadline", "2099-01-01T00:00:00.000000+00:00"),
        ("Lifetime-Deadline", "2099-13-01T00:00:00.000000Z"),
    ],
)
def test_a_missing_or_malformed_header_is_refused(platform, name, value):
    reply = platform.call("GET", "/digests", headers={name: value})

    assert (reply.status, reply.problem) == (400, "bad-headers")
    assert name in reply.json["detail"]
    assert [line["outcome"] for line in platform.log()] == ["refused"]


def test_checks_come_in_the_order_of_the_contract(platform):
    platform.call("DELETE", "/contacts/5", contact=5, epoch=8)
    bad, ended, low, late = {"Lifetime-Contact": "x"}, {"contact": 5}, {"epoch": 7}, {"seconds": -1}

    assert platform.call("GET", "/facts", headers={**TOKEN, **bad}).status == 401
    assert platform.call("GET", "/facts", headers=bad, **low, **late).problem == "bad-headers"
    assert platform.call("GET", "/facts", **ended, **low, **late).problem == "contact-ended"
    assert platform.call("GET", "/facts", epoch=7, seconds=-1).problem == "epoch-passed"
    assert platform.call("GET", "/facts", epoch=8, seconds=-1).problem == "deadline-passed"
    assert platform.call("GET", "/nowhere", epoch=8).status == 404


def test_a_deadline_that_has_passed_is_refused_by_the_servers_own_clock(platform):
    assert platform.call("GET", "/facts", seconds=-0.01).status == 409
    platform.behave(clock_offset_seconds=100)

    reply = platform.call("GET", "/facts", seconds=30)

    assert (reply.status, reply.problem) == (409, "deadline-passed")
    assert abs(parsedate_to_datetime(reply.headers["Date"]).timestamp() - time() - 100) < 2
    assert platform.call("GET", "/facts", seconds=130).status == 200


def test_only_an_authenticated_request_raises_the_epoch(platform):
    assert platform.call("GET", "/facts", epoch=50, headers=TOKEN).status == 401
    assert platform.call("GET", "/facts", epoch=3).status == 200
    assert platform.call("GET", "/facts", epoch=2).problem == "epoch-passed"
    assert platform.call("GET", "/facts", epoch=4).status == 200
    assert platform.call("GET", "/facts", epoch=3).problem == "epoch-passed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_epochs_and_ended_contacts_outlive_a_restart(platform, number):
    platform.call("GET", "/facts", epoch=9)
    platform.call("DELETE", "/contacts/5", contact=5, epoch=9)

    platform.restart(number=number)

    assert platform.call("GET", "/facts", epoch=8).problem == "epoch-passed"
    assert platform.call("GET", "/facts", epoch=9, contact=5).problem == "contact-ended"
    assert platform.call("GET", "/facts", epoch=9, contact=6).status == 200


def test_a_contact_of_an_earlier_epoch_may_still_be_ended(platform):
    platform.call("GET", "/facts", epoch=8)

    assert platform.call("DELETE", "/contacts/5", contact=5, epoch=7).status == 204
    assert platform.call("GET", "/facts", contact=5, epoch=8).problem == "contact-ended"
    assert platform.call("GET", "/facts", contact=6, epoch=7).problem == "epoch-passed"


def test_a_contact_may_end_only_itself(platform):
    reply = platform.call("DELETE", "/contacts/6", contact=5)

    assert (reply.status, reply.problem) == (400, "bad-headers")
    assert platform.call("GET", "/facts", contact=6).status == 200


def test_ending_a_contact_twice_is_no_error(platform):
    assert platform.call("DELETE", "/contacts/5", contact=5).status == 204
    assert platform.call("DELETE", "/contacts/5", contact=5).status == 204
    assert platform.call("GET", "/facts", contact=5).problem == "contact-ended"


def test_a_header_given_twice_is_refused(platform):
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=10)
    connection.putrequest("GET", "/environment/v1/facts")
    for name, value in [*platform.headers().items(), ("Lifetime-Epoch", "2")]:
        connection.putheader(name, value)
    connection.endheaders()
    body = connection.getresponse().read()
    connection.close()

    assert b"urn:lifetime:problem:bad-headers" in body


def test_every_answer_has_the_exact_date(platform):
    for path, headers in [("/facts", {}), ("/nowhere", {}), ("/facts", TOKEN)]:
        before = int(time())
        reply = platform.call("GET", path, headers=headers)
        assert before <= parsedate_to_datetime(reply.headers["Date"]).timestamp() <= time()


def test_the_log_says_who_asked_what_when(platform):
    before, deadline = instant(), instant(20)

    reply = platform.call("GET", "/facts?x=1", contact=12, epoch=3, headers={"Lifetime-Deadline": deadline})
    after = instant()

    [line] = platform.log()
    assert before <= line.pop("began_at") <= line.pop("ended_at") <= after
    assert line == {
        "line": 1,
        "prefix": "",
        "environment": "Development",
        "contact": 12,
        "epoch": 3,
        "deadline": deadline,
        "method": "GET",
        "path": "/facts",
        "status": 200,
        "outcome": "answered",
        "bytes_in": 0,
        "bytes_out": len(reply.body),
    }
