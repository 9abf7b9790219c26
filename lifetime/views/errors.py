"""The page of what somebody may not do; `lifetime.refusals` answers what is only not possible now."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say who may, and what to do."""
    return render(request, "403.html", {"message": str(exception)}, status=403)
