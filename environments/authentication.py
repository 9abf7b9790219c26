"""External authentication: how people log in to environments.

One configuration is active for the whole infrastructure, or none, and then the built-in one holds. Synchronization
delivers it; an environment in maintenance mode gets it on its return. A secret is written and never shown again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import TextChoices
from django.utils import timezone

from audit import log
from environments import addresses, deliveries, outside, provider_tests, sync
from environments.models import AuthenticationProvider, Environment, ProviderTest, SyncRun
from environments.models.delivery import BY_KIND
from lifetime import changes, local_passwords

Mode = AuthenticationProvider.Mode
LONGEST_SECRET = 100
LONGEST_TEXT = 300
NAMED = 20
ADDRESSES = ("well_known_url", "address")  # where the secret goes, directly or by way of what is found there
SCOPES = ("openid", "email", "profile", "offline_access")
REQUIRED_SCOPES = ("openid", "email", "profile")
LABELS: dict[str, dict[str, str]] = {
    Mode.OIDC: {
        "well_known_url": "Well-known URL",
        "client_ids": "Client IDs",
        "client_id": "Client ID",
        "client_id_development": "Client ID of development environments",
        "client_id_test": "Client ID of test environments",
        "client_id_production": "Client ID of production environments",
        "client_id_console": "Client ID of this console",
        "username_claim": "Username claim",
        "scopes": "Scopes",
    },
    Mode.LDAP: {
        "address": "Server address",
        "base_dn": "Base DN",
        "bind_dn": "Bind DN",
        "username_attribute": "Username attribute",
    },
}
CLAIM = re.compile(r"[A-Za-z0-9_.:/\-]+", re.ASCII)
ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9\-]*", re.ASCII)
DISTINGUISHED_NAME = re.compile(r"[A-Za-z0-9.]+\s*=[^,=]+(?:,\s*[A-Za-z0-9.]+\s*=[^,=]+)*", re.ASCII)


class Refused(Exception):
    """Nothing was changed. The text says why and what to do."""


class Arrival(TextChoices):
    """How an environment stands with what is configured."""

    DELIVERED = "delivered", "Delivered"
    PENDING = "pending", "Pending"
    MAINTENANCE = "maintenance", "Pending: in maintenance mode"
    FAILED = "failed", "Failed"


@dataclass(frozen=True, kw_only=True)
class Result:
    environment: Environment
    arrival: Arrival
    message: str = ""


def clean(mode: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what is known of its mode, trimmed; ValidationError by field."""
    if mode not in LABELS:
        raise ValidationError({"mode": "Choose OpenID Connect or LDAP."})
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    is_by_kind = configuration.get("client_ids") == BY_KIND
    for name, label in LABELS[mode].items():
        if name.startswith("client_id") and (name == "client_id") == is_by_kind:
            continue  # there is one client ID, or there are several
        try:
            values[name] = _CHECKS[name](label, configuration.get(name, ""))
        except ValidationError as refusal:
            errors[name] = refusal.messages[0]
    if errors:
        raise ValidationError(errors)
    return values


def _line(label: str, value: Any, *, is_required: bool = True) -> str:
    text = str(value).strip()
    if is_required and not text:
        raise ValidationError(f"{label} is missing.")
    if len(text) > LONGEST_TEXT:
        raise ValidationError(f"{label} has at most {LONGEST_TEXT} characters; this one has {len(text)}.")
    if not text.isprintable():
        raise ValidationError(f"Write {label} in one line, without control characters.")
    return text


def _matching(pattern: re.Pattern[str], advice: str, label: str, value: Any) -> str:
    text = _line(label, value)
    if not pattern.fullmatch(text):
        raise ValidationError(f"{label}: {advice}")
    return text


def _well_known(label: str, value: Any) -> str:
    text = _line(label, value)
    address = addresses.normalise(text)
    parts = urlsplit(address)
    if parts.scheme != "https" and not outside.may_be_plain(parts.hostname or ""):
        raise ValidationError(f"{label} begins with https://.")
    return address


def _ldap_address(label: str, value: Any) -> str:
    text = _line(label, value)
    scheme, _, rest = text.partition("://")
    if scheme.lower() not in ("ldaps", "ldap") or not rest:
        raise ValidationError(f"{label} begins with ldaps:// (or ldap://), for example ldaps://ldap.example.com:636.")
    host = addresses.normalise(f"https://{rest}").removeprefix("https://")
    if "/" in host:
        raise ValidationError(f"{label} is a host and a port, without a path; the base DN has a field of its own.")
    return f"{scheme.lower()}://{host}"


def _scopes(label: str, value: Any) -> list[str]:
    chosen = {str(one) for one in value} if isinstance(value, list | tuple | set) else set(str(value).split())
    if unknown := chosen - set(SCOPES):
        raise ValidationError(f"{label}: {', '.join(sorted(unknown))} is none of {', '.join(SCOPES)}.")
    if missing := [one for one in REQUIRED_SCOPES if one not in chosen]:
        raise ValidationError(f"{label}: {', '.join(missing)} cannot be left out.")
    return [one for one in SCOPES if one in chosen]


