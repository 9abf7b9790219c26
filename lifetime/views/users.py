"""Pages about IT users: list, create, edit with what they may do."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit import paging
from audit.models import AuditEvent
from environments.models import Environment
from lifetime import people, policy
from lifetime.changes import Refused
from lifetime.models import ApplicationRole, TeamMembership, User
from lifetime.people_forms import SearchForm, UserForm, add_refusal
from lifetime.permissions import Permissions
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest
from lifetime.views.answers import author, posted

SIZE = 50
SUGGESTED = 20


@require_safe
def users(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    form = SearchForm(request.GET)
    found = _found(form) if form.is_valid() else User.objects.none()
    page = Paginator(found, SIZE).get_page(request.GET.get("page"))
    query = {name: value for name in form.fields if (value := request.GET.get(name, ""))}
    context = {"form": form, "page": page, "filter": urlencode(query), "is_filtered": bool(query)}
    return render(request, "lifetime/users.html", context, status=200 if form.is_valid() else 422)


def _found(form: SearchForm) -> QuerySet[User]:
    values = form.cleaned_data
    found = User.objects.select_related("role").annotate(teams=Count("memberships")).order_by("name", "pk")
    if text := values["name"]:
        found = found.filter(Q(name__icontains=text) | Q(username__icontains=text) | Q(email__icontains=text))
    if values["role"]:
        found = found.filter(role=values["role"])
    if values["state"]:
        found = found.filter(is_active=values["state"] == "active")
    return found


@sensitive_post_parameters("password", "repeat_password")
@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    form = UserForm(posted(request))
    if form.is_valid():
        try:
            values = {name: form.cleaned_data[name] for name in people.EDITABLE}
            user = people.create(**values, password=form.cleaned_data["password"] or None, by=author(request))
            messages.success(request, f"{user} is created, and soon known in every environment.")
            return redirect(user)
        except Refused as refusal:
            add_refusal(form, refusal)
    return render(request, "lifetime/create_user.html", {"form": form}, status=422 if form.is_bound else 200)


@sensitive_post_parameters("password", "repeat_password")
@require_http_methods(["GET", "HEAD", "POST"])
def user(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    shown = get_object_or_404(User.objects.select_related("role"), key=key)
    form = UserForm(posted(request), user=shown)
    if form.is_valid():
        try:
            people.edit(shown, form.changes, password=form.cleaned_data["password"] or None, by=author(request))
            messages.success(request, f"{form.cleaned_data['name']} is saved.")
            return redirect(shown)
        except Refused as refusal:
            add_refusal(form, refusal)
    return render(request, "lifetime/user.html", _page(shown, form), status=422 if form.is_bound else 200)


def _page(shown: User, form: UserForm) -> dict[str, Any]:
    environments = list(Environment.objects.registered().in_order())
    held = Permissions.of(shown, environments)
    memberships = TeamMembership.objects.filter(user=shown).select_related("team", "role").order_by("team__name", "pk")
    granted = ApplicationRole.objects.filter(user=shown).select_related("application", "role")
    return {
        "shown": shown,
        "form": form,
        "environments": environments,
        "by_default": [(one, held.rights(one)) for one in environments],
        "memberships": [(one, [held.ladder.of(one.role, where) for where in environments]) for one in memberships],
        "application_roles": [
            (one, [held.level(one.application_id, where) for where in environments])
            for one in granted.order_by("application__name", "pk")
        ],
        "history": paging.history(shown.audit_object),
        "has_acted": AuditEvent.objects.by_username(shown.username).exists(),
    }


@require_POST
def unblock(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    blocked = get_object_or_404(User, key=key)
    if people.unblock(blocked, by=author(request)):
        messages.success(request, f"{blocked} may try to log in again.")
    else:
        messages.info(request, f"No log-in of {blocked} had failed lately. Nothing was changed.")
    return redirect(blocked)


@require_safe
def suggestions(request: AuthenticatedRequest) -> HttpResponse:
    """The people whom a form offers while somebody types; for whoever manages a team or an application's roles."""
    if not Permissions.of(request.user, []).manages_some_people:
        policy.require(request.user, Action.MANAGE_TEAMS)
    text = request.GET.get("user", "").strip().replace("\0", "")[:150]
    matching = Q(name__icontains=text) | Q(username__icontains=text)
    found = User.objects.filter(matching, is_active=True).order_by("name", "pk")[:SUGGESTED]
    return render(request, "lifetime/_people.html", {"people": found})
