"""New Application: choose the environment, then what it shall be."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from environments import application_creation, matrix
from environments.application_forms import CreateApplicationForm
from environments.application_tasks import TaskRefused
from environments.models import ApplicationTask, Environment, TaskKind
from environments.operations import Operation
from lifetime import policy
from lifetime.models import Team, User
from lifetime.permissions import Permissions
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address

OPERATION = Operation.CREATE_APPLICATIONS
TASKS_SHOWN = 5


@require_safe
def choose_environment(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    sight = matrix.Sight.of(request.user)
    choices = [
        (one, policy.may(request.user, OPERATION, one, permissions=sight.permissions)) for one in sight.environments
    ]
    context = {"choices": choices, "may_view_infrastructure": policy.may(request.user, Action.VIEW_INFRASTRUCTURE)}
    return render(request, "applications/create.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest, environment_key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, environment_key, OPERATION)
    templates, asked = application_creation.templates(environment)
    form = CreateApplicationForm(
        request.POST or None,
        request.FILES or None,
        teams=_teams(request.user, environment),
        templates=templates,
    )
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            team: Team = form.cleaned_data["team"]
            policy.require(request.user, OPERATION, environment, team=team)
            try:
                application_creation.request(
                    environment, team, form.wanted, by=request.user.actor(client_address(request))
                )
                messages.success(request, f"{form.wanted.name} is being created in {environment}.")
                return redirect("applications:create-in", environment.key)
            except ValidationError as refusal:
                form.add_error(None, refusal)
            except TaskRefused as refusal:
                form.add_error(None, str(refusal))
    tasks = list(
        ApplicationTask.objects.filter(environment=environment, kind=TaskKind.CREATE).newest_first()[:TASKS_SHOWN]
    )
    is_reading = asked is not None and asked.is_active
    context: dict[str, Any] = {
        "environment": environment,
        "form": form,
        "templates": templates,
        "asked": asked,
        "tasks": tasks,
        "is_moving": is_reading or any(task.is_active for task in tasks),
        "has_teams": form.fields["team"].queryset.exists(),  # type: ignore[attr-defined]
    }
    if not request.htmx:
        return render(request, "applications/create_in.html", context, status=status)
    if "waiting" in request.GET and not is_reading:
        return HttpResponseClientRefresh()  # the templates are there
    return render(request, "applications/_creating_tasks.html", context)


def _teams(user: User, environment: Environment) -> QuerySet[Team]:
    """The teams for which this person may create applications there."""
    held = Permissions.of(user, [environment])
    if held.rights(environment).create_applications:
        return Team.objects.order_by("name", "pk")
    allowed = [team for team in held.in_teams if held.may_create_applications(environment, team)]
    return Team.objects.filter(pk__in=allowed).order_by("name", "pk")


@require_POST
def read_templates(request: AuthenticatedRequest, environment_key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, environment_key, OPERATION)
    application_creation.request_templates(environment, by=request.user.actor(client_address(request)))
    return redirect("applications:create-in", environment.key)
