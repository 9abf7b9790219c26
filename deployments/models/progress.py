from django.db import models
from django.db.models.functions import Now

from deployments.models.plan import DeploymentPlan, StepName


class StepState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    UNDONE = "undone", "Undone"


class PlanStep(models.Model):
    """One of the seven steps of a plan that was started."""

    plan = models.ForeignKey(DeploymentPlan, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=30, choices=StepName.choices)
    state = models.CharField(max_length=10, choices=StepState.choices, default=StepState.WAITING)
    began_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    warnings = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "name"], name="plan_step_once")]

    def __str__(self) -> str:
        return self.get_name_display()


class LineType(models.TextChoices):
    INFO = "Info", "Info"
    WARNING = "Warning", "Warning"
    ERROR = "Error", "Error"


class PlanLine(models.Model):
    """A line of a plan's log. One that the target wrote keeps its number there, so it is taken once."""

    plan = models.ForeignKey(DeploymentPlan, on_delete=models.CASCADE, related_name="lines")
    line = models.PositiveIntegerField()
    at = models.DateTimeField(db_default=Now())
    type = models.CharField(max_length=10, choices=LineType.choices, default=LineType.INFO)
    step = models.CharField(max_length=30, choices=StepName.choices, blank=True)
    message = models.TextField()
    remote_line = models.PositiveIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan", "line"], name="plan_line_once"),
            models.UniqueConstraint(fields=["plan", "remote_line"], name="plan_remote_line_once"),
        ]

    def __str__(self) -> str:
        return self.message


class PlanModule(models.Model):
    """A module that a plan in progress occupies on its target; the rows go when the plan has ended.

    A module belongs to one plan at a time on one target. One that the plan's modules refer to only keeps out plans
    that would change it.
    """

    plan = models.ForeignKey(DeploymentPlan, on_delete=models.CASCADE, related_name="modules")
    target = models.ForeignKey("environments.Environment", on_delete=models.CASCADE, related_name="+")
    module_key = models.UUIDField()
    is_referenced = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["target", "module_key"],
                condition=models.Q(is_referenced=False),
                name="plan_module_occupied_once",
            ),
            models.UniqueConstraint(fields=["plan", "module_key"], name="plan_module_once"),
        ]

    def __str__(self) -> str:
        return str(self.module_key)
