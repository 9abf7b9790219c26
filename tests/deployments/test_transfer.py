"""Packages between two real platforms, each a process of its own, through the gate."""

import asyncio
import hashlib
import random
import socket
from contextlib import asynccontextmanager
from itertools import count

import pytest
from asgiref.sync import sync_to_async

from deployments import transfer
from deployments.transfer import Package
from environments import gate, maintenance
from environments.models import Contact, Environment, Purpose
from tests.environments.test_odd_answers import server
from tests.factories import actor, create_environment
from tests.platforms import Place, Platform, digest_of, package

pytestmark = pytest.mark.django_db(transaction=True)

PLACES = 30
PARTS = 1_800_000  # bytes that go in three parts
TRANSFER = {"purpose": Purpose.DEPLOY, "plan_number": 7}
numbers = count(1)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it comes true in another process
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def platforms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("platforms")
    with (
        Platform.start(folder / "source", count=PLACES, applications=0) as source,
        Platform.start(folder / "target", name="Test", purpose="Test", count=PLACES, applications=0) as target,
    ):
        yield source, target


class Side(Place):
    """One environment of a platform, which no other test has touched."""

    def __init__(self, platform, number):
        super().__init__(platform, number)
        self.files = platform.data / "files" / str(number)

    def requests(self, method):
        return [line for line in self.log() if line["method"] == method]

    def part(self, digest):
        return self.files / "incoming" / f"{digest.removeprefix('sha256:')}.part"

    def tag(self, size=PARTS, *, name="Hotel"):
        """Publish and tag an application of that size; answer what is to be brought over, and its bytes."""
        noise = random.Random(name).randbytes(size)
        self.publish_package(package(name, version=None, web={"noise.bin": noise}, files=None))
        key = self.application(name)["key"]
        version = self.platform.tag(key, "1.0.0", address=self.address).json
        path = f"/applications/{key}/versions/{version['key']}/package"
        content = self.call("GET", path).body
        assert version["package"] == {"digest": digest_of(content), "bytes": len(content)}
        return Package(path=path, digest=digest_of(content), size=len(content)), content


@pytest.fixture
def sides(platforms):
    number = next(numbers)
    return tuple(Side(platform, number) for platform in platforms)


def environment_of(side):
    known = Environment.objects.filter(address=side.address).first()
    return known or create_environment(address=side.address, token=side.platform.token)


@asynccontextmanager
async def contacts(*sides):
    environments = [await sync_to_async(environment_of)(side) for side in sides]
    async with gate.session() as session:
        first, second = (session.contact(one.pk, **TRANSFER) for one in environments)
        async with first as source, second as target:
            yield source, target


async def bring(source, target, wanted, *, size=True, on_progress=lambda there, total: None):
    """One transfer in contacts of its own; answers the bytes sent."""
    async with contacts(source, target) as (one, other):
        return await transfer.transfer(
            one,
            other,
            package_path=wanted.path,
            digest=wanted.digest,
            size=wanted.size if size else None,
            on_progress=on_progress,
        )


def arrived(side, wanted):
    found = side.platform.call("GET", f"/packages/{wanted.digest}", epoch=9, address=side.address)
    return found.status == 200 and found.json["is_complete"]


# Parts


async def test_a_file_is_read_and_written_in_parts(sides):
    source, target = sides
    wanted, content = source.tag(2_000)

    async with contacts(source, target) as (one, other):
        part = await one.get_part(wanted.path, start=100, end=300, etag=f'"{wanted.digest}"')
        assert (part.data, part.start, part.end, part.total) == (content[100:300], 100, 300, len(content))
        last = await one.get_part(wanted.path, start=300, end=10**6, etag=f'"{wanted.digest}"')
        assert (last.data, last.end) == (content[300:], len(content))
        whole = await one.get_part(wanted.path, start=0, end=10**6, etag=f'"{wanted.digest}"')
        assert whole.data == content
        assert one.received == 200 + len(content) - 300 + len(content)

        path = f"/packages/{wanted.digest}"
        assert (await other.put_part(path, content[:500], start=0, total=len(content))).status == 202
        assert (await other.put_part(path, content[500:], start=500, total=len(content))).status == 201
        assert (await other.put_part(path, content[500:], start=500, total=len(content))).status == 200
        assert (one.calls, other.calls, other.sent) == (3, 3, 2 * len(content) - 500)

    rows = [row async for row in Contact.objects.order_by("pk")]
    assert [(row.outcome, row.purpose, row.plan_number) for row in rows] == [("completed", "deploy", 7)] * 2
    assert {line["deadline"] is not None for line in target.log()[-3:]} == {True}


