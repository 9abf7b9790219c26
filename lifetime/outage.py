"""Trouble that is no mistake of the console: its database is away, full, or has not the tables of this version yet."""

from functools import cache

from django.db import Error, InterfaceError, OperationalError, ProgrammingError, connection
from django.db.migrations.executor import MigrationExecutor

RETRY_SECONDS = 10
AWAY_IN_PUBLIC = "The database does not answer; the log says why."
# SQLSTATE: connections that fail, no room (on the disk, in memory, for one more connection), a server that stops.
AWAY = ("08", "53", "57P")
NO_SUCH_TABLE = ("42P01", "42703")  # or column


class NotMigrated(Exception):
    """The database lacks migrations of this version; the message says what to do."""


@cache  # that it is current; that it is not is asked again each time
def require_current_schema() -> None:
    """Raise NotMigrated unless the database has every migration that this version of the console brings."""
    executor = MigrationExecutor(connection)
    if missing := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise NotMigrated(
            f"The database lacks migrations of this version of the console ({len(missing)}). Run: manage.py migrate"
        )


def explain(trouble: BaseException | None) -> str:
    """What is wrong with the database, in one line; empty for what is no outage, such as a deadlock or a mistake."""
    if isinstance(trouble, NotMigrated):
        return str(trouble)
    if not isinstance(trouble, Error):
        return ""
    state = getattr(trouble.__cause__, "sqlstate", None) or ""
    said = " ".join(str(trouble).split())
    if state.startswith(AWAY) or (not state and isinstance(trouble, (OperationalError, InterfaceError))):
        return f"The database does not answer: {said}"
    if isinstance(trouble, ProgrammingError) and state in NO_SUCH_TABLE:
        try:
            require_current_schema()
        except (NotMigrated, Error) as cause:
            return explain(cause)
    return ""
