"""What may be an environment's address. One rule for forms, commands, the API and the moment of connecting."""

import ipaddress
from collections.abc import Iterator
from functools import cache, lru_cache
from urllib.parse import SplitResult, urlsplit, urlunsplit

from django.conf import settings
from django.core.exceptions import ValidationError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# What is sent there may arrive at the IPv4 address in the last 32 bits: IPv4-compatible (RFC 4291), NAT64 (6052, 8215).
TRANSLATED = tuple(ipaddress.IPv6Network(network) for network in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))


def normalise(text: str) -> str:
    """`scheme://host[:port][/path]` without a trailing slash; ValidationError in the user's words otherwise."""
    text = text.strip()
    parts = _split(text)
    if parts.username or parts.password or "@" in parts.netloc:
        raise ValidationError("Leave user name and password out of the address; the token has a field of its own.")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValidationError("The address has no query (?) and no fragment (#).")
    host = (parts.hostname or "").rstrip(".").lower()
    _refuse_unusual_number(host)
    if refusal := refusal_of(host):
        raise ValidationError(refusal)
    port = f":{parts.port}" if parts.port else ""
    shown = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme.lower(), shown + port, parts.path.rstrip("/"), "", ""))


def _split(text: str) -> SplitResult:
    example = "Write it like https://environment.example.com."
    if any(character.isspace() or ord(character) < 32 for character in text) or "\\" in text:
        raise ValidationError(f"This is no address: it has a space or a control character in it. {example}")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname
        if host and not host.isascii():
            host.encode("idna")
    except (ValueError, UnicodeError):
        raise ValidationError(f"This is no address. {example}") from None
    if parts.scheme.lower() not in {"http", "https"}:
        raise ValidationError(f"An address begins with https:// or http://. {example}")
    if not host or port == 0:
        raise ValidationError(f"The address names no host. {example}")
    return parts


def _refuse_unusual_number(host: str) -> None:
    """An IPv4 address is written as four decimal numbers: 127.1, 0x7f000001 and 2130706433 hide what they are."""
    last = host.rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValidationError("Write an IPv4 address as four decimal numbers, like 192.0.2.10.") from None


def refusal_of(host: str) -> str:
    """Why the console never connects to this host name or IP address; "" when it may."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return refusal_of_ip(address)


def refusal_of_ip(address: IPAddress) -> str:
    """Why the console never connects to this IP address (link-local, cloud metadata, unspecified); "" when it may."""
    return _refusal_of_ip(address, tuple(settings.REFUSED_NETWORKS))


@lru_cache(maxsize=4096)  # every contact asks, and there are few addresses
def _refusal_of_ip(address: IPAddress, refused: tuple[str, ...]) -> str:
    networks = _refused_networks(refused)
    for one in _destinations(address):
        if one.is_multicast or any(one in network for network in networks):
            return f"{address} is a link-local or metadata address; no environment is there."
    return ""


def _destinations(address: IPAddress) -> Iterator[IPAddress]:
    """The address, and those in it where a translator or a tunnel may send what is sent there."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in TRANSLATED):
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        yield from filter(None, (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())))


@cache
def _refused_networks(
    networks: tuple[str, ...],
) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(network) for network in networks)
