"""Maintenance mode and plans in progress: aborted at once, quiet, known afterwards; bystanders never matter."""

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from deployments import plans
from deployments.models import DeploymentPlan, PlanModule, StepName
from environments import gate, ledger, maintenance
from environments.models import Contact, MaintenanceWindow
from tests.deployments import scenes
from tests.deployments.scenes import advanced, deploy, fresh, tag_and_deploy, told, wait_for, wait_for_status
from tests.factories import actor, create_environment

pytestmark = pytest.mark.django_db(transaction=True)

DEPLOYED = pytest.mark.parametrize("scene", [{"deployed": "1.0"}], indirect=True)
SWITCHING = ("updating", "synchronizing")


def enable(environment):
    return maintenance.enable(environment, by=actor("Ada Lovelace"), reason="Upgrade of the platform")


def is_quiet(window):
    maintenance.settle()
    return MaintenanceWindow.objects.get(pk=window.pk).status == "in_force"


def disable(environment):
    maintenance.disable(environment, by=actor("Ada Lovelace"), reason="Done")
    scenes.synchronize(environment)


@DEPLOYED
@pytest.mark.parametrize("step", StepName.values)
def test_enabling_at_the_target_aborts_a_plan_at_any_step(scene, step):
    version = scene.publish()
    scene.production.behave(step_seconds={step: 60 if step not in SWITCHING else 1.5})
    plan = scene.started(deploy(version["key"]))
    with scenes.workers():
        wait_for(lambda: fresh(plan).step == step and plan.lines.filter(remote_line__isnull=False).exists())

        window = enable(scene.target)
        wait_for(lambda: is_quiet(window), seconds=5)

        plan = fresh(plan)
        assert (plan.status, plan.aborted_by, plan.aborted_at_step) == ("aborted", "Ada Lovelace", step)
        assert plan.abort_reason == "Maintenance mode of 'Production' was enabled: Upgrade of the platform"
        assert plan.window == window
        if step in SWITCHING:
            assert plan.target_state in ("unknown", "changed")
        else:
            assert (plan.target_state, plan.remote) == ("unchanged", "ended")  # it was told in the last words
            assert scene.production.page() == "<h1>Hotel 1</h1>"
        window.refresh_from_db()
        wait_for(lambda: timezone.now().timestamp() > window.quiet_at.timestamp() + 1.5)
        assert scene.production.heard(after=window.quiet_at) == []

        scene.production.behave()
        disable(scene.target)
        expected = "changed" if step in SWITCHING else "unchanged"
        wait_for(lambda: (fresh(plan).remote, fresh(plan).target_state) == ("ended", expected))
        assert not PlanModule.objects.exists()
        if step in SWITCHING:
            assert scene.production.page() == "<h1>Hotel 2</h1>"
            return
        retry = plans.start(scenes.validated(plans.retry(plan, by=actor())[0]), by=actor())
        retry = wait_for_status(retry, "finished_successful", "aborted")

    assert retry.status == "finished_successful", told(retry)
    assert scene.production.page() == "<h1>Hotel 2</h1>"


@DEPLOYED
def test_the_target_is_told_although_the_plan_is_seen_aborted_before_the_notification_comes(scene, monkeypatch):
    version = scene.publish()
    scene.production.behave(step_seconds={"generating": 60})
    monkeypatch.setattr(ledger, "CHANNEL", "nobody_notifies_here")  # the worker listens where nothing is said
    plan = scene.started(deploy(version["key"]))
    with scenes.workers():
        scenes.wait_for_step(plan, "generating")
        monkeypatch.undo()

        window = enable(scene.target)
        wait_for(lambda: is_quiet(window), seconds=5)

    plan = fresh(plan)
    assert (plan.status, plan.target_state, plan.remote) == ("aborted", "unchanged", "ended")
    assert scene.production.deployment(str(plan.key))["status"] == "aborted"
    [contact] = Contact.objects.filter(environment=scene.target, closed_at__gt=window.enabled_at)
    assert contact.outcome == "aborted"


def test_enabling_while_packages_are_brought_over(scene):
    scene.production.behave(delay_seconds=60, paths=["/packages"])
    plan = scene.started(deploy(scene.first["key"]))
    with scenes.workers():
        wait_for(lambda: Contact.objects.open().filter(environment=scene.target).exists())
        scene.production.wait_until_serving(1)

        window = enable(scene.target)
        wait_for(lambda: is_quiet(window), seconds=5)

    plan = fresh(plan)
    assert (plan.status, plan.target_state, plan.remote) == ("aborted", "unchanged", "none")
    assert Contact.objects.filter(environment=scene.target, plan_number=plan.number).latest("pk").outcome == "aborted"
    assert not PlanModule.objects.exists()


