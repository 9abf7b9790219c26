"""Does a server keep the Environment API v1? For implementers of one; `manage.py check_environment` is its command.

It speaks to the server itself, over plain http.client connections, and must not use the console's client: what it does
is no contact of the console, and half of what it sends is wrong on purpose.
"""

from environments.conformance import capabilities as _registered  # noqa: F401 - its rules come after the others
from environments.conformance.rules import Result, run
from environments.conformance.subject import Subject

__all__ = ["Result", "Subject", "run"]
