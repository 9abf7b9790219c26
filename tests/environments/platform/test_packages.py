"""Packages: up and down, in parts, and everything that is none."""

import http.client
import io
import json
import random
import socket
import sqlite3
import stat
import threading
import time
import zipfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from uuid import uuid4

import pytest

from tests.platforms import Platform, digest_of, package

NAME = "Back Office"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Platform]:
    """One platform for all tests that change nothing."""
    with Platform.start(tmp_path_factory.mktemp("shared")) as started:
        yield started


def version(platform) -> tuple[dict, str]:
    key = platform.application(NAME)["key"]
    found = platform.tag(key, "2.12.0").json
    return found, f"/applications/{key}/versions/{found['key']}/package"


def leftovers(platform) -> list[str]:
    files = platform.data / "files" / "1"
    return sorted(path.name for folder in ("incoming", "staging") for path in (files / folder).glob("*"))


def test_the_package_of_a_version_is_what_its_digest_says(platform):
    tagged, path = version(platform)

    reply = platform.call("GET", path)

    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/zip")
    assert tagged["package"] == {"digest": digest_of(reply.body), "bytes": len(reply.body)}
    assert reply.headers["ETag"] == f'"{digest_of(reply.body)}"'
    assert (
        b64decode(reply.headers["Repr-Digest"].removeprefix("sha-256=:").removesuffix(":"))
        == sha256(reply.body).digest()
    )
    assert platform.log()[-1]["bytes_out"] == len(reply.body)
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert manifest["version"]["version"] == "2.12.0"
        assert [one["name"] for one in manifest["modules"]] == ["BackOffice", "BackOffice_CW"]
        assert {name: digest_of(archive.read(name)) for name in manifest["files"]} == {
            name: file["digest"] for name, file in manifest["files"].items()
        }
        assert b"2.12.0" in archive.read("web/index.html")


def test_a_package_comes_in_ranges(platform):
    _, path = version(platform)
    whole = platform.call("GET", path)
    size, etag = len(whole.body), whole.headers["ETag"]

    def ask(asked, **headers):
        return platform.call("GET", path, headers={"Range": asked, **headers})

    part = ask("bytes=10-19")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, whole.body[10:20], f"bytes 10-19/{size}")
    assert ask("bytes=100-").body == whole.body[100:]
    assert ask(f"bytes=5-{10**15}").body == whole.body[5:]
    assert ask("bytes=10-", **{"If-Range": etag}).status == 206
    assert ask("bytes=10-", **{"If-Range": '"other"'}).body == whole.body
    assert [ask(odd).status for odd in ("bytes=0-1,3-4", "bytes=-5", "lines=1-2")] == [200] * 3
    for outside in (f"bytes={size}-", "bytes=9-3"):
        assert (ask(outside).status, ask(outside).problem) == (416, "bad-range")
    assert platform.call("GET", path, headers={"If-None-Match": etag}).status == 304


def test_a_package_goes_from_one_environment_to_another_byte_by_byte(platform, tmp_path):
    tagged, path = version(platform)
    content = platform.call("GET", path).body
    with Platform.start(tmp_path / "test", name="Test", purpose="Test") as target:
        reply = target.upload(content)
        assert (reply.status, reply.json["digest"], reply.json["bytes"]) == (
            201,
            tagged["package"]["digest"],
            len(content),
        )
        assert (reply.json["version_key"], reply.json["application_key"]) == (tagged["key"], tagged["application_key"])
        assert target.upload(content).status == 200
        target.restart()
        assert target.call("GET", f"/packages/{digest_of(content)}").json == {**reply.json, "is_complete": True}
        assert leftovers(target) == []


def test_a_package_may_come_in_parts_over_a_restart(platform):
    content = package(web={"picture.bin": random.Random(1).randbytes(300_000)})
    name, size = digest_of(content), len(content)
    first = platform.upload(content[:100_000], digest=name, Content_Range=f"bytes 0-99999/{size}")
    assert (first.status, first.json) == (202, {"digest": name, "bytes": 100_000, "is_complete": False})
    platform.restart()
    assert platform.call("GET", f"/packages/{name}").json["bytes"] == 100_000

    wrong = platform.upload(content[5:10], digest=name, Content_Range=f"bytes 5-9/{size}")
    assert (wrong.status, wrong.problem) == (409, "wrong-offset")
    assert "100000" in wrong.json["detail"]
    last = platform.upload(content[100_000:], digest=name, Content_Range=f"bytes 100000-{size - 1}/{size}")
    assert (last.status, last.json["is_complete"]) == (201, True)


