import uuid
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse

from audit.log import AuditObject

REASON_LENGTH = 600
LABEL_LENGTH = 120
NOTES_LENGTH = 10_000


class PlanStatus(models.TextChoices):
    """The API's values. Which follows which is told by `deployments.states`."""

    SAVED = "saved", "Saved"
    RUNNING = "running", "Running"
    NEEDS_USER_INTERVENTION = "needs_user_intervention", "Needs intervention"
    ABORTING = "aborting", "Aborting"
    ABORTED = "aborted", "Aborted"
    FINISHED_SUCCESSFUL = "finished_successful", "Finished Successfully"
    FINISHED_WITH_WARNINGS = "finished_with_warnings", "Finished with Warnings"
    FINISHED_WITH_ERRORS = "finished_with_errors", "Finished with Errors"


class Information(models.TextChoices):
    """What a plan waits for."""

    NONE = "", ""
    PREPARED = "deploy_prepared", "Prepared"
    CONFIGURATION = "needs_configuration_or_confirmation", "Waiting for configuration or confirmation"
    PROCESS_IMPACT = "business_process_impact", "Business processes would change"
    SUSPENDED = "deployment_suspended", "Suspended by the platform"


class TargetState(models.TextChoices):
    """What a plan has done to its target."""

    UNCHANGED = "unchanged", "Unchanged"
    CHANGED = "changed", "Changed"
    UNKNOWN = "unknown", "Unknown"


class Remote(models.TextChoices):
    """The deployment at the target: not started, perhaps still under way, certainly over."""

    NONE = "none", "Not started"
    STARTED = "started", "Started"
    ENDED = "ended", "Ended"


class ValidationStatus(models.TextChoices):
    NONE = "none", "Not validated"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Validated"
    FAILED = "failed", "Failed"
    ABORTED = "aborted", "Aborted"


class StepName(models.TextChoices):
    """The seven steps, in order."""

    RETRIEVING = "retrieving", "Retrieving applications from version control"
    ANALYZING_PROCESSES = "analyzing_processes", "Analyzing impact on running business processes"
    GENERATING = "generating", "Generating and compiling code"
    ANALYZING_DATABASE = "analyzing_database", "Analyzing database and creating differential SQL"
    DISTRIBUTING = "distributing", "Distributing compiled applications to front-ends"
    UPDATING = "updating", "Updating database and hot-deploying"
    SYNCHRONIZING = "synchronizing", "Synchronizing Environment"


IN_PROGRESS = (PlanStatus.RUNNING, PlanStatus.NEEDS_USER_INTERVENTION, PlanStatus.ABORTING)
FINISHED = (PlanStatus.FINISHED_SUCCESSFUL, PlanStatus.FINISHED_WITH_WARNINGS, PlanStatus.FINISHED_WITH_ERRORS)


class DeploymentPlanQuerySet(models.QuerySet["DeploymentPlan"]):
    def in_progress(self) -> "DeploymentPlanQuerySet":
        """Running, prepared or otherwise waiting for a person; saved plans are not."""
        return self.filter(status__in=IN_PROGRESS)

    def between(self, environment_ids: list[int]) -> "DeploymentPlanQuerySet":
        """Plans to or from one of these environments; a bystander's plans never match."""
        return self.filter(Q(source__in=environment_ids) | Q(target__in=environment_ids))

    def drafts(self) -> "DeploymentPlanQuerySet":
        """Made, but never saved by anybody."""
        return self.filter(status=PlanStatus.SAVED, saved_at__isnull=True)

    def newest_first(self) -> "DeploymentPlanQuerySet":
        return self.order_by("-number")


