"""Register an existing environment: what it is, a check of the connection by a worker, a confirmation."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from environments import registry
from environments.forms import RegisterForm
from environments.models import Environment, Registration
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address


@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.REGISTER_ENVIRONMENT)
    return _form(request, None)


@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
def proposal(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """How the check of a proposed environment stands; a POST corrects what was given and checks again."""
    environment = policy.get_environment(request.user, key, Action.REGISTER_ENVIRONMENT)
    if environment.is_registered:
        return redirect(environment)
    if request.method == "POST":
        return _form(request, environment)
    return render(request, "environments/proposal.html", _context(environment))


def _form(request: AuthenticatedRequest, former: Environment | None) -> HttpResponse:
    form = RegisterForm(request.POST or None, instance=Environment())
    if form.is_valid():
        try:
            proposed = registry.propose(
                form.instance,
                token=form.cleaned_data["token"],
                by=request.user.actor(client_address(request)),
                instead_of=former,
            )
            return redirect("environments:proposal", proposed.key)
        except ValidationError as refusal:
            form.add_error(None, refusal)
    status = 422 if form.is_bound else 200
    if former:
        return render(request, "environments/proposal.html", {**_context(former), "form": form}, status=status)
    return render(request, "environments/register.html", {"form": form}, status=status)


def _context(environment: Environment) -> dict[str, Any]:
    is_open = environment.registration in (Registration.REFUSED, Registration.CHECKED)
    return {"environment": environment, "form": RegisterForm(instance=environment) if is_open else None}


@require_safe
def proposal_state(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """Asked for again and again until the check is over; then the page is shown anew."""
    environment = policy.get_environment(request.user, key, Action.REGISTER_ENVIRONMENT)
    response = render(request, "environments/_checking.html", {"environment": environment})
    if environment.registration != Registration.CHECKING:
        response.headers["HX-Refresh"] = "true"
    return response


@require_POST
def check_again(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.REGISTER_ENVIRONMENT)
    registry.check_again(environment)
    return redirect("environments:proposal", environment.key)


@require_POST
def confirm_registration(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.REGISTER_ENVIRONMENT)
    try:
        registry.register(environment, by=request.user.actor(client_address(request)))
    except registry.RegistryRefused as refusal:
        environment.refresh_from_db()
        context = {**_context(environment), "refusal": str(refusal)}
        return render(request, "environments/proposal.html", context, status=409)
    messages.success(request, f"{environment} is registered, last in order. Its first synchronization is queued.")
    return redirect("environments:list")


@require_POST
def discard(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.REGISTER_ENVIRONMENT)
    registry.discard(environment)
    messages.info(request, f"The registration of {environment} is discarded.")
    return redirect("environments:list")
