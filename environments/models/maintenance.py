import uuid

from django.db import models
from django.db.models import Q

REASON_LENGTH = 500


class WindowStatus(models.TextChoices):
    PLANNED = "planned", "Planned"
    DRAINING = "draining", "Draining"
    IN_FORCE = "in_force", "In force"
    RECOVERING = "recovering", "Recovering"
    ENDED = "ended", "Ended"
    CANCELLED = "cancelled", "Cancelled"


OPEN = (WindowStatus.DRAINING, WindowStatus.IN_FORCE)


class MaintenanceWindowQuerySet(models.QuerySet["MaintenanceWindow"]):
    def open(self) -> "MaintenanceWindowQuerySet":
        """Maintenance mode is on."""
        return self.filter(status__in=OPEN)

    def draining(self) -> "MaintenanceWindowQuerySet":
        return self.filter(status=WindowStatus.DRAINING)

    def newest_first(self) -> "MaintenanceWindowQuerySet":
        return self.order_by("-enabled_at", "-pk")


class MaintenanceWindow(models.Model):
    """One time of maintenance mode of one environment: who, why, when, when it became quiet, and what it did."""

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    environment = models.ForeignKey("environments.Environment", on_delete=models.PROTECT, related_name="windows")
    status = models.CharField(max_length=20, choices=WindowStatus.choices)
    epoch = models.PositiveBigIntegerField(help_text="The environment's epoch that enabling made.")

    enabled_at = models.DateTimeField()
    enabled_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=REASON_LENGTH)
    expected_end = models.DateTimeField(null=True, blank=True)
    quiet_at = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_by = models.CharField(max_length=200, blank=True)
    disable_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    recovered_at = models.DateTimeField(null=True, blank=True)
    recovery_sync = models.ForeignKey(
        "environments.SyncRun", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    audit_key = models.UUIDField(null=True, editable=False, help_text="The audit entry of enabling.")

    plans_aborted = models.PositiveIntegerField(default=0)
    syncs_aborted = models.PositiveIntegerField(default=0)
    contacts_cut = models.PositiveIntegerField(default=0, help_text="Contacts that were open when it was enabled.")
    ticks_skipped = models.PositiveIntegerField(default=0, help_text="Synchronizations that were due meanwhile.")

    objects = MaintenanceWindowQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["environment"], condition=Q(status__in=OPEN), name="window_one_open_per_environment"
            ),
            models.CheckConstraint(condition=~Q(reason="") & ~Q(enabled_by=""), name="window_has_reason_and_person"),
            models.CheckConstraint(
                condition=Q(disabled_at__isnull=True, disabled_by="", disable_reason="")
                | (Q(disabled_at__isnull=False) & ~Q(disabled_by="") & ~Q(disable_reason="")),
                name="window_disabled_at_by_reason_together",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["planned", *OPEN], disabled_at__isnull=True)
                | Q(status__in=["recovering", "ended"], disabled_at__isnull=False)
                | Q(status="cancelled"),
                name="window_status_fits_disabled",
            ),
            models.CheckConstraint(
                condition=~Q(status="in_force") | Q(quiet_at__isnull=False), name="window_in_force_is_quiet"
            ),
            models.CheckConstraint(
                condition=~Q(status="draining") | Q(quiet_at__isnull=True), name="window_draining_is_not_quiet"
            ),
        ]
        indexes = [
            models.Index(fields=["environment", "-enabled_at"], name="window_history"),
            models.Index(fields=["status"], condition=Q(status="draining"), name="window_draining"),
        ]

    def __str__(self) -> str:
        return f"{self.environment} since {self.enabled_at:%Y-%m-%d %H:%M} UTC"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


class RefusedOperation(models.Model):
    """How often an operation was refused during a window, and to whom last."""

    window = models.ForeignKey(MaintenanceWindow, on_delete=models.CASCADE, related_name="refused_operations")
    operation = models.CharField(max_length=60)
    count = models.PositiveIntegerField(default=1)
    last_at = models.DateTimeField()
    last_by = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["window", "operation"], name="refused_operation_once")]

    def __str__(self) -> str:
        return f"{self.operation}: {self.count}"
