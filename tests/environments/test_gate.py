"""The six rules of the gate, against a real platform over HTTP and a real PostgreSQL."""

import asyncio
import subprocess
import sys
import time

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
