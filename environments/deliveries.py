"""What the console owns and every environment shall have: the bodies that synchronization delivers, and their digests.

A body is delivered when, and only when, the environment says that it has another one. So what changed while an
environment was in maintenance mode or unreachable arrives on its return: exactly the differences, all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from django.db.models import Q

from audit.models import AuditEvent
from environments.environment_api import canonical, digest
from environments.models import (
    AuthenticationProvider,
    Environment,
    EnvironmentPurpose,
    SyncRun,
    SyncState,
    TechnicalPreview,
)
from environments.models.environment import SECURITY_DEFAULTS
from environments.permission_model import PermissionModel

LABELS = {
    "permissions": "Permissions",
    "settings": "Environment settings",
    "security": "Security settings",
    "technical_previews": "Technical Preview features",
    "authentication": "External authentication",
}


@dataclass(frozen=True)
class Delivery:
    """One part as an environment shall have it. What environments share is put together only when it is sent."""

    part: str
    path: str
    pieces: tuple[bytes, ...]
    digest: str

    @classmethod
    def of(cls, part: str, path: str, body: bytes) -> Self:
        return cls(part, path, (body,), digest(body))

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


def due(environments: Iterable[Environment]) -> dict[int, list[Delivery]]:
    """What each of these environments shall have, by environment id; a constant number of queries."""
    found = list(environments)
    authentication = _authentication()
    enabled: dict[int, list[str]] = {}
    ids = [environment.pk for environment in found]
    previews = TechnicalPreview.objects.filter(environment__in=ids, is_enabled=True, is_available=True)
    for environment_id, key in previews.order_by("key").values_list("environment", "key"):
        enabled.setdefault(environment_id, []).append(key)
    permissions = PermissionModel(found)
    return {
        environment.pk: [
            Delivery("permissions", "/permissions", *permissions.body(environment)),
            Delivery.of("settings", "/settings", canonical(_settings(environment))),
            Delivery.of("security", "/security", canonical({**SECURITY_DEFAULTS, **environment.security})),
            Delivery.of(
                "technical_previews", "/technical-previews", canonical({"enabled": enabled.get(environment.pk, [])})
            ),
            Delivery.of("authentication", "/authentication", authentication[environment.purpose]),
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


def authentication_digests() -> dict[str, str]:
    """The digest of the authentication configuration, by the purpose of the environment."""
    return {purpose: digest(body) for purpose, body in _authentication().items()}


def _authentication() -> dict[str, bytes]:
    """The configuration by the purpose of the environment: each kind may have a client ID of its own."""
    active = AuthenticationProvider.objects.filter(is_active=True).first()
    if active is None:
        return dict.fromkeys(EnvironmentPurpose.values, canonical({"mode": "built_in", "configuration": {}}))
    secret = {}
    if active.sealed_secret:
        name = "bind_password" if active.mode == AuthenticationProvider.Mode.LDAP else "client_secret"
        secret[name] = active.secret
    return {
        purpose: canonical(
            {"mode": active.mode, "configuration": {"name": active.name, **active.configuration_for(purpose), **secret}}
        )
        for purpose in EnvironmentPurpose.values
    }
