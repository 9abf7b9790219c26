"""Settings, review, progress, and what is done with a plan as a whole."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ

from audit.models import AuditEvent
from deployments import journal, plans
from deployments.choices import Choice
from deployments.journal import Line
from deployments.models import DeploymentPlan, LineType, PlanDependent, PlanFinding, PlanRemoval, PlanStep
from environments import maintenance
from environments.models import ApplicationSettings, ApplicationTask, RefusedOperation
from lifetime.models import ApplicationRole, Level, Role, RoleLevel
from tests.deployments.factories import (
    create_application,
    create_plan,
    create_started_plan,
    operation,
    publish,
    validated,
)
from tests.deployments.test_views_selection import stranger_to
from tests.factories import actor, create_user

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
MODULE = str(uuid4())
SETTINGS = {
    "site_properties": [
        {"module_key": MODULE, "module": "BackOffice", "name": name, "data_type": "Text", "is_secret": is_secret,
         "default_value": default, "effective_value": None}
        for name, default, is_secret in [("PageSize", "50", False), ("Key", None, True), ("Address", None, False)]
    ]
}  # fmt: skip


@pytest.fixture
def application(route):
    found = create_application("Back Office")
    publish(found, route[0], number="1.1")
    publish(found, route[1], number="1.0")
    return found


@pytest.fixture
def plan(route, application):
    return validated(create_plan(*route, applications=[application]))


def url(name, plan):
    return reverse(f"plans:{name}", args=[plan.key])


def post(client, name, plan, htmx=False, **data):
    return client.post(url(name, plan), {"revision": plan.revision, **data}, headers=HTMX if htmx else {})


def reader_of(route):
    """Somebody who sees everything in both environments."""
    role = Role.objects.create(name="Reader")
    for environment in route:
        RoleLevel.objects.create(role=role, environment=environment, level=Level.LIST)
    return create_user(role=role)


def read(application, environment, document=SETTINGS):
    values = {"document": document, "digest": "1", "read_at": timezone.now()}
    ApplicationSettings.objects.create(application=application, environment=environment, **values)


# Settings


def test_what_is_not_known_is_read_on_the_way_to_the_settings(client, user, application, plan):
    response = post(client, "change", plan, next="review")

    assert response.url == url("configure", plan)
    assert ApplicationTask.objects.filter(kind="read_settings").count() == 2
    page = client.get(url("configure", plan)).content.decode()
    assert "0 of 2 read" in page
    ApplicationTask.objects.update(status="failed", message="It does not answer.", ended_at=timezone.now())
    assert client.get(url("configure", plan), headers=HTMX).headers["HX-Refresh"] == "true"
    assert "could not be read in Test: It does not answer." in client.get(url("configure", plan)).content.decode()


def test_with_nothing_missing_one_goes_straight_to_the_review(client, user, route, application, plan):
    for environment in route:
        read(application, environment, {"site_properties": []})

    assert post(client, "change", plan, next="review").url == url("review", plan)
    assert "Nothing is missing" in client.get(url("configure", plan)).content.decode()


def test_who_may_not_configure_goes_straight_to_the_review(client, route, application, plan):
    client.force_login(reader_of(route))

    assert post(client, "change", plan, next="review").url == url("review", plan)
    assert not ApplicationTask.objects.exists()
    assert "needs “Change and Deploy Applications”" in client.get(url("configure", plan)).content.decode()


@pytest.mark.parametrize("in_maintenance", [False, True])
def test_values_are_shown_to_those_only_who_may_change_them(client, route, application, plan, in_maintenance):
    read(application, route[0])
    read(application, route[1], {"site_properties": [{**SETTINGS["site_properties"][0], "effective_value": "4711"}]})
    address = {"module_key": MODULE, "name": "Address", "effective_value": "https://given"}
    given = {application.key: {"site_properties": [address]}}
    plan = plans.set_settings(plan, given, by=actor(), revision=plan.revision)
    if in_maintenance:
        maintenance.enable(route[1], by=actor(), reason="Upgrade")

    client.force_login(create_user())
    page = client.get(url("configure", plan)).content.decode()
    assert "4711" in page
    assert "https://given" in page
    client.force_login(reader_of(route))
    page = client.get(url("configure", plan)).content.decode()
    assert "4711" not in page
    assert "https://given" not in page
    assert "3 settings are shown to those who may change them" in page
    assert "Nothing is missing" not in page


def test_missing_settings_come_first_and_are_kept(client, user, route, application, plan):
    read(application, route[0])
    read(application, route[1], {"site_properties": SETTINGS["site_properties"][:1]})
    page = client.get(url("configure", plan))
    names = [row.setting.name for row, _ in page.context["form"].lines]
    assert names == ["Address", "Key", "PageSize"]
    assert "2 missing" in page.content.decode()

    response = post(client, "set-settings", plan, **{"settings": 3, "value-0": "https://x", "value-1": "s3cret"})

    assert response.url == url("review", plan)
    kept = operation(plan, application).settings["site_properties"]
    assert {(one["name"], one["effective_value"]) for one in kept} == {("Address", "https://x"), ("Key", "s3cret")}
    again = client.get(url("configure", plan)).content.decode()
    assert "https://x" in again
    assert "s3cret" not in again
    assert "A value is kept for it" in again
    plan.refresh_from_db()
    post(client, "set-settings", plan, **{"settings": 3, "value-0": "https://y", "value-1": ""})
    kept = operation(plan, application).settings["site_properties"]
    assert {one["name"]: one["effective_value"] for one in kept} == {"Address": "https://y", "Key": "s3cret"}
    assert "s3cret" not in str(list(AuditEvent.objects.values()))


def test_settings_that_changed_meanwhile_are_refused(client, user, route, application, plan):
    read(application, route[0])

    assert post(client, "set-settings", plan, settings=1).status_code == 422
    DeploymentPlan.objects.update(revision=plan.revision + 1)
    assert post(client, "set-settings", plan, settings=3).status_code == 409
    assert operation(plan, application).settings == {}


def test_settings_are_read_again(client, user, plan):
    post(client, "read-settings", plan)

    assert ApplicationTask.objects.count() == 2


# Review and start


def test_a_plan_is_started_with_its_notes(client, user, route, application, plan):
    text = client.get(url("review", plan)).content.decode()
    assert "Deploy Now" in text
    assert "1.0 → 1.1" in text

    response = post(client, "start", plan, label="Release", notes="Ask Ana")

    assert response.url == url("progress", plan)
    plan.refresh_from_db()
    assert (plan.status, plan.label, plan.notes, plan.started_by) == ("running", "Release", "Ask Ana", "Ada Lovelace")
    assert OrmQ.objects.count() == 1
    assert AuditEvent.objects.filter(message=f"Launched deployment plan '#{plan.number}'").exists()


def test_a_target_in_two_stages_prepares(client, user, route, plan):
    route[1].two_stage_deployments = True
    route[1].save()

    text = client.get(url("review", plan)).content.decode()

    assert "Prepare Deployment" in text
    assert "Deploy Now" not in text


def test_modules_that_go_need_a_confirmation(client, user, application, plan):
    PlanRemoval.objects.create(
        plan=plan, application_key=application.key, application_name="Back Office", module_key=MODULE, module_name="Old"
    )

    response = post(client, "start", plan)

    assert response.status_code == 422
    assert "Confirm that these modules go" in response.content.decode()
    assert DeploymentPlan.objects.get().status == "saved"
    assert post(client, "save-notes", plan, notes="Later").status_code == 302
    assert post(client, "start", plan, accept_removal="on").url == url("progress", plan)
    assert DeploymentPlan.objects.get().accept_module_removal


def test_errors_are_continued_with_on_purpose(client, user, plan):
    PlanFinding.objects.create(plan=plan, severity="Error", message="It breaks.")

    page = client.get(url("review", plan)).content.decode()
    assert "Validation found errors" in page
    refused = post(client, "start", plan)
    assert refused.status_code == 409
    assert "It breaks." in refused.content.decode()
    assert f'formaction="{url("start", plan)}"' in client.get(f"{url('review', plan)}?with_errors=1").content.decode()
    assert post(client, "start", plan, with_errors="1").status_code == 302
    assert DeploymentPlan.objects.get().continue_with_errors


def test_a_plan_that_is_not_validated_is_not_started(client, user, plan):
    DeploymentPlan.objects.update(validation="none")

    assert (
        "The plan is not validated as it is now. Validate it first." in client.get(url("review", plan)).content.decode()
    )
    assert post(client, "start", plan).status_code == 409


def test_a_plan_of_an_uploaded_package_is_validated_on_its_review(client, user, route):
    application = create_application("Uploaded")
    version = publish(application, route[0], number="1.0")
    choice = Choice(application_key=application.key, kind="deploy", version_key=version.key)
    plan = plans.create(None, route[1], by=actor(), choices=[choice])

    assert client.get(url("edit", plan)).url == client.get(url("plan", plan)).url == url("review", plan)
    text = client.get(url("review", plan)).content.decode()
    assert "an uploaded package" in text
    assert "Edit Plan" not in text
    assert post(client, "validate", plan).url == f"{url('review', plan)}#validation"
    assert "The plan is being validated" in client.get(url("review", plan)).content.decode()


def test_dependents_are_chosen_as_far_as_one_may(client, user, route, application, plan):
    mine, theirs = create_application("Mine"), create_application("Theirs")
    for one in (mine, theirs):
        PlanDependent.objects.create(plan=plan, application_key=one.key, application_name=one.name)
    ApplicationRole.objects.create(user=user, application=theirs, role=Role.objects.create(name="Reader"))

    text = client.get(url("review", plan)).content.decode()
    assert text.count("disabled") >= 1
    assert post(client, "start", plan, dependents="1", dependent=str(theirs.key)).status_code == 403
    assert post(client, "start", plan).status_code == 403  # what was ticked before counts
    post(client, "save-notes", plan, dependents="1", dependent=str(mine.key))

    assert dict(plan.dependents.values_list("application_name", "is_selected")) == {"Mine": True, "Theirs": False}
    plan.refresh_from_db()
    assert post(client, "start", plan, dependents="1").status_code == 302  # unticked by who starts it
    assert not plan.dependents.filter(is_selected=True).exists()


def test_notes_that_are_too_long_are_refused_in_place(client, user, plan):
    response = post(client, "save-notes", plan, notes="x" * 10_001, label="Kept")

    assert response.status_code == 422
    assert "Kept" in response.content.decode()
    assert DeploymentPlan.objects.get().label == ""


def test_who_may_only_look_saves_but_does_not_start(client, route, plan):
    client.force_login(reader_of(route))

    assert "needs “Change and Deploy Applications”" in client.get(url("review", plan)).content.decode()
    assert post(client, "start", plan).status_code == 403
    assert post(client, "save-notes", plan, notes="For you").status_code == 302
    assert DeploymentPlan.objects.get().status == "saved"


def test_an_application_that_one_may_not_deploy_keeps_the_whole_plan(client, user, application, plan):
    ApplicationRole.objects.create(user=user, application=application, role=Role.objects.create(name="Reader"))

    response = post(client, "start", plan)

    assert response.status_code == 403
    assert "Back Office" in response.content.decode()


def test_a_second_start_leads_to_the_progress_of_the_first(client, user, plan):
    post(client, "start", plan)

    response = post(client, "start", plan)

    assert response.url == url("progress", plan)
    assert AuditEvent.objects.filter(message__startswith="Launched").count() == 1


# Progress


def test_progress_shows_steps_and_log_and_is_asked_for_again(client, user, route, application):
    plan = create_started_plan(*route, applications=[application])
    PlanStep.objects.filter(plan=plan, name="retrieving").update(warnings=1)
    journal.write(plan, Line(message="Begins."), Line(message="Slow.", step="retrieving", type=LineType.WARNING))

    text = client.get(url("progress", plan)).content.decode()

    assert "Updating database and hot-deploying" in text
    assert 'href="#line-2"' in text
    assert 'id="line-2"' in text
    assert "every 1s" in text
    assert "Abort" in text
    log = client.get(url("log", plan))
    assert log.headers["Content-Disposition"].startswith("attachment")
    assert b"Warning\tretrieving\tSlow." in log.content
    DeploymentPlan.objects.update(status="finished_with_warnings", ended_at=timezone.now())
    live = client.get(url("live", plan)).content.decode()
    assert "hx-trigger" not in live
    assert "Reuse Plan" in live


def test_the_end_of_a_plan_brings_its_history(client, user, route, application):
    plan = create_started_plan(*route, applications=[application])
    assert b"history-title" not in client.get(url("live", plan)).content
    assert b"hx-swap-oob" not in client.get(url("progress", plan)).content

    plans.abort(plan, by=actor("Grace Hopper"), reason="The wrong version")
    DeploymentPlan.objects.update(status="aborted", ended_at=timezone.now())

    live = client.get(url("live", plan)).content.decode()
    assert '<section id="history"' in live
    assert 'hx-swap-oob="true"' in live
    assert "The wrong version" in live.partition('<section id="history"')[2]


def test_a_long_log_shows_its_end_and_what_went_wrong_before(client, user, route, monkeypatch):
    from deployments.views import progress

    monkeypatch.setattr(progress, "LINES_SHOWN", 3)
    plan = create_started_plan(*route)
    lines = [Line(message=f"Line {number}") for number in range(8)]
    lines[1] = Line(message="Trouble", type=LineType.ERROR)
    journal.write(plan, *lines)

    response = client.get(url("live", plan))

    assert [line.message for line in response.context["lines"]] == ["Trouble", "Line 5", "Line 6", "Line 7"]
    assert response.context["is_cut"]


def test_a_prepared_plan_is_continued_later_or_now(client, user, route, application):
    until = timezone.now() + timedelta(hours=90)
    plan = create_started_plan(
        *route,
        applications=[application],
        status="needs_user_intervention",
        information="deploy_prepared",
        prepared_until=until,
    )
    page = client.get(url("progress", plan)).content.decode()
    assert "Continue Later" in page
    assert "cannot be stopped half-way" in client.get(url("continue-dialog", plan), headers=HTMX).content.decode()

    response = post(client, "continue", plan, htmx=True, information="deploy_prepared")
    again = post(client, "continue", plan, htmx=True, information="deploy_prepared")

    assert response.headers["HX-Redirect"] == again.headers["HX-Redirect"] == url("progress", plan)
    plan.refresh_from_db()
    assert plan.status == "running"
    assert AuditEvent.objects.filter(message__startswith="Continued").count() == 1
    assert post(client, "continue", plan, information="business_process_impact").status_code == 409


def test_missing_settings_are_given_when_one_continues(client, user, route, application):
    read(application, route[0])
    names = ["BackOffice.Key", "BackOffice.Address"]
    told = [{"kind": "missing_setting", "application_key": str(application.key), "message": "No value", "names": names}]
    plan = create_started_plan(
        *route,
        applications=[application],
        status="needs_user_intervention",
        information="needs_configuration_or_confirmation",
        interventions=told,
    )
    dialog = client.get(url("continue-dialog", plan), headers=HTMX).content.decode()
    assert "Address of BackOffice in Back Office" in dialog
    assert "PageSize" not in dialog

    data = {"information": plan.information, "value-0": "https://x", "value-1": "s3cret"}
    post(client, "continue", plan, htmx=True, **data)

    kept = operation(plan, application).settings["site_properties"]
    assert {one["name"]: one["effective_value"] for one in kept} == {"Address": "https://x", "Key": "s3cret"}


def test_settings_that_nobody_has_read_are_read_while_the_plan_waits(client, user, route, application):
    told = [
        {"kind": "missing_setting", "application_key": str(application.key), "message": "No value", "names": ["A.B"]}
    ]
    plan = create_started_plan(
        *route,
        applications=[application],
        status="needs_user_intervention",
        information="needs_configuration_or_confirmation",
        interventions=told,
    )
    assert "The console has not read these settings yet" in client.get(url("progress", plan)).content.decode()

    response = post(client, "read-settings", plan)

    assert response.url == url("progress", plan)
    assert ApplicationTask.objects.filter(kind="read_settings").count() == 2


def test_what_is_tagged_by_the_plan_needs_the_right_in_the_source(client, route, application):
    publish(application, route[0], number="1.1", is_modified=True)
    plan = create_plan(*route)
    choice = Choice(application_key=application.key, kind="tag_and_deploy", version_number="1.2")
    plan = validated(plans.change(plan, [choice], by=actor(), revision=plan.revision))
    role = Role.objects.create(name="Operator")
    RoleLevel.objects.create(role=role, environment=route[0], level=Level.LIST)
    RoleLevel.objects.create(role=role, environment=route[1], level=Level.CHANGE)
    client.force_login(create_user(role=role))

    response = post(client, "start", plan)

    assert response.status_code == 403
    assert "Tagging applications" in response.content.decode()


def test_a_running_plan_is_aborted_with_a_reason(client, user, route, application):
    plan = create_started_plan(*route, applications=[application])
    assert "stay tagged" in client.get(url("abort-dialog", plan), headers=HTMX).content.decode()

    response = post(client, "abort", plan, htmx=True, reason="Wrong version")

    assert response.headers["HX-Redirect"] == url("progress", plan)
    plan.refresh_from_db()
    assert (plan.status, plan.abort_reason) == ("aborting", "Wrong version")
    assert AuditEvent.objects.get(message__startswith="Aborted").reason == "Wrong version"
    assert post(client, "abort", plan, htmx=True).status_code == 409


def test_what_must_come_to_its_end_is_not_aborted(client, user, route):
    plan = create_started_plan(*route, step="updating")

    assert "must come to its end" in client.get(url("progress", plan)).content.decode()
    response = post(client, "abort", plan, htmx=True)

    assert response.status_code == 409
    assert DeploymentPlan.objects.get().status == "running"


def test_what_maintenance_mode_aborted_says_why_by_whom_where_and_how_the_target_is(client, user, route, application):
    plan = create_started_plan(*route, applications=[application])
    maintenance.enable(route[1], by=actor("Grace Hopper"), reason="Upgrade to 11.29")

    text = " ".join(client.get(url("progress", plan)).content.decode().split())

    plan.refresh_from_db()
    assert "Grace Hopper" in text
    assert "at “Generating and compiling code”" in text
    assert "Upgrade to 11.29" in text
    assert "Test is as it was before" in text
    assert reverse("environments:window", args=[route[1].key, plan.window.key]) in text
    assert 'aria-disabled="true"' in text  # retry, as long as maintenance mode is on


def test_a_constant_number_of_queries(client, user, route):
    def queries(name, count):
        found = [create_application() for _ in range(count)]
        for one in found:
            publish(one, route[0], number="1.0")
            read(one, route[0])
        if name == "progress":
            plan = create_started_plan(*route, applications=found)
            journal.write(plan, *(Line(message="x") for _ in range(count)))
        else:
            plan = validated(create_plan(*route, applications=found))
            PlanDependent.objects.bulk_create(
                PlanDependent(plan=plan, application_key=one.key, application_name=one.name) for one in found
            )
        client.get(url(name, plan))
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url(name, plan)).status_code == 200
        return len(captured)

    for name in ("configure", "review", "progress"):
        assert queries(name, 1) == queries(name, 8) <= 20, name


# The plan as a whole


def test_an_aborted_plan_is_retried(client, user, route, application):
    plan = create_started_plan(
        *route, applications=[application], status="aborted", aborted_at=timezone.now(), aborted_by="Ada"
    )

    response = post(client, "retry", plan)

    draft = DeploymentPlan.objects.newest_first().first()
    assert response.url == url("edit", draft)
    assert [str(one) for one in draft.operations.all()] == ["Back Office: Deploy 1.1"]
    assert draft.is_draft
    assert post(client, "retry", draft).status_code == 409


def test_a_retry_says_what_it_does_otherwise(client, user, route, application):
    plan = create_started_plan(
        *route, applications=[application], status="aborted", aborted_at=timezone.now(), aborted_by="Ada"
    )
    application.versions.all().delete()

    post(client, "retry", plan)

    page = client.get(url("edit", DeploymentPlan.objects.newest_first().first())).content.decode()
    assert "Back Office: Tag &amp; Deploy 1.2 instead of Deploy 1.1." in page


def test_a_finished_plan_is_reused(client, user, route, application):
    plan = create_started_plan(*route, applications=[application], status="finished_successful")
    dialog = client.get(url("reuse-dialog", plan), headers=HTMX)
    assert dialog.context["form"].initial["source"] == str(route[1].key)

    data = {"source": route[0].key, "target": route[1].key, "same_versions": "on"}
    response = post(client, "reuse", plan, htmx=True, **data)

    draft = DeploymentPlan.objects.newest_first().first()
    assert response.headers["HX-Redirect"] == url("edit", draft)
    assert post(client, "reuse", plan, htmx=True, **{**data, "target": route[0].key}).status_code == 422
    application.statuses.all().delete()
    refused = post(client, "reuse", plan, htmx=True, **data)
    assert refused.status_code == 422
    assert "None of the applications" in refused.content.decode()


def test_a_plan_is_discarded_after_a_question(client, user, plan):
    assert "the audit log keeps" in client.get(url("discard-dialog", plan), headers=HTMX).content.decode()

    response = post(client, "discard", plan, htmx=True)

    assert response.headers["HX-Redirect"] == reverse("plans:list")
    assert not DeploymentPlan.objects.exists()
    assert AuditEvent.objects.filter(message=f"Discarded deployment plan '#{plan.number}'").exists()


def test_a_started_plan_is_not_discarded_but_relabelled(client, user, route):
    plan = create_started_plan(*route)

    assert post(client, "discard", plan).status_code == 409
    assert post(client, "relabel", plan, htmx=True, label="x" * 121).status_code == 422
    assert post(client, "relabel", plan, htmx=True, label="Release 7").headers["HX-Redirect"] == url("progress", plan)
    assert DeploymentPlan.objects.get().label == "Release 7"


# Who may not, and when


POSTS = ["set-settings", "read-settings", "save-notes", "start", "continue", "abort", "retry", "reuse"]
NEED_CHANGE = ["set-settings", "read-settings", "start", "continue", "abort"]


def test_posts_are_not_for_strangers(client, user, route, plan):
    for name in POSTS:
        assert client.get(url(name, plan)).status_code == 405, name
    client.force_login(stranger_to(route[1]))

    for name in POSTS:
        assert post(client, name, plan).status_code == 404, name


def test_who_may_only_look_changes_nothing(client, route, plan):
    client.force_login(reader_of(route))
    before = AuditEvent.objects.count()

    for name in NEED_CHANGE:
        assert post(client, name, plan).status_code == 403, name
    assert AuditEvent.objects.count() == before


@pytest.mark.parametrize("side", [0, 1])
def test_nothing_is_done_in_maintenance(client, user, route, plan, side):
    maintenance.enable(route[side], by=actor("Grace Hopper"), reason="Upgrade")
    names = [name for name in POSTS if name != "reuse"]

    for name in names:
        response = post(client, name, plan)
        assert response.status_code == 409, name
        assert "Grace Hopper enabled it" in response.content.decode()
    counts = dict(RefusedOperation.objects.values_list("operation", "count"))
    assert counts == {"deploy": 1, "operate_plans": len(names) - 1}
    assert DeploymentPlan.objects.get().status == "saved"


def test_reuse_is_refused_in_maintenance_of_the_new_route(client, user, route):
    plan = create_started_plan(*route, status="finished_successful")
    maintenance.enable(route[0], by=actor(), reason="Upgrade")

    response = post(client, "reuse", plan, source=route[0].key, target=route[1].key)

    assert response.status_code == 409
    assert DeploymentPlan.objects.count() == 1


def test_a_plan_that_is_not_there_is_404(client, user, plan):
    plan.key = uuid4()

    for name in ("plan", "edit", "review", "progress", "live"):
        assert client.get(url(name, plan)).status_code == 404
