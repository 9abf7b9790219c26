from functools import cached_property

from django.db import models

from environments.models.application import Application
from environments.models.environment import Environment


class ApplicationVersion(models.Model):
    """A tagged version of an application. It never changes; it has the same key wherever it is deployed.

    One that the console met in an environment before it read what is in it has no modules and no `created_at`.
    """

    key = models.UUIDField(unique=True)
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="versions")
    version = models.CharField(max_length=40)
    change_log = models.TextField(blank=True)
    created_at = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=200, blank=True)
    created_in = models.ForeignKey(
        Environment, on_delete=models.PROTECT, null=True, related_name="+", help_text="Where the console tagged it."
    )
    based_on = models.UUIDField(null=True)
    package_digest = models.CharField(max_length=100, blank=True)
    mobile_versions = models.JSONField(default=list, blank=True)

    class Meta:
        indexes = [models.Index(fields=["application", "version"], name="version_of_application")]

    def __str__(self) -> str:
        return f"{self.application} {self.version}"

    @cached_property
    def is_known(self) -> bool:
        """Whether the console has read what is in it."""
        return self.created_at is not None


class ModuleVersion(models.Model):
    """A module as it is in a version of its application."""

    application_version = models.ForeignKey(ApplicationVersion, on_delete=models.CASCADE, related_name="modules")
    module_key = models.UUIDField()
    name = models.CharField(max_length=120)
    version_key = models.UUIDField()
    hash = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["application_version", "module_key"], name="module_version_once"),
        ]

    def __str__(self) -> str:
        return self.name
