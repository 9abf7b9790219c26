"""What the console owns for the whole infrastructure and delivers to environments."""

import uuid
from functools import cached_property
from typing import Any

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.log import AuditObject
from environments.models.sealed import SealedText


class TechnicalPreview(models.Model):
    """A Technical Preview feature that an environment offers, and whether the console has it enabled there."""

    environment = models.ForeignKey(
        "environments.Environment", on_delete=models.CASCADE, related_name="technical_previews"
    )
    key = models.CharField(max_length=80)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    is_available = models.BooleanField(default=True)
    is_enabled = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["environment", "key"], name="technical_preview_once")]

    def __str__(self) -> str:
        return self.name


BY_KIND = "by_kind"  # of `client_ids` in the configuration: `client_id_development` and so on stand for `client_id`


class AuthenticationProvider(models.Model):
    """A configuration of external authentication; the active one is delivered to every environment."""

    class Mode(models.TextChoices):
        OIDC = "oidc", "OpenID Connect"
        LDAP = "ldap", "LDAP"

    key = models.UUIDField(unique=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    name = models.CharField(max_length=80, unique=True)
    mode = models.CharField(max_length=20, choices=Mode.choices)
    configuration = models.JSONField(default=dict, blank=True)
    sealed_secret = models.TextField(blank=True, editable=False)
    secret = SealedText()
    is_active = models.BooleanField(default=False)
    activated_at = models.DateTimeField(null=True, blank=True)
    activated_by = models.CharField(max_length=200, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["is_active"], condition=Q(is_active=True), name="authentication_one_active_provider"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_client_ids_by_kind(self) -> bool:
        return bool(self.configuration.get("client_ids") == BY_KIND)

    def configuration_for(self, purpose: str) -> dict[str, Any]:
        """The configuration as an environment of this purpose gets it: with the one client ID that it uses."""
        values = {name: value for name, value in self.configuration.items() if not name.startswith("client_id")}
        if self.mode == self.Mode.OIDC:
            name = f"client_id_{purpose.lower()}" if self.has_client_ids_by_kind else "client_id"
            values["client_id"] = self.configuration.get(name, "")
        return values

    @cached_property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="authentication provider", key=str(self.key), name=self.name)


class ProviderTest(models.Model):
    """A worker's look at a provider as it was configured then. Ended ones make room for the next: one is kept."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        PASSED = "passed", "Passed"
        FAILED = "failed", "Failed"

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    provider = models.OneToOneField(AuthenticationProvider, on_delete=models.CASCADE, related_name="test")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.QUEUED)
    requested_at = models.DateTimeField(db_default=Now())
    requested_by = models.CharField(max_length=200)
    ended_at = models.DateTimeField(null=True)
    findings = models.JSONField(default=list, help_text="What was found: `kind` (fine, warning, error) and `text`.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running"], ended_at__isnull=True)
                | Q(status__in=["passed", "failed"], ended_at__isnull=False),
                name="provider_test_ended_has_instant",
            )
        ]

    def __str__(self) -> str:
        return f"Test of {self.provider}"

    @property
    def is_active(self) -> bool:
        return self.status in (self.Status.QUEUED, self.Status.RUNNING)
