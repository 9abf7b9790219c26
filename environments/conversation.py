"""What a synchronization says to an environment and does with the answers, part by part.

An idle environment costs one conditional request. A part that changed is pulled or delivered alone. Each part is stored
in a transaction of its own, after a look whether the run has been aborted meanwhile.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import transaction

from environments import applications, environment_api
from environments.deliveries import Delivery
from environments.environment_api import ApplicationsPage, Digests, Facts, Stored, TechnicalPreviews
from environments.gate import Client, Rejected, Unreachable
from environments.models import Environment, SyncRun, SyncStatus, TechnicalPreview
from environments.operations import Activity

PAGE = 500  # applications asked for at once
PROGRESS_SECONDS = 0.3
# Refusals of whatever is asked, not of one part.
ENDS_ALL = ("unauthorized", "contact-ended", "epoch-passed", "deadline-passed")
PULLED = ("facts", "applications", "technical_previews_available")
FACTS = (
    "version",
    "application_server",
    "application_server_type",
    "database_provider",
    "number_of_front_ends",
    "deployment_zones",
)
LABELS = {
    "facts": "Environment facts",
    "applications": Activity.APPLICATIONS.label,
    "technical_previews_available": "Available Technical Preview features",
    "permissions": Activity.PERMISSIONS.label,
    "settings": Activity.SETTINGS.label,
    "security": "Synchronizing security settings",
    "technical_previews": Activity.TECHNICAL_PREVIEWS.label,
    "authentication": Activity.AUTHENTICATION.label,
}


class Superseded(Exception):
    """The run was aborted, or given up, while it was being carried out: nothing more of it is stored."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What a run sets out with: what is known of the environment, and what it shall have."""

    run_id: int
    environment_id: int
    is_full: bool
    etag: str
    digests: Mapping[str, str]
    applied: Mapping[str, str]
    cursor: str
    deliveries: list[Delivery]


@dataclass
class Report:
    """What came of it. `etag` is empty when something was delivered: the environment has changed by it."""

    etag: str
    digests: dict[str, str]
    applied: dict[str, str]
    cursor: str
    changes: dict[str, Any] = field(default_factory=dict)
    is_idle: bool = False
    is_unreachable: bool = False

    @property
    def trouble(self) -> str:
        """What went wrong with single parts, for people; "" when nothing did."""
        failed = self.changes.get("failed", [])
        if len(failed) < 2:
            return failed[0]["message"] if failed else ""
        return f"{len(failed)} parts failed. " + " ".join(f"{LABELS[one['part']]}: {one['message']}" for one in failed)


class Progress:
    """Says on the run's row what is being done; not more often than a person could read."""

    def __init__(self, run_id: int) -> None:
        self._run_id = run_id
        self._said_at = time.monotonic()

    async def say(self, part: str, *, detail: str = "", **count: int) -> None:
        """`count` is done and total, in parts; without it they stay as they are."""
        if time.monotonic() - self._said_at > PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            running = SyncRun.objects.filter(pk=self._run_id, status=SyncStatus.RUNNING)
            await sync_to_async(running.update)(part=LABELS[part] + detail, **count)


async def converse(client: Client, errand: Errand) -> Report:
    """Bring console and environment in line; raises what the client raises, and Superseded."""
    progress = Progress(errand.run_id)
    answer = await client.get("/digests", etag="" if errand.is_full else errand.etag)
    if answer.is_unchanged:
        digests = dict(errand.digests)
    else:
        digests = environment_api.read(answer, Digests, step="GET /digests").model_dump()
    report = Report(etag=answer.etag, digests=digests, applied=dict(errand.applied), cursor=errand.cursor)
    pulls = [part for part in PULLED if errand.is_full or digests[part] != errand.applied.get(part)]
    deliveries = [delivery for delivery in errand.deliveries if digests[delivery.part] != delivery.digest]
    report.is_idle = not pulls and not deliveries
    work: list[str | Delivery] = [*pulls, *deliveries]
    for done, part in enumerate(work):
        name = part.part if isinstance(part, Delivery) else part
        await progress.say(name, done=done, total=len(work))
        try:
            if isinstance(part, Delivery):
                await _deliver(client, part, report)
            else:
                await _PULLS[part](client, errand, report, progress)
                report.applied[part] = digests[part]
        except Rejected as rejection:
            if rejection.code in ENDS_ALL:
                raise
            _note_failure(report, name, rejection)
        except Unreachable as trouble:
            if not report.changes:
                raise
            # What was delivered is told; whether this part arrived is asked anew.
            _note_failure(report, name, trouble)
            report.etag, report.is_unreachable = "", True
            break
    return report


def _note_failure(report: Report, part: str, trouble: Exception) -> None:
    """One part's trouble does not keep the others from being pulled and delivered; the run has failed all the same."""
    report.changes.setdefault("failed", []).append({"part": part, "message": str(trouble)})


