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
from lifetime.views.answers import author, leave


@require_safe
def all_teams(request: AuthenticatedRequest) -> HttpResponse:
    """All teams for whoever manages all of them, else those that this person manages."""
    policy.require(request.user, Action.MANAGE_TEAMS)
    rows = Team.objects.annotate(
        people=Count("memberships", distinct=True), owned=Count("applications", distinct=True)
    ).order_by("name", "pk")
    if not request.user.manages_teams:
        rows = rows.filter(pk__in=Permissions.of(request.user, []).managed_teams)
    return render(request, "lifetime/teams.html", {"teams": rows, "may_create": _may_create(request.user)})


def _may_create(user: User) -> policy.Decision:
    if user.manages_teams:
        return policy.ALLOWED
    return policy.Decision(
        False, f"Creating and deleting teams needs “{policy.MANAGE_TEAMS}” as a right of your default role ({user.role})."
    )


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.CREATE_TEAMS)
    form = TeamForm(request.POST or None)
    if form.is_valid():
        try:
            team = teams.create(**form.cleaned_data, by=author(request))
            messages.success(request, f"The team {team} is created. Add its people and applications.")
            return redirect(team)
        except Refused as refusal:
            add_refusal(form, refusal)
    return render(request, "lifetime/create_team.html", {"form": form}, status=422 if form.is_bound else 200)
