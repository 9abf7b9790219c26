"""Trouble while plans are carried out: nothing is stuck, nothing goes in circles, nothing is said that is not known."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, connections
from django.utils import timezone

from deployments import endings, execution, plans, tasks
from deployments.execution import host, outcomes, progress
from deployments.models import DeploymentPlan, PlanModule
from environments import maintenance, registry, sync
from environments.environment_api import DeploymentState
from environments.models import ApplicationVersion, Contact, SyncRun
from tests.deployments import scenes
from tests.deployments.scenes import advanced, deploy, fresh, told, wait_for, wait_for_status, wait_for_step
from tests.factories import actor

pytestmark = pytest.mark.django_db(transaction=True)

PREPARED = pytest.mark.parametrize("scene", [{"two_stage_deployments": True}], indirect=True)


@contextmanager
def one_host():
    """A worker that has one task, and no more."""

    def work():
        try:
            execution.advance()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(30)


def test_a_plan_is_taken_up_although_another_host_is_about_to_end(scene, monkeypatch):
    monkeypatch.setattr(host, "TAKING_SECONDS", 0.5)
    monkeypatch.setattr(host, "TAKEN_WITHIN", 0.3)
    scene.development.publish_web("Golf", page="golf", tag="1.0")
    scenes.synchronize(scene.source)
    golf = ApplicationVersion.objects.get(application__name="Golf")
    scene.development.behave(delay_seconds=3, paths=["/applications"], times=1)
    first = scene.started(deploy(scene.first["key"]))
    with one_host():
        wait_for(lambda: fresh(first).claimed_by is not None)
        time.sleep(0.7)

        second = advanced(scene.started(deploy(golf.key, "Golf")))

        assert second.claimed_by is None
        assert second.remote == "ended", told(second)  # on a busy machine the last step is left to the next host


def test_a_host_leaves_what_it_only_follows_to_the_next(scene, monkeypatch):
    monkeypatch.setattr(host, "TAKING_SECONDS", 0.5)
    scene.production.behave(step_seconds={"generating": 3})
    plan = scene.started(deploy(scene.first["key"]))
    plan = advanced(plan)  # brings the packages over, begins
    began = time.monotonic()

    plan = advanced(plan)

    assert plan.claimed_by is None
    assert time.monotonic() - began < 2.5
    with scenes.workers():
        assert wait_for_status(plan, "finished_successful", "aborted").status == "finished_successful"


def test_a_target_that_refuses_to_say_what_became_of_it_is_asked_now_and_then(scene):
    scene.production.behave(step_seconds={"generating": 60})
    plan = scene.started(deploy(scene.first["key"]))
    with scenes.workers():
        wait_for_step(plan, "generating")
        scene.production.behave(fail="status:403", paths=["/deployments"])
        plan = wait_for_status(plan, "aborted")
        contacts = Contact.objects.count()
        time.sleep(1)
        assert Contact.objects.count() <= contacts + 1

    plan = fresh(plan)
    assert (plan.target_state, plan.remote) == ("unknown", "started")
    assert plan.claimed_until > timezone.now() + timedelta(seconds=10)
    assert PlanModule.objects.exists()

    long_ago = timezone.now() - timedelta(hours=2)
    DeploymentPlan.objects.filter(pk=plan.pk).update(trouble_since=long_ago, claimed_until=None)
    plan = advanced(plan)

    assert (plan.target_state, plan.remote) == ("unknown", "ended")
    assert not PlanModule.objects.exists()
    assert "was asked for an hour" in told(plan)


@PREPARED
def test_a_plan_ends_with_its_target(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))
    assert plan.information == "deploy_prepared"

    registry.unregister(scene.target, by=actor())

    plan = fresh(plan)
    assert (plan.status, plan.target_state, plan.remote) == ("aborted", "unknown", "ended")
    assert plan.abort_reason == "Ada Lovelace unregistered environment 'Production'."
    assert not PlanModule.objects.exists()


@PREPARED
def test_a_plan_whose_source_goes_is_stopped_at_the_target(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))

    registry.unregister(scene.source, by=actor())
    plan = advanced(plan)

    assert (plan.status, plan.target_state, plan.remote) == ("aborted", "unchanged", "ended"), told(plan)
    assert scene.production.deployment(str(plan.key))["status"] == "aborted"


@PREPARED
def test_a_plan_that_waits_for_word_from_its_target_ends_with_it(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))
    maintenance.enable(scene.target, by=actor(), reason="Upgrade")

    registry.unregister(scene.target, by=actor())

    plan = fresh(plan)
    assert (plan.status, plan.target_state, plan.remote) == ("aborted", "unknown", "ended")
    assert not PlanModule.objects.exists()


def test_what_fails_after_the_switch_finishes_with_a_warning(scene, monkeypatch):
    async def fail(session, run_ids):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(sync, "carry_out", fail)

    plan = advanced(scene.started(deploy(scene.first["key"])))

    assert (plan.status, plan.target_state) == ("finished_with_warnings", "changed"), told(plan)


@PREPARED
def test_an_address_is_not_changed_under_a_plan(scene):
    advanced(scene.started(deploy(scene.first["key"])))

    with pytest.raises(ValidationError, match="Deployment plans to or from it are in progress: #"):
        registry.edit(scene.target, {"address": "http://127.0.0.1:9/new"}, token="t", by=actor())


@PREPARED
def test_a_target_that_has_forgotten_the_deployment_is_not_called_unchanged(scene, pairs):
    plan = advanced(scene.started(deploy(scene.first["key"])))
    other = pairs()[1]  # restored from a backup, say
    type(scene.target).objects.filter(pk=scene.target.pk).update(address=other.address)

    plans.abort(plan, by=actor())
    plan = advanced(plan)

    assert (plan.status, plan.target_state) == ("aborted", "unknown")


def test_a_start_that_did_not_arrive_is_tried_again(scene, monkeypatch):
    monkeypatch.setattr(host, "TROUBLE_SECONDS", 0.2)
    scene.production.behave(fail="status:503", paths=["/deployments"], times=1)

    with scenes.workers():
        plan = wait_for_status(scene.started(deploy(scene.first["key"])), "finished_successful", "aborted")

    assert plan.status == "finished_successful", told(plan)


def test_a_restart_of_postgresql_aborts_nothing(scene):
    scene.production.behave(step_seconds={"generating": 2})
    plan = scene.started(deploy(scene.first["key"]))
    with scenes.workers():
        wait_for_step(plan, "generating")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        plan = wait_for_status(plan, "finished_successful", "finished_with_warnings", "aborted", seconds=40)

    assert plan.status.startswith("finished"), told(plan)


def test_a_target_that_stays_busy_ends_the_plan_with_few_words(scene, monkeypatch):
    monkeypatch.setattr(host, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(host, "GIVEN_UP_AFTER", 1.0)
    scene.production.behave(step_seconds={"generating": 60})
    first = scene.started(deploy(scene.first["key"]))
    with scenes.workers():
        wait_for_step(first, "generating")
        DeploymentPlan.objects.filter(pk=first.pk).update(status="finished_successful", remote="ended")
        PlanModule.objects.all().delete()  # so that only the target knows that it is busy

        plan = wait_for_status(scene.started(deploy(scene.first["key"])), "aborted")

    assert "waits for it" in told(plan)
    assert plan.lines.count() < 8, told(plan)


@PREPARED
def test_what_was_prepared_too_long_ago_is_ended_without_anybody(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))
    tasks.tick()
    assert fresh(plan).status == "needs_user_intervention"
    DeploymentPlan.objects.filter(pk=plan.pk).update(prepared_until=timezone.now() - timedelta(hours=1))

    tasks.tick()
    plan = advanced(plan)

    assert (plan.status, plan.abort_reason) == ("aborted", endings.PREPARED_TOO_LONG_AGO)
    assert plan.target_state == "unchanged"


def test_a_synchronization_that_is_called_off_with_its_plan_is_ended(scene):
    scene.production.behave(delay_seconds=60, paths=["/digests"])
    plan = scene.started(deploy(scene.first["key"]))
    with scenes.workers():
        wait_for(lambda: SyncRun.objects.filter(trigger="deployment", status="running").exists())

        maintenance.enable(scene.source, by=actor(), reason="Upgrade")
        wait_for(lambda: not SyncRun.objects.active().filter(environment=scene.target).exists(), seconds=10)

    assert (fresh(plan).status, fresh(plan).target_state) == ("aborted", "changed")
    assert SyncRun.objects.filter(trigger="deployment").get().status == "aborted"


def test_the_status_that_the_target_tells_counts(scene):
    plan = scene.started(deploy(scene.first["key"]))
    me = "00000000-0000-0000-0000-000000000001"
    DeploymentPlan.objects.filter(pk=plan.pk).update(claimed_by=me, remote="started")

    progress.note_finished_there(plan.pk, me, "finished_with_errors")
    outcomes.store(plan.pk, me, outcomes.Done())

    assert fresh(plan).status == "finished_with_errors"


def test_a_line_that_is_told_twice_is_taken_once(scene):
    plan = scene.started(deploy(scene.first["key"]))
    me = "00000000-0000-0000-0000-000000000001"
    DeploymentPlan.objects.filter(pk=plan.pk).update(claimed_by=me, remote="started")
    line = {"line": 1, "at": timezone.now(), "message": "Compiled."}
    state = DeploymentState(
        id=plan.key, status="running", step="generating", is_applied=False, log=[line, line], cursor="1"
    )

    progress.store_state(plan.pk, me, state)
    progress.store_state(plan.pk, me, state)

    assert plan.lines.filter(message="Compiled.").count() == 1
