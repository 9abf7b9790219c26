"""The rows of a plan's selection: a thousand of them on a page, too many for the template language."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from django import template
from django.template.context import Context
from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from deployments.models import DeploymentPlan, PlanFinding
from deployments.proposals import Row
from environments.templatetags.applications import version
from lifetime.templatetags import console

register = template.Library()

ANY = UUID(int=0)
SIGNS = {"Error": "failed", "Warning": "warning", "Info": "info"}


@register.simple_tag(takes_context=True)
def show_selection(context: Context, rows: Iterable[Row]) -> SafeString:
    """A row for each operation: what both sides have, what can be chosen, what validation says of it."""
    page = _Page(context["plan"], context["findings_of"], may_change=bool(context["may_change"]))
    return mark_safe("".join(map(page.row, rows)))  # noqa: S308 - every value is escaped below


class _Page:
    """What the rows have in common, looked up once."""

    def __init__(
        self, plan: DeploymentPlan, findings: Mapping[int, Sequence[PlanFinding]], *, may_change: bool
    ) -> None:
        self.findings = findings
        self.is_validated = plan.is_validated
        self.may_change = may_change
        self.in_source = f"In {escape(plan.source)}"
        self.in_target = f"In {escape(plan.target)}"
        self.application = reverse("applications:details", args=[ANY])
        self.dialog = reverse("plans:change-operation-dialog", args=[plan.key, ANY])
        self.remove = reverse("plans:remove", args=[plan.key])
        self.icons = {name: console.icon(name) for name in ("lock", "warning", "failed", "info", "ok", "trash")}

    def row(self, row: Row) -> str:
        key, name = str(row.operation.application_key), escape(row.operation.application_name)
        kind = ' class="plan-selection__row--stale"' if row.is_stale else ""
        return (
            f'<tr{kind}><th scope="row" data-label="Application"><div>{self._name(row, key, name)}</div></th>'
            f'<td data-label="{self.in_source}"><div>{self._source(row)}</div></td>'
            f'<td data-label="{self.in_target}"><div>{self._target(row)}</div></td>'
            f'<td data-label="Option"><div class="plan-option">{self._option(row, key, name)}</div></td>'
            f'<td data-label="Validation"><div>{self._validation(row)}</div></td>'
            f'<td class="plan-do">{self._remove(key, name)}</td></tr>\n'
        )

    def _name(self, row: Row, key: str, name: str) -> str:
        if row.operation.application_id:
            name = f'<a href="{self.application.replace(str(ANY), key)}">{name}</a>'
        team = row.candidate.team if row.candidate else ""
        about: list[str] = [escape(team)] if team else []
        if row.operation.is_dependency:
            about.append("added by validation")
        return name + "".join(f'<span class="plan-list__about">{text}</span>' for text in about)

    def _source(self, row: Row) -> str:
        if row.candidate is None:
            return '<span class="muted">not there any more</span>'
        return version(row.candidate.source_version, row.candidate.source_is_modified)

    def _target(self, row: Row) -> str:
        if row.candidate is None:
            return ""
        if not row.candidate.is_in_target:
            return '<span class="muted">not published</span>'
        return version(row.candidate.target_version, row.candidate.target_is_modified)

    def _option(self, row: Row, key: str, name: str) -> str:
        now, chosen = row.candidate, row.value
        is_blocked = bool(now and now.block)
        options = "".join(
            f'<option value="{one.value}"{" selected" if one.value == chosen else ""}>{escape(one.label)}</option>'
            for one in row.options
        )
        found = self.icons["lock"] if is_blocked else ""
        found += (
            f'<select class="input" name="option-{key}" id="option-{key}" '
            f'aria-label="Deployment option for {name}"{" disabled" if is_blocked else ""}>{options}</select>'
        )
        if now and now.may_be_customized and self.may_change:
            found += (
                f'<button type="button" class="button button--small" id="custom-{key}" '
                f'hx-get="{self.dialog.replace(str(ANY), key)}" hx-target="#dialog" aria-haspopup="dialog">'
                f'{"Deploy Custom…" if now.has_picks else "Tag…"}<span class="visually-hidden"> {name}</span></button>'
            )
        if row.zones:
            found += self._zone(row, key)
        if warning := row.warning:
            found += (
                f'<span class="plan-option__note plan-option__note--warning">{self.icons["warning"]}'
                f"{escape(warning)}</span>"
            )
        if note := row.note:
            found += f'<span class="plan-option__note">{escape(note)}</span>'
        return found

    def _zone(self, row: Row, key: str) -> str:
        chosen = row.operation.zone_key
        zones = "".join(
            f'<option value="{escape(zone)}"{" selected" if zone == chosen else ""}>{escape(name)}</option>'
            for zone, name in (("", "Default zone"), *row.zones)
        )
        return f'<label class="plan-option__zone">Zone <select class="input" name="zone-{key}">{zones}</select></label>'

    def _validation(self, row: Row) -> str:
        if found := self.findings.get(row.operation.pk):
            return " ".join(
                f'<a class="plan-finding plan-finding--{one.severity.lower()}" href="#finding-{one.pk}">'
                f"{self.icons[SIGNS[one.severity]]}{one.severity}</a>"
                for one in found
            )
        if self.is_validated and row.operation.is_deployed:
            return f'<span class="plan-finding plan-finding--fine">{self.icons["ok"]}No problem</span>'
        return '<span class="muted" aria-hidden="true">·</span>'

    def _remove(self, key: str, name: str) -> str:
        if not self.may_change:
            return ""
        return (
            f'<button class="button button--small button--quiet" id="remove-{key}" formaction="{self.remove}" '
            f'name="application" value="{key}">{self.icons["trash"]}Remove'
            f'<span class="visually-hidden"> {name}</span></button>'
        )
