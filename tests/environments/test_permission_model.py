"""The permission model as environments shall have it: exactly what the rows say, however often it was asked before."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from environments import deliveries, permission_model
from environments.environment_api import canonical, digest
from environments.models import Application
from lifetime.models import ApplicationRole, Role, RoleLevel, Team, TeamApplication, TeamMembership, User
from tests.factories import create_environment, create_user
from tests.lifetime.factories import create_application, create_role

pytestmark = pytest.mark.django_db
ODD = ['"quoted" \\ back/slash', "".join(map(chr, range(1, 32))), "\x7f\u2028\u00ad Zoë 日本 😀", "%s {} %%"]


def delivery(environment):
    return next(one for one in deliveries.due([environment])[environment.pk] if one.part == "permissions")


def afresh(environment, monkeypatch):
    """As a process that has just begun would write it."""
    with monkeypatch.context() as patched:
        patched.setattr(permission_model, "_kept", permission_model.People("", b"", b""))
        return delivery(environment).body


@pytest.fixture
def environment():
    """With two teams, one of them empty, and people in all kinds of roles."""
    environment = create_environment()
    tester = create_role("Tester", level=4)
    claims, _ = Team.objects.create(name="Claims"), Team.objects.create(name="Empty")
    for number, name in enumerate(("Grace Hopper", "Alan Turing", "Edith Clarke")):
        user = create_user(name=name, username=f"user{number}", role=tester, is_active=number != 1)
        TeamMembership.objects.create(team=claims, user=user, role=tester)
        application = create_application(f"Application {number}")
        TeamApplication.objects.create(team=claims, application=application)
        ApplicationRole.objects.create(user=user, application=application, role=Role.objects.developer())
    return environment


def expected():
    """What the rows say, in Python."""
    users = User.objects.order_by("pk").select_related("role")
    teams = Team.objects.order_by("pk")
    granted = ApplicationRole.objects.order_by("pk").select_related("user", "application", "role")
    return {
        "users": [
            {
                "key": str(one.key),
                "username": one.username,
                "name": one.name,
                "email": one.email,
                "is_active": one.is_active,
                "role_key": str(one.role.key),
            }
            for one in users
        ],
        "teams": [
            {
                "key": str(one.key),
                "name": one.name,
                "members": [
                    {"user_key": str(member.user.key), "role_key": str(member.role.key)}
                    for member in one.memberships.order_by("user_id").select_related("user", "role")
                ],
                "applications": sorted(str(key) for key in one.applications.values_list("application__key", flat=True)),
            }
            for one in teams
        ],
        "application_roles": [
            {"user_key": str(one.user.key), "application_key": str(one.application.key), "role_key": str(one.role.key)}
            for one in granted
        ],
    }


def test_the_body_is_what_the_rows_say_in_canonical_form(environment):
    told = delivery(environment)
    document = json.loads(told.body)

    assert told.body == canonical(document)
    assert told.digest == digest(told.body)
    assert {one["name"] for one in document.pop("roles")} == {"Tester", "Administrator", "Developer"}
    assert document == expected()


def test_a_model_without_anybody_is_written_too():
    User.objects.all().delete()
    document = json.loads(delivery(create_environment()).body)

    assert (document["users"], document["teams"], document["application_roles"]) == ([], [], [])


@pytest.mark.parametrize("odd", range(len(ODD)))
def test_odd_names_are_written_as_python_writes_them(environment, odd):
    create_user(name=ODD[odd], username=f"odd{odd}", email=f"{odd}")
    Team.objects.create(name=ODD[odd])
    Role.objects.create(name=ODD[odd])
    body = delivery(environment).body
    document = json.loads(body)

    assert body == canonical(document)
    assert ODD[odd] in {one["name"] for one in document["users"]}
    assert ODD[odd] in {one["name"] for one in document["teams"]}


CHANGES = {
    "a user is renamed": lambda: User.objects.filter(username="user0").update(name="Rear Admiral Hopper"),
    "a user is deactivated": lambda: User.objects.filter(username="user0").update(is_active=False),
    "a user gets another role": lambda: User.objects.filter(username="user0").update(role=Role.objects.administrator()),
    "a user is created": lambda: create_user(username="new"),
    "a user is deleted": lambda: User.objects.filter(username="user0").delete(),
    "a team is renamed": lambda: Team.objects.filter(name="Claims").update(name="Insurance claims"),
    "a team is created": lambda: Team.objects.create(name="Billing"),
    "a team is deleted": lambda: Team.objects.filter(name="Claims").delete(),
    "a member gets another role": lambda: TeamMembership.objects.update(role=Role.objects.developer()),
    "a member leaves": lambda: TeamMembership.objects.filter(user__username="user0").delete(),
    "a member changes the team": lambda: TeamMembership.objects.update(team=Team.objects.get(name="Empty")),
    "a team gives an application away": lambda: TeamApplication.objects.update(team=Team.objects.get(name="Empty")),
    "an application is gone": lambda: Application.objects.filter(name="Application 0").delete(),
    "a role on an application is another": lambda: ApplicationRole.objects.update(role=Role.objects.administrator()),
    "a role on an application is gone": lambda: ApplicationRole.objects.filter(user__username="user0").delete(),
    "a level is another": lambda: RoleLevel.objects.update(level=2),
    "a role is renamed": lambda: Role.objects.filter(name="Tester").update(name="Quality"),
    "a role is created": lambda: Role.objects.create(name="Reader"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen_by_whoever_knew_it_before(environment, change, monkeypatch):
    before = delivery(environment)
    CHANGES[change]()

    after = delivery(environment)

    assert after.body == afresh(environment, monkeypatch)
    assert after.digest == digest(after.body) != before.digest


def test_what_has_not_changed_is_not_written_again(environment, django_assert_num_queries):
    first = permission_model.people()

    with django_assert_num_queries(1):
        assert permission_model.people() is first


def test_a_log_in_changes_no_digest_and_nothing_is_written_again(environment):
    before, people = delivery(environment).digest, permission_model.people()
    User.objects.update(last_login=timezone.now())

    assert permission_model.people() is people
    assert delivery(environment).digest == before


def test_rows_are_told_apart_by_what_they_say_not_by_when_they_were_written(environment):
    people = permission_model.people()
    for name in ("Somebody else", "Grace Hopper"):
        User.objects.filter(username="user0").update(name=name)

    assert permission_model.people() is people


def test_a_key_that_is_another_is_seen(environment, monkeypatch):
    """As after the database was set back: what has a row's number now may be something else."""
    for rows in (User, Team, Role, Application):
        before = delivery(environment).body
        rows.objects.filter(pk=rows.objects.order_by("-pk").first().pk).update(key=uuid4())

        assert delivery(environment).body == afresh(environment, monkeypatch) != before


