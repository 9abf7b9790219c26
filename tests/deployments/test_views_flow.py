"""The four steps of a plan through the pages, one after the other, between two real platforms."""

import pytest
from django.urls import reverse

from deployments import tasks
from deployments.models import DeploymentPlan
from environments.models import ApplicationTask
from environments.tasks import work_on_application
from tests.deployments.scenes import advanced, told
from tests.factories import create_user

pytestmark = pytest.mark.django_db(transaction=True)
MODULES = [
    {
        "name": "Hotel",
        "site_properties": [
            {"name": "ApiKey", "data_type": "Text", "is_secret": True},
            {"name": "PageSize", "data_type": "Integer", "default_value": "50"},
        ],
    }
]


@pytest.fixture
def press(client):
    """Send a form of a page of the plan; answer the page that one is led to."""

    def press(plan, name, **data):
        plan.refresh_from_db()
        response = client.post(
            reverse(f"plans:{name}", args=[plan.key]), {"revision": plan.revision, **data}, follow=True
        )
        assert response.status_code == 200, response.content.decode()
        return response

    return press


def carry_out_tasks():
    for pk in ApplicationTask.objects.active().values_list("pk", flat=True):
        work_on_application(pk)


def test_a_changed_application_with_a_new_setting_goes_all_the_way(client, scene, press):
    client.force_login(create_user(name="Ada Lovelace", username="ada"))
    scene.publish(page="<h1>Hotel 2</h1>", tag="", modules=MODULES)

    route = {"source": scene.source.key, "target": scene.target.key, "begin": "on"}
    page = client.post(reverse("plans:create"), route, follow=True)
    plan = DeploymentPlan.objects.get()
    assert "Tag &amp; Deploy 1.1" in page.content.decode()

    press(plan, "validate")
    tasks.validate(plan.pk)
    page = client.get(reverse("plans:edit", args=[plan.key]))
    assert "Nothing stands against it" in page.content.decode(), page.content.decode()

    page = press(plan, "change", next="review")
    assert page.resolver_match.url_name == "configure"
    carry_out_tasks()
    page = client.get(reverse("plans:configure", args=[plan.key]))
    [(missing, _), (other, _)] = page.context["form"].lines
    assert (missing.setting.name, missing.is_missing) == ("ApiKey", True)
    assert (other.setting.name, other.is_missing) == ("PageSize", False)

    page = press(plan, "set-settings", **{"settings": 2, "value-0": "s3cret-9"})
    assert page.resolver_match.url_name == "review"
    assert "not published → 1.1" in page.content.decode()
    page = press(plan, "start", notes="Ask Ana")
    assert page.resolver_match.url_name == "progress"
    assert "Running" in page.content.decode()

    plan = advanced(plan)

    assert plan.status == "finished_successful", told(plan)
    assert scene.production.page() == "<h1>Hotel 2</h1>"
    page = client.get(reverse("plans:progress", args=[plan.key])).content.decode()
    assert "Production runs the new versions" in page
    assert "s3cret-9" not in page


def test_a_setting_that_was_passed_over_is_asked_for_on_the_way(client, scene, press):
    client.force_login(create_user())
    version = scene.publish(page="<h1>Hotel 2</h1>", modules=MODULES)
    client.post(reverse("plans:create"), {"source": scene.source.key, "target": scene.target.key, "begin": "on"})
    plan = DeploymentPlan.objects.get()
    assert str(plan.operations.get().version_key) == version["key"]
    press(plan, "validate")
    tasks.validate(plan.pk)
    press(plan, "start")
    plan = advanced(plan)
    assert plan.information == "needs_configuration_or_confirmation", told(plan)
    page = client.get(reverse("plans:progress", args=[plan.key])).content.decode()
    assert "The console has not read these settings yet" in page
    press(plan, "read-settings")
    carry_out_tasks()

    page = press(plan, "continue", information=plan.information, **{"value-0": "s3cret-9"})

    assert page.resolver_match.url_name == "progress"
    plan = advanced(plan)
    assert plan.status == "finished_successful", told(plan)
