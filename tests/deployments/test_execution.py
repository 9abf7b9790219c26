"""Plans carried out between two real platforms."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from audit.models import AuditEvent
from deployments import execution, plans, tasks
from deployments.execution import claims
from deployments.models import DeploymentPlan, PlanModule
from environments import registry, sync
from environments.models import Application, ApplicationStatus, ApplicationVersion, Contact, SyncRun
from tests.deployments import scenes
from tests.deployments.scenes import advanced, deploy, fresh, tag_and_deploy, told, wait_for_status, wait_for_step
from tests.factories import actor
from tests.platforms import module_key_of

pytestmark = pytest.mark.django_db(transaction=True)

STOPPABLE = ["retrieving", "analyzing_processes", "generating", "analyzing_database", "distributing"]
DEPLOYED = pytest.mark.parametrize("scene", [{"deployed": "1.0"}], indirect=True)


def test_a_plan_brings_a_version_to_the_target_which_serves_it(scene):
    plan = scene.started(deploy(scene.first["key"]))

    plan = advanced(plan)

    assert plan.status == "finished_successful", told(plan)
    assert scene.production.page() == "<h1>Hotel 1</h1>"
    assert ApplicationStatus.objects.get(environment=scene.target).version == "1.0"
    assert set(plan.steps.values_list("state", flat=True)) == {"finished"}
    assert (plan.remote, plan.target_state, plan.claimed_by) == ("ended", "changed", None)
    assert not PlanModule.objects.exists()
    operation = plan.operations.get()
    assert operation.transferred_bytes == operation.package_bytes > 0
    messages = list(AuditEvent.objects.filter(object_key=str(plan.key)).values_list("message", flat=True))
    assert f"Launched deployment plan '#{plan.number}'" in messages
    assert f"Completed deployment plan '#{plan.number}': Finished Successfully" in messages
    assert set(Contact.objects.filter(plan_number=plan.number).values_list("outcome", flat=True)) == {"completed"}


def test_tag_and_deploy_tags_the_source_first(scene):
    scene.publish(page="<h1>Hotel 1+</h1>", tag="")

    plan = advanced(scene.started(tag_and_deploy("1.1", change_log="Faster.")))

    assert plan.status == "finished_successful", told(plan)
    version = ApplicationVersion.objects.get(version="1.1")
    assert (version.change_log, version.created_in) == ("Faster.", scene.source)
    assert ApplicationStatus.objects.get(environment=scene.source).version == "1.1"
    assert (scene.development.version(), scene.production.version()) == ("1.1", "1.1")
    assert scene.production.page() == "<h1>Hotel 1+</h1>"


def test_what_is_to_be_left_alone_is(scene):
    scene.development.publish_web("Golf", page="golf", tag="1.0")
    scenes.synchronize(scene.source)
    golf = plans.Choice(application_key=Application.objects.get(name="Golf").key, kind="nothing")

    plan = advanced(scene.started(deploy(scene.first["key"]), golf))

    assert plan.status == "finished_successful", told(plan)
    assert scene.production.page("Golf") == ""


@DEPLOYED
@pytest.mark.parametrize("step", STOPPABLE)
def test_a_person_aborts_at_a_step_and_the_target_is_as_it_was(scene, step):
    version = scene.publish()
    scene.production.behave(step_seconds={step: 60})
    plan = scene.started(deploy(version["key"]))
    with scenes.workers():
        wait_for_step(plan, step)
        if step == "retrieving":
            scenes.wait_for(lambda: fresh(plan).remote == "started")

        plans.abort(plan, by=actor(), reason="Wrong version")
        plan = wait_for_status(plan, "aborted")

    assert (plan.aborted_by, plan.abort_reason, plan.aborted_at_step) == ("Ada Lovelace", "Wrong version", step)
    assert (plan.target_state, plan.remote) == ("unchanged", "ended")
    assert scene.production.page() == "<h1>Hotel 1</h1>"
    assert not PlanModule.objects.exists()
    assert not set(plan.steps.values_list("state", flat=True)) & {"running", "finished"}
    assert scene.production.deployment(str(plan.key))["reason"] == "Wrong version"


@pytest.mark.parametrize("step", ["updating", "synchronizing"])
def test_nobody_aborts_once_the_target_switches_over(scene, step):
    scene.production.behave(step_seconds={step: 1})
    plan = scene.started(deploy(scene.first["key"]))
    with scenes.workers():
        wait_for_step(plan, step)

        with pytest.raises(plans.PlanRefused, match="cannot be aborted now"):
            plans.abort(plan, by=actor())
        plan = wait_for_status(plan, "finished_successful")

    assert scene.production.page() == "<h1>Hotel 1</h1>"


def test_an_abort_that_comes_too_late_says_what_is_in_place(scene):
    scene.production.behave(step_seconds={"updating": 2})
    plan = scene.started(deploy(scene.first["key"]))
    with scenes.workers():
        wait_for_step(plan, "updating")
        DeploymentPlan.objects.filter(pk=plan.pk).update(step="distributing")  # as it was a moment ago
        plans.abort(plan, by=actor(), reason="Wrong version")
        plan = wait_for_status(plan, "aborted")

    assert (plan.target_state, plan.remote) == ("changed", "ended")
    assert scene.production.page() == "<h1>Hotel 1</h1>"
    assert "had switched over already" in plan.lines.last().message


@pytest.mark.parametrize("scene", [{"two_stage_deployments": True}], indirect=True)
def test_in_two_stages_the_second_waits_for_a_person(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))

    assert (plan.status, plan.information) == ("needs_user_intervention", "deploy_prepared"), told(plan)
    assert plan.prepared_until is not None
    assert scene.production.page() == ""
    assert PlanModule.objects.exists()

    plans.continue_(plan, by=actor(), information="deploy_prepared")
    again = plans.continue_(plan, by=actor("Alan Turing"), information="deploy_prepared")  # at the same moment
    assert again.status == "running"
    plan = advanced(plan)

    assert plan.status == "finished_successful", told(plan)
    assert scene.production.page() == "<h1>Hotel 1</h1>"


@pytest.mark.parametrize("scene", [{"two_stage_deployments": True}], indirect=True)
def test_what_was_prepared_too_long_ago_is_aborted(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))
    scene.production.behave(clock_offset_seconds=97 * 3600)

    plans.continue_(plan, by=actor(), information="deploy_prepared")
    plan = advanced(plan)

    assert plan.status == "aborted", told(plan)
    assert "96 hours" in plan.abort_reason
    assert (plan.target_state, scene.production.page()) == ("unchanged", "")


@pytest.mark.parametrize("scene", [{"two_stage_deployments": True}], indirect=True)
def test_a_prepared_plan_is_aborted_by_a_person(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))

    plans.abort(plan, by=actor())
    plan = advanced(plan)

    assert (plan.status, plan.target_state, plan.remote) == ("aborted", "unchanged", "ended")
    assert scene.production.deployment(str(plan.key))["status"] == "aborted"


def test_a_missing_setting_is_asked_for_and_given(scene):
    modules = [{"name": "Hotel", "site_properties": [{"name": "ApiKey", "data_type": "Text", "is_secret": True}]}]
    version = scene.publish(modules=modules)
    plan = advanced(scene.started(deploy(version["key"])))

    assert (plan.status, plan.information) == ("needs_user_intervention", "needs_configuration_or_confirmation")
    assert plan.interventions[0]["names"] == ["Hotel.ApiKey"]
    key = plan.operations.get().application_key
    module = str(module_key_of("Hotel", "Hotel"))
    given = {"site_properties": [{"module_key": module, "name": "ApiKey", "effective_value": "s3cret-9"}]}
    plans.continue_(plan, by=actor(), information=plan.information, settings={key: given})
    plan = advanced(plan)

    assert plan.status == "finished_successful", told(plan)
    kept = str(DeploymentPlan.objects.values().get()) + str(list(plan.operations.values())) + told(plan)
    kept += str(list(AuditEvent.objects.values()))
    assert "s3cret-9" not in kept


def test_a_setting_that_is_still_missing_is_asked_for_again(scene):
    modules = [{"name": "Hotel", "site_properties": [{"name": "ApiKey", "data_type": "Text"}]}]
    plan = advanced(scene.started(deploy(scene.publish(modules=modules)["key"])))

    plans.continue_(plan, by=actor(), information=plan.information)
    plan = advanced(plan)

    assert plan.status == "needs_user_intervention"
    assert "ApiKey" in told(plan)


@pytest.mark.parametrize("accept", [True, False])
def test_modules_that_would_go_are_confirmed(scene, accept):
    two = [{"name": "Hotel"}, {"name": "HotelOld"}]
    plan = advanced(scene.started(deploy(scene.publish(modules=two)["key"])))
    assert plan.status == "finished_successful", told(plan)
    plan = scene.started(deploy(scene.publish(tag="3.0")["key"]), accept_module_removal=accept)

    plan = advanced(plan)

    if not accept:
        assert plan.interventions[0]["kind"] == "module_removal", told(plan)
        plans.continue_(plan, by=actor(), information=plan.information)
        plan = advanced(plan)
    assert plan.status == "finished_successful", told(plan)


def test_broken_references_are_deployed_only_on_purpose(scene):
    missing = {"name": "Gone", "kind": "Action", "signature": "a1"}
    modules = [
        {
            "name": "Hotel",
            "consumes": [
                {
                    "module_key": str(module_key_of("Rooms", "Rooms")),
                    "module_name": "Rooms",
                    "application_key": str(module_key_of("Rooms", "x")),
                    "application_name": "Rooms",
                    "elements": [missing],
                }
            ],
        }
    ]
    version = scene.publish(modules=modules)
    plan = advanced(scene.started(deploy(version["key"]), continue_with_errors=True))

    assert plan.status == "finished_with_errors", told(plan)
    assert ApplicationStatus.objects.get(environment=scene.target).consistency == "Error"


def test_a_step_that_fails_there_leaves_the_target_as_it_was(scene):
    scene.production.behave(fail_step="generating")

    plan = advanced(scene.started(deploy(scene.first["key"])))

    assert (plan.status, plan.target_state, plan.aborted_by) == ("aborted", "unchanged", "System")
    assert plan.aborted_at_step == "generating"
    assert plan.steps.get(name="generating").state == "failed"
    assert scene.production.page() == ""


def test_a_full_disk_at_the_target_is_said(scene):
    scene.production.behave(free_bytes=10)

    plan = advanced(scene.started(deploy(scene.first["key"])))

    assert (plan.status, plan.target_state, plan.remote) == ("aborted", "unchanged", "none")
    assert "no room" in plan.abort_reason
    assert not PlanModule.objects.exists()


def test_a_package_that_is_damaged_is_not_deployed(scene):
    scene.development.behave(fail="corrupt", paths=["/applications"])
    key, version = scene.first["application_key"], scene.first["key"]
    scene.development.behave(fail="corrupt", paths=[f"/applications/{key}/versions/{version}/package"])

    plan = advanced(scene.started(deploy(version)))

    assert plan.status == "aborted", told(plan)
    assert "damaged" in plan.abort_reason


@DEPLOYED
def test_a_downgrade_is_refused_by_the_target(scene):
    plan = advanced(scene.started(deploy(scene.publish()["key"])))
    assert plan.status == "finished_successful"

    plan = advanced(scene.started(deploy(scene.first["key"])))

    assert (plan.status, plan.target_state) == ("aborted", "unchanged")
    assert "2.0" in plan.abort_reason
    assert scene.production.page() == "<h1>Hotel 2</h1>"


def test_a_version_that_is_gone_from_the_source_is_said(scene):
    plan = scene.started(deploy(scene.first["key"]))
    scene.development.remove(scene.first["application_key"])

    plan = advanced(plan)

    assert plan.status == "aborted"
    assert plan.target_state == "unchanged"


def test_a_target_that_loses_an_answer_deploys_once(scene):
    scene.production.behave(fail="lost", paths=["/deployments"], times=1)

    with scenes.workers():
        plan = wait_for_status(scene.started(deploy(scene.first["key"])), "finished_successful", "aborted")

    assert plan.status == "finished_successful", told(plan)
    assert len(scene.production.call("GET", "/deployments").json["deployments"]) == 1


def test_a_source_that_cannot_be_reached_is_tried_again(scene, monkeypatch):
    monkeypatch.setattr("deployments.execution.host.TROUBLE_SECONDS", 0.2)
    scene.development.behave(fail="status:503", times=2)

    with scenes.workers():
        plan = wait_for_status(scene.started(deploy(scene.first["key"])), "finished_successful", "aborted")

    assert plan.status == "finished_successful", told(plan)
    assert plan.lines.filter(type="Warning").count() == 1


def test_a_target_that_stays_out_of_reach_ends_the_plan(scene, monkeypatch):
    monkeypatch.setattr("deployments.execution.host.TROUBLE_SECONDS", 0.1)
    monkeypatch.setattr("deployments.execution.host.GIVEN_UP_AFTER", 0.5)
    scene.production.behave(fail="status:503", paths=["/packages"])

    with scenes.workers():
        plan = wait_for_status(scene.started(deploy(scene.first["key"])), "aborted")

    assert plan.target_state == "unchanged"
    assert not PlanModule.objects.exists()


def test_an_environment_that_was_unregistered_ends_the_plan(scene):
    plan = scene.started(deploy(scene.first["key"]))
    registry.unregister(scene.target, by=actor())

    plan = advanced(plan)

    assert plan.status == "aborted"
    assert plan.abort_reason == "Ada Lovelace unregistered environment 'Production'."


def test_two_hosts_deploy_once(scene):
    plan = scene.started(deploy(scene.first["key"]))

    def work():
        try:
            execution.advance()
        finally:
            connections.close_all()

    hosts = [threading.Thread(target=work) for _ in range(3)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()

    plan = wait_for_status(plan, "finished_successful")
    assert len(scene.production.call("GET", "/deployments").json["deployments"]) == 1
    assert plan.lines.filter(message__startswith="Uploading").count() == 1


def expire_claims():
    with connection.cursor() as cursor:
        cursor.execute("UPDATE deployments_deploymentplan SET claimed_until = clock_timestamp() - interval '1 second'")


def test_a_plan_of_a_dead_worker_is_taken_over(scene):
    plan = scene.started(deploy(scene.first["key"]))
    assert claims.take("00000000-0000-0000-0000-000000000001", limit=1)
    assert advanced(plan).status == "running"  # it is believed to live

    expire_claims()

    assert advanced(plan).status == "finished_successful"


def test_a_plan_does_not_wait_long_for_the_synchronization_of_a_dead_worker(scene):
    run = sync.request(scene.target, by=actor())
    SyncRun.objects.filter(pk=run.pk).update(status="running", started_at=timezone.now())
    Contact.objects.create(
        environment=scene.target,
        sync_run_id=run.pk,
        purpose="sync",
        worker="elsewhere",
        pid=4242,
        epoch=scene.target.epoch,
        expires_at=timezone.now(),
    )
    began = time.monotonic()

    plan = advanced(scene.started(deploy(scene.first["key"])))

    assert plan.status == "finished_successful", told(plan)
    assert time.monotonic() - began < sync.ORPHANED_AFTER / 2
    run.refresh_from_db()
    assert run.status == "failed"


def test_a_plan_over_which_workers_die_again_and_again_is_aborted(scene):
    plan = scene.started(deploy(scene.first["key"]))
    for _ in range(claims.TAKEN_UP_AT_MOST):
        assert claims.take("00000000-0000-0000-0000-000000000001", limit=1)
        expire_claims()

    plan = advanced(plan)

    assert plan.status == "aborted"
    assert "stopped answering" in plan.abort_reason


def test_who_has_lost_the_claim_changes_nothing(scene):
    plan = scene.started(deploy(scene.first["key"]))
    late = "00000000-0000-0000-0000-000000000001"
    claims.take(late, limit=1)
    expire_claims()
    plan = advanced(plan)

    with pytest.raises(execution.claims.LostClaim):
        execution.outcomes.store(plan.pk, late, execution.outcomes.Failed("Too late."))

    assert fresh(plan).status == "finished_successful"


def test_a_retry_deploys_the_tag_that_was_made(scene):
    scene.publish(tag="")
    scene.production.behave(fail_step="generating")
    plan = advanced(scene.started(tag_and_deploy("1.1")))
    assert plan.status == "aborted"
    scene.production.behave()

    draft, said = plans.retry(plan, by=actor())
    assert said == []
    assert (draft.is_draft, draft.operations.get().described) == (True, "Deploy 1.1")
    plan = advanced(plans.start(scenes.validated(draft), by=actor()))

    assert plan.status == "finished_successful", told(plan)
    assert scene.production.version() == "1.1"


def test_logs_of_long_ago_are_forgotten(scene):
    plan = advanced(scene.started(deploy(scene.first["key"])))
    other = advanced(scene.started(deploy(scene.first["key"])))
    DeploymentPlan.objects.filter(pk=plan.pk).update(ended_at=timezone.now() - timedelta(days=91))

    tasks.tick()

    assert not plan.lines.exists()
    assert plan.steps.count() == 7
    assert other.lines.exists()
