"""The six rules of the gate, against a real platform over HTTP and a real PostgreSQL."""

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from environments import gate, ledger, maintenance, quiet
from environments.models import Contact, Environment, MaintenanceWindow, Purpose
from tests.factories import actor, create_environment

pytestmark = pytest.mark.django_db(transaction=True)

enable = sync_to_async(maintenance.enable)
disable = sync_to_async(maintenance.disable)


async def in_background(work):
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task


async def until(condition, *, seconds=10.0):
    ends = time.monotonic() + seconds
    while not await sync_to_async(condition)():
        assert time.monotonic() < ends, "it did not come true in time"
        await asyncio.sleep(0.01)


async def slow_call(session, environment, *, path="/facts"):
    async with session.contact(environment.pk, Purpose.SYNC) as client:
        await client.get(path)


# Rule 1: no client without a contact.


def test_nothing_but_the_gate_imports_the_client(tmp_path):
    offender = tmp_path / "offender.py"
    offender.write_text("from environments.client import Client\n\nprint(Client)\n")

    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--config",
            "pyproject.toml",
            "--select",
            "TID251",
            "--no-cache",
            offender,
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 1
    assert "environments.client" in found.stdout


# Rule 2: admission is atomic with the flag.


async def test_a_contact_is_a_row_of_the_ledger(platform):
    environment = await sync_to_async(create_environment)(platform=platform)

    async with gate.session() as session, session.contact(environment.pk, Purpose.SYNC) as client:
        await client.get("/facts")
        opened = await Contact.objects.aget()
        assert (opened.closed_at, opened.outcome, opened.environment_id) == (None, "", environment.pk)

    closed = await Contact.objects.aget()
    assert (closed.outcome, closed.calls, closed.step) == ("completed", 1, "GET /facts")
    assert closed.bytes_received > 0
    assert closed.opened_at < closed.closed_at < closed.expires_at
    [line] = platform.log()
    assert (line["contact"], line["epoch"]) == (closed.pk, 1)


async def test_an_environment_in_maintenance_is_not_contacted(platform):
    environment = await sync_to_async(create_environment)(platform=platform)
    await enable(environment, by=actor(), reason="Upgrade")

    async with gate.session() as session:
        with pytest.raises(gate.InMaintenance):
            await slow_call(session, environment)

    assert not await Contact.objects.aexists()
    assert platform.log() == []


async def test_an_unregistered_environment_is_not_contacted(platform):
    environment = await sync_to_async(create_environment)(platform=platform, registration="checked")

    async with gate.session() as session:
        with pytest.raises(gate.NotRegistered):
            await slow_call(session, environment)

    assert platform.log() == []


async def test_admission_waits_for_a_toggle_that_is_being_committed(platform):
    environment = await sync_to_async(create_environment)(platform=platform)
    other = await ledger.connect("test")
    await other.execute("BEGIN")
    await other.execute("SELECT FROM environments_environment WHERE id = %s FOR NO KEY UPDATE", [environment.pk])
    async with gate.session() as session:
        attempt = await in_background(slow_call(session, environment))
        await asyncio.sleep(0.2)
        assert not attempt.done()

        window = await sync_to_async(_open_window)(environment)  # inserted, not yet the flag
        await other.execute(
            "UPDATE environments_environment SET maintenance_window_id = %s WHERE id = %s", [window, environment.pk]
        )
        await other.execute("COMMIT")

        with pytest.raises(gate.InMaintenance):
            await attempt
    await other.close()
    assert platform.log() == []


def _open_window(environment):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE environments_maintenancewindow DISABLE TRIGGER window_maintenance_flag")
        cursor.execute(
            "INSERT INTO environments_maintenancewindow (key, environment_id, status, epoch, enabled_at, enabled_by, "
            "reason, disabled_by, disable_reason, plans_aborted, syncs_aborted, contacts_cut, ticks_skipped) "
            "VALUES (gen_random_uuid(), %s, 'draining', 2, now(), 'Ada', 'Upgrade', '', '', 0, 0, 0, 0) RETURNING id",
            [environment.pk],
        )
        window = cursor.fetchone()[0]
        cursor.execute("ALTER TABLE environments_maintenancewindow ENABLE TRIGGER window_maintenance_flag")
    return window


# Rule 3: abort is a cancellation, not a wish.


async def test_enabling_cuts_a_call_in_progress_and_the_window_becomes_quiet(platform):
    platform.behave(delay_seconds=30)
    environment = await sync_to_async(create_environment)(platform=platform)
    async with gate.session() as session:
        call = await in_background(slow_call(session, environment))
        await sync_to_async(platform.wait_until_serving)(1)

        window = await enable(environment, by=actor(), reason="Upgrade")
        with pytest.raises(gate.CalledOff):
            await asyncio.wait_for(call, 5)

    await window.arefresh_from_db()
    contact = await Contact.objects.aget()
    assert (contact.outcome, contact.step) == ("aborted", "GET /facts")
    assert window.status == "in_force"
    assert window.enabled_at < contact.closed_at < window.quiet_at
    lines = {line["path"]: line for line in platform.log()}
    assert lines["/facts"]["outcome"] in {"ended", "disconnected"}
    assert all(line["ended_at"] < window.quiet_at.isoformat() for line in lines.values())


