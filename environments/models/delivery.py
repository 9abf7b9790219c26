"""What the console owns for the whole infrastructure and delivers to environments."""

import uuid
from functools import cached_property

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q

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

    @cached_property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="authentication provider", key=str(self.key), name=self.name)
