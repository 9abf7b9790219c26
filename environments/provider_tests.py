"""Testing a provider of external authentication before it is activated.

A worker looks at it as it is configured: at an OpenID Connect provider's configuration and keys, at an LDAP server
with the account that is configured. It is no environment, so maintenance mode does not matter, unless it is served by
one: that is left in peace.
"""

import logging
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from yarl import URL

from audit import log
from environments import operations, outside
from environments.models import AuthenticationProvider, Environment, ProviderTest
from environments.outside import Trouble
from environments.printable import printable
from lifetime.queue import enqueue

logger = logging.getLogger(__name__)
Mode = AuthenticationProvider.Mode
Status = ProviderTest.Status

LOST_AFTER = timedelta(seconds=90)  # by then whoever tests it has ended
LDAP_SECONDS = 15.0
DISCOVERY = "/.well-known/openid-configuration"
MISTAKE = "The console made a mistake here; its log has the details. Try again, then report it."


@dataclass(frozen=True)
class Finding:
    """What was seen: fine, a warning, or an error that log-ins would meet."""

    kind: str
    text: str


def fine(text: str) -> Finding:
    return Finding("fine", _shown(text))


def warning(text: str) -> Finding:
    return Finding("warning", _shown(text))


def error(text: str) -> Finding:
    return Finding("error", _shown(text))


def _shown(text: str) -> str:
    """What providers say may be part of it, and not all of that can be stored."""
    return printable(text[:500], instead="\N{REPLACEMENT CHARACTER}")


def request(provider: AuthenticationProvider, *, by: log.Actor) -> ProviderTest:
    """Have a worker test the provider as it is now; the test that is under way already, when there is one."""
    with transaction.atomic():
        locked = AuthenticationProvider.objects.select_for_update().get(pk=provider.pk)
        former = latest(locked)
        if former and former.is_active and not is_lost(former):
            return former
        forget(locked)
        test = ProviderTest.objects.create(provider=locked, requested_by=by.name)
        enqueue("environments.tasks.test_provider", test.pk)
        message = f"Requested a test of authentication provider '{locked}'"
        log.record(message, locked.audit_object, by=by, kind=log.Kind.VIEW)
    return test


def latest(provider: AuthenticationProvider) -> ProviderTest | None:
    return ProviderTest.objects.filter(provider=provider).first()


def forget(provider: AuthenticationProvider) -> None:
    """What was found is true of the former configuration only."""
    ProviderTest.objects.filter(provider=provider).delete()


def is_lost(test: ProviderTest) -> bool:
    """Whether nobody is working on it any more."""
    return test.is_active and test.requested_at < timezone.now() - LOST_AFTER


def run(test_id: int) -> None:
    """Carry out a queued test. Delivered twice, the second delivery finds nothing to claim."""
    if not ProviderTest.objects.filter(pk=test_id, status=Status.QUEUED).update(status=Status.RUNNING):
        return
    test = ProviderTest.objects.select_related("provider").filter(pk=test_id).first()
    if test is None:
        return  # the provider was changed or deleted meanwhile
    look = _openid_connect if test.provider.mode == Mode.OIDC else _ldap
    try:
        found = list(look(test.provider))
    except Trouble as trouble:
        found = [error(str(trouble))]
    except Exception:
        logger.exception("Testing authentication provider %s failed", test.provider_id)
        found = [error(MISTAKE)]
    has_errors = any(one.kind == "error" for one in found)
    ProviderTest.objects.filter(pk=test_id, status=Status.RUNNING).update(
        status=Status.FAILED if has_errors else Status.PASSED,
        ended_at=Now(),
        findings=[{"kind": one.kind, "text": one.text} for one in found],
    )


def _refuse_in_maintenance(address: str, *, port: int | None = None) -> None:
    """Raise Trouble when an environment in maintenance mode is at this host and port."""
    try:
        asked = URL(address)
        place = (asked.raw_host or "").rstrip("."), port or asked.port
    except ValueError:
        return  # nobody is asked there
    for environment in Environment.objects.registered().in_maintenance().select_related("maintenance_window"):
        there = URL(environment.address)
        if (there.raw_host, there.port) == place and (window := environment.maintenance_window):
            raise Trouble(operations.explain(environment.name, window, f"Asking {place[0]}:{place[1]}"))


