"""Carrying out plans. `host.advance` is the task; the other modules are stages, or what stages share."""

from deployments.execution.host import advance

__all__ = ["advance"]
