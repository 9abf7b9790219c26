"""Pages about roles: list, the form with the ladder, deletion with a replacement."""

import hashlib
import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit import paging
from environments.models import Environment
from lifetime import policy, roles
from lifetime.changes import Refused
from lifetime.models import Level, Role
from lifetime.people_forms import DeleteRoleForm, LevelForm, RoleForm, add_refusal, level_forms
from lifetime.permissions import Ladder, Rights
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest
from lifetime.views.answers import author, leave, posted


@require_safe
def all_roles(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    environments = list(Environment.objects.registered().in_order())
    rows = list(
        Role.objects.annotate(
            people=Count("users", distinct=True), accounts=Count("service_accounts", distinct=True)
        ).order_by("-is_built_in", "name", "pk")
    )
    ladder = Ladder(rows, environments)
    listed = [(role, [ladder.of(role, environment) for environment in environments]) for role in rows]
    return render(request, "lifetime/roles.html", {"roles": listed, "environments": environments})


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    environments = Environment.objects.registered().in_order()
    form, levels = RoleForm(posted(request)), level_forms(posted(request), None, environments)
    if form.is_valid() and _are_valid(levels):
        try:
            values = {name: form.cleaned_data[name] for name in roles.EDITABLE}
            role = roles.create(values, _rights(levels), by=author(request))
            messages.success(request, f"The role {role} is created.")
            return redirect("lifetime:roles")
        except Refused as refusal:
            add_refusal(form, refusal)
    context = {"form": form, "ladder": levels, "levels": Level}
    return render(request, "lifetime/role.html", context, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def role(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The form. Who is concerned is shown before anything is saved: the same form once more, confirmed."""
    policy.require(request.user, Action.MANAGE_PEOPLE)
    shown = get_object_or_404(Role, key=key)
    form, levels = _forms(request, shown)
    concerned = roles.affected(shown)
    unconfirmed: dict[str, Any] = {}
    if form.is_valid() and _are_valid(levels):
        changed = _rights([one for one in levels if one.has_changed()])
        stamp = _stamp(form.changes, changed)
        if not concerned.any or not (form.changes or changed) or form.cleaned_data["confirmed"] == stamp:
            try:
                roles.edit(shown, form.changes, changed, by=author(request))
                messages.success(request, f"The role {form.cleaned_data['name']} is saved.")
                return redirect(shown)
            except Refused as refusal:
                add_refusal(form, refusal)
        else:
            ladder = Ladder([shown], list(changed))
            rows = [(where, ladder.of(shown, where), rights) for where, rights in changed.items()]
            unconfirmed = {"stamp": stamp, "differences": rows}
    context = {
        "shown": shown,
        "form": form,
        "ladder": levels,
        "levels": Level,
        "concerned": concerned,
        "history": paging.history(shown.audit_object),
        **unconfirmed,
    }
    return render(request, "lifetime/role.html", context, status=422 if form.is_bound and not unconfirmed else 200)


def _forms(request: AuthenticatedRequest, shown: Role) -> tuple[RoleForm, list[LevelForm]]:
    environments = Environment.objects.registered().in_order()
    data = posted(request)
    form = RoleForm(data, role=shown)
    return form, level_forms(data, shown, environments, frozen=shown.is_administrator)


def _are_valid(levels: list[LevelForm]) -> bool:
    wrong = [one for one in levels if one.is_bound and not one.is_valid()]  # each of them, so that each says what
    return not wrong


def _rights(levels: list[LevelForm]) -> dict[Environment, Rights]:
    return {one.environment: one.rights for one in levels if one.is_bound}


def _stamp(values: dict[str, Any], changed: dict[Environment, Rights]) -> str:
    """What was confirmed; when the form says something else by then, it is asked again."""
    said = json.dumps([values, {str(where.key): str(rights) for where, rights in changed.items()}], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


@require_safe
def delete_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    shown = get_object_or_404(Role, key=key)
    if not request.htmx:
        return redirect(shown)
    return _dialog(request, shown, None)


@require_POST
def delete(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    shown = get_object_or_404(Role, key=key)
    form = DeleteRoleForm(request.POST, role=shown, is_used=roles.affected(shown).any)
    if form.is_valid():
        try:
            roles.delete(shown, replacement=form.cleaned_data.get("replacement"), by=author(request))
            messages.success(request, f"The role {shown} is deleted.")
            return leave(request, "lifetime:roles")
        except Refused as refusal:
            add_refusal(form, refusal)
    return _dialog(request, shown, form)


def _dialog(request: AuthenticatedRequest, shown: Role, form: DeleteRoleForm | None) -> HttpResponse:
    concerned = roles.affected(shown)
    status = 422 if form else 200
    form = form or DeleteRoleForm(role=shown, is_used=concerned.any)
    context = {"shown": shown, "form": form, "concerned": concerned}
    return render(request, "lifetime/_delete_role.html", context, status=status)
