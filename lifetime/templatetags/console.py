"""What pages are made of: instants, durations, people, icons, navigation, and actions that say why they are refused."""

import tomllib
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Protocol
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.template.context import Context
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import slugify

from audit.log import AuditObject
from lifetime import health, navigation
from lifetime.models import Theme, User

register = template.Library()


class Decision(Protocol):
    """What the policy answers: allowed, or refused for a reason."""

    @property
    def allowed(self) -> bool: ...
    @property
    def reason(self) -> str: ...


# Instants


@register.simple_tag
def time(instant: datetime | None, empty: str = "never") -> str | SafeString:
    """The instant in the viewer's zone, short; the exact one on hover."""
    if instant is None:
        return empty
    return _time(instant, short(instant))


@register.simple_tag
def ago(instant: datetime | None, empty: str = "never") -> str | SafeString:
    """How long ago it was, or how long until then; console.js keeps it true while the page stays open."""
    if instant is None:
        return empty
    return _time(instant, relative(instant), SafeString(" data-relative"))


def _time(instant: datetime, text: str, attributes: SafeString = SafeString("")) -> SafeString:  # noqa: B008
    iso = instant.astimezone(timezone.get_fixed_timezone(0)).isoformat().replace("+00:00", "Z")
    return format_html('<time datetime="{}" title="{}"{}>{}</time>', iso, exact(instant), attributes, text)


def short(instant: datetime) -> str:
    """`23 Nov 14:05`, with the year when it is not this one."""
    local = timezone.localtime(instant)
    year = "" if local.year == timezone.localtime().year else f" {local.year}"
    return f"{local.day} {local:%b}{year} {local:%H:%M}"


def exact(instant: datetime) -> str:
    """`Monday 23 November 2026, 14:05:09.120 CET (13:05:09 UTC)`."""
    local = timezone.localtime(instant)
    text = f"{local:%A} {local.day} {local:%B %Y}, {local:%H:%M:%S}.{local.microsecond // 1000:03d} {local.tzname()}"
    utc = instant.astimezone(timezone.get_fixed_timezone(0))
    return text if local.utcoffset() == timedelta(0) else f"{text} ({utc:%H:%M:%S} UTC)"


def relative(instant: datetime) -> str:
    """`just now`, `4 min ago`, `in 2 h`."""
    seconds = (timezone.now() - instant).total_seconds()
    size = abs(seconds)
    if size < 60:
        return "just now"
    if size < 3600:
        text = f"{int(size // 60)} min"
    elif size < 36 * 3600:
        text = f"{int(size // 3600)} h"
    else:
        text = f"{int(size // 86400)} days"
    return f"{text} ago" if seconds > 0 else f"in {text}"


@register.simple_tag
def duration(seconds: float | timedelta | None) -> str:
    """`85 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return "—"
    total = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
    if total < 1:
        return f"{total * 1000:.0f} ms"
    if total < 10:
        return f"{total:.1f} s"
    for big, big_name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if total >= big:
            rest = int(total % big // small)
            return f"{int(total // big)} {big_name}" + (f" {rest} {small_name}" if rest else "")
    return f"{total:.0f} s"


# People and signs


@register.simple_tag
def person(who: object, username: str = "") -> SafeString | str:
    """A person by name, with the username on hover; the console itself where there is nobody."""
    if who is None or who == "":
        return "System"
    username = username or getattr(who, "username", "")
    if not username:
        return str(who)
    return format_html('<span class="person" title="{}">{}</span>', username, who)


@register.simple_tag
def icon(name: str) -> SafeString:
    """A sign beside a word, never instead of one."""
    sprite = f"{static('img/icons.svg')}#{name}"
    return format_html('<svg class="icon" aria-hidden="true" focusable="false"><use href="{}"/></svg>', sprite)


@register.inclusion_tag("lifetime/_action.html", takes_context=True)
def action(
    context: Context,
    decision: Decision,
    label: str,
    *,
    dialog: str = "",
    href: str = "",
    post: str = "",
    variant: str = "",
    icon: str = "",
    of: Any = "",
    hidden_label: str = "",
) -> dict[str, Any]:
    """A button that opens a dialog, follows a link (`href`) or posts (`post`); when refused it stays and says why.

    `variant` is one of the button's: primary, danger, quiet, link. `of` keeps the ids of a page's equal buttons apart;
    `hidden_label` completes the label for those who hear the page ("Edit" + "Production").
    """
    name = slugify(f"{label} {hidden_label} {of}")
    return {
        "csrf_token": context.get("csrf_token"),
        "decision": decision,
        "label": label,
        "dialog": dialog,
        "href": href,
        "post": post,
        "icon": icon,
        "hidden_label": hidden_label,
        "classes": " ".join(["button", *(f"button--{one}" for one in variant.split())]),
        "id": f"do-{name}",
        "why": f"why-{name}",
    }


@register.simple_tag
def log_of(on: AuditObject) -> str:
    """The address of the log with every entry about one object."""
    return f"{reverse('audit:events')}?{urlencode({'from': '', 'to': '', 'type': on.type, 'key': on.key})}"


# The shell


@register.simple_tag(takes_context=True)
def tabs(context: Context) -> list[navigation.Entry]:
    """The tabs of the person who looks, none before logging in."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if request is None or not isinstance(user, User):
        return []
    return list(navigation.entries(user, request.resolver_match))


@register.simple_tag(takes_context=True)
def theme(context: Context) -> str:
    """The person's theme; on the log-in page the one this browser had last."""
    request = context.get("request")
    user = getattr(request, "user", None)
    if isinstance(user, User):
        return user.theme
    remembered = request.COOKIES.get("theme", "") if request else ""
    return remembered if remembered in Theme.values else Theme.AUTO


@register.inclusion_tag("lifetime/_troubles.html", takes_context=True)
def troubles(context: Context) -> dict[str, list[str]]:
    """What keeps the console from working, for those who can do something about it; others are not told."""
    user = context.get("user")
    may_help = isinstance(user, User) and user.manages_infrastructure
    return {"troubles": health.look().problems if may_help else []}


@register.simple_tag
def theme_choices() -> Iterable[tuple[str, str]]:
    return [(Theme.AUTO, "Auto"), (Theme.LIGHT, "Light"), (Theme.DARK, "Dark")]


@register.simple_tag
def current_time_zone() -> str:
    """The name of the zone in which this page shows its times."""
    return timezone.get_current_timezone_name()


@register.simple_tag
@cache
def version() -> str:
    """The console's version."""
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]
    return str(project["version"])