@DEPLOYED
def test_enabling_at_the_source_stops_the_deployment_at_the_target(scene):
    version = scene.publish()
    scene.production.behave(step_seconds={"generating": 60})
    plan = scene.started(deploy(version["key"]))
    with scenes.workers():
        scenes.wait_for_step(plan, "generating")

        window = enable(scene.source)
        plan = wait_for_status(plan, "aborted")
        wait_for(lambda: fresh(plan).remote == "ended")

    plan = fresh(plan)
    assert (plan.window, plan.target_state) == (window, "unchanged")
    assert scene.production.deployment(str(plan.key))["status"] == "aborted"
    assert scene.production.page() == "<h1>Hotel 1</h1>"


@pytest.mark.parametrize("scene", [{"two_stage_deployments": True}], indirect=True)
def test_a_prepared_plan_is_aborted_and_the_target_told_afterwards(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))
    assert plan.information == "deploy_prepared"

    window = enable(scene.target)
    plan = advanced(plan)

    assert (plan.status, plan.information, plan.target_state) == ("aborted", "", "unknown")
    assert window.status == "in_force"  # nobody was in contact
    assert scene.production.heard(after=window.quiet_at) == []

    disable(scene.target)
    plan = advanced(plan)

    assert (plan.target_state, plan.remote) == ("unchanged", "ended")
    answer = scene.production.call("GET", f"/deployments/{plan.key}", epoch=100)
    assert answer.json["status"] == "aborted"
    entry = AuditEvent.objects.get(message__contains="is over in environment 'Production'")
    assert entry.cause == window.audit_key


def test_a_bystander_in_maintenance_mode_does_not_matter(scene):
    enable(create_environment(name="Test"))

    plan = advanced(scene.started(deploy(scene.first["key"])))

    assert plan.status == "finished_successful", told(plan)


@pytest.mark.parametrize("which", ["source", "target"])
def test_nothing_is_done_with_plans_to_or_from_an_environment_in_maintenance_mode(scene, which):
    def create():
        return plans.create(scene.source, scene.target, by=actor(), choices=[deploy(scene.first["key"])])

    saved = plans.save(scenes.validated(create()), by=actor(), revision=1)
    environment = getattr(scene, which)
    enable(environment)
    operations = saved.operations.count()

    for do in (
        create,
        lambda: plans.start(saved, by=actor()),
        lambda: plans.save(saved, by=actor(), revision=1, notes="x"),
        lambda: plans.change(saved, [tag_and_deploy("1.1")], by=actor(), revision=1),
        lambda: plans.relabel(saved, "x", by=actor()),
        lambda: plans.discard(saved, by=actor()),
        lambda: plans.set_settings(saved, {}, by=actor(), revision=1),
    ):
        with pytest.raises(gate.InMaintenance, match=f"{environment.name} is in maintenance mode since .*Ada Lovelace"):
            do()

    saved = fresh(saved)
    assert (saved.status, saved.notes, saved.label, saved.revision) == ("saved", "", "", 1)
    assert saved.operations.count() == operations


def test_the_abort_is_audited_with_its_cause(scene):
    plan = scene.started(deploy(scene.first["key"]))
    window = enable(scene.target)

    entry = AuditEvent.objects.get(object_key=str(plan.key), message__contains="maintenance mode")
    assert entry.cause == window.audit_key
    assert entry.reason == "Upgrade of the platform"
    assert "Cannot continue the operation because the environment is in maintenance mode" in told(plan)


def test_who_aborted_first_keeps_their_reason_and_the_window_is_named_in_the_log(scene):
    plan = plans.abort(
        scene.started(deploy(scene.first["key"])), by=actor("Grace Hopper"), reason="The wrong Friday"
    )  # fmt: skip

    window = enable(scene.target)

    plan = fresh(plan)
    assert (plan.status, plan.aborted_by, plan.abort_reason) == ("aborted", "Grace Hopper", "The wrong Friday")
    assert plan.window == window
    assert "Maintenance mode of 'Production' was enabled: Upgrade of the platform" in told(plan)


@pytest.mark.parametrize(("known", "then"), [("unchanged", "unknown"), ("changed", "changed")])
def test_what_is_known_of_the_target_stays_known(scene, known, then):
    plan = scene.started(deploy(scene.first["key"]))
    DeploymentPlan.objects.filter(pk=plan.pk).update(remote="started", target_state=known)

    enable(scene.target)

    assert fresh(plan).target_state == then
