"""The first step of a plan: what is shown, and each of its buttons."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_q.models import OrmQ

from audit.models import AuditEvent
from deployments import plans
from deployments.models import DeploymentPlan, PlanFinding
from environments import blocking, maintenance
from environments.models import RefusedOperation
from lifetime.models import Level, Role, RoleLevel, Team, TeamApplication
from tests.deployments.factories import (
    create_application,
    create_plan,
    create_route,
    create_started_plan,
    operation,
    publish,
    tag,
    validated,
)
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def applications(route):
    """Two that are ahead, one that is the same."""
    ahead, changed, same = (create_application(name) for name in ("Ahead", "Changed", "Same"))
    publish(ahead, route[0], number="1.1")
    publish(ahead, route[1], number="1.0")
    publish(changed, route[0], number="0.3", is_modified=True)
    version = publish(same, route[0], number="2.0")
    publish(same, route[1], version)
    return ahead, changed, same


@pytest.fixture
def plan(route, applications):
    return create_plan(*route, applications=applications[:2], saved=False)


def url(name, plan, *more):
    return reverse(f"plans:{name}", args=[plan.key, *more])


def post(client, name, plan, *more, htmx=False, **data):
    data = {"revision": plan.revision, **{key.replace("__", "-"): value for key, value in data.items()}}
    return client.post(url(name, plan, *more), data, headers=HTMX if htmx else {})


def described(plan):
    return [str(one) for one in plan.operations.order_by("position")]


# Making a plan


def test_a_new_plan_begins_with_what_is_ahead(client, user, route, applications):
    response = client.post(reverse("plans:create"), {"source": route[0].key, "target": route[1].key, "begin": "on"})

    plan = DeploymentPlan.objects.get()
    assert response.url == url("edit", plan)
    assert plan.is_draft
    assert described(plan) == ["Ahead: Deploy 1.1", "Changed: Tag & Deploy 0.4"]
    assert AuditEvent.objects.filter(message__startswith="Created deployment plan").count() == 1


def test_a_new_plan_of_one_application(client, user, route, applications):
    client.post(
        reverse("plans:create"), {"source": route[0].key, "target": route[1].key, "application": applications[2].key}
    )

    assert described(DeploymentPlan.objects.get()) == ["Same: Do Nothing"]


def test_a_new_plan_needs_two_environments(client, user, route):
    response = client.post(reverse("plans:create"), {"source": route[0].key, "target": route[0].key}, headers=HTMX)

    assert response.status_code == 422
    assert "choose two" in response.content.decode()
    route[1].delete()
    asked = client.get(reverse("plans:create")).content.decode()
    assert "fewer than two environments" in asked
    assert "<select" not in asked
    assert "fewer than two environments" in client.get(reverse("plans:list")).content.decode()
    assert not DeploymentPlan.objects.exists()


def test_the_dialog_proposes_the_environment_behind(client, user, route):
    response = client.get(reverse("plans:create"), {"source": str(route[0].key)}, headers=HTMX)

    assert response.context["form"].initial["target"] == str(route[1].key)
    assert 'id="dialog-title"' in response.content.decode()
    for target, before in [(1, 0), (0, 1)]:
        response = client.get(reverse("plans:create"), {"target": str(route[target].key)}, headers=HTMX)
        assert response.context["form"].initial["source"] == str(route[before].key)


def test_no_plan_is_made_in_maintenance(client, user, route):
    maintenance.enable(route[1], by=actor("Grace Hopper"), reason="Upgrade")

    response = client.post(reverse("plans:create"), {"source": route[0].key, "target": route[1].key})

    assert response.status_code == 409
    assert "Grace Hopper enabled it" in response.content.decode()
    assert RefusedOperation.objects.get().operation == "operate_plans"
    assert not DeploymentPlan.objects.exists()


# What is shown


def test_the_page_shows_versions_options_and_what_speaks_against_them(client, user, route, applications, plan):
    blocked = create_application("Blocked")
    publish(blocked, route[0], number="1.0")
    blocking.block(route[1], blocked, by=actor(), reason="Not for customers")
    plan = plans.change(
        plan,
        [
            *map(plans.choice_of, plan.operations.order_by("position")),
            plans.Choice(application_key=blocked.key, kind="nothing"),
        ],
        by=actor(),
        revision=plan.revision,
    )

    text = client.get(url("edit", plan)).content.decode()

    assert "Tag &amp; Deploy 1.2" in text
    assert "It was changed since 0.3 was tagged" in text
    assert "Not for customers" in text
    assert text.count(" disabled>") == 1  # the blocked one
    assert "Validate Now" in text
    assert "has changed since the plan was made" not in text


def test_what_changed_meanwhile_is_said_and_refreshed(client, user, route, applications, plan):
    publish(applications[0], route[0], number="1.2")

    assert "has changed since the plan was made" in client.get(url("edit", plan)).content.decode()
    post(client, "refresh", plan)

    plan.refresh_from_db()
    assert described(plan)[0] == "Ahead: Deploy 1.2"
    assert "has changed since the plan was made" not in client.get(url("edit", plan)).content.decode()


def test_a_constant_number_of_queries(client, user, route):
    def queries(count):
        found = [create_application() for _ in range(count)]
        for application in found:
            publish(application, route[0], number="1.0")
        plan = validated(create_plan(*route, applications=found))
        PlanFinding.objects.bulk_create(
            PlanFinding(plan=plan, severity="Error", message="Missing", consumer_operation=one)
            for one in plan.operations.all()
        )
        client.get(url("edit", plan))
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url("edit", plan)).status_code == 200
        return len(captured)

    assert queries(1) == queries(15) <= 24


# What is chosen


def test_the_selection_is_kept_whatever_button_is_pressed(client, user, applications, plan):
    option = f"option-{applications[0].key}"

    response = client.post(url("save", plan), {"revision": plan.revision, option: "nothing"})

    assert response.url == url("edit", plan)
    plan.refresh_from_db()
    assert described(plan)[0] == "Ahead: Do Nothing"
    assert plan.saved_by == "Ada Lovelace"
    assert AuditEvent.objects.filter(message=f"Saved deployment plan '#{plan.number}'").exists()


def test_the_selection_of_a_large_plan_is_one_form(client, user, plan):
    fields = {f"option-{number}": "nothing" for number in range(3_000)}

    assert client.post(url("change", plan), {"revision": plan.revision, **fields}).status_code == 302


def test_an_unchanged_selection_writes_nothing(client, user, applications, plan):
    version = operation(plan, applications[0]).version_key

    client.post(url("change", plan), {"revision": plan.revision, f"option-{applications[0].key}": f"deploy:{version}"})

    before = plan.revision
    plan.refresh_from_db()
    assert plan.revision == before


@pytest.mark.parametrize("value", ["deploy:nonsense", "custom", "tag_and_deploy:1", "x" * 500])
def test_an_option_that_is_not_offered_is_refused(client, user, applications, plan, value):
    response = client.post(url("change", plan), {"revision": plan.revision, f"option-{applications[0].key}": value})

    assert response.status_code == 422
    assert "not possible any more" in response.content.decode()
    assert described(plan)[0] == "Ahead: Deploy 1.1"


def test_a_form_of_an_earlier_state_is_refused(client, user, applications, plan):
    plans.change(plan, [], by=actor("Grace Hopper"), revision=plan.revision)

    response = client.post(url("validate", plan), {"revision": plan.revision})

    assert response.status_code == 409
    assert "was changed since you looked at it" in response.content.decode()
    assert client.post(url("validate", plan), {}).status_code == 422


def test_a_zone_is_chosen_at_the_first_deployment(client, user):
    zones = [{"key": "default", "name": "Default", "is_default": True}, {"key": "dmz", "name": "DMZ"}]
    source, target = create_route(source="From", target="To", deployment_zones=zones)
    new, known = create_application("New"), create_application("Known")
    for application in (new, known):
        publish(application, source, number="1.0")
    publish(known, target, number="0.9")
    plan = create_plan(source, target, applications=[new, known])

    text = client.get(url("edit", plan)).content.decode()
    assert f"zone-{new.key}" in text
    assert f"zone-{known.key}" not in text
    assert client.post(url("change", plan), {"revision": plan.revision, f"zone-{new.key}": "moon"}).status_code == 422
    client.post(url("change", plan), {"revision": plan.revision, f"zone-{new.key}": "dmz"})

    assert operation(plan, new).zone_key == "dmz"


def test_applications_are_added(client, user, route, applications, plan):
    extra = create_application("Extra")
    publish(extra, route[0], number="1.0")
    team = Team.objects.create(name="Claims")
    TeamApplication.objects.create(team=team, application=applications[2])

    post(client, "add", plan, application=str(extra.key))
    plan.refresh_from_db()
    assert described(plan)[2:] == ["Extra: Deploy 1.0"]
    post(client, "remove", plan, application=str(extra.key))
    plan.refresh_from_db()
    post(client, "add", plan, which="differences")
    plan.refresh_from_db()
    assert described(plan)[2:] == ["Extra: Deploy 1.0"]
    post(client, "add", plan, team="Claims")
    plan.refresh_from_db()
    assert described(plan)[3:] == ["Same: Do Nothing"]
    post(client, "remove", plan, application="all")
    plan.refresh_from_db()
    assert described(plan) == []
    post(client, "add", plan, which="all")
    assert len(described(plan)) == 4
    assert AuditEvent.objects.filter(message__startswith="Removed application 'Extra'").exists()


def test_the_dialog_to_add_shows_differences_and_is_searched(client, user, route, applications, plan):
    extra = create_application("Extra")
    publish(extra, route[0], number="1.0")

    def shown(query=""):
        response = client.get(f"{url('add-dialog', plan)}{query}", headers=HTMX)
        return [one.name for one in response.context["shown"]]

    assert shown() == ["Extra"]
    assert shown("?all=1") == ["Extra", "Same"]
    assert shown("?all=1&filtered&name=SAM") == ["Same"]
    assert client.get(url("add-dialog", plan)).url == url("edit", plan)
    post(client, "add", plan, htmx=True, which="shown", shown=str(extra.key))
    assert described(plan)[2:] == ["Extra: Deploy 1.0"]


def test_the_target_is_changed_and_what_was_proposed_proposed_anew(client, user, route, applications, plan):
    production = create_environment(name="Production")
    publish(applications[0], production, number="1.1")

    response = post(client, "change-target", plan, htmx=True, target=str(production.key))

    assert response.headers["HX-Redirect"] == url("edit", plan)
    plan.refresh_from_db()
    assert plan.target == production
    assert described(plan)[0] == "Ahead: Do Nothing"
    assert post(client, "change-target", plan, htmx=True, target=str(route[0].key)).status_code == 422


def test_a_custom_version_is_chosen(client, user, applications, plan):
    base = tag(applications[0], "0.2")
    dialog = client.get(url("change-operation-dialog", plan, applications[0].key), headers=HTMX).content.decode()
    assert 'value="1.2"' in dialog
    fields = {"version": "0.2.1", "change_log": "Back to 0.2", "base_version": str(base.key)}

    response = post(client, "change-operation", plan, applications[0].key, htmx=True, **fields)

    assert response.status_code == 200, response.content
    plan.refresh_from_db()
    chosen = operation(plan, applications[0])
    assert (chosen.kind, chosen.version_number, chosen.base_version_key) == ("custom", "0.2.1", base.key)
    again = client.get(url("change-operation-dialog", plan, applications[0].key), headers=HTMX).content.decode()
    assert 'value="0.2.1"' in again
    assert "Back to 0.2" in again


def test_a_tag_of_a_mobile_application_has_the_numbers_of_the_stores(client, user, route):
    mobile = create_application("Field Service", kind="Mobile")
    version = publish(mobile, route[0], number="1.1", is_modified=True)
    version.mobile_versions = [{"platform": "Android", "version": "1.9", "description": ""}]
    version.save(update_fields=["mobile_versions"])
    plan = create_plan(*route, applications=[mobile], saved=False)
    dialog = client.get(url("change-operation-dialog", plan, mobile.key), headers=HTMX).content.decode()
    assert "Higher than 1.9." in dialog

    refused = post(client, "change-operation", plan, mobile.key, htmx=True, version="1.2", android_version="1.9")

    assert refused.status_code == 422
    assert refused.context["form"].errors["android_version"] == [
        "It must be higher than every earlier one of Android: the highest is 1.9."
    ]
    response = post(client, "change-operation", plan, mobile.key, htmx=True, version="1.2", android_version="1.10")
    assert response.status_code == 200, response.content
    chosen = operation(plan, mobile)
    assert chosen.tag_parameters == {
        "version": "1.2",
        "change_log": "",
        "mobile_versions": [{"platform": "Android", "version": "1.10", "description": ""}],
    }
    again = client.get(url("change-operation-dialog", plan, mobile.key), headers=HTMX).content.decode()
    assert 'value="1.10"' in again
    plan.refresh_from_db()
    assert "Android 1.10" in client.get(url("review", plan)).content.decode()
    assert post(client, "change", plan).status_code == 302  # what was chosen stays when the selection is kept
    assert operation(plan, mobile).mobile_versions


@pytest.mark.parametrize("version", ["", "1.1", "x", "1.2.3.4"])
def test_a_bad_custom_version_is_refused_in_the_dialog(client, user, applications, plan, version):
    response = post(client, "change-operation", plan, applications[0].key, htmx=True, version=version)

    assert response.status_code == 422
    assert 'class="errorlist' in response.content.decode()
    assert described(plan)[0] == "Ahead: Deploy 1.1"


# Validate and go on


def test_validation_is_queued_and_asked_for_until_it_has_ended(client, user, plan):
    response = post(client, "validate", plan)

    assert response.url == f"{url('edit', plan)}#validation"
    assert OrmQ.objects.count() == 1
    assert "hx-get" in client.get(url("validation", plan)).content.decode()
    page = client.get(url("edit", plan)).content.decode()
    assert "Waiting for a worker" in page
    validated(plan)
    assert client.get(url("validation", plan)).headers["HX-Refresh"] == "true"
    assert "Nothing stands against it" in client.get(url("edit", plan)).content.decode()


def test_an_empty_plan_is_not_validated(client, user, route):
    plan = create_plan(*route)

    response = post(client, "validate", plan)

    assert response.status_code == 422
    assert "add applications to deploy" in response.content.decode()


def test_errors_are_shown_and_one_may_go_on_with_them(client, user, applications, plan):
    plan = validated(plan)
    PlanFinding.objects.create(
        plan=plan,
        severity="Error",
        type="Producer Module Missing",
        message="Deploying Ahead results in broken references.",
        consumer_operation=operation(plan, applications[0]),
    )

    text = client.get(url("edit", plan)).content.decode()
    assert "Fix errors in selection" in text
    assert "results in broken references" in text
    response = post(client, "change", plan, next="review-with-errors")

    assert response.url.endswith("with_errors=1")


def test_a_selection_that_changed_is_validated_again_before_one_goes_on(client, user, applications, plan):
    plan = validated(plan)

    response = client.post(
        url("change", plan), {"revision": plan.revision, f"option-{applications[0].key}": "nothing", "next": "review"}
    )

    assert response.url == url("edit", plan)
    assert "validate it again" in client.get(response.url).content.decode()


def test_the_change_log_tells_what_the_target_does_not_have(client, user, applications, plan):
    tag(applications[0], "1.0.5", change_log="Faster search")

    text = client.get(url("change-log", plan)).content.decode()

    assert "Faster search" in text
    assert "to be tagged" not in text


# Who may not, and when


POSTS = [
    "change",
    "add",
    "remove",
    "refresh",
    "change-target",
    "validate",
    "save",
    "change-operation",
    "discard",
    "relabel",
]
DIALOGS = ["add-dialog", "change-target-dialog", "change-operation-dialog", "discard-dialog", "relabel-dialog"]
PAGES = ["plan", "edit", "validation", "change-log", "configure", "review", "progress", "live", "log", "reuse-dialog"]


def address(name, plan):
    return url(name, plan, *([uuid4()] if "operation" in name else []))


def stranger_to(environment):
    """Somebody who has no access to one of the environments."""
    role = Role.objects.create(name="Stranger")
    RoleLevel.objects.create(role=role, environment=environment, level=Level.NO_ACCESS)
    return create_user(role=role)


def test_posts_and_pages_are_not_for_strangers(client, user, route, plan):
    for name in POSTS:
        assert client.get(address(name, plan)).status_code == 405, name
    client.force_login(stranger_to(route[0]))

    for name in POSTS:
        assert client.post(address(name, plan), {"revision": plan.revision}).status_code == 404, name
    for name in (*PAGES, *DIALOGS):
        assert client.get(address(name, plan)).status_code == 404, name


def test_who_does_not_see_an_application_of_a_plan_does_not_see_the_plan(client, route, plan):
    role = Role.objects.create(name="Blind")
    for environment in route:
        RoleLevel.objects.create(role=role, environment=environment, level=Level.ACCESS)
    client.force_login(create_user(role=role))

    assert client.get(url("edit", plan)).status_code == 404
    assert client.get(reverse("plans:list")).context["page"].entries == []


@pytest.mark.parametrize("side", [0, 1])
def test_nothing_is_edited_in_maintenance(client, user, route, plan, side):
    maintenance.enable(route[side], by=actor("Grace Hopper"), reason="Upgrade")
    before = AuditEvent.objects.count()

    for count, name in enumerate(POSTS, start=1):
        response = client.post(address(name, plan), {"revision": plan.revision})
        assert response.status_code == 409, name
        assert "Operating deployment plans" in response.content.decode()
        assert RefusedOperation.objects.get().count == count
    assert DeploymentPlan.objects.get().revision == plan.revision
    later = AuditEvent.objects.filter(number__gt=before)
    assert not later.filter(object_type="plan").exists()


def test_a_plan_in_maintenance_can_be_looked_at_and_says_why_nothing_else(client, user, route, plan):
    maintenance.enable(route[1], by=actor("Grace Hopper"), reason="Replace the disks")

    for name in ("edit", "configure", "review"):
        text = client.get(url(name, plan)).content.decode()
        assert "The plan can only be looked at" in text
        assert "Replace the disks" in text
        assert "formaction" not in text
    assert 'aria-disabled="true"' in text


def test_who_edits_a_plan_that_somebody_starts_is_led_to_its_progress(client, user, route, applications):
    plan = create_started_plan(*route, applications=applications[:1])

    for name in ("edit", "review", "configure", "plan"):
        assert client.get(url(name, plan)).url == url("progress", plan)
    response = post(client, "save", plan)

    assert response.url == url("progress", plan)
    assert "Grace Hopper started it" in client.get(response.url).content.decode()


def test_a_plan_of_an_environment_that_is_gone_is_only_looked_at(client, user, route, plan):
    route[1].registration = "unregistered"
    route[1].unregistered_at = route[1].registered_at
    route[1].save()

    assert "is not registered" in client.get(url("edit", plan)).content.decode()
    assert post(client, "save", plan).status_code == 403
