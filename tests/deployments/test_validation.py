"""Validation of plans between two real environments: what is found, what is added, and what keeps it from happening."""

import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone
from django_q.models import OrmQ

from audit.models import AuditEvent
from deployments import plans, states, tasks, validation
from deployments.choices import Choice
from deployments.models import DeploymentPlan, ModuleReferences, OperationKind, PlanStatus, ValidationStatus
from environments import blocking, gate, maintenance
from environments.models import Application, ApplicationVersion, Contact
from lifetime.models import Role
from tests.deployments.sides import Pairs, deploying, make_plan, module, nothing, tag, tagging, use
from tests.environments.platform.test_conformance import sabotaged
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    started = Pairs(tmp_path_factory.mktemp("sides"))
    yield started
    started.stop()


@pytest.fixture
def sides(pairs):
    return pairs.fresh()


ORDERS = module("Orders", offers=("GetOrder", "ListOrders"))
SHOP = module("Shop", uses=(use("Orders", "Orders", "GetOrder"),))


def register(sides):
    for side in sides:
        side.register()
    return sides


def validate(plan, *, by=None):
    validation.request(plan, by=by or actor())
    tasks.validate(plan.pk, str((by and by.key) or ""))
    plan.refresh_from_db()
    return plan


def found(plan):
    return [(one.severity, one.type, one.message) for one in plan.findings.order_by("position", "pk")]


def worst(plan):
    return [(severity, type_) for severity, type_, _ in found(plan) if severity != "Info"]


def operations(plan):
    return [(one.application_name, one.described) for one in plan.operations.order_by("position", "pk")]


def test_a_plan_that_lacks_nothing_is_fine(sides):
    source, target = sides
    source.publish("Orders", "1.0", ORDERS)
    source.publish("Shop", "1.1", SHOP)
    target.publish("Orders", "1.0", ORDERS)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.1"))

    validate(plan)

    assert (plan.validation, plan.validation_message, plan.is_validated) == ("finished", "", True)
    assert (found(plan), plan.revision) == ([], 1)
    assert {
        one.environment.name: (one.purpose, one.plan_number) for one in Contact.objects.filter(purpose="deploy")
    } == {
        "Development": ("deploy", plan.number),
        "Production": ("deploy", plan.number),
    }
    assert "Requested validation of deployment plan" in AuditEvent.objects.order_by("-number")[0].message


def test_references_are_asked_for_once(sides):
    source, target = sides
    source.publish("Orders", "1.0", ORDERS)
    source.publish("Shop", "1.1", SHOP)
    target.publish("Orders", "1.0", ORDERS)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.1"))

    validate(plan)
    assert (len(source.calls("/references")), len(target.calls("/references"))) == (1, 1)
    validate(plan)

    assert (len(source.calls("/references")), len(target.calls("/references"))) == (1, 1)
    assert set(ModuleReferences.objects.values_list("module_name", "application_name")) == {
        ("Orders", "Orders"),
        ("Shop", "Shop"),
    }


