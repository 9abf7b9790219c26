"""What enabling maintenance mode costs, for 200 environments at once and for one: `python -m tests.bench.bench_bulk`.

Uses a database of its own on the configured server, created and dropped. Prints medians and p95 in milliseconds, each
beside bare SQL that writes the same rows and commits as durably, in one run.
"""

import os
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import django

MANY = 200
ROUNDS = 15
ROUNDS_OF_ONE = 60
BULK_TARGET_MS = 100
REQUEST_TARGET_MS = 15


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.db import connection
    from django.test.utils import setup_test_environment, teardown_test_environment

    setup_test_environment(debug=False)
    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_bulk"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        print("Load of the machine:", *(f"{load:.1f}" for load in os.getloadavg()))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT name || ' ' || setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit')"
            )
            print("; ".join(row[0] for row in cursor.fetchall()), "\n")
        _bulk()
        _one()
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)
        teardown_test_environment()


def _bulk() -> None:
    """Half of the environments are busy: a contact, a running synchronization, a plan between two of them."""
    from environments import maintenance
    from tests.factories import actor

    environments = _environments(MANY)
    bare, idle, busy, off = [], [], [], []
    _run(BARE_TABLES)
    for _ in range(ROUNDS):
        _run(BARE_RESET)
        bare.append(_milliseconds(lambda: _bare_enable(environments)))
        idle.append(_milliseconds(lambda: maintenance.enable_all(environments, by=actor(), reason="Upgrade")))
        off.append(_milliseconds(lambda: maintenance.disable_all(environments, by=actor(), reason="Done")))
        _forget_syncs()
        _make_busy(environments[: MANY // 2])
        busy.append(_milliseconds(lambda: maintenance.enable_all(environments, by=actor(), reason="Upgrade")))
        _close_contacts()
        maintenance.settle()
        maintenance.disable_all(environments, by=actor(), reason="Done")
        _forget_syncs()
    print(f"{MANY} environments in one call, {ROUNDS} rounds")
    _say("bare SQL: windows, flags, audit rows, notification, commit", bare)
    _say("maintenance.enable_all, all idle", idle, bare, BULK_TARGET_MS)
    _say(f"maintenance.enable_all, {MANY // 2} busy ({MANY // 4} plans, {MANY // 2} syncs)", busy, bare, BULK_TARGET_MS)
    _say("maintenance.disable_all, full synchronizations queued", off, bare, BULK_TARGET_MS)


def _one() -> None:
    from django.test import Client
    from django.urls import reverse

    from environments import maintenance
    from tests.factories import actor, create_user

    environment = _environments(1)[0]
    client = Client()
    client.force_login(create_user())
    address = reverse("environments:enable-maintenance", args=[environment.key])
    bare, call, web, page = [], [], [], []
    _run(BARE_RESET)
    for _ in range(ROUNDS_OF_ONE):
        bare.append(_milliseconds(lambda: _bare_flag(environment)))
        call.append(_milliseconds(lambda: maintenance.enable(environment, by=actor(), reason="Upgrade")))
        maintenance.disable(environment, by=actor(), reason="Done")
        _forget_syncs()
        page.append(_milliseconds(lambda: client.get("/")))
        web.append(_milliseconds(lambda: _post(client, address)))
        maintenance.disable(environment, by=actor(), reason="Done")
        _forget_syncs()
    print(f"\nOne environment, {ROUNDS_OF_ONE} rounds")
    _say("bare SQL: FOR UPDATE, flag, notification, commit", bare)
    _say("maintenance.enable", call, bare, REQUEST_TARGET_MS)
    _say("the least of web requests: logged in, a redirect", page, bare)
    _say("the web request that enables", web, bare, REQUEST_TARGET_MS)


def _post(client, address: str) -> None:
    response = client.post(address, {"reason": "Upgrade"}, headers={"hx-request": "true"})
    assert response.status_code < 400, f"{response.status_code}: {response.content.decode()[:400]}"


def _environments(count: int) -> list:
    from environments.models import Environment
    from tests.factories import create_environment

    made = [create_environment() for _ in range(count)]
    return list(Environment.objects.filter(pk__in=[one.pk for one in made]).order_by("pk"))


def _make_busy(environments: list) -> None:
    from django.utils import timezone

    from deployments.models import DeploymentPlan
    from environments.models import Contact, SyncRun

    now = timezone.now()
    runs = SyncRun.objects.bulk_create(
        SyncRun(environment=one, trigger="manual", status="running", started_at=now, requested_by="Ada")
        for one in environments
    )
    Contact.objects.bulk_create(
        Contact(
            environment=run.environment,
            epoch=1,
            purpose="sync",
            sync_run=run,
            worker="bench",
            pid=1,
            expires_at=now + timedelta(minutes=5),
        )
        for run in runs
    )
    last = DeploymentPlan.objects.count()
    DeploymentPlan.objects.bulk_create(
        DeploymentPlan(number=last + number, source=one, target=other, status="running", created_by="Ada")
        for number, (one, other) in enumerate(zip(environments[::2], environments[1::2], strict=True), start=1)
    )


def _close_contacts() -> None:
    _run("UPDATE environments_contact SET closed_at = now(), outcome = 'aborted' WHERE closed_at IS NULL")


def _forget_syncs() -> None:
    _run("UPDATE environments_syncrun SET status = 'finished', ended_at = now() WHERE ended_at IS NULL")


# Bare SQL writes into copies of the tables: the same columns and indexes, but none of our triggers.
BARE_TABLES = """
CREATE TABLE bare_environment (LIKE environments_environment INCLUDING ALL);
CREATE TABLE bare_window (LIKE environments_maintenancewindow INCLUDING ALL);
CREATE TABLE bare_audit (LIKE audit_auditevent INCLUDING ALL);
"""
BARE_RESET = """
TRUNCATE bare_environment, bare_window, bare_audit;
INSERT INTO bare_environment SELECT * FROM environments_environment;
"""
BARE_WINDOWS = """
INSERT INTO bare_window (key, environment_id, status, epoch, enabled_at, enabled_by, reason,
    disabled_by, disable_reason, plans_aborted, syncs_aborted, contacts_cut, ticks_skipped, quiet_at)
SELECT gen_random_uuid(), id, 'in_force', epoch + 1, clock_timestamp(), 'Ada Lovelace', 'Upgrade', '', '', 0, 0, 0, 0,
    clock_timestamp()
FROM bare_environment WHERE id = ANY(%s)
"""
BARE_FLAGS = """
UPDATE bare_environment e SET maintenance_window_id = w.id, epoch = e.epoch + 1
FROM bare_window w WHERE w.environment_id = e.id AND e.id = ANY(%s)
"""
BARE_AUDIT = """
INSERT INTO bare_audit (number, key, at, actor_name, actor_username, actor_address, kind, succeeded, object_type,
    object_key, object_name, message, reason, details, previous_hash, hash)
SELECT row_number() OVER (), gen_random_uuid(), clock_timestamp(), 'Ada Lovelace', 'ada', '', 'update', true,
    'environment', e.key::text, e.name, 'Enabled maintenance mode of environment', 'Upgrade', '{"window": ""}',
    repeat('0', 64), repeat('1', 64)
FROM bare_environment e, generate_series(1, 2) WHERE e.id = ANY(%s)
"""


def _bare_enable(environments: list) -> None:
    """The rows that enabling idle environments writes: window, flag, and two audit entries for each."""
    from django.db import connection, transaction

    ids = [one.pk for one in environments]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM bare_environment WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [ids])
        for statement in (BARE_WINDOWS, BARE_FLAGS, BARE_AUDIT):
            cursor.execute(statement, [ids])
        cursor.execute("SELECT pg_notify('environments_gate', %s)", [",".join(map(str, ids))])


def _bare_flag(environment) -> None:
    """The least that could be called enabling: lock, flag, notify, commit."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM bare_environment WHERE id = %s FOR UPDATE", [environment.pk])
        cursor.execute("UPDATE bare_environment SET epoch = epoch + 1 WHERE id = %s", [environment.pk])
        cursor.execute("SELECT pg_notify('environments_gate', %s)", [str(environment.pk)])


def _run(statements: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statements)


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _say(what: str, taken: list[float], bare: list[float] | None = None, target: float | None = None) -> None:
    median = statistics.median(taken)
    p95 = statistics.quantiles(taken, n=20)[-1]
    text = f"  {what:62} {median:8.1f} ms   p95 {p95:6.1f}"
    if bare:
        text += f"   {median / statistics.median(bare):5.1f} x bare"
    if target:
        text += f"   target {target} ms: {'reached' if median <= target else 'MISSED'}"
    print(text)


if __name__ == "__main__":
    main()
