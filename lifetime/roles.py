"""Roles: what they allow in each environment and in the infrastructure, and who is concerned when they change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from audit import log
from environments.models import Environment
from lifetime import changes, people
from lifetime.changes import Author, Refused
from lifetime.models import ApplicationRole, Level, Role, RoleLevel, ServiceAccount, TeamMembership, User
from lifetime.permissions import Ladder, Rights

EDITABLE = ("name", "description", "manage_infrastructure_and_users", "manage_teams_and_application_roles")
NAMED = 8


@dataclass(frozen=True, kw_only=True)
class Affected:
    """Whom a role concerns: people by their default role, service accounts, roles in teams and on applications."""

    users: int
    names: Sequence[str]
    service_accounts: int
    in_teams: int
    on_applications: int

    @property
    def any(self) -> bool:
        return bool(self.users or self.service_accounts or self.in_teams or self.on_applications)

    @property
    def more(self) -> int:
        return self.users - len(self.names)

    def __str__(self) -> str:
        counts = [
            (self.users, "user", "users"),
            (self.service_accounts, "service account", "service accounts"),
            (self.in_teams, "role in a team", "roles in teams"),
            (self.on_applications, "role on an application", "roles on applications"),
        ]
        return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count) or "nobody"


def affected(role: Role) -> Affected:
    """Whom a change of the role concerns now."""
    users = User.objects.filter(role=role)
    return Affected(
        users=users.count(),
        names=list(users.order_by("name", "pk").values_list("name", flat=True)[:NAMED]),
        service_accounts=ServiceAccount.objects.filter(role=role).count(),
        in_teams=TeamMembership.objects.filter(role=role).count(),
        on_applications=ApplicationRole.objects.filter(role=role).count(),
    )


@transaction.atomic
def create(values: Mapping[str, Any], levels: Mapping[Environment, Rights], *, by: Author) -> Role:
    """Create a role. `values` are of EDITABLE; environments that are left out get the default."""
    changes.one_at_a_time()
    role = Role(**{name: values[name] for name in EDITABLE if name in values})
    _check(role)
    _refuse_flags_above_own(role, by)
    changes.refuse_levels_above_own(by, levels.items())
    _refuse_contradictions(levels)
    role.save()
    RoleLevel.objects.bulk_create(_row(role, environment, rights) for environment, rights in levels.items())
    changes.deliver()
    named = {str(environment): str(rights) for environment, rights in levels.items()}
    details = {**_flags(role), "permissions": named}
    log.record(f"Created role '{role}'", role.audit_object, by=by.actor, details=details)
    return role


@transaction.atomic
def edit(role: Role, values: Mapping[str, Any], levels: Mapping[Environment, Rights], *, by: Author) -> Role:
    """Change what is given of a role and leave the rest; one audit entry per environment, with old and new."""
    changed, entries = change(role, values, levels, by=by)
    log.record_all(entries)
    return changed


def change(
    role: Role, values: Mapping[str, Any], levels: Mapping[Environment, Rights], *, by: Author
) -> tuple[Role, list[log.Entry]]:
    """As `edit`, in the transaction of a caller who records the entries, after the last other lock."""
    changes.one_at_a_time()
    locked = Role.objects.select_for_update(no_key=True).get(pk=role.pk)
    if locked.is_administrator:
        raise Refused("The role Administrator is built in and cannot be changed: it may do everything everywhere.")
    before = {name: getattr(locked, name) for name in EDITABLE}
    for name in values.keys() & set(EDITABLE):
        setattr(locked, name, values[name])
    _check(locked)
    wanted = {name: value for name in EDITABLE if (value := getattr(locked, name)) != before[name]}
    if locked.is_built_in and "name" in wanted:
        raise Refused(f"{before['name']} is built in and keeps its name.", field="name")
    ladder = Ladder([locked], levels)
    changed = {
        environment: (ladder.of(locked, environment), rights)
        for environment, rights in levels.items()
        if ladder.of(locked, environment) != rights
    }
    _refuse_lifting_own(locked, before, changed, by)
    _refuse_flags_above_own(locked, by, before=before)
    changes.refuse_levels_above_own(by, ((environment, new) for environment, (_, new) in changed.items()))
    _refuse_contradictions({environment: new for environment, (_, new) in changed.items()})
    if not wanted and not changed:
        return locked, []
    locked.save(update_fields=list(wanted))
    if "manage_infrastructure_and_users" in wanted:
        people.refuse_without_administrator()
    RoleLevel.objects.bulk_create(
        [_row(locked, environment, new) for environment, (_, new) in changed.items()],
        update_conflicts=True,
        unique_fields=["role", "environment"],
        update_fields=["level", "create_applications", "add_system_dependencies"],
    )
    changes.deliver()
    entries = [_field_entry(locked, name, before[name], value, by) for name, value in wanted.items()]
    entries += [
        log.Entry(
            message=f"Role '{locked}' permissions have changed from '{old}' to '{new}' in environment '{environment}'",
            on=locked.audit_object,
            by=by.actor,
        )
        for environment, (old, new) in changed.items()
    ]
    return locked, entries


@transaction.atomic
def delete(role: Role, *, replacement: Role | None, by: Author) -> None:
    """Delete a role; whoever has it gets the replacement, which is needed when somebody does."""
    changes.one_at_a_time()
    locked = Role.objects.select_for_update().get(pk=role.pk)
    if locked.is_built_in:
        raise Refused(f"The role {locked} is built in and cannot be deleted.")
    if isinstance(by.who, User) and by.who.role_id == locked.pk:
        raise Refused("This is your own role. Somebody else deletes it.")
    concerned = affected(locked)
    if concerned.any:
        if replacement is None or replacement.pk == locked.pk:
            raise Refused(f"{locked} is used by {concerned}. Choose the role they get instead.", field="replacement")
        replacement = Role.objects.select_for_update(no_key=True).get(pk=replacement.pk)
        changes.refuse_above_own(by, [replacement], field="replacement")
        for model in (User, ServiceAccount, TeamMembership, ApplicationRole):
            model._default_manager.filter(role=locked).update(role=replacement)
        people.refuse_without_administrator()
    audited = locked.audit_object
    locked.delete()
    changes.deliver()
    entries = [log.Entry(message=f"Deleted role '{locked}'", on=audited, by=by.actor)]
    if concerned.any and replacement:
        entries.append(
            log.Entry(
                message=f"Users with default role '{locked}', now have default role '{replacement}'",
                on=replacement.audit_object,
                by=log.SYSTEM,
                cause=entries[0].key,
                details={"concerned": str(concerned)},
            )
        )
    log.record_all(entries)


def _row(role: Role, environment: Environment, rights: Rights) -> RoleLevel:
    return RoleLevel(
        role=role,
        environment=environment,
        level=rights.level,
        create_applications=rights.create_applications,
        add_system_dependencies=rights.add_system_dependencies,
    )


def _check(role: Role) -> None:
    """Refuse what no role may be. Managing the infrastructure sets managing teams on."""
    role.name = people.clean_line(role.name, "name", longest=100)
    role.description = people.clean_line(role.description, "description", longest=500, needed=False)
    role.manage_teams_and_application_roles |= role.manage_infrastructure_and_users
    if Role.objects.filter(name__iexact=role.name).exclude(pk=role.pk).exists():
        raise Refused(f"There is a role called {role.name} already. Choose another name.", field="name")


def _refuse_contradictions(levels: Mapping[Environment, Rights]) -> None:
    for environment, rights in levels.items():
        if rights.create_applications and rights.level < Level.CHANGE:
            raise Refused(
                f"{environment}: Create Applications needs {Level.CHANGE.label} or {Level.FULL_CONTROL.label}."
            )
        if rights.add_system_dependencies and rights.level < Level.ACCESS:
            raise Refused(f"{environment}: Add System Dependencies needs {Level.ACCESS.label} or more.")


def _refuse_flags_above_own(role: Role, by: Author, *, before: Mapping[str, Any] | None = None) -> None:
    if by.who is None:
        return
    for flag in EDITABLE[2:]:
        raised = getattr(role, flag) and not (before and before[flag])
        if raised and not getattr(by.who.role, flag):
            label = Role._meta.get_field(flag).verbose_name  # type: ignore[union-attr]
            raise Refused(f"Your own role ({by.who.role}) lacks {label}: you cannot give it.", field=flag)


def _refuse_lifting_own(
    role: Role, before: Mapping[str, Any], changed: Mapping[Environment, tuple[Rights, Rights]], by: Author
) -> None:
    if by.who is None or by.who.role_id != role.pk:
        return
    lifted = [str(environment) for environment, (old, new) in changed.items() if not old.covers(new)]
    lifted += [flag for flag in EDITABLE[2:] if getattr(role, flag) and not before[flag]]
    if lifted:
        raise Refused(f"{role} is your own role: you cannot lift it. Ask another administrator.")


def _flags(role: Role) -> dict[str, bool]:
    return {flag: getattr(role, flag) for flag in EDITABLE[2:]}


def _field_entry(role: Role, name: str, before: Any, after: Any, by: Author) -> log.Entry:
    label = Role._meta.get_field(name).verbose_name  # type: ignore[union-attr]
    said = [("on" if value else "off") if isinstance(value, bool) else value for value in (before, after)]
    message = f"Changed {label} of role '{role}' from '{said[0]}' to '{said[1]}'"
    return log.Entry(message=message, on=role.audit_object, by=by.actor)
