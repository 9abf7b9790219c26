"""The versions of an application, and removing one that nothing uses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import F
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from environments import version_removal
from environments.application_tasks import TaskRefused
from environments.models import Application, ApplicationTask, ApplicationVersion, Environment
from environments.operations import Operation
from environments.views.answers import leave
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest, client_address

NEWEST_FIRST = (F("created_at").desc(nulls_last=True), F("pk").desc())
SHOWN, MOST = 10, 500


@dataclass(frozen=True, kw_only=True)
class Row:
    """A version, and whether the person may remove it now."""

    version: ApplicationVersion
    may_remove: Decision
    is_going: bool


def context(request: AuthenticatedRequest, application: Application, *, are_all: bool = False) -> dict[str, Any]:
    """For `applications/_versions.html`: the newest versions; any number of them costs a constant number of queries."""
    most = MOST if are_all else SHOWN
    found = list(application.versions.select_related("created_in").order_by(*NEWEST_FIRST)[: most + 1])
    shown = _rows(request, application, found[:most])
    return {
        "application": application,
        "versions": shown,
        "are_all": are_all,
        "are_going": any(one.is_going for one in shown),
        "has_more_versions": len(found) > most,
    }


def _rows(request: AuthenticatedRequest, application: Application, shown: Sequence[ApplicationVersion]) -> list[Row]:
    removals = ApplicationTask.objects.removing([one.key for one in shown])
    going = {task.parameters["version_key"] for task in removals}
    places = version_removal.places_of(shown)
    decisions: dict[tuple[int, ...], Decision] = {}
    found = []
    for version in shown:
        where = tuple(one.pk for one in places[version.pk])
        if where not in decisions:
            decisions[where] = _may_remove(request, application, places[version.pk])
        found.append(Row(version=version, may_remove=decisions[where], is_going=str(version.key) in going))
    return found


def _may_remove(request: AuthenticatedRequest, application: Application, places: Sequence[Environment]) -> Decision:
    return policy.may_wherever_it_is(request.user, Operation.TAG_APPLICATIONS, application, places)


@require_safe
def versions(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The version history."""
    application = policy.get_application(request.user, key, Action.VIEW_APPLICATIONS)
    return render(request, "applications/versions.html", context(request, application, are_all=True))


@require_safe
def version_rows(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The part of the page, or with `all` of the history, that it asks for again and again."""
    application = policy.get_application(request.user, key, Action.VIEW_APPLICATIONS)
    return render(request, "applications/_versions.html", context(request, application, are_all="all" in request.GET))


@require_safe
def remove_version_dialog(request: AuthenticatedRequest, key: UUID, version_key: UUID) -> HttpResponse:
    version, places = _get(request, key, version_key)
    if not request.htmx:
        return redirect(version.application)
    return _dialog(request, version, places, problem=version_removal.problem(version, places))


@require_POST
def remove_version(request: AuthenticatedRequest, key: UUID, version_key: UUID) -> HttpResponse:
    version, places = _get(request, key, version_key)
    try:
        version_removal.request(version, by=request.user.actor(client_address(request)))
    except TaskRefused as refusal:
        return _dialog(request, version, places, problem=str(refusal), status=422)
    messages.success(request, f"Version {version.version} of {version.application} is being removed.")
    return leave(request, version.application.get_absolute_url())


def _get(request: AuthenticatedRequest, key: UUID, version_key: UUID) -> tuple[ApplicationVersion, list[Environment]]:
    """The version and the environments that would be asked, when the person may remove it from each of them."""
    application = policy.get_application(request.user, key, Action.VIEW_APPLICATIONS)
    version = application.versions.select_related("application").filter(key=version_key).first()
    if version is None:
        raise Http404(f"{application} has no such version.")
    places = version_removal.places(version)
    policy.require_wherever_it_is(request.user, Operation.TAG_APPLICATIONS, application, places)
    return version, places


def _dialog(
    request: AuthenticatedRequest,
    version: ApplicationVersion,
    places: Sequence[Environment],
    *,
    problem: str,
    status: int = 200,
) -> HttpResponse:
    about = {"application": version.application, "version": version, "places": places, "problem": problem}
    return render(request, "applications/_remove_version.html", about, status=status)
