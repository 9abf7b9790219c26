"""Teams of people, the applications that are theirs, and roles on single applications."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Upper
from django.urls import reverse

from audit.log import AuditObject
from lifetime.models.people import Role


class Team(models.Model):
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Upper("name"),
                name="team_name_unique_without_case",
                violation_error_message="Another team has this name.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("lifetime:team", args=[self.key])

    @property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="team", key=str(self.key), name=self.name)


class TeamMembership(models.Model):
    """Somebody's role on the applications of a team."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="memberships")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "user"],
                name="team_membership_once",
                violation_error_message="This person is in the team already.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"


class TeamApplication(models.Model):
    """An application of a team; it belongs to at most one."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="applications")
    application = models.OneToOneField(
        "environments.Application", on_delete=models.CASCADE, related_name="in_team", primary_key=True
    )

    def __str__(self) -> str:
        return f"{self.application} of {self.team}"


class ApplicationRole(models.Model):
    """Somebody's role on one application; it stands instead of that of the team and of the default role."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="application_roles")
    application = models.ForeignKey("environments.Application", on_delete=models.CASCADE, related_name="people")
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="application_roles")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "application"],
                name="application_role_once",
                violation_error_message="This person has a role on the application already.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} on {self.application}"
