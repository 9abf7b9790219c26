"""What is proposed for each application of a source, and what else can be chosen."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deployments import plans, proposals
from deployments.choices import Choice
from deployments.models import DeploymentPlan, OperationKind
from environments import blocking
from environments.models import Application
from lifetime.models import Level, Role, RoleLevel
from lifetime.permissions import Permissions
from tests.deployments.factories import AT, create_application, create_plan, publish, tag
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db


def candidates(route, **options):
    held = options.pop("held", None) or Permissions.of(create_user())
    return {one.name: one for one in proposals.candidates(*route, held, **options)}


def only(route, **options):
    [found] = candidates(route, **options).values()
    return found


def labels(candidate):
    return [option.label for option in candidate.options]


def test_a_changed_application_is_tagged_above_the_highest_number_of_the_infrastructure(route):
    source, target = route
    elsewhere = create_environment(name="Production")
    application = create_application("Back Office")
    publish(application, source, number="1.3", is_modified=True)
    publish(application, target, number="1.2")
    publish(application, elsewhere, number="1.7")

    found = only(route)

    assert found.default.label == "Tag & Deploy 1.8"
    assert labels(found) == ["Tag & Deploy 1.8", "Deploy 1.3", "Do Nothing"]
    assert found.differs


def test_what_was_not_changed_goes_as_the_tag_that_runs_in_the_source(route):
    source, target = route
    application = create_application()
    for number in ("0.9", "1.0", "1.1"):
        tag(application, number)
    publish(application, source, number="1.1")
    publish(application, target, number="0.9")

    found = only(route)

    assert found.default.label == "Deploy 1.1"
    assert labels(found) == ["Tag & Deploy 1.2", "Deploy 1.1", "Deploy 1.0", "Do Nothing"]
    assert found.warning(found.default) == ""
    assert found.warning(found.options[2]) == "The source runs 1.1, not 1.0."


def test_deploying_the_tag_of_a_changed_application_is_warned_of(route):
    publish(create_application(), route[0], number="1.1", is_modified=True)

    found = only(route)

    assert "changed since 1.1 was tagged" in found.warning(found.options[1])


def test_the_same_version_is_not_proposed(route):
    application = create_application()
    version = publish(application, route[0], number="1.0")
    publish(application, route[1], version)

    found = only(route)

    assert found.default == proposals.NOTHING
    assert not found.differs
    assert not found.is_proposed


def test_what_is_new_in_the_target_is_proposed(route):
    publish(create_application(), route[0], number="1.0")

    assert only(route).default.label == "Deploy 1.0"


def test_a_lower_version_over_a_higher_one_is_not_offered(route):
    application = create_application()
    publish(application, route[0], number="1.0")
    publish(application, route[1], number="2.0")

    found = only(route)

    assert found.default == proposals.NOTHING
    assert labels(found) == ["Tag & Deploy 2.1", "Do Nothing"]
    assert "tag a new version that is based on 1.0" in found.note


def test_a_hotfix_gets_a_third_number(route):
    development, test = route
    production = create_environment(name="Production")
    application = create_application()
    publish(application, development, number="0.4")
    version = publish(application, test, number="0.3", is_modified=True)
    publish(application, production, version)

    assert only((test, production)).default.label == "Tag & Deploy 0.3.1"


def test_a_blocked_application_stays_where_it_is(route):
    application = create_application()
    publish(application, route[0], number="1.0")
    blocking.block(route[1], application, by=actor("Grace Hopper"), reason="Not for customers")

    found = only(route)

    assert labels(found) == ["Do Nothing"]
    assert found.block.reason == "Not for customers"
    assert "Grace Hopper" in found.note


def test_who_may_not_tag_in_the_source_deploys_what_is_tagged(route):
    role = Role.objects.create(name="Guest")
    RoleLevel.objects.create(role=role, environment=route[0], level=Level.LIST)
    held = Permissions.of(create_user(role=role))
    publish(create_application("Changed"), route[0], number="1.0", is_modified=True)
    publish(create_application("Never tagged"), route[0], is_modified=True)

    found = candidates(route, held=held)

    assert found["Changed"].default.label == "Deploy 1.0"
    assert "changed since" in found["Changed"].warning(found["Changed"].default)
    assert found["Never tagged"].default == proposals.NOTHING
    assert "cannot tag" in found["Never tagged"].note


def test_an_application_without_modules_cannot_be_tagged(route):
    publish(create_application(), route[0], number="1.0", is_modified=True, modules=False)

    assert labels(only(route)) == ["Deploy 1.0", "Do Nothing"]


def test_what_the_person_does_not_see_and_what_the_platform_brings_is_left_out(route):
    publish(create_application("Seen"), route[0], number="1.0")
    publish(create_application("System", is_system=True), route[0], number="1.0")
    role = Role.objects.create(name="Nobody")
    for environment in route:
        RoleLevel.objects.create(role=role, environment=environment, level=Level.ACCESS)

    assert list(candidates(route)) == ["Seen"]
    assert candidates(route, held=Permissions.of(create_user(role=role))) == {}


def test_a_refresh_proposes_anew_what_was_proposed_and_keeps_what_people_chose(route):
    source, target = route
    proposed, chosen, gone = (create_application(name) for name in ("Proposed", "Chosen", "Gone"))
    for application in (proposed, chosen, gone):
        publish(application, source, number="1.0")
    plan = create_plan(source, target, applications=[proposed, chosen, gone])
    first, second, third = [proposals.choice_of(one) for one in plan.operations.order_by("position")]
    kept = Choice(application_key=chosen.key, kind=OperationKind.TAG_AND_DEPLOY, version_number="5.0")
    plan = plans.change(plan, [first, kept, third], by=actor(), revision=plan.revision)
    assert second.is_proposed
    publish(proposed, source, number="1.1")
    gone.statuses.all().delete()
    held = Permissions.of(create_user())

    rows = proposals.rows(DeploymentPlan.objects.get(pk=plan.pk), held)
    choices, words = proposals.refreshed(rows)

    assert [row.is_stale for row in rows] == [True, False, True]
    assert [(one.kind, one.version_number) for one in choices] == [("deploy", "1.1"), ("tag_and_deploy", "5.0")]
    assert words == [
        "Proposed: Deploy 1.1 instead of Deploy 1.0.",
        "Gone is not in the source any more; it is removed from the plan.",
    ]


def test_a_number_that_was_used_meanwhile_is_proposed_anew(route):
    source, target = route
    application = create_application()
    publish(application, source, number="1.0", is_modified=True)
    plan = plans.create(source, target, by=actor(), choices=[only(route).choice(only(route).default)])
    tag(application, "1.1", created_at=AT + timedelta(days=1))

    choices, _ = proposals.refreshed(proposals.rows(plan, Permissions.of(create_user())))

    assert choices[0].version_number == "1.2"


def test_a_constant_number_of_queries(route):
    held = Permissions.of(create_user())

    def queries(count):
        for _ in range(count):
            application = create_application()
            publish(application, route[0], number="1.0", is_modified=True)
            publish(application, route[1], number="0.9")
        with CaptureQueriesContext(connection) as captured:
            assert len(proposals.candidates(*route, held)) == Application.objects.count()
        return len(captured)

    assert queries(1) == queries(20) <= 9
