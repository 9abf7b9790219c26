"""Maintenance mode, as the domain sees it. Whoever has to see commits is marked so."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from audit import chain
from audit.models import AuditEvent
from deployments.models import DeploymentPlan
from environments import maintenance, quiet, registry, sync
from environments.models import Contact, Environment, MaintenanceWindow, RefusedOperation, SyncRun, SyncState
from environments.operations import Operation
from tests.factories import actor, create_environment

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)


def enable(*environments, by="Ada Lovelace", reason="Upgrade", **extra):
    return maintenance.enable_all(environments, by=actor(by), reason=reason, **extra)


def disable(*environments, by="Grace Hopper", reason="Done", **extra):
    return maintenance.disable_all(environments, by=actor(by), reason=reason, **extra)


def create_plan(source, target, status="running", **extra):
    number = DeploymentPlan.objects.count() + 1
    return DeploymentPlan.objects.create(
        number=number, source=source, target=target, status=status, created_by="Ada", **extra
    )


def open_contact(environment, *, lease=60, **extra):
    expires_at = timezone.now() + timedelta(seconds=lease)
    return Contact.objects.create(
        environment=environment,
        **{
            "epoch": environment.epoch,
            "purpose": "sync",
            "worker": "elsewhere",
            "pid": 4242,
            "expires_at": expires_at,
            **extra,
        },
    )


def close(contact, outcome="aborted"):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE environments_contact SET closed_at = clock_timestamp(), outcome = %s WHERE id = %s",
            [outcome, contact.pk],
        )


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def state():
    """Everything that a refusal must not have changed."""
    tables = (Environment, MaintenanceWindow, SyncRun, SyncState, DeploymentPlan, AuditEvent, OrmQ, Contact)
    return {table.__name__: list(table.objects.order_by("pk").values()) for table in tables}


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


# Enabling


def test_an_idle_environment_is_quiet_at_once():
    environment = create_environment(name="Test")

    (window,) = enable(environment)

    stored = fresh(window)
    assert (window.status, stored.status) == ("in_force", "in_force")
    assert window.quiet_at == stored.quiet_at >= stored.enabled_at
    assert (stored.enabled_by, stored.reason) == ("Ada Lovelace", "Upgrade")
    environment = fresh(environment)
    assert environment.maintenance_window == stored
    assert environment.epoch == stored.epoch == 2
    assert not OrmQ.objects.exists()


def test_what_enabling_answers_is_what_is_stored():
    source, target = create_environment(), create_environment()
    create_plan(source, target)
    open_contact(source)

    for window in enable(source, target, expected_end=timezone.now() + timedelta(hours=1)):
        stored = fresh(window)
        for field in MaintenanceWindow._meta.concrete_fields:
            assert getattr(window, field.attname) == getattr(stored, field.attname), field.name


def test_a_reason_is_trimmed_and_up_to_500_characters_long():
    (window,) = enable(create_environment(), reason=f"  {'ß' * 500}\n")

    assert fresh(window).reason == "ß" * 500


@pytest.mark.parametrize("reason", ["", " \t\n", "x" * 501, "two\nlines", "a\rb", "a\x00b", "a\u2028b", "a\x1b[0m"])
def test_a_bad_reason_is_refused_and_changes_nothing(reason):
    environment, other = create_environment(), create_environment()
    enable(other)
    before = state()

    for toggle, which in ((enable, environment), (disable, other)):
        with pytest.raises(ValidationError):
            toggle(which, reason=reason)

    assert state() == before


@pytest.mark.parametrize("away", [timedelta(seconds=-1), timedelta(days=-400), timedelta(days=5000)])
def test_an_expected_end_is_in_the_near_future(away):
    environment = create_environment()
    before = state()

    with pytest.raises(ValidationError):
        enable(environment, expected_end=timezone.now() + away)

    assert state() == before


def test_enabling_twice_names_who_did_it_when_and_why():
    environment, other = create_environment(name="Test"), create_environment(name="Other")
    (window,) = enable(environment, reason="Platform upgrade")
    before = state()

    with pytest.raises(maintenance.AlreadyEnabled) as refusal:
        enable(other, environment, by="Grace Hopper")

    assert str(refusal.value) == (
        "Maintenance mode of Test is enabled already: Ada Lovelace enabled it on "
        f"{window.enabled_at:%d %b %H:%M} UTC, “Platform upgrade”."
    )
    assert state() == before


def test_every_one_that_refuses_is_named():
    first, second, third = (create_environment(name=name) for name in ("First", "Second", "Third"))
    enable(first, second)

    with pytest.raises(maintenance.AlreadyEnabled, match=r"First is enabled already.*Second is enabled already"):
        enable(first, third, second)
    with pytest.raises(maintenance.NotEnabled, match="Third is not enabled: it never was"):
        disable(first, third)
    assert Environment.objects.in_maintenance().count() == 2


@pytest.mark.parametrize("registration", ["checking", "checked", "refused", "unregistered"])
def test_only_a_registered_environment_goes_into_maintenance_mode(registration):
    extra = {"unregistered_at": timezone.now()} if registration == "unregistered" else {}
    environment = create_environment(name="Old", registration=registration, **extra)
    before = state()

    with pytest.raises(maintenance.NotRegistered, match=r"Not registered: Old\."):
        enable(create_environment(), environment)
    with pytest.raises(maintenance.NotEnabled, match="Old is not registered"):
        disable(environment)

    assert MaintenanceWindow.objects.count() == 0
    assert state()["AuditEvent"] == before["AuditEvent"]


def test_one_named_twice_counts_once():
    environment = create_environment()

    assert len(enable(environment, fresh(environment))) == 1
    assert len(disable(environment, environment)) == 1


def test_a_form_older_than_another_toggle_is_refused():
    environment = create_environment(name="Test")
    seen = environment.epoch
    enable(environment)
    before = state()

    with pytest.raises(maintenance.ChangedMeanwhile, match=r"Somebody was faster: .* Ada Lovelace enabled it"):
        maintenance.enable(environment, by=actor(), reason="Mine", expected_epoch=seen)
    assert state() == before

    disable(environment)
    with pytest.raises(maintenance.ChangedMeanwhile, match="Somebody was faster: Grace Hopper disabled it"):
        maintenance.enable(environment, by=actor(), reason="Mine", expected_epoch=seen)

    maintenance.enable(environment, by=actor(), reason="Mine", expected_epoch=fresh(environment).epoch)


def test_disabling_another_window_than_the_one_seen_is_refused():
    environment = create_environment(name="Test")
    (seen,) = enable(environment)
    disable(environment)
    (second,) = enable(environment, by="Grace Hopper", reason="Again")
    before = state()

    with pytest.raises(maintenance.ChangedMeanwhile, match=r"Grace Hopper enabled it .*“Again”"):
        maintenance.disable(environment, by=actor(), reason="Done", expected_window=seen.key)
    with pytest.raises(maintenance.ChangedMeanwhile):
        maintenance.disable(environment, by=actor(), reason="Done", expected_window=uuid4())
    assert state() == before

    maintenance.disable(environment, by=actor(), reason="Done", expected_window=second.key)


@pytest.mark.parametrize("status", ["running", "needs_user_intervention", "aborting"])
def test_plans_in_progress_to_or_from_it_are_aborted(status):
    environment, other = create_environment(name="Test"), create_environment(name="Other")
    to, off = create_plan(other, environment, status), create_plan(environment, other, status)

    (window,) = enable(environment)

    for plan in (fresh(to), fresh(off)):
        assert (plan.status, plan.aborted_by, plan.window_id) == ("aborted", "Ada Lovelace", window.pk)
        assert plan.aborted_at == window.enabled_at
        assert plan.abort_reason == "Maintenance mode of 'Test' was enabled: Upgrade"
    assert window.plans_aborted == fresh(window).plans_aborted == 2
    entries = AuditEvent.objects.filter(object_type="plan").order_by("number")
    assert [(entry.object_name, entry.cause, entry.reason) for entry in entries] == [
        ("#1", window.audit_key, "Upgrade"),
        ("#2", window.audit_key, "Upgrade"),
    ]


def test_saved_ended_and_bystanders_plans_are_untouched():
    environment, one, other = (create_environment() for _ in range(3))
    ended = {"aborted_at": timezone.now(), "aborted_by": "Grace"}
    plans = [
        create_plan(environment, one, "saved"),
        create_plan(one, environment, "finished_successful"),
        create_plan(one, environment, "aborted", **ended),
        create_plan(one, other, "running"),
    ]
    before = list(DeploymentPlan.objects.order_by("pk").values())

    (window,) = enable(environment)

    assert list(DeploymentPlan.objects.order_by("pk").values()) == before
    assert len(plans) == 4
    assert window.plans_aborted == 0


def test_a_plan_between_two_that_are_enabled_together_is_aborted_once_and_counted_for_both():
    source, target = create_environment(), create_environment()
    create_plan(source, target)

    windows = enable(source, target)

    assert [fresh(window).plans_aborted for window in windows] == [1, 1]
    assert AuditEvent.objects.filter(object_type="plan").count() == 1


@pytest.mark.parametrize("status", ["queued", "running"])
def test_its_synchronization_is_aborted_and_a_bystander_s_is_not(status):
    environment, other = create_environment(), create_environment()
    run, its = (sync.request(one, by=actor()) for one in (environment, other))
    SyncRun.objects.update(status=status)

    (window,) = enable(environment, reason="y" * 500)

    run, its = fresh(run), fresh(its)
    assert (run.status, run.window_id) == ("aborted", window.pk)
    assert run.message.startswith("Aborted by maintenance mode, which Ada Lovelace enabled: yyy")
    assert run.ended_at >= window.enabled_at
    assert its.status == status
    assert window.syncs_aborted == fresh(window).syncs_aborted == 1


@committed
def test_a_run_that_was_aborted_stays_so_when_its_message_is_delivered(platform):
    environment = create_environment(platform=platform)
    run = sync.request(environment, by=actor())
    enable(environment)

    sync.run([run.pk])

    assert fresh(run).status == "aborted"
    assert platform.log() == []


def test_the_audit_log_has_the_acts_in_order_each_with_its_cause():
    test, production = create_environment(name="Test"), create_environment(name="Production")
    create_plan(test, production)
    contact = open_contact(production)

    windows = enable(test, production)
    close(contact)
    maintenance.settle()

    assert messages() == [
        "Enabled maintenance mode of environment 'Test': Upgrade",
        "Enabled maintenance mode of environment 'Production': Upgrade",
        "Aborted deployment plan '#1': maintenance mode of 'Production' was enabled",
        *[message for message in messages() if message.startswith("Environment 'Test' is quiet")],
        *[message for message in messages() if message.startswith("Environment 'Production' is quiet")],
    ]
    entries = list(AuditEvent.objects.order_by("number"))
    assert [entry.key for entry in entries[:2]] == [window.audit_key for window in windows]
    causes = [None, None, windows[1].audit_key, windows[0].audit_key, windows[1].audit_key]
    assert [entry.cause for entry in entries] == causes
    assert entries[0].reason == "Upgrade"
    assert entries[1].details["contacts_open"] == 1
    assert chain.verify().is_intact


def test_the_bulk_is_one_transaction(monkeypatch):
    """What goes wrong at the very end leaves nothing behind."""
    environments = [create_environment() for _ in range(3)]
    create_plan(environments[0], environments[1])
    sync.request(environments[2], by=actor())
    before = state()

    def fail(*_):
        raise RuntimeError("the end")

    monkeypatch.setattr(maintenance.gate, "hang_up", fail)
    with pytest.raises(RuntimeError, match="the end"):
        enable(*environments)
    assert state() == before
    monkeypatch.undo()

    enable(*environments)
    before = state()
    monkeypatch.setattr(maintenance.gate, "hang_up", fail)
    with pytest.raises(RuntimeError, match="the end"):
        disable(*environments)
    assert state() == before


@pytest.mark.parametrize("toggle", [enable, disable])
def test_a_bulk_takes_one_statement_per_kind_of_change(toggle):
    def count(number):
        environments = [create_environment() for _ in range(number)]
        if toggle is enable:
            for one, another in zip(environments[::2], environments[1::2], strict=True):
                create_plan(one, another)
                sync.request(one, by=actor())
            open_contact(environments[0])
        else:
            enable(*environments)
        with CaptureQueriesContext(connection) as queries:
            toggle(*environments)
        return [query["sql"].split("(")[0][:60] for query in queries]

    few, many = count(4), count(40)
    assert len(few) == len(many), (few, many)


# The flag and the window are one fact


@committed
def test_the_database_refuses_a_flag_without_its_window_and_a_window_without_its_flag():
    environment, other = create_environment(), create_environment()
    (window,) = enable(environment)
    drifts = [
        lambda: Environment.objects.filter(pk=environment.pk).update(maintenance_window=None),
        lambda: Environment.objects.filter(pk=other.pk).update(maintenance_window=window),
        lambda: MaintenanceWindow.objects.filter(pk=window.pk).update(
            status="ended", disabled_at=timezone.now(), disabled_by="Nobody", disable_reason="Drift"
        ),
        lambda: MaintenanceWindow.objects.create(
            environment=other,
            status="draining",
            epoch=2,
            enabled_at=timezone.now(),
            enabled_by="Nobody",
            reason="Drift",
        ),
        lambda: MaintenanceWindow.objects.create(
            environment=environment,
            status="draining",
            epoch=9,
            enabled_at=timezone.now(),
            enabled_by="Nobody",
            reason="A second one",
        ),
    ]
    before = state()

    for drift in drifts:
        with pytest.raises(IntegrityError), transaction.atomic():
            drift()
        assert state() == before


@committed
def test_enabling_at_the_same_time_is_done_once():
    environment = create_environment(name="Test")
    refusals, windows = [], []
    together = threading.Barrier(4)

    def somebody(number):
        together.wait()
        try:
            windows.extend(enable(environment, by=f"Person {number}"))
        except maintenance.AlreadyEnabled as refusal:
            refusals.append(str(refusal))
        finally:
            connection.close()

    threads = [threading.Thread(target=somebody, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(windows), len(refusals)) == (1, 3)
    assert all(f"{windows[0].enabled_by} enabled it" in refusal for refusal in refusals)
    assert AuditEvent.objects.filter(message__startswith="Enabled maintenance mode").count() == 1


@committed
def test_bulks_that_overlap_do_not_lock_each_other_out():
    environments = [create_environment() for _ in range(6)]
    outcomes = []

    def somebody(order):
        for _ in range(5):
            try:
                enable(*order)
                disable(*order)
                outcomes.append("toggled")
            except maintenance.MaintenanceRefused:
                outcomes.append("refused")
        connection.close()

    threads = [threading.Thread(target=somebody, args=[order]) for order in (environments, environments[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 10
    assert "toggled" in outcomes
    flags = dict(Environment.objects.values_list("pk", "maintenance_window"))
    opened = dict(MaintenanceWindow.objects.open().values_list("environment", "pk"))
    assert {pk: window for pk, window in flags.items() if window} == opened


# Draining and quiet


def test_a_window_drains_until_the_last_contact_has_closed():
    environment = create_environment()
    first, second = open_contact(environment), open_contact(environment)

    (window,) = enable(environment)
    assert (window.status, window.quiet_at, window.contacts_cut) == ("draining", None, 2)
    assert OrmQ.objects.count() == 1  # somebody watches it

    close(first)
    assert maintenance.settle() == []
    close(second, "completed")
    assert maintenance.settle([environment.pk]) == [window.pk]
    assert maintenance.settle() == []  # and once is enough

    window = fresh(window)
    assert window.status == "in_force"
    ((_, found),) = quiet.certificates([window])
    assert (found.cut_short, found.lost, found.open, found.breaches) == (1, 0, 0, 0)
    assert found.is_quiet
    assert found.time_to_quiet > timedelta(0)


def test_the_lease_of_a_dead_worker_bounds_the_draining():
    environment = create_environment()
    contact = open_contact(environment, lease=0.2)
    (window,) = enable(environment)
    assert maintenance.settle() == []

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.25)")
    assert maintenance.settle() == [window.pk]

    assert fresh(contact).outcome == "lost"
    ((_, found),) = quiet.certificates([fresh(window)])
    assert (found.cut_short, found.lost) == (0, 1)
    assert "1 lost" in AuditEvent.objects.order_by("-number").first().message


def test_a_contact_whose_lease_is_over_already_does_not_delay_it():
    environment = create_environment()
    open_contact(environment, lease=-5)

    (window,) = enable(environment)

    assert window.status == "in_force"
    assert quiet.certificates([window])[0][1].lost == 1


def test_settling_touches_no_other_environment():
    environment, other = create_environment(), create_environment()
    contact = open_contact(other, lease=-5)
    open_contact(environment)
    enable(environment)

    maintenance.settle()

    assert fresh(contact).closed_at is None


def test_a_forged_breach_is_reported():
    environment = create_environment()
    (window,) = enable(environment)
    open_contact(environment)  # behind the gate's back

    ((_, found),) = quiet.certificates([window])
    assert (found.breaches, found.open, found.is_quiet) == (1, 1, False)

    Contact.objects.update(closed_at=timezone.now(), outcome="completed")
    disable(environment)
    ((_, found),) = quiet.certificates([fresh(window)])
    assert found.breaches == 1
    entry = AuditEvent.objects.get(message__startswith="Disabled maintenance mode")
    assert entry.details["contacts_inside_the_quiet"] == 1


def test_contacts_before_and_after_a_window_are_no_breaches():
    environment = create_environment()
    close(open_contact(environment), "completed")
    (window,) = enable(environment)
    disable(environment)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE environments_contact SET opened_at = opened_at - interval '2 seconds', "
            "closed_at = closed_at - interval '1 second'"
        )
        cursor.execute("SELECT clock_timestamp()")
        after = cursor.fetchone()[0]
    open_contact(environment, opened_at=after)

    ((_, found),) = quiet.certificates([fresh(window)])

    assert (found.cut_short, found.lost, found.breaches) == (0, 0, 0)


# Disabling


def test_disabling_lowers_the_flag_and_queues_a_full_synchronization():
    environment = create_environment(name="Test")
    (window,) = enable(environment)
    SyncState.objects.update(full_due=False, failures=7)

    disable(environment)

    environment, window = fresh(environment), fresh(window)
    assert (environment.maintenance_window, environment.epoch) == (None, 3)
    assert (window.status, window.disabled_by, window.disable_reason) == ("recovering", "Grace Hopper", "Done")
    assert window.disabled_at >= window.quiet_at
    run = SyncRun.objects.get()
    assert (run.trigger, run.is_full, run.status, run.requested_by) == ("maintenance", True, "queued", "Grace Hopper")
    assert window.recovery_sync == run
    state_ = SyncState.objects.get()
    assert (state_.full_due, state_.failures) == (True, 0)
    entry = AuditEvent.objects.get(message="Disabled maintenance mode of environment 'Test': Done")
    assert (entry.reason, entry.cause) == ("Done", window.audit_key)
    assert entry.details["seconds_to_quiet"] is not None


def test_disabling_what_is_not_enabled_says_who_disabled_it_last():
    environment = create_environment(name="Test")
    with pytest.raises(maintenance.NotEnabled, match="Test is not enabled: it never was"):
        disable(environment)
    enable(environment)
    disable(environment, by="Grace Hopper", reason="All is done")
    before = state()

    with pytest.raises(maintenance.NotEnabled, match=r"Grace Hopper disabled it on .* “All is done”"):
        disable(environment)

    assert state() == before


def test_disabling_while_draining_ends_the_drain_without_a_certificate():
    environment = create_environment()
    contact = open_contact(environment)
    (window,) = enable(environment)

    disable(environment)
    close(contact)

    assert maintenance.settle() == []
    window = fresh(window)
    assert (window.status, window.quiet_at) == ("recovering", None)
    assert not quiet.certificates([window])[0][1].is_quiet


def test_enabling_again_while_recovering_ends_the_first_window_unrecovered():
    environment = create_environment()
    (first,) = enable(environment)
    disable(environment)
    run = SyncRun.objects.get()

    (second,) = enable(environment)

    first = fresh(first)
    assert (first.status, first.recovered_at) == ("ended", None)
    assert (fresh(run).status, fresh(run).window_id) == ("aborted", second.pk)
    assert fresh(environment).maintenance_window == second
    assert fresh(environment).epoch == 4


@committed
def test_a_window_ends_when_the_full_synchronization_has_gone_well(platform):
    environment = create_environment(platform=platform, name="Test")
    (window,) = enable(environment)
    disable(environment)

    sync.run([SyncRun.objects.get().pk])

    window = fresh(window)
    assert window.status == "ended"
    assert window.recovered_at
    entry = AuditEvent.objects.order_by("-number").first()
    assert entry.message.startswith("Environment 'Test' is back in sync after maintenance mode:")
    assert entry.cause == window.audit_key


@committed
def test_when_the_synchronization_fails_the_environment_is_out_of_maintenance_and_says_why():
    environment = create_environment(address="http://127.0.0.1:9/nobody")
    (window,) = enable(environment)
    disable(environment)

    sync.run([SyncRun.objects.get().pk])

    assert fresh(window).status == "recovering"
    assert not fresh(environment).is_in_maintenance
    run, state_ = SyncRun.objects.get(), SyncState.objects.get()
    assert run.status == "failed"
    assert state_.message == run.message != ""
    assert state_.full_due


# Never in the way


def test_an_environment_in_maintenance_mode_can_be_unregistered():
    environment = create_environment(name="Test")
    open_contact(environment)
    (window,) = enable(environment)

    registry.unregister(environment, by=actor("Grace Hopper"))

    environment, window = fresh(environment), fresh(window)
    assert (environment.registration, environment.is_in_maintenance) == ("unregistered", False)
    assert (window.status, window.disabled_by) == ("ended", "Grace Hopper")
    assert maintenance.settle() == []


def test_another_environment_is_registered_while_one_is_in_maintenance_mode():
    enable(create_environment())
    environment = create_environment(registration="checked")

    run = registry.register(environment, by=actor())

    assert fresh(environment).is_registered
    assert run.status == "queued"


def test_the_schedule_skips_it_and_counts_what_it_skipped():
    environment, other = create_environment(), create_environment()
    (window,) = enable(environment)
    SyncState.objects.update(due_at=timezone.now() - timedelta(seconds=5))

    assert sync.queue_due() == 1

    assert fresh(window).ticks_skipped == 1
    assert SyncRun.objects.get().environment == other


def test_what_is_refused_is_counted_by_operation_and_audited_as_failed():
    environment = create_environment(name="Test")
    (window,) = enable(environment)
    environment = fresh(environment)

    for name in ("Ada Lovelace", "Grace Hopper"):
        maintenance.count_refusal(environment, Operation.DEPLOY, by=actor(name))

    row = RefusedOperation.objects.get(window=window)
    assert (row.operation, row.count, row.last_by) == ("deploy", 2, "Grace Hopper")
    assert AuditEvent.objects.filter(succeeded=False, object_name="Test").count() == 2


def test_a_preview_is_what_enabling_would_abort_and_asks_no_environment():
    environment, other, third = (create_environment() for _ in range(3))
    plan = create_plan(environment, other)
    create_plan(other, third)
    run = sync.request(environment, by=actor())
    contact = open_contact(environment)
    open_contact(other)
    before = state()

    found = maintenance.preview([environment])

    assert (found.plans, found.syncs, found.contacts) == ([plan], [run], [contact])
    assert not found.is_empty
    assert state() == before
    assert maintenance.preview([third]).plans
    enable(third)
    assert maintenance.preview([fresh(third)]).already_enabled == [third]
