"""Plans as people make and operate them; nobody is contacted."""

import threading
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from audit.models import AuditEvent
from deployments import occupation, plans, states
from deployments.choices import choice_of
from deployments.models import DeploymentPlan, ModuleReferences, PlanFinding, PlanModule
from deployments.plans import Choice
from environments import blocking, gate, maintenance, registry
from environments.models import Application, ApplicationStatus, ApplicationVersion, Module, ModuleStatus
from tests.deployments.scenes import fresh, validated
from tests.factories import actor, create_environment

pytestmark = pytest.mark.django_db


@pytest.fixture
def source():
    return create_environment(name="Development", position=1)


@pytest.fixture
def target():
    return create_environment(name="Production", position=2)


def create_application(source, name="Hotel", *, version="1.0", modules=1, is_modified=False):
    now = timezone.now()
    application = Application.objects.create(key=uuid4(), name=name, kind="WebResponsive", changed_at=now)
    tagged = ApplicationVersion.objects.create(key=uuid4(), application=application, version=version, created_at=now)
    ApplicationStatus.objects.create(
        environment=source, application=application, version=version, version_key=tagged.key, is_modified=is_modified,
        changed_at=now,
    )  # fmt: skip
    for number in range(modules):
        module = Module.objects.create(
            key=uuid4(), application=application, name=f"{name}{number}", kind="eSpace", changed_at=now
        )
        ModuleStatus.objects.create(environment=source, module=module, version_key=uuid4(), changed_at=now)
    return application


def deploying(application):
    version = application.versions.get()
    return Choice(application_key=application.key, kind="deploy", version_key=version.key)


def tagging(application, number):
    return Choice(application_key=application.key, kind="tag_and_deploy", version_number=number)


def started(plan, **how):
    return plans.start(validated(plan), by=actor(), **how)


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


def test_a_plan_begins_as_a_draft_and_is_saved(source, target):
    hotel = create_application(source)

    plan = plans.create(source, target, by=actor(), notes=" For Friday ", choices=[deploying(hotel)])
    assert (plan.is_draft, plan.notes) == (True, "For Friday")
    plan = plans.save(plan, by=actor("Grace Hopper"), revision=plan.revision, label="Friday's")

    assert (plan.is_draft, plan.saved_by, plan.label, plan.notes) == (False, "Grace Hopper", "Friday's", "For Friday")
    name = f"'#{plan.number}'"
    assert messages() == [
        f"Created deployment plan {name} from 'Development' to 'Production'",
        f"Selected 'Deploy 1.0' for 'Hotel' in deployment plan {name}",
        f"Saved deployment plan {name}",
    ]


def test_numbers_are_never_given_twice(source, target):
    first = plans.create(source, target, by=actor())
    plans.discard(first, by=actor())

    assert plans.create(source, target, by=actor()).number > first.number


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"label": "x" * 121}, "120 characters"),
        ({"notes": "x" * 10_001}, "10,000 characters"),
        ({"choices": [Choice(application_key=uuid4(), kind="nothing")]}, "no application"),
    ],
    ids=["label", "notes", "application"],
)
def test_bad_input_makes_no_plan(source, target, change, refusal):
    with pytest.raises(ValidationError, match=refusal):
        plans.create(source, target, by=actor(), **change)
    assert not DeploymentPlan.objects.exists()


def test_source_and_target_differ(source):
    with pytest.raises(plans.PlanRefused, match="same environment"):
        plans.create(source, source, by=actor())


def test_a_choice_must_fit_its_application(source, target):
    hotel, golf = create_application(source), create_application(source, "Golf")
    elsewhere = create_application(target, "Tennis")
    wrong_version = Choice(application_key=hotel.key, kind="deploy", version_key=golf.versions.get().key)
    for choices, refusal in (
        ([wrong_version], "no such version"),
        ([deploying(hotel), deploying(hotel)], "twice"),
        ([deploying(elsewhere)], "not in Development"),
        ([tagging(hotel, "1.0")], "has used 1.0"),
        ([tagging(hotel, "1.0.0")], "has used 1.0.0"),
        ([tagging(hotel, "next")], "one to three numbers"),
    ):
        with pytest.raises(ValidationError, match=refusal):
            plans.create(source, target, by=actor(), choices=choices)
    assert not DeploymentPlan.objects.exists()