class DeploymentPlan(models.Model):
    """A plan to deploy applications from a source to a target environment.

    `revision` rises with every edit: who starts or edits says which one they saw. `claimed_*` belong to
    `deployments.execution`: the worker that carries out the current step, and until when it is believed to live.
    """

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    number = models.PositiveIntegerField(unique=True)
    label = models.CharField(max_length=LABEL_LENGTH, blank=True)
    notes = models.TextField(max_length=NOTES_LENGTH, blank=True, db_default="")
    source = models.ForeignKey(
        "environments.Environment",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="plans_from",
        help_text="Empty for a plan that deploys an uploaded package.",
    )
    target = models.ForeignKey("environments.Environment", on_delete=models.PROTECT, related_name="plans_to")
    status = models.CharField(max_length=30, choices=PlanStatus.choices, default=PlanStatus.SAVED)
    information = models.CharField(max_length=40, choices=Information.choices, blank=True, db_default="")
    revision = models.PositiveIntegerField(default=1, db_default=1)

    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    created_by_username = models.CharField(max_length=200, blank=True, db_default="")
    saved_at = models.DateTimeField(null=True, blank=True)
    saved_by = models.CharField(max_length=200, blank=True, db_default="")
    saved_by_username = models.CharField(max_length=200, blank=True, db_default="")
    started_at = models.DateTimeField(null=True, blank=True)
    started_by = models.CharField(max_length=200, blank=True)
    started_by_username = models.CharField(max_length=200, blank=True, db_default="")
    aborted_at = models.DateTimeField(null=True, blank=True)
    aborted_by = models.CharField(max_length=200, blank=True)
    aborted_by_username = models.CharField(max_length=200, blank=True, db_default="")
    abort_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    aborted_at_step = models.CharField(max_length=30, choices=StepName.choices, blank=True, db_default="")
    ended_at = models.DateTimeField(null=True, blank=True)
    window = models.ForeignKey(
        "environments.MaintenanceWindow", on_delete=models.SET_NULL, null=True, blank=True, related_name="aborted_plans"
    )

    # How it is carried out
    redeploy_outdated = models.BooleanField(default=True, db_default=True)
    continue_with_errors = models.BooleanField(default=False, db_default=False)
    accept_module_removal = models.BooleanField(default=False, db_default=False)
    two_stage = models.BooleanField(default=False, db_default=False)
    step = models.CharField(max_length=30, choices=StepName.choices, blank=True, db_default="")
    interventions = models.JSONField(default=list, blank=True, db_default=models.Value([], models.JSONField()))
    answer = models.JSONField(default=dict, blank=True, db_default=models.Value({}, models.JSONField()))
    prepared_until = models.DateTimeField(null=True, blank=True)
    remote = models.CharField(max_length=10, choices=Remote.choices, default=Remote.NONE, db_default=Remote.NONE)
    target_state = models.CharField(
        max_length=10, choices=TargetState.choices, default=TargetState.UNCHANGED, db_default=TargetState.UNCHANGED
    )
    claimed_by = models.UUIDField(null=True, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    trouble_since = models.DateTimeField(null=True, blank=True, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    last_line = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    # What validation found for which revision
    validation = models.CharField(
        max_length=10,
        choices=ValidationStatus.choices,
        default=ValidationStatus.NONE,
        db_default=ValidationStatus.NONE,
    )
    validation_message = models.CharField(max_length=500, blank=True, db_default="")
    validated_revision = models.PositiveIntegerField(null=True, blank=True)
    validated_at = models.DateTimeField(null=True, blank=True)

    objects = DeploymentPlanQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(source=F("target")), name="plan_source_is_not_target"),
            models.CheckConstraint(
                condition=Q(aborted_at__isnull=True, aborted_by="") | (Q(aborted_at__isnull=False) & ~Q(aborted_by="")),
                name="plan_aborted_at_by_together",
            ),
            models.CheckConstraint(
                condition=Q(status="needs_user_intervention") | Q(information=""),
                name="plan_information_while_it_waits",
            ),
        ]
        indexes = [
            models.Index(fields=["source", "status"], name="plan_source_status"),
            models.Index(fields=["target", "status"], name="plan_target_status"),
            models.Index(fields=["target", "-number"], name="plan_target_newest"),
            models.Index(fields=["status", "-number"], name="plan_status_newest"),
            models.Index(fields=["created_at"], name="plan_created"),
            models.Index(fields=["started_at"], name="plan_started"),
            models.Index(
                fields=["claimed_until"],
                condition=Q(status__in=["running", "aborting"]) | Q(status="aborted", remote="started"),
                name="plan_to_be_worked_on",
            ),
        ]

    def __str__(self) -> str:
        return f"Deployment plan #{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("plans:plan", args=[self.key])

    @property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="plan", key=str(self.key), name=f"#{self.number}")

    @property
    def name(self) -> str:
        return self.label or f"#{self.number}"

    @property
    def is_draft(self) -> bool:
        return self.status == PlanStatus.SAVED and self.saved_at is None

    @property
    def is_in_progress(self) -> bool:
        return self.status in IN_PROGRESS

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def is_validated(self) -> bool:
        """Whether what validation found is about the plan as it is now."""
        return self.validation == ValidationStatus.FINISHED and self.validated_revision == self.revision

    @property
    def is_being_validated(self) -> bool:
        return self.validation in (ValidationStatus.QUEUED, ValidationStatus.RUNNING)

    @property
    def can_abort(self) -> bool:
        """Not while the target switches over, and not afterwards."""
        is_stoppable = self.step not in (StepName.UPDATING, StepName.SYNCHRONIZING)
        return self.status == PlanStatus.NEEDS_USER_INTERVENTION or (self.status == PlanStatus.RUNNING and is_stoppable)

    @property
    def environments(self) -> "list[Any]":
        """Source and target, in this order; the target alone when a package is deployed."""
        return [self.source, self.target] if self.source_id else [self.target]
