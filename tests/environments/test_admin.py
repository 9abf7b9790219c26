"""Django admin as support staff see it."""

import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEvent
from deployments.models import DeploymentPlan
from environments import maintenance
from environments.models import (
    Application,
    ApplicationStatus,
    Contact,
    Environment,
    MaintenanceWindow,
    Module,
    ModuleStatus,
    SyncRun,
    TechnicalPreview,
)
from lifetime.models import User
from tests.factories import PASSWORD, actor, create_environment, create_support_staff, create_user

pytestmark = pytest.mark.django_db

LIST = "/admin/environments/environment/"
READ_ONLY = [
    *("application", "applicationstatus", "contact", "maintenancewindow", "module", "modulestatus"),
    *("refusedoperation", "syncrun", "syncstate", "technicalpreview"),
]


@pytest.fixture
def support(client):
    user = create_support_staff(name="Sam Support", username="sam")
    client.force_login(user)
    return user


def ask(client, direction, *environments):
    """Choose the action on the list and follow it to its page; the page, and what it says was seen."""
    data = {"action": f"{direction}_maintenance", "_selected_action": [one.pk for one in environments], "index": "0"}
    page = client.post(LIST, data, follow=True)
    seen = re.search(r'name="seen" value="([^"]*)"', page.content.decode())
    return page, seen and seen[1]


def toggle(client, direction, seen, reason="Upgrade", **extra):
    address = reverse(f"admin:environments_environment_{direction}")
    return client.post(address, {"reason": reason, "seen": seen, **extra}, follow=True)


def texts(response):
    return [str(message) for message in response.context["messages"]]


# Support staff


def test_support_staff_is_a_group_that_sees_and_toggles_and_is_no_superuser(support):
    assert not support.is_superuser
    permissions = support.get_all_permissions()
    assert "environments.toggle_maintenance" in permissions
    assert "audit.view_auditevent" in permissions
    assert "django_q.view_ormq" in permissions
    others = {one for one in permissions if ".view_" not in one}
    assert others == {"environments.toggle_maintenance", "lifetime.delete_logincounter"}
    assert Group.objects.get(name="Support staff").permissions.count() == len(permissions)


def test_every_page_of_support_staff_opens_and_breaks_no_content_security_policy(client, support):
    pages = [reverse("admin:index")]
    for model in admin.site._registry:
        if support.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"):
            pages.append(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))
    assert len(pages) > 20

    for page in pages:
        response = client.get(page)
        html = response.content.decode()
        assert response.status_code == 200, page
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)(?![^>]*application/json)", html), page
        assert "https://" not in re.sub(r"<a [^>]*>", "", html), page


def test_the_console_s_log_in_is_the_only_one(client):
    environment_list = client.get(LIST)
    sign_in = client.get("/admin/login/?next=/admin/")
    posted = client.post("/admin/login/", {"username": "sam", "password": PASSWORD})

    assert environment_list.headers["Location"] == f"/login/?next={LIST}"
    assert sign_in.headers["Location"] == "/login/?next=/admin/"
    assert posted.status_code == 302
    assert "_auth_user_id" not in client.session
    support = create_support_staff(username="sam")
    client.post("/login/", {"username": support.username, "password": PASSWORD, "next": LIST})
    assert client.get(LIST).status_code == 200


def test_others_are_told_that_this_is_not_for_them(client):
    client.force_login(create_user())

    response = client.get(LIST, follow=True)

    assert response.status_code == 403
    assert "Only support staff" in response.content.decode()


