"""Settings and logs of an application in one environment, against a real platform."""

import json
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from audit.models import AuditEvent
from environments import application_logs, application_settings, maintenance, sync, tasks
from environments.application_settings import Changes
from environments.application_tasks import TaskRefused
from environments.models import Application, ApplicationSettings, ApplicationTask, Contact
from lifetime.models import Team
from tests.environments.test_applications_details import url
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def platform(places):
    """One that other tests have not touched; the process is theirs, too."""
    return next(places)


@pytest.fixture
def development(platform):
    environment = create_environment(platform=platform, name="Development")
    run = sync.request(environment, by=actor())
    sync.run([run.pk])
    return environment


@pytest.fixture
def application(development):
    return Application.objects.get(name="Back Office")


def work(task):
    tasks.work_on_application(task.pk)
    task.refresh_from_db()
    assert task.status == "finished", task.message
    return task


@pytest.fixture
def found(development, application):
    """The settings as read, with at least one site property."""
    work(application_settings.request_reading(development, application, by=actor()))
    return ApplicationSettings.objects.get()


def pick(found, **wanted):
    for one in application_settings.settings_of(found):
        if all(getattr(one, name) == value for name, value in wanted.items()):
            return one
    raise AssertionError(f"The platform seeds no setting like {wanted}")


def change(development, application, found, values, **options):
    return application_settings.request_change(
        development, application, Changes(values=values, **options), by=actor(), digest=found.digest
    )


def test_settings_are_read_and_secrets_stay_hidden(found, development, application):
    assert Contact.objects.order_by("pk").last().purpose == "application"
    assert found.digest.startswith("sha256:")
    for one in application_settings.settings_of(found):
        if one.is_secret:
            assert {one.default, one.effective} <= {None, "***"}


def test_only_what_changed_is_sent_stored_and_audited(platform, found, development, application):
    setting = pick(found, kind="site_properties", data_type="Integer", is_secret=False)

    work(change(development, application, found, {setting.id: "123"}))

    found.refresh_from_db()
    assert pick(found, name=setting.name, module=setting.module).effective == "123"
    event = AuditEvent.objects.order_by("number").last()
    assert event.message == (
        f"Changed site property '{setting.name}' of application 'Back Office' in environment 'Development' "
        f"from {application_settings._said(setting.effective)} to '123'"
    )
    assert [line["method"] for line in platform.log() if line["path"].endswith("/settings")][-2:] == ["PUT", "GET"]

    work(change(development, application, found, {setting.id: None}))
    found.refresh_from_db()
    assert pick(found, name=setting.name, module=setting.module).effective is None


def test_a_secret_reaches_the_environment_and_nothing_else(platform, development):
    application = Application.objects.get(name="Payment Service")
    work(application_settings.request_reading(development, application, by=actor()))
    found = ApplicationSettings.objects.get()
    setting = pick(found, kind="site_properties", is_secret=True)
    task = change(development, application, found, {setting.id: "hush-hush"})
    assert "hush-hush" not in json.dumps(list(ApplicationTask.objects.values()), default=str)
    work(task)
    assert task.sealed_secrets == ""
    found.refresh_from_db()
    put = [line for line in platform.log() if line["method"] == "PUT"][-1]
    assert put["path"] == f"/applications/{application.key}/settings"
    assert put["bytes_in"] > len("hush-hush")
    everything = [*ApplicationTask.objects.values(), found.document, *AuditEvent.objects.values()]
    assert "hush-hush" not in json.dumps(everything, default=str)
    assert AuditEvent.objects.order_by("number").last().message.startswith("Changed secret site property")


def test_a_wrong_value_changes_nothing_and_says_which(found, development, application):
    setting = pick(found, kind="site_properties", data_type="Integer", is_secret=False)
    task = change(development, application, found, {setting.id: "many"})
    tasks.work_on_application(task.pk)
    task.refresh_from_db()
    assert task.status == "failed"
    assert setting.name in task.message
    assert not AuditEvent.objects.order_by("number").last().succeeded


def test_what_was_changed_meanwhile_or_is_unknown_is_refused(found, development, application):
    with pytest.raises(TaskRefused, match="have changed since"):
        application_settings.request_change(
            development, application, Changes(values={}), by=actor(), digest="sha256:of another time"
        )
    with pytest.raises(TaskRefused, match="no such setting"):
        change(development, application, found, {"site_properties/x/y": "1"})
    assert ApplicationTask.objects.filter(kind="change_settings").count() == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", "NaN", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 5000, '"' + "x" * 200_000 + '"']
)
def test_json_that_is_none_is_refused(text):
    with pytest.raises(ValidationError):
        application_settings.clean_extensibility(text)


def test_extensibility_is_changed_and_set_back(found, development, application):
    work(change(development, application, found, {}, extensibility={"mode": "custom", "custom": {"a": [1]}}))
    found.refresh_from_db()
    assert found.document["extensibility"]["custom"] == {"a": [1]}
    work(change(development, application, found, {}, extensibility={"mode": "default"}))
    found.refresh_from_db()
    assert found.document["extensibility"]["mode"] == "default"


