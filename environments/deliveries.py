"""What the console owns and every environment shall have: the bodies that synchronization delivers, and their digests.

A body is delivered when, and only when, the environment says that it has another one. So what changed while an
environment was in maintenance mode or unreachable arrives on its return: exactly the differences, all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from environments.environment_api import canonical, digest
from environments.models import AuthenticationProvider, Environment, TechnicalPreview
from environments.models.environment import SECURITY_DEFAULTS
from lifetime.models import ApplicationRole, Role, Team, TeamApplication, TeamMembership, User
from lifetime.permissions import Ladder, Rights


@dataclass(frozen=True)
class Delivery:
    """One part as an environment shall have it."""

    part: str
    path: str
    body: bytes

    @cached_property
    def digest(self) -> str:
        return digest(self.body)


def due(environments: Iterable[Environment]) -> dict[int, list[Delivery]]:
    """What each of these environments shall have, by environment id; a constant number of queries."""
    found = list(environments)
    authentication = _authentication()
    enabled: dict[int, list[str]] = {}
    previews = TechnicalPreview.objects.filter(environment__in=found, is_enabled=True, is_available=True)
    for environment_id, key in previews.order_by("key").values_list("environment", "key"):
        enabled.setdefault(environment_id, []).append(key)
    permissions = _Permissions(found)
    return {
        environment.pk: [
            Delivery("permissions", "/permissions", permissions.body(environment)),
            Delivery("settings", "/settings", canonical(_settings(environment))),
            Delivery("security", "/security", canonical({**SECURITY_DEFAULTS, **environment.security})),
            Delivery(
                "technical_previews", "/technical-previews", canonical({"enabled": enabled.get(environment.pk, [])})
            ),
            Delivery("authentication", "/authentication", authentication),
        ]
        for environment in found
    }


class _Permissions:
    """The permission model as environments shall have it. Those with the same roles share one body.

    Service accounts are the console's own affair: they log in nowhere else.
    """

    def __init__(self, environments: list[Environment]) -> None:
        self._roles = list(Role.objects.order_by("pk"))
        self._ladder = Ladder(self._roles, environments)
        self._people = _people()
        self._bodies: dict[bytes, bytes] = {}

    def body(self, environment: Environment) -> bytes:
        roles = [_role(role, self._ladder.of(role, environment)) for role in self._roles]
        same = canonical(roles)
        if same not in self._bodies:
            self._bodies[same] = canonical({**self._people, "roles": roles})
        return self._bodies[same]


def _role(role: Role, rights: Rights) -> dict[str, Any]:
    return {
        "key": str(role.key),
        "name": role.name,
        "level": int(rights.level),
        "create_applications": rights.create_applications,
        "add_system_dependencies": rights.add_system_dependencies,
    }


def _people() -> dict[str, Any]:
    """Users, teams and roles on applications, each in a fixed order: the same model has the same digest."""
    users = User.objects.order_by("pk").values_list("key", "username", "name", "email", "is_active", "role__key")
    members: dict[int, list[dict[str, str]]] = {}
    for team, user, role in TeamMembership.objects.order_by("user").values_list("team", "user__key", "role__key"):
        members.setdefault(team, []).append({"user_key": str(user), "role_key": str(role)})
    applications: dict[int, list[str]] = {}
    for team, key in TeamApplication.objects.order_by("application__key").values_list("team", "application__key"):
        applications.setdefault(team, []).append(str(key))
    granted = ApplicationRole.objects.order_by("pk").values_list("user__key", "application__key", "role__key")
    return {
        "application_roles": [
            {"user_key": str(user), "application_key": str(application), "role_key": str(role)}
            for user, application, role in granted
        ],
        "teams": [
            {
                "key": str(key),
                "name": name,
                "members": members.get(team, []),
                "applications": applications.get(team, []),
            }
            for team, key, name in Team.objects.order_by("pk").values_list("pk", "key", "name")
        ],
        "users": [
            {
                "key": str(key),
                "username": username,
                "name": name,
                "email": email,
                "is_active": is_active,
                "role_key": str(role),
            }
            for key, username, name, email, is_active, role in users
        ],
    }


def _settings(environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.name,
        "lifetime_address": environment.lifetime_address,
        "environment_key": str(environment.key),
        "two_stage_deployments": environment.two_stage_deployments,
        "mobile_apps_service": environment.mobile_apps_service,
        "parallel_deployments": environment.parallel_deployments,
        "parallel_deployment_limit": environment.parallel_deployment_limit,
    }


def _authentication() -> bytes:
    active = AuthenticationProvider.objects.filter(is_active=True).first()
    if active is None:
        return canonical({"mode": "built_in", "configuration": {}})
    configuration = {"name": active.name, **active.configuration}
    if active.sealed_secret:
        configuration["client_secret"] = active.secret
    return canonical({"mode": active.mode, "configuration": configuration})
