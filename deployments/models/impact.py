from django.db import models
from django.db.models.functions import Now

from deployments.models.operation import PlanOperation
from deployments.models.plan import DeploymentPlan


class ConflictType(models.TextChoices):
    """As LifeTime's API spells them."""

    PRODUCER_MODULE_MISSING = "Producer Module Missing", "Producer module missing"
    PRODUCER_ELEMENT_MISSING = "Producer Element Missing", "Producer element missing"
    PRODUCER_ELEMENT_INCOMPATIBLE = "Producer Element Incompatible", "Producer element incompatible"
    CONSUMER_MODULE_OUTDATED = "Consumer Module Outdated", "Consumer module outdated"
    NEWER_PRODUCER_MODULE_AVAILABLE = "Newer Producer Module Available", "Newer producer module available"
    INCOMPATIBLE_PLATFORM_SERVER = "IncompatiblePlatformServer", "Incompatible Platform Server"
    CONSUMER_MODULE_MOVED = "ConsumerModuleMoved", "Consumer module moved"
    PRODUCER_MODULE_MOVED = "ProducerModuleMoved", "Producer module moved"
    NAME_COLLISION = "NameColision", "Name collision"


class Severity(models.TextChoices):
    INFO = "Info", "Info"
    WARNING = "Warning", "Warning"
    ERROR = "Error", "Error"


class PlanFinding(models.Model):
    """What validation found: a conflict (with its type), or something else that a person should know (without)."""

    plan = models.ForeignKey(DeploymentPlan, on_delete=models.CASCADE, related_name="findings")
    position = models.PositiveIntegerField(default=0)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    type = models.CharField(max_length=40, choices=ConflictType.choices, blank=True)
    message = models.TextField()
    producer_operation = models.ForeignKey(PlanOperation, on_delete=models.SET_NULL, null=True, related_name="+")
    consumer_operation = models.ForeignKey(PlanOperation, on_delete=models.SET_NULL, null=True, related_name="+")
    producer_module_key = models.UUIDField(null=True)
    producer_module_name = models.CharField(max_length=120, blank=True)
    consumer_module_key = models.UUIDField(null=True)
    consumer_module_name = models.CharField(max_length=120, blank=True)
    elements = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.message


class PlanDependent(models.Model):
    """An application of the target that uses what the plan changes: it may be republished with it."""

    plan = models.ForeignKey(DeploymentPlan, on_delete=models.CASCADE, related_name="dependents")
    application_key = models.UUIDField()
    application_name = models.CharField(max_length=120)
    reason = models.TextField(blank=True)
    is_selected = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "application_key"], name="plan_dependent_once")]

    def __str__(self) -> str:
        return self.application_name


class PlanRemoval(models.Model):
    """A module that would go from the target."""

    plan = models.ForeignKey(DeploymentPlan, on_delete=models.CASCADE, related_name="removals")
    application_key = models.UUIDField()
    application_name = models.CharField(max_length=120)
    module_key = models.UUIDField()
    module_name = models.CharField(max_length=120)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "module_key"], name="plan_removal_once")]

    def __str__(self) -> str:
        return self.module_name


class ModuleReferences(models.Model):
    """What a version of a module offers and uses, as an environment told. It never changes, so it is asked once."""

    module_key = models.UUIDField()
    version_key = models.UUIDField()
    module_name = models.CharField(max_length=120)
    application_key = models.UUIDField()
    application_name = models.CharField(max_length=120)
    produces = models.JSONField(default=list)
    consumes = models.JSONField(default=list)
    read_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "module references"
        constraints = [models.UniqueConstraint(fields=["module_key", "version_key"], name="module_references_once")]

    def __str__(self) -> str:
        return self.module_name
