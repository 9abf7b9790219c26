"""What the console owns and every environment shall have: the bodies that synchronization delivers, and their digests.

A body is delivered when, and only when, the environment says that it has another one. So what changed while an
environment was in maintenance mode or unreachable arrives on its return: exactly the differences, all of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import Q

from audit.models import AuditEvent
from environments.environment_api import canonical, digest
from environments.models import AuthenticationProvider, Environment, SyncRun, SyncState, TechnicalPreview
from environments.models.environment import SECURITY_DEFAULTS
from lifetime.models import ApplicationRole, Role, Team, TeamApplication, TeamMembership, User
from lifetime.permissions import Ladder, Rights

LABELS = {
    "permissions": "Permissions",
    "settings": "Environment settings",
    "security": "Security settings",
    "technical_previews": "Technical Preview features",
    "authentication": "External authentication",
}


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


# What a change of each part is audited on: the objects that it may concern, any or this environment.
AUDITED_ON = {
    "permissions": ("user", "role", "team"),
    "settings": ("environment",),
    "security": ("environment",),
    "technical_previews": ("environment",),
    "authentication": ("authentication provider",),
}


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A part that an environment shall have and, as far as is known, has not."""

    part: str
    has: str
    wanted: str
    since: datetime | None = None
    message: str = ""  # why the last attempt failed

    @property
    def label(self) -> str:
        return LABELS[self.part]


def pending(environments: Iterable[Environment]) -> dict[int, list[Pending]]:
    """What each of these registered environments is still to get, by its id; a constant number of queries.

    An environment that never said what it has is still to get everything.
    """
    found = [environment for environment in environments if environment.is_registered]
    if not found:
        return {}
    told = SyncState.objects.filter(environment__in=found).values_list("environment", "digests")
    digests: dict[int, dict[str, str]] = dict(told)
    return {
        environment_id: [
            Pending(part=one.part, has=has, wanted=one.digest)
            for one in shall_have
            if (has := digests.get(environment_id, {}).get(one.part, "")) != one.digest
        ]
        for environment_id, shall_have in due(found).items()
    }


def pending_of(environment: Environment) -> list[Pending]:
    """What one environment is still to get, with since when and why the last attempt failed."""
    waiting = pending([environment]).get(environment.pk, [])
    if not waiting:
        return []
    state = environment.sync_state
    last = SyncRun.objects.filter(environment=environment).exclude(ended_at=None).newest_first().first()
    failed = {one["part"]: one["message"] for one in (last.changes if last else {}).get("failed", [])}
    return [
        replace(one, since=_since(environment, one.part, state), message=failed.get(one.part, "")) for one in waiting
    ]


def _since(environment: Environment, part: str, state: SyncState) -> datetime | None:
    """The first change that the environment has not got: the first one audited since it last had everything."""
    if state.synchronized_at is None:
        return environment.registered_at
    on = Q(object_type__in=AUDITED_ON[part])
    if AUDITED_ON[part] == ("environment",):
        on &= Q(object_key=str(environment.key))
    if part in ("security", "technical_previews"):
        on &= Q(details__part=part)
    elif part == "settings":
        on &= ~Q(details__has_key="part")
    changes = AuditEvent.objects.updates().filter(on, succeeded=True).since(state.synchronized_at)
    first: datetime | None = changes.order_by("number").values_list("at", flat=True).first()
    return first or state.synchronized_at


class _Permissions:
    """The permission model as environments shall have it. Only the roles differ among them: the rest is written once.

    Service accounts are the console's own affair: they log in nowhere else.
    """

    def __init__(self, environments: list[Environment]) -> None:
        self._roles = list(Role.objects.order_by("pk"))
        self._ladder = Ladder(self._roles, environments)
        people = {name: canonical(value) for name, value in _people().items()}
        self._before, self._after = _around("roles", people)
        self._bodies: dict[bytes, bytes] = {}

    def body(self, environment: Environment) -> bytes:
        roles = canonical([_role(role, self._ladder.of(role, environment)) for role in self._roles])
        if roles not in self._bodies:
            self._bodies[roles] = self._before + roles + self._after
        return self._bodies[roles]


def _around(name: str, others: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """What stands before and after the value of one key in the canonical form of an object with these other values."""
    written = {key: f'"{key}":'.encode() + value for key, value in others.items()}
    before = b"".join(written[key] + b"," for key in sorted(written) if key < name)
    after = b"".join(b"," + written[key] for key in sorted(written) if key > name)
    return b"{" + before + f'"{name}":'.encode(), after + b"}"


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


def authentication_digest() -> str:
    """The digest of the authentication configuration, which is the same for every environment."""
    return digest(_authentication())


def _authentication() -> bytes:
    active = AuthenticationProvider.objects.filter(is_active=True).first()
    if active is None:
        return canonical({"mode": "built_in", "configuration": {}})
    configuration = {"name": active.name, **active.configuration}
    if active.sealed_secret:
        name = "bind_password" if active.mode == AuthenticationProvider.Mode.LDAP else "client_secret"
        configuration[name] = active.secret
    return canonical({"mode": active.mode, "configuration": configuration})
