"""One deployment: what the console may say about it, its state, and its log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints

from environments.platform import clock
from environments.platform.canonical import canonical
from environments.platform.packages import Package
from environments.platform.schemas import ByBody, Key, StepName, Strict

if TYPE_CHECKING:
    from environments.platform.environment import Environment

STEPS: tuple[str, ...] = get_args(StepName)
UNSTOPPABLE = ("updating", "synchronizing")
Information = Literal["deploy_prepared", "needs_configuration_or_confirmation", "business_process_impact"]
Acceptable = Literal["module_removal", "broken_reference", "process_impact"]
PUBLIC = (
    "id", "label", "status", "information", "reason", "step", "steps", "applications", "interventions", "is_applied",
    "started_at", "started_by", "ended_at", "prepared_until",
)  # fmt: skip


def counted(number: int, noun: str) -> str:
    """1 file, 2 files."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class ApplicationOrder(Strict):
    application_key: Key
    package: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    settings: dict[str, Any] = {}
    deployment_zone: Annotated[str, StringConstraints(max_length=100)] = ""


class NewDeploymentBody(Strict):
    id: Key
    label: Annotated[str, StringConstraints(max_length=200)] = ""
    by: ByBody
    two_stage: bool = False
    applications: Annotated[list[ApplicationOrder], Field(min_length=1, max_length=1000)]
    redeploy: Annotated[list[Key], Field(max_length=5000)] = []
    accept: list[Acceptable] = []


class ContinueBody(Strict):
    information: Information
    by: ByBody
    settings: dict[str, dict[str, Any]] = {}


class AbortBody(Strict):
    reason: Annotated[str, StringConstraints(max_length=500)]
    by: ByBody


class Deployment:
    """One that has not ended. `state` is what is stored: the public members, and what a restart must know."""

    def __init__(self, environment: Environment, state: dict[str, Any]) -> None:
        self.environment = environment
        self.state = state
        self.packages: dict[str, Package] = {}
        self.task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return str(self.state["id"])

    @property
    def can_abort(self) -> bool:
        return not (self.state["status"] == "running" and self.state["step"] in UNSTOPPABLE)

    def step(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(step for step in self.state["steps"] if step["name"] == name)
        return found

    def log(self, message: str, *, kind: str = "Info") -> None:
        step = self.step(self.state["step"])
        step["warnings"] += kind == "Warning"
        step["errors"] += kind == "Error"
        self.environment.store.write(
            "INSERT INTO deployment_line (environment, deployment, line, at, type, step, message)"
            " SELECT ?1, ?2, coalesce(max(line), 0) + 1, ?3, ?4, ?5, ?6 FROM deployment_line"
            " WHERE environment = ?1 AND deployment = ?2",
            self.environment.id,
            self.id,
            clock.text(self.environment.now()),
            kind,
            self.state["step"],
            message[:4000],
        )

    def save(self) -> None:
        self.environment.store.write(
            "UPDATE deployment SET state = ?, ended_at = ? WHERE environment = ? AND id = ?",
            canonical(self.state),
            self.environment.now() if self.state["ended_at"] else None,
            self.environment.id,
            self.id,
        )

    def count(self, name: str) -> int:
        return sum(step[name] for step in self.state["steps"])
