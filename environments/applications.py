"""Taking over the applications that an environment says it has.

A page comes in by COPY into temporary tables and goes on by upserts that write only what differs, so the work grows
with what changed, not with what exists.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from audit import log
from environments.environment_api import ApplicationItem, ApplicationsPage, ModuleItem
from environments.models import Application, Environment

STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS pulled_application (
    key uuid, name text, kind text, description text, url_path text, is_system boolean, colour text, version text,
    version_key uuid, is_modified boolean, consistency text, consistency_message text,
    changed_at timestamptz, changed_by text) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS pulled_module (
    application_key uuid, key uuid, name text, kind text, description text, hash text,
    version_key uuid, is_modified boolean, consistency text, consistency_message text,
    changed_at timestamptz, changed_by text) ON COMMIT DELETE ROWS;
"""

# What an application looks like is what the environment chosen for it says, else the one where it changed last.
# Rows are taken in the order of their keys: two pulls at once wait for each other, and never in a ring.
LOOKS = [
    """
INSERT INTO environments_application AS a (key, name, kind, description, url_path, is_system, colour, changed_at)
SELECT p.key, p.name, p.kind, p.description, p.url_path, p.is_system, p.colour, p.changed_at
FROM pulled_application p LEFT JOIN environments_application known ON known.key = p.key
WHERE known.id IS NULL OR known.definition_environment_id = %(environment)s
   OR known.definition_environment_id IS NULL AND p.changed_at > known.changed_at
ORDER BY p.key
ON CONFLICT (key) DO UPDATE
SET (name, kind, description, url_path, is_system, colour, changed_at) = (excluded.name, excluded.kind,
     excluded.description, excluded.url_path, excluded.is_system, excluded.colour, excluded.changed_at)
WHERE (a.definition_environment_id = %(environment)s
       OR a.definition_environment_id IS NULL AND excluded.changed_at > a.changed_at)
  AND (a.name, a.kind, a.description, a.url_path, a.is_system, a.colour, a.changed_at) IS DISTINCT FROM (excluded.name,
     excluded.kind, excluded.description, excluded.url_path, excluded.is_system, excluded.colour, excluded.changed_at)
""",
    """
INSERT INTO environments_module AS m (key, application_id, name, kind, description, changed_at)
SELECT p.key, a.id, p.name, p.kind, p.description, p.changed_at
FROM pulled_module p JOIN environments_application a ON a.key = p.application_key
LEFT JOIN environments_module known ON known.key = p.key
WHERE known.id IS NULL OR p.changed_at > known.changed_at
ORDER BY p.key
ON CONFLICT (key) DO UPDATE
SET (application_id, name, kind, description, changed_at) = (excluded.application_id, excluded.name, excluded.kind,
     excluded.description, excluded.changed_at)
WHERE excluded.changed_at > m.changed_at
""",
]
# A version that was tagged elsewhere: what is in it is read when somebody asks for it.
VERSIONS = """
INSERT INTO environments_applicationversion (key, application_id, version, change_log, created_by, package_digest,
    mobile_versions)
SELECT DISTINCT ON (p.version_key) p.version_key, a.id, p.version, '', '', '', '[]'::jsonb
FROM pulled_application p JOIN environments_application a ON a.key = p.key
LEFT JOIN environments_applicationversion known ON known.key = p.version_key
WHERE p.version_key IS NOT NULL AND p.version <> '' AND known.id IS NULL
ORDER BY p.version_key
ON CONFLICT (key) DO NOTHING
"""
APPLICATION_STATUS = """
INSERT INTO environments_applicationstatus AS s (environment_id, application_id, version, version_key, is_modified,
    consistency, consistency_message, changed_at, changed_by)
SELECT %(environment)s, a.id, p.version, p.version_key, p.is_modified, p.consistency, p.consistency_message,
    p.changed_at, p.changed_by
FROM pulled_application p JOIN environments_application a ON a.key = p.key
ON CONFLICT (environment_id, application_id) DO UPDATE
SET (version, version_key, is_modified, consistency, consistency_message, changed_at, changed_by) = (excluded.version,
     excluded.version_key, excluded.is_modified, excluded.consistency, excluded.consistency_message,
     excluded.changed_at, excluded.changed_by)
WHERE (s.version, s.version_key, s.is_modified, s.consistency, s.consistency_message, s.changed_at, s.changed_by)
    IS DISTINCT FROM (excluded.version, excluded.version_key, excluded.is_modified, excluded.consistency,
     excluded.consistency_message, excluded.changed_at, excluded.changed_by)
RETURNING xmax = 0
"""
MODULE_STATUS = """
INSERT INTO environments_modulestatus AS s (environment_id, module_id, hash, version_key, is_modified,
    consistency, consistency_message, changed_at, changed_by)
SELECT %(environment)s, m.id, p.hash, p.version_key, p.is_modified, p.consistency, p.consistency_message,
    p.changed_at, p.changed_by
FROM pulled_module p JOIN environments_module m ON m.key = p.key
ON CONFLICT (environment_id, module_id) DO UPDATE
SET (hash, version_key, is_modified, consistency, consistency_message, changed_at, changed_by) = (excluded.hash,
     excluded.version_key, excluded.is_modified, excluded.consistency, excluded.consistency_message,
     excluded.changed_at, excluded.changed_by)
WHERE (s.hash, s.version_key, s.is_modified, s.consistency, s.consistency_message, s.changed_at, s.changed_by)
    IS DISTINCT FROM (excluded.hash, excluded.version_key, excluded.is_modified, excluded.consistency,
     excluded.consistency_message, excluded.changed_at, excluded.changed_by)
"""
# In steps, so that the planner begins with the few that were pulled, not with the many that are there.
MODULES_GONE = """
WITH known AS MATERIALIZED (
    SELECT m.id, m.key FROM pulled_application p JOIN environments_application a ON a.key = p.key
    JOIN environments_module m ON m.application_id = a.id
), gone AS MATERIALIZED (
    SELECT known.id FROM known LEFT JOIN pulled_module p ON p.key = known.key WHERE p.key IS NULL
)
DELETE FROM environments_modulestatus s
WHERE s.environment_id = %(environment)s AND s.module_id = ANY(SELECT id FROM gone)
"""
GONE = """
WITH gone AS (
    SELECT s.id, s.application_id FROM environments_applicationstatus s
    JOIN environments_application a ON a.id = s.application_id
    WHERE s.environment_id = %(environment)s AND (a.key = ANY(%(keys)s)) = %(named)s
), modules AS (
    DELETE FROM environments_modulestatus s USING environments_module m, gone
    WHERE s.environment_id = %(environment)s AND m.id = s.module_id AND m.application_id = gone.application_id
)
DELETE FROM environments_applicationstatus s USING gone WHERE s.id = gone.id
"""


