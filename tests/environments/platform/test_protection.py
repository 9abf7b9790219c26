"""Security settings of an application's own: what its pages are sent with, and where browsers are led."""

import http.client

import pytest

from tests.platforms import OWN_PROCESS, package, place_or_process

WEB = {"index.html": b"<h1>Hotel</h1>"}
INHERITED = {"content_security_policy": None, "force_https_screens": None}


@pytest.fixture
def platform(request):
    yield from place_or_process(request)


@pytest.fixture
def hotel(platform):
    return platform.publish_package(package(web=WEB))


def get(platform, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def put(platform, key, **own):
    return platform.call("PUT", f"/applications/{key}/security", {**INHERITED, **own})


def policy_of(platform, path="/Hotel/"):
    return get(platform, path).headers["Content-Security-Policy"]


@OWN_PROCESS
def test_an_application_has_a_policy_of_its_own_at_once_and_after_a_restart(platform, hotel):
    path = f"/applications/{hotel['key']}/security"
    assert platform.call("GET", path).json == INHERITED
    feed = platform.call("GET", "/digests").json
    policy = {"enabled": True, "directives": {"default-src": ["'self'"], "img-src": ["https://cdn.example.com"]}}

    answer = put(platform, hotel["key"], content_security_policy=policy)

    assert (answer.json["republish"], answer.json["apply_settings"]) == ([], False)
    assert policy_of(platform) == "default-src 'self'; img-src https://cdn.example.com"
    assert policy_of(platform, "/BackOffice/") is None
    platform.restart()
    assert platform.call("GET", path).json == {**INHERITED, "content_security_policy": policy}
    assert policy_of(platform) == "default-src 'self'; img-src https://cdn.example.com"
    assert platform.call("GET", "/digests").json == feed
    platform.publish_package(package(web=WEB))
    assert policy_of(platform) is not None
    assert "Security settings were changed." in str(platform.call("GET", f"/applications/{hotel['key']}/logs").json)


@OWN_PROCESS
def test_it_comes_before_the_policy_of_the_environment(platform, hotel):
    everywhere = {"enabled": True, "directives": {"default-src": ["'none'"]}}
    security = platform.call("GET", "/security").json
    platform.call("PUT", "/security", {**security, "content_security_policy": everywhere})
    platform.publish_package(package(web=WEB))
    assert policy_of(platform) == "default-src 'none'"

    put(platform, hotel["key"], content_security_policy={"enabled": False, "directives": {}})
    assert policy_of(platform) is None
    put(platform, hotel["key"])
    assert policy_of(platform) == "default-src 'none'"


@OWN_PROCESS
def test_browsers_that_come_without_https_are_led_to_it_where_it_is_forced(platform, hotel):
    proxied = {"X-Forwarded-Proto": "http", "Host": "apps.example.com:8080"}
    assert get(platform, "/Hotel/", **proxied).status == 200

    put(platform, hotel["key"], force_https_screens=True)

    answer = get(platform, "/Hotel/index.html?a=b&c=%0d", **proxied)
    assert answer.status == 307
    assert answer.headers["Location"] == "https://apps.example.com/Hotel/index.html?a=b&c=%0d"
    assert get(platform, "/Hotel/", **{**proxied, "X-Forwarded-Proto": "https"}).status == 200
    assert get(platform, "/Hotel/").status == 200  # nobody ends TLS before this server
    assert get(platform, "/Hotel/", **{**proxied, "Host": "evil/@x"}).status == 400
    assert get(platform, "/BackOffice/", **proxied).status == 200
    security = platform.call("GET", "/security").json
    platform.call("PUT", "/security", {**security, "force_https_screens": True})
    assert get(platform, "/BackOffice/", **proxied).status == 307
    put(platform, hotel["key"], force_https_screens=False)
    assert get(platform, "/Hotel/", **proxied).status == 200


def test_what_breaks_out_of_the_header_is_refused_and_changes_nothing(platform, hotel):
    for directives in ({"img-src": ["a; script-src *"]}, {"img-src": ["a\r\nX: b"]}, {"img-src": ["a,b"]}, {"A": []}):
        answer = put(platform, hotel["key"], content_security_policy={"enabled": True, "directives": directives})
        assert (answer.status, answer.problem) == (422, "bad-body")
    assert put(platform, hotel["key"], force_https_screens="yes").problem == "bad-body"
    assert platform.call("PUT", f"/applications/{hotel['key']}/security", {}).problem == "bad-body"
    assert platform.call("GET", f"/applications/{hotel['key']}/security").json == INHERITED
