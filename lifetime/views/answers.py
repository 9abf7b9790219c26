"""What the views about people share."""

from django.http import HttpResponse
from django.shortcuts import redirect, resolve_url
from django_htmx.http import HttpResponseClientRedirect

from lifetime.changes import Author
from lifetime.requests import AuthenticatedRequest, client_address


def author(request: AuthenticatedRequest) -> Author:
    """Whoever makes this request, as the one who changes something."""
    return Author(who=request.user, address=client_address(request))


def leave(request: AuthenticatedRequest, to: str) -> HttpResponse:
    """Go to another page, or to the same one anew: the dialog closes."""
    url = resolve_url(to)
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
