"""The test switch misbehaves as told, and only where it is allowed."""

import http.client
import json
import time

import pytest

from tests.platforms import Platform, Refused


def test_the_switch_is_not_there_unless_allowed(tmp_path):
    with Platform.start(tmp_path, switches=False) as platform, pytest.raises(Refused, match="404"):
        platform.behave(delay_seconds=1)


@pytest.mark.parametrize("path", ["/platform/behaviour", "/platform/access-log", "/platform/publish"])
def test_the_developers_paths_need_the_token(platform, path):
    status, _, body = platform.request("GET", path, None, {})

    assert status == 401
    assert platform.token.encode() not in body


@pytest.mark.parametrize(
    "switch",
    [{"fail": "somehow"}, {"fail": "status:200"}, {"delay_seconds": -1}, {"paths": "/facts"}, {"times": 1.5}, {"x": 1}],
)
def test_a_wrong_switch_is_refused(platform, switch):
    with pytest.raises(Refused, match="422"):
        platform.behave(**switch)


def test_only_the_named_paths_misbehave_and_only_so_often(platform):
    platform.behave(fail="status:503", paths=["/facts"], times=2)

    assert [platform.call("GET", "/facts").status for _ in range(3)] == [503, 503, 200]
    assert platform.call("GET", "/digests").status == 200


def test_ending_a_contact_misbehaves_only_when_named(platform):
    platform.behave(fail="status:500")
    assert platform.call("DELETE", "/contacts/4", contact=4).status == 204
    platform.behave(fail="status:500", paths=["/contacts"])
    assert platform.call("DELETE", "/contacts/5", contact=5).status == 500


def test_a_slow_answer_is_the_right_one(platform):
    right = platform.call("GET", "/facts")
    platform.behave(delay_seconds=0.3)
    began = time.monotonic()

    slow = platform.call("GET", "/facts", headers={"If-None-Match": right.headers["ETag"]})
    written = platform.call("PUT", "/technical-previews", {"enabled": ["structured-logs"]})

    assert time.monotonic() - began >= 0.6
    assert (slow.status, written.status) == (304, 200)


def test_a_refusal_is_never_slow(platform):
    platform.behave(delay_seconds=5)
    began = time.monotonic()
    assert platform.call("GET", "/facts", seconds=-1).status == 409
    assert time.monotonic() - began < 1


def test_each_failure_is_what_its_name_says(platform):
    keys = [application["key"] for application in platform.call("GET", "/applications").json["applications"]]
    right = platform.call("GET", "/applications?limit=2")

    def failing(failure, path="/applications?limit=2"):
        platform.behave(fail=failure)
        return platform.call("GET", path, headers={"If-None-Match": right.headers["ETag"]})

    assert (failing("html").status, failing("html").headers.get_content_type()) == (200, "text/html")
    assert failing("redirect").headers["Location"] == "/environment/v1/redirected"
    with pytest.raises(RecursionError):
        json.loads(failing("deep").body)
    with pytest.raises(ValueError):  # noqa: PT011 - which one depends on the guessed encoding
        json.loads(failing("garbage").body)
    assert failing("wrong_types").json["applications"] == {"not": "a list"}
    assert failing("wrong_types", "/digests").json["facts"] == 12345
    twice = [application["key"] for application in failing("duplicate_keys").json["applications"]]
    assert twice == [keys[0], keys[1], keys[0]]
    assert failing("duplicate_keys", "/facts").body.count(b'"application_server":') == 2
    with pytest.raises(http.client.IncompleteRead):
        failing("half")
    assert failing("status:418").status == 418


def test_a_hanging_server_ignores_even_the_deadline(platform):
    platform.behave(fail="hang")
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=1)
    connection.request("GET", "/environment/v1/facts", headers=platform.headers(seconds=0.2))

    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    platform.wait_until_serving(0)
    assert platform.log()[-1]["outcome"] == "disconnected"


def test_a_huge_answer_goes_on_until_the_client_leaves(platform):
    platform.behave(fail="huge")
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=10)
    connection.request("GET", "/environment/v1/facts", headers=platform.headers())
    response = connection.getresponse()
    assert len(response.read(50_000_000)) == 50_000_000
    response.close()
    connection.close()

    platform.wait_until_serving(0)
    line = platform.log()[-1]
    assert line["outcome"] == "disconnected"
    assert 50_000_000 <= line["bytes_out"] < 200_000_000


def test_the_switch_of_a_process_of_many_is_for_all_or_for_one(tmp_path):
    with Platform.start(tmp_path, count=3) as platform:
        platform.behave(fail="status:500")
        assert [platform.call("GET", "/facts", address=one).status for one in platform.addresses] == [500] * 3
        platform.behave()
        platform.behave(address=platform.addresses[1], fail="status:500")
        assert [platform.call("GET", "/facts", address=one).status for one in platform.addresses] == [200, 500, 200]
