"""View Application Logs: the newest lines, as an environment last told them."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from audit import log
from environments import application_logs
from environments.models import Application, Environment
from environments.operations import Operation
from environments.views.applications import objects
from lifetime.requests import AuthenticatedRequest, client_address

OPERATION = Operation.OPEN_SERVICE_CENTER


@require_safe
def logs(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    with transaction.atomic():
        log.record(
            f"Viewed the log of application '{application}' in environment '{environment}'",
            application.audit_object,
            by=request.user.actor(client_address(request)),
            kind=log.Kind.VIEW,
            details={"environment": environment.name},
        )
    return render(request, "applications/logs.html", _context(application, environment))


@require_safe
def lines(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    """The part of the page that it asks for while the log is being read."""
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    return render(request, "applications/_log.html", _context(application, environment))


@require_POST
def read_logs(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(request.user, key, environment_key, OPERATION)
    application_logs.request(environment, application, by=request.user.actor(client_address(request)))
    return redirect("applications:logs", application.key, environment.key)


def _context(application: Application, environment: Environment) -> dict[str, Any]:
    newest = application_logs.newest(environment, application)
    told = application_logs.last_read(environment, application)
    found = told.result or [] if told else []
    return {
        "application": application,
        "environment": environment,
        "task": newest,
        "told": told,
        "lines": [{**one, "at": parse_datetime(one["at"])} for one in reversed(found)],
    }
