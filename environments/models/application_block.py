import uuid

from django.db import models
from django.db.models import Q

from environments.models.application import Application
from environments.models.environment import Environment
from environments.models.maintenance import REASON_LENGTH


class ApplicationBlockQuerySet(models.QuerySet["ApplicationBlock"]):
    def in_force(self) -> "ApplicationBlockQuerySet":
        return self.filter(unblocked_at__isnull=True)


class ApplicationBlock(models.Model):
    """An application may not be deployed to an environment, from one instant to another. Known to the console alone."""

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="blocks")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="application_blocks")
    blocked_at = models.DateTimeField()
    blocked_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=REASON_LENGTH)
    unblocked_at = models.DateTimeField(null=True)
    unblocked_by = models.CharField(max_length=200, blank=True)
    unblock_reason = models.CharField(max_length=REASON_LENGTH, blank=True)

    objects = ApplicationBlockQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["application", "environment"],
                condition=Q(unblocked_at__isnull=True),
                name="application_block_one_in_force",
            ),
            models.CheckConstraint(condition=~Q(reason="") & ~Q(blocked_by=""), name="application_block_has_reason"),
            models.CheckConstraint(
                condition=Q(unblocked_at__isnull=True, unblocked_by="", unblock_reason="")
                | (Q(unblocked_at__isnull=False) & ~Q(unblocked_by="") & ~Q(unblock_reason="")),
                name="application_block_unblocked_at_by_reason_together",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.application} in {self.environment}"
