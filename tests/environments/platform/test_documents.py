"""The documents of an environment: conditional answers, digests, what is stored and what is refused."""

import hashlib
import json

import pytest

from tests.platforms import OWN_PROCESS, Platform, place_or_process

DOCUMENTS = ["/facts", "/permissions", "/settings", "/security", "/technical-previews", "/authentication"]
ROLE = {"key": "r1", "name": "Developer", "level": 4, "create_applications": True, "add_system_dependencies": False}
USER = {"key": "u1", "username": "ana", "name": "Ana", "email": "", "is_active": True, "role_key": "r1"}
PERMISSIONS = {"roles": [ROLE], "users": [USER], "teams": [{"key": "t1", "name": "Zoë's team"}]}
SETTINGS = {
    "name": "Sandbox",
    "lifetime_address": "https://console.example.com",
    "two_stage_deployments": True,
    "mobile_apps_service": False,
    "parallel_deployments": True,
    "parallel_deployment_limit": 3,
}
AUTHENTICATION = {
    "mode": "oidc",
    "configuration": {
        "client_id": "lifetime",
        "client_secret": "hunter2",
        "bind": {"password": "hunter3"},
        "secrets": ["hunter4", ""],
    },
}


@pytest.fixture
def platform(request):
    yield from place_or_process(request)


def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value) -> str:
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


@pytest.mark.parametrize("path", [*DOCUMENTS, "/digests", "/applications"])
def test_an_unchanged_document_costs_no_body(platform, path):
    reply = platform.call("GET", path)
    etag = reply.headers["ETag"]

    assert reply.status == 200
    assert reply.body == canonical(reply.json)
    if path != "/authentication":
        assert etag == f'"{digest(reply.json)}"'
    for condition in (etag, f'"other", W/{etag}', "*"):
        again = platform.call("GET", path, headers={"If-None-Match": condition})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    assert platform.call("GET", path, headers={"If-None-Match": '"sha256:0"'}).status == 200


def test_digests_are_those_of_the_documents(platform):
    digests = platform.call("GET", "/digests").json
    previews = platform.call("GET", "/technical-previews").json

    assert digests["facts"] == digest(platform.call("GET", "/facts").json)
    assert digests["permissions"] == digest({"roles": [], "users": [], "teams": []})
    assert digests["settings"] == digest(platform.call("GET", "/settings").json)
    assert digests["security"] == digest(platform.call("GET", "/security").json)
    assert digests["authentication"] == digest({"mode": "built_in", "configuration": {}})
    assert digests["technical_previews_available"] == digest(previews["available"])
    assert digests["technical_previews"] == digest({"enabled": []})


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [("/permissions", "permissions", PERMISSIONS), ("/settings", "settings", SETTINGS)],
)
@OWN_PROCESS
def test_what_is_put_is_what_is_answered_and_kept(platform, path, name, value):
    reply = platform.call("PUT", path, value)
    platform.restart()

    assert (reply.status, reply.json) == (200, {"digest": digest(value)})
    assert platform.call("GET", path).json == value
    assert platform.call("GET", "/digests").json[name] == digest(value)


def test_the_console_names_the_environment(platform):
    platform.call("PUT", "/settings", SETTINGS)

    assert platform.call("GET", "/facts").json["name"] == "Sandbox"
    assert platform.call("GET", "/digests").json["facts"] == digest(platform.call("GET", "/facts").json)
    assert platform.log()[-1]["environment"] == "Sandbox"


@OWN_PROCESS
def test_secrets_are_stored_but_shown_masked(platform):
    reply = platform.call("PUT", "/authentication", AUTHENTICATION)
    platform.restart()
    shown = platform.call("GET", "/authentication")

    assert reply.json == {"digest": digest(AUTHENTICATION)}
    assert platform.call("GET", "/digests").json["authentication"] == digest(AUTHENTICATION)
    assert shown.headers["ETag"] == f'"{digest(AUTHENTICATION)}"'
    assert b"hunter" not in shown.body
    assert shown.json["configuration"] == {
        "client_id": "lifetime",
        "client_secret": "***",
        "bind": {"password": "***"},
        "secrets": ["***", ""],
    }


def test_security_tells_what_must_be_republished(platform):
    security = platform.call("GET", "/security").json

    assert platform.call("PUT", "/security", security).json["republish"] == []
    applied = platform.call("PUT", "/security", security | {"secure_cookies": True}).json
    assert (applied["republish"], applied["apply_settings"]) == ([], True)
    compiled = platform.call("PUT", "/security", security | {"secure_cookies": True, "hsts": True}).json
    assert (compiled["apply_settings"], compiled["digest"]) == (
        False,
        digest(security | {"secure_cookies": True, "hsts": True}),
    )
    assert "CustomerPortal" in compiled["republish"]
    assert "PdfTools" not in compiled["republish"]
    assert compiled["republish"] == sorted(compiled["republish"])


