"""Synchronization against a real platform over HTTP."""

import pytest

from environments import maintenance, sync
from environments.models import ApplicationStatus, Contact, ModuleStatus, SyncRun, SyncState
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


def synchronize(environment, **options):
    run = sync.request(environment, by=actor(), **options)
    sync.run([run.pk])
    run.refresh_from_db()
    return run


def test_a_full_synchronization_brings_both_sides_in_line(platform):
    create_user(username="grace")
    environment = create_environment(platform=platform, name="Development")

    run = synchronize(environment)

    assert (run.status, run.message) == ("finished", "")
    assert ApplicationStatus.objects.filter(environment=environment).count() == run.changes["applications"]["added"] > 0
    assert ModuleStatus.objects.filter(environment=environment).exists()
    assert {one["part"] for one in run.changes["delivered"]} >= {"permissions", "settings"}
    environment.refresh_from_db()
    assert environment.version
    contact = Contact.objects.get()
    assert contact.outcome == "completed"
    assert contact.calls == len(platform.log())


def test_an_idle_environment_costs_one_conditional_request(platform):
    environment = create_environment(platform=platform)
    synchronize(environment)
    synchronize(environment, is_full=False)
    before = len(platform.log())

    run = synchronize(environment, is_full=False)

    assert run.changes == {}
    lines = platform.log()[before:]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [("GET", "/digests", 304)]


def test_a_run_that_the_gate_refuses_says_who_enabled_maintenance_mode_and_why(platform):
    environment, other = create_environment(platform=platform, name="Development"), create_environment(name="Test")
    for one, name in ((environment, "Grace Hopper"), (other, "Alan Turing")):
        maintenance.enable(one, by=actor(name), reason=f"Upgrade of {one}")
    runs = [
        SyncRun.objects.create(environment=one, trigger="schedule", requested_by="System")
        for one in (environment, other)
    ]

    sync.run([run.pk for run in runs])

    for run, name in zip(runs, ("Grace Hopper", "Alan Turing"), strict=True):
        run.refresh_from_db()
        assert run.status == "aborted"
        assert run.message.startswith(f"Synchronizing the environment is disabled: {run.environment} is in maintenance")
        assert f"{name} enabled it: “Upgrade of {run.environment}”." in run.message
        assert SyncState.objects.get(environment=run.environment).message == run.message
    assert platform.log() == []
