from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Purpose(models.TextChoices):
    REGISTER = "register", "Registration check"
    SYNC = "sync", "Synchronization"
    DEPLOY = "deploy", "Deployment"
    TAG = "tag", "Tagging"
    DELIVER = "deliver", "Delivery"
    APPLICATION = "application", "Work on an application"


class Outcome(models.TextChoices):
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    ABORTED = "aborted", "Aborted"
    LOST = "lost", "Lost"


class ContactQuerySet(models.QuerySet["Contact"]):
    def open(self) -> "ContactQuerySet":
        return self.filter(closed_at__isnull=True)


class Contact(models.Model):
    """A bounded conversation with one environment, for one purpose, by one worker. The rows are the ledger.

    Written by `environments.ledger` alone. All instants are the database's clock. An open contact whose lease
    (`expires_at`) has run out is `lost`: its worker died or hangs, and what the far side did is unknown.
    """

    environment = models.ForeignKey("environments.Environment", on_delete=models.PROTECT, related_name="contacts")
    epoch = models.PositiveBigIntegerField()
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    # Runs are forgotten long before contacts are: the number stays, what it named may be gone.
    sync_run = models.ForeignKey(
        "environments.SyncRun",
        on_delete=models.DO_NOTHING,
        null=True,
        related_name="contacts",
        db_index=False,
        db_constraint=False,
    )
    plan_number = models.PositiveIntegerField(null=True)
    worker = models.CharField(max_length=120)
    pid = models.PositiveIntegerField()
    opened_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=20, choices=Outcome.choices, blank=True, db_default="")
    step = models.CharField(max_length=200, blank=True, db_default="")
    calls = models.PositiveIntegerField(db_default=0)
    bytes_sent = models.PositiveBigIntegerField(db_default=0)
    bytes_received = models.PositiveBigIntegerField(db_default=0)

    objects = ContactQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True, outcome="") | (Q(closed_at__isnull=False) & ~Q(outcome="")),
                name="contact_closed_with_outcome",
            ),
        ]
        indexes = [
            models.Index(fields=["environment"], condition=Q(closed_at__isnull=True), name="contact_open"),
            models.Index(fields=["environment", "opened_at"], name="contact_ledger"),
        ]

    def __str__(self) -> str:
        return f"Contact {self.pk}"

    @property
    def lasted(self) -> timedelta | None:
        return self.closed_at - self.opened_at if self.closed_at else None

    @property
    def serves(self) -> str:
        """What the conversation is for, in words."""
        if self.sync_run_id:
            return f"Synchronization {self.sync_run_id}"
        if self.plan_number:
            return f"Deployment plan #{self.plan_number}"
        return self.get_purpose_display()