def test_the_page_changes_what_somebody_typed(client, found, development, application):
    client.force_login(create_user(name="Ada Lovelace"))
    settings = application_settings.settings_of(found)
    setting = pick(found, kind="site_properties", data_type="Integer", is_secret=False)
    place = settings.index(setting)
    page = client.get(url("settings", application, development))
    assert setting.name in page.content.decode()
    data = {
        name: value
        for name, field in page.context["form"].fields.items()
        if (value := field.initial) not in (None, False)
    }
    same = client.post(url("change-settings", application, development), data)
    assert same.status_code == 302
    assert not ApplicationTask.objects.filter(kind="change_settings").exists()

    data[f"value-{place}"] = "77"
    data.pop(f"default-{place}", None)
    bad = client.post(url("change-settings", application, development), {**data, "mode": "custom", "custom": "{"})
    assert bad.status_code == 422
    assert "no JSON" in bad.content.decode()
    stale = client.post(url("change-settings", application, development), {**data, "digest": "x"})
    assert stale.status_code == 422
    assert client.post(url("change-settings", application, development), data).status_code == 302

    task = ApplicationTask.objects.get(kind="change_settings")
    assert task.parameters == {"values": {setting.id: "77"}, "secret": []}
    moving = client.get(url("settings", application, development), headers={"HX-Request": "true"})
    assert "Changing the settings: queued" in moving.content.decode()
    work(task)
    done = client.get(url("settings", application, development), headers={"HX-Request": "true"})
    assert done.headers["HX-Refresh"] == "true"


def test_a_change_that_is_queued_is_aborted_by_maintenance_mode(platform, found, development, application):
    setting = pick(found, kind="site_properties", data_type="Integer", is_secret=False)
    task = change(development, application, found, {setting.id: "5"})
    maintenance.enable(development, by=actor("Grace Hopper"), reason="Upgrade to 11.29")
    before = len(platform.log())
    tasks.work_on_application(task.pk)
    task.refresh_from_db()
    assert task.status == "aborted"
    assert "Grace Hopper enabled it" in task.message
    assert len(platform.log()) == before


def test_the_log_is_read_and_shown(client, platform, development, application):
    client.force_login(create_user())
    assert "not read yet" in client.get(url("logs", application, development)).content.decode()
    assert client.post(url("read-logs", application, development)).status_code == 302
    platform.publish(name="Back Office", description="Changed")
    task = application_logs.newest(development, application)
    assert "queued" in client.get(url("log-lines", application, development)).content.decode()
    work(task)
    text = client.get(url("log-lines", application, development)).content.decode()
    assert "every 1s" not in text
    assert task.result is not None
    for line in task.result:
        assert line["message"].split("'")[0] in text
    assert AuditEvent.objects.filter(message__startswith="Viewed the log of application 'Back Office'").exists()


# Creating applications


@pytest.fixture
def team():
    return Team.objects.create(name="Claims")


def test_an_application_is_created_for_a_team(client, platform, development, team):
    client.force_login(create_user(name="Ada Lovelace"))
    page = reverse("applications:create-in", args=[development.key])
    assert "not read yet" in client.get(page).content.decode()
    assert client.post(reverse("applications:read-templates", args=[development.key])).status_code == 302
    work(ApplicationTask.objects.get(kind="read_templates"))
    assert "Reactive Web App" in client.get(page).content.decode()

    data = {"team": str(team.key), "template": "reactive-web", "name": "Claims Portal", "colour": "#1a73e8"}
    for wrong, words in [
        ({"name": "back office"}, "has an application of this name"),
        ({"name": " "}, "required"),
        ({"template": "nothing"}, "Select a valid choice"),
        ({"team": str(uuid4())}, "Select a valid choice"),
        ({"colour": "red; x"}, "like #1a73e8"),
    ]:
        refused = client.post(page, {**data, **wrong})
        assert refused.status_code == 422
        assert words in refused.content.decode()
    assert not ApplicationTask.objects.filter(kind="create").exists()

    assert client.post(page, data).status_code == 302
    assert "right now" in client.post(page, data).content.decode()
    work(ApplicationTask.objects.get(kind="create"))

    created = Application.objects.get(name="Claims Portal")
    assert created.in_team.team == team
    assert created.statuses.get().environment == development
    assert created.modules.exists()
    messages = list(AuditEvent.objects.order_by("number").values_list("message", flat=True))[-2:]
    assert messages == [
        "Requested application 'Claims Portal' for team 'Claims' in environment 'Development'",
        "Created application 'Claims Portal' for team 'Claims' in environment 'Development'",
    ]
    assert client.get(created.get_absolute_url()).status_code == 200
    run = sync.request(development, by=actor())
    sync.run([run.pk])
    assert Application.objects.filter(name="Claims Portal").count() == 1


def test_creating_is_refused_in_maintenance_and_without_the_right(client, development, team):
    data = {"team": str(team.key), "template": "reactive-web", "name": "Claims Portal"}
    urls = [reverse(f"applications:{name}", args=[development.key]) for name in ("create-in", "read-templates")]
    client.force_login(create_user(manages_infrastructure=False))
    development.purpose = "Production"
    development.save()
    for one in urls:
        assert client.post(one, data).status_code == 403
    assert 'aria-disabled="true"' in client.get(reverse("applications:create")).content.decode()
    client.force_login(create_user())
    maintenance.enable(development, by=actor("Grace Hopper"), reason="Upgrade to 11.29")
    for one in urls:
        assert client.post(one, data).status_code == 409
    assert client.get(urls[0]).status_code == 409
    assert client.get(urls[1]).status_code == 405
    assert "Grace Hopper enabled it" in client.get(reverse("applications:create")).content.decode()
    assert not ApplicationTask.objects.exists()
