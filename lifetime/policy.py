"""May this person do this here, and if not, why. Every page, view, command, admin action and API call asks here.

Some actions need a right for the infrastructure as a whole, others a level of the ladder in an environment (`LEVELS`),
for one application where that is given. Maintenance mode comes last: first whether ever, then whether now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch
from django.http import Http404

from deployments.models import DeploymentPlan, PlanOperation
from environments import maintenance
from environments.models import Application, Environment
from environments.operations import Operation, refusal
from lifetime.models import Level, RoleLevel, ServiceAccount, Team, TeamMembership, User
from lifetime.permissions import Permissions

MANAGE = "Manage Infrastructure and Users"
MANAGE_TEAMS = "Manage Teams and Application Roles"
Person = User | AnonymousUser | ServiceAccount


class Action(StrEnum):
    """What maintenance mode does not concern, but for `DISABLED_AS`; the other actions are `operations.Operation`."""

    VIEW_INFRASTRUCTURE = "view_infrastructure"
    VIEW_AUDIT_LOG = "view_audit_log"
    VIEW_APPLICATIONS = "view_applications"
    BLOCK_APPLICATIONS = "block_applications"
    MANAGE_DATABASES = "manage_databases"
    REGISTER_ENVIRONMENT = "register_environment"
    UNREGISTER_ENVIRONMENT = "unregister_environment"
    REORDER_ENVIRONMENTS = "reorder_environments"
    TOGGLE_MAINTENANCE = "toggle_maintenance"
    MANAGE_PEOPLE = "manage_people"
    CREATE_TEAMS = "create_teams"
    MANAGE_TEAMS = "manage_teams"
    MANAGE_APPLICATION_ROLES = "manage_application_roles"
    PREPARE_PLANS = "prepare_plans"
    EDIT_PLANS = "edit_plans"


@dataclass(frozen=True)
class Decision:
    """Truthy when allowed; `reason` says why not and what to do. `is_temporary` means maintenance mode."""

    allowed: bool
    reason: str = ""
    is_temporary: bool = False

    def __bool__(self) -> bool:
        return self.allowed


class InMaintenance(PermissionDenied):
    """The operation is disabled for now: answered with 409 and the reason."""


ALLOWED = Decision(allowed=True)


# The level of the ladder that an action needs in the environment: for the application, else for any of them.
LEVELS: dict[Action | Operation, Level] = {
    Action.VIEW_APPLICATIONS: Level.LIST,
    Action.PREPARE_PLANS: Level.ACCESS,
    Action.EDIT_PLANS: Level.ACCESS,
    Action.BLOCK_APPLICATIONS: Level.CHANGE,
    Action.MANAGE_DATABASES: Level.FULL_CONTROL,
    Operation.TEST_APPLICATIONS: Level.LIST,
    Operation.OPEN_SERVICE_CENTER: Level.MONITOR,
    Operation.OPEN_SERVICE_STUDIO: Level.OPEN,
    Operation.CHANGE_APPLICATION_SETTINGS: Level.CHANGE,
    Operation.TAG_APPLICATIONS: Level.CHANGE,
    Operation.DEPLOY: Level.CHANGE,
    Operation.OPERATE_PLANS: Level.CHANGE,
}
# Whoever prepares plans needs no level for operating them, but maintenance mode stops both.
DISABLED_AS = {Action.EDIT_PLANS: Operation.OPERATE_PLANS}
# With source and target, in this order, the level is that of the target; the source has to be open to the person.
TARGET_COUNTS = (Operation.DEPLOY, Operation.OPERATE_PLANS)
SAID: dict[Action | Operation, str] = {
    Action.VIEW_APPLICATIONS: "Seeing applications",
    Action.PREPARE_PLANS: "Preparing deployment plans",
    Action.EDIT_PLANS: "Editing deployment plans",
    Action.BLOCK_APPLICATIONS: "Blocking applications from deployment",
    Action.MANAGE_DATABASES: "Managing database connections",
}


def may(
    user: Person,
    action: Action | Operation,
    *environments: Environment,
    application: Application | None = None,
    team: Team | None = None,
    permissions: Permissions | None = None,
) -> Decision:
    """Whether this person may do this now; with source and target, on both of them. Asks no environment.

    A person's permissions are read once for each object of that person, that is once in a request, so lists may ask
    here for each row; `permissions` are others to go by.
    """
    if lack := _lacks_right(user, action, environments, application, team, permissions):
        return Decision(False, lack)
    if operation := _disabled_as(action):
        for environment in environments:
            if reason := refusal(environment, operation):
                return Decision(False, reason, is_temporary=True)
    return ALLOWED


def _disabled_as(action: Action | Operation) -> Operation | None:
    """As which operation maintenance mode stops it."""
    return action if isinstance(action, Operation) else DISABLED_AS.get(action)


def may_toggle_as_support(user: User | AnonymousUser) -> Decision:
    """Whether this person may toggle maintenance mode in Django admin, cloud environments included."""
    if user.is_active and user.is_staff and user.has_perm("environments.toggle_maintenance"):
        return ALLOWED
    return Decision(
        False, "Only support staff toggle maintenance mode here; an administrator adds people to that group."
    )


def _lacks_right(
    user: Person,
    action: Action | Operation,
    environments: Sequence[Environment],
    application: Application | None,
    team: Team | None,
    permissions: Permissions | None,
) -> str:
    if not isinstance(user, User | ServiceAccount) or not user.is_active:
        return "Log in first."
    for environment in environments:
        if not environment.is_registered and action != Action.REGISTER_ENVIRONMENT:
            return f"{environment} is not registered."
    if action == Action.CREATE_TEAMS and not user.manages_teams:
        return f"This needs “{MANAGE_TEAMS}” in the default role; {user.role} lacks it. Ask an administrator for it."
    if action in (Action.CREATE_TEAMS, Action.MANAGE_TEAMS, Action.MANAGE_APPLICATION_ROLES):
        return _lacks_team_right(user, team, application, permissions)
    by_application = action == Operation.SYNCHRONIZE and application is not None
    if action in LEVELS or action == Operation.CREATE_APPLICATIONS or by_application:
        if action == Action.VIEW_APPLICATIONS and not environments:
            return ""  # the page shows what there is for whoever looks
        if action == Action.MANAGE_DATABASES and not environments:
            return _lacks_full_control(user)
        held = permissions or held_by(user)
        if not environments:
            return _lacks_everywhere(held, action, application, team)
        return _lacks_on_ladder(held, action, environments, application, team)
    if not user.manages_infrastructure:
        return f"This needs a role with “{MANAGE}”; yours is {user.role}. Ask an administrator for it."
    # Support staff toggle cloud environments in Django admin and by command, but edit and unregister them here.
    by_support = (Action.TOGGLE_MAINTENANCE, Action.UNREGISTER_ENVIRONMENT, Operation.EDIT_ENVIRONMENT)
    for environment in environments:
        is_support = action != Action.TOGGLE_MAINTENANCE and isinstance(user, User) and may_toggle_as_support(user)
        if environment.is_cloud and action in by_support and not is_support:
            return f"{environment} is a cloud environment: support staff do this for you. Open a support case."
    return ""


def held_by(user: User | ServiceAccount) -> Permissions:
    """All that the person may do, read once for this object of the person."""
    held: Permissions | None = user.__dict__.get("_permissions")
    if held is None:
        held = user.__dict__["_permissions"] = Permissions.of(user)
    return held


def _lacks_everywhere(
    held: Permissions, action: Action | Operation, application: Application | None, team: Team | None
) -> str:
    """Nothing when it is allowed in some environment, else why not in the first that the person has access to."""
    registered = list(Environment.objects.registered().in_order())
    lacks = {one: _lacks_on_ladder(held, action, [one], application, team) for one in registered}
    if "" in lacks.values():
        return ""
    seen = [lack for one, lack in lacks.items() if held.best_level(one) >= Level.ACCESS]
    nowhere = (
        "You have access to no environment. Ask an administrator." if registered else "No environment is registered."
    )
    return next(iter(seen), nowhere)


def _lacks_full_control(user: User | ServiceAccount) -> str:
    """Nothing when the default role, which alone reaches so far, has it in some environment.

    The navigation asks this on every page: it costs one query at most, whatever the number of environments.
    """
    given = RoleLevel.objects.filter(role=user.role, level=Level.FULL_CONTROL)
    if user.role.is_administrator or given.exists():
        return ""
    what = SAID[Action.MANAGE_DATABASES]
    return (
        f"{what} needs “{Level.FULL_CONTROL.label}” in an environment; your role is {user.role}. Ask an administrator."
    )


def _lacks_on_ladder(
    held: Permissions,
    action: Action | Operation,
    environments: Sequence[Environment],
    application: Application | None,
    team: Team | None,
) -> str:
    if action == Operation.CREATE_APPLICATIONS:
        return _lacks_creation(held, environments, team)
    return _lacks_level(held, action, environments, application)


def _lacks_level(
    held: Permissions, action: Action | Operation, environments: Sequence[Environment], application: Application | None
) -> str:
    needed = LEVELS.get(action, Level.LIST)
    for place, environment in enumerate(environments):
        is_source = action in TARGET_COUNTS and place < len(environments) - 1
        enough = Level.LIST if is_source else needed
        has = held.level(application.pk, environment) if application else held.best_level(environment)
        if has < enough:
            what = action.label if isinstance(action, Operation) else SAID[action]
            where = f"{environment} for {application}" if application else f"{environment}"
            role = held.role_for(application.pk) if application else held.default
            return (
                f"{what} needs “{enough.label}” in {where}; your role {role} has “{has.label}”. Ask an administrator."
            )
    return ""


def _lacks_creation(held: Permissions, environments: Sequence[Environment], team: Team | None) -> str:
    for environment in environments:
        if not held.may_create_applications(environment, team.pk if team else None):
            whose = f" for {team}" if team else ""
            return f"Your role lacks “Create Applications” in {environment}{whose}. Ask an administrator for it."
    return ""


def _lacks_team_right(
    user: User | ServiceAccount, team: Team | None, application: Application | None, permissions: Permissions | None
) -> str:
    if user.manages_teams:
        return ""
    if team is None and application is None and isinstance(user, User) and permissions is None:
        in_a_team = TeamMembership.objects.filter(user=user, role__manage_teams_and_application_roles=True)
        if in_a_team.exists():
            return ""
    else:
        held = permissions or held_by(user)
        if team is not None:
            allowed = held.manages_team(team.pk)
        elif application is not None:
            allowed = held.manages_application(application.pk)
        else:
            allowed = bool(held.managed_teams)
        if allowed:
            return ""
    return f"This needs a role with “{MANAGE_TEAMS}”; yours is {user.role}. Ask an administrator for it."


def require(
    user: Person,
    action: Action | Operation,
    *environments: Environment,
    application: Application | None = None,
    team: Team | None = None,
) -> None:
    """Raise PermissionDenied with the reason, or InMaintenance, counted and audited, when `may` says no."""
    _enforce(user, action, environments, may(user, action, *environments, application=application, team=team))


def may_wherever_it_is(
    user: Person, action: Operation, application: Application, environments: Sequence[Environment]
) -> Decision:
    """Whether this person may do this now with the application in each of these. What they do not see is not named."""
    decisions = [may(user, action, one, application=application) for one in environments]
    needed = LEVELS[action].label
    for one, decision in zip(environments, decisions, strict=True):
        if not decision and not may(user, Action.VIEW_APPLICATIONS, one, application=application):
            text = f"This needs “{needed}” wherever {application} is, and it is in an environment that you do not see."
            return Decision(False, f"{text} Ask an administrator.")
    return next((one for one in decisions if not one), ALLOWED)


def require_wherever_it_is(
    user: Person, action: Operation, application: Application, environments: Sequence[Environment]
) -> None:
    """As `require`, in each of these."""
    _enforce(user, action, environments, may_wherever_it_is(user, action, application, environments))


def _enforce(user: Person, action: Action | Operation, environments: Sequence[Environment], decision: Decision) -> None:
    operation = _disabled_as(action)
    if decision.is_temporary and operation and isinstance(user, User | ServiceAccount):
        for environment in environments:
            if environment.is_in_maintenance:
                maintenance.count_refusal(environment, operation, by=user.actor())
        raise InMaintenance(decision.reason)
    if not decision:
        raise PermissionDenied(decision.reason)


def get_environment(user: Person, key: UUID, action: Action | Operation) -> Environment:
    """The environment, for this action. Http404 when the person may not see it, PermissionDenied when not do this."""
    try:
        environment = Environment.objects.select_related("maintenance_window", "sync_state").get(key=key)
    except Environment.DoesNotExist:
        raise Http404("There is no such environment.") from None
    require(user, action, environment)
    return environment


def get_application(user: Person, key: UUID, action: Action | Operation, *environments: Environment) -> Application:
    """The application, for this action. Http404 when the person sees it in no environment, else as `require`."""
    application = Application.objects.filter(key=key).first()
    if application is None or not isinstance(user, User | ServiceAccount):
        raise Http404("There is no such application.")
    registered = list(Environment.objects.registered())
    held = held_by(user)
    seen = any(held.level(application.pk, environment) >= Level.LIST for environment in registered)
    if not seen and not held.manages_application(application.pk):
        raise Http404("There is no such application.")
    require(user, action, *environments, application=application)
    return application


def get_team(user: Person, key: UUID, action: Action) -> Team:
    """The team, for this action. Http404 for who has nothing to do with teams, PermissionDenied when not with this."""
    team = Team.objects.filter(key=key).first()
    if team is None or not may(user, Action.MANAGE_TEAMS):
        raise Http404("There is no such team.")
    require(user, action, team=team)
    return team


def get_plan(user: Person, key: UUID, action: Action | Operation) -> DeploymentPlan:
    """The deployment plan with its operations, for this action. Http404 when the person may not see it, else as
    `require` for each of its applications."""
    with_windows = ["source__maintenance_window", "target__maintenance_window", "window__environment"]
    operations = PlanOperation.objects.select_related("application").defer("sealed_settings_text")
    found = DeploymentPlan.objects.filter(key=key).select_related("source", "target", *with_windows)
    plan = found.prefetch_related(Prefetch("operations", operations.order_by("position", "pk"))).first()
    if plan is None or not may_see_plan(user, plan):
        raise Http404("There is no such deployment plan.")
    _enforce(user, action, plan.environments, may_on_plan(user, action, plan))
    return plan


def may_create_plans(
    user: Person, environments: Sequence[Environment], *, permissions: Permissions | None = None
) -> Decision:
    """Whether there is a source and a target among these for the person to deploy between."""
    if not isinstance(user, User | ServiceAccount):
        return Decision(False, "Log in first.")
    held = permissions or held_by(user)
    if sum(one.is_registered and held.best_level(one) >= Level.ACCESS for one in environments) < 2:
        return Decision(False, "A plan needs a source and a target: you have access to fewer than two environments.")
    return ALLOWED


def may_see_plan(user: Person, plan: DeploymentPlan) -> bool:
    """Whether the person has access to its environments, be they registered still or not, and sees its applications
    in one of them."""
    if not isinstance(user, User | ServiceAccount) or not user.is_active:
        return False
    held = held_by(user)
    if any(held.best_level(environment) < Level.ACCESS for environment in plan.environments):
        return False
    return all(
        any(held.level(operation.application_id or 0, environment) >= Level.LIST for environment in plan.environments)
        for operation in plan.operations.all()
    )


def may_on_plan(user: Person, action: Action | Operation, plan: DeploymentPlan) -> Decision:
    """Whether the person, who sees the plan, may do this with it now: run it, for each application that it deploys."""
    if action == Action.PREPARE_PLANS:
        return ALLOWED  # looking needs no environment that is registered still
    environments = plan.environments
    decision = may(user, action, *environments)
    if not decision or action not in TARGET_COUNTS:
        return decision
    for operation in plan.operations.all():
        if not operation.is_deployed or (operation.application is None and plan.source):
            continue
        # What an uploaded package brings may be unknown here: then the default role counts.
        application = operation.application or Application(pk=0, name=operation.application_name)
        decision = may(user, action, *environments, application=application)
        if decision and action == Operation.DEPLOY and operation.is_tagged_first and plan.source:
            decision = may(user, Operation.TAG_APPLICATIONS, plan.source, application=application)
        if not decision:
            return decision
    return ALLOWED
