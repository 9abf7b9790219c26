from lifetime.models.logins import LoginCounter
from lifetime.models.people import Role, Theme, User

__all__ = ["LoginCounter", "Role", "Theme", "User"]
