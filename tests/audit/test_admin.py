from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission

from audit.log import SYSTEM, AuditObject, record
from audit.models import Anchor
from tests.factories import create_user

pytestmark = pytest.mark.django_db

LIST = "/admin/audit/auditevent/"


@pytest.fixture
def support(client):
    user = create_user(is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(content_type__app_label="audit"))
    client.force_login(user)
    return user


@pytest.fixture
def event():
    record("Created role", AuditObject(type="role", key="r", name="Tester"), by=SYSTEM)
    return record("Cannot reach it", AuditObject(type="environment", key="e", name="P"), by=SYSTEM, succeeded=False)


def test_the_only_permissions_are_to_view():
    names = Permission.objects.filter(content_type__app_label="audit").values_list("codename", flat=True)

    assert sorted(names) == ["view_anchor", "view_auditevent"]


def test_support_staff_read_and_filter(client, support, event):
    assert "Created role" in client.get(LIST).content.decode()
    for filters in ({"succeeded__exact": "0"}, {"type": "environment"}, {"q": "reach"}, {"kind__exact": "update"}):
        page = client.get(LIST, filters)
        assert page.status_code == 200
        assert "Cannot reach it" in page.content.decode()
    assert "Created role" not in client.get(LIST, {"type": "environment"}).content.decode()
    assert event.hash in client.get(f"{LIST}{event.pk}/change/").content.decode()


def test_anchors_are_readable(client, support):
    now = datetime.now(UTC)
    Anchor.objects.create(number=1, at=now, hash="abc", cut_at=now, signature="x")

    assert "abc" in client.get("/admin/audit/anchor/").content.decode()


@pytest.mark.parametrize("superuser", [False, True])
def test_nobody_adds_changes_or_deletes(client, support, event, superuser):
    support.is_superuser = superuser
    support.save()

    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}{event.pk}/change/", {"message": "other"}).status_code == 403
    assert client.post(f"{LIST}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(LIST, {"action": "delete_selected", "_selected_action": [event.pk]})
    event.refresh_from_db()
    assert event.message == "Cannot reach it"


def test_without_the_permission_there_is_nothing_to_see(client, event):
    client.force_login(create_user(is_staff=True))

    assert client.get(LIST).status_code == 403
