"""Teams, their people and applications, and roles on single applications."""

import pytest
from django.db import IntegrityError, transaction

from audit.models import AuditEvent
from lifetime import teams
from lifetime.changes import Author
from lifetime.models import ApplicationRole, Role, Team, TeamApplication, TeamMembership
from tests.factories import create_environment, create_user
from tests.lifetime.factories import administrator, create_application, create_role, messages, untouched

pytestmark = pytest.mark.django_db


def create_team(name="Claims"):
    return Team.objects.create(name=name)


def test_a_team_is_created_edited_and_deleted():
    by = administrator()
    team = teams.create(name=" Claims ", description="Insurance claims", by=by)
    teams.edit(team, {"name": "Claims Portugal", "description": "Insurance claims"}, by=by)
    user = create_user(username="grace")
    teams.set_member(team, user, Role.objects.developer(), by=by)
    teams.delete(team, by=by)

    assert not Team.objects.exists()
    assert not TeamMembership.objects.exists()
    assert messages()[0] == "Created team 'Claims'"
    assert messages()[1] == "Changed name of team 'Claims Portugal' from 'Claims' to 'Claims Portugal'"
    assert messages()[-1] == "Deleted team 'Claims Portugal'"
    assert AuditEvent.objects.order_by("-number")[0].details == {"members": ["grace"], "applications": []}


def test_names_of_teams_are_unique_without_regard_to_case():
    create_team("Claims")
    other = create_team("Other")
    by = administrator()

    assert untouched(teams.create, name="CLAIMS", by=by, match="There is a team called CLAIMS already").field == "name"
    untouched(teams.edit, other, {"name": "claims"}, by=by, match="There is a team called claims already")
    with pytest.raises(IntegrityError, match="team_name_unique_without_case"), transaction.atomic():
        create_team("clAims")


def test_members_have_one_role_each():
    team, user = create_team(), create_user(name="Grace Hopper", username="grace", manages_infrastructure=False)
    by = administrator()
    developer, tester = Role.objects.developer(), create_role("Tester")
    teams.set_member(team, user, developer, by=by)
    teams.set_member(team, user, tester, by=by)
    teams.set_member(team, user, tester, by=by)

    assert TeamMembership.objects.get().role == tester
    added = "Added user 'Grace Hopper' (grace) to team 'Claims' with role 'Developer'"
    changed = "Changed the role of user 'Grace Hopper' (grace) in team 'Claims' from 'Developer' to 'Tester'"
    assert messages() == [added, added, changed, changed]
    assert list(AuditEvent.objects.order_by("number").values_list("object_type", flat=True)) == ["team", "user"] * 2

    teams.remove_member(team, user, by=by)
    assert not TeamMembership.objects.exists()
    untouched(teams.remove_member, team, user, by=by, match="is not in the team Claims")


def test_inactive_people_join_nothing():
    team, user = create_team(), create_user(is_active=False)
    by = administrator()

    untouched(teams.set_member, team, user, Role.objects.developer(), by=by, match="Make the user active first")


def test_an_application_belongs_to_one_team():
    claims, other = create_team("Claims"), create_team("Other")
    app = create_application("Invoices")
    by = administrator()
    teams.add_applications(claims, [app], by=by)
    teams.add_applications(claims, [app], by=by)

    untouched(teams.add_applications, other, [app], by=by, match="Invoices belongs to the team Claims already")
    with pytest.raises(IntegrityError), transaction.atomic():
        TeamApplication.objects.bulk_create([TeamApplication(team=other, application=app)])
    teams.remove_application(claims, app, by=by)
    teams.add_applications(other, [app], by=by)

    assert messages() == [
        "Added application 'Invoices' to team 'Claims'",
        "Removed application 'Invoices' from team 'Claims'",
        "Added application 'Invoices' to team 'Other'",
    ]
    untouched(teams.remove_application, claims, app, by=by, match="does not belong to the team")


def test_roles_on_applications_come_and_go():
    user, app = (
        create_user(name="Grace", username="grace", manages_infrastructure=False),
        create_application("Invoices"),
    )
    by = administrator()
    tester, reader = create_role("Tester"), create_role("Reader")
    teams.set_application_role(user, app, tester, by=by)
    teams.set_application_role(user, app, reader, by=by)
    assert ApplicationRole.objects.get().role == reader
    teams.remove_application_role(user, app, by=by)

    assert not ApplicationRole.objects.exists()
    assert messages()[::2] == [
        "Gave user 'Grace' (grace) the role 'Tester' on application 'Invoices'",
        "Changed the role of user 'Grace' (grace) on application 'Invoices' from 'Tester' to 'Reader'",
        "Removed the role 'Reader' of user 'Grace' (grace) on application 'Invoices'",
    ]
    untouched(teams.remove_application_role, user, app, by=by, match="has no role on the application")


def test_a_team_manager_gives_and_takes_nothing_above_the_own_role():
    create_environment(name="Development")
    team, app = create_team(), create_application()
    lead = create_role("Lead", level=4, manage_teams_and_application_roles=True)
    manager = create_user(role=create_role("Reader", level=2))
    TeamMembership.objects.create(team=team, user=manager, role=lead)
    TeamApplication.objects.create(team=team, application=app)
    by = Author(who=manager)
    low, high = create_role("Low", level=3), create_role("High", level=5)
    user, boss = create_user(role=low), create_user(role=low)
    TeamMembership.objects.create(team=team, user=boss, role=high)
    other = create_team("Other")

    teams.set_member(team, user, low, by=by)
    teams.set_application_role(user, app, low, by=by)
    above = "High allows more than yours .Lead.: Change and Deploy Applications in Development"
    untouched(teams.set_member, team, user, high, by=by, match=above)
    untouched(teams.set_member, team, manager, high, by=by, match=above)
    untouched(teams.set_application_role, user, app, high, by=by, match=above)
    untouched(teams.set_member, team, boss, low, by=by, match=above)
    untouched(teams.remove_member, team, boss, by=by, match=above)
    untouched(teams.set_member, other, user, low, by=by, match=r"allows more than yours \(Reader\)")
    alone = create_application()
    ApplicationRole.objects.create(user=manager, application=alone, role=lead)
    teams.set_application_role(user, alone, low, by=by)
    untouched(teams.set_application_role, user, alone, high, by=by, match=above)
    administrators = Role.objects.administrator()
    untouched(teams.set_member, team, user, administrators, by=by, match="Manage Infrastructure and Users")
