"""What a person may do here, by the permission model that the console gave this environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from environments.platform.environment import Environment

ACCESS, LIST, MONITOR, OPEN, CHANGE, CONTROL = 1, 2, 3, 4, 5, 6


class Person:
    def __init__(self, user: Mapping[str, Any], permissions: Mapping[str, Any]) -> None:
        self.key: str = user["key"]
        self.username: str = user["username"]
        self.name: str = user["name"] or user["username"]
        self.is_active: bool = user["is_active"]
        self._roles = {role["key"]: role for role in permissions["roles"]}
        self._role = self._roles.get(user["role_key"] or "")
        self._teams = [team for team in permissions["teams"] if isinstance(team.get("members"), list)]
        self._application_roles = [one for one in permissions.get("application_roles", []) if isinstance(one, dict)]

    @property
    def level(self) -> int:
        """In the environment; 0 cannot log in."""
        return int(self._role["level"]) if self._role and self.is_active else 0

    @property
    def may_create(self) -> bool:
        return bool(self.level >= CHANGE and self._role and self._role["create_applications"])

    def level_for(self, application_key: str) -> int:
        """By the application role, else the role in the application's team, else the person's own role.

        The more specific role replaces the other, upward or downward.
        """
        if not self.level:
            return 0
        for one in self._application_roles:
            if one.get("user_key") == self.key and one.get("application_key") == application_key:
                return self._within(one.get("role_key"))
        for team in self._teams:
            if application_key in (team.get("applications") or []):
                for member in team["members"]:
                    if isinstance(member, dict) and member.get("user_key") == self.key:
                        return self._within(member.get("role_key"))
        return self.level

    def _within(self, role_key: Any) -> int:
        """A role used for some applications: full control of them is change and deploy."""
        role = self._roles.get(role_key)
        return min(CHANGE, int(role["level"])) if role else 0


def find(environment: Environment, username: str) -> Person | None:
    permissions = environment.values["permissions"]
    folded = username.casefold()
    for user in permissions["users"]:
        if user["username"].casefold() == folded:
            return Person(user, permissions)
    return None
