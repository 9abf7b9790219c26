"""Blocked Addresses: choose an environment, look, unblock."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from environments import blocked_addresses as rules
from environments.models import Environment
from environments.views.settings import asking
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address


@require_safe
def choose(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    first = Environment.objects.registered().in_order().first()
    if first is not None:
        return redirect("settings:blocked", first.key)
    return render(
        request,
        "environments/settings/blocked_addresses.html",
        {"environments": [], "may_view_infrastructure": policy.may(request.user, Action.VIEW_INFRASTRUCTURE)},
    )


@require_safe
def blocked(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.MANAGE_PEOPLE)
    context = {
        "environment": environment,
        "environments": list(Environment.objects.registered().in_order()),
        "blocked": rules.of(environment),
        "may_ask": asking.may_ask(environment, "Reading and unblocking addresses"),
    }
    return render(request, "environments/settings/blocked_addresses.html", context)


@require_POST
def read(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.MANAGE_PEOPLE)
    rules.request(environment, by=request.user.actor(client_address(request)))
    messages.success(request, f"{environment} is being asked.")
    return redirect("settings:blocked", environment.key)


@require_POST
def unblock(request: AuthenticatedRequest, key: UUID, block_key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.MANAGE_PEOPLE)
    rules.unblock(environment, block_key, by=request.user.actor(client_address(request)))
    messages.success(request, "The address is being unblocked.")
    return redirect("settings:blocked", environment.key)
