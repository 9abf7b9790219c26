"""Middleware of the console."""

from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, resolve_url
from django.utils import timezone

from lifetime.models import User

TIME_ZONE_COOKIE = "time_zone"  # console.js writes what the browser says into it


class LogInFirst(LoginRequiredMiddleware):
    """Ask who it is, then lead back: to the page that a form is on, for where it was sent shows nothing by itself."""

    def handle_no_permission(self, request: HttpRequest, view_func: Callable[..., Any]) -> HttpResponseRedirect:
        if request.method in ("GET", "HEAD"):
            return super().handle_no_permission(request, view_func)
        back = urlencode({"next": request.headers.get("Referer", ""), "ended": 1})
        return redirect(f"{resolve_url('lifetime:login')}?{back}")


class ViewersTimeZone:
    """Show instants in the person's own time zone, else in the browser's, else in UTC."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(_zone(request)):
            return self.get_response(request)


def _zone(request: HttpRequest) -> ZoneInfo | None:
    own = request.user.time_zone if isinstance(request.user, User) else ""
    for name in (own, request.COOKIES.get(TIME_ZONE_COOKIE, "")):
        if name in _known_zones():
            return ZoneInfo(name)
    return None


@cache
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())