def test_what_a_cut_request_has_sent_is_kept_and_a_whole_one_starts_over(platform):
    content = package(web={"picture.bin": random.Random(1).randbytes(300_000)})
    path = f"/packages/{digest_of(content)}"
    head = f"PUT /environment/v1{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\n"
    headers = "".join(f"{key}: {value}\r\n" for key, value in platform.headers(contact=9).items())
    with socket.create_connection(("127.0.0.1", platform.port)) as connection:
        connection.sendall(f"{head}{headers}Content-Length: {len(content)}\r\n\r\n".encode() + content[:200_000])
        until = time.monotonic() + 10
        while platform.call("GET", path).status != 200:
            assert time.monotonic() < until
            time.sleep(0.01)
        busy = platform.upload(content)
        assert (busy.status, busy.problem) == (409, "package-busy")
        platform.call("DELETE", "/contacts/9", contact=9)

    assert platform.call("GET", path).json == {"digest": digest_of(content), "bytes": 200_000, "is_complete": False}
    assert [line["outcome"] for line in platform.log() if line["contact"] == 9] == ["ended", "answered"]
    assert platform.upload(content).status == 201


def test_a_wrong_digest_is_refused_and_forgotten(platform):
    content = package()

    reply = platform.upload(content, digest="sha256:" + "0" * 64)

    assert (reply.status, reply.problem) == (422, "wrong-digest")
    assert platform.call("GET", "/packages/sha256:" + "0" * 64).problem == "package-unknown"
    assert leftovers(platform) == []


