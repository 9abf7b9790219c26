"""What pages tell of deployment plans: how one stands, where it leads, which are the newest."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import template
from django.template.context import Context
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from deployments import listing
from deployments.models import DeploymentPlan, PlanStatus
from deployments.views.objects import page_of
from environments.models import Application, Environment
from lifetime import policy
from lifetime.policy import Action
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


@register.inclusion_tag("deployments/_plan_head.html", takes_context=True)
def plan_head(context: Context, heads: Mapping[int, Any], environment: Environment) -> dict[str, Any]:
    """At the head of an environment's column: the state of the newest plan to it, or the way to a new one."""
    head = heads.get(environment.pk) if heads else None
    shows_plan = bool(head and head.plan and (head.plan.status == PlanStatus.SAVED or head.plan.is_in_progress))
    return {
        "csrf_token": context.get("csrf_token"),
        "head": head,
        "plan": head.plan if head and shows_plan else None,
        "sign": listing.sign(head.plan) if head and shows_plan else None,
        "may_view_log": policy.may(context["request"].user, Action.VIEW_AUDIT_LOG),
    }


@register.inclusion_tag("deployments/_concerning.html", takes_context=True)
def plans_of(
    context: Context, *, environment: Environment | None = None, application: Application | None = None
) -> dict[str, Any]:
    """A panel with the newest plans to or from an environment, or with an application, as far as the person sees."""
    user = context["request"].user
    environments = list(Environment.objects.registered().in_order())
    key = application.key if application else None
    query = {"target": environment.key} if environment else {"text": application.name if application else ""}
    parameters = {"target": environment.key} if environment else {"application": key}
    return {
        "csrf_token": context.get("csrf_token"),
        "entries": listing.concerning(policy.held_by(user), environment=environment, application_key=key),
        "all_url": f"{reverse('plans:list')}?{urlencode(query)}",
        "create_url": f"{reverse('plans:create')}?{urlencode(parameters)}",
        "may_create": policy.may_create_plans(user, environments),
    }
