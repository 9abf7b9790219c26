"""Edit Environment: its details, how it stands, and unregistering it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit import paging as audit_paging
from environments import deliveries, maintenance, registry
from environments.forms import EditEnvironmentForm, UnregisterForm
from environments.models import Environment, WindowStatus
from environments.operations import Activity, Operation
from environments.situation import clock, situation
from environments.views.answers import CHANGED, leave
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest, client_address

WINDOWS_SHOWN = 5


@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    if request.method == "POST":
        return _save(request, environment)
    decision = policy.may(request.user, Operation.EDIT_ENVIRONMENT, environment)
    form = EditEnvironmentForm(instance=environment, is_read_only=not decision)
    return _page(request, environment, form, decision)


def _save(request: AuthenticatedRequest, environment: Environment) -> HttpResponse:
    form = EditEnvironmentForm(request.POST, instance=environment)
    try:
        policy.require(request.user, Operation.EDIT_ENVIRONMENT, environment)
        if form.is_valid():
            registry.edit(
                environment,
                form.changes,
                by=request.user.actor(client_address(request)),
                token=form.cleaned_data["token"],
            )
            messages.success(request, f"{form.cleaned_data['name']} is saved.")
            return redirect("environments:edit", environment.key)
        status = 422
    except ValidationError as refusal:
        form.add_error(None, refusal)
        status = 422
    except policy.InMaintenance as refusal:  # nothing that was typed is lost
        form.add_error(None, str(refusal))
        status = 409
    environment = policy.get_environment(request.user, environment.key, Action.VIEW_INFRASTRUCTURE)
    return _page(request, environment, form, policy.ALLOWED, status=status)


def _page(
    request: AuthenticatedRequest,
    environment: Environment,
    form: EditEnvironmentForm,
    decision: Decision,
    *,
    status: int = 200,
) -> HttpResponse:
    context = {
        **_live(request, environment, loaded_epoch=environment.epoch),
        **_histories(request, environment),
        "form": form,
        "may_edit": decision,
        "operations": Operation,
        "activities": Activity,
        "pending": deliveries.pending_of(environment),
        "applications": environment.applications.count(),
        "clock": clock(environment.sync_state.clock_offset),
        "may_manage_databases": policy.may(request.user, Action.MANAGE_DATABASES, environment),
    }
    return render(request, "environments/edit.html", context, status=status)


@require_safe
def live(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The part of the page that moves. Whoever looks settles: a drain ends even when every worker is dead."""
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    window = environment.maintenance_window
    if window and window.status == WindowStatus.DRAINING:
        maintenance.settle([environment.pk])
        environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    loaded = request.GET.get("epoch", "")
    loaded_epoch = int(loaded) if loaded.isascii() and loaded.isdigit() and len(loaded) < 19 else environment.epoch
    return render(request, "environments/_live.html", _live(request, environment, loaded_epoch=loaded_epoch))


def _live(request: AuthenticatedRequest, environment: Environment, *, loaded_epoch: int) -> dict[str, Any]:
    now = situation(environment)
    return {
        "environment": environment,
        "state": environment.sync_state,
        "situation": now,
        "story": now.story,
        "is_stale": loaded_epoch != environment.epoch,
        "loaded_epoch": loaded_epoch,
        "every": "1s" if now.is_moving else "3s",
        "changed": CHANGED,
        "may_toggle": policy.may(request.user, Action.TOGGLE_MAINTENANCE, environment),
        "may_unregister": policy.may(request.user, Action.UNREGISTER_ENVIRONMENT, environment),
        "may_synchronize": policy.may(request.user, Operation.SYNCHRONIZE, environment),
        "may_view_audit_log": policy.may(request.user, Action.VIEW_AUDIT_LOG),
    }


@require_safe
def histories(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """What was done to it, asked for now and then while the page is open."""
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    return render(request, "environments/_histories.html", _histories(request, environment))


def _histories(request: AuthenticatedRequest, environment: Environment) -> dict[str, Any]:
    windows = list(environment.windows.newest_first()[: WINDOWS_SHOWN + 1])
    may_view = policy.may(request.user, Action.VIEW_AUDIT_LOG)
    return {
        "environment": environment,
        "changed": CHANGED,
        "windows": windows[:WINDOWS_SHOWN],
        "has_more_windows": len(windows) > WINDOWS_SHOWN,
        "history": audit_paging.history(environment.audit_object) if may_view else None,
    }


@require_safe
def unregister_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.UNREGISTER_ENVIRONMENT)
    if not request.htmx:
        return redirect(environment)
    context = {"environment": environment, "form": UnregisterForm(environment)}
    return render(request, "environments/_unregister.html", context)


@require_POST
def unregister(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.UNREGISTER_ENVIRONMENT)
    form = UnregisterForm(environment, request.POST)
    if form.is_valid():
        registry.unregister(environment, by=request.user.actor(client_address(request)))
        messages.success(request, f"{environment} is unregistered. It was not contacted; its history stays.")
        return leave(request, "environments:list")
    context = {"environment": environment, "form": form}
    return render(request, "environments/_unregister.html", context, status=422)
