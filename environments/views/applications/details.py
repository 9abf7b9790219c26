"""Application details: what each environment has of it, and what may be done there."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from audit import log
from audit import paging as audit_paging
from environments import application_tasks, applications, icons, links, matrix, sync, tagging
from environments.matrix import Cell, Column, Sight
from environments.models import (
    Application,
    ApplicationBlock,
    ApplicationTask,
    Environment,
    Module,
    ModuleStatus,
    TaskKind,
)
from environments.operations import Operation
from environments.views.answers import CHANGED
from environments.views.applications import objects, versions
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest, client_address

TASKS_SHOWN = (
    *(TaskKind.TAG, TaskKind.REMOVE_VERSION, TaskKind.READ_VERSIONS),
    *(TaskKind.CHANGE_SETTINGS, TaskKind.CHANGE_SECURITY),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One environment as the column of an application."""

    column: Column
    cell: Cell | None
    is_hotfix: bool
    block: ApplicationBlock | None
    tasks: list[ApplicationTask]
    decisions: dict[str, Decision]

    @property
    def environment(self) -> Environment:
        return self.column.environment


@dataclass(frozen=True, kw_only=True)
class ModuleRow:
    """A module with what each environment has of it."""

    module: Module
    statuses: list[ModuleStatus | None]


@require_safe
def details(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    application = policy.get_application(request.user, key, Action.VIEW_APPLICATIONS)
    _audit_view(application, request)
    may_read_log = policy.may(request.user, Action.VIEW_AUDIT_LOG)
    context = {
        **_places(request, application),
        **versions.context(request, application),
        "icon": icons.digest_of(application),
        "may_manage_roles": policy.may(request.user, Action.MANAGE_APPLICATION_ROLES, application=application),
        "may_read_log": may_read_log,
        "history": audit_paging.history(application.audit_object) if may_read_log else None,
    }
    return render(request, "applications/details.html", context)


@require_safe
def places(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The part of the page that it asks for again and again."""
    application = policy.get_application(request.user, key, Action.VIEW_APPLICATIONS)
    return render(request, "applications/_places.html", _places(request, application))


def _audit_view(application: Application, request: AuthenticatedRequest) -> None:
    with transaction.atomic():
        log.record(
            f"Accessed application '{application}' details",
            application.audit_object,
            by=request.user.actor(client_address(request)),
            kind=log.Kind.VIEW,
        )


def _places(request: AuthenticatedRequest, application: Application) -> dict[str, Any]:
    sight = Sight.of(request.user)
    seen = [one for one in sight.environments if sight.sees(application.pk, one)]
    cells = matrix.cells(application, sight)
    hidden = 0
    if len(seen) > matrix.COLUMNS_AT_MOST:
        published = [one for one in seen if one.pk in cells]
        hidden = len(seen) - len(published[: matrix.COLUMNS_AT_MOST])
        seen = published[: matrix.COLUMNS_AT_MOST]
    blocks = {one.environment_id: one for one in ApplicationBlock.objects.in_force().filter(application=application)}
    tasks = application_tasks.latest(application, TASKS_SHOWN)
    found = [
        _place(request, application, sight, column, cells.get(column.environment.pk), blocks, tasks)
        for column in matrix.columns(seen)
    ]
    return {
        "application": application,
        "team": _team(application),
        "places": found,
        "hidden": hidden,
        "modules": _modules(application, [place.environment.pk for place in found]),
        "has_pages": links.has_pages(application),
        "is_moving": any(place.column.run or any(task.is_active for task in place.tasks) for place in found),
        "may_view_infrastructure": policy.may(request.user, Action.VIEW_INFRASTRUCTURE),
        "may_view_audit_log": policy.may(request.user, Action.VIEW_AUDIT_LOG),
        "changed": CHANGED,
    }


def _place(
    request: AuthenticatedRequest,
    application: Application,
    sight: Sight,
    column: Column,
    cell: tuple[Cell, bool] | None,
    blocks: dict[int, ApplicationBlock],
    tasks: dict[tuple[int, str], ApplicationTask],
) -> Place:
    environment = column.environment
    actions: list[Action | Operation] = [
        Operation.TAG_APPLICATIONS,
        Operation.TEST_APPLICATIONS,
        Operation.OPEN_SERVICE_CENTER,
        Operation.OPEN_SERVICE_STUDIO,
        Operation.CHANGE_APPLICATION_SETTINGS,
        Operation.SYNCHRONIZE,
        Action.BLOCK_APPLICATIONS,
    ]
    return Place(
        column=column,
        cell=cell[0] if cell else None,
        is_hotfix=bool(cell and cell[1]),
        block=blocks.get(environment.pk),
        tasks=[tasks[one] for one in ((environment.pk, kind.value) for kind in TASKS_SHOWN) if one in tasks],
        decisions={
            one.value: policy.may(
                request.user, one, environment, application=application, permissions=sight.permissions
            )
            for one in actions
        },
    )


def _team(application: Application) -> str:
    found = Application.objects.filter(pk=application.pk).values_list("in_team__team__name", flat=True).first()
    return found or ""


def _modules(application: Application, environments: list[int]) -> list[ModuleRow]:
    """The application's modules by name, with what each of these environments has of them."""
    statuses = ModuleStatus.objects.filter(module__application=application, environment__in=environments)
    by_place = {(one.module_id, one.environment_id): one for one in statuses}
    wanted = {module for module, _ in by_place}
    return [
        ModuleRow(module=module, statuses=[by_place.get((module.pk, environment)) for environment in environments])
        for module in application.modules.order_by("name", "pk")
        if module.pk in wanted
    ]


@require_POST
def synchronize_definition(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, Operation.SYNCHRONIZE)
    by = request.user.actor(client_address(request))
    applications.define_by(environment, application, by=by)
    sync.request(environment, by=by)
    messages.success(request, f"{application} is defined by {environment} from now on; its synchronization is queued.")
    return redirect(application)


@require_POST
def read_versions(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, Operation.SYNCHRONIZE)
    tagging.request_versions(environment, application, by=request.user.actor(client_address(request)))
    messages.success(request, f"The versions that {environment} knows are being read.")
    return redirect(application)


@require_POST
def solve_hotfix(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(
        request.user, key, environment_key, Operation.TAG_APPLICATIONS
    )
    tagging.mark_hotfix_solved(environment, application, by=request.user.actor(client_address(request)))
    messages.success(request, f"The hotfix in {environment} is marked as solved.")
    return redirect(application)
