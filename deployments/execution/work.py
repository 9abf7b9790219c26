"""A plan in the hands of a worker, and how the stages of its work talk to the database."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from django.db import connection

from deployments.models import DeploymentPlan
from environments import gate
from environments.environment_api import DeploymentState, read
from environments.models import Purpose

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Work:
    """One claim: the plan as it was then, who holds it, and the session that opens contacts for it."""

    plan: DeploymentPlan
    host: UUID
    session: gate.Session

    @property
    def by(self) -> dict[str, str]:
        """Who started it, as environments are told."""
        return {"name": self.plan.started_by, "username": self.plan.started_by_username}

    @property
    def path(self) -> str:
        """Of the deployment at the target. It has the plan's key, so it is started once."""
        return f"/deployments/{self.plan.key}"

    def contact_source(self) -> AbstractAsyncContextManager[gate.Client]:
        assert self.plan.source_id is not None  # noqa: S101 - for the type checker
        return self.session.contact(self.plan.source_id, Purpose.DEPLOY, plan_number=self.plan.number)

    def contact_target(self, *, farewell: gate.Farewell | None = None) -> AbstractAsyncContextManager[gate.Client]:
        return self.session.contact(
            self.plan.target_id, Purpose.DEPLOY, plan_number=self.plan.number, farewell=farewell
        )

    async def ask(self, target: gate.Client, *, since: str, limit: int) -> DeploymentState:
        """How far the deployment at the target is, with so many lines of its log."""
        answer = await target.get(f"{self.path}?since={since}&limit={limit}")
        return read(answer, DeploymentState, step="GET deployment")


async def in_database(do: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Run a function that asks the database, while the contacts go on. A broken connection is not used again."""

    def ask() -> R:
        try:
            return do(*arguments, **keywords)
        except DatabaseError:
            connection.close_if_unusable_or_obsolete()
            raise

    return await sync_to_async(ask)()
