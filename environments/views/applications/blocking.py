"""Blocking an application from deployment to an environment, and allowing it again."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from environments import blocking
from environments.application_forms import BlockForm
from environments.views.answers import leave
from environments.views.applications import objects
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address


@require_safe
def block_dialog(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = _get(request, key, environment_key)
    if not request.htmx:
        return redirect(application)
    context = {
        "application": application,
        "environment": environment,
        "block": blocking.in_force(environment, application),
        "form": BlockForm(),
    }
    return render(request, "applications/_block.html", context)


@require_POST
def block(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    return _change(request, key, environment_key, blocking.block, "is blocked from deployment to")


@require_POST
def unblock(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    return _change(request, key, environment_key, blocking.unblock, "may be deployed again to")


def _get(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> Any:
    return objects.get_in_environment(request.user, key, environment_key, Action.BLOCK_APPLICATIONS, is_published=False)


def _change(
    request: AuthenticatedRequest, key: UUID, environment_key: UUID, change: Callable[..., Any], done: str
) -> HttpResponse:
    application, environment = _get(request, key, environment_key)
    form = BlockForm(request.POST)
    if form.is_valid():
        try:
            change(
                environment,
                application,
                by=request.user.actor(client_address(request)),
                reason=form.cleaned_data["reason"],
            )
            messages.success(request, f"{application} {done} {environment}.")
            return leave(request, application.get_absolute_url())
        except ValidationError as refusal:
            form.add_error("reason", refusal)
        except blocking.BlockRefused as refusal:
            form.add_error(None, str(refusal))
    context = {
        "application": application,
        "environment": environment,
        "block": blocking.in_force(environment, application),
        "form": form,
    }
    return render(request, "applications/_block.html", context, status=422)
