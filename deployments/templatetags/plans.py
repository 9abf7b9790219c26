"""What pages tell of deployment plans: how one stands, where it leads, what can be chosen for an application."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from deployments import listing
from deployments.models import DeploymentPlan
from deployments.proposals import Row
from deployments.views.objects import page_of
from lifetime.templatetags import console

register = template.Library()


@register.simple_tag
def plan_badge(plan: DeploymentPlan) -> SafeString:
    """The state of a plan: always a word, with a sign."""
    sign = listing.sign(plan)
    return format_html('<span class="badge badge--{}">{}{}</span>', sign.variant, console.icon(sign.icon), sign.label)


@register.simple_tag
def plan_url(plan: DeploymentPlan) -> str:
    return page_of(plan)


@register.simple_tag
def row_options(row: Row) -> SafeString:
    """The options of an application; a thousand selections are on a page, too many for the template language."""
    chosen = row.value
    return format_html_join(
        "",
        '<option value="{}"{}>{}</option>',
        ((one.value, SafeString(" selected") if one.value == chosen else "", one.label) for one in row.options),
    )


@register.filter
def of_row(found: Mapping[Any, Any], row: Row) -> Any:
    """What belongs to the operation of a row."""
    return found.get(row.operation.pk)