async def test_a_lost_notification_is_made_up_for_by_the_renewal(platform, monkeypatch):
    monkeypatch.setattr(ledger, "CHANNEL", "nobody_notifies_here")  # the worker listens where nothing is said
    platform.behave(delay_seconds=30)
    environment = await sync_to_async(create_environment)(platform=platform)
    async with gate.session() as session:
        call = await in_background(slow_call(session, environment))
        await sync_to_async(platform.wait_until_serving)(1)
        monkeypatch.undo()

        window = await enable(environment, by=actor(), reason="Upgrade")
        began = time.monotonic()
        with pytest.raises(gate.CalledOff):
            await asyncio.wait_for(call, 10)
        assert 0.05 < time.monotonic() - began < 3

    await window.arefresh_from_db()
    assert window.status == "in_force"


async def test_a_bystander_is_not_cut(platform):
    platform.behave(delay_seconds=1)
    environment = await sync_to_async(create_environment)(platform=platform)
    bystander = await sync_to_async(create_environment)(
        platform=platform, address=platform.address.replace("127.0.0.1", "localhost")
    )
    async with gate.session() as session:
        call = await in_background(slow_call(session, bystander))
        await sync_to_async(platform.wait_until_serving)(1)
        await enable(environment, by=actor(), reason="Upgrade")
        await asyncio.wait_for(call, 5)

    assert (await Contact.objects.aget()).outcome == "completed"


async def test_toggling_quickly_cuts_contacts_of_the_older_epoch(platform):
    platform.behave(delay_seconds=30)
    environment = await sync_to_async(create_environment)(platform=platform)
    async with gate.session() as session:
        call = await in_background(slow_call(session, environment))
        await sync_to_async(platform.wait_until_serving)(1)
        await enable(environment, by=actor(), reason="Upgrade")
        await disable(environment, by=actor(), reason="Done")
        with pytest.raises(gate.CalledOff):
            await asyncio.wait_for(call, 5)

    assert (await Contact.objects.aget()).outcome == "aborted"


# The farewell of a contact that is called off.


ABORT = "/deployments/7f3f0a52-1c15-4b3b-8ef1-b136198352dd/abort"


class Farewell:
    """Tells the environment to stop, and remembers whether that was heard."""

    def __init__(self):
        self.said = []

    async def __call__(self, client):
        try:
            await client.post(ABORT, b'{"by": {"name": "Ada", "username": "ada"}, "reason": "Maintenance"}')
        except gate.Rejected as rejection:  # there is no such deployment
            self.said.append(rejection.code)


async def call_with_farewell(session, environment, farewell):
    async with session.contact(environment.pk, Purpose.DEPLOY, plan_number=7, farewell=farewell) as client:
        await client.get("/facts")


async def cut_while_calling(platform, farewell, *, seconds=10):
    """Enable maintenance mode while a contact with a farewell waits for an answer; the window, and how long it took."""
    environment = await sync_to_async(create_environment)(platform=platform)
    async with gate.session() as session:
        call = await in_background(call_with_farewell(session, environment, farewell))
        await sync_to_async(platform.wait_until_serving)(1)
        window = await enable(environment, by=actor(), reason="Upgrade")
        began = time.monotonic()
        with pytest.raises(gate.CalledOff):
            await asyncio.wait_for(call, seconds)
        taken = time.monotonic() - began
    await window.arefresh_from_db()
    return window, taken


async def test_a_contact_that_is_called_off_tells_the_environment_to_stop_before_it_is_quiet(platform):
    platform.behave(delay_seconds=30, paths=["/facts"])
    farewell = Farewell()

    window, taken = await cut_while_calling(platform, farewell)

    assert farewell.said == ["deployment-unknown"]
    assert window.status == "in_force"
    assert taken < 1
    contact = await Contact.objects.aget()
    assert (contact.outcome, contact.step, contact.calls) == ("aborted", "GET /facts", 2)
    lines = platform.log()
    assert [(line["method"], line["path"]) for line in lines][-2:] == [
        ("POST", ABORT),
        ("DELETE", f"/contacts/{contact.pk}"),
    ]
    assert {line["contact"] for line in lines} == {contact.pk}
    assert all(line["ended_at"] < window.quiet_at.isoformat() for line in lines)