_CHECKS: dict[str, Any] = {
    "well_known_url": _well_known,
    "client_ids": lambda label, value: BY_KIND,
    "client_id": _line,
    "client_id_development": _line,
    "client_id_test": _line,
    "client_id_production": _line,
    "client_id_console": lambda label, value: _line(label, value, is_required=False),
    "username_claim": lambda label, value: _matching(
        CLAIM, "the name of a claim, such as email.", label, value or "email"
    ),
    "scopes": _scopes,
    "address": _ldap_address,
    "base_dn": lambda label, value: _matching(
        DISTINGUISHED_NAME, "a distinguished name, such as ou=people,dc=example,dc=com.", label, value
    ),
    "bind_dn": lambda label, value: _line(label, value, is_required=False),
    "username_attribute": lambda label, value: _matching(
        ATTRIBUTE, "the name of an attribute, such as uid.", label, value or "uid"
    ),
}


def clean_name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > 80 or not name.isprintable():
        raise ValidationError({"name": "Write a name of 1 to 80 characters in one line."})
    return name


def clean_secret(text: str) -> str:
    """The secret as it is, at most 100 characters; ValidationError otherwise. The words never repeat it."""
    if len(text) > LONGEST_SECRET:
        raise ValidationError({"secret": f"A secret has at most {LONGEST_SECRET} characters."})
    if not text.isprintable():
        raise ValidationError({"secret": "A secret has no line breaks and no control characters."})
    return text


def save(
    provider: AuthenticationProvider | None,
    *,
    name: str,
    mode: str,
    configuration: Mapping[str, Any],
    secret: str = "",
    by: log.Actor,
) -> AuthenticationProvider:
    """Create a provider, or change one that is not active; an empty secret keeps the one that is stored.

    Raises ValidationError by field, and Refused.
    """
    name, secret = clean_name(name), clean_secret(secret)
    values = clean(mode, configuration)
    try:
        with transaction.atomic():
            saved = _locked(provider) if provider else AuthenticationProvider(mode=mode)
            if provider:
                _refuse_active(saved, "change")
            told = {"name": saved.name, **saved.configuration}
            if saved.sealed_secret and not secret and any(told.get(one) != values.get(one) for one in ADDRESSES):
                raise ValidationError({"secret": "Enter the secret for this address; the stored one is for another."})
            saved.name, saved.configuration = name, values
            if secret:
                saved.secret = secret
            saved.save()
            new = {"name": name, **values}
            labels = {"name": "Name", **LABELS[saved.mode]}
            changed = [label for one, label in labels.items() if new.get(one) != told.get(one)]
            if secret:
                changed.append("Secret")
            if changed:
                provider_tests.forget(saved)
            if provider is None:
                _audit(f"Created authentication provider '{saved}' ({saved.get_mode_display()})", saved, by)
            elif changed:
                details = {"before": told, "after": new}
                _audit(f"Changed {', '.join(changed)} of authentication provider '{saved}'", saved, by, details)
    except IntegrityError:
        raise ValidationError({"name": "Another provider has this name."}) from None
    return saved


def delete(provider: AuthenticationProvider, *, by: log.Actor) -> None:
    """Forget a provider that is not active; raises Refused."""
    with transaction.atomic():
        locked = _locked(provider)
        _refuse_active(locked, "delete")
        locked.delete()
        _audit(f"Deleted authentication provider '{locked}'", locked, by)


def activate(
    provider: AuthenticationProvider,
    *,
    secret: str = "",
    clear_passwords: bool = False,
    keep_session: str = "",
    by: log.Actor,
) -> None:
    """Have this one hold everywhere, instead of whichever did, and deliver it; raises ValidationError, Refused.

    Everybody logs in anew: all sessions here end but `keep_session`. With `clear_passwords` nobody keeps a local
    password but support staff and superusers.
    """
    secret = clean_secret(secret)
    with transaction.atomic():
        changes.one_at_a_time()
        former = _all_locked()
        locked = next((one for one in former if one.pk == provider.pk), None)
        if locked is None:
            raise Refused("This provider was deleted meanwhile.")
        if locked.is_active:
            raise Refused(f"{locked} is active already.")
        if clear_passwords and (reason := refusal_to_clear(locked)):
            raise ValidationError({"clear_passwords": reason})
        if secret:
            locked.secret = secret
            provider_tests.forget(locked)
        if locked.mode == Mode.OIDC and not locked.sealed_secret:
            raise ValidationError({"secret": "OpenID Connect needs the client secret. Enter it."})
        replaced = next((one for one in former if one.is_active), None)
        if replaced:
            _set_inactive(replaced)
        locked.is_active, locked.activated_at, locked.activated_by = True, timezone.now(), by.name
        locked.save(update_fields=["is_active", "activated_at", "activated_by", "sealed_secret"])
        sync.deliver(Environment.objects.registered())
        instead = f" instead of '{replaced}'" if replaced else ""
        told = {"sessions ended": local_passwords.end_sessions(except_for=keep_session)}
        entries = [_entry(f"Activated authentication provider '{locked}'{instead}", locked, by, told)]
        if clear_passwords:
            entries.append(_clear_passwords(locked, by))
        log.record_all(entries)


