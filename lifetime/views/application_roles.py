"""Who has which role on one application."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from environments.models import Application, Environment
from lifetime import policy, teams
from lifetime.changes import Refused
from lifetime.models import ApplicationRole, TeamApplication, TeamMembership, User
from lifetime.people_forms import MemberForm, add_refusal
from lifetime.permissions import Permissions
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest
from lifetime.views.answers import author


@require_safe
def application_roles(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    application = policy.get_application(request.user, key, Action.MANAGE_APPLICATION_ROLES)
    return _page(request, application, MemberForm(suggestions=reverse("lifetime:people")))


def _page(
    request: AuthenticatedRequest, application: Application, form: MemberForm, *, status: int = 200
) -> HttpResponse:
    environments = list(Environment.objects.registered().in_order())
    owned = TeamApplication.objects.select_related("team").filter(application=application).first()
    granted = ApplicationRole.objects.filter(application=application).values_list("user", "role__name")
    in_team = TeamMembership.objects.filter(team=owned.team_id if owned else None).values_list("user", "role__name")
    by_application, by_team = dict(granted), dict(in_team)
    users = User.objects.filter(pk__in={*by_application, *by_team}).select_related("role").order_by("name", "pk")
    held = Permissions.of_all(list(users), environments)
    rows = [
        {
            "user": user,
            "by_application": by_application.get(user.pk, ""),
            "by_team": by_team.get(user.pk, ""),
            "levels": [held[user.pk].level(application.pk, where) for where in environments],
        }
        for user in users
    ]
    context = {
        "application": application,
        "team": owned.team if owned else None,
        "may_open_team": policy.may(request.user, Action.MANAGE_TEAMS, team=owned.team) if owned else None,
        "rows": rows,
        "environments": environments,
        "form": form,
    }
    return render(request, "lifetime/application_roles.html", context, status=status)


@require_POST
def set_role(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    application = policy.get_application(request.user, key, Action.MANAGE_APPLICATION_ROLES)
    form = MemberForm(request.POST, suggestions=reverse("lifetime:people"))
    if form.is_valid():
        user, role = form.cleaned_data["user"], form.cleaned_data["role"]
        try:
            teams.set_application_role(user, application, role, by=author(request))
            messages.success(request, f"{user} has the role {role} on {application}.")
            return redirect("lifetime:application-roles", application.key)
        except Refused as refusal:
            add_refusal(form, refusal)
    return _page(request, application, form, status=422)


@require_POST
def remove_role(request: AuthenticatedRequest, key: UUID, user_key: UUID) -> HttpResponse:
    application = policy.get_application(request.user, key, Action.MANAGE_APPLICATION_ROLES)
    user = get_object_or_404(User.objects.select_related("role"), key=user_key)
    teams.remove_application_role(user, application, by=author(request))
    messages.success(request, f"{user} has no role of its own on {application} any more.")
    return redirect("lifetime:application-roles", application.key)
