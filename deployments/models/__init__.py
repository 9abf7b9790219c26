from deployments.models.plan import DeploymentPlan, PlanStatus

__all__ = ["DeploymentPlan", "PlanStatus"]
