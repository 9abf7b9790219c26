from django.db import models
from django.db.models.functions import Now

from deployments.models.plan import DeploymentPlan


class PlanPackage(models.Model):
    """An application package that was uploaded for a plan without a source: what its manifest says, and its bytes.

    The bytes are in the database, so every worker on every host can bring them to the target. They come before their
    plan, which is made under locks that nobody should wait for.
    """

    plan = models.ForeignKey(DeploymentPlan, on_delete=models.CASCADE, null=True, related_name="packages")
    application_key = models.UUIDField()
    digest = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField()
    references = models.JSONField(default=dict, help_text="What its modules offer and use, as its manifest says.")
    kept_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "application_key"], name="plan_package_once")]

    def __str__(self) -> str:
        return self.digest


class PlanPackagePart(models.Model):
    """A piece of a package, until the plan has ended or its time is over."""

    package = models.ForeignKey(PlanPackage, on_delete=models.CASCADE, related_name="parts", db_index=False)
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["package", "number"], name="plan_package_part_once")]

    def __str__(self) -> str:
        return f"{self.package} {self.number}"
