"""Whether an environment may be asked something now, for pages that show what it said last."""

from environments.models import Environment
from environments.operations import explain
from lifetime.policy import Decision


def may_ask(environment: Environment, doing: str) -> Decision:
    """Not in maintenance mode; `doing` begins the sentence that says so."""
    window = environment.maintenance_window
    reason = explain(environment.name, window, doing) if window else ""
    return Decision(not reason, reason, is_temporary=bool(reason))
