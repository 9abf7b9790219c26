"""Application details: what is shown, and every action: it works, is audited, and is refused where it must be."""

from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from django_q.models import OrmQ

from audit.models import AuditEvent
from environments import blocking, maintenance
from environments.models import (
    ApplicationBlock,
    ApplicationStatus,
    ApplicationTask,
    Module,
    ModuleStatus,
    RefusedOperation,
    SyncRun,
)
from lifetime.models import Level, Role, RoleLevel
from tests.environments.test_applications import AT, publish
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db
TAGGED = {"version": "1.4", "change_log": "Faster search."}
OPERATIONS = {
    # URL name: (method, data, operation that maintenance mode disables, level that it needs)
    "tag": ("post", TAGGED, "tag_applications", Level.CHANGE),
    "tag-dialog": ("get", {}, "tag_applications", Level.CHANGE),
    "solve-hotfix": ("post", {}, "tag_applications", Level.CHANGE),
    "settings": ("get", {}, "change_application_settings", Level.CHANGE),
    "read-settings": ("post", {}, "change_application_settings", Level.CHANGE),
    "change-settings": ("post", {"mode": "default"}, "change_application_settings", Level.CHANGE),
    "security": ("get", {}, "change_application_settings", Level.CHANGE),
    "read-security": ("post", {}, "change_application_settings", Level.CHANGE),
    "change-security": ("post", {}, "change_application_settings", Level.CHANGE),
    "logs": ("get", {}, "open_service_center", Level.MONITOR),
    "log-lines": ("get", {}, "open_service_center", Level.MONITOR),
    "read-logs": ("post", {}, "open_service_center", Level.MONITOR),
    "open-in-browser": ("get", {}, "test_applications", Level.LIST),
    "test-dialog": ("get", {}, "test_applications", Level.LIST),
    "qr-code": ("get", {}, "test_applications", Level.LIST),
    "configure": ("get", {}, "open_service_center", Level.MONITOR),
    "service-center-logs": ("get", {}, "open_service_center", Level.MONITOR),
    "open-in-service-studio": ("get", {}, "open_service_studio", Level.OPEN),
    "synchronize-definition": ("post", {}, "synchronize", Level.LIST),
    "read-versions": ("post", {}, "synchronize", Level.LIST),
}
BUTTONS = [
    "Tag Version",
    "Settings",
    "Security Settings",
    "Open in Browser",
    "View Application Logs",
    "Configure Application",
    "Open in Service Studio",
    "Synchronize App Definition",
    "Read Versions",
]


def give_module(application, environment, name="BackOffice", **status):
    module, _ = Module.objects.get_or_create(
        key=uuid4(), application=application, name=name, kind="eSpace", changed_at=AT
    )
    ModuleStatus.objects.create(module=module, environment=environment, changed_at=AT, version_key=uuid4(), **status)
    return module


@pytest.fixture
def development():
    return create_environment(name="Development", address="https://dev.example.com/lifetime")


@pytest.fixture
def application(development):
    found = publish(development, version="1.3", is_modified=True)
    found.url_path = "/Back Office"
    found.save()
    give_module(found, development, is_modified=True)
    return found


@pytest.fixture
def person(client):
    user = create_user(name="Ada Lovelace")
    client.force_login(user)
    return user


def url(name, application, environment):
    return reverse(f"applications:{name}", args=[application.key, environment.key])


def call(client, name, application, environment):
    method, data, *_ = OPERATIONS[name]
    headers = {"HX-Request": "true"} if name.endswith("dialog") else {}
    return getattr(client, method)(url(name, application, environment), data, headers=headers)


def state():
    rows = [list(model.objects.order_by("pk").values()) for model in (ApplicationStatus, ApplicationTask, SyncRun)]
    return rows, OrmQ.objects.count()


def test_the_page_shows_version_modules_and_actions_in_each_environment(client, person, application, development):
    production = create_environment(name="Production")
    text = client.get(application.get_absolute_url()).content.decode()

    assert "1.3<span" in text
    assert "BackOffice" in text
    assert "changed" in text
    assert "not published" in text
    for button in BUTTONS:
        assert text.count(f"</svg>{button}") == 1, button
    assert f'href="{url("open-in-browser", application, development)}"' in text
    assert "Block from Deployment" in text
    assert 'aria-disabled="true"' not in text
    assert f"?from=&amp;to=&amp;type=application&amp;key={application.key}" in text
    assert AuditEvent.objects.get().message == "Accessed application 'Back Office' details"
    assert AuditEvent.objects.get().kind == "view"
    assert url("block-dialog", application, production) in text


