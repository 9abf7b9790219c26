"""Authentication Settings: providers of external authentication, which of them is active, and where it has arrived."""

from typing import Any
from uuid import UUID

from django.contrib import auth, messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit import paging as audit_paging
from environments import authentication as rules
from environments import provider_tests
from environments.models import AuthenticationProvider, Environment
from environments.settings_forms import ActivateForm, ProviderForm, add_errors
from environments.views.answers import leave
from lifetime import local_passwords, policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address


def _get(request: AuthenticatedRequest, key: UUID) -> AuthenticationProvider:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    provider = AuthenticationProvider.objects.filter(key=key).first()
    if provider is None:
        raise Http404("There is no such provider.")
    return provider


@require_safe
def providers(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    found = list(AuthenticationProvider.objects.order_by("name", "pk").defer("sealed_secret"))
    context = {
        "providers": found,
        "active": next((one for one in found if one.is_active), None),
        "results": rules.results(),
        "modes": rules.Mode,
    }
    return render(request, "environments/settings/authentication.html", context)


@require_safe
def arrivals(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    return render(request, "environments/settings/_arrivals.html", {"results": rules.results()})


@sensitive_post_parameters("secret")
@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest, mode: str) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    if mode not in rules.LABELS:
        raise Http404("There is no such kind of provider.")
    form = ProviderForm(mode, request.POST if request.method == "POST" else None)
    return _edit(request, form, mode, None)


@sensitive_post_parameters("secret")
@require_http_methods(["GET", "HEAD", "POST"])
def provider(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _get(request, key)
    form = ProviderForm(
        shown.mode,
        request.POST if request.method == "POST" else None,
        provider=shown,
        is_read_only=shown.is_active and request.method != "POST",
    )
    return _edit(request, form, shown.mode, shown)


def _edit(
    request: AuthenticatedRequest, form: ProviderForm, mode: str, shown: AuthenticationProvider | None
) -> HttpResponse:
    status = 200
    if form.is_bound:
        status = 422
        if form.is_valid():
            try:
                saved = rules.save(
                    shown,
                    name=form.cleaned_data["name"],
                    mode=mode,
                    configuration=form.configuration,
                    secret=form.cleaned_data["secret"],
                    by=request.user.actor(client_address(request)),
                )
                messages.success(request, f"The provider {saved} is saved. It holds when you activate it.")
                return redirect("settings:provider", saved.key)
            except ValidationError as refusal:
                add_errors(form, refusal)
            except rules.Refused as refusal:
                form.add_error(None, str(refusal))
                status = 409
    context: dict[str, Any] = {
        "form": form,
        "shown": shown,
        "mode": rules.Mode(mode).label,
        "has_secret": bool(shown and shown.sealed_secret),
        **_test_context(shown),
        "history": audit_paging.history(shown.audit_object) if shown else None,
    }
    return render(request, "environments/settings/provider.html", context, status=status)


def _test_context(shown: AuthenticationProvider | None) -> dict[str, Any]:
    test = provider_tests.latest(shown) if shown else None
    return {"test": test, "is_lost": bool(test and provider_tests.is_lost(test))}


@require_safe
def test_state(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """How the test stands: asked for again and again until it is over."""
    shown = _get(request, key)
    return render(request, "environments/settings/_provider_test.html", {"shown": shown, **_test_context(shown)})


@require_POST
def test(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _get(request, key)
    try:
        provider_tests.request(shown, by=request.user.actor(client_address(request)))
    except AuthenticationProvider.DoesNotExist:
        raise Http404("There is no such provider.") from None
    return redirect("settings:provider", shown.key)


@require_safe
def activate_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _get(request, key)
    if not request.htmx:
        return redirect("settings:provider", shown.key)
    return _activate(request, shown, ActivateForm(shown))


def _activate(
    request: AuthenticatedRequest, shown: AuthenticationProvider, form: ActivateForm, status: int = 200
) -> HttpResponse:
    context = {
        "shown": shown,
        "form": form,
        "active": AuthenticationProvider.objects.filter(is_active=True).exclude(pk=shown.pk).first(),
        "waiting": list(Environment.objects.registered().in_maintenance().in_order()),
    }
    return render(request, "environments/settings/_activate.html", context, status=status)


@sensitive_post_parameters("secret")
@require_POST
def activate(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _get(request, key)
    form = ActivateForm(shown, request.POST)
    status = 422
    if form.is_valid():
        try:
            rules.activate(
                shown,
                secret=form.cleaned_data["secret"],
                clear_passwords=form.cleaned_data["clear_passwords"],
                keep_session=request.session.session_key or "",
                by=request.user.actor(client_address(request)),
            )
            _stay(request)
            messages.success(request, f"{shown} is active; the environments will get it.")
            return leave(request, "settings:authentication")
        except ValidationError as refusal:
            add_errors(form, refusal)
        except rules.Refused as refusal:
            form.add_error(None, str(refusal))
            status = 409
    return _activate(request, shown, form, status)


def _stay(request: AuthenticatedRequest) -> None:
    """Keep whoever activates logged in, also when their own password was cleared with the others."""
    before = request.user.password
    request.user.refresh_from_db(fields=["password"])
    if request.user.password != before:
        auth.update_session_auth_hash(request, request.user)


@require_safe
def deactivate_dialog(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _get(request, key)
    if not request.htmx:
        return redirect("settings:provider", shown.key)
    context = {"shown": shown, "without_password": local_passwords.without().count()}
    return render(request, "environments/settings/_deactivate.html", context)


@require_POST
def deactivate(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _get(request, key)
    rules.deactivate(shown, by=request.user.actor(client_address(request)))
    messages.success(request, f"{shown} is no longer active: the built-in authentication holds.")
    return leave(request, "settings:authentication")


@require_POST
def delete(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _get(request, key)
    rules.delete(shown, by=request.user.actor(client_address(request)))
    messages.success(request, f"The provider {shown} is deleted.")
    return redirect("settings:authentication")


@require_POST
def propagate(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    rules.propagate(by=request.user.actor(client_address(request)))
    messages.success(request, "Environments that lack the configuration get it now.")
    return redirect("settings:authentication")