def _clear_passwords(provider: AuthenticationProvider, by: log.Actor) -> log.Entry:
    cleared, kept = local_passwords.clear(), local_passwords.local_administrators()
    names = list(kept.order_by("username").values_list("username", flat=True)[:NAMED])
    people = "1 person" if cleared == 1 else f"{cleared} people"
    message = f"Cleared the local passwords of {people}, who log in by '{provider}' from now on"
    return _entry(message, provider, by, {"local administrators": names})


def refusal_to_clear(provider: AuthenticationProvider) -> str:
    """Why local passwords may not be cleared in favour of this provider now; "" when they may."""
    if provider.mode != Mode.OIDC:
        return "This console does not log people in by LDAP, so without passwords they could not log in at all."
    test = provider_tests.latest(provider)
    if test is None or test.status != ProviderTest.Status.PASSED:
        return "Nobody knows whether it answers. Test this provider first; passwords are cleared once that has passed."
    return local_passwords.refusal_to_clear(provider.configuration["well_known_url"])


def deactivate(provider: AuthenticationProvider, *, by: log.Actor) -> None:
    """Have the built-in authentication hold everywhere, and deliver that; raises Refused."""
    with transaction.atomic():
        locked = _locked(provider)
        if not locked.is_active:
            raise Refused(f"{locked} is not active.")
        _set_inactive(locked)
        sync.deliver(Environment.objects.registered())
        _audit(f"Deactivated authentication provider '{locked}'", locked, by)


def propagate(*, by: log.Actor) -> None:
    """Synchronize every environment now, which delivers what is configured where it has not arrived."""
    with transaction.atomic():
        sync.deliver(Environment.objects.registered())
        everywhere = log.AuditObject(type="authentication provider", key="", name="External authentication")
        log.record("Propagated the external authentication configuration", everywhere, by=by)


def results() -> list[Result]:
    """How each environment stands with what is configured, in pipeline order; a constant number of queries."""
    environments = list(Environment.objects.registered().in_order().select_related("maintenance_window", "sync_state"))
    wanted = deliveries.authentication_digests()
    failed = [one.pk for one in environments if one.sync_state.failures]
    last = SyncRun.objects.filter(environment__in=failed, status="failed").order_by("environment", "-pk")
    runs = {run.environment_id: run for run in last.distinct("environment")}
    return [_result(environment, wanted[environment.purpose], runs.get(environment.pk)) for environment in environments]


def _result(environment: Environment, wanted: str, failed: SyncRun | None) -> Result:
    state = environment.sync_state
    if state.digests.get("authentication") == wanted:
        return Result(environment=environment, arrival=Arrival.DELIVERED)
    if environment.is_in_maintenance:
        return Result(environment=environment, arrival=Arrival.MAINTENANCE)
    if failed and state.failures:
        told = [one["message"] for one in failed.changes.get("failed", []) if one["part"] == "authentication"]
        if told or not failed.changes.get("failed"):
            return Result(environment=environment, arrival=Arrival.FAILED, message=told[0] if told else state.message)
    return Result(environment=environment, arrival=Arrival.PENDING)


def _all_locked() -> list[AuthenticationProvider]:
    return list(AuthenticationProvider.objects.select_for_update().order_by("pk"))


def _locked(provider: AuthenticationProvider) -> AuthenticationProvider:
    locked = next((one for one in _all_locked() if one.pk == provider.pk), None)
    if locked is None:
        raise Refused("This provider was deleted meanwhile.")
    return locked


def _refuse_active(provider: AuthenticationProvider, what: str) -> None:
    if provider.is_active:
        raise Refused(f"{provider} is active: nobody can {what} it. Deactivate it first.")


def _set_inactive(provider: AuthenticationProvider) -> None:
    provider.is_active, provider.activated_at, provider.activated_by = False, None, ""
    provider.save(update_fields=["is_active", "activated_at", "activated_by"])


def _audit(
    message: str, provider: AuthenticationProvider, by: log.Actor, details: Mapping[str, Any] | None = None
) -> None:
    log.record_all([_entry(message, provider, by, details)])


def _entry(
    message: str, provider: AuthenticationProvider, by: log.Actor, details: Mapping[str, Any] | None = None
) -> log.Entry:
    return log.Entry(message=message, on=provider.audit_object, by=by, details=dict(details or {}))
