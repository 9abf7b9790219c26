"""Web applications that are served, as developers publish them."""

import gzip
import socket

import pytest

from tests.platforms import Platform, Refused, package

SCRIPT = b"console.log('hello');" * 200
WEB = {"index.html": b"<h1>Hotel 1</h1>", "css/a b.css": b"h1 { color: red }", "app.js": SCRIPT, "empty.txt": b"",
       "logo.bin": bytes(range(256)) * 3000}  # fmt: skip


def get(platform, path, method="GET", **headers):
    status, got, body = platform.request(
        method, path, None, {name.replace("_", "-"): text for name, text in headers.items()}
    )
    return status, got, body


def test_a_published_package_is_served_below_its_path(platform):
    made = platform.publish_package(package(version=None, web=WEB, files=None))

    assert (made["name"], made["url_path"], made["is_modified"], made["version"]) == ("Hotel", "Hotel", True, "")
    for path, content in WEB.items():
        status, headers, body = get(platform, f"/Hotel/{path.replace(' ', '%20')}")
        assert (status, body) == (200, content)
        assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, body = get(platform, "/Hotel/")
    assert (body, headers["Content-Type"]) == (WEB["index.html"], "text/html; charset=utf-8")
    assert get(platform, "/Hotel/", If_None_Match=headers["ETag"])[0] == 304
    status, headers, _ = get(platform, "/Hotel")
    assert (status, headers["Location"]) == (302, "/Hotel/")
    assert get(platform, "/hotel/")[0] == 200
    status, headers, body = get(platform, "/Hotel/app.js", Accept_Encoding="gzip, br")
    assert (headers["Content-Encoding"], gzip.decompress(body), headers["Vary"]) == ("gzip", SCRIPT, "Accept-Encoding")
    assert get(platform, "/Hotel/app.js", Accept_Encoding="gzip;q=0")[2] == SCRIPT
    status, headers, body = get(platform, "/Hotel/logo.bin", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(WEB["logo.bin"])), b"")
    assert get(platform, "/Hotel/", method="POST")[0] == 405
    assert platform.log() == []


def test_a_new_package_replaces_the_site_whole_and_outlives_a_restart(platform):
    platform.publish_package(package(web=WEB))
    platform.publish_package(package(web={"index.html": b"<h1>Hotel 2</h1>"}))
    platform.restart()

    assert get(platform, "/Hotel/")[2] == b"<h1>Hotel 2</h1>"
    assert get(platform, "/Hotel/app.js")[0] == 404
    assert len(list((platform.data / "files" / "1" / "sites").iterdir())) == 1


def test_applications_without_files_have_a_page_that_says_what_they_are(platform):
    status, _, body = get(platform, "/BackOffice/")
    assert (status, b"<strong>2.11.0+</strong>" in body) == (200, True)
    platform.tag(platform.application("Back Office")["key"], "2.12.0")
    assert b"<strong>2.12.0</strong>" in get(platform, "/BackOffice/")[2]
    assert get(platform, "/BackOffice/other")[0] == 404


@pytest.mark.parametrize(
    "path",
    ["/Hotel/../../../token", "/Hotel/..%2f..%2f..%2ftoken", "/Hotel//etc/passwd", "/Hotel/site.json", "/Nobody/",
     "/Hotel/%00", "/Hotel/css", "/Hotel/css/", "//Hotel/"],
)  # fmt: skip
def test_nothing_else_is_served(platform, path):
    platform.publish_package(package(web=WEB))
    with socket.create_connection(("127.0.0.1", platform.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert platform.token.encode() not in answer


def test_security_settings_are_compiled_in_when_a_module_is_published(platform):
    platform.publish_package(package(web=WEB))
    security = platform.call("GET", "/security").json
    policy = {"enabled": True, "directives": {"default-src": ["'self'"], "img-src": ["*"]}}
    answer = platform.call("PUT", "/security", {**security, "hsts": True, "content_security_policy": policy})

    assert "Hotel" in answer.json["republish"]
    assert get(platform, "/Hotel/")[1]["Content-Security-Policy"] is None
    platform.publish_package(package(web=WEB))
    headers = get(platform, "/Hotel/")[1]
    assert headers["Content-Security-Policy"] == "default-src 'self'; img-src *"
    assert headers["Strict-Transport-Security"].startswith("max-age=")


def test_a_tag_has_the_published_files_and_they_stay_when_others_are_published(platform):
    made = platform.publish_package(package(version=None, web=WEB))
    version = platform.tag(made["key"], "1.0").json
    platform.publish_package(package(version=None, web={"index.html": b"<h1>Hotel 2</h1>"}))
    rollback = platform.tag(made["key"], "1.0.1", base_version_key=version["key"]).json

    with Platform.start(platform.data.parent / "other", name="Other") as other:
        for one in (version, rollback):
            reply = other.publish_package(platform.package_of(made["key"], one["key"]))
            assert reply["key"] == made["key"]
            assert get(other, "/Hotel/app.js")[2] == SCRIPT


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (package("Back Office Two", modules=[{"name": "BackOffice"}]), "module-name-taken"),
        (package("Other", application={"name": "Other", "url_path": "backoffice"}), "url-path-taken"),
        (package("back office"), "name-taken"),
        (package(raw={"web/../x": b""}), "bad-package"),
        (b"no zip", "bad-package"),
    ],
)
def test_a_wrong_package_changes_nothing(platform, content, problem):
    before = platform.call("GET", "/digests").body

    with pytest.raises(Refused, match=problem):
        platform.publish_package(content)

    assert platform.call("GET", "/digests").body == before
    assert list((platform.data / "files" / "1").glob("s*/*")) == []


def test_a_full_disk_changes_nothing(platform):
    platform.publish_package(package(web=WEB))
    before = platform.call("GET", "/digests").body
    platform.behave(free_bytes=1000)

    with pytest.raises(Refused, match="no-space"):
        platform.publish_package(package(web={"index.html": b"x" * 5000}))

    assert platform.call("GET", "/digests").body == before
    assert get(platform, "/Hotel/")[2] == WEB["index.html"]


def test_environments_of_one_process_serve_their_own(tmp_path):
    with Platform.start(tmp_path, count=2) as platform:
        platform.publish_package(package(web=WEB), address=platform.addresses[1])

        assert get(platform, "/env-0002/Hotel/")[2] == WEB["index.html"]
        assert get(platform, "/env-0002/Hotel")[1]["Location"] == "/env-0002/Hotel/"
        assert get(platform, "/env-0001/Hotel/")[0] == 404
