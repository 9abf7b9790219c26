"""Tagging a version: the form, and the request that it makes."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from environments import tagging
from environments.application_forms import TagForm
from environments.application_tasks import TaskRefused
from environments.models import Application, Environment
from environments.operations import Operation
from environments.views.answers import leave
from environments.views.applications import objects
from lifetime.requests import AuthenticatedRequest, client_address


@require_safe
def tag_dialog(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(
        request.user, key, environment_key, Operation.TAG_APPLICATIONS
    )
    if not request.htmx:
        return redirect(application)
    proposal = tagging.propose(environment, application, base=request.GET.get("base_version", ""))
    form = TagForm(proposal=proposal)
    return _dialog(request, application, environment, form, proposal)


@require_POST
def tag(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(
        request.user, key, environment_key, Operation.TAG_APPLICATIONS
    )
    proposal = tagging.propose(environment, application, base=request.POST.get("base_version", ""))
    form = TagForm(request.POST, proposal=proposal)
    if form.is_valid():
        by = request.user.actor(client_address(request))
        try:
            task = tagging.request(environment, application, form.wanted, by=by)
            messages.success(
                request, f"{application} is being tagged in {environment} as {task.parameters['version']}."
            )
            return leave(request, application.get_absolute_url())
        except ValidationError as refusal:
            form.add_error(None, refusal)
        except TaskRefused as refusal:
            form.add_error(None, str(refusal))
    return _dialog(request, application, environment, form, proposal, status=422)


def _dialog(
    request: AuthenticatedRequest,
    application: Application,
    environment: Environment,
    form: TagForm,
    proposal: tagging.Proposal,
    *,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "application": application,
        "environment": environment,
        "form": form,
        "proposal": proposal,
    }
    return render(request, "applications/_tag.html", context, status=status)