def test_in_maintenance_every_action_is_greyed_and_says_why(client, person, application, development):
    maintenance.enable(development, by=actor("Grace Hopper"), reason="Upgrade to 11.29")

    for path in (application.get_absolute_url(), reverse("applications:places", args=[application.key])):
        text = client.get(path).content.decode()
        assert text.count('aria-disabled="true"') == len(BUTTONS) + text.count("Create Deployment Plan")
        assert text.count("Grace Hopper enabled it: “Upgrade to 11.29”") == len(BUTTONS)
        assert url("tag-dialog", application, development) not in text
        assert url("open-in-browser", application, development) not in text


@pytest.mark.parametrize("name", OPERATIONS)
def test_in_maintenance_a_direct_request_is_refused_counted_and_changes_nothing(
    client, person, application, development, name
):
    window = maintenance.enable(development, by=actor("Grace Hopper"), reason="Upgrade to 11.29")
    before = state()

    response = call(client, name, application, development)

    assert response.status_code == 409
    assert "Grace Hopper enabled it" in response.content.decode()
    assert state() == before
    refused = RefusedOperation.objects.get(window=window)
    assert (refused.operation, refused.count, refused.last_by) == (OPERATIONS[name][2], 1, "Ada Lovelace")
    assert AuditEvent.objects.order_by("number").last().succeeded is False


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tag", "Requested tagging of application 'Back Office' in environment 'Development' as 1.4"),
        ("read-versions", "Requested the versions of application 'Back Office' in environment 'Development'"),
        ("read-settings", "Requested the settings of application 'Back Office' in environment 'Development'"),
        ("read-logs", "Requested the log of application 'Back Office' in environment 'Development'"),
    ],
)
def test_what_is_queued_is_audited_and_carried_out_by_a_worker(client, person, application, development, name, message):
    assert call(client, name, application, development).status_code == 302
    assert AuditEvent.objects.get().message == message
    task = ApplicationTask.objects.get()
    assert (task.status, task.environment, task.application) == ("queued", development, application)
    assert (task.requested_by, task.by.address) == ("Ada Lovelace", "127.0.0.1")
    assert OrmQ.objects.count() == 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_bystander_in_maintenance_never_matters(client, person, application, development, name):
    bystander = create_environment(name="Test")
    ApplicationStatus.objects.create(environment=bystander, application=application, version="1.2", changed_at=AT)
    maintenance.enable(bystander, by=actor(), reason="Upgrade")

    assert call(client, name, application, development).status_code in {200, 302}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_level_below_is_forbidden_and_strangers_find_nothing(client, application, development, name):
    needed = OPERATIONS[name][3]
    before = state()
    for level, status in [(needed - 1, 403 if needed > Level.LIST else 404), (Level.ACCESS, 404)]:
        role = Role.objects.create(name=f"{level} answers {status} to {name} {uuid4()}")
        RoleLevel.objects.create(role=role, environment=development, level=level)
        client.force_login(create_user(role=role))
        assert call(client, name, application, development).status_code == status
    assert state() == before

    role = Role.objects.create(name="Enough")
    RoleLevel.objects.create(role=role, environment=development, level=needed)
    client.force_login(create_user(role=role))
    assert call(client, name, application, development).status_code in {200, 302}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_not_there_is_not_found(client, person, application, development, name):
    elsewhere = create_environment()
    unregistered = create_environment(registration="checking")
    assert call(client, name, application, elsewhere).status_code == 404
    assert call(client, name, application, unregistered).status_code == 404
    application.key = uuid4()
    assert call(client, name, application, development).status_code == 404


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_url_takes_its_own_method_only(client, person, application, development, name):
    other = "get" if OPERATIONS[name][0] == "post" else "post"
    assert getattr(client, other)(url(name, application, development)).status_code == 405


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("open-in-browser", "https://dev.example.com/lifetime/Back%20Office/", "in the browser"),
        ("configure", "https://dev.example.com/lifetime/ServiceCenter/", "in Service Center to configure it"),
        (
            "service-center-logs",
            "https://dev.example.com/lifetime/ServiceCenter/",
            "in Service Center to view its logs",
        ),
        ("open-in-service-studio", "servicestudio://dev.example.com/", "in Service Studio"),
    ],
)
def test_links_that_leave_the_console_are_audited_then_redirect(
    client, person, application, development, name, to, message
):
    response = call(client, name, application, development)

    assert response.status_code == 302
    assert response.url.startswith(to)
    event = AuditEvent.objects.get()
    assert event.message == f"Opened application 'Back Office' of environment 'Development' {message}"
    assert (event.actor_name, event.kind) == ("Ada Lovelace", "view")


def test_an_address_from_an_environment_cannot_lead_elsewhere(client, person, application, development):
    application.url_path = "//evil.example.com/../..?x=1#y"
    application.save()
    assert call(client, "open-in-browser", application, development).url == (
        "https://dev.example.com/lifetime/evil.example.com/../..%3Fx%3D1%23y/"
    )
    application.url_path = ""
    application.save()
    assert call(client, "open-in-browser", application, development).status_code == 404