async def test_a_farewell_that_hangs_is_cut_after_its_grace(platform, monkeypatch):
    monkeypatch.setattr(gate, "GRACE_SECONDS", 0.5)
    platform.behave(delay_seconds=30)
    farewell = Farewell()

    window, taken = await cut_while_calling(platform, farewell)

    assert farewell.said == []
    assert window.status == "in_force"
    assert 0.5 <= taken < 1.2
    assert (await Contact.objects.aget()).outcome == "aborted"
    assert {line["path"]: line["outcome"] for line in platform.log()}[ABORT] in {"ended", "disconnected", "deadline"}
    assert all(line["ended_at"] < window.quiet_at.isoformat() for line in platform.log())


async def test_a_farewell_that_fails_or_will_not_end_delays_nothing_further(platform, monkeypatch):
    monkeypatch.setattr(gate, "GRACE_SECONDS", 0.3)
    platform.behave(delay_seconds=30, paths=["/facts"])
    kept = []

    async def stubborn(client):
        kept.append(client)
        for _ in range(4):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.3)

    window, taken = await cut_while_calling(platform, stubborn)

    assert window.status == "in_force"
    assert taken < 1
    with pytest.raises(gate.Unreachable, match="contact is over"):
        await kept[0].get("/facts")


async def test_a_farewell_that_fails_is_only_noted(platform, caplog):
    platform.behave(delay_seconds=30, paths=["/facts"])

    async def faulty(client):
        raise RuntimeError("I forgot what I wanted to say")

    window, _ = await cut_while_calling(platform, faulty)

    assert window.status == "in_force"
    assert (await Contact.objects.aget()).outcome == "aborted"
    assert "I forgot what I wanted to say" in caplog.text


async def test_an_environment_that_answers_nothing_gets_no_more_than_the_grace_and_the_goodbye(platform, monkeypatch):
    monkeypatch.setattr(gate, "GRACE_SECONDS", 0.4)
    platform.behave(delay_seconds=30)
    environment = await sync_to_async(create_environment)(platform=platform)
    async with gate.session(lease=3) as session:
        call = await in_background(call_with_farewell(session, environment, Farewell()))
        await sync_to_async(platform.wait_until_serving)(1)
        platform.freeze()
        try:
            window = await enable(environment, by=actor(), reason="Upgrade")
            began = time.monotonic()
            with pytest.raises(gate.CalledOff):
                await asyncio.wait_for(call, 10)
            assert time.monotonic() - began < 1.5
        finally:
            platform.thaw()
    await until(maintenance.settle)

    await window.arefresh_from_db()
    assert (await Contact.objects.aget()).outcome == "lost"
    assert all(line["ended_at"] < window.quiet_at.isoformat() for line in platform.log())


async def test_nothing_is_said_to_stop_when_nobody_called_the_contact_off(platform):
    platform.behave(delay_seconds=30, paths=["/facts"])
    farewell = Farewell()
    environment = await sync_to_async(create_environment)(platform=platform)
    async with gate.session() as session:
        call = await in_background(call_with_farewell(session, environment, farewell))
        await sync_to_async(platform.wait_until_serving)(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with session.contact(environment.pk, Purpose.DEPLOY, farewell=farewell) as client:
            await client.get("/digests")
        call = await in_background(call_with_farewell(session, environment, farewell))
        await sync_to_async(platform.wait_until_serving)(1)
    with pytest.raises(gate.CalledOff):  # with its session
        await call

    assert farewell.said == []
    assert [row.outcome async for row in Contact.objects.order_by("pk")] == ["aborted", "completed", "aborted"]
    assert ABORT not in {line["path"] for line in platform.log()}


async def test_a_body_that_makes_something_else_of_its_cancellation_is_called_off_all_the_same(platform):
    environment = await sync_to_async(create_environment)(platform=platform)

    async def stubborn(session, ending):
        async with session.contact(environment.pk, Purpose.SYNC) as client:
            await client.get("/facts")
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                if ending:
                    raise ending from None

    async with gate.session() as session:
        bodies = [await in_background(stubborn(session, ending)) for ending in (ValueError("Oh"), None)]
        await until(lambda: len(platform.log()) == 2)
        await enable(environment, by=actor(), reason="Upgrade")
        results = await asyncio.gather(*bodies, return_exceptions=True)

    assert [type(result) for result in results] == [gate.CalledOff] * 2
    assert [result.environment_id for result in results] == [environment.pk] * 2
    assert [row.outcome async for row in Contact.objects.all()] == ["aborted"] * 2


# Rule 4: quiet is a fact.


async def test_a_window_drains_until_a_dead_workers_lease_is_over(platform):
    environment = await sync_to_async(create_environment)(platform=platform)
    await sync_to_async(_contact_of_a_dead_worker)(environment, seconds=0.5)

    window = await enable(environment, by=actor(), reason="Upgrade")
    assert window.status == "draining"
    assert [one.pid for one in await sync_to_async(quiet.blockers)(environment.pk)] == [4242]
    assert await sync_to_async(maintenance.settle)() == []
    await asyncio.sleep(0.6)
    assert await sync_to_async(maintenance.settle)() == [window.pk]

    await window.arefresh_from_db()
    contact = await Contact.objects.aget()
    assert (window.status, contact.outcome) == ("in_force", "lost")
    assert contact.expires_at <= contact.closed_at <= window.quiet_at


def _contact_of_a_dead_worker(environment, *, seconds):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO environments_contact (environment_id, epoch, purpose, worker, pid, opened_at, expires_at) "
            "VALUES (%s, 1, 'sync', 'gone', 4242, clock_timestamp(), clock_timestamp() + make_interval(secs => %s))",
            [environment.pk, seconds],
        )