async def test_a_part_of_another_file_is_refused(sides):
    wanted, _ = sides[0].tag(2_000)

    async with contacts(*sides) as (one, _):
        with pytest.raises(gate.Rejected, match="has another file at GET /applications/") as caught:
            await one.get_part(wanted.path, start=10, end=20, etag='"sha256:other"')
        assert caught.value.code == "another-file"


@pytest.mark.parametrize(("start", "end"), [(5, 5), (-1, 5), (0, gate.LONGEST_PART + 1)])
async def test_what_is_no_part_is_not_asked_for(sides, start, end):
    async with contacts(*sides) as (one, _):
        with pytest.raises(ValueError, match="no part"):
            await one.get_part("/facts", start=start, end=end, etag='"x"')


ZIP = {"content_type": "application/zip", "body": b"0123456789"}
ODD_PARTS = {
    "too long": ({**ZIP, "status": 206, "Content-Range": "bytes 0-4/10"}, "sent more than 5 bytes at GET /package"),
    "elsewhere": ({**ZIP, "status": 206, "Content-Range": "bytes 10-19/30"}, "another part of the file"),
    "shorter than asked": ({**ZIP, "status": 206, "Content-Range": "bytes 0-9/30"}, "another part of the file"),
    "no range": ({**ZIP, "status": 206}, "another part of the file"),
    "range that is none": ({**ZIP, "status": 206, "Content-Range": "bytes 9-0/*"}, "another part of the file"),
    "whole but larger": ({**ZIP, "status": 200, "body": b"x" * 30}, "another part of the file"),
    "empty": ({**ZIP, "status": 200, "body": b""}, "another part of the file"),
    "page": ({"status": 200, "content_type": "text/html"}, "answered text/html at GET /package, not a zip file"),
    "redirect": ({"status": 302, "Location": "/elsewhere"}, "with a redirect"),
    "compressed": ({**ZIP, "status": 200, "Content-Encoding": "gzip"}, "broke the connection"),
    "problem": ({"status": 404, "body": b'{"detail": "Gone."}'}, "answered 404 at GET /package: Gone."),
}


@pytest.mark.parametrize(("answer", "words"), ODD_PARTS.values(), ids=ODD_PARTS)
async def test_an_odd_part_is_refused_in_words(answer, words):
    with server(**answer) as address:
        environment = await sync_to_async(create_environment)(address=address)
        async with gate.session() as session, session.contact(environment.pk, **TRANSFER) as client:
            with pytest.raises((gate.Rejected, gate.Unreachable), match=words):
                await client.get_part(
                    "/package", start=0, end=5 if "10" in answer.get("Content-Range", "") else 20, etag=""
                )


# A transfer


async def test_a_package_is_brought_over_in_parts(sides):
    source, target = sides
    wanted, content = source.tag()
    progress = []

    sent = await bring(source, target, wanted, on_progress=lambda there, total: progress.append((there, total)))

    assert sent == len(content)
    assert arrived(target, wanted)
    assert progress == sorted(progress)
    assert len(progress) == 3
    assert progress[-1] == (len(content), len(content))
    stored = target.files / "packages" / f"{wanted.digest.removeprefix('sha256:')}.zip"
    assert "sha256:" + hashlib.sha256(stored.read_bytes()).hexdigest() == wanted.digest
    assert all(line["bytes_in"] <= gate.LONGEST_PART for line in target.requests("PUT"))


async def test_what_is_there_is_not_sent_again(sides):
    source, target = sides
    wanted, content = source.tag(2_000)
    target.platform.upload(content, address=target.address)
    progress = []

    sent = await bring(source, target, wanted, size=False, on_progress=lambda *now: progress.append(now))

    assert (sent, progress) == (0, [(len(content), len(content))])
    assert len(target.requests("PUT")) == 1