def test_technical_previews_are_enabled_by_key(platform):
    keys = [preview["key"] for preview in platform.call("GET", "/technical-previews").json["available"]]

    reply = platform.call("PUT", "/technical-previews", {"enabled": [keys[2], keys[0]]})

    assert reply.json == {"digest": digest({"enabled": sorted([keys[0], keys[2]])})}
    assert platform.call("GET", "/technical-previews").json["enabled"] == sorted([keys[0], keys[2]])
    assert platform.call("GET", "/digests").json["technical_previews"] == reply.json["digest"]
    assert platform.call("PUT", "/technical-previews", {"enabled": ["unknown"]}).problem == "bad-body"
    assert platform.call("PUT", "/technical-previews", {"enabled": [keys[0]] * 2}).problem == "bad-body"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/permissions", {}),
        ("/permissions", []),
        ("/permissions", PERMISSIONS | {"roles": [ROLE | {"level": 7}]}),
        ("/permissions", PERMISSIONS | {"roles": [ROLE | {"level": "4"}]}),
        ("/permissions", PERMISSIONS | {"users": [USER | {"is_active": 1}]}),
        ("/settings", SETTINGS | {"name": " "}),
        ("/settings", SETTINGS | {"unknown": 1}),
        ("/settings", SETTINGS | {"parallel_deployment_limit": 1.5}),
        ("/security", {"hsts": True}),
        ("/technical-previews", {"enabled": "all"}),
        ("/authentication", {"mode": "magic", "configuration": {}}),
    ],
)
def test_a_document_of_wrong_shape_is_refused_and_nothing_changes(platform, path, value):
    before = platform.call("GET", "/digests").body

    reply = platform.call("PUT", path, value)

    assert (reply.status, reply.problem) == (422, "bad-body")
    assert reply.json["detail"]
    assert platform.call("GET", "/digests").body == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"enabled":[],"enabled":[]}',
        b'{"enabled":NaN}',
        b'{"enabled":1e999}',
        b'{"enabled":["\\ud800"]}',
        b"[" * 200_000 + b"]" * 200_000,
        b"9" * 10_000,
    ],
)
def test_what_is_no_json_is_refused(platform, body):
    reply = platform.call("PUT", "/technical-previews", body)

    assert (reply.status, reply.problem) == (400, "bad-json")


def test_a_body_too_large_or_of_another_type_is_refused(platform):
    large = platform.call("PUT", "/permissions", headers={"Content-Length": str(2 * 1024**3)})
    text = platform.call("PUT", "/permissions", PERMISSIONS, headers={"Content-Type": "text/plain"})

    assert (large.status, large.problem, large.headers["Connection"]) == (413, "body-too-large", "close")
    assert (text.status, text.problem) == (415, "bad-media-type")


@OWN_PROCESS
def test_a_chunked_body_too_large_is_refused(platform):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=30)
    pieces = (b" " * 1_000_000 for _ in range(40))
    try:
        connection.request(
            "PUT", "/environment/v1/permissions", body=pieces, headers=platform.headers(), encode_chunked=True
        )
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413
    finally:
        connection.close()

    assert status == 413
    assert platform.log()[-1]["status"] == 413


@pytest.mark.parametrize(("method", "path"), [("POST", "/facts"), ("PUT", "/digests"), ("GET", "/contacts/1")])
def test_a_wrong_method_is_told_which_are_right(platform, method, path):
    reply = platform.call(method, path)

    assert (reply.status, reply.problem) == (405, "method-not-allowed")
    assert reply.headers["Allow"] in ("GET", "GET, PUT", "DELETE")


@pytest.mark.parametrize("path", ["", "/", "/fact", "/facts/", "/contacts/", "/contacts/x", "/contacts/1/2"])
def test_an_unknown_path_is_not_found(platform, path):
    assert platform.call("GET", path).problem == "not-found"


def test_another_environment_is_another_world(tmp_path):
    with Platform.start(tmp_path, count=2) as platform:
        one, two = platform.addresses
        platform.call("PUT", "/settings", SETTINGS, address=one)
        platform.call("GET", "/facts", epoch=9, address=one)

        assert platform.call("GET", "/facts", address=two).json["name"] == "Development 2"
        assert platform.call("GET", "/facts", address=one).problem == "epoch-passed"
        assert platform.call("GET", "/facts", address=platform.root).status == 404
        assert {line["environment"] for line in platform.log(address=two)} == {"Development 2"}


@pytest.mark.parametrize(
    "directives",
    [
        {"default-src": ["'self'; script-src *"]},
        {"default-src": ["'self'\r\nSet-Cookie: a=b"]},
        {"default-src": ["'self', script-src *"]},
        {"default-src": ["ü"]},
        {"Default Src": ["'self'"]},
        {"": []},
    ],
)
def test_a_policy_that_breaks_out_of_its_header_is_refused(platform, directives):
    security = platform.call("GET", "/security").json
    policy = {"enabled": True, "directives": directives}

    reply = platform.call("PUT", "/security", {**security, "content_security_policy": policy})

    assert (reply.status, reply.problem) == (422, "bad-body")
    assert platform.call("GET", "/security").json == security