# OpenID Connect


def _get_json(address: str) -> dict[str, Any]:
    _refuse_in_maintenance(address)
    return outside.get_json(address)


def _openid_connect(provider: AuthenticationProvider) -> Iterator[Finding]:
    wanted = provider.configuration
    told = _get_json(wanted["well_known_url"])
    yield fine("The well-known URL answers with a configuration.")
    yield _issuer(told, wanted["well_known_url"])
    yield from _endpoints(told)
    yield from _keys(told)
    if "code" not in _names(told, "response_types_supported", ["code"]):
        yield error("It does not support the code flow (response_types_supported lacks “code”).")
    yield from _scopes(told, wanted["scopes"])
    claims = _names(told, "claims_supported", [wanted["username_claim"]])
    if wanted["username_claim"] not in claims:
        yield warning(f"It does not list the claim “{wanted['username_claim']}” (claims_supported).")
    yield from _console(provider)
    if not provider.sealed_secret:
        yield warning("No client secret is stored yet; activating asks for it.")
    yield warning("Whether client ID and secret are right shows at the first log-in only.")


def _issuer(told: Mapping[str, Any], address: str) -> Finding:
    issuer = told.get("issuer")
    if not isinstance(issuer, str) or not issuer:
        return error("The issuer is missing.")
    if issuer.rstrip("/") + DISCOVERY != address:
        return error(f"It calls itself {issuer[:200]}, whose configuration is elsewhere: log-ins would be refused.")
    return fine(f"The issuer is {issuer}.")


def _endpoints(told: Mapping[str, Any]) -> Iterator[Finding]:
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        address = told.get(name)
        is_needed = name != "userinfo_endpoint"
        if not isinstance(address, str) or not address:
            yield (error if is_needed else warning)(f"The {name} is missing.")
            continue
        try:
            parts = urlsplit(address)
            is_safe = parts.scheme == "https" or outside.may_be_plain(parts.hostname or "")
        except ValueError:
            is_safe = False
        if not is_safe:
            yield error(f"The {name} does not begin with https://.")


def _keys(told: Mapping[str, Any]) -> Iterator[Finding]:
    address = told.get("jwks_uri")
    if isinstance(address, str) and address:
        try:
            keys = _get_json(address).get("keys")
        except Trouble as trouble:
            yield error(f"Its keys cannot be read: {trouble}")
        else:
            if isinstance(keys, list) and keys:
                yield fine(f"It shows {len(keys)} {'key' if len(keys) == 1 else 'keys'} to check its tokens by.")
            else:
                yield error("Its jwks_uri has no keys: nobody could check its tokens.")


def _scopes(told: Mapping[str, Any], wanted: list[str]) -> Iterator[Finding]:
    """Only openid has to be listed; providers may support more than they list."""
    supported = _names(told, "scopes_supported", wanted)
    missing = [one for one in wanted if one not in supported]
    if "openid" in missing:
        yield error("It does not support the scope openid: this is no OpenID Connect provider.")
    if others := [one for one in missing if one != "openid"]:
        yield warning(f"It does not list the {'scope' if len(others) == 1 else 'scopes'} {', '.join(others)}.")


def _names(told: Mapping[str, Any], name: str, otherwise: list[str]) -> list[str]:
    """What the provider lists; what it says nothing of counts as supported."""
    found = told.get(name)
    return [str(one) for one in found] if isinstance(found, list) else otherwise


def _console(provider: AuthenticationProvider) -> Iterator[Finding]:
    """This console's own log-in is configured apart: say where the two differ."""
    if not settings.OIDC_ISSUER:
        yield warning("This console itself does not log people in by it: LIFETIME_OIDC_ISSUER is not set.")
        return
    if settings.OIDC_ISSUER.rstrip("/") + DISCOVERY != provider.configuration["well_known_url"]:
        yield warning(f"This console itself logs people in by another provider, {settings.OIDC_ISSUER}.")
        return
    name = "client_id_console" if provider.has_client_ids_by_kind else "client_id"
    if provider.configuration.get(name) != settings.OIDC_RP_CLIENT_ID:
        yield warning(f"This console itself uses another client ID there, {settings.OIDC_RP_CLIENT_ID}.")