async def test_a_transfer_goes_on_where_an_earlier_one_ended(sides):
    source, target = sides
    wanted, content = source.tag()

    def cut(there, total):
        source.behave(fail="half", paths=["/applications"])

    with pytest.raises(gate.Unreachable, match="broke the connection at GET /applications/"):
        await bring(source, target, wanted, on_progress=cut)
    source.behave()
    there = target.part(wanted.digest).stat().st_size
    assert 0 < there < len(content)

    assert await bring(source, target, wanted) == len(content) - there
    assert arrived(target, wanted)


async def test_a_source_that_is_gone_half_way_is_said(sides, tmp_path):
    _, target = sides
    with Platform.start(tmp_path / "gone", count=1, applications=0) as gone:
        source = Side(gone, 1)
        wanted, _ = source.tag()

        def end(there, total):
            gone.stop()

        with pytest.raises(gate.Unreachable, match=f"127.0.0.1:{gone.port}"):
            await bring(source, target, wanted, on_progress=end)
    assert not arrived(target, wanted)


@pytest.mark.parametrize("knows_size", [True, False])
@pytest.mark.parametrize("left_over", ["shorter", "as long", "longer"])
async def test_what_is_left_over_of_something_else_is_replaced(sides, left_over, knows_size):
    source, target = sides
    wanted, content = source.tag(700_000)
    part = target.part(wanted.digest)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * {"shorter": 1_000, "as long": len(content), "longer": len(content) + 5}[left_over])

    await bring(source, target, wanted, size=knows_size)

    assert arrived(target, wanted)


async def test_what_was_damaged_on_its_way_is_sent_again(sides):
    source, target = sides
    wanted, content = source.tag()
    source.behave(fail="corrupt", paths=["/applications"], times=1)

    assert await bring(source, target, wanted) == 2 * len(content)
    assert arrived(target, wanted)


async def test_a_package_that_is_damaged_at_the_source_is_refused(sides):
    source, target = sides
    wanted, content = source.tag()
    stored = source.files / "packages" / f"{wanted.digest.removeprefix('sha256:')}.zip"
    stored.write_bytes(content[:-100] + b"!" + content[-99:])

    with pytest.raises(transfer.PackageDamaged, match=r"damaged.*answered 422 at PUT /packages/.*What came has"):
        await bring(source, target, wanted)

    assert not arrived(target, wanted)
    assert [line["status"] for line in target.requests("PUT")].count(422) == 2


async def test_a_source_that_has_something_else_is_refused(sides):
    source, target = sides
    wanted, _ = source.tag(2_000)
    other, _ = source.tag(3_000, name="Motel")
    digest = "sha256:" + "0" * 64

    for mistaken, words in [
        (Package(path=wanted.path, digest=digest, size=wanted.size), "not the one that the version names"),
        (Package(path=wanted.path, digest=wanted.digest, size=other.size), "at the source has"),
    ]:
        with pytest.raises(transfer.PackageDamaged, match=words):
            await bring(source, target, mistaken)
    assert target.requests("PUT") == []


async def test_a_full_disk_is_said_and_the_rest_goes_over_later(sides):
    source, target = sides
    wanted, content = source.tag()

    def fill(there, total):
        target.behave(free_bytes=1_000)

    with pytest.raises(transfer.NoSpace, match=r"no room for the package at the target: .*1,000 are free"):
        await bring(source, target, wanted, on_progress=fill)
    target.behave()
    there = target.part(wanted.digest).stat().st_size

    assert await bring(source, target, wanted) == len(content) - there
    assert arrived(target, wanted)


@asynccontextmanager
async def somebody_else_sending(target, wanted, content):
    """Another request that has sent half of the package and says nothing more; leaving lets it go on."""
    place = target.address.removeprefix(target.platform.root)
    head = (
        f"PUT {place}/environment/v1/packages/{wanted.digest} HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\n"
    )
    headers = "".join(f"{key}: {value}\r\n" for key, value in target.platform.headers(contact=10**6).items())
    half = len(content) // 2
    with socket.create_connection(("127.0.0.1", target.platform.port)) as connection:
        connection.sendall(f"{head}{headers}Content-Length: {len(content)}\r\n\r\n".encode() + content[:half])
        await until(target.part(wanted.digest).exists)
        yield
        connection.sendall(content[half:])
        await asyncio.sleep(0.5)


