"""People in Django admin: support staff look, superusers give the rights of Django admin, nobody else's are touched."""

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.utils import timezone
from django_q.models import OrmQ, Schedule, Success

from audit.models import AuditEvent
from lifetime import service_accounts
from lifetime.changes import Author
from lifetime.models import Role, RoleLevel, ServiceAccount, Team, User
from tests.factories import create_environment, create_support_staff, create_user
from tests.lifetime.factories import create_role

pytestmark = pytest.mark.django_db

MODELS = ["role", "user", "team", "teammembership", "teamapplication", "applicationrole", "serviceaccount"]


@pytest.fixture
def support():
    user = create_support_staff()
    import_module("lifetime.migrations.0006_support_staff").grant(apps, None)
    return user


@pytest.mark.parametrize("model", MODELS)
def test_support_staff_look_and_change_nothing(client, support, model):
    client.force_login(support)
    Team.objects.create(name="Claims")
    ServiceAccount.objects.create(username="pipeline", role=Role.objects.developer())

    assert client.get(f"/admin/lifetime/{model}/").status_code == 200
    assert client.get(f"/admin/lifetime/{model}/add/").status_code == 403
    one = apps.get_model("lifetime", model).objects.first()
    if one:
        assert client.get(f"/admin/lifetime/{model}/{one.pk}/change/").status_code == 200
        assert client.post(f"/admin/lifetime/{model}/{one.pk}/change/", {"name": "x"}).status_code == 403
        assert client.post(f"/admin/lifetime/{model}/{one.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_pages_have_the_icon_of_the_console(client, support):
    client.force_login(support)

    assert "img/favicon" in client.get("/admin/").content.decode()


def test_levels_and_tokens_are_seen_without_their_hash(client, support):
    create_environment(name="Development")
    client.force_login(support)
    role = create_role(level=4)
    account = ServiceAccount.objects.create(username="pipeline", role=role)
    issued = service_accounts.issue_token(account, by=Author())

    assert RoleLevel.objects.count() == 1
    assert "Open and Debug Applications" in client.get(f"/admin/lifetime/role/{role.pk}/change/").content.decode()
    html = client.get(f"/admin/lifetime/serviceaccount/{account.pk}/change/").content.decode()
    assert issued.token.prefix in html
    assert issued.token.hash not in html


def test_a_superuser_gives_rights_in_django_admin_only_and_it_is_audited(client):
    root, user = create_user(is_staff=True, is_superuser=True), create_user(username="sam", name="Sam")
    group, _ = Group.objects.get_or_create(name="Support staff")
    client.force_login(root)

    response = client.post(
        f"/admin/lifetime/user/{user.pk}/change/",
        {"is_staff": "on", "groups": [group.pk], "username": "other", "role": Role.objects.developer().pk},
    )

    assert response.status_code == 302
    changed = User.objects.get(pk=user.pk)
    assert (changed.is_staff, changed.username, changed.role) == (True, "sam", user.role)
    event = AuditEvent.objects.get()
    assert event.message == "Changed the rights of user 'Sam' (sam) in Django admin"
    assert event.details["groups"] == ["Support staff"]


@pytest.mark.parametrize("is_superuser", [False, True])
def test_the_queue_is_looked_at_and_nothing_more(client, is_superuser):
    """django-q2's own pages would let whoever looks send tasks again, and superusers schedule any function."""
    user = create_user(is_staff=True, is_superuser=True) if is_superuser else create_support_staff()
    client.force_login(user)
    now = timezone.now()
    OrmQ.objects.create(key="lifetime", payload="signed with a former key", lock=now)
    for name, success in (("failed", False), ("done", True)):
        Success.objects.create(id=name, name=name, func="f", started=now, stopped=now, success=success, result="no")
    before = OrmQ.objects.count()

    for model, pk in (("failure", "failed"), ("success", "done"), ("ormq", None), ("schedule", None)):
        url = f"/admin/django_q/{model}/"
        pk = pk or {"ormq": OrmQ, "schedule": Schedule}[model].objects.first().pk
        assert client.get(url, {"q": "f"} if model != "ormq" else {}).status_code == 200
        assert client.get(f"{url}{pk}/change/").status_code == 200
        assert client.get(f"{url}add/").status_code == 403
        assert client.post(f"{url}{pk}/change/", {}).status_code == 403
        assert client.post(f"{url}{pk}/delete/", {"post": "yes"}).status_code == 403
        client.post(url, {"action": "resubmit_task", "_selected_action": [pk]})
    assert OrmQ.objects.count() == before
    assert Success.objects.count() == 1
