"""The log of a plan: lines in the order in which they came, those of the target each taken once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection

from deployments.models import DeploymentPlan, LineType


@dataclass(frozen=True, kw_only=True)
class Line:
    """`at` is now when it is left out; `remote_line` is the target's own number."""

    message: str
    type: LineType = LineType.INFO
    step: str = ""
    at: datetime | None = None
    remote_line: int | None = None


# The plan's row is locked by the first statement, so numbers are given in order and never twice.
WRITE = """
WITH given AS (
    SELECT * FROM unnest(%(plans)s::bigint[], %(types)s::text[], %(steps)s::text[], %(messages)s::text[],
        %(ats)s::timestamptz[], %(remote_lines)s::int[])
    WITH ORDINALITY AS v(plan_id, type, step, message, at, remote_line, item)
), locked AS (
    SELECT p.id, p.last_line FROM deployments_deploymentplan p
    WHERE p.id IN (SELECT plan_id FROM given) ORDER BY p.id FOR NO KEY UPDATE
), new AS (
    SELECT given.*, locked.last_line + row_number() OVER (PARTITION BY plan_id ORDER BY item) AS line
    FROM given JOIN locked ON locked.id = given.plan_id
    WHERE given.remote_line IS NULL OR NOT EXISTS (
        SELECT FROM deployments_planline l WHERE l.plan_id = given.plan_id AND l.remote_line = given.remote_line)
), written AS (
    INSERT INTO deployments_planline (plan_id, line, at, type, step, message, remote_line)
    SELECT plan_id, line, coalesce(at, clock_timestamp()), type, step, message, remote_line FROM new
)
UPDATE deployments_deploymentplan p SET last_line = counted.line
FROM (SELECT plan_id, max(line) AS line FROM new GROUP BY plan_id) AS counted WHERE p.id = counted.plan_id
"""


def write(plan: DeploymentPlan, *lines: Line) -> None:
    write_all([(plan.pk, line) for line in lines])


def write_all(lines: Sequence[tuple[int, Line]]) -> None:
    """Write lines of several plans, given with their ids, by one statement."""
    remote = [(plan_id, line.remote_line) for plan_id, line in lines if line.remote_line is not None]
    if len(set(remote)) < len(remote):
        lines = [*{(plan_id, line.remote_line or id(line)): (plan_id, line) for plan_id, line in lines}.values()]
    if not lines:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            WRITE,
            {
                "plans": [plan_id for plan_id, _ in lines],
                "types": [line.type.value for _, line in lines],
                "steps": [line.step for _, line in lines],
                "messages": [line.message[:10_000].replace("\x00", "") for _, line in lines],
                "ats": [line.at for _, line in lines],
                "remote_lines": [line.remote_line for _, line in lines],
            },
        )


PRUNE = """
DELETE FROM deployments_planline WHERE id IN (
    SELECT l.id FROM deployments_planline l JOIN deployments_deploymentplan p ON p.id = l.plan_id
    WHERE p.ended_at < clock_timestamp() - make_interval(days => %s) ORDER BY l.id LIMIT 10000)
"""


def prune() -> None:
    """Forget the logs of plans that ended `LEDGER_DAYS` ago; the plans and their steps stay."""
    with connection.cursor() as cursor:
        cursor.execute(PRUNE, [settings.LEDGER_DAYS])