def test_a_mobile_application_is_tested_by_link_and_code(client, person, application, development):
    application.kind = "Mobile"
    application.save()
    text = client.get(application.get_absolute_url()).content.decode()
    assert "Open in Browser" not in text
    assert url("test-dialog", application, development) in text

    dialog = call(client, "test-dialog", application, development).content.decode()
    assert "https://dev.example.com/lifetime/Back%20Office/" in dialog
    assert url("qr-code", application, development) in dialog
    picture = call(client, "qr-code", application, development)
    assert picture.headers["Content-Type"] == "image/svg+xml"
    assert picture.content.startswith(b"<svg")
    assert b"<script" not in picture.content


def test_a_hotfix_is_marked_as_solved(client, person, application, development):
    later = create_environment(name="Production")
    ApplicationStatus.objects.create(
        environment=later, application=application, version="1.3", is_modified=True, changed_at=AT
    )
    assert "Mark Hotfix as Solved" in client.get(application.get_absolute_url()).content.decode()

    assert call(client, "solve-hotfix", application, later).status_code == 302

    assert "Mark Hotfix as Solved" not in client.get(application.get_absolute_url()).content.decode()
    messages = AuditEvent.objects.filter(kind="update").values_list("message", flat=True)
    assert list(messages) == ["Marked the hotfix of application 'Back Office' in environment 'Production' as solved"]


def test_the_definition_is_that_of_the_chosen_environment(client, person, application, development):
    assert call(client, "synchronize-definition", application, development).status_code == 302

    application.refresh_from_db()
    assert application.definition_environment == development
    assert SyncRun.objects.get().is_full
    assert AuditEvent.objects.order_by("number").first().message.startswith("Chose environment 'Development' as the so")


def test_the_number_of_queries_of_the_page_is_constant(client, person, application, django_assert_max_num_queries):
    for number in range(10):
        environment = create_environment()
        ApplicationStatus.objects.create(environment=environment, application=application, changed_at=AT)
        give_module(application, environment, name=f"Module{number}")
    with django_assert_max_num_queries(18):
        client.get(reverse("applications:places", args=[application.key]))


# Blocking


def test_an_application_is_blocked_and_unblocked_with_reasons_even_in_maintenance(client, person, application):
    production = create_environment(name="Production")
    maintenance.enable(production, by=actor(), reason="Upgrade")
    for name, reason in [("block", "Not released yet"), ("unblock", "Released")]:
        dialog = client.get(url("block-dialog", application, production), headers={"HX-Request": "true"})
        assert dialog.status_code == 200
        response = client.post(url(name, application, production), {"reason": f" {reason} "})
        assert response.status_code == 302
        event = AuditEvent.objects.order_by("number").last()
        assert event.reason == reason
        assert event.message.startswith(f"{name.capitalize()}ed application 'Back Office'")
    found = ApplicationBlock.objects.get()
    assert (found.reason, found.unblock_reason, found.blocked_by) == ("Not released yet", "Released", "Ada Lovelace")
    assert blocking.in_force(production, application) is None


def test_a_block_without_reason_or_sense_is_refused(client, person, application, development):
    production = create_environment(name="Production")
    by = actor()
    for name, environment, reason, words in [
        ("block", production, "", "Say why"),
        ("block", production, "two\nlines", "one line"),
        ("block", production, "x" * 501, "500 characters"),
        ("block", development, "Why not", "is published in Development already"),
        ("unblock", production, "Why not", "is not blocked"),
    ]:
        response = client.post(url(name, application, environment), {"reason": reason})
        assert response.status_code == 422
        assert words in response.content.decode()
    assert not ApplicationBlock.objects.exists()
    blocking.block(production, application, by=by, reason="Not released yet")
    with pytest.raises(blocking.BlockRefused, match=r"Ada Lovelace blocked it on .*“Not released yet”"):
        blocking.block(production, application, by=by, reason="Again")
    with pytest.raises(ValidationError):
        blocking.unblock(production, application, by=by, reason=" ")


@pytest.mark.parametrize("name", ["block", "unblock"])
def test_blocking_needs_change_and_deploy_there(client, application, development, name):
    production = create_environment(name="Production")
    role = Role.objects.create(name="Reader")
    RoleLevel.objects.create(role=role, environment=production, level=Level.OPEN)
    client.force_login(create_user(role=role))
    assert client.post(url(name, application, production), {"reason": "Why not"}).status_code == 403
    assert client.get(url(name, application, production)).status_code == 405
    production.key = uuid4()
    assert client.post(url(name, application, production), {"reason": "Why not"}).status_code == 404
    assert not ApplicationBlock.objects.exists()