def test_editing_says_what_changed_and_outdates_the_validation(source, target):
    hotel, golf = create_application(source), create_application(source, "Golf")
    plan = validated(plans.create(source, target, by=actor(), choices=[deploying(hotel), deploying(golf)]))
    assert plan.is_validated

    plan = plans.change(plan, [tagging(hotel, "1.1")], by=actor(), revision=plan.revision)

    assert not plan.is_validated
    assert [one.described for one in plan.operations.all()] == ["Tag & Deploy 1.1"]
    name = f"'#{plan.number}'"
    assert messages()[-2:] == [
        f"Selected 'Tag & Deploy 1.1' for 'Hotel' in deployment plan {name}",
        f"Removed application 'Golf' from deployment plan {name}",
    ]


def test_who_edits_what_somebody_changed_meanwhile_is_told(source, target):
    hotel = create_application(source)
    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    seen = plan.revision
    plans.change(plan, [], by=actor(), revision=seen)

    for do in (
        lambda: plans.change(plan, [deploying(hotel)], by=actor(), revision=seen),
        lambda: plans.save(plan, by=actor(), revision=seen),
        lambda: plans.start(plan, by=actor(), revision=seen),
    ):
        with pytest.raises(plans.ChangedMeanwhile):
            do()


def test_settings_are_sealed_and_kept_while_the_application_stays(source, target):
    hotel = create_application(source)
    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    document = {"site_properties": [{"module_key": "m", "name": "ApiKey", "effective_value": "s3cret-9"}]}

    plan = plans.set_settings(plan, {hotel.key: document}, by=actor(), revision=plan.revision)
    plan = plans.change(plan, [tagging(hotel, "1.1")], by=actor(), revision=plan.revision)

    operation = plan.operations.get()
    assert operation.settings == document
    assert "s3cret-9" not in str(plan.operations.values().get()) + str(list(AuditEvent.objects.values()))


def test_a_blocked_application_is_left_alone(source, target):
    hotel = create_application(source)
    blocking.block(target, hotel, by=actor(), reason="Not before the audit")

    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])

    assert plan.operations.get().kind == "nothing"


def test_one_that_is_blocked_later_keeps_the_plan_from_being_started(source, target):
    hotel = create_application(source)
    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    blocking.block(target, hotel, by=actor(), reason="Not before the audit")

    with pytest.raises(plans.PlanRefused, match="Blocked from deployment to Production: Hotel"):
        started(plan)


def test_starting_takes_the_modules_and_wakes_a_worker(source, target):
    plan = plans.create(source, target, by=actor(), choices=[deploying(create_application(source, modules=2))])

    plan = started(plan, redeploy_outdated=False)

    assert (plan.status, plan.step, plan.started_by) == ("running", "retrieving", "Ada Lovelace")
    assert plan.saved_at is not None
    assert plan.steps.count() == 7
    assert PlanModule.objects.filter(plan=plan, target=target).count() == 2
    assert OrmQ.objects.count() == 1
    assert f"Started deploy of application 'Hotel' in environment 'Production' (deployment plan '#{plan.number}')" in (
        messages()
    )


def test_a_plan_is_started_only_when_it_is_fit(source, target):
    hotel = create_application(source)
    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    with pytest.raises(plans.PlanRefused, match="not validated"):
        plans.start(plan, by=actor())

    validated(plan)
    PlanFinding.objects.create(plan=plan, severity="Error", message="Module A is missing.")
    with pytest.raises(plans.PlanRefused, match="Module A is missing"):
        plans.start(plan, by=actor())
    plans.start(plan, by=actor(), continue_with_errors=True)

    empty = validated(plans.create(source, target, by=actor()))
    with pytest.raises(plans.PlanRefused, match="does nothing"):
        plans.start(empty, by=actor())


def test_applications_that_are_gone_are_named(source, target):
    hotel = create_application(source)
    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    hotel.delete()

    with pytest.raises(plans.PlanRefused, match="Not in Development any more: Hotel"):
        started(plan)


def test_plans_that_share_a_module_do_not_run_at_once(source, target):
    hotel, golf = create_application(source), create_application(source, "Golf")
    first = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    started(first)

    with pytest.raises(occupation.Occupied, match=f"#{first.number} is in progress and deploys a module"):
        started(plans.create(source, target, by=actor(), choices=[deploying(hotel)]))
    other = create_environment(name="Test")
    started(plans.create(source, other, by=actor(), choices=[deploying(hotel)]))  # elsewhere it does
    started(plans.create(source, target, by=actor(), choices=[deploying(golf)]))


