"""What the workers do for plans. Each task may be delivered twice."""

from deployments import endings, execution, journal, packages, plans, references, validation
from deployments.execution import claims
from lifetime.queue import enqueue


def advance() -> None:
    """Carry out what there is to do with plans."""
    execution.advance()


def validate(plan_id: int, asked_by: str = "") -> None:
    """Find out what a plan would do to its target. Delivered twice, the second finds nothing to claim."""
    validation.run(plan_id, asked_by=asked_by)


def tick() -> None:
    """Every minute: take up what a dead worker left behind, and what had to wait until a target is out of maintenance
    mode."""
    if claims.is_due():
        enqueue(plans.ADVANCE)
    endings.expire_prepared()
    validation.recover()
    packages.tidy()
    references.prune()
    journal.prune()
    plans.prune()
