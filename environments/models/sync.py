import uuid
from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class SyncTrigger(models.TextChoices):
    SCHEDULE = "schedule", "Schedule"
    MANUAL = "manual", "Synchronize now"
    REGISTRATION = "registration", "Registration"
    MAINTENANCE = "maintenance", "End of maintenance mode"
    DEPLOYMENT = "deployment", "Deployment"
    EVENT = "event", "Event of the environment"


class SyncStatus(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    ABORTED = "aborted", "Aborted"


ACTIVE = (SyncStatus.QUEUED, SyncStatus.RUNNING)


class SyncRunQuerySet(models.QuerySet["SyncRun"]):
    def active(self) -> "SyncRunQuerySet":
        return self.filter(status__in=ACTIVE)

    def newest_first(self) -> "SyncRunQuerySet":
        return self.order_by("-pk")


class SyncRun(models.Model):
    """One synchronization of one environment: queued, claimed by one worker, ended once."""

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    environment = models.ForeignKey("environments.Environment", on_delete=models.PROTECT, related_name="sync_runs")
    trigger = models.CharField(max_length=20, choices=SyncTrigger.choices)
    is_full = models.BooleanField(default=False)
    status = models.CharField(max_length=20, choices=SyncStatus.choices, default=SyncStatus.QUEUED)
    requested_at = models.DateTimeField(db_default=Now())
    requested_by = models.CharField(max_length=200)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    message = models.CharField(max_length=500, blank=True, db_default="")
    part = models.CharField(max_length=60, blank=True, db_default="", help_text="What is being synchronized now.")
    done = models.PositiveIntegerField(db_default=0)
    total = models.PositiveIntegerField(db_default=0)
    changes = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    window = models.ForeignKey(
        "environments.MaintenanceWindow", on_delete=models.SET_NULL, null=True, related_name="aborted_syncs"
    )

    objects = SyncRunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["environment"], condition=Q(status__in=ACTIVE), name="sync_one_active_per_environment"
            ),
            models.CheckConstraint(
                condition=Q(status__in=ACTIVE, ended_at__isnull=True)
                | (~Q(status__in=ACTIVE) & Q(ended_at__isnull=False)),
                name="sync_ended_has_instant",
            ),
        ]
        indexes = [models.Index(fields=["environment", "-id"], name="sync_history")]

    def __str__(self) -> str:
        return f"Synchronization {self.pk}"

    @property
    def took(self) -> timedelta | None:
        return self.ended_at - self.started_at if self.started_at and self.ended_at else None

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE


class SyncState(models.Model):
    """What is known of an environment's synchronization: what was applied, what it has, when it is due.

    `digests` are what the environment last said it has, part by part; `applied` those that the console has taken
    over. `clock_offset` is a lower bound of the environment's clock less the database's, in seconds.
    """

    environment = models.OneToOneField(
        "environments.Environment", on_delete=models.CASCADE, primary_key=True, related_name="sync_state"
    )
    due_at = models.DateTimeField(db_default=Now(), db_index=True)
    full_due = models.BooleanField(default=True, help_text="The next synchronization takes everything.")
    etag = models.CharField(max_length=100, blank=True, default="")
    digests = models.JSONField(default=dict)
    applied = models.JSONField(default=dict)
    applications_cursor = models.CharField(max_length=100, blank=True, default="")
    synchronized_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    message = models.CharField(max_length=500, blank=True, default="")
    unreachable_since = models.DateTimeField(null=True)
    clock_offset = models.FloatField(null=True)
    clock_measured_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"Synchronization of {self.environment}"
