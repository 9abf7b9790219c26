"""How views answer what was done: pages by a redirect, htmx by leaving the page or by having it look again."""

from django.http import HttpResponse
from django.shortcuts import redirect, resolve_url
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event

from lifetime.requests import AuthenticatedRequest

CHANGED = "environments-changed"  # what polls on a page look again when they hear it


def leave(request: AuthenticatedRequest, to: str, *of: object) -> HttpResponse:
    """Go to another page, or to the same one anew: the dialog closes."""
    url = resolve_url(to, *of)
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)


def changed(request: AuthenticatedRequest, to: str) -> HttpResponse:
    """Stay on the page, whose moving parts look again; without htmx go to a page."""
    if not request.htmx:
        return redirect(to)
    return trigger_client_event(HttpResponse(status=204), CHANGED)
