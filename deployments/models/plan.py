import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from audit.log import AuditObject


class PlanStatus(models.TextChoices):
    SAVED = "saved", "Saved"
    RUNNING = "running", "Running"
    NEEDS_USER_INTERVENTION = "needs_user_intervention", "Needs intervention"
    ABORTING = "aborting", "Aborting"
    ABORTED = "aborted", "Aborted"
    FINISHED_SUCCESSFUL = "finished_successful", "Finished Successfully"
    FINISHED_WITH_WARNINGS = "finished_with_warnings", "Finished with Warnings"
    FINISHED_WITH_ERRORS = "finished_with_errors", "Finished with Errors"


IN_PROGRESS = (PlanStatus.RUNNING, PlanStatus.NEEDS_USER_INTERVENTION, PlanStatus.ABORTING)


class DeploymentPlanQuerySet(models.QuerySet["DeploymentPlan"]):
    def in_progress(self) -> "DeploymentPlanQuerySet":
        """Running, prepared or otherwise waiting for a person; saved plans are not."""
        return self.filter(status__in=IN_PROGRESS)

    def between(self, environment_ids: list[int]) -> "DeploymentPlanQuerySet":
        """Plans to or from one of these environments; a bystander's plans never match."""
        return self.filter(Q(source__in=environment_ids) | Q(target__in=environment_ids))


class DeploymentPlan(models.Model):
    """A plan to deploy applications from a source to a target environment."""

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    number = models.PositiveIntegerField(unique=True)
    label = models.CharField(max_length=120, blank=True)
    source = models.ForeignKey("environments.Environment", on_delete=models.PROTECT, related_name="plans_from")
    target = models.ForeignKey("environments.Environment", on_delete=models.PROTECT, related_name="plans_to")
    status = models.CharField(max_length=30, choices=PlanStatus.choices, default=PlanStatus.SAVED)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    started_at = models.DateTimeField(null=True, blank=True)
    started_by = models.CharField(max_length=200, blank=True)
    aborted_at = models.DateTimeField(null=True, blank=True)
    aborted_by = models.CharField(max_length=200, blank=True)
    abort_reason = models.CharField(max_length=600, blank=True)
    window = models.ForeignKey(
        "environments.MaintenanceWindow", on_delete=models.SET_NULL, null=True, blank=True, related_name="aborted_plans"
    )

    objects = DeploymentPlanQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(source=F("target")), name="plan_source_is_not_target"),
            models.CheckConstraint(
                condition=Q(aborted_at__isnull=True, aborted_by="") | (Q(aborted_at__isnull=False) & ~Q(aborted_by="")),
                name="plan_aborted_at_by_together",
            ),
        ]
        indexes = [
            models.Index(fields=["source", "status"], name="plan_source_status"),
            models.Index(fields=["target", "status"], name="plan_target_status"),
        ]

    def __str__(self) -> str:
        return f"Deployment plan #{self.number}"

    @property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="plan", key=str(self.key), name=f"#{self.number}")
