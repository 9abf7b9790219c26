from deployments.models.impact import (
    ConflictType,
    ModuleReferences,
    PlanDependent,
    PlanFinding,
    PlanRemoval,
    Severity,
)
from deployments.models.operation import OperationKind, PlanOperation
from deployments.models.package import PlanPackage, PlanPackagePart
from deployments.models.plan import (
    DeploymentPlan,
    Information,
    PlanStatus,
    Remote,
    StepName,
    TargetState,
    ValidationStatus,
)
from deployments.models.progress import LineType, PlanLine, PlanModule, PlanStep, StepState
from deployments.models.text import PlanText

__all__ = [
    "ConflictType",
    "DeploymentPlan",
    "Information",
    "LineType",
    "ModuleReferences",
    "OperationKind",
    "PlanDependent",
    "PlanFinding",
    "PlanLine",
    "PlanModule",
    "PlanOperation",
    "PlanPackage",
    "PlanPackagePart",
    "PlanRemoval",
    "PlanStatus",
    "PlanStep",
    "PlanText",
    "Remote",
    "Severity",
    "StepName",
    "StepState",
    "TargetState",
    "ValidationStatus",
]
