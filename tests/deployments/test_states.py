"""Which state may follow which, and nothing else."""

from itertools import product

import pytest
from django.utils import timezone

from deployments import plans, states
from deployments.models import DeploymentPlan, Information, PlanStatus
from environments import gate
from tests.factories import actor, create_environment

ALLOWED = {
    ("saved", "running"),
    ("running", "needs_user_intervention"),
    ("running", "aborting"),
    ("running", "aborted"),
    ("running", "finished_successful"),
    ("running", "finished_with_warnings"),
    ("running", "finished_with_errors"),
    ("needs_user_intervention", "running"),
    ("needs_user_intervention", "aborting"),
    ("needs_user_intervention", "aborted"),
    ("aborting", "aborted"),
}


@pytest.mark.parametrize(("before", "after"), list(product(PlanStatus.values, PlanStatus.values)))
def test_only_these_transitions_are_allowed(before, after):
    plan = DeploymentPlan(number=1, status=before, created_by="Ada", started_by="Ada", started_at=timezone.now())

    if (before, after) in ALLOWED:
        states.move(plan, PlanStatus(after))
        assert plan.status == after
    else:
        with pytest.raises(states.WrongState, match="cannot become"):
            states.move(plan, PlanStatus(after))
        assert plan.status == before


# What a person may do in which state; everything else is refused and changes nothing.
MAY = {
    "save": {"saved"},
    "change": {"saved"},
    "discard": {"saved"},
    "start": {"saved"},
    "continue_": {"needs_user_intervention"},
    "abort": {"running", "needs_user_intervention"},
    "retry": {"aborted"},
    "reuse": {"finished_successful", "finished_with_warnings", "finished_with_errors"},
    "relabel": set(PlanStatus.values),
}


@pytest.fixture
def environments(db):
    return create_environment(name="Development"), create_environment(name="Production")


@pytest.mark.parametrize(("act", "status"), list(product(MAY, PlanStatus.values)))
def test_people_do_only_what_a_state_allows(environments, act, status):
    source, target = environments
    prepared = Information.PREPARED if status == "needs_user_intervention" else ""
    now = timezone.now()
    over = {"aborted_at": now, "aborted_by": "Ada"} if status in ("aborting", "aborted") else {}
    plan = DeploymentPlan.objects.create(
        number=7000, source=source, target=target, status=status, information=prepared, created_by="Ada",
        saved_at=now, saved_by="Ada", started_at=now, started_by="Ada", **over,
    )  # fmt: skip
    ways = {
        "save": lambda: plans.save(plan, by=actor(), revision=1),
        "change": lambda: plans.change(plan, [], by=actor(), revision=1),
        "discard": lambda: plans.discard(plan, by=actor()),
        "start": lambda: plans.start(plan, by=actor()),
        "continue_": lambda: plans.continue_(plan, by=actor(), information="deploy_prepared"),
        "abort": lambda: plans.abort(plan, by=actor()),
        "retry": lambda: plans.retry(plan, by=actor()),
        "reuse": lambda: plans.reuse(plan, by=actor(), source=source, target=target),
        "relabel": lambda: plans.relabel(plan, "Friday", by=actor()),
    }
    before = DeploymentPlan.objects.values().get()

    try:
        ways[act]()
        wrong = None
    except states.WrongState as refusal:
        wrong = str(refusal)
    except gate.Refused:
        wrong = None  # the state is right; the plan has no applications

    assert (wrong is None) == (status in MAY[act]), wrong
    if wrong:
        assert DeploymentPlan.objects.values().get() == before
        assert PlanStatus(status).label in wrong or "saved" in wrong
