import uuid
from functools import cached_property

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now
from django.urls import reverse

from audit.log import AuditObject
from environments.models.maintenance import MaintenanceWindow
from environments.models.sealed import SealedText

SECURITY_DEFAULTS = {
    "hsts": False,
    "force_https_screens": False,
    "force_https_integrations": False,
    "secure_cookies": False,
    "same_site": "Lax",
    "remoting_protection": False,
    "content_security_policy": {"enabled": False, "directives": {}},
}


class EnvironmentPurpose(models.TextChoices):
    DEVELOPMENT = "Development", "Development"
    TEST = "Test", "Non-Production"
    PRODUCTION = "Production", "Production"


class Hosting(models.TextChoices):
    SELF_MANAGED = "self_managed", "Self-managed"
    CLOUD = "cloud", "Cloud"


class Registration(models.TextChoices):
    CHECKING = "checking", "Checking the connection"
    CHECKED = "checked", "Connection checked"
    REFUSED = "refused", "Connection check failed"
    REGISTERED = "registered", "Registered"
    UNREGISTERED = "unregistered", "Unregistered"


class EnvironmentQuerySet(models.QuerySet["Environment"]):
    def registered(self) -> "EnvironmentQuerySet":
        return self.filter(registration=Registration.REGISTERED)

    def in_maintenance(self) -> "EnvironmentQuerySet":
        return self.filter(maintenance_window__isnull=False)

    def active(self) -> "EnvironmentQuerySet":
        """Registered, and the console may talk to it now."""
        return self.registered().filter(maintenance_window__isnull=True)

    def lock(self) -> list["Environment"]:
        """These rows, locked in the order of their ids, with the maintenance windows that they have by then.

        FOR NO KEY UPDATE excludes the gate's share lock, but does not wait for foreign key checks of work going on.
        The windows are read by a statement of their own: one that is joined would be that of before the wait.
        """
        rows = list(self.select_for_update(no_key=True).order_by("pk"))
        models.prefetch_related_objects(rows, "maintenance_window")
        return rows

    def in_order(self) -> "EnvironmentQuerySet":
        """Pipeline order, left to right."""
        return self.order_by("position", "pk")


class Environment(models.Model):
    """One environment of the infrastructure: what the console knows of it, and what it owns of it.

    `maintenance_window` is the flag that the gate reads under a share lock of this row; a deferred trigger keeps it
    equal to the environment's one open window. `epoch` rises with every enable, disable and unregister.
    """

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=60)
    address = models.CharField("environment address", max_length=300)
    sealed_token = models.TextField(blank=True, editable=False)
    token = SealedText()
    purpose = models.CharField(max_length=20, choices=EnvironmentPurpose.choices)
    hosting = models.CharField(max_length=20, choices=Hosting.choices, default=Hosting.SELF_MANAGED)
    position = models.PositiveIntegerField(default=0)

    registration = models.CharField(max_length=20, choices=Registration.choices, default=Registration.CHECKING)
    registration_message = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    registered_at = models.DateTimeField(null=True, blank=True)
    registered_by = models.CharField(max_length=200, blank=True)
    unregistered_at = models.DateTimeField(null=True, blank=True)
    unregistered_by = models.CharField(max_length=200, blank=True)

    # Not one-to-one: an update of a column with a unique index would take a lock that waits for foreign key checks,
    # that is for the very work which enabling stops. The open window's own constraint keeps it unique.
    maintenance_window = models.ForeignKey(
        MaintenanceWindow, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    epoch = models.PositiveBigIntegerField(default=1)

    # Owned by the console, pushed by synchronization.
    lifetime_address = models.CharField("LifeTime external address", max_length=300, blank=True)
    two_stage_deployments = models.BooleanField("execute deployments in two stages", default=False)
    mobile_apps_service = models.BooleanField("enable mobile apps service", default=False)
    parallel_deployments = models.BooleanField("enable parallel deployments", default=True)
    parallel_deployment_limit = models.PositiveSmallIntegerField(
        default=5, validators=[MinValueValidator(1), MaxValueValidator(20)]
    )
    security = models.JSONField(default=dict, blank=True)
    sync_interval = models.PositiveIntegerField(
        "seconds between synchronizations", default=60, validators=[MinValueValidator(15), MaxValueValidator(86_400)]
    )

    # Facts, pulled by synchronization.
    version = models.CharField("platform version", max_length=40, blank=True)
    application_server = models.CharField(max_length=60, blank=True)
    application_server_type = models.CharField(max_length=20, blank=True)
    database_provider = models.CharField(max_length=60, blank=True)
    number_of_front_ends = models.PositiveSmallIntegerField(null=True, blank=True)
    deployment_zones = models.JSONField(default=list, blank=True)

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        permissions = [("toggle_maintenance", "Can toggle maintenance mode, of cloud environments too")]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                condition=Q(registration="registered"),
                name="environment_name_unique",
                violation_error_message="Another registered environment has this name.",
            ),
            models.UniqueConstraint(
                Lower("address"),
                condition=Q(registration="registered"),
                name="environment_address_unique",
                violation_error_message="Another registered environment has this address.",
            ),
            models.CheckConstraint(
                condition=Q(registration="registered", registered_at__isnull=False)
                | (~Q(registration="registered") & Q(maintenance_window__isnull=True)),
                name="environment_maintenance_only_when_registered",
            ),
            models.CheckConstraint(
                condition=Q(registration="unregistered", unregistered_at__isnull=False)
                | (~Q(registration="unregistered") & Q(unregistered_at__isnull=True)),
                name="environment_unregistered_has_instant",
            ),
        ]
        indexes = [models.Index(F("position"), F("id"), name="environment_order")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("environments:edit", args=[self.key])

    @property
    def is_in_maintenance(self) -> bool:
        return self.maintenance_window_id is not None

    @property
    def is_cloud(self) -> bool:
        return self.hosting == Hosting.CLOUD

    @property
    def is_registered(self) -> bool:
        return self.registration == Registration.REGISTERED

    @cached_property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="environment", key=str(self.key), name=self.name)