# Who publishes there directly has gone around the block: it is over.
UNBLOCK = """
UPDATE environments_applicationblock b
SET unblocked_at = clock_timestamp(), unblocked_by = 'System', unblock_reason = 'Published there directly.'
FROM environments_application a, pulled_application p
WHERE b.environment_id = %(environment)s AND b.unblocked_at IS NULL AND a.id = b.application_id AND p.key = a.key
RETURNING a.key, a.name
"""


@dataclass
class Changes:
    """How many applications of one environment a pull added, changed and removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def take_over(environment_id: int, page: ApplicationsPage, changes: Changes) -> None:
    """Store one page of the change feed and count what it changed; inside a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(STAGE)
        _copy(cursor, page)
        parameters = {"environment": environment_id}
        for statement in (*LOOKS, VERSIONS):
            cursor.execute(statement, parameters)
        cursor.execute(APPLICATION_STATUS, parameters)
        inserted = [is_new for (is_new,) in cursor.fetchall()]
        cursor.execute(MODULES_GONE, parameters)
        cursor.execute(MODULE_STATUS, parameters)
        cursor.execute(UNBLOCK, parameters)
        unblocked = cursor.fetchall()
    changes.added += sum(inserted)
    changes.changed += len(inserted) - sum(inserted)
    if page.removed:
        changes.removed += _remove(environment_id, page.removed, named=True)
    if unblocked:
        _record_unblocked(environment_id, unblocked)


def _record_unblocked(environment_id: int, unblocked: Iterable[tuple[UUID, str]]) -> None:
    environment = Environment.objects.get(pk=environment_id)
    log.record_all(
        [
            log.Entry(
                message=f"Application '{name}' was published in environment '{environment}' directly, "
                "though it was blocked from deployment there: the block is over",
                on=log.AuditObject(type="application", key=str(key), name=name),
                by=log.SYSTEM,
                details={"environment": environment.name},
            )
            for key, name in unblocked
        ]
    )


def keep_only(environment_id: int, keys: Collection[UUID], changes: Changes) -> None:
    """Remove every application of the environment that a full pull did not name; inside a transaction."""
    changes.removed += _remove(environment_id, keys, named=False)


def define_by(environment: Environment, application: Application, *, by: log.Actor) -> None:
    """Have the application look as it does in this environment; its next full synchronization brings that."""
    with transaction.atomic():
        Application.objects.filter(pk=application.pk).update(definition_environment=environment)
        log.record(
            f"Chose environment '{environment}' as the source of the definition of application '{application}'",
            application.audit_object,
            by=by,
            details={"environment": environment.name},
        )


def _remove(environment_id: int, keys: Collection[UUID], *, named: bool) -> int:
    with connection.cursor() as cursor:
        cursor.execute(GONE, {"environment": environment_id, "keys": list(keys), "named": named})
        return int(cursor.rowcount)


def _copy(cursor: Any, page: ApplicationsPage) -> None:
    with cursor.copy("COPY pulled_application FROM STDIN") as copy:
        for one in page.applications:
            look = (one.key, one.name, one.kind, one.description, one.url_path, one.is_system, one.colour)
            copy.write_row((*look, one.version, *_published(one)))
    with cursor.copy("COPY pulled_module FROM STDIN") as copy:
        for application in page.applications:
            for module in application.modules:
                part = (application.key, module.key, module.name, module.kind, module.description, module.hash)
                copy.write_row((*part, *_published(module)))


def _published(one: ApplicationItem | ModuleItem) -> tuple[Any, ...]:
    return (
        one.version_key,
        one.is_modified,
        one.consistency,
        one.consistency_message,
        one.changed_at,
        one.changed_by,
    )
