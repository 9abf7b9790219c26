"""Pages about teams: list, details with people and applications."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit import paging
from environments.models import Application
from lifetime import policy, teams
from lifetime.changes import Refused
from lifetime.models import Team, User
from lifetime.people_forms import ApplicationsForm, MemberForm, TeamForm, add_refusal
from lifetime.permissions import Permissions
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest
from lifetime.views.answers import author, leave, posted


@require_safe
def all_teams(request: AuthenticatedRequest) -> HttpResponse:
    """All teams for whoever manages all of them, else those that this person manages."""
    policy.require(request.user, Action.MANAGE_TEAMS)
    rows = Team.objects.annotate(
        people=Count("memberships", distinct=True), owned=Count("applications", distinct=True)
    ).order_by("name", "pk")
    if not request.user.manages_teams:
        rows = rows.filter(pk__in=Permissions.of(request.user, []).managed_teams)
    return render(
        request, "lifetime/teams.html", {"teams": rows, "may_create": policy.may(request.user, Action.CREATE_TEAMS)}
    )


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.CREATE_TEAMS)
    form = TeamForm(posted(request))
    if form.is_valid():
        try:
            team = teams.create(**form.cleaned_data, by=author(request))
            messages.success(request, f"The team {team} is created. Add its people and applications.")
            return redirect(team)
        except Refused as refusal:
            add_refusal(form, refusal)
    return render(request, "lifetime/create_team.html", {"form": form}, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def team(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = policy.get_team(request.user, key, Action.MANAGE_TEAMS)
    form = TeamForm(posted(request), team=shown)
    if form.is_valid():
        try:
            saved = teams.edit(shown, form.changes, by=author(request))
            messages.success(request, f"The team {saved} is saved.")
            return redirect(saved)
        except Refused as refusal:
            add_refusal(form, refusal)
    return _page(request, shown, form=form, status=422 if form.is_bound else 200)


def _page(
    request: AuthenticatedRequest,
    shown: Team,
    *,
    form: TeamForm | None = None,
    member: MemberForm | None = None,
    added: ApplicationsForm | None = None,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "shown": shown,
        "form": form or TeamForm(team=shown),
        "member_form": member or MemberForm(suggestions=reverse("lifetime:people")),
        "applications_form": added or ApplicationsForm(by=request.user),
        "members": shown.memberships.select_related("user", "role").order_by("user__name", "pk"),
        "applications": shown.applications.select_related("application").order_by("application__name", "pk"),
        "may_delete": policy.may(request.user, Action.CREATE_TEAMS),
        "history": paging.history(shown.audit_object),
    }
    return render(request, "lifetime/team.html", context, status=status)


@require_POST
def set_member(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """Add somebody, or give somebody in the team another role."""
    shown = policy.get_team(request.user, key, Action.MANAGE_TEAMS)
    form = MemberForm(request.POST, suggestions=reverse("lifetime:people"))
    if form.is_valid():
        user, role = form.cleaned_data["user"], form.cleaned_data["role"]
        try:
            teams.set_member(shown, user, role, by=author(request))
            messages.success(request, f"{user} has the role {role} in the team.")
            return redirect(shown)
        except Refused as refusal:
            add_refusal(form, refusal)
    return _page(request, shown, member=form, status=422)


@require_POST
def remove_member(request: AuthenticatedRequest, key: UUID, user_key: UUID) -> HttpResponse:
    shown = policy.get_team(request.user, key, Action.MANAGE_TEAMS)
    user = get_object_or_404(User.objects.select_related("role"), key=user_key)
    teams.remove_member(shown, user, by=author(request))
    messages.success(request, f"{user} is no longer in the team.")
    return redirect(shown)


@require_POST
def add_applications(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = policy.get_team(request.user, key, Action.MANAGE_TEAMS)
    form = ApplicationsForm(request.POST, by=request.user)
    if form.is_valid():
        chosen = list(form.cleaned_data["applications"])
        try:
            teams.add_applications(shown, chosen, by=author(request))
            messages.success(request, f"{len(chosen)} application{'s' if len(chosen) > 1 else ''} added to the team.")
            return redirect(shown)
        except Refused as refusal:
            form = ApplicationsForm(by=request.user)
            messages.error(request, str(refusal))
    return _page(request, shown, added=form, status=422)


@require_POST
def remove_application(request: AuthenticatedRequest, key: UUID, application_key: UUID) -> HttpResponse:
    shown = policy.get_team(request.user, key, Action.MANAGE_TEAMS)
    application = get_object_or_404(Application, key=application_key)
    teams.remove_application(shown, application, by=author(request))
    messages.success(request, f"{application} belongs to no team now.")
    return redirect(shown)


@require_safe
def delete_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _deletable(request, key)
    if not request.htmx:
        return redirect(shown)
    return render(request, "lifetime/_delete_team.html", {"shown": shown})


@require_POST
def delete(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _deletable(request, key)
    teams.delete(shown, by=author(request))
    messages.success(request, f"The team {shown} is deleted.")
    return leave(request, "lifetime:teams")


def _deletable(request: AuthenticatedRequest, key: UUID) -> Team:
    shown = policy.get_team(request.user, key, Action.MANAGE_TEAMS)
    policy.require(request.user, Action.CREATE_TEAMS)
    return shown
