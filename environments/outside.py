"""Looks at what is no environment, such as providers of log-ins: bounded in time and size, by workers only.

People type these addresses, so each is checked as an environment's is, at the moment of connecting: what a name
resolves to counts. This machine itself is left out too, unless `LOOPBACK_PROVIDERS` allows it.
"""

import asyncio
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings
from yarl import URL

from environments.addresses import IPAddress, refusal_of_ip

SECONDS = 10.0
CONNECT_SECONDS = 5.0
MOST_ADDRESSES = 4
LONGEST_ANSWER = 256 * 1024


class Trouble(Exception):
    """What is wrong, in words for the person who configured it. It never repeats what came back."""


def refusal_of(address: IPAddress) -> str:
    """Why nothing is asked there; "" when it may be."""
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_loopback and not settings.LOOPBACK_PROVIDERS:
        return f"{address} is this machine itself; no provider is there."
    return refusal_of_ip(address).replace("environment", "provider")


def may_be_plain(host: str) -> bool:
    """Whether http:// will do: on this machine, for trying things out."""
    return bool(settings.LOOPBACK_PROVIDERS) and host in ("localhost", "127.0.0.1", "::1")


def resolve(host: str, port: int) -> list[str]:
    """The first addresses of a host, without those where nothing is asked; raises Trouble when none is left."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Trouble(f"{host} has no address: the name is unknown here.") from None
    return _allowed(host, (str(one[4][0]) for one in found))


def _allowed(host: str, found: Iterable[str]) -> list[str]:
    refusals: list[str] = []
    allowed: list[str] = []
    for one in found:
        refusal = refusal_of(ipaddress.ip_address(one.partition("%")[0]))
        if refusal:
            refusals.append(refusal)
        elif one not in allowed:
            allowed.append(one)
    if not allowed:
        raise Trouble(refusals[0] if refusals else f"{host} has no address: the name is unknown here.")
    return allowed[:MOST_ADDRESSES]


class _Resolver(AbstractResolver):
    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        allowed = _allowed(host, (one["host"] for one in found))
        return [one for one in found if one["host"] in allowed]

    async def close(self) -> None:
        await self._resolver.close()


def get_json(address: str) -> dict[str, Any]:
    """The JSON object at an address; raises Trouble. Redirects are not followed."""
    return asyncio.run(_get_json(address))


async def _get_json(address: str) -> dict[str, Any]:
    try:
        wanted = URL(address)  # as the client reads it
    except ValueError:
        raise Trouble(f"{address[:200]} is no address.") from None
    host = wanted.host or ""
    if wanted.scheme != "https" and not (wanted.scheme == "http" and may_be_plain(host)):
        raise Trouble(f"{address[:200]} does not begin with https://.")
    _refuse_numbers(host)
    connector = aiohttp.TCPConnector(resolver=_Resolver(), limit=1, use_dns_cache=False)
    timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=CONNECT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "User-Agent": "lifetime-console"},
            ) as session,
            session.get(wanted, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise Trouble(_status_trouble(host, response.status))
            return _object(host, await _body(host, response))
    except TimeoutError:
        raise Trouble(f"{host} did not answer within {SECONDS:.0f} s.") from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise Trouble(f"{host} has a bad certificate: {error.certificate_error}") from None
    except aiohttp.ClientConnectorError as error:
        raise Trouble(f"{host} cannot be reached: {error.os_error.strerror or 'no connection'}") from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise Trouble(f"{host} does not answer as a web server does.") from None


def _refuse_numbers(host: str) -> None:
    """What is written as a number is never resolved, so it is checked here; nor may it hide which number it is."""
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        if not host or ":" in host or host.replace(".", "").isdigit():
            raise Trouble(f"{host[:200]} is no address. Write a name, or four decimal numbers.") from None
    else:
        _allowed(host, [str(number)])


def _status_trouble(host: str, status: int) -> str:
    if 300 <= status < 400:
        return f"{host} answers with a redirect ({status}), which is not followed: enter the final address."
    return f"{host} answers with status {status}; 200 is expected."


async def _body(host: str, response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise Trouble(f"{host} sends more than {LONGEST_ANSWER // 1024} KB; a configuration is shorter.")
    return body


def _object(host: str, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Trouble(f"What {host} answers is no JSON. Is the address right?") from None
    if not isinstance(found, dict):
        raise Trouble(f"What {host} answers is JSON, but no object. Is the address right?")
    return found


def try_connection(host: str, port: int, *, with_tls: bool) -> str:
    """Connect and hang up; the numeric address that answered. With TLS its certificate is checked. Raises Trouble."""
    trouble = Trouble(f"{host} has no address.")
    ends = time.monotonic() + SECONDS
    for address in resolve(host, port):
        if (left := ends - time.monotonic()) <= 0:
            break
        try:
            wait = min(CONNECT_SECONDS, left)
            with closing(socket.create_connection((address, port), timeout=wait)) as connection:
                if with_tls:
                    ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            trouble = Trouble(f"{host}:{port} has a bad certificate: {error.verify_message}")
        except ssl.SSLError:
            trouble = Trouble(f"{host}:{port} does not speak TLS.")
        except TimeoutError:
            trouble = Trouble(f"{host}:{port} did not take the connection within {CONNECT_SECONDS:.0f} s.")
        except OSError as error:
            trouble = Trouble(f"{host}:{port} cannot be reached: {error.strerror or 'no connection'}")
        else:
            return address
    raise trouble
