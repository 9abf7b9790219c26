"""Register an existing environment: a check of the connection by a worker, roles and users, a confirmation."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from environments import newcomers, registry
from environments.forms import RegisterForm
from environments.models import Environment, Registration
from environments.registration_forms import newcomer_forms, role_level_forms
from lifetime import policy
from lifetime.changes import Refused
from lifetime.models import Level, Role
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address
from lifetime.views.answers import author, posted

ON_A_PAGE = 100


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
    context: dict[str, Any] = {
        "environment": environment,
        "form": RegisterForm(instance=environment) if is_open else None,
    }
    if environment.registration == Registration.CHECKED:
        draft = newcomers.draft_of(environment)
        found, levels = newcomers.find(draft), newcomers.levels(draft)
        context |= {"draft": draft, "levels": levels, "found": found, "seen": newcomers.digest(levels, found)}
    return context


@require_http_methods(["GET", "HEAD", "POST"])
def proposed_roles(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """What each role will be allowed in the environment."""
    environment = policy.get_environment(request.user, key, Action.REGISTER_ENVIRONMENT)
    if environment.registration != Registration.CHECKED:
        return redirect("environments:proposal", environment.key)
    draft = newcomers.draft_of(environment)
    ladder = role_level_forms(posted(request), environment, newcomers.levels(draft))
    context: dict[str, Any] = {"environment": environment, "ladder": ladder, "levels": Level}
    if request.method == "POST":
        bound = [one for one in ladder if one.is_bound]
        wrong = [one for one in bound if not one.is_valid()]  # each of them, so that each says what is wrong
        if not wrong:
            try:
                newcomers.choose_levels(environment, {one.role: one.rights for one in bound}, by=author(request))
                return redirect("environments:proposed-users", environment.key)
            except Refused as refusal:
                context["refusal"] = str(refusal)
    status = 422 if request.method == "POST" else 200
    return render(request, "environments/proposed_roles.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def proposed_users(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """Whom to import of those whom only the environment knows."""
    environment = policy.get_environment(request.user, key, Action.REGISTER_ENVIRONMENT)
    if environment.registration != Registration.CHECKED:
        return redirect("environments:proposal", environment.key)
    draft = newcomers.draft_of(environment)
    found = newcomers.find(draft)
    importable = [one for one in found.newcomers if not one.trouble]
    page = Paginator(importable, ON_A_PAGE).get_page(request.GET.get("page"))
    rows = newcomer_forms(posted(request), page.object_list, list(Role.objects.order_by("name", "pk")))
    wrong = [row for row in rows if row.is_bound and not row.is_valid()]
    if request.method == "POST" and not wrong:
        choices = {row.newcomer.id: row.choice for row in rows if row.is_bound}
        try:
            newcomers.choose_people(environment, choices, by=author(request))
            if page.has_next():
                return redirect(f"{request.path}?page={page.next_page_number()}")
            return redirect("environments:proposal", environment.key)
        except newcomers.ChoicesRefused as refusal:
            for row in rows:
                if row.newcomer.id in refusal.reasons:
                    row.add_error("email", refusal.reasons[row.newcomer.id])
    context = {
        "environment": environment,
        "draft": draft,
        "found": found,
        "page": page,
        "rows": rows,
        "unfit": [one for one in found.newcomers if one.trouble],
    }
    return render(request, "environments/proposed_users.html", context, status=422 if request.method == "POST" else 200)


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
        by = author(request)
        registry.register(environment, by=by.actor, author=by, seen=request.POST.get("seen"))
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
