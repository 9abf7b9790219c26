"""What the console knows about a request: who makes it and from where."""

from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from lifetime.models import User


class AuthenticatedRequest(HttpRequest):
    """A request of somebody who is logged in, which is every request to a view without `login_not_required`."""

    user: User
    htmx: HtmxDetails


def client_address(request: HttpRequest) -> str:
    """The address of the browser: the peer's, or behind our proxy what the proxy says; empty when it says nonsense."""
    address = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY and (forwarded := request.META.get("HTTP_X_FORWARDED_FOR", "")):
        address = forwarded.rpartition(",")[2].strip()
    try:
        return str(ip_address(address))
    except ValueError:
        return ""


def origin(address: str) -> str:
    """Where log-ins of an address are counted: itself, or the /64 network that one IPv6 customer has to himself."""
    if address and isinstance(parsed := ip_address(address), IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, 64), strict=False))
    return address
