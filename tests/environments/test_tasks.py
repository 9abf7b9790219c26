"""What the workers' tasks do, delivered once or twice."""

from datetime import timedelta
from importlib import import_module

import psycopg
import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from environments import ledger, maintenance, sync, tasks
from environments.models import Contact, SyncRun, SyncState
from tests.factories import actor, create_environment

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_tick_is_scheduled_each_minute():
    migration = import_module("environments.migrations.0003_tick")
    for _ in range(2):
        migration.create(apps, None)

    assert Schedule.objects.get(func="environments.tasks.tick").minutes == 1


def test_what_is_due_is_queued_once(platform):
    due, later = create_environment(platform=platform), create_environment()
    SyncState.objects.filter(environment=later).update(due_at="2999-01-01T00:00Z")

    assert (sync.queue_due(), sync.queue_due()) == (1, 0)

    run = SyncRun.objects.get()
    assert (run.environment, run.trigger, run.is_full) == (due, "schedule", True)
    assert OrmQ.objects.count() == 1
    for _ in range(2):
        tasks.synchronize([run.pk])
    assert SyncRun.objects.get().status == "finished"
    assert Contact.objects.count() == 1


def test_a_tick_that_is_skipped_in_maintenance_is_counted():
    environment = create_environment()
    window = maintenance.enable(environment, by=actor(), reason="Upgrade")

    assert sync.queue_due() == 0

    window.refresh_from_db()
    assert window.ticks_skipped == 1
    assert not SyncRun.objects.exists()


def test_an_unreachable_environment_is_asked_less_and_less_often():
    environment = create_environment(sync_interval=60)
    waits = []
    for _ in range(4):
        sync.request(environment, by=actor())
        tasks.synchronize(list(SyncRun.objects.active().values_list("pk", flat=True)))
        state = SyncState.objects.get()
        waits.append((state.due_at - SyncRun.objects.order_by("-pk").first().ended_at).total_seconds())

    assert SyncState.objects.get().failures == 4
    assert [round(wait / 60) for wait in waits] == pytest.approx([1, 2, 4, 8], rel=0.15)


def test_a_run_whose_worker_died_is_given_up_and_can_be_requested_again(platform):
    environment = create_environment(platform=platform)
    run = sync.request(environment, by=actor())
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE environments_syncrun SET status = 'running', started_at = now() - interval '2 minutes' "
            "WHERE id = %s",
            [run.pk],
        )

    tasks.tick()

    run.refresh_from_db()
    assert (run.status, "stopped answering" in run.message) == ("failed", True)
    again = sync.request(environment, by=actor())
    tasks.synchronize([again.pk])
    again.refresh_from_db()
    assert again.status == "finished"


def test_a_run_is_given_up_as_soon_as_the_lease_of_its_contact_is_over():
    environment = create_environment()
    run = sync.request(environment, by=actor())
    SyncRun.objects.filter(pk=run.pk).update(status="running", started_at=timezone.now())
    contact = Contact.objects.create(
        environment=environment,
        sync_run_id=run.pk,
        purpose="sync",
        worker="elsewhere",
        pid=4242,
        epoch=environment.epoch,
        expires_at=timezone.now() + timedelta(minutes=1),
    )
    ledger.close_lost()
    assert sync.give_up_orphans() == 0  # its worker lives, as far as anybody knows

    Contact.objects.filter(pk=contact.pk).update(expires_at=timezone.now())
    ledger.close_lost()

    assert sync.give_up_orphans() == 1
    assert SyncRun.objects.get().status == "failed"


def test_a_message_that_was_lost_is_sent_again(platform):
    run = sync.request(create_environment(platform=platform), by=actor())
    OrmQ.objects.all().delete()
    SyncRun.objects.update(requested_at="2020-01-01T00:00Z")

    tasks.tick()

    assert OrmQ.objects.count() == 1
    tasks.synchronize([run.pk])
    assert SyncRun.objects.get().status == "finished"


def test_the_watcher_makes_a_window_quiet_when_every_worker_is_dead():
    environment = create_environment()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO environments_contact (environment_id, epoch, purpose, worker, pid, opened_at, expires_at) "
            "VALUES (%s, 1, 'sync', 'gone', 1, clock_timestamp(), clock_timestamp() + interval '0.3 seconds')",
            [environment.pk],
        )
    window = maintenance.enable(environment, by=actor(), reason="Upgrade")
    assert OrmQ.objects.count() == 1

    tasks.watch_draining()

    window.refresh_from_db()
    assert window.status == "in_force"
    assert Contact.objects.get().outcome == "lost"


def test_what_is_being_toggled_is_not_queued_behind_the_toggle():
    environment = create_environment()
    with psycopg.connect(**connection_parameters()) as other:
        other.execute("SELECT FROM environments_environment WHERE id = %s FOR NO KEY UPDATE", [environment.pk])
        assert sync.queue_due() == 0
    assert sync.queue_due() == 1


def connection_parameters():
    known = ("dbname", "user", "password", "host", "port")
    parameters = connection.get_connection_params()
    return {name: parameters[name] for name in known if parameters.get(name)}
