"""People who use the console (LifeTime calls them IT users), and their roles."""

import uuid
from typing import Any, ClassVar
from zoneinfo import available_timezones

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Upper
from django.urls import reverse

from audit.log import Actor, AuditObject

ADMINISTRATOR = "Administrator"
DEVELOPER = "Developer"


class RoleManager(models.Manager["Role"]):
    def administrator(self) -> "Role":
        """The built-in role that may do everything."""
        return self._built_in(
            ADMINISTRATOR,
            description="Full control of the infrastructure, its users, teams and roles.",
            manage_infrastructure_and_users=True,
            manage_teams_and_application_roles=True,
        )

    def developer(self) -> "Role":
        """The built-in role that new people get unless told otherwise."""
        return self._built_in(DEVELOPER, description="Works on applications; manages no infrastructure.")

    def _built_in(self, name: str, **defaults: Any) -> "Role":
        return self.get_or_create(name=name, defaults={"is_built_in": True, **defaults})[0]


class Role(models.Model):
    """What a person may do in the infrastructure as a whole. The levels per environment are `RoleLevel`."""

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(max_length=500, blank=True)
    is_built_in = models.BooleanField("built in", default=False, editable=False)
    manage_infrastructure_and_users = models.BooleanField("Manage Infrastructure and Users", default=False)
    manage_teams_and_application_roles = models.BooleanField("Manage Teams and Application Roles", default=False)

    objects: ClassVar[RoleManager] = RoleManager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="role_infrastructure_includes_teams",
                condition=models.Q(manage_infrastructure_and_users=False)
                | models.Q(manage_teams_and_application_roles=True),
                violation_error_message="Manage Infrastructure and Users includes Manage Teams and Application Roles.",
            ),
            models.UniqueConstraint(
                Upper("name"),
                name="role_name_unique_without_case",
                violation_error_message="Another role has this name.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("lifetime:role", args=[self.key])

    @property
    def is_administrator(self) -> bool:
        """The built-in role that nobody edits: Full Control everywhere, and all flags."""
        return self.is_built_in and self.manage_infrastructure_and_users

    @property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="role", key=str(self.key), name=self.name)


class UserManager(BaseUserManager["User"]):
    def create_user(
        self,
        username: str,
        password: str | None = None,
        *,
        name: str,
        email: str,
        role: Role | None = None,
        **extra: Any,
    ) -> "User":
        """Create a person; without a password nobody can log in as them, without a role they are a Developer."""
        user = self.model(
            username=self.model.normalize_username(username),
            name=name,
            email=self.normalize_email(email),
            role=role or Role.objects.developer(),
            **extra,
        )
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(
        self, username: str, password: str | None = None, *, name: str, email: str, **extra: Any
    ) -> "User":
        """Create an Administrator who may also do everything in Django admin."""
        extra = {"role": Role.objects.administrator(), **extra, "is_staff": True, "is_superuser": True}
        return self.create_user(username, password, name=name, email=email, **extra)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(username__iexact=username)


class Theme(models.TextChoices):
    AUTO = "auto", "As the system says"
    LIGHT = "light", "Light"
    DARK = "dark", "Dark"


def validate_time_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(f"'{name}' is not a time zone.")


class User(AbstractBaseUser, PermissionsMixin):
    """A person who logs in here. People are made inactive rather than deleted: what they did stays readable."""

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    username = models.CharField(
        max_length=150,
        unique=True,
        validators=[UnicodeUsernameValidator()],
        error_messages={"unique": "Somebody else has this username."},
    )
    name = models.CharField(max_length=150)
    email = models.EmailField("e-mail address")
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="users")
    is_active = models.BooleanField("active", default=True, help_text="Instead of deleting people, make them inactive.")
    is_staff = models.BooleanField("support staff", default=False, help_text="May open Django admin.")
    time_zone = models.CharField(
        max_length=64, blank=True, default="", validators=[validate_time_zone], help_text="Empty: the browser's."
    )
    theme = models.CharField(max_length=8, choices=Theme.choices, default=Theme.AUTO)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["name", "email"]

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Upper("username"),
                name="user_username_unique_without_case",
                violation_error_message="Somebody else has this username.",
            ),
            models.CheckConstraint(name="user_theme_known", condition=models.Q(theme__in=Theme.values)),
        ]

    def __str__(self) -> str:
        return self.name or self.username

    def get_absolute_url(self) -> str:
        return reverse("lifetime:user", args=[self.key])

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def initials(self) -> str:
        """At most two letters that stand for the name."""
        words = (self.name or self.username).split()
        return "".join(word[0] for word in (words[0], words[-1])[: len(words)]).upper()

    def actor(self, address: str = "") -> Actor:
        """This person as the audit log names whoever did something."""
        return Actor(name=self.name, username=self.username, key=self.key, address=address)

    @property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="user", key=str(self.key), name=self.name)

    @property
    def manages_infrastructure(self) -> bool:
        """Whether this person has the right Manage Infrastructure and Users."""
        return self.is_active and self.role.manage_infrastructure_and_users

    @property
    def manages_teams(self) -> bool:
        """Whether this person manages all teams: Manage Teams and Application Roles by the default role."""
        return self.is_active and self.role.manage_teams_and_application_roles
