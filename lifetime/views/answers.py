"""What the views about people share."""

from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, resolve_url
from django_htmx.http import HttpResponseClientRedirect

from lifetime.changes import Author
from lifetime.requests import AuthenticatedRequest, client_address


def author(request: AuthenticatedRequest) -> Author:
    """Whoever makes this request, as the one who changes something."""
    return Author(who=request.user, address=client_address(request))


def posted(request: AuthenticatedRequest) -> QueryDict | None:
    """What a form is bound to: nothing when the page is looked at; what was sent, be it empty, when it was."""
    return request.POST if request.method == "POST" else None


def leave(request: AuthenticatedRequest, to: str) -> HttpResponse:
    """Go to another page, or to the same one anew: the dialog closes."""
    url = resolve_url(to)
    return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
