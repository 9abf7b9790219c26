"""Maintenance mode: the switch, and how it stands. Expected end, waiting and the preview are the console's own."""

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, NotRequired
from uuid import UUID

from django.http import HttpResponse
from ninja import Router
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from environments import maintenance, quiet, situation
from environments.models import Environment, MaintenanceWindow
from lifetime.api import places, waiting
from lifetime.api.answers import answer, errors, written
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.policy import Action

router = Router()


class Wanted(Body):
    """The first two members are LifeTime's; the rest may be left out."""

    is_maintenance_mode_enabled: StrictBool
    reason: str = ""
    expected_end: datetime | None = Field(None, description="When it is expected to end; without a zone, in UTC.")
    wait: StrictBool = Field(False, description="Answer when the environment is quiet, or after a while all the same.")
    preview: StrictBool = Field(False, description="Change nothing: tell what enabling would abort.")


class Blocker(TypedDict):
    """A contact that is still open; maintenance mode is not in force before it has ended."""

    Purpose: str
    Step: str
    Worker: str
    AgeInSeconds: float
    LeaseLeftInSeconds: float
    Rung: str


class Certificate(TypedDict):
    """What the ledger of contacts proves. `ContactsInsideTheQuiet` is 0, or the console has a defect."""

    QuietAt: str | None
    SecondsToQuiet: float | None
    ContactsCutShort: int
    ContactsLost: int
    ContactsOpen: int
    ContactsInsideTheQuiet: int
    IsQuiet: bool


class Aborted(TypedDict):
    """What enabling aborted, or would abort."""

    Plans: int
    Synchronizations: int
    Tasks: NotRequired[int]
    Contacts: int


class MaintenanceMode(TypedDict):
    """How maintenance mode of an environment stands: now, and the last time when it is off."""

    EnvironmentKey: str
    EnvironmentName: str
    IsMaintenanceModeEnabled: bool
    Phase: str
    EnabledBy: str
    Reason: str
    EnabledAt: str | None
    ExpectedEnd: str | None
    IsOverdue: bool
    DisabledBy: str
    DisableReason: str
    DisabledAt: str | None
    RecoveredAt: str | None
    Aborted: Aborted | None
    Blockers: list[Blocker]
    Certificate: Certificate | None
    Preview: Aborted | None


@router.get("/environments/{key:environment}/maintenancemode", response={200: MaintenanceMode, **errors(403, 404)})
def get_maintenance_mode(request: ApiRequest, environment: UUID) -> HttpResponse:
    """Who enabled it, why, since when, until when; what it waits for; what the ledger proves."""
    return answer(_standing(places.environment(request, environment)))


@router.put("/environments/{key:environment}/maintenancemode", response={200: MaintenanceMode, **errors(400, 403, 404)})
def set_maintenance_mode(request: ApiRequest, environment: UUID, body: Wanted) -> HttpResponse:
    """Enable or disable maintenance mode. Said again by the same account for the same reason, it is answered alike."""
    found = places.environment(request, environment, Action.TOGGLE_MAINTENANCE)
    if body.preview:
        return answer({**_standing(found), "Preview": _preview(found)})
    waits = body.wait and body.is_maintenance_mode_enabled
    with waiting.place() if waits else nullcontext():
        if not _is_repeated(request, found, body):
            _set(request, found, body)
        if waits:
            waiting.until(lambda: True if _is_quiet(found) else None)
    return answer(_standing(places.environment(request, environment)))


def _set(request: ApiRequest, environment: Environment, body: Wanted) -> None:
    try:
        _toggle(request, environment, body)
    except maintenance.MaintenanceRefused:
        environment.refresh_from_db(fields=["maintenance_window"])
        if not _is_repeated(request, environment, body):  # said twice at once, it is the same
            raise


def _toggle(request: ApiRequest, environment: Environment, body: Wanted) -> None:
    if body.is_maintenance_mode_enabled:
        maintenance.enable(environment, by=actor(request), reason=body.reason, expected_end=_aware(body.expected_end))
    else:
        maintenance.disable(environment, by=actor(request), reason=body.reason)


def _is_repeated(request: ApiRequest, environment: Environment, body: Wanted) -> bool:
    """Whether the account asks for what it has just done: its first answer may have been lost."""
    window = _window(environment)
    if window is None or window.is_open != body.is_maintenance_mode_enabled:
        return False
    said = (window.enabled_by, window.reason) if window.is_open else (window.disabled_by, window.disable_reason)
    return said == (request.account.name, body.reason.strip())


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _is_quiet(environment: Environment) -> bool:
    maintenance.settle([environment.pk])
    return not MaintenanceWindow.objects.draining().filter(environment=environment).exists()


def _window(environment: Environment) -> MaintenanceWindow | None:
    former = environment.windows.newest_first().filter(status__in=situation.FORMER)
    return environment.maintenance_window or former.first()


def _preview(environment: Environment) -> Aborted:
    found = maintenance.preview([environment])
    return {
        "Plans": len(found.plans),
        "Synchronizations": len(found.syncs),
        "Tasks": len(found.tasks),
        "Contacts": len(found.contacts),
    }


def _standing(environment: Environment) -> MaintenanceMode:
    window = _window(environment)
    story = situation.story(window) if window else None
    told: MaintenanceMode = {
        "EnvironmentKey": str(environment.key),
        "EnvironmentName": environment.name,
        "IsMaintenanceModeEnabled": environment.is_in_maintenance,
        "Phase": window.status if window else "",
        "EnabledBy": window.enabled_by if window else "",
        "Reason": window.reason if window else "",
        "EnabledAt": written(window.enabled_at) if window else None,
        "ExpectedEnd": _written(window.expected_end if window else None),
        "IsOverdue": bool(story and story.is_overdue),
        "DisabledBy": window.disabled_by if window else "",
        "DisableReason": window.disable_reason if window else "",
        "DisabledAt": _written(window.disabled_at if window else None),
        "RecoveredAt": _written(window.recovered_at if window else None),
        "Aborted": _aborted(window) if window else None,
        "Blockers": [_blocker(one) for one in story.blockers] if story else [],
        "Certificate": _certificate(story.certificate) if story else None,
        "Preview": None,
    }
    return told


def _written(moment: datetime | None) -> str | None:
    return written(moment) if moment else None


def _aborted(window: MaintenanceWindow) -> Aborted:
    return {
        "Plans": window.plans_aborted,
        "Synchronizations": window.syncs_aborted,
        "Contacts": window.contacts_cut,
    }


def _blocker(one: situation.Blocker) -> Blocker:
    return {
        "Purpose": str(one.contact.purpose),
        "Step": one.contact.step,
        "Worker": one.contact.worker,
        "AgeInSeconds": one.age.total_seconds(),
        "LeaseLeftInSeconds": one.lease_left.total_seconds(),
        "Rung": one.rung.value,
    }


def _certificate(found: quiet.Certificate) -> Certificate:
    told: dict[str, Any] = found.as_json()
    return {
        "QuietAt": _written(found.quiet_at),
        "SecondsToQuiet": told["seconds_to_quiet"],
        "ContactsCutShort": found.cut_short,
        "ContactsLost": found.lost,
        "ContactsOpen": found.open,
        "ContactsInsideTheQuiet": found.breaches,
        "IsQuiet": found.is_quiet,
    }
