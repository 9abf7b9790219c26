"""What the page of a plan says after maintenance mode has aborted it: why, by whom, at which step, with what effect."""

from html import unescape

import pytest
from django.urls import reverse

from deployments.models import DeploymentPlan, Remote, StepName, TargetState
from environments import maintenance
from tests.deployments.factories import create_application, create_started_plan, publish
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db

STATES = {
    TargetState.UNKNOWN: "What Test has is not certain",
    TargetState.UNCHANGED: "Test is as it was before",
    TargetState.CHANGED: "Test has changed",
}


@pytest.fixture
def read(client):
    """The page of a plan, as words."""
    client.force_login(create_user(name="Grace Hopper", username="grace"))

    def read(plan, name="progress"):
        response = client.get(reverse(f"plans:{name}", args=[plan.key]))
        assert response.status_code == 200
        return " ".join(unescape(response.content.decode()).split())

    return read


def in_progress(route, step, **values):
    application = create_application()
    publish(application, route[0], number="1.0")
    return create_started_plan(*route, applications=[application], step=step, **values)


@pytest.mark.parametrize("which", ["source", "target"])
@pytest.mark.parametrize("step", StepName)
def test_it_says_why_by_whom_at_which_step_and_what_the_target_has(route, read, step, which):
    remote = Remote.NONE if step == StepName.RETRIEVING else Remote.STARTED
    plan = in_progress(route, step, remote=remote)
    environment = getattr(plan, which)

    maintenance.enable(environment, by=actor("Ada Lovelace"), reason="Upgrade to 11.29, OPS-1742")

    for name in ("progress", "live"):
        page = read(plan, name)
        assert "Aborted by" in page
        assert "Ada Lovelace" in page
        assert f"at “{step.label}”" in page
        assert f"Maintenance mode of '{environment}' was enabled: Upgrade to 11.29, OPS-1742" in page
        assert "Cannot continue the operation because the environment is in maintenance mode." in page
        expected = TargetState.UNCHANGED if remote == Remote.NONE else TargetState.UNKNOWN
        assert [state for state, words in STATES.items() if words in page] == [expected]
        asks_again = "hx-trigger" in page.partition('id="live"')[2].partition(">")[0]
        assert asks_again == (expected == TargetState.UNKNOWN)  # until the target could be asked
    assert f"{environment} is in maintenance mode since" in page  # on the button, which is greyed


@pytest.mark.parametrize("state", STATES)
def test_it_says_what_the_target_has_once_that_is_known(route, read, state):
    plan = in_progress(route, StepName.UPDATING, remote=Remote.STARTED)
    maintenance.enable(route[1], by=actor("Ada Lovelace"), reason="Upgrade")
    DeploymentPlan.objects.filter(pk=plan.pk).update(target_state=state)

    page = read(plan)

    assert [one for one, words in STATES.items() if words in page] == [state]


def test_a_bystander_in_maintenance_mode_is_not_mentioned(route, read):
    plan = in_progress(route, StepName.GENERATING, remote=Remote.STARTED)

    maintenance.enable(create_environment(name="Sandbox"), by=actor("Edsger Dijkstra"), reason="Another matter")

    page = read(plan)
    assert "Running" in page
    assert "Sandbox" not in page
    assert "maintenance" not in page.partition('id="live"')[2].lower()
