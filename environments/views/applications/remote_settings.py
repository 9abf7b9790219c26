"""Pages of settings that an environment has of an application: as last read, and what is being done about them."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django_htmx.http import HttpResponseClientRefresh

from environments import application_tasks
from environments.models import Application, ApplicationSecurity, ApplicationSettings, Environment, TaskKind
from lifetime.requests import AuthenticatedRequest


def show(
    request: AuthenticatedRequest,
    name: str,
    kinds: Sequence[TaskKind],
    application: Application,
    environment: Environment,
    found: ApplicationSecurity | ApplicationSettings | None,
    form: forms.Form | None,
    *,
    status: int = 200,
) -> HttpResponse:
    """The page `applications/<name>.html`, or for htmx its tasks of these kinds until none of them goes on."""
    latest = application_tasks.latest(application, kinds)
    tasks = [latest[one] for one in ((environment.pk, kind.value) for kind in kinds) if one in latest]
    context: dict[str, Any] = {
        "application": application,
        "environment": environment,
        "form": form,
        "read_at": found.read_at if found else None,
        "tasks": tasks,
        "is_moving": any(task.is_active for task in tasks),
    }
    if not request.htmx:
        return render(request, f"applications/{name}.html", context, status=status)
    if not context["is_moving"]:
        return HttpResponseClientRefresh()  # what was waited for is there
    return render(request, f"applications/_{name}_tasks.html", context)
