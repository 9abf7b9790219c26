"""The five activities: each carries data outside maintenance mode, is skipped inside, and made up for afterwards."""

import pytest

from environments import tasks
from environments.models import Contact, SyncRun, SyncState
from environments.operations import Activity, Operation, explain
from tests.environments.walk.table import ACTIVITIES

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_table_has_a_row_for_each_activity():
    assert [row.activity for row in ACTIVITIES] == list(Activity)


def tick(scene):
    """A minute passes: the schedule queues what is due, and workers do it."""
    SyncState.objects.update(due_at=scene.here.registered_at)
    tasks.tick()
    scene.work_off()


def heard(scene, since):
    """What the console asked the environment."""
    return [(line["method"], line["path"].partition("?")[0]) for line in scene.log()[since:] if not scene.is_ours(line)]


@pytest.mark.parametrize("row", ACTIVITIES, ids=lambda row: row.activity.value)
def test_it_carries_data_outside_nothing_inside_and_what_was_missed_afterwards(scene, row):
    tick(scene)
    row.change(scene, 0)
    since = len(scene.log())
    tick(scene)
    assert row.hears in heard(scene, since)
    assert row.has(scene) == row.expected(0)

    window = scene.enable()
    row.change(scene, 1)
    since, runs, contacts = len(scene.log()), SyncRun.objects.count(), Contact.objects.count()
    tick(scene)
    window.refresh_from_db()
    assert (window.ticks_skipped, SyncRun.objects.count()) == (1, runs)
    late = SyncRun.objects.create(environment=scene.here, trigger="schedule", requested_by="System")
    tasks.synchronize([late.pk])
    late.refresh_from_db()
    assert (late.status, late.message) == ("aborted", explain(scene.here.name, window, Operation.SYNCHRONIZE.label))
    assert heard(scene, since) == []
    assert Contact.objects.count() == contacts
    assert row.has(scene) == row.expected(0)

    scene.disable()
    since = len(scene.log())
    scene.work_off()
    run = SyncRun.objects.order_by("pk").last()
    assert (run.status, run.message) == ("finished", "")
    assert row.has(scene) == row.expected(1)
    asked = heard(scene, since)
    assert asked.count(row.hears) == 1
    assert {one for one in asked if one[0] == "PUT"} <= {row.hears}  # the difference, and nothing but it
    window.refresh_from_db()
    assert window.status == "ended"

    since = len(scene.log())
    tick(scene)
    assert not [one for one in heard(scene, since) if one[0] == "PUT"]  # nor twice
    scene.elsewhere.refresh_from_db()
    assert scene.elsewhere.ticks_skipped == 4
    assert {line["prefix"] for line in scene.log()} == {scene.here.address.removeprefix(scene.platform.root)}
