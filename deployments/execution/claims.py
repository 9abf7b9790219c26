"""Who carries out a plan now. A claim is a lease of the plan's row: renewed while its host lives, then anybody's.

A claim outlasts the leases of its host's contacts: when it is taken over, whatever the former host still says to an
environment is past its deadline there.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from deployments.models import DeploymentPlan, PlanStatus

MARGIN = 5.0  # seconds by which a claim outlasts a contact's lease
TAKEN_UP_AT_MOST = 3  # times that a plan is taken up although its former host died over it

# What there is to do: plans that run, plans to stop, and deployments at targets that nobody has seen the end of.
DUE = """
SELECT o.id FROM deployments_deploymentplan o JOIN environments_environment t ON t.id = o.target_id
WHERE (o.status IN ('running', 'aborting')
       OR o.status = 'aborted' AND o.remote = 'started'
          AND t.maintenance_window_id IS NULL AND t.registration = 'registered')
  AND (o.claimed_until IS NULL OR o.claimed_until < clock_timestamp())
ORDER BY o.id LIMIT %(limit)s
"""
CLAIM = f"""
UPDATE deployments_deploymentplan p
SET claimed_by = %(host)s, claimed_until = clock_timestamp() + make_interval(secs => %(lease)s), attempts = attempts + 1
FROM ({DUE} FOR NO KEY UPDATE OF o SKIP LOCKED) due
WHERE p.id = due.id RETURNING p.id
"""  # noqa: S608 - nothing but constants
RENEW = """
UPDATE deployments_deploymentplan SET claimed_until = clock_timestamp() + make_interval(secs => %s)
WHERE claimed_by = %s AND id = ANY(%s) RETURNING id, status
"""
RELEASE = """
UPDATE deployments_deploymentplan SET claimed_by = NULL, claimed_until = NULL, attempts = 0
WHERE id = %s AND claimed_by = %s
"""
HOSTS = """
SELECT count(DISTINCT claimed_by) FROM deployments_deploymentplan
WHERE claimed_until > clock_timestamp()
  AND (status IN ('running', 'aborting') OR status = 'aborted' AND remote = 'started')
"""


class LostClaim(Exception):
    """The plan is another host's, or over."""


@contextmanager
def held(plan_id: int, host: UUID) -> Iterator[DeploymentPlan]:
    """The plan, locked, in a transaction; LostClaim when it is not this host's."""
    with transaction.atomic():
        rows = DeploymentPlan.objects.select_for_update(no_key=True, of=("self",))
        plan = rows.filter(pk=plan_id, claimed_by=host).select_related("source", "target").first()
        if plan is None:
            raise LostClaim
        yield plan


def lease() -> float:
    """Seconds."""
    return float(settings.LEASE_SECONDS) + MARGIN


def take(host: UUID, *, limit: int) -> list[DeploymentPlan]:
    """Claim plans that have something to do, oldest first, each with its environments."""
    if limit <= 0:
        return []
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, {"host": host, "lease": lease(), "limit": limit})
        ids = [plan_id for (plan_id,) in cursor.fetchall()]
    return list(DeploymentPlan.objects.filter(pk__in=ids).select_related("source", "target").order_by("pk"))


def renew(host: UUID, plan_ids: Collection[int]) -> Mapping[int, str]:
    """Renew these claims; the plans that are still the host's, with the state that they are in by now."""
    with connection.cursor() as cursor:
        cursor.execute(RENEW, [lease(), host, list(plan_ids)])
        return dict(cursor.fetchall())


def is_due() -> bool:
    """Whether there is something to do that nobody does now."""
    with connection.cursor() as cursor:
        cursor.execute(DUE, {"limit": 1})
        return cursor.fetchone() is not None


def release(host: UUID, plan_id: int) -> None:
    """Leave the plan to whoever comes next."""
    with connection.cursor() as cursor:
        cursor.execute(RELEASE, [plan_id, host])


def count_hosts() -> int:
    """How many hosts have plans in hand, as far as is known."""
    with connection.cursor() as cursor:
        cursor.execute(HOSTS)
        return int(cursor.fetchone()[0])


def is_left() -> bool:
    """Whether a plan is in nobody's hands, perhaps because it has to wait a moment."""
    rows = DeploymentPlan.objects.filter(claimed_by=None, status__in=[PlanStatus.RUNNING, PlanStatus.ABORTING])
    return rows.exists()
