"""The cells of the applications matrix: a thousand of them on a page, too many for the template language."""

import calendar
from collections.abc import Iterable
from datetime import datetime, tzinfo
from uuid import UUID

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from environments import icons
from environments.matrix import Cell, Row
from lifetime.templatetags import console

register = template.Library()

NOTHING = (
    '<td class="matrix__cell matrix__cell--none">'
    '<span aria-hidden="true">·</span><span class="visually-hidden">not published</span></td>'
)
PROBLEMS = {
    "Error": ("failed", "failed", "Broken references"),
    "Warning": ("warning", "outdated", "Outdated consumers"),
}


@register.simple_tag
def show_rows(rows: Iterable[Row]) -> SafeString:
    """The body of the matrix: a row for each application, a cell for each environment."""
    signs = {name: console.icon(name) for name in ("failed", "warning")}
    folder, zone = reverse("applications:list"), timezone.get_current_timezone()
    return mark_safe("".join(_row(row, folder, signs, zone) for row in rows))  # noqa: S308 - every value is escaped below


def _row(row: Row, folder: str, signs: dict[str, SafeString], zone: tzinfo) -> str:
    about = row.kind + (" · system" if row.is_system else "") + (f" · {row.team}" if row.team else "")
    head = (
        f'<th scope="row" class="matrix__name">{picture(row.key, row.name, row.colour, row.icon)}'
        f'<a href="{folder}{row.key}/">{escape(row.name)}</a>'
        f'<span class="matrix__about">{escape(about)}</span></th>'
    )
    return f"<tr>{head}{''.join(_cell(one, signs, zone) for one in row.cells)}</tr>\n"


def _cell(one: tuple[Cell, bool] | None, signs: dict[str, SafeString], zone: tzinfo) -> str:
    if one is None:
        return NOTHING
    cell, is_hotfix = one
    words = ""
    if is_hotfix:
        words += '<span class="matrix__word matrix__word--hotfix">Hotfix</span>'
    if problem := PROBLEMS.get(cell.consistency):
        sign, variant, word = problem
        title = f' title="{escape(cell.consistency_message)}"' if cell.consistency_message else ""
        words += f'<span class="matrix__word matrix__word--{variant}"{title}>{signs[sign]}{word}</span>'
    who = f" {escape(cell.changed_by)}" if cell.changed_by else ""
    kind = " matrix__cell--hotfix" if is_hotfix else ""
    return (
        f'<td class="matrix__cell{kind}">{version(cell.version, cell.is_modified)}{words}'
        f'<span class="matrix__about">{_time(cell.changed_at, zone)}{who}</span></td>'
    )


def _time(instant: datetime, zone: tzinfo) -> str:
    """As `console.time` writes it, at a tenth of the cost."""
    local = instant.astimezone(zone)
    return (
        f'<time datetime="{instant.isoformat()}" title="{local.isoformat(" ", "seconds")}">'
        f"{local.day} {calendar.month_abbr[local.month]} {local.year} {local.hour:02d}:{local.minute:02d}</time>"
    )


@register.simple_tag
def picture(key: UUID, name: str, colour: str, icon: str) -> SafeString:
    """The icon of an application, or its initial on its colour. It says nothing that its name does not."""
    if icon:
        source = reverse("applications:icon", args=[key, icon])
        tag = f'<img class="application-icon" src="{source}" alt="" width="32" height="32" loading="lazy">'
    else:
        fill = icons.colour_of(key, colour)
        initial = escape(next((one for one in name if one.isalnum()), name[:1]).upper()[:1])
        tag = (
            '<svg class="application-icon" viewBox="0 0 32 32" aria-hidden="true" focusable="false">'
            f'<rect width="32" height="32" fill="{escape(fill)}"/><text x="16" y="22" text-anchor="middle" '
            f'fill="{icons.ink_on(fill)}">{initial}</text></svg>'
        )
    return mark_safe(tag)  # noqa: S308 - escaped above


def swatch(colour: str) -> SafeString:
    """A colour to choose, before its name."""
    return format_html(
        '<svg class="swatch" viewBox="0 0 16 16" aria-hidden="true" focusable="false">'
        '<rect width="16" height="16" fill="{}"/></svg>',
        colour,
    )


@register.simple_tag
def version(number: str, is_modified: bool) -> SafeString:
    """A version as LifeTime writes it: `1.2`, and `1.2+` when it was changed since it was tagged."""
    text = escape(number) if number else '<span class="muted">no version</span>'
    plus = '<span aria-hidden="true">+</span><span class="visually-hidden"> changed since</span>' if is_modified else ""
    return mark_safe(f'<b class="matrix__version">{text}{plus}</b> ')  # noqa: S308 - escaped above