def zipped(entries, *, change=None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change:
                change(info)
            archive.writestr(info, content)
    return stream.getvalue()


def with_name(name: str) -> bytes:
    """A right package but for one more entry; its name is put in afterwards, past the library that would mend it."""
    stand_in = "web/" + "q" * (len(name.encode()) - 4)
    return package(raw={stand_in: b"x"}).replace(stand_in.encode(), name.encode())


def link() -> bytes:
    def change(info):
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    return zipped([("web/link", b"/etc/passwd")], change=change)


def bomb() -> bytes:
    return package(web={"zeros": bytes(50 * 1024**2)})


def lying_size() -> bytes:
    """Says that it unpacks to 10 bytes."""
    content = bytearray(package(web={"index.html": b"z" * 5000}))
    place = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    content[place + 24 : place + 28] = (10).to_bytes(4, "little")
    return bytes(content)


def many() -> bytes:
    return zipped([("manifest.json", b"{}"), *((f"web/{number}", b"") for number in range(10_001))])


def with_comment() -> bytes:
    stream = io.BytesIO(package())
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = b"hello"
    return stream.getvalue()


BAD = {
    "empty": b"",
    "no zip": b"hello" * 100,
    "cut off": package()[:-10],
    "cut in the middle": package()[200:],
    "climbs": with_name("web/../../evil"),
    "climbs at once": with_name("../evilfile"),
    "absolute": with_name("/etc/evilfile"),
    "backslash": with_name("web\\..\\evilfile"),
    "drive": with_name("C:/evilfile"),
    "dot": with_name("web/./evilfile"),
    "empty part": with_name("web//evilfile"),
    "control": with_name("web/evil\nfile"),
    "nul": with_name("web/evil\0file"),
    "outside": with_name("other/evilfile"),
    "case": package(web={"index.html": b"a", "INDEX.html": b"b"}),
    "file and folder": package(web={"a": b"a", "a/b": b"b"}),
    "long name": package(web={"a" * 300: b"x"}),
    "not listed": package(raw={"web/extra.js": b"x"}),
    "other content": package(files={"web/index.html": {"digest": "sha256:" + "0" * 64, "bytes": 14}}),
    "missing file": package(files={}),
    "no files": package(files=None),
    "no version": package(version=None),
    "no modules": package(modules=[{"name": "a"}, {"name": "A"}]),
    "other format": package(format=2),
    "unknown member": package(colour="red"),
    "long application name": package(application={"key": str(uuid4()), "name": "x" * 121}),
    "zero in a name": package(application={"key": str(uuid4()), "name": "Ho\0tel"}),
    "two lines in a name": package(application={"key": str(uuid4()), "name": "Ho\ntel"}),
    "zero in a text": package(modules=[{"name": "a", "description": "\0"}]),
    "no such day": package(modules=[{"name": "a", "created_at": "2026-02-30T00:00:00.000000Z"}]),
    "no year to show": package(modules=[{"name": "a", "created_at": "9999-12-31T00:00:00.000000Z"}]),
    "bad url path": package(application={"key": str(uuid4()), "name": "X", "url_path": "../ServiceCenter"}),
    "link": link(),
    "bomb": bomb(),
    "lying size": lying_size(),
    "many files": many(),
    "comment": with_comment(),
    "no manifest": zipped([("web/index.html", b"x")]),
    "manifest no json": zipped([("manifest.json", b"{")]),
    "deep manifest": zipped([("manifest.json", b"[" * 100_000)]),
    "bzip2": zipped([("manifest.json", b"{}")], change=lambda info: setattr(info, "compress_type", zipfile.ZIP_BZIP2)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_package_is_refused_and_forgotten(shared, name):
    reply = shared.upload(BAD[name])

    assert (reply.status, reply.problem) == (422, "bad-package")
    assert len(reply.json["detail"]) > 20
    assert leftovers(shared) == []
    assert list((shared.data / "files").glob("**/*evil*")) == []
    assert "Traceback" not in shared.output()


def test_ten_gigabytes_are_refused_before_they_come(platform):
    size = str(10 * 1024**3)
    for headers in ({"Content_Length": size}, {"Content_Range": f"bytes 0-9/{size}"}):
        reply = platform.upload(b"0123456789", **headers)
        assert (reply.status, reply.problem) == (413, "body-too-large")


@pytest.mark.parametrize(
    "given", ["bytes 0-9/5", "bytes 9-0/20", "items 0-9/10", "bytes */10", "bytes 0-5/20", "bytes 0-19/20"]
)
def test_a_wrong_content_range_is_refused(shared, given):
    assert shared.upload(b"0123456789", Content_Range=given).problem == "bad-headers"


def test_other_media_types_and_digests_are_refused(platform):
    assert platform.upload(package(), Content_Type="application/json").problem == "bad-media-type"
    assert platform.call("PUT", "/packages/md5:1", b"").problem == "not-found"
    assert platform.call("GET", f"/packages/{digest_of(b'')}").problem == "package-unknown"


def test_a_full_disk_refuses_a_package_and_what_was_there_stays(platform):
    kept, content = package(), package(version="2.0", web={"picture.bin": random.Random(1).randbytes(300_000)})
    platform.upload(kept)
    platform.behave(free_bytes=100_000)

    reply = platform.upload(content)

    assert (reply.status, reply.problem) == (507, "no-space")
    platform.behave()
    assert platform.call("GET", f"/packages/{digest_of(kept)}").json["is_complete"]
    assert platform.upload(content).status == 201


def test_memory_stays_flat_with_a_large_package(platform):
    noise = random.Random(1).randbytes(1024**2)
    content = package(web={f"part{number}": noise + bytes([number]) for number in range(64)})

    def peak() -> int:
        status = (platform.data.__class__(f"/proc/{platform.pid}/status")).read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    before = peak()
    assert platform.upload(content).status == 201
    replies = []
    threads = [
        threading.Thread(target=lambda: replies.append(platform.call("GET", f"/packages/{digest_of(content)}")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak() - before < 40_000, "kilobytes more than before 64 MiB came"


def test_old_packages_that_nothing_uses_are_deleted(platform):
    old, new = package(), package(version="2.0")
    for content in (old, new):
        platform.upload(content)
    tagged, path = version(platform)
    platform.stop()
    with closing(sqlite3.connect(platform.data / "platform.sqlite3")) as db, db:
        db.execute("UPDATE package SET added_at = added_at - 96 * 3600 - 1 WHERE digest = ?", (digest_of(old),))
    platform.restart()

    assert platform.call("GET", f"/packages/{digest_of(old)}").problem == "package-unknown"
    assert platform.call("GET", f"/packages/{digest_of(new)}").status == 200
    assert digest_of(platform.call("GET", path).body) == tagged["package"]["digest"]


@pytest.mark.parametrize("failure", ["half", "corrupt", "status:503"])
def test_the_switch_breaks_downloads(platform, failure):
    _, path = version(platform)
    right = platform.call("GET", path).body
    platform.behave(fail=failure, paths=["/applications"])

    if failure == "status:503":
        assert platform.call("GET", path).status == 503
        return

    if failure == "corrupt":
        wrong = platform.call("GET", path)
        assert (wrong.status, len(wrong.body)) == (200, len(right))
        assert digest_of(wrong.body) != digest_of(right)
    else:
        with pytest.raises(http.client.IncompleteRead):
            platform.call("GET", path)


def test_an_answer_may_get_lost_after_the_deed(platform):
    key = platform.application(NAME)["key"]
    order = str(uuid4())
    platform.behave(fail="lost", paths=["/applications"], times=1)

    with pytest.raises(http.client.RemoteDisconnected):
        platform.tag(key, "2.12.0", version_key=order)

    assert platform.tag(key, "2.12.0", version_key=order).status == 200
