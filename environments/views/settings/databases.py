"""Database Connections: choose an environment, look, add, change, test, delete."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from environments import database_connections as rules
from environments import gate
from environments.environment_api import DatabaseConnection
from environments.models import ApplicationTask, Environment, TaskKind
from environments.settings_forms import DatabaseForm, add_errors
from environments.views.answers import leave
from environments.views.settings import asking
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address

PAGE = "environments/settings/databases.html"
DOING = "Changing and testing database connections"


def _environments(request: AuthenticatedRequest) -> list[Environment]:
    """Those whose connections the person may manage."""
    registered = Environment.objects.registered().in_order()
    return [one for one in registered if policy.may(request.user, Action.MANAGE_DATABASES, one)]


def _get(request: AuthenticatedRequest, key: UUID) -> Environment:
    return policy.get_environment(request.user, key, Action.MANAGE_DATABASES)


@require_safe
def choose(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_DATABASES)
    for first in _environments(request):
        return redirect("settings:databases", first.key)
    return render(request, PAGE, {"environments": []})


@require_safe
def databases(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = _get(request, key)
    return render(request, PAGE, {**_state(environment), "environments": _environments(request)})


@require_safe
def state(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The part of the page that moves, asked for until nothing goes on."""
    return render(request, "environments/settings/_databases.html", _state(_get(request, key)))


def _state(environment: Environment) -> dict[str, Any]:
    known = rules.of(environment)
    names = {one.key: one.name for one in known.providers}
    tests = [(one, known.tests.get(str(one.key))) for one in known.connections]
    return {
        "environment": environment,
        "known": known,
        "rows": [
            (one, names.get(one.provider, one.provider), test, rules.outcome(test) if test else None)
            for one, test in tests
        ],
        "may_ask": asking.may_ask(environment, DOING),
    }


@require_POST
def read(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = _get(request, key)
    rules.request(environment, by=request.user.actor(client_address(request)))
    return redirect("settings:databases", environment.key)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    return _edit(request, _get(request, key), None)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: AuthenticatedRequest, key: UUID, connection_key: UUID) -> HttpResponse:
    environment = _get(request, key)
    return _edit(request, environment, _find(environment, connection_key))


def _find(environment: Environment, key: UUID) -> DatabaseConnection:
    try:
        return rules.of(environment).find(key)
    except rules.UnknownConnection as refusal:
        raise Http404(str(refusal)) from None


def _edit(request: AuthenticatedRequest, environment: Environment, shown: DatabaseConnection | None) -> HttpResponse:
    may_ask = asking.may_ask(environment, DOING)
    providers = rules.of(environment).providers
    if request.method != "POST":
        form = DatabaseForm(providers, connection=shown, is_read_only=not may_ask)
        return _form(request, environment, form, shown)
    form = DatabaseForm(providers, request.POST, connection=shown)
    status = 422 if may_ask else 409
    if not may_ask:  # nothing that was typed is lost, but for the password
        form.add_error(None, may_ask.reason)
    elif form.is_valid():
        try:
            rules.save(
                environment,
                form.wanted,
                by=request.user.actor(client_address(request)),
                key=shown.key if shown else None,
                revision=form.cleaned_data["revision"],
            )
            return redirect("settings:databases", environment.key)
        except ValidationError as refusal:
            add_errors(form, refusal)
        except gate.Refused as refusal:
            form.add_error(None, str(refusal))
            status = 409
    return _form(request, environment, form, shown, status=status)


def _form(
    request: AuthenticatedRequest,
    environment: Environment,
    form: DatabaseForm,
    shown: DatabaseConnection | None,
    *,
    test: ApplicationTask | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "environment": environment,
        "form": form,
        "shown": shown,
        "may_ask": asking.may_ask(environment, DOING),
        "providers": form.providers,
        **_test_context(test),
    }
    return render(request, "environments/settings/database.html", context, status=status)


# Testing
@sensitive_post_parameters("password")
@require_POST
def test_details(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """Try what the form has; for htmx the outcome alone is answered, so that the form keeps what was typed."""
    environment = _get(request, key)
    known = rules.of(environment)
    shown = next((one for one in known.connections if str(one.key) == request.POST.get("connection")), None)
    form = DatabaseForm(known.providers, request.POST, connection=shown)
    may_ask, test, status = asking.may_ask(environment, DOING), None, 422
    if not may_ask:
        form.add_error(None, may_ask.reason)
        status = 409
    elif form.is_valid():
        try:
            test = rules.request_test(
                environment,
                form.wanted,
                by=request.user.actor(client_address(request)),
                key=shown.key if shown else None,
            )
            status = 200
        except ValidationError as refusal:
            add_errors(form, refusal)
    if not request.htmx:
        return _form(request, environment, form, shown, test=test, status=status)
    context = {"environment": environment, "problems": form.problems, **_test_context(test)}
    return render(request, "environments/settings/_database_test.html", context, status=status)


@require_POST
def test_saved(request: AuthenticatedRequest, key: UUID, connection_key: UUID) -> HttpResponse:
    environment = _get(request, key)
    rules.request_test_of(environment, connection_key, by=request.user.actor(client_address(request)))
    return redirect("settings:databases", environment.key)


@require_safe
def test_state(request: AuthenticatedRequest, key: UUID, task_key: UUID) -> HttpResponse:
    """How a test of details stands: asked for until it is over."""
    environment = _get(request, key)
    task = get_object_or_404(ApplicationTask, key=task_key, environment=environment, kind=TaskKind.TEST_DATABASE)
    context = {"environment": environment, **_test_context(task)}
    return render(request, "environments/settings/_database_test.html", context)


def _test_context(test: ApplicationTask | None) -> dict[str, Any]:
    return {"test": test, "outcome": rules.outcome(test) if test else None}


# Deleting
@require_safe
def delete_dialog(request: AuthenticatedRequest, key: UUID, connection_key: UUID) -> HttpResponse:
    environment = _get(request, key)
    if not request.htmx:
        return redirect("settings:databases", environment.key)
    context = {"environment": environment, "connection": _find(environment, connection_key)}
    return render(request, "environments/settings/_delete_database.html", context)


@require_POST
def delete(request: AuthenticatedRequest, key: UUID, connection_key: UUID) -> HttpResponse:
    environment = _get(request, key)
    given = request.POST.get("revision", "")
    revision = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else None
    task = rules.delete(environment, connection_key, by=request.user.actor(client_address(request)), revision=revision)
    messages.success(request, f"{task.parameters['name']} is being deleted.")
    return leave(request, "settings:databases", environment.key)
