"""Security settings of an environment: what they are, which values they take, and what takes effect when.

The console owns them. A change is stored here and delivered by synchronization.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from audit import log
from environments import gate, sync
from environments.models import Environment, ModuleStatus, SyncRun
from environments.models.environment import SECURITY_DEFAULTS
from environments.operations import Operation, refusal

SWITCHES = {
    "hsts": "HTTP Strict Transport Security",
    "force_https_screens": "Force HTTPS for screens",
    "force_https_integrations": "Force HTTPS for exposed integrations",
    "secure_cookies": "Secure cookies",
    "same_site": "SameSite of cookies",
    "remoting_protection": "Enhanced security for remoting requests",
}
SAME_SITE = ("None", "Lax", "Strict")
CSP = "Content Security Policy"
# What pages of the platform cannot do without: these values stay in the policy as long as it is enabled.
REQUIRED: dict[str, tuple[str, ...]] = {
    "base-uri": ("'self'",),
    "child-src": ("'self'",),
    "connect-src": ("'self'",),
    "default-src": ("'self'",),
    "font-src": ("'self'", "data:"),
    "img-src": ("'self'", "data:"),
    "media-src": (),
    "object-src": (),
    "plugin-types": (),
    "script-src": ("'self'",),
    "style-src": ("'self'",),
    "frame-ancestors": ("'self'",),
    "report-to": (),
}
LONGEST_VALUE = 300
MOST_VALUES = 100
LONGEST_POLICY = 6_000  # of the header as a whole; servers and proxies refuse longer ones
RUNS_LOOKED_AT = 20


@dataclass(frozen=True, kw_only=True)
class AfterDelivery:
    """What a person has to do so that delivered settings take effect, as far as the environment said."""

    republish: list[str] = field(default_factory=list)
    apply_settings: bool = False


def effective(environment: Environment) -> dict[str, Any]:
    """The settings as the environment shall have them."""
    return {**SECURITY_DEFAULTS, **environment.security}


def directives(environment: Environment) -> dict[str, list[str]]:
    """The directives as they are, or, before the policy was ever set up, the ones to begin with."""
    policy = effective(environment)["content_security_policy"]
    known: dict[str, list[str]] = policy["directives"]
    if known or policy["enabled"]:
        return known
    return {name: list(values) for name, values in REQUIRED.items() if values}


def clean_values(name: str, values: Iterable[str]) -> list[str]:
    """The values of a directive, trimmed and each once; ValidationError for what would break out of the header."""
    found: list[str] = []
    for value in (one.strip(" \t") for one in values):
        if not value:
            continue
        _refuse_value(name, value)
        if value not in found:
            found.append(value)
    if len(found) > MOST_VALUES:
        raise ValidationError(f"{name} takes at most {MOST_VALUES} values; these are {len(found)}.")
    if "'none'" in (value.lower() for value in found) and len(found) > 1:
        raise ValidationError(f"{name}: 'none' stands alone, or not at all.")
    return found


def _refuse_value(name: str, value: str) -> None:
    shown = value if value.isprintable() else ascii(value)
    if len(value) > LONGEST_VALUE:
        raise ValidationError(f"{name}: a value has at most {LONGEST_VALUE} characters; one has {len(value)}.")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValidationError(f"{name}: {shown} has a line break or another control character in it.")
    if ";" in value or "," in value:
        raise ValidationError(
            f"{name}: {shown} has “;” or “,” in it, which would begin another directive. Write %3B or %2C in addresses."
        )
    if " " in value:
        raise ValidationError(f"{name}: {shown} has a space in it. Write one value per line.")
    if not value.isascii():
        raise ValidationError(f"{name}: {shown} is not ASCII. Write international host names as xn--….")


def clean_other(lines: Iterable[str]) -> dict[str, list[str]]:
    """Further directives, one per line: its name, then its values, with spaces between."""
    found: dict[str, list[str]] = {}
    for line in (one.strip(" \t") for one in lines):
        if not line:
            continue
        name, *values = line.split(" ")
        shown = name if name.isprintable() else ascii(name)
        if not name.replace("-", "").isalpha() or not name.isascii() or name != name.lower() or len(name) > 60:
            raise ValidationError(f"{shown} is no name of a directive: it has small letters and hyphens only.")
        if name in REQUIRED:
            raise ValidationError(f"{name} has a field of its own.")
        if name in found:
            raise ValidationError(f"{name} is given twice.")
        found[name] = clean_values(name, values)
    return found


def refuse_missing(policy: Mapping[str, Any]) -> None:
    """Raise ValidationError when a policy lacks what pages cannot do without, or is too long for a header."""
    for name, required in REQUIRED.items():
        missing = [value for value in required if value not in policy["directives"].get(name, [])]
        if missing:
            raise ValidationError(
                {name: f"{name} keeps {' and '.join(missing)}: pages do not work without. Write it again."}
            )
    length = sum(len(" ".join([name, *values])) + 2 for name, values in policy["directives"].items())
    if length > LONGEST_POLICY:
        raise ValidationError(f"The policy has {length:,} characters; a header takes {LONGEST_POLICY:,}.")


def change(environment: Environment, changes: Mapping[str, Any], *, by: log.Actor) -> list[str]:
    """Change security settings and have them delivered; one audit entry per setting. Returns what changed, in words.

    `changes` has settings by name, `csp_enabled`, and `directives`, which are merged over the present ones; an empty
    directive goes. Raises gate.InMaintenance, gate.NotRegistered and ValidationError.
    """
    with transaction.atomic():
        [locked] = Environment.objects.filter(pk=environment.pk).lock()
        if reason := refusal(locked, Operation.CHANGE_SECURITY_SETTINGS):
            raise gate.InMaintenance(reason)
        if not locked.is_registered:
            raise gate.NotRegistered(f"{locked} is not registered.")
        before = effective(locked)
        after = _merged(before, changes)
        if after["content_security_policy"]["enabled"]:
            refuse_missing(after["content_security_policy"])
        told = list(_differences(before, after))
        if told:
            locked.security = after
            locked.save(update_fields=["security"])
            sync.deliver([locked])
            log.record_all(
                [
                    log.Entry(
                        message=f"Changed {what} of environment '{locked}' from {old} to {new}"[:2000],
                        on=locked.audit_object,
                        by=by,
                        details={"part": "security", "setting": what, "before": old, "after": new},
                    )
                    for what, old, new in told
                ]
            )
    environment.security = locked.security
    return [what for what, _, _ in told]


def _merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    after = {name: changes.get(name, before[name]) for name in SWITCHES}
    for name, value in after.items():
        if value not in SAME_SITE if name == "same_site" else not isinstance(value, bool):
            raise ValidationError({name: f"{SWITCHES[name]} does not take this value."})
    policy = before["content_security_policy"]
    merged = {**policy["directives"]}
    for name, values in changes.get("directives", {}).items():
        merged[name] = clean_values(name, values)
    enabled = changes.get("csp_enabled", policy["enabled"])
    kept = {name: values for name, values in merged.items() if values}
    return {**after, "content_security_policy": {"enabled": bool(enabled), "directives": kept}}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    for name, label in SWITCHES.items():
        if before[name] != after[name]:
            yield label, _said(before[name]), _said(after[name])
    old, new = before["content_security_policy"], after["content_security_policy"]
    if old["enabled"] != new["enabled"]:
        yield CSP, _said(old["enabled"]), _said(new["enabled"])
    for name in sorted({*old["directives"], *new["directives"]}):
        had, has = old["directives"].get(name, []), new["directives"].get(name, [])
        if had != has:
            yield f"{CSP} {name}", f"“{' '.join(had)}”", f"“{' '.join(has)}”"


def _said(value: bool | str) -> str:
    return value if isinstance(value, str) else "on" if value else "off"


def after_delivery(environment: Environment) -> AfterDelivery:
    """What delivered settings still need: modules not republished since, and whether settings have to be applied."""
    runs = SyncRun.objects.filter(environment=environment, changes__delivered__contains=[{"part": "security"}])
    changed_at = dict(ModuleStatus.objects.filter(environment=environment).values_list("module__name", "changed_at"))
    waiting: set[str] = set()
    apply_settings = False
    for number, run in enumerate(runs.newest_first()[:RUNS_LOOKED_AT]):
        [told] = [one for one in run.changes["delivered"] if one["part"] == "security"]
        if number == 0:
            apply_settings = bool(told.get("apply_settings"))
        ended = run.ended_at or run.requested_at
        waiting.update(name for name in told.get("republish", []) if name in changed_at and changed_at[name] <= ended)
    return AfterDelivery(republish=sorted(waiting), apply_settings=apply_settings)