def test_plans_keep_away_from_what_another_refers_to(source, target):
    hotel, rooms = create_application(source), create_application(source, "Rooms")
    status = ModuleStatus.objects.get(module__application=hotel)
    used = Module.objects.get(application=rooms)
    ModuleReferences.objects.create(
        module_key=status.module.key, version_key=status.version_key, module_name="Hotel", application_key=hotel.key,
        application_name="Hotel", consumes=[{"module_key": str(used.key), "module_name": "Rooms"}],
    )  # fmt: skip
    first = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    started(first)

    with pytest.raises(occupation.Occupied, match="refers to a module"):
        started(plans.create(source, target, by=actor(), choices=[deploying(rooms)]))


@pytest.mark.parametrize(("parallel", "limit", "allowed"), [(False, 5, 1), (True, 2, 2)])
def test_only_so_many_plans_run_at_once(source, target, parallel, limit, allowed):
    type(target).objects.filter(pk=target.pk).update(parallel_deployments=parallel, parallel_deployment_limit=limit)
    for number in range(allowed):
        started(plans.create(source, target, by=actor(), choices=[deploying(create_application(source, f"A{number}"))]))

    with pytest.raises(occupation.Occupied, match="has not ended"):
        started(plans.create(source, target, by=actor(), choices=[deploying(create_application(source, "B"))]))


@pytest.mark.django_db(transaction=True)
def test_two_people_start_it_once():
    source, target = create_environment(name="Development"), create_environment(name="Production")
    plan = validated(plans.create(source, target, by=actor(), choices=[deploying(create_application(source))]))
    refused, both = [], threading.Barrier(2)

    def start(name):
        both.wait()
        try:
            plans.start(plan, by=actor(name))
        except states.WrongState as refusal:
            refused.append(str(refusal))
        finally:
            connections.close_all()

    people = [threading.Thread(target=start, args=[name]) for name in ("Ada Lovelace", "Grace Hopper")]
    for person in people:
        person.start()
    for person in people:
        person.join()

    plan.refresh_from_db()
    assert len(refused) == 1
    assert f"{plan.started_by} started it" in refused[0]
    assert plan.steps.count() == 7


def test_a_discarded_plan_leaves_its_traces_in_the_audit_log_alone(source, target):
    plan = plans.create(source, target, by=actor())
    number = plan.number

    plans.discard(plan, by=actor())

    assert messages()[-1] == f"Discarded deployment plan '#{number}'"
    with pytest.raises(plans.PlanRefused, match="discarded"):
        plans.save(DeploymentPlan(pk=99_999, number=number), by=actor(), revision=1)


def test_an_unregistered_environment_takes_no_plans_but_lets_them_be_discarded(source, target):
    plan = plans.create(source, target, by=actor(), choices=[deploying(create_application(source))])
    registry.unregister(target, by=actor())

    with pytest.raises(gate.NotRegistered):
        started(plan)
    plans.discard(plan, by=actor())


def test_a_finished_plan_is_reused_elsewhere_as_far_as_it_goes(source, target):
    hotel, golf = create_application(source), create_application(source, "Golf")
    plan = plans.create(source, target, by=actor(), notes="Twice", choices=[deploying(hotel), deploying(golf)])
    DeploymentPlan.objects.filter(pk=plan.pk).update(status="finished_successful")
    plan.refresh_from_db()
    quality = create_environment(name="Quality")
    now = timezone.now()
    ApplicationStatus.objects.create(
        environment=target, application=hotel, version="1.0", version_key=hotel.versions.get().key, changed_at=now
    )

    draft, said = plans.reuse(plan, by=actor(), source=target, target=quality)

    assert (draft.is_draft, draft.source, draft.target, draft.notes) == (True, target, quality, "Twice")
    assert [one.application_name for one in draft.operations.all()] == ["Hotel"]
    assert said == ["Golf is not in Production any more."]
    ApplicationStatus.objects.filter(environment=target).delete()
    with pytest.raises(plans.PlanRefused, match="None of the applications"):
        plans.reuse(plan, by=actor(), source=target, target=quality)


def aborted(plan, **values):
    """The plan as it is after somebody has aborted it."""
    at = {"aborted_at": timezone.now(), "aborted_by": "Grace Hopper", "ended_at": timezone.now()}
    DeploymentPlan.objects.filter(pk=plan.pk).update(status="aborted", **{**at, **values})
    return fresh(plan)


