"""Refusals that no view answered itself: what somebody wanted is not possible now, and nothing was changed."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from environments import authentication, gate, maintenance, registry
from lifetime import changes, policy

MAINTENANCE = (policy.InMaintenance, gate.InMaintenance)
REFUSALS = (
    *MAINTENANCE,
    gate.Refused,
    maintenance.MaintenanceRefused,
    registry.RegistryRefused,
    changes.Refused,
    authentication.Refused,
)


class Refusals:
    """Answer refusals with status 409 and their words: for htmx in the dialog, else as a page.

    Who opens the address of a form, by loading a refused one again for instance, gets a page that says so.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed) and request.method == "GET" and not response.content:
            page = render(request, "405.html", status=405)
            page.headers["Allow"] = response.headers["Allow"]
            return page
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, REFUSALS):
            return None
        context = {"message": str(exception), "in_maintenance": isinstance(exception, MAINTENANCE)}
        if getattr(request, "htmx", None):
            response = render(request, "lifetime/_refused.html", context, status=409)
            response.headers["HX-Retarget"] = "#dialog"
            response.headers["HX-Reswap"] = "innerHTML"
        else:
            response = render(request, "409.html", context, status=409)
        patch_vary_headers(response, ["HX-Request"])
        return response