def test_a_missing_dependency_is_added_with_the_tag_that_the_source_runs(sides):
    source, target = sides
    source.publish("Orders", "5.0", ORDERS)
    source.publish("Shop", "1.1", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.1"))

    validate(plan)

    assert operations(plan) == [("Shop", "Deploy 1.1"), ("Orders", "Deploy 5.0")]
    added = plan.operations.get(application_name="Orders")
    assert (added.is_dependency, added.version.version, added.source_version, added.target_existed) == (
        True,
        "5.0",
        "5.0",
        False,
    )
    assert found(plan) == [("Info", "", "1 dependency has been added to your plan: Orders (Deploy 5.0).")]
    assert (plan.revision, plan.validated_revision, plan.is_validated) == (2, 2, True)
    assert AuditEvent.objects.order_by("-number")[0].message == (
        f"Added dependency 'Orders' (Deploy 5.0) to deployment plan '#{plan.number}'"
    )
    validate(plan)
    assert (plan.revision, found(plan)) == (2, [])


def test_a_dependency_that_was_changed_is_tagged_above_the_highest_number(sides):
    source, target = sides
    source.publish("Orders", "5.0", ORDERS)
    source.publish("Orders", None, module("Orders", offers=("GetOrder", "New")))
    source.publish("Shop", "1.1", module("Shop", uses=(use("Orders", "Orders", "New"),)))
    target.publish("Orders", "5.7", ORDERS)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.1"))

    validate(plan)

    assert operations(plan) == [("Shop", "Deploy 1.1"), ("Orders", "Tag & Deploy 5.8")]
    assert worst(plan) == []


def test_a_producer_that_is_nowhere_is_an_error(sides):
    source, target = sides
    source.publish("Shop", "1.1", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.1"))

    validate(plan)

    [finding] = plan.findings.all()
    assert (finding.severity, finding.type, finding.elements) == ("Error", "Producer Module Missing", 1)
    assert (finding.consumer_operation.application_name, finding.producer_operation) == ("Shop", None)
    assert (finding.consumer_module_name, finding.producer_module_name) == ("Shop", "Orders")
    with pytest.raises(plans.PlanRefused, match="broken references"):
        plans.start(plan, by=actor())


def test_an_element_of_another_signature_is_an_error_of_whom_it_breaks(sides):
    source, target = sides
    source.publish("Orders", "6.0", module("Orders", offers=("GetOrder:2",)))
    target.publish("Orders", "5.0", ORDERS)
    target.publish("Shop", "1.0", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Orders", "6.0"))

    validate(plan)

    [finding] = plan.findings.all()
    assert (finding.severity, finding.type) == ("Error", "Producer Element Incompatible")
    assert finding.message == (
        "Deploying Orders 6.0 results in broken references: module Shop of Shop is incompatible with module Orders of "
        "Orders since Action GetOrder is of another signature."
    )
    assert (finding.producer_operation.application_name, finding.consumer_operation) == ("Orders", None)


def test_an_outdated_consumer_is_a_warning_and_stays_deselected(sides):
    source, target = sides
    source.publish("Orders", "6.0", module("Orders", offers=("GetOrder", "More")))
    target.publish("Orders", "5.0", ORDERS)
    target.publish("Shop", "1.0", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Orders", "6.0"))

    validate(plan)

    assert worst(plan) == [("Warning", "Consumer Module Outdated")]
    [dependent] = plan.dependents.all()
    assert (dependent.application_name, dependent.is_selected) == ("Shop", True)
    plan.dependents.update(is_selected=False)
    validate(plan)
    assert plan.dependents.get().is_selected is False


def test_modules_that_would_go_are_listed(sides):
    source, target = sides
    source.publish("Orders", "6.0", ORDERS)
    target.publish("Orders", "5.0", ORDERS, module("Orders_Old"))
    register(sides)
    plan = make_plan(source, target, deploying("Orders", "6.0"))

    validate(plan)

    assert list(plan.removals.values_list("application_name", "module_name")) == [("Orders", "Orders_Old")]


def test_a_name_that_another_application_has_collides(sides):
    source, target = sides
    source.publish("Shop", "1.0", module("Shop"))
    target.publish("SHOP", "7.0", module("Different"))
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.0"))

    validate(plan)

    assert worst(plan) == [("Error", "NameColision")]


def test_a_tag_that_is_not_what_runs_in_the_source_is_a_warning(sides):
    source, target = sides
    source.publish("Orders", None, module("Orders", offers=("GetOrder", "Old")))
    first = tag(source, "Orders", "1.0")
    register(sides)
    source.publish("Orders", None, module("Orders", offers=("GetOrder", "New")))
    source.synchronize()
    plan = make_plan(source, target, deploying("Orders", "1.0"))

    validate(plan)
    [changed] = found(plan)
    tag(source, "Orders", "1.1")
    source.synchronize()
    validate(plan)
    [other] = found(plan)

    message = "Orders was changed in Development since 1.0 was tagged; the changes stay there."
    assert changed == ("Warning", "", message)
    assert other == ("Warning", "", "Orders 1.0 is deployed, but Orders 1.1 runs in Development.")
    assert source.calls("/references")[-1]["path"].startswith(f"/applications/{first['application_key']}")


def test_a_version_that_the_source_does_not_have_is_an_error(sides):
    source, target = sides
    source.publish("Orders", "2.0", ORDERS)
    target.publish("Orders", "1.0", ORDERS)
    register(sides)
    plan = make_plan(source, target, deploying("Orders", "1.0"))

    validate(plan)

    assert found(plan)[0][2].startswith("Development does not have Orders 1.0. Choose another version")


def test_a_downgrade_is_an_error_and_a_rollback_is_not(sides):
    source, target = sides
    source.publish("Orders", None, ORDERS)
    older = tag(source, "Orders", "1.0")
    register(sides)
    target.publish("Orders", None, ORDERS)
    tag(target, "Orders", "1.4")
    target.synchronize()
    plan = make_plan(source, target, deploying("Orders", "1.0"))

    validate(plan)
    [downgrade] = found(plan)
    tag(source, "Orders", "1.3", base_version_key=older["key"])
    application = Application.objects.get(name="Orders")
    rollback = tag(source, "Orders", "1.3.1", base_version_key=older["key"])
    version = ApplicationVersion.objects.create(key=rollback["key"], application=application, version="1.3.1")
    plan = make_plan(source, target, deploying("Orders", version.version))
    validate(plan)

    assert downgrade[0] == "Error"
    assert downgrade[2] == (
        "Orders 1.0 is older than 1.4, which Production has: a lower number does not replace a higher one. "
        "Tag a new version that is based on 1.0, then deploy that."
    )
    assert [one for one in found(plan) if one[0] == "Error"] == []


def test_changes_made_in_the_target_itself_are_not_overwritten_silently(sides):
    source, target = sides
    source.publish("Orders", "1.1", module("Orders", offers=("GetOrder",)))
    target.publish("Orders", "1.0", ORDERS)
    target.publish("Orders", None, module("Orders", offers=("GetOrder", "Hotfix")))
    register(sides)

    plan = validate(make_plan(source, target, deploying("Orders", "1.1")))

    message = (
        "Orders was changed in Production itself since 1.0 was tagged; the changes are lost there unless 1.1 has them, "
        "too."
    )
    assert found(plan) == [("Warning", "", message)]


def test_an_uploaded_package_is_validated_as_far_as_it_is_known(sides):
    _, target = sides
    target.publish("Orders", "1.0", ORDERS, module("Orders_Old"))
    target.register()
    application = Application.objects.get(name="Orders")
    version = ApplicationVersion.objects.create(key=uuid4(), application=application, version="2.0")
    version.modules.create(module_key=application.modules.get(name="Orders").key, name="Orders", version_key=uuid4())
    plan = plans.create(None, target.environment, by=actor(), choices=[deploying("Orders", "2.0")])

    validate(plan)

    assert (plan.validation, plan.is_validated) == ("finished", True)
    assert list(plan.removals.values_list("module_name", flat=True)) == ["Orders_Old"]
    assert found(plan) == [
        ("Warning", "", "The references of 1 version in the plan cannot be checked beforehand."),
    ]


def test_picked_modules_count_as_they_are_in_their_version(sides):
    source, target = sides
    source.publish("Orders", None, module("Orders"), module("Orders_API", offers=("GetOrder",)))
    first = tag(source, "Orders", "1.0")
    source.publish("Orders", None, module("Orders"), module("Orders_API", offers=("Renamed",)))
    target.publish("Shop", "1.0", module("Shop", uses=(use("Orders", "Orders_API", "GetOrder"),)))
    target.publish("Orders", "0.9", module("Orders_API", offers=("GetOrder", "Another")))
    register(sides)
    picks = {one["module_key"]: one["version_key"] for one in first["modules"] if one["name"] == "Orders_API"}
    version, _ = ApplicationVersion.objects.get_or_create(
        key=first["key"], defaults={"application": Application.objects.get(name="Orders"), "version": "1.0"}
    )
    for one in first["modules"]:
        version.modules.create(module_key=one["module_key"], name=one["name"], version_key=one["version_key"])
    custom = {"application_key": version.application.key, "kind": OperationKind.CUSTOM, "version_number": "1.1"}

    without = validate(make_plan(source, target, Choice(**custom)))
    picked = validate(make_plan(source, target, Choice(**custom, module_picks=picks)))

    assert worst(without) == [("Error", "Producer Element Missing")]
    assert worst(picked) == [("Warning", "Consumer Module Outdated")]


def test_what_is_blocked_or_gone_does_nothing_and_says_so(sides):
    source, target = sides
    source.publish("Orders", "1.0", ORDERS)
    source.publish("Shop", "1.0", SHOP)
    source.publish("Hotel", "1.0")
    register(sides)
    plan = make_plan(source, target, *(deploying(name, "1.0") for name in ("Shop", "Orders", "Hotel")))
    blocking.block(
        target.environment, Application.objects.get(name="Orders"), by=actor("Eva Lindt"), reason="Not reviewed yet"
    )
    source.remove("Hotel")
    source.synchronize()

    validate(plan)

    assert operations(plan) == [("Shop", "Deploy 1.0"), ("Orders", "Do Nothing"), ("Hotel", "Do Nothing")]
    [error, block, gone] = found(plan)
    assert error[:2] == ("Error", "Producer Module Missing")
    assert "Orders is blocked from deployment to Production: Eva Lindt blocked it" in error[2]
    assert block[2].startswith("Orders is blocked from deployment to Production: Eva Lindt blocked it on")
    assert gone[2] == "Hotel is no longer in Development; the plan does nothing with it."
    assert (plan.revision, plan.is_validated) == (2, True)


def test_what_somebody_left_out_is_not_added(sides):
    source, target = sides
    source.publish("Orders", "1.0", ORDERS)
    source.publish("Shop", "1.0", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.0"), nothing("Orders"))

    validate(plan)

    assert found(plan)[0][2].endswith("Orders is set to Do Nothing in the plan.")
    assert plan.revision == 1


def test_who_may_not_deploy_a_dependency_is_told(sides):
    source, target = sides
    source.publish("Orders", "5.0", ORDERS)
    source.publish("Shop", "1.1", SHOP)
    source.register()
    target.register(purpose="Production")
    developer = create_user(name="Dan Developer", role=Role.objects.developer())
    plan = make_plan(source, target, deploying("Shop", "1.1"), by=developer.actor())

    validate(plan, by=developer.actor())

    assert operations(plan)[1] == ("Orders", "Deploy 5.0")
    assert found(plan)[0] == (
        "Warning",
        "",
        "Dan Developer has no permission to deploy Orders, on which the plan depends: that needs “Change and Deploy "
        "Applications” in Production. Somebody who has it must run the plan, or an administrator gives a role with it.",
    )
    validate(plan, by=create_user().actor())
    assert found(plan) == []


def test_an_application_that_is_tagged_first_counts_as_it_is(sides):
    source, target = sides
    source.publish("Orders", None, module("Orders", offers=("New",)))
    target.publish("Orders", "1.0", ORDERS)
    target.publish("Shop", "1.0", SHOP)
    register(sides)
    plan = make_plan(source, target, tagging("Orders", "2.0"))

    validate(plan)

    assert worst(plan) == [("Error", "Producer Element Missing")]
    assert "Deploying Orders 2.0 results" in found(plan)[0][2]


@pytest.mark.parametrize("which", ["Development", "Production"])
def test_maintenance_of_source_or_target_refuses_it_and_aborts_what_is_queued(sides, which):
    source, target = sides
    source.publish("Shop", "1.0", module("Shop"))
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.0"))
    validation.request(plan, by=actor())
    side = source if which == "Development" else target
    maintenance.enable(side.environment, by=actor("Eva Lindt"), reason="Upgrade")
    before = len(source.calls()) + len(target.calls())

    tasks.validate(plan.pk)

    plan.refresh_from_db()
    assert plan.validation == "aborted"
    assert plan.validation_message.startswith(f"Operating deployment plans to or from it is disabled: {which} is in")
    assert "Eva Lindt enabled it: “Upgrade”" in plan.validation_message
    with pytest.raises(gate.InMaintenance, match="Eva Lindt"):
        validation.request(plan, by=actor())
    assert [line["path"] for line in side.calls()][-1] != "/references"
    assert len(source.calls()) + len(target.calls()) <= before + 1  # the other one was asked for its facts at most


def test_maintenance_of_a_bystander_does_not_matter(sides):
    source, target = sides
    source.publish("Shop", "1.0", module("Shop"))
    register(sides)
    maintenance.enable(create_environment(), by=actor(), reason="Upgrade")

    assert validate(make_plan(source, target, deploying("Shop", "1.0"))).validation == "finished"


def test_maintenance_half_way_aborts_it(sides):
    source, target = sides
    source.publish("Orders", "1.0", ORDERS)
    source.publish("Shop", "1.0", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.0"))
    validation.request(plan, by=actor())
    source.behave(delay_seconds=20, paths=["/applications"])

    worker = threading.Thread(target=lambda: (tasks.validate(plan.pk), connections.close_all()))
    worker.start()
    try:
        source.wait_until_serving(1)
        maintenance.enable(target.environment, by=actor("Eva Lindt"), reason="Upgrade")
        worker.join(10)
    finally:
        source.behave()

    plan.refresh_from_db()
    assert not worker.is_alive()
    assert (plan.validation, "Eva Lindt enabled it" in plan.validation_message) == ("aborted", True)
    assert (operations(plan), found(plan)) == ([("Shop", "Deploy 1.0")], [])
    assert set(Contact.objects.filter(purpose="deploy").values_list("outcome", flat=True)) == {"aborted"}


def test_a_source_that_does_not_answer_fails_it(sides):
    source, target = sides
    source.publish("Shop", "1.0", module("Shop"))
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.0"))
    source.environment.address = "http://127.0.0.1:9"
    source.environment.save(update_fields=["address"])

    validate(plan)

    assert (plan.validation, "127.0.0.1:9" in plan.validation_message) == ("failed", True)
    assert not plan.is_validated
    with pytest.raises(plans.PlanRefused, match="not validated"):
        plans.start(plan, by=actor())


def test_an_environment_that_does_not_tell_references_is_a_warning(sides):
    source, target = sides
    source.publish("Orders", "6.0", ORDERS)
    target.publish("Orders", "5.0", module("Orders", offers=("Other",)))
    target.publish("Shop", "1.0", module("Shop", uses=(use("Orders", "Orders", "Other"),)))

    def older(method, path, headers, ask):
        status, answered, body = ask()
        if path.endswith("/facts"):
            body = body.replace(b'"references",', b"").replace(b'"deployments",', b"")
        return (404, answered, b"{}") if "/references" in path else (status, answered, body)

    with sabotaged(target.platform, older) as address:
        target.address = address + target.address.removeprefix(target.platform.root)
        register(sides)
        plan = validate(make_plan(source, target, deploying("Orders", "6.0")))

    assert plan.validation == "finished"
    assert [(severity, message) for severity, _, message in found(plan)] == [
        ("Error", "Production cannot take deployments: its platform does not have the capability “deployments”."),
        (
            "Warning",
            "The references of 2 applications in Production cannot be checked: its platform does not tell them "
            "(capability “references”).",
        ),
    ]


def validate_in_background(plan, source, meanwhile):
    """`meanwhile` happens while the source is being asked."""
    validation.request(plan, by=actor())
    source.behave(delay_seconds=0.5, paths=["/applications"])
    worker = threading.Thread(target=lambda: (tasks.validate(plan.pk), connections.close_all()))
    worker.start()
    source.wait_until_serving(1)
    meanwhile()
    worker.join(10)
    source.behave()
    plan.refresh_from_db()
    assert not worker.is_alive()


def test_a_plan_that_was_edited_meanwhile_is_validated_again(sides):
    source, target = sides
    source.publish("Shop", "1.0", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.0"))

    validate_in_background(plan, source, lambda: plans.change(plan, [nothing("Shop")], by=actor(), revision=1))

    assert (plan.validation, plan.validation_message) == ("none", validation.EDITED)
    assert (found(plan), plan.revision) == ([], 2)


def test_what_a_worker_finds_that_was_given_up_does_not_count(sides):
    source, target = sides
    source.publish("Shop", "1.0", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.0"))

    def give_up():
        DeploymentPlan.objects.update(validated_at=timezone.now() - timedelta(minutes=10))
        validation.recover()

    validate_in_background(plan, source, give_up)

    assert (plan.validation, "stopped answering" in plan.validation_message, found(plan)) == ("failed", True, [])


def test_a_plan_that_was_discarded_meanwhile_is_no_trouble(sides):
    source, target = sides
    source.publish("Shop", "1.0", SHOP)
    register(sides)
    plan = make_plan(source, target, deploying("Shop", "1.0"))

    validate(plan)
    plans.discard(plan, by=actor())
    tasks.validate(plan.pk)

    assert not DeploymentPlan.objects.exists()


def test_it_is_queued_once_and_carried_out_once(sides):
    source, target = sides
    source.publish("Shop", "1.0", module("Shop"))
    register(sides)
    OrmQ.objects.all().delete()
    plan = make_plan(source, target, deploying("Shop", "1.0"))

    for _ in range(2):
        validation.request(plan, by=actor())
    assert OrmQ.objects.count() == 1
    for _ in range(2):
        tasks.validate(plan.pk)

    assert Contact.objects.filter(purpose="deploy").count() == 2


def test_a_dead_workers_validation_is_given_up_and_a_forgotten_one_queued_again():
    source, target = create_environment(), create_environment()
    long_ago = timezone.now() - timedelta(minutes=10)
    common = {"source": source, "target": target, "created_by": "Ada", "validated_revision": 1}
    dead, alive, forgotten = (
        DeploymentPlan.objects.create(number=number, validation=status, validated_at=at, **common)
        for number, status, at in (
            (1, ValidationStatus.RUNNING, long_ago),
            (2, ValidationStatus.RUNNING, timezone.now()),
            (3, ValidationStatus.QUEUED, long_ago),
        )
    )

    for _ in range(2):
        validation.recover()

    for plan in (dead, alive, forgotten):
        plan.refresh_from_db()
    assert (dead.validation, "stopped answering" in dead.validation_message) == ("failed", True)
    assert (alive.validation, forgotten.validation) == ("running", "queued")
    assert [one.task["args"] for one in OrmQ.objects.all()] == [(forgotten.pk,)]


def test_only_a_plan_that_was_not_started_and_does_something_is_validated(sides):
    source, target = sides
    source.publish("Shop", "1.0", module("Shop"))
    register(sides)
    plan = make_plan(source, target, nothing("Shop"))

    with pytest.raises(plans.PlanRefused, match="does nothing"):
        validation.request(plan, by=actor())
    DeploymentPlan.objects.filter(pk=plan.pk).update(status=PlanStatus.RUNNING)
    with pytest.raises(states.WrongState):
        validation.request(plan, by=actor())
    with pytest.raises(plans.PlanRefused, match="discarded"):
        validation.request(DeploymentPlan(pk=plan.pk + 1, number=7), by=actor())


def test_a_hundred_applications_are_validated_in_a_few_seconds(sides):
    source, target = sides
    for side, version in ((source, "2.0"), (target, "1.0")):
        for number in range(40):
            uses = (use(f"App {number - 1}", f"App{number - 1}", "Do"),) if number else ()
            side.publish(f"App {number}", version, module(f"App{number}", offers=("Do", version), uses=uses))
    register(sides)
    plan = make_plan(source, target, *(deploying(f"App {number}", "2.0") for number in range(0, 40, 2)))

    began = time.monotonic()
    validate(plan)

    assert time.monotonic() - began < 5
    assert plan.validation == "finished"
    assert len([one for one in found(plan) if one[1] == "Consumer Module Outdated"]) == 20