def test_environments_share_all_but_the_roles(environment):
    other = create_environment(purpose="Production")
    found = deliveries.due([environment, other])
    [one], [another] = ([one for one in found[each.pk] if one.part == "permissions"] for each in (environment, other))

    assert one.digest != another.digest
    assert (one.pieces[0] is another.pieces[0], one.pieces[2] is another.pieces[2]) == (True, True)


def test_nothing_of_a_change_that_is_taken_back_stays(environment, monkeypatch):
    before = delivery(environment)

    for name in ("Somebody else", "Yet another"):
        with transaction.atomic():
            User.objects.filter(username="user0").update(name=name)
            assert name.encode() in delivery(environment).body
            transaction.set_rollback(True)
        assert (delivery(environment).body, delivery(environment).digest) == (before.body, before.digest)
    assert afresh(environment, monkeypatch) == before.body


@pytest.mark.django_db(transaction=True)
def test_readers_see_each_change_whole_while_somebody_writes(environment):
    """Each change renames a user and a team alike, in one transaction: nobody may ever see one without the other."""

    def write():
        try:
            for number in range(80):
                with transaction.atomic():
                    User.objects.filter(username="user0").update(name=f"Name {number}")
                    Team.objects.filter(name__startswith="Claims").update(name=f"Claims {number}")
        finally:
            connection.close()

    def read():
        seen = set()
        try:
            while "Name 79" not in seen:
                people = permission_model.people()
                document = json.loads(b"".join(people.around(b"[]")))
                [name] = [one["name"] for one in document["users"] if one["username"] == "user0"]
                [team] = [one["name"] for one in document["teams"] if one["name"].startswith("Claims")]
                assert name.removeprefix("Name ") == team.removeprefix("Claims ")
                assert people.digest(b"[]") == digest(b"".join(people.around(b"[]")))
                seen.add(name)
        finally:
            connections.close_all()
        return len(seen)

    User.objects.filter(username="user0").update(name="Name ")
    Team.objects.filter(name="Claims").update(name="Claims ")
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        pool.submit(write).result(30)
        assert all(reader.result(30) > 1 for reader in readers)
