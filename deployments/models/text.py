from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models

from deployments.models.plan import DeploymentPlan


class PlanText(models.Model):
    """The words by which a plan is found: number, label, notes, people, applications. Triggers keep it."""

    plan = models.OneToOneField(DeploymentPlan, on_delete=models.CASCADE, related_name="text", primary_key=True)
    document = SearchVectorField()

    class Meta:
        indexes = [GinIndex(fields=["document"], name="plan_text_document", fastupdate=False)]

    def __str__(self) -> str:
        return str(self.plan)
