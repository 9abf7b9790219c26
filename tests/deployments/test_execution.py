"""Plans carried out between two real platforms."""

import pytest

from deployments.models import DeploymentPlan, PlanModule
from environments.models import ApplicationStatus
from tests.deployments import scenes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def places(tmp_path):
    with scenes.two_platforms(tmp_path) as platforms:
        yield platforms


def test_a_plan_brings_a_version_to_the_target_which_serves_it(places):
    development, production = places
    version = scenes.publish(development, tag="1.0")
    source, target = scenes.registered(development, production)
    scenes.synchronize(source, target)
    plan = scenes.started(source, target, scenes.deploy(version["key"]))

    plan = scenes.advanced(plan)

    assert plan.status == "finished_successful", scenes.told(plan)
    assert scenes.page_of(production) == "<h1>Hotel 1</h1>"
    assert ApplicationStatus.objects.get(environment=target).version == "1.0"
    assert set(plan.steps.values_list("state", flat=True)) == {"finished"}
    assert (plan.remote, plan.target_state) == ("ended", "changed")
    assert not PlanModule.objects.exists()
    operation = plan.operations.get()
    assert operation.transferred_bytes == operation.package_bytes > 0
    assert DeploymentPlan.objects.get().claimed_by is None
