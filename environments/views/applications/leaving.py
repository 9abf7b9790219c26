"""Links that leave the console: each checks, is audited, and only then redirects, so it can be refused."""

from io import BytesIO
from uuid import UUID

import segno
from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from audit import log
from environments import links
from environments.models import Application, Environment
from environments.operations import Operation
from environments.views.applications import objects
from lifetime.requests import AuthenticatedRequest, client_address


class _Leaving(HttpResponseRedirect):
    """To where the operator's settings say, Service Studio's own scheme included."""

    def __init__(self, to: str) -> None:
        self.allowed_schemes = [to.partition(":")[0]]
        super().__init__(to)
        self.headers["Referrer-Policy"] = "no-referrer"


@require_safe
def open_in_browser(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    found = objects.get_in_environment(request.user, key, environment_key, Operation.TEST_APPLICATIONS)
    return _leave(request, *found, to=_pages(*found), what="in the browser")


@require_safe
def configure(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(
        request.user, key, environment_key, Operation.OPEN_SERVICE_CENTER
    )
    to = links.configuration(environment, application)
    return _leave(request, application, environment, to=to, what="in Service Center to configure it")


@require_safe
def service_center_logs(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(
        request.user, key, environment_key, Operation.OPEN_SERVICE_CENTER
    )
    to = links.service_center_logs(environment, application)
    return _leave(request, application, environment, to=to, what="in Service Center to view its logs")


@require_safe
def open_in_service_studio(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(
        request.user, key, environment_key, Operation.OPEN_SERVICE_STUDIO
    )
    to = links.service_studio(environment, application)
    return _leave(request, application, environment, to=to, what="in Service Studio")


@require_safe
def test_dialog(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    """The address of a mobile application as a link and as a QR code for a telephone."""
    application, environment = objects.get_in_environment(
        request.user, key, environment_key, Operation.TEST_APPLICATIONS
    )
    if not request.htmx:
        return redirect(application)
    context = {"application": application, "environment": environment, "address": _pages(application, environment)}
    return render(request, "applications/_test.html", context)


@require_safe
def qr_code(request: AuthenticatedRequest, key: UUID, environment_key: UUID) -> HttpResponse:
    application, environment = objects.get_in_environment(
        request.user, key, environment_key, Operation.TEST_APPLICATIONS
    )
    picture = BytesIO()
    code = segno.make(_pages(application, environment), error="m", micro=False)
    code.save(picture, kind="svg", scale=6, border=4, dark="#000", light="#fff", xmldecl=False)
    _record(request, application, environment, "as a QR code to test it")
    response = HttpResponse(picture.getvalue(), content_type="image/svg+xml")
    response.headers["Cache-Control"] = "no-store"  # the next one is refused when maintenance mode is on
    return response


def _pages(application: Application, environment: Environment) -> str:
    if not links.has_pages(application):
        raise Http404(f"{application} has no pages.")
    return links.pages(environment, application)


def _leave(
    request: AuthenticatedRequest, application: Application, environment: Environment, *, to: str, what: str
) -> HttpResponse:
    _record(request, application, environment, what)
    return _Leaving(to)


def _record(request: AuthenticatedRequest, application: Application, environment: Environment, what: str) -> None:
    with transaction.atomic():
        log.record(
            f"Opened application '{application}' of environment '{environment}' {what}",
            application.audit_object,
            by=request.user.actor(client_address(request)),
            kind=log.Kind.VIEW,
            details={"environment": environment.name},
        )