async def test_a_package_that_somebody_else_sends_is_waited_for(sides):
    source, target = sides
    wanted, content = source.tag()

    async with somebody_else_sending(target, wanted, content):
        bringing = asyncio.create_task(bring(source, target, wanted))
        await until(lambda: target.requests("PUT"))
    await bringing

    assert arrived(target, wanted)
    assert [line["status"] for line in target.requests("PUT")].count(201) == 1


async def test_somebody_else_who_gets_no_further_is_said(sides, monkeypatch):
    monkeypatch.setattr(transfer, "PATIENCE", 0.3)
    source, target = sides
    wanted, content = source.tag()

    async with somebody_else_sending(target, wanted, content):
        with pytest.raises(transfer.PackageBusy, match=r"Another transfer of this package .*answered 409"):
            await bring(source, target, wanted)


async def test_many_packages_go_over_together(sides):
    source, target = sides
    made = [source.tag(name=f"Hotel {number}")[0] for number in range(6)]
    progress = {}

    def note(digest, there, total):
        progress[digest] = (there, total)

    async with contacts(source, target) as clients:
        sent = await transfer.transfer_all(*clients, [*made, made[0]], on_progress=note)

    assert sent == sum(one.size for one in made)
    assert progress == {one.digest: (one.size, one.size) for one in made}
    assert all(arrived(target, one) for one in made)
    began = sorted(line["began_at"] for line in target.requests("PUT"))
    ended = sorted(line["ended_at"] for line in target.requests("PUT") if line["status"] == 201)
    assert sum(instant < ended[0] for instant in began) >= 4


async def test_the_first_failure_of_many_is_the_one_that_is_heard(sides):
    source, target = sides
    made = [source.tag(2_000, name=f"Hotel {number}")[0] for number in range(6)]
    mistaken = Package(path=made[3].path, digest="sha256:" + "0" * 64)

    async with contacts(source, target) as clients:
        with pytest.raises(transfer.PackageDamaged):
            await transfer.transfer_all(*clients, [*made[:3], mistaken, *made[3:]])


# Maintenance mode


@pytest.mark.parametrize("who", ["source", "target"])
async def test_maintenance_half_way_ends_the_transfer_and_a_later_one_goes_on(sides, who):
    source, target = sides
    wanted, content = source.tag(6_000_000)
    side, path = (target, "/packages") if who == "target" else (source, "/applications")

    def slow_down(digest, there, total):
        side.behave(delay_seconds=30, paths=[path])

    async def bring_all(on_progress=slow_down):
        async with contacts(source, target) as clients:
            return await transfer.transfer_all(*clients, [wanted], on_progress=on_progress)

    bringing = asyncio.create_task(bring_all())
    await until(lambda: target.part(wanted.digest).exists() and side.platform.serving(address=side.address))
    await until(lambda: len(target.requests("PUT")) == (1 if who == "target" else 2))
    stopped = await sync_to_async(environment_of)(side)
    window = await sync_to_async(maintenance.enable)(stopped, by=actor(), reason="Upgrade")
    with pytest.raises(gate.CalledOff) as caught:
        await asyncio.wait_for(bringing, 10)

    assert caught.value.environment_id == stopped.pk
    await window.arefresh_from_db()
    assert window.status == "in_force"
    assert [row.outcome async for row in Contact.objects.all()] == ["aborted", "aborted"]
    assert all(line["ended_at"] < window.quiet_at.isoformat() for line in side.log())
    assert [line["path"] for line in side.log()][-1].startswith("/contacts/")

    await sync_to_async(maintenance.disable)(stopped, by=actor(), reason="Done")
    side.behave()
    there = target.part(wanted.digest).stat().st_size
    assert 0 < there < len(content)
    assert await bring_all(lambda *_: None) == len(content) - there
    assert arrived(target, wanted)
