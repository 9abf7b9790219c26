"""Accounts of programs: they use the console's API with tokens and know no password."""

import uuid
from typing import ClassVar

from django.contrib.auth.validators import UnicodeUsernameValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now, Upper
from django.urls import reverse
from django.utils import timezone

from audit.log import Actor, AuditObject
from lifetime.models.people import Role


class ServiceAccount(models.Model):
    """A program that uses the console. People and service accounts share their usernames (a trigger sees to it)."""

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    username = models.CharField(max_length=150, validators=[UnicodeUsernameValidator()])
    description = models.CharField(max_length=500, blank=True)
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="service_accounts")
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    is_authenticated: ClassVar[bool] = True
    is_anonymous: ClassVar[bool] = False

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Upper("username"),
                name="service_account_username_unique_without_case",
                violation_error_message="Somebody else has this username.",
            ),
        ]

    def __str__(self) -> str:
        return self.username

    def get_absolute_url(self) -> str:
        return reverse("lifetime:service-account", args=[self.key])

    @property
    def name(self) -> str:
        return self.username

    @property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="service account", key=str(self.key), name=self.username)

    def actor(self, address: str = "") -> Actor:
        """This account as the audit log names whoever did something."""
        return Actor(name=self.username, username=self.username, key=self.key, address=address)

    @property
    def manages_infrastructure(self) -> bool:
        return self.is_active and self.role.manage_infrastructure_and_users

    @property
    def manages_teams(self) -> bool:
        return self.is_active and self.role.manage_teams_and_application_roles


class ServiceTokenQuerySet(models.QuerySet["ServiceToken"]):
    def valid(self) -> "ServiceTokenQuerySet":
        """Tokens that open the door now, by the database's clock."""
        return self.filter(revoked_at__isnull=True, account__is_active=True).filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
        )


class ServiceToken(models.Model):
    """A token of a service account. Only its hash is kept: 256 random bits need no slow one."""

    account = models.ForeignKey(ServiceAccount, on_delete=models.CASCADE, related_name="tokens")
    hash = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=12, editable=False, help_text="How the token begins, to tell it from others.")
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=200, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = ServiceTokenQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="service_token_revoked_by_somebody",
                condition=Q(revoked_at__isnull=True, revoked_by="") | (Q(revoked_at__isnull=False) & ~Q(revoked_by="")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @property
    def state(self) -> str:
        """`valid`, `expired` or `revoked`."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "valid"
