"""Teams: their people with a role each, and their applications; and roles on single applications."""

from collections.abc import Collection, Mapping

from django.db import transaction

from audit import log
from environments.models import Application
from lifetime import changes, people
from lifetime.changes import Author, Refused
from lifetime.models import ApplicationRole, Role, Team, TeamApplication, TeamMembership, User

EDITABLE = ("name", "description")


@transaction.atomic
def create(*, name: str, description: str = "", by: Author) -> Team:
    changes.one_at_a_time()
    team = Team(name=name, description=description)
    _check(team)
    team.save()
    changes.deliver()
    log.record(f"Created team '{team}'", team.audit_object, by=by.actor)
    return team


@transaction.atomic
def edit(team: Team, values: Mapping[str, str], *, by: Author) -> Team:
    """Change name and description, as far as given; one audit entry per detail."""
    changes.one_at_a_time()
    locked = Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    before = {name: getattr(locked, name) for name in EDITABLE}
    for name in values.keys() & set(EDITABLE):
        setattr(locked, name, values[name])
    _check(locked)
    wanted = [name for name in EDITABLE if getattr(locked, name) != before[name]]
    if wanted:
        locked.save(update_fields=wanted)
        changes.deliver()
    log.record_all(
        [
            log.Entry(
                message=f"Changed {name} of team '{locked}' from '{before[name]}' to '{getattr(locked, name)}'",
                on=locked.audit_object,
                by=by.actor,
            )
            for name in wanted
        ]
    )
    return locked


@transaction.atomic
def delete(team: Team, *, by: Author) -> None:
    """Delete a team. Its people keep their default roles, its applications belong to no team."""
    changes.one_at_a_time()
    locked = Team.objects.select_for_update().get(pk=team.pk)
    details = {
        "members": sorted(locked.memberships.values_list("user__username", flat=True)),
        "applications": sorted(locked.applications.values_list("application__name", flat=True)),
    }
    audited = locked.audit_object
    locked.delete()
    changes.deliver()
    log.record(f"Deleted team '{locked}'", audited, by=by.actor, details=details)


@transaction.atomic
def set_member(team: Team, user: User, role: Role, *, by: Author) -> TeamMembership:
    """Give somebody a role in the team, or another one; the role stands instead of the default one there."""
    changes.one_at_a_time()
    given = [role]
    membership = TeamMembership.objects.select_related("role").filter(team=team, user=user).first()
    if membership and membership.role_id == role.pk:
        return membership
    if membership:
        given.append(membership.role)  # nobody takes from others what is above himself
    elif not user.is_active:
        raise Refused(f"{user} is inactive. Make the user active first.", field="user")
    changes.refuse_above_own(by, given, field="role", team_id=team.pk)
    who = f"user '{user.name}' ({user.username})"
    if membership:
        message = f"Changed the role of {who} in team '{team}' from '{membership.role}' to '{role}'"
        membership.role = role
        membership.save(update_fields=["role"])
    else:
        message = f"Added {who} to team '{team}' with role '{role}'"
        membership = TeamMembership.objects.create(team=team, user=user, role=role)
    changes.deliver()
    _record(message, team.audit_object, user, by)
    return membership


@transaction.atomic
def remove_member(team: Team, user: User, *, by: Author) -> None:
    changes.one_at_a_time()
    membership = TeamMembership.objects.select_related("role").filter(team=team, user=user).first()
    if membership is None:
        raise Refused(f"{user} is not in the team {team}.")
    changes.refuse_above_own(by, [membership.role], team_id=team.pk)
    membership.delete()
    changes.deliver()
    _record(f"Removed user '{user.name}' ({user.username}) from team '{team}'", team.audit_object, user, by)


@transaction.atomic
def add_applications(team: Team, applications: Collection[Application], *, by: Author) -> None:
    """Make applications the team's; one that belongs to another team stays there and is a refusal."""
    changes.one_at_a_time()
    taken = TeamApplication.objects.filter(application__in=applications).select_related("team", "application")
    for one in taken:
        if one.team_id != team.pk:
            raise Refused(f"{one.application} belongs to the team {one.team} already.", field="applications")
    has = {one.application_id for one in taken}
    added = [application for application in applications if application.pk not in has]
    if not added:
        return
    TeamApplication.objects.bulk_create(TeamApplication(team=team, application=application) for application in added)
    changes.deliver()
    log.record_all([_application_entry("Added", "to", team, application, by) for application in added])


@transaction.atomic
def remove_application(team: Team, application: Application, *, by: Author) -> None:
    changes.one_at_a_time()
    removed, _ = TeamApplication.objects.filter(team=team, application=application).delete()
    if not removed:
        raise Refused(f"{application} does not belong to the team {team}.")
    changes.deliver()
    log.record_all([_application_entry("Removed", "from", team, application, by)])


@transaction.atomic
def set_application_role(user: User, application: Application, role: Role, *, by: Author) -> ApplicationRole:
    """Give somebody a role on one application; it stands instead of the roles of the team and by default."""
    changes.one_at_a_time()
    given = [role]
    present = ApplicationRole.objects.select_related("role").filter(user=user, application=application).first()
    if present and present.role_id == role.pk:
        return present
    if present:
        given.append(present.role)
    elif not user.is_active:
        raise Refused(f"{user} is inactive. Make the user active first.", field="user")
    changes.refuse_above_own(by, given, field="role", application_id=application.pk)
    who = f"user '{user.name}' ({user.username})"
    if present:
        message = f"Changed the role of {who} on application '{application}' from '{present.role}' to '{role}'"
        present.role = role
        present.save(update_fields=["role"])
    else:
        message = f"Gave {who} the role '{role}' on application '{application}'"
        present = ApplicationRole.objects.create(user=user, application=application, role=role)
    changes.deliver()
    _record(message, audited_application(application), user, by)
    return present


@transaction.atomic
def remove_application_role(user: User, application: Application, *, by: Author) -> None:
    changes.one_at_a_time()
    present = ApplicationRole.objects.select_related("role").filter(user=user, application=application).first()
    if present is None:
        raise Refused(f"{user} has no role on the application {application}.")
    changes.refuse_above_own(by, [present.role], application_id=application.pk)
    present.delete()
    changes.deliver()
    message = (
        f"Removed the role '{present.role}' of user '{user.name}' ({user.username}) on application '{application}'"
    )
    _record(message, audited_application(application), user, by)


def audited_application(application: Application) -> log.AuditObject:
    return log.AuditObject(type="application", key=str(application.key), name=application.name)


def _check(team: Team) -> None:
    team.name = people.clean_line(team.name, "name", longest=100)
    team.description = people.clean_line(team.description, "description", longest=500, needed=False)
    if Team.objects.filter(name__iexact=team.name).exclude(pk=team.pk).exists():
        raise Refused(f"There is a team called {team.name} already. Choose another name.", field="name")


def _record(message: str, on: log.AuditObject, user: User, by: Author) -> None:
    """One entry about the team or application, and one in the change log of the person, which it caused."""
    first = log.Entry(message=message, on=on, by=by.actor)
    log.record_all([first, log.Entry(message=message, on=user.audit_object, by=by.actor, cause=first.key)])


def _application_entry(verb: str, where: str, team: Team, application: Application, by: Author) -> log.Entry:
    message = f"{verb} application '{application}' {where} team '{team}'"
    return log.Entry(message=message, on=team.audit_object, by=by.actor)
