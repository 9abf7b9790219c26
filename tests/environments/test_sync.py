"""Synchronization against a real platform over HTTP."""

import pytest

from environments import sync
from environments.models import ApplicationStatus, Contact, ModuleStatus
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