# LDAP


def _ldap(provider: AuthenticationProvider) -> Iterator[Finding]:
    wanted = provider.configuration
    parts = urlsplit(wanted["address"])
    host, with_tls = parts.hostname or "", parts.scheme == "ldaps"
    port = parts.port or (636 if with_tls else 389)
    _refuse_in_maintenance(wanted["address"], port=port)
    address = outside.try_connection(host, port, with_tls=with_tls)
    if with_tls:
        yield fine(f"{host}:{port} answers, and its certificate is valid.")
    else:
        yield fine(f"{host}:{port} answers.")
        yield warning("The connection is not encrypted: passwords can be read on their way. Use ldaps://.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the library, about libraries of its own
        yield from _bind(wanted, provider.secret, host, address, port, with_tls=with_tls)


def _bind(
    wanted: Mapping[str, Any], secret: str, host: str, address: str, port: int, *, with_tls: bool
) -> Iterator[Finding]:
    import ldap3
    from ldap3.core.exceptions import LDAPException
    from pyasn1.error import PyAsn1Error

    if wanted["bind_dn"] and not secret:
        yield error("No bind password is stored, and the bind DN needs one.")
        return
    # By the address that was checked, so that a name which changes its mind meanwhile leads nowhere else.
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, valid_names=[host], sni=host) if with_tls else None
    server = ldap3.Server(
        address, port, use_ssl=with_tls, tls=tls, get_info=ldap3.NONE, connect_timeout=outside.CONNECT_SECONDS
    )
    connection = ldap3.Connection(
        server,
        user=wanted["bind_dn"] or None,
        password=secret or None,
        authentication=ldap3.SIMPLE if wanted["bind_dn"] else ldap3.ANONYMOUS,
        auto_referrals=False,
        read_only=True,
        receive_timeout=int(outside.CONNECT_SECONDS),
    )
    deadline = threading.Timer(LDAP_SECONDS, _cut, [connection])
    deadline.start()
    try:
        yield from _ask(connection, wanted)
    except (LDAPException, PyAsn1Error, OSError, ValueError, LookupError, TypeError, AttributeError) as trouble:
        logger.info("LDAP server %s: %s", host, type(trouble).__name__)
        yield error(f"{host}:{port} broke off or does not speak LDAP.")
    finally:
        deadline.cancel()
        _cut(connection)


def _cut(connection: Any) -> None:
    """End the conversation from outside of it: a server that drips its answer holds no worker."""
    if open_socket := connection.socket:
        with suppress(OSError):
            open_socket.shutdown(socket.SHUT_RDWR)
        open_socket.close()


def _ask(connection: Any, wanted: Mapping[str, Any]) -> Iterator[Finding]:
    import ldap3

    who = wanted["bind_dn"] or "anonymously"
    if not connection.bind():
        reason = str(connection.result.get("description") or "refused")
        text = {"invalidCredentials": "the bind DN or the password is wrong"}.get(reason, reason)
        yield error(f"Binding {'as ' if wanted['bind_dn'] else ''}{who} failed: {text}.")
        return
    yield fine(f"Binding {'as ' if wanted['bind_dn'] else ''}{who} works.")
    if not connection.search(wanted["base_dn"], "(objectClass=*)", ldap3.BASE, attributes=["1.1"]):
        reason = str(connection.result.get("description") or "nothing found")
        text = {"noSuchObject": "there is nothing by that name"}.get(reason, reason)
        yield error(f"The base DN {wanted['base_dn']} cannot be read: {text}.")
        return
    yield fine(f"The base DN {wanted['base_dn']} is there.")
    name = wanted["username_attribute"]
    connection.search(wanted["base_dn"], f"({name}=*)", ldap3.SUBTREE, attributes=["1.1"], size_limit=1, time_limit=5)
    if any(one.get("type") == "searchResEntry" for one in connection.response or []):
        yield fine(f"There are people with the attribute {name}.")
    else:
        yield warning(f"Nobody below the base DN has the attribute {name}, as far as this account sees.")