@pytest.mark.parametrize("model", [*READ_ONLY, "environment"])
def test_nobody_adds_changes_or_deletes_here(client, model):
    client.force_login(create_user(is_staff=True, is_superuser=True))
    environment = create_environment()
    base = f"/admin/environments/{model}/"

    assert client.get(f"{base}add/").status_code == 403
    if model == "environment":
        page = f"{base}{environment.pk}/change/"
        assert client.get(page).status_code == 200
        assert client.post(page, {"name": "Another"}).status_code == 403
        assert client.post(f"{base}{environment.pk}/delete/", {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [environment.pk], "index": "0"}
        client.post(base, chosen)
        assert Environment.objects.get().name == environment.name


def test_a_token_is_never_shown(client):
    client.force_login(create_user(is_staff=True, is_superuser=True))
    environment = create_environment(token="very-secret-token")

    for page in (LIST, f"{LIST}{environment.pk}/change/", f"{LIST}{environment.pk}/history/"):
        html = client.get(page).content.decode()
        assert "very-secret-token" not in html
        assert environment.sealed_token not in html
        assert "token" not in html.replace("csrfmiddlewaretoken", "").lower()


# Lists stay fast


def fill(number):
    environments = [create_environment(name=f"Fill {number} {one}") for one in range(number)]
    now = timezone.now()
    runs = SyncRun.objects.bulk_create(
        SyncRun(environment=one, trigger="manual", status="failed", ended_at=now, requested_by="Ada")
        for one in environments
    )
    Contact.objects.bulk_create(
        Contact(environment=run.environment, epoch=1, purpose="sync", sync_run=run, worker="w", pid=1, expires_at=now)
        for run in runs
    )
    for one in environments:
        application = Application.objects.create(key=one.key, name=one.name, kind="Service", changed_at=now)
        module = Module.objects.create(
            key=one.key, application=application, name=one.name, kind="eSpace", changed_at=now
        )
        ApplicationStatus.objects.create(environment=one, application=application, changed_at=now)
        ModuleStatus.objects.create(environment=one, module=module, changed_at=now)
        TechnicalPreview.objects.create(environment=one, key="a", name="A")
        DeploymentPlan.objects.create(
            number=DeploymentPlan.objects.count() + 1, source=one, target=environments[one == environments[0]]
        ) if number > 1 else None
    windows = maintenance.enable_all(environments[: number // 2], by=actor(), reason="Upgrade")
    for window in windows:
        maintenance.count_refusal(
            Environment.objects.get(pk=window.environment_id), maintenance.Operation.DEPLOY, by=actor()
        )


def test_each_list_runs_a_constant_number_of_queries(client, support):
    lists = [f"/admin/environments/{model}/" for model in [*READ_ONLY, "environment"]]
    lists.append("/admin/deployments/deploymentplan/")
    fill(2)

    def count(page):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(page).status_code == 200
        return len(queries)

    few = {page: count(page) for page in lists}
    fill(10)
    assert {page: count(page) for page in lists} == few
    assert max(few.values()) <= 9


def test_pages_of_single_rows_open(client, support):
    fill(2)
    environment = Environment.objects.in_maintenance().get()
    pages = [f"{LIST}{environment.pk}/change/"]
    for model in (Contact, MaintenanceWindow, SyncRun, ApplicationStatus, DeploymentPlan):
        meta = model._meta
        pages.append(f"/admin/{meta.app_label}/{meta.model_name}/{model.objects.first().pk}/change/")
    pages.append(f"/admin/environments/contact/?environment__id__exact={environment.pk}")
    pages.append("/admin/environments/contact/?environment__id__exact=x%00")
    pages.append("/admin/environments/environment/?maintenance=enabled&q=fill")

    for page in pages:
        assert client.get(page, follow=True).status_code == 200, page
    window_page = client.get(pages[2]).content.decode()
    assert "contacts cut short" in window_page
    assert "deploy: 1" in window_page


# The toggles


def test_enabling_asks_the_reason_shows_the_preview_and_is_audited(client, support):
    cloud = create_environment(name="Cloud", hosting="cloud")
    own, other = create_environment(name="Own"), create_environment(name="Other")
    DeploymentPlan.objects.create(number=7, source=own, target=other, status="running", started_by="Grace")

    page, seen = ask(client, "enable", cloud, own)
    html = page.content.decode()
    assert page.status_code == 200
    assert "Deployment plan #7: Own to Other, running, started by Grace" in html
    assert "Cloud (Development, cloud)" in html
    until = (timezone.now() + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M")
    done = toggle(client, "enable", seen, reason=" Upgrade ", expected_end=until)

    assert texts(done) == ["Maintenance mode is enabled: Cloud, Own."]
    assert set(Environment.objects.in_maintenance()) == {cloud, own}
    windows = MaintenanceWindow.objects.all()
    assert {(one.enabled_by, one.reason) for one in windows} == {("Sam Support", "Upgrade")}
    assert all(one.expected_end for one in windows)
    entry = AuditEvent.objects.filter(message__startswith="Enabled maintenance mode").first()
    assert (entry.actor_username, entry.actor_address) == ("sam", "127.0.0.1")
    assert "Draining" in done.content.decode() or "In force" in done.content.decode()


def test_disabling_queues_the_synchronizations(client, support):
    environment = create_environment(name="Test")
    maintenance.enable(environment, by=actor(), reason="Upgrade")

    page, seen = ask(client, "disable", environment)
    assert "“Upgrade”" in page.content.decode()
    done = toggle(client, "disable", seen, reason="Done")

    assert texts(done) == ["Maintenance mode is disabled: Test."]
    assert SyncRun.objects.get().trigger == "maintenance"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "two\nlines"])
def test_a_bad_reason_comes_back_with_the_page_and_toggles_nothing(client, support, reason):
    environment = create_environment()
    _, seen = ask(client, "enable", environment)

    response = toggle(client, "enable", seen, reason=reason)

    assert response.status_code == 422
    assert "errornote" in response.content.decode()
    assert not MaintenanceWindow.objects.exists()


def test_a_refusal_is_a_message_names_all_and_toggles_nothing(client, support):
    first, second = create_environment(name="First"), create_environment(name="Second")
    maintenance.enable(first, by=actor("Grace Hopper"), reason="Upgrade")

    _, seen = ask(client, "enable", first, second)
    response = toggle(client, "enable", seen)
    _, seen = ask(client, "disable", first, second)
    other = toggle(client, "disable", seen)

    assert response.status_code == other.status_code == 422
    assert "First is enabled already: Grace Hopper enabled it" in texts(response)[0]
    assert "Maintenance mode of Second is not enabled" in texts(other)[0]
    assert MaintenanceWindow.objects.count() == 1
    assert list(Environment.objects.in_maintenance()) == [first]


def test_a_page_older_than_somebody_else_s_toggle_is_refused(client, support):
    environment = create_environment(name="Test")
    _, seen = ask(client, "enable", environment)
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Upgrade")
    _, old = ask(client, "disable", environment)
    maintenance.disable(environment, by=actor("Grace Hopper"), reason="Done")

    response = toggle(client, "enable", seen)
    SyncRun.objects.update(status="failed", ended_at=timezone.now())
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Once more")
    disabled = toggle(client, "disable", old)

    assert "Somebody was faster: Grace Hopper disabled it" in texts(response)[0]
    assert "Somebody was faster: it was disabled and enabled again." in texts(disabled)[0]
    assert Environment.objects.in_maintenance().get().maintenance_window.reason == "Once more"


@pytest.mark.parametrize("seen", ["", "x", "1:", "::", ",", "1:x:y", "999999999999999999999999:1", "٣:1"])
def test_a_form_changed_on_its_way_toggles_nothing(client, support, seen):
    create_environment()

    for direction in ("enable", "disable"):
        response = toggle(client, direction, seen)
        assert response.status_code in (200, 422)
    assert not MaintenanceWindow.objects.exists()


def test_one_that_is_gone_or_unregistered_refuses_the_whole(client, support):
    environment, gone = create_environment(name="Test"), create_environment(name="Gone")
    Environment.objects.filter(pk=gone.pk).update(registration="unregistered", unregistered_at=timezone.now())

    unregistered = toggle(client, "enable", f"{environment.pk}:1,{gone.pk}:1")
    missing = toggle(client, "enable", f"{environment.pk}:1,{gone.pk + 1000}:1")

    assert "Not registered: Gone." in texts(unregistered)[0]
    assert "1 of them are gone" in texts(missing)[0]
    assert not MaintenanceWindow.objects.exists()


def test_only_who_may_toggle_gets_the_actions(client):
    environment = create_environment(name="Test")
    viewer = create_support_staff(username="viewer")
    viewer.groups.clear()
    permission = Group.objects.get(name="Support staff").permissions.get(codename="view_environment")
    viewer.user_permissions.add(permission)
    client.force_login(viewer)

    listed = client.get(LIST)
    chosen, seen = ask(client, "enable", environment)
    direct = toggle(client, "enable", f"{environment.pk}:1")

    assert listed.status_code == 200
    assert "Enable maintenance mode" not in listed.content.decode()
    assert seen is None
    assert chosen.status_code == 200
    assert direct.status_code == 403
    assert not MaintenanceWindow.objects.exists()


def test_without_a_session_nothing_is_toggled(client):
    environment = create_environment()

    response = client.post(
        reverse("admin:environments_environment_enable"), {"reason": "x", "seen": f"{environment.pk}:1"}
    )

    assert response.headers["Location"].startswith("/login/")
    assert not MaintenanceWindow.objects.exists()


def test_support_staff_change_no_people(client, support):
    other = create_user(username="other")

    assert client.get(f"/admin/lifetime/user/{other.pk}/change/").status_code == 200
    assert client.post(f"/admin/lifetime/user/{other.pk}/change/", {"is_superuser": "on"}).status_code == 403
    assert client.get("/admin/auth/group/").status_code == 403
    assert not User.objects.filter(is_superuser=True).exists()
