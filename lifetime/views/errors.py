"""The pages of refusals."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from lifetime import policy


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Who may, and what to do; 409 when it is only maintenance mode that forbids it for now."""
    in_maintenance = isinstance(exception, policy.InMaintenance)
    status = 409 if in_maintenance else 403
    context = {"message": str(exception), "in_maintenance": in_maintenance}
    return render(request, f"{status}.html", context, status=status)