def customized(application, number):
    """Deploy Custom: based on the version that is known, with a module picked."""
    base, module = application.versions.get(), application.modules.get()
    return Choice(
        application_key=application.key,
        kind="custom",
        version_number=number,
        change_log="Back to the old rooms",
        base_version_key=base.key,
        module_picks={str(module.key): str(uuid4())},
        mobile_versions=[{"platform": "iOS", "version": "2.1", "description": ""}],
        zone_key="dmz",
    )


def used(application, number):
    ApplicationVersion.objects.create(
        key=uuid4(), application=application, version=number, created_at=timezone.now()
    )  # fmt: skip


def test_a_retry_tags_what_was_not_tagged_yet_as_it_was_chosen(source, target):
    hotel, golf = create_application(source), create_application(source, "Golf")
    custom, plain = customized(hotel, "1.1"), tagging(golf, "1.1")
    plan = aborted(plans.create(source, target, by=actor(), choices=[custom, plain]))

    draft, said = plans.retry(plan, by=actor())

    assert [choice_of(one) for one in draft.operations.order_by("position")] == [custom, plain]
    assert said == []


def test_a_retry_takes_another_number_when_that_is_used_meanwhile_and_says_so(source, target):
    hotel = create_application(source)
    custom = customized(hotel, "1.1")
    plan = aborted(plans.create(source, target, by=actor(), choices=[custom]))
    used(hotel, "1.1")

    draft, said = plans.retry(plan, by=actor())

    assert choice_of(draft.operations.get()) == replace(custom, version_number="1.2")
    assert said == ["Hotel: Deploy Custom 1.2 instead of Deploy Custom 1.1."]


def test_a_retry_says_what_it_cannot_do_again(source, target):
    hotel, golf, tennis = (create_application(source, name) for name in ("Hotel", "Golf", "Tennis"))
    made = plans.create(source, target, by=actor(), choices=[deploying(one) for one in (hotel, golf, tennis)])
    plan = aborted(made)
    blocking.block(target, hotel, by=actor(), reason="Not before the audit")
    ApplicationStatus.objects.filter(application=golf).delete()
    tennis.versions.all().delete()

    draft, said = plans.retry(plan, by=actor())

    assert [one.described for one in draft.operations.order_by("position")] == ["Do Nothing", "Tag & Deploy 1.1"]
    assert said == [
        "Golf is not in Development any more.",
        "Hotel: Do Nothing instead of Deploy 1.0.",
        "Tennis: Tag & Deploy 1.1 instead of Deploy 1.0.",
    ]


def test_a_retry_keeps_the_settings(source, target):
    hotel = create_application(source)
    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    document = {"site_properties": [{"module_key": "m", "name": "ApiKey", "effective_value": "s3cret-9"}]}
    plans.set_settings(plan, {hotel.key: document}, by=actor(), revision=plan.revision)

    draft, _ = plans.retry(aborted(plan), by=actor())

    assert draft.operations.get().settings == document


def test_making_and_changing_asks_the_same_however_many_applications_there_are(source, target):
    def costs(names):
        applications = [create_application(source, name) for name in names]
        with CaptureQueriesContext(connections["default"]) as queries:
            plan = plans.create(source, target, by=actor(), choices=[tagging(one, "1.1") for one in applications])
            plan = plans.change(plan, [tagging(one, "1.2") for one in applications], by=actor(), revision=1)
            documents = {one.key: {"site_properties": []} for one in applications}
            plan = plans.set_settings(plan, documents, by=actor(), revision=plan.revision)
            plans.change_target(plan, other, by=actor(), revision=plan.revision)
            plans.retry(aborted(plan), by=actor())
        return len(queries)

    other = create_environment(name="Quality")

    assert costs(["Hotel"]) == costs(["Golf", "Tennis", "Rooms", "Bar", "Spa"])


def test_what_stays_as_it_is_is_not_written_again(source, target):
    hotel, golf = create_application(source), create_application(source, "Golf")
    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel), deploying(golf)])
    before = dict(plan.operations.values_list("application_name", "pk"))

    plan = plans.change(plan, [deploying(hotel), tagging(golf, "1.1")], by=actor(), revision=plan.revision)

    assert dict(plan.operations.values_list("application_name", "pk")) == before
    assert messages()[-1] == f"Selected 'Tag & Deploy 1.1' for 'Golf' in deployment plan '#{plan.number}'"


def test_settings_are_noticed_by_who_starts_but_do_not_outdate_the_validation(source, target):
    hotel = create_application(source)
    plan = validated(plans.create(source, target, by=actor(), choices=[deploying(hotel)]))

    changed = plans.set_settings(plan, {hotel.key: {}}, by=actor("Grace Hopper"), revision=plan.revision)

    assert changed.is_validated
    with pytest.raises(plans.ChangedMeanwhile):
        plans.start(plan, by=actor(), revision=plan.revision)
    plans.start(plan, by=actor(), revision=changed.revision)


