"""The ladder of permission levels: what a role allows in each environment."""

from django.db import models

from lifetime.models.people import Role


class Level(models.IntegerChoices):
    """Each level includes those below it."""

    NO_ACCESS = 0, "No Access"
    ACCESS = 1, "Access"
    LIST = 2, "List Applications"
    MONITOR = 3, "Monitor and Add Dependencies"
    OPEN = 4, "Open and Debug Applications"
    CHANGE = 5, "Change and Deploy Applications"
    FULL_CONTROL = 6, "Full Control"

    @property
    def adds(self) -> str:
        """What this level allows beyond the one below."""
        return ADDS[self]


ADDS = {
    Level.NO_ACCESS: "No log-in to the environment, whatever teams and applications grant.",
    Level.ACCESS: "Log-in to the environment; no application is listed.",
    Level.LIST: "Sees applications here and in Service Center, and opens them in the browser.",
    Level.MONITOR: "Monitors applications and their logs, and uses what others made public.",
    Level.OPEN: "Opens applications in Service Studio and debugs them.",
    Level.CHANGE: "Changes, tags and deploys applications, and changes their settings.",
    Level.FULL_CONTROL: "Changes the environment itself in its Service Center, and its database connections.",
}


class RoleLevel(models.Model):
    """What a role allows in one environment. Without a row the role has its default there: `lifetime.permissions`."""

    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="levels")
    environment = models.ForeignKey("environments.Environment", on_delete=models.CASCADE, related_name="+")
    level = models.PositiveSmallIntegerField(choices=Level.choices)
    create_applications = models.BooleanField("Create Applications", default=False)
    add_system_dependencies = models.BooleanField("Add System Dependencies", default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["role", "environment"], name="role_level_once_per_environment"),
            models.CheckConstraint(name="role_level_known", condition=models.Q(level__lte=Level.FULL_CONTROL.value)),
            models.CheckConstraint(
                name="role_level_create_needs_change",
                condition=models.Q(create_applications=False) | models.Q(level__gte=Level.CHANGE.value),
                violation_error_message="Create Applications needs Change and Deploy Applications or Full Control.",
            ),
            models.CheckConstraint(
                name="role_level_dependencies_need_access",
                condition=models.Q(add_system_dependencies=False) | models.Q(level__gte=Level.ACCESS.value),
                violation_error_message="Add System Dependencies needs Access or more.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_level_display()} in {self.environment}"
