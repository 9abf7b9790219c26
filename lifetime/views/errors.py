"""The pages of what somebody may not do, and of what went wrong.

`lifetime.refusals` answers what is only not possible now.
"""

import sys

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.defaults import server_error

from lifetime import outage


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say who may, and what to do."""
    return render(request, "403.html", {"message": str(exception)}, status=403)


def failed(request: HttpRequest) -> HttpResponse:
    """Tell a database that is away, which passes, from a mistake of the console. Neither page needs a database."""
    if not outage.explain(sys.exc_info()[1]):
        return server_error(request)
    headers = {"Retry-After": str(outage.RETRY_SECONDS)}
    return HttpResponse(render_to_string("503.html"), status=503, headers=headers)