async def test_without_a_goodbye_the_window_waits_for_the_calls_deadline(platform):
    platform.behave(delay_seconds=30)
    environment = await sync_to_async(create_environment)(platform=platform)
    async with gate.session(lease=4) as session:
        call = await in_background(slow_call(session, environment))
        await sync_to_async(platform.wait_until_serving)(1)
        platform.freeze()
        try:
            window = await enable(environment, by=actor(), reason="Upgrade")
            with pytest.raises(gate.CalledOff):
                await asyncio.wait_for(call, 10)
            assert await sync_to_async(maintenance.settle)() == []
            assert (await MaintenanceWindow.objects.aget()).status == "draining"
        finally:
            platform.thaw()
    await until(maintenance.settle)

    await window.arefresh_from_db()
    assert (await Contact.objects.aget()).outcome == "lost"
    assert all(line["ended_at"] < window.quiet_at.isoformat() for line in platform.log())


# Rule 5: the far side helps.


async def test_a_call_is_made_with_a_deadline_within_the_lease_on_the_environments_clock(platform):
    platform.behave(clock_offset_seconds=3600)
    environment = await sync_to_async(create_environment)(platform=platform)

    async with gate.session() as session, session.contact(environment.pk, Purpose.SYNC) as client:
        answer = await client.get("/facts")
        assert answer.status == 200
        assert 3590 <= client.clock_offset <= 3600.5


async def test_a_clock_that_is_behind_is_allowed_for(platform):
    platform.behave(clock_offset_seconds=-3600)
    environment = await sync_to_async(create_environment)(platform=platform)

    async with gate.session() as session, session.contact(environment.pk, Purpose.SYNC) as client:
        await client.get("/facts")
        await client.get("/facts")
        assert -3610 <= client.clock_offset <= -3599.5

    lines = platform.log()
    first, second = (line["deadline"] for line in lines)
    assert second < first


# Many at once.


async def test_fifty_slow_calls_end_together(platform):
    platform.behave(delay_seconds=30)
    environment = await sync_to_async(create_environment)(platform=platform)
    async with gate.session() as session:
        calls = [await in_background(slow_call(session, environment)) for _ in range(50)]
        await sync_to_async(platform.wait_until_serving)(50)
        window = await enable(environment, by=actor(), reason="Upgrade")
        results = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in results] == [gate.CalledOff] * 50
    await window.arefresh_from_db()
    found = dict(await sync_to_async(quiet.certificates)([window]))[window]
    assert (found.cut_short, found.lost, found.open, found.breaches) == (50, 0, 0, 0)
    assert window.contacts_cut == 50
    environment = await Environment.objects.aget(pk=environment.pk)
    assert environment.epoch == 2


async def test_what_a_cut_call_still_had_to_send_is_dropped():
    """An environment that is slow to read must not go on receiving when its window is quiet."""
    goes_on, read, ended = asyncio.Event(), [], asyncio.Event()

    async def serve(reader, writer):
        if (await reader.readline()).startswith(b"DELETE"):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            await goes_on.wait()
            with suppress(ConnectionError):
                while piece := await reader.read(65_536):
                    read.append(len(piece))
            ended.set()
        writer.close()

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server = await asyncio.start_server(serve, sock=listener, limit=4096)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    environment = await sync_to_async(create_environment)(address=address)
    package = bytes(gate.LONGEST_PART)

    async def send(session):
        async with session.contact(environment.pk, Purpose.DEPLOY) as client:
            await client.put_part("/packages/sha256:0", package, start=0, total=len(package))

    async with server, gate.session() as session:
        sending = await in_background(send(session))
        await asyncio.sleep(0.3)
        window = await enable(environment, by=actor(), reason="Upgrade")
        with suppress(gate.CalledOff):
            await sending
        await until(lambda: MaintenanceWindow.objects.get(pk=window.pk).quiet_at is not None)
        goes_on.set()
        await asyncio.wait_for(ended.wait(), 10)

    assert sum(read) < 65_536  # what had reached it
