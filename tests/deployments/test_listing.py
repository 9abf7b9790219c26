"""Finding plans: by filter and words, who sees which, how they are paged."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from deployments import listing, plans
from deployments.listing import Filter
from deployments.models import DeploymentPlan, PlanText
from environments import maintenance
from environments.models import Environment
from lifetime.models import ApplicationRole, Level, Role, RoleLevel
from lifetime.permissions import Permissions
from tests.deployments.factories import create_application, create_plan, create_route, create_started_plan, publish
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture
def route():
    return create_route()


@pytest.fixture
def user(client):
    user = create_user()
    client.force_login(user)
    return user


def find(user=None, **wanted):
    held = Permissions.of(user or create_user())
    environments = list(Environment.objects.all())
    page = listing.page(listing.visible(held, environments), Filter(**wanted), environments)
    return [entry.plan for entry in page.entries]


def look(client, query=""):
    return client.get(f"{reverse('plans:list')}{query}")


def test_plans_are_listed_newest_first_with_what_they_deploy(client, user, route):
    found = [create_application(name) for name in ("One", "Two", "Three", "Four")]
    for application in found:
        publish(application, route[0], number="1.1")
    publish(found[0], route[1], number="1.0")
    old = create_plan(*route, applications=found, notes="Ask Ana")
    new = create_started_plan(*route, applications=found[:1], status="finished_successful")

    response = look(client)

    assert [entry.plan for entry in response.context["page"].entries] == [new, old]
    text = " ".join(response.content.decode().split())
    assert "One 1.0 → 1.1; Two 1.1; Three 1.1; 1 more" in text
    assert "Ask Ana" in text
    assert f'href="{reverse("plans:progress", args=[new.key])}"' in text
    assert f'href="{reverse("plans:edit", args=[old.key])}"' in text
    assert "Reuse Plan" in text


def test_drafts_are_shown_on_demand(route):
    draft = create_plan(*route, saved=False)

    assert find() == []
    assert find(drafts=True) == [draft]


def test_plans_are_found_by_number_key_label_people_notes_and_application(route):
    application = create_application("Order-Service")
    publish(application, route[0], number="1.0")
    plan = create_plan(
        *route, applications=[application], label="Release of May", notes="Über alles", by=actor("Ada Lovelace")
    )
    plans.discard(create_plan(*route, label="Another"), by=actor())
    other = create_plan(*route, by=actor("Grace Hopper"))
    DeploymentPlan.objects.filter(pk=other.pk).update(started_by="Ana Ferreira")

    for text in (f"#{plan.number}", str(plan.key), "release", "MAY rel", "lovel", "über", "order serv", "may order"):
        assert find(text=text) == [plan], text
    assert find(text="ana") == [other]
    assert find(text="of 'x' | ada:* !") == []
    assert find(text="!!") == []
    assert find(text="#999999") == []


def test_the_words_of_a_plan_follow_what_is_changed(route):
    first, second = create_application("First"), create_application("Second")
    for application in (first, second):
        publish(application, route[0], number="1.0")
    plan = create_plan(*route, applications=[first])
    assert find(text="first") == [plan]

    choices = [plans.choice_of(one) for one in create_plan(*route, applications=[second]).operations.all()]
    plan = plans.change(plan, choices, by=actor(), revision=plan.revision)
    plans.relabel(plan, "Renamed", by=actor())

    assert plan not in find(text="first")
    assert plan in find(text="second")
    assert find(text="renamed") == [plan]
    plans.discard(plan, by=actor())
    assert not PlanText.objects.filter(plan=plan.pk).exists()


def test_plans_are_filtered_by_target_status_and_days(route):
    third = create_environment(name="Production")
    saved = create_plan(*route, created_at=AT)
    running = create_started_plan(route[0], third, created_at=AT - timedelta(days=9), started_at=AT)

    assert find(target=third.key) == [running]
    assert find(status="saved") == [saved]
    assert find(since=AT) == [saved]
    assert find(until=AT) == [running]
    assert find(since=AT, by_start=True) == [running]


def test_the_filter_of_the_page_says_what_is_wrong(client, user, route):
    create_plan(*route, created_at=AT)

    assert len(look(client, "?from=2026-11-10&to=2026-11-10").context["page"].entries) == 1
    assert look(client, "?from=2026-11-11").context["page"].entries == []
    for query in ("?from=2026-11-11&to=2026-11-10", "?from=x", "?status=nonsense", "?target=1", "?before=x", "?by=z"):
        response = look(client, query)
        assert response.status_code == 422, query
        assert "errorlist" in response.content.decode()
    assert look(client, "?text=%00&drafts=on").status_code in (200, 422)


def test_pages_go_by_number(client, user, route, monkeypatch):
    monkeypatch.setattr(listing, "SIZE", 2)
    monkeypatch.setattr(listing, "COUNTED", 3)
    found = [create_plan(*route) for _ in range(5)][::-1]

    first = look(client).context["page"]
    second = look(client, f"?before={first.older}").context["page"]

    assert [entry.plan for entry in first.entries] == found[:2]
    assert [entry.plan for entry in second.entries] == found[2:4]
    assert (first.total, first.is_newest, second.is_newest) == ("3+", True, False)


def test_a_plan_is_seen_by_who_has_access_to_both_sides_and_sees_its_applications(route):
    seen, hidden = create_application("Seen"), create_application("Hidden")
    for application in (seen, hidden):
        publish(application, route[0], number="1.0")
    first = create_plan(*route, applications=[seen])
    second = create_plan(*route, applications=[seen, hidden])
    stranger, guest = Role.objects.create(name="Stranger"), Role.objects.create(name="Guest")
    RoleLevel.objects.create(role=stranger, environment=route[1], level=Level.NO_ACCESS)
    for environment in route:
        RoleLevel.objects.create(role=guest, environment=environment, level=Level.ACCESS)
    visitor = create_user(role=guest)
    reader = Role.objects.create(name="Reader")
    ApplicationRole.objects.create(user=visitor, application=seen, role=reader)

    assert find(create_user()) == [second, first]
    assert find(create_user(role=reader)) == [second, first]
    assert find(create_user(role=stranger)) == []
    assert find(create_user(role=guest)) == []
    assert find(visitor) == [first]


def test_plans_of_an_unregistered_environment_stay_in_the_list(client, user, route):
    plan = create_plan(*route)
    route[1].registration, route[1].unregistered_at = "unregistered", AT
    route[1].save()

    assert [entry.plan for entry in look(client).context["page"].entries] == [plan]
    assert "Test (unregistered)" in look(client).content.decode()


def test_the_latest_plan_of_each_target(route):
    held = Permissions.of(create_user())

    def latest():
        return listing.latest(held, route, route)

    assert latest() == {}
    saved = create_plan(*route)
    assert latest() == {route[1].pk: saved}
    running = create_started_plan(*route)
    create_plan(*route, saved=False)
    assert latest() == {route[1].pk: running}
    DeploymentPlan.objects.filter(pk=running.pk).update(status="finished_successful")
    assert latest() == {}


def test_the_empty_list_says_how_to_begin(client, user, route):
    text = look(client).content.decode()

    assert "No deployment plan yet" in text
    assert "Create Deployment Plan" in text
    assert "No deployment plan passes this filter" in look(client, "?text=x").content.decode()


def test_the_matrix_shows_the_state_of_the_latest_plan(client, user, route):
    page = client.get(reverse("applications:list")).content.decode()
    assert "Deploy…" in page
    plan = create_plan(*route)
    assert f"Saved #{plan.number}" in client.get(reverse("applications:heads")).content.decode()
    DeploymentPlan.objects.update(status="needs_user_intervention", information="deploy_prepared")
    assert f"Prepared #{plan.number}" in client.get(reverse("applications:heads")).content.decode()


def test_pages_of_applications_and_environments_link_to_their_plans(client, user, route):
    application = create_application("Linked")
    publish(application, route[0], number="1.0")
    plan = create_plan(*route, applications=[application], label="Release 9")
    other = create_plan(*route, label="Without it")

    of_application = client.get(application.get_absolute_url()).content.decode()
    of_environment = client.get(route[1].get_absolute_url()).content.decode()

    assert "Release 9" in of_application
    assert "Without it" not in of_application
    assert reverse("plans:edit", args=[plan.key]) in of_environment
    assert reverse("plans:edit", args=[other.key]) in of_environment


def test_a_constant_number_of_queries(client, user, route):
    application = create_application()
    publish(application, route[0], number="1.0")

    def queries(count):
        for _ in range(count):
            create_started_plan(*route, applications=[application], status="aborted", aborted_at=AT, aborted_by="Ada")
        if count == 9:
            maintenance.enable(route[1], by=actor(), reason="Upgrade")
        look(client)
        with CaptureQueriesContext(connection) as captured:
            look(client)
        return len(captured)

    assert queries(1) == queries(9) <= 10
