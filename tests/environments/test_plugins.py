"""Plugins: who sees which, registering, creating one from a template, and who is refused."""

import uuid

import pytest
from django.urls import reverse

from audit.models import AuditEvent
from environments import application_work, maintenance, plugins, sync
from environments.models import ApplicationTask, Environment, Plugin, RefusedOperation
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)
BOARD = {"name": "Board", "entry_point": "https://development.example.com/Board/", "developer": "Grace Hopper"}


@pytest.fixture
def platform(places):
    """One that other tests have not touched; the process is theirs, too."""
    return next(places)


def url(name, *args):
    return reverse(f"settings:{name}", args=args)


def create(**changes):
    return plugins.register(plugins.Wanted(**{**BOARD, **changes}), by=actor())


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


def test_a_plugin_is_registered_and_unregistered(client, user):
    assert client.post(url("register-plugin"), BOARD).status_code == 302

    plugin = Plugin.objects.get()
    assert (plugin.name, plugin.entry_point) == ("Board", "https://development.example.com/Board")
    assert 'href="https://development.example.com/Board"' in client.get(url("plugins")).content.decode()
    assert client.post(url("unregister-plugin", plugin.key)).status_code == 302
    assert not Plugin.objects.exists()
    assert messages() == [
        "Registered plugin 'Board' of Grace Hopper at https://development.example.com/Board",
        "Unregistered plugin 'Board'",
    ]
    assert AuditEvent.objects.first().actor_username == "ada"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "board"}, "Another plugin has this name."),
        ({"name": "  "}, "This field is required"),
        ({"entry_point": "javascript:alert(1)"}, "begins with https://"),
        ({"entry_point": "https://a:b@example.com"}, "Leave user name and password out"),
        ({"developer": "a\x0bb"}, "in one line"),
    ],
)
def test_bad_registrations_are_refused_in_words(client, user, changes, words):
    create()
    before = messages()
    response = client.post(url("register-plugin"), {**BOARD, "name": "Other", **changes})
    assert response.status_code == 422
    assert words in response.content.decode()
    assert Plugin.objects.count() == 1
    assert messages() == before


def test_people_see_what_is_for_them(client):
    create()
    create(name="Secret", for_managers_only=True)
    client.force_login(create_user(manages_infrastructure=False))
    html = client.get(url("plugins")).content.decode()
    assert "Board" in html
    assert "Secret" not in html
    assert "Register an existing Plugin" not in html


def test_a_plugin_is_created_from_a_template(client, user, platform):
    environment = create_environment(platform=platform, name="Development")
    sync.run([sync.request(environment, by=actor()).pk])

    assert client.post(url("create-plugin", environment.key), {"name": "Board"}).status_code == 302
    task = ApplicationTask.objects.get()
    application_work.carry_out(task.pk)

    task.refresh_from_db()
    assert (task.status, task.message) == ("finished", "")
    plugin = Plugin.objects.get()
    assert (plugin.name, plugin.developer, plugin.application.key) == ("Board", "Ada Lovelace", task.key)
    assert plugin.entry_point.startswith(platform.address)
    assert platform.application("Board")["key"] == str(task.key)
    assert messages()[-2:] == [
        "Requested plugin 'Board' in environment 'Development'",
        "Created plugin 'Board' in environment 'Development'",
    ]
    assert client.post(url("create-plugin", environment.key), {"name": "board"}).status_code == 422


def test_a_failure_is_told_and_audited(client, user):
    environment = create_environment(name="Development", address="http://127.0.0.1:9")
    client.post(url("create-plugin", environment.key), {"name": "Board"})
    assert client.post(url("create-plugin", environment.key), {"name": "BOARD"}).status_code == 409

    application_work.carry_out(ApplicationTask.objects.get().pk)

    assert not Plugin.objects.exists()
    assert messages()[-1].startswith("Did not create plugin 'Board' in environment 'Development': ")
    assert "cannot be reached" in client.get(url("plugins")).content.decode()


def test_plugins_are_created_in_development_environments(client, user):
    environment = create_environment(name="Production", purpose="Production")
    response = client.post(url("create-plugin", environment.key), {"name": "Board"})
    assert response.status_code == 409
    assert "no development environment" in response.content.decode()
    assert "Create in Production" not in client.get(url("plugins")).content.decode()


def test_maintenance_mode_greys_the_button_and_refuses_a_direct_request(client, user):
    environment = create_environment(name="Development")
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Upgrade")

    html = client.get(url("plugins")).content.decode()
    response = client.post(url("create-plugin", environment.key), {"name": "Board"})

    assert "Creating LifeTime plugins is disabled" in html
    assert "Grace Hopper" in html
    assert response.status_code == 409
    assert RefusedOperation.objects.get().operation == "create_plugins"
    assert not ApplicationTask.objects.exists()


def test_strangers_readers_and_wrong_methods(client):
    environment, plugin = create_environment(), create()
    assert client.get(url("plugins")).status_code == 302
    client.force_login(create_user(manages_infrastructure=False))
    assert client.post(url("register-plugin"), {**BOARD, "name": "Other"}).status_code == 403
    assert client.post(url("unregister-plugin", plugin.key)).status_code == 403
    assert client.post(url("create-plugin", environment.key), {"name": "Other"}).status_code == 403
    client.force_login(create_user())
    assert client.post(url("plugins")).status_code == 405
    assert client.get(url("register-plugin")).status_code == 405
    assert client.get(url("unregister-plugin", plugin.key)).status_code == 405
    assert client.get(url("create-plugin", environment.key)).status_code == 405
    assert client.post(url("unregister-plugin", uuid.uuid4())).status_code == 404
    assert client.post(url("create-plugin", uuid.uuid4()), {"name": "Other"}).status_code == 404
    assert list(Plugin.objects.all()) == [plugin]


def test_deployment_zones_are_facts_of_an_environment(client, user, platform):
    environment = create_environment(platform=platform)
    sync.run([sync.request(environment, by=actor()).pk])
    assert Environment.objects.get().deployment_zones[0]["name"] == "Global"
    assert "Global (default)" in client.get(environment.get_absolute_url()).content.decode()
