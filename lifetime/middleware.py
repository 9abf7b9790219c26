"""Middleware of the console."""

from collections.abc import Callable
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from lifetime.models import User

TIME_ZONE_COOKIE = "time_zone"  # console.js writes what the browser says into it


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
