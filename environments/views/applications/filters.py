"""Environment filters: a person's own, for nobody else to see."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from environments import filters as domain
from environments.application_forms import EnvironmentFilterForm
from environments.matrix import Sight
from environments.models import EnvironmentFilter
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest


@require_safe
def filters(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    context = {"filters": domain.of(request.user), "fewest": domain.FEWEST, "seen": Sight.of(request.user).environments}
    return render(request, "applications/filters.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    return _edit(request, EnvironmentFilter(user=request.user))


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    return _edit(request, get_object_or_404(EnvironmentFilter, user=request.user, key=key))


def _edit(request: AuthenticatedRequest, found: EnvironmentFilter) -> HttpResponse:
    form = EnvironmentFilterForm(request.POST or None, instance=found, seen=Sight.of(request.user).environments)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                domain.save(found, **form.cleaned_data)
                messages.success(request, f"The filter {found} is saved.")
                return redirect("applications:filters")
            except ValidationError as refusal:
                form.add_error(None, refusal)
    return render(request, "applications/filter.html", {"form": form, "found": found}, status=status)


@require_POST
def delete(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    found = get_object_or_404(EnvironmentFilter, user=request.user, key=key)
    domain.delete(found)
    messages.success(request, f"The filter {found} is deleted.")
    return redirect("applications:filters")
