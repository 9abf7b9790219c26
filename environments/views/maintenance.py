"""Maintenance mode: the two dialogs, the two toggles, and the history of windows."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from audit.models import AuditEvent
from environments import maintenance
from environments.forms import DisableMaintenanceForm, EnableMaintenanceForm
from environments.models import Environment, MaintenanceWindow, WindowStatus
from environments.situation import operation_label, story
from environments.views.answers import leave
from environments.views.paging import page
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address


@require_safe
def enable_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.TOGGLE_MAINTENANCE)
    if not request.htmx:
        return redirect(environment)
    form = EnableMaintenanceForm(initial={"epoch": environment.epoch})
    return render(request, "environments/_enable_maintenance.html", _enabling(environment, form))


@require_safe
def preview(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """What enabling would abort now: the dialog asks again while somebody types the reason."""
    environment = policy.get_environment(request.user, key, Action.TOGGLE_MAINTENANCE)
    context = {"environment": environment, "preview": maintenance.preview([environment])}
    return render(request, "environments/_preview.html", context)


@require_POST
def enable(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.TOGGLE_MAINTENANCE)
    form = EnableMaintenanceForm(request.POST)
    if form.is_valid():
        try:
            maintenance.enable(
                environment,
                by=request.user.actor(client_address(request)),
                reason=form.cleaned_data["reason"],
                expected_end=form.cleaned_data["expected_end"],
                expected_epoch=form.cleaned_data["epoch"],
            )
            messages.success(request, f"Maintenance mode of {environment} is enabled.")
            return leave(request, environment.get_absolute_url())
        except (maintenance.MaintenanceRefused, ValidationError) as refusal:
            _refuse(form, refusal)
    environment = policy.get_environment(request.user, key, Action.TOGGLE_MAINTENANCE)
    form = _again(form, epoch=environment.epoch)
    return render(request, "environments/_enable_maintenance.html", _enabling(environment, form), status=422)


def _enabling(environment: Environment, form: EnableMaintenanceForm) -> dict[str, Any]:
    return {"environment": environment, "form": form, "preview": maintenance.preview([environment])}


@require_safe
def disable_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.TOGGLE_MAINTENANCE)
    if not request.htmx:
        return redirect(environment)
    window = environment.maintenance_window
    form = DisableMaintenanceForm(initial={"window": window.key if window else None})
    return render(request, "environments/_disable_maintenance.html", {"environment": environment, "form": form})


@require_POST
def disable(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.TOGGLE_MAINTENANCE)
    form = DisableMaintenanceForm(request.POST)
    if form.is_valid():
        try:
            maintenance.disable(
                environment,
                by=request.user.actor(client_address(request)),
                reason=form.cleaned_data["reason"],
                expected_window=form.cleaned_data["window"],
            )
            messages.success(
                request, f"Maintenance mode of {environment} is disabled; a full synchronization is queued."
            )
            return leave(request, environment.get_absolute_url())
        except (maintenance.MaintenanceRefused, ValidationError) as refusal:
            _refuse(form, refusal)
    environment = policy.get_environment(request.user, key, Action.TOGGLE_MAINTENANCE)
    window = environment.maintenance_window
    form = _again(form, window=window.key if window else "")
    context = {"environment": environment, "form": form}
    return render(request, "environments/_disable_maintenance.html", context, status=422)


def _refuse(form: EnableMaintenanceForm | DisableMaintenanceForm, refusal: Exception) -> None:
    form.add_error(None, refusal if isinstance(refusal, ValidationError) else str(refusal))


def _again(form: Any, **hidden: Any) -> Any:
    """The form with its errors and what was typed; what it was asked about is how things stand now."""
    form.data = {**form.data.dict(), **hidden}
    return form


@require_safe
def windows(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    context = {"environment": environment, "page": page(environment.windows.all(), request, by="enabled_at")}
    return render(request, "environments/windows.html", context)


@require_safe
def window(request: AuthenticatedRequest, key: UUID, window_key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    windows = environment.windows.select_related("recovery_sync")
    found = get_object_or_404(windows, key=window_key)
    if found.status == WindowStatus.DRAINING:
        maintenance.settle([environment.pk])
        found.refresh_from_db()
    context = {
        "environment": environment,
        "story": story(found),
        **_done_by(found),
        "audited": AuditEvent.objects.filter(key=found.audit_key).first() if found.audit_key else None,
        "may_view_audit_log": policy.may(request.user, Action.VIEW_AUDIT_LOG),
    }
    return render(request, "environments/window.html", context)


def _done_by(window: MaintenanceWindow) -> dict[str, Any]:
    refused = window.refused_operations.order_by("-last_at", "pk")
    return {
        "plans": window.aborted_plans.select_related("source", "target").order_by("number"),
        "syncs": window.aborted_syncs.order_by("pk"),
        "refused": [(operation_label(one.operation), one) for one in refused],
    }
