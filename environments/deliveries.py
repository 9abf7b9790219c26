"""What the console owns and every environment shall have: the bodies that synchronization delivers, and their digests.

A body is delivered when, and only when, the environment says that it has another one. So what changed while an
environment was in maintenance mode or unreachable arrives on its return: exactly the differences, all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from environments.environment_api import canonical, digest
from environments.models import AuthenticationProvider, Environment, EnvironmentPurpose, TechnicalPreview
from environments.models.environment import SECURITY_DEFAULTS
from lifetime.models import Role, User

# Initial levels of the built-in role Developer (lifetime documentation, "Roles"): the seven levels come with 0 to 6.
DEVELOPER_LEVELS = {EnvironmentPurpose.DEVELOPMENT: 5, EnvironmentPurpose.TEST: 4, EnvironmentPurpose.PRODUCTION: 2}
FULL_CONTROL = 6


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
    people = _people()
    enabled: dict[int, list[str]] = {}
    previews = TechnicalPreview.objects.filter(environment__in=found, is_enabled=True, is_available=True)
    for environment_id, key in previews.order_by("key").values_list("environment", "key"):
        enabled.setdefault(environment_id, []).append(key)
    permissions = {purpose: canonical({**people, "roles": _roles(purpose)}) for purpose in EnvironmentPurpose}
    return {
        environment.pk: [
            Delivery("permissions", "/permissions", permissions[EnvironmentPurpose(environment.purpose)]),
            Delivery("settings", "/settings", canonical(_settings(environment))),
            Delivery("security", "/security", canonical({**SECURITY_DEFAULTS, **environment.security})),
            Delivery(
                "technical_previews", "/technical-previews", canonical({"enabled": enabled.get(environment.pk, [])})
            ),
            Delivery("authentication", "/authentication", authentication),
        ]
        for environment in found
    }


def _people() -> dict[str, Any]:
    users = User.objects.select_related("role").order_by("pk")
    return {
        "teams": [],
        "users": [
            {
                "key": str(user.key),
                "username": user.username,
                "name": user.name,
                "email": user.email,
                "is_active": user.is_active,
                "role_key": str(user.role.key),
            }
            for user in users
        ],
    }


def _roles(purpose: EnvironmentPurpose) -> list[dict[str, Any]]:
    return [
        {
            "key": str(role.key),
            "name": role.name,
            "level": FULL_CONTROL if role.manage_infrastructure_and_users else DEVELOPER_LEVELS[purpose],
            "create_applications": role.manage_infrastructure_and_users or purpose == EnvironmentPurpose.DEVELOPMENT,
            "add_system_dependencies": role.manage_infrastructure_and_users,
        }
        for role in Role.objects.order_by("pk")
    ]


def _settings(environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.name,
        "lifetime_address": environment.lifetime_address,
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