def test_settings_do_not_make_an_outdated_validation_a_current_one(source, target):
    hotel = create_application(source)
    plan = validated(plans.create(source, target, by=actor(), choices=[deploying(hotel)]))
    plan = plans.change(plan, [tagging(hotel, "1.1")], by=actor(), revision=plan.revision)

    plan = plans.set_settings(plan, {hotel.key: {}}, by=actor(), revision=plan.revision)

    assert plan.validated_revision < plan.revision


def test_which_dependents_are_republished_is_an_edit_and_audited(source, target):
    plan = validated(plans.create(source, target, by=actor(), choices=[deploying(create_application(source))]))
    rooms, bar = uuid4(), uuid4()
    for key, name in ((rooms, "Rooms"), (bar, "Bar")):
        plan.dependents.create(application_key=key, application_name=name)

    same = plans.select_dependents(plan, [rooms, bar], by=actor())
    assert (same.revision, len(messages())) == (plan.revision, 2)
    changed = plans.select_dependents(plan, [bar], by=actor())

    assert list(changed.dependents.filter(is_selected=True).values_list("application_name", flat=True)) == ["Bar"]
    assert (changed.revision, changed.is_validated) == (plan.revision + 1, True)
    assert messages()[-1] == f"Left out 'Rooms' from what deployment plan '#{plan.number}' republishes"
    with pytest.raises(plans.ChangedMeanwhile):
        plans.start(plan, by=actor(), revision=plan.revision)
    plans.select_dependents(plan, [bar, rooms], by=actor())
    assert messages()[-1] == f"Added 'Rooms' to what deployment plan '#{plan.number}' republishes"
    plans.select_dependents(plan, [], by=actor())
    assert not plan.dependents.filter(is_selected=True).exists()


def test_drafts_of_long_ago_are_discarded(source, target):
    draft, recent, saved, closed = (plans.create(source, target, by=actor()) for _ in range(4))
    plans.save(saved, by=actor(), revision=1)
    quality = create_environment(name="Quality")
    DeploymentPlan.objects.filter(pk=closed.pk).update(target=quality)
    DeploymentPlan.objects.exclude(pk=recent.pk).update(created_at=timezone.now() - timedelta(days=31))
    maintenance.enable(quality, by=actor(), reason="Upgrade")

    plans.prune()

    left = DeploymentPlan.objects.order_by("number").values_list("number", flat=True)
    assert list(left) == [recent.number, saved.number, closed.number]  # nothing is done during maintenance mode
    assert messages()[-1] == f"Discarded deployment plan '#{draft.number}'"


def test_settings_go_when_their_plan_has_ended(source, target):
    def with_settings(**values):
        hotel = Application.objects.get(name="Hotel")
        plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
        plans.set_settings(plan, {hotel.key: {"site_properties": [{"name": "x"}]}}, by=actor(), revision=1)
        DeploymentPlan.objects.filter(pk=plan.pk).update(**values)
        return plan

    create_application(source)
    now = timezone.now()
    at = {"aborted_at": now, "aborted_by": "Ada", "status": "aborted"}
    saved = with_settings()
    finished = with_settings(status="finished_successful", ended_at=now)
    lately = with_settings(**at, ended_at=now)
    long_ago = with_settings(**at, ended_at=now - timedelta(days=31))

    plans.prune()

    assert [bool(one.operations.get().settings) for one in (saved, finished, lately, long_ago)] == [
        True, False, True, False,
    ]  # fmt: skip


def test_who_changes_nothing_has_not_saved_it(source, target):
    hotel = create_application(source)
    plan = plans.create(source, target, by=actor(), choices=[deploying(hotel)])
    plan = plans.save(plan, by=actor("Grace Hopper"), revision=plan.revision, label="Friday's", notes="")

    again = plans.save(plan, by=actor("Alan Turing"), revision=plan.revision, label="Friday's", notes="")
    assert (again.saved_by, messages().count(f"Saved deployment plan '#{plan.number}'")) == ("Grace Hopper", 1)

    again = plans.save(plan, by=actor("Alan Turing"), revision=plan.revision)
    assert (again.saved_by, messages().count(f"Saved deployment plan '#{plan.number}'")) == ("Alan Turing", 2)