async def _deliver(client: Client, delivery: Delivery, report: Report) -> None:
    before = report.digests[delivery.part]
    answer = await client.put(delivery.path, delivery.body)
    stored = environment_api.read(answer, Stored, step=f"PUT {delivery.path}")
    after = stored.digest
    if after != delivery.digest:
        raise Rejected(
            f"The environment did not keep what was delivered to {delivery.path}: its digest is another one."
        )
    report.etag = ""
    report.digests[delivery.part] = after
    told = stored.model_dump(include={"republish", "apply_settings"}, exclude_defaults=True)
    delivered = {"part": delivery.part, "before": before, "after": after, **told}
    report.changes.setdefault("delivered", []).append(delivered)


async def _pull_facts(client: Client, errand: Errand, report: Report, progress: Progress) -> None:
    facts = environment_api.read(await client.get("/facts"), Facts, step="GET /facts")
    changed = await _store(errand, lambda: _store_facts(errand.environment_id, facts))
    if changed:
        report.changes["facts"] = changed


def _store_facts(environment_id: int, facts: Facts) -> list[dict[str, Any]]:
    known = Environment.objects.filter(pk=environment_id).values(*FACTS).get()
    told = facts.model_dump(include=set(FACTS))
    changed = {name: told[name] for name in FACTS if told[name] != known[name]}
    if changed:
        Environment.objects.filter(pk=environment_id).update(**changed)
    return [{"name": name, "before": _said(known[name]), "after": _said(changed[name])} for name in changed]


def _said(fact: Any) -> Any:
    """Zones by their names, everything else as it is."""
    return ", ".join(zone["name"] for zone in fact) if isinstance(fact, list) else fact


async def _pull_applications(client: Client, errand: Errand, report: Report, progress: Progress) -> None:
    since = "" if errand.is_full else errand.cursor
    try:
        await _pull_pages(client, errand, report, progress, since=since)
    except Rejected as rejection:
        if not since or rejection.status != 410:
            raise
        await _pull_pages(client, errand, report, progress, since="")  # the feed does not reach back that far


async def _pull_pages(client: Client, errand: Errand, report: Report, progress: Progress, *, since: str) -> None:
    changes = applications.Changes()
    seen: set[UUID] = set()
    cursor, more = since, True
    cursors = {since}
    while more:
        query = f"?since={quote(cursor or '0', safe='')}&limit={PAGE}"
        answer = await client.get(f"/applications{query}")
        page = environment_api.read(answer, ApplicationsPage, step="GET /applications")
        environment_api.refuse_duplicates(page)
        if page.more and page.cursor in cursors:
            raise Rejected("The feed of applications does not advance: GET /applications answers a cursor again.")
        cursors.add(page.cursor)
        seen.update(item.key for item in page.applications)
        await _store(errand, lambda page=page: applications.take_over(errand.environment_id, page, changes))  # type: ignore[misc]
        cursor, more = page.cursor, page.more
        if more:
            await progress.say("applications", detail=f" ({len(seen):,} so far)")
    if not since:
        await _store(errand, lambda: applications.keep_only(errand.environment_id, seen, changes))
    report.cursor = cursor
    if changes:
        report.changes["applications"] = vars(changes)


async def _pull_previews(client: Client, errand: Errand, report: Report, progress: Progress) -> None:
    previews = environment_api.read(
        await client.get("/technical-previews"), TechnicalPreviews, step="GET /technical-previews"
    )
    added = await _store(errand, lambda: _store_previews(errand.environment_id, previews))
    if added:
        report.changes["technical_previews"] = added


def _store_previews(environment_id: int, previews: TechnicalPreviews) -> list[str]:
    """Keep which are available; whether one is enabled is the console's."""
    known = set(TechnicalPreview.objects.filter(environment=environment_id).values_list("key", flat=True))
    TechnicalPreview.objects.bulk_create(
        (
            TechnicalPreview(environment_id=environment_id, key=one.key, name=one.name, description=one.description)
            for one in previews.available
        ),
        update_conflicts=True,
        unique_fields=["environment", "key"],
        update_fields=["name", "description", "is_available"],
    )
    offered = [one.key for one in previews.available]
    TechnicalPreview.objects.filter(environment=environment_id).exclude(key__in=offered).update(is_available=False)
    return sorted(set(offered) - known)


_PULLS = {
    "facts": _pull_facts,
    "applications": _pull_applications,
    "technical_previews_available": _pull_previews,
}


async def _store(errand: Errand, write: Callable[[], Any]) -> Any:
    def guarded() -> Any:
        with transaction.atomic():
            # Looked at, not locked: enabling maintenance mode must never wait for a page to be stored.
            if not SyncRun.objects.filter(pk=errand.run_id, status=SyncStatus.RUNNING).exists():
                raise Superseded(f"Synchronization {errand.run_id} was ended by others.")
            return write()

    return await sync_to_async(guarded)()
