"""Creating and editing IT users, and what is refused."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from environments.models import SyncState
from lifetime import people
from lifetime.changes import Author
from lifetime.models import LoginCounter, Role
from tests.factories import PASSWORD, create_environment, create_user
from tests.lifetime.factories import administrator, create_manager, create_role, messages, untouched

pytestmark = pytest.mark.django_db

GRACE = {"username": "grace", "name": "Grace Hopper", "email": "grace@example.org"}


def test_a_person_is_created_and_delivered():
    create_environment()
    SyncState.objects.update(due_at=timezone.now() + timedelta(hours=1))
    user = people.create(**GRACE, role=Role.objects.developer(), password=PASSWORD, by=administrator())

    assert user.check_password(PASSWORD)
    assert messages() == ["Created user 'Grace Hopper' (grace)"]
    assert PASSWORD not in str(AuditEvent.objects.values())
    assert SyncState.objects.get().due_at <= timezone.now()


def test_environments_that_are_not_registered_are_left_alone():
    create_environment(registration="checked")
    later = timezone.now() + timedelta(hours=1)
    SyncState.objects.update(due_at=later)
    people.create(**GRACE, role=Role.objects.developer(), by=administrator())

    assert SyncState.objects.get().due_at == later


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"username": ""}, "username", "The username is missing"),
        ({"username": "two words"}, "username", "letters, digits"),
        ({"username": "ADA"}, "username", "is taken by a person"),
        ({"name": " "}, "name", "The name is missing"),
        ({"name": "a\tb"}, "name", "in one line"),
        ({"email": ""}, "email", "The e-mail address is missing"),
        ({"email": "grace"}, "email", "is not an e-mail address"),
        ({"password": "short"}, "password", "too short"),
        ({"password": "all small letters"}, "password", "needs a digit"),
    ],
)
def test_wrong_details_create_nobody(wrong, field, said):
    by = administrator()
    details = {**GRACE, "role": Role.objects.developer(), **wrong}

    assert untouched(people.create, **details, by=by, match=said).field == field


def test_each_changed_detail_is_an_entry():
    user = create_user(username="grace", name="Grace", email="g@example.org", manages_infrastructure=False)
    people.edit(
        user,
        {"name": "Grace Hopper", "email": "g@example.org", "role": create_role("Tester"), "is_active": False},
        by=administrator(),
        password="Another 1 of these",
    )

    user.refresh_from_db()
    assert user.check_password("Another 1 of these")
    assert messages() == [
        "Changed name of user 'Grace Hopper' (grace) from 'Grace' to 'Grace Hopper'",
        "Changed default role of user 'Grace Hopper' (grace) from 'Developer' to 'Tester'",
        "Made user 'Grace Hopper' (grace) inactive",
        "Set a new password for user 'Grace Hopper' (grace)",
    ]


def test_an_edit_without_a_difference_records_nothing():
    user = create_user()
    people.edit(user, {"name": user.name}, by=administrator())

    assert messages() == []


def test_nobody_changes_the_own_role_or_makes_oneself_inactive():
    create_user()
    by = administrator()

    untouched(people.edit, by.who, {"role": Role.objects.developer()}, by=by, match="cannot change your own role")
    untouched(people.edit, by.who, {"is_active": False}, by=by, match="cannot make yourself inactive")
    people.edit(by.who, {"name": "Ada King"}, by=by)


def test_nobody_gives_more_than_the_own_role_or_takes_over_who_has_it():
    create_environment(name="Development")
    by = Author(who=create_user(role=create_manager("Operator", level=3)))
    high = create_role("High", level=5)
    above, user = create_user(role=high), create_user(role=create_role("Low", level=1))

    said = (
        r"The role High allows more than yours \(Operator\): Change and Deploy Applications in Development, where yours"
    )
    untouched(people.create, **GRACE, role=high, by=by, match=said)
    untouched(people.edit, user, {"role": high}, by=by, match=said)
    untouched(people.edit, above, {}, by=by, password="Another 1 of these", match=said)
    untouched(people.edit, above, {"email": "mine@example.org"}, by=by, match=said)
    untouched(people.edit, above, {"is_active": False}, by=by, match=said)
    people.edit(above, {"name": "Somebody"}, by=by)


def test_the_console_itself_may_give_every_role():
    people.create(**GRACE, role=Role.objects.administrator(), by=Author())

    assert AuditEvent.objects.get().actor_name == "System"


def test_unblocking_forgets_failed_log_ins_from_everywhere():
    user, now = create_user(username="Grace"), timezone.now()
    for address, username in [("192.0.2.1", "grace"), ("192.0.2.2", "grace"), ("192.0.2.1", "")]:
        LoginCounter.objects.create(address=address, username=username, counting_since=now, last_failed_at=now)
    by = administrator()

    assert people.unblock(user, by=by)
    assert not people.unblock(user, by=by)
    assert LoginCounter.objects.get().username == ""
    assert messages() == [f"Unblocked user '{user.name}' (Grace) after failed log-ins"]
