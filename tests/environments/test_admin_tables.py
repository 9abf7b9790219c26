"""Every table of ours has its page in Django admin, which costs the same however many rows there are."""

import json
from datetime import timedelta
from importlib import import_module
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from environments import models as tables
from environments.models import AuthenticationProvider, Environment
from lifetime import models as people
from lifetime import service_accounts
from lifetime.changes import Author
from tests.environments.test_admin import support  # noqa: F401 (a fixture)
from tests.factories import create_environment, create_user

pytestmark = pytest.mark.django_db

# What has no page of its own, and why.
LEFT_OUT = {
    "lifetime.RoleLevel": "shown with its role",
    "lifetime.ServiceToken": "shown with its account, without its hash",
    "lifetime.ApiQuota": "lives a minute",
    "lifetime.ApiCall": "on its way into the audit log",
    "lifetime.DownloadPart": "a piece of a file",
}
GRANTS = [
    "lifetime.migrations.0006_support_staff",
    "environments.migrations.0019_support_staff_sees_more",
    "environments.migrations.0021_support_staff_sees_downloads",
]
SECRETS = ("sealed-token", "sealed-secret", "sealed-values", "of-the-parameters", "of-the-document")


def ours():
    return [model for label in ("environments", "lifetime") for model in apps.get_app_config(label).get_models()]


def fill():
    """One more row of everything, with an environment, an application and a person of its own."""
    now, key = timezone.now(), uuid4()
    environment = create_environment(name=f"Environment {key}")
    Environment.objects.filter(pk=environment.pk).update(sealed_token="sealed-token")
    role = people.Role.objects.create(name=f"Role {key}")
    user = create_user(role=role)
    application = tables.Application.objects.create(key=uuid4(), name="Board", kind="WebResponsive", changed_at=now)
    here = {"environment": environment, "application": application}
    module = tables.Module.objects.create(
        key=uuid4(), application=application, name="Core", kind="Module", changed_at=now
    )
    version = tables.ApplicationVersion.objects.create(
        key=uuid4(), application=application, version="1.0", created_at=now, created_in=environment
    )
    window = tables.MaintenanceWindow.objects.create(
        environment=environment, status="ended", epoch=2, enabled_at=now, enabled_by="Ada", reason="Upgrade",
        disabled_at=now, disabled_by="Ada", disable_reason="Done",
    )  # fmt: skip
    run = tables.SyncRun.objects.create(
        environment=environment, trigger="manual", status="finished", ended_at=now, requested_by="Ada"
    )
    provider = AuthenticationProvider.objects.create(name=f"Company {key}", mode="oidc", sealed_secret="sealed-secret")
    team = people.Team.objects.create(name=f"Team {key}")
    account = people.ServiceAccount.objects.create(username=f"pipeline-{key}", role=role)
    token = service_accounts.issue_token(account, by=Author()).token
    one_filter = tables.EnvironmentFilter.objects.create(user=user, name="Mine")
    one_filter.environments.add(environment)
    rows = [
        tables.ApplicationBlock(**here, blocked_at=now, blocked_by="Ada", reason="Audit"),
        tables.ApplicationIcon(application_key=uuid4(), digest="d" * 64, media_type="image/png", content=b"png"),
        tables.ApplicationSecurity(**here, read_at=now),
        tables.ApplicationSettings(**here, document={"value": "of-the-document"}, read_at=now),
        tables.ApplicationStatus(**here, changed_at=now),
        tables.ApplicationTask(
            **here, kind="tag", status="failed", ended_at=now, requested_by="Ada",
            parameters={"value": "of-the-parameters"}, sealed_secrets="sealed-values",
        ),
        tables.Contact(environment=environment, epoch=1, purpose="sync", sync_run=run, worker="w", pid=1,
                       expires_at=now + timedelta(seconds=9)),
        tables.EnvironmentEvent(environment=environment, event_id=uuid4(), type="application-published"),
        tables.ModuleStatus(environment=environment, module=module, changed_at=now),
        tables.ModuleVersion(application_version=version, module_key=uuid4(), name="Core", version_key=uuid4()),
        tables.Plugin(name=f"Plugin {key}", entry_point="https://x.example", developer="Ada", application=application),
        tables.ProviderTest(provider=provider, requested_by="Ada"),
        tables.RefusedOperation(window=window, operation="tag", last_at=now, last_by="Ada"),
        tables.RegistrationDraft(environment=environment, people=[{"username": "eve"}]),
        tables.TechnicalPreview(environment=environment, key="maps", name="Maps"),
        people.ApplicationRole(application=application, user=user, role=role),
        people.Download(kind="package", account=account, environment=environment, name="Board 1.0"),
        people.LoginCounter(address=str(key)[:20], failures=1, counting_since=now, last_failed_at=now),
        people.RoleLevel(role=people.Role.objects.administrator(), environment=environment, level=6),
        people.TeamApplication(team=team, application=application),
        people.TeamMembership(team=team, user=user, role=role),
    ]  # fmt: skip
    for row in rows:
        row.save()
    return token


def cost(client, page):
    with CaptureQueriesContext(connection) as queries:
        response = client.get(page)
    assert response.status_code == 200, page
    return len(queries), response.content.decode()


def test_every_model_has_a_page_or_a_reason():
    without = {model._meta.label for model in ours() if not admin.site.is_registered(model)}
    assert without == set(LEFT_OUT)


def test_names_in_the_plural_are_english():
    for model in ours():
        name = str(model._meta.verbose_name_plural)
        assert not name.endswith(("ss", "ys")), name
    assert str(tables.ApplicationStatus._meta.verbose_name_plural) == "application statuses"
    assert str(tables.ApplicationSettings._meta.verbose_name_plural) == "application settings"


def test_every_page_opens_at_a_constant_cost_and_shows_no_secret(client):
    client.force_login(create_user(is_staff=True, is_superuser=True))
    tokens = [fill()]
    models = [model for model in ours() if admin.site.is_registered(model)]
    ContentType.objects.get_for_models(*models)  # read once for each process
    one = {}
    for model in models:
        assert model.objects.exists(), f"fill() makes no {model._meta.label}"
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = people.Role.objects.administrator() if model is people.Role else model.objects.order_by("pk").first()
        for page in (reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[row.pk])):
            one[page], _ = cost(client, page)
    tokens += [fill(), fill()]

    for page, before in one.items():
        now, html = cost(client, page)
        assert now <= before, f"{page}: {before} queries with one row, {now} with three"
        for secret in (*SECRETS, *(token.hash for token in tokens)):
            assert secret not in html, f"{page} shows {secret}"
        assert json.dumps(["of-the-document"])[2:-2] not in html


def test_support_staff_look_at_all_of_it_and_change_nothing(client, support):  # noqa: F811
    for module in GRANTS:
        import_module(module).grant(apps, None)
    fill()
    for model in ours():
        if not admin.site.is_registered(model):
            continue
        label, name = model._meta.app_label, model._meta.model_name
        assert support.has_perm(f"{label}.view_{name}"), f"No migration lets support staff see {label}.{name}"
        page = f"/admin/{label}/{name}/{model.objects.first().pk}/change/"
        assert client.get(page).status_code == 200
        if model is not people.LoginCounter:
            assert client.post(page, {"name": "x"}).status_code == 403
        assert client.get(f"/admin/{label}/{name}/add/").status_code == 403
