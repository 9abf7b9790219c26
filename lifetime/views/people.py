"""Log-in, log-out and a person's own settings."""

from urllib.parse import urlencode

from django.conf import settings as conf
from django.contrib import auth, messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from lifetime import logins, navigation
from lifetime.forms import ChangePasswordForm, LoginForm, PreferencesForm, ThemeForm
from lifetime.requests import AuthenticatedRequest

THEME_COOKIE_SECONDS = 365 * 24 * 3600


@require_safe
def home(request: AuthenticatedRequest) -> HttpResponse:
    return redirect(navigation.first_page(request.user))


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def log_in(request: HttpRequest) -> HttpResponse:
    if getattr(request, "htmx", None):  # a session that ended while a page was open: leave the page, do not fill it
        back = urlencode({"next": request.htmx.current_url_abs_path or "", "ended": 1})  # type: ignore[attr-defined]
        return HttpResponseClientRedirect(f"{resolve_url('lifetime:login')}?{back}")
    if request.user.is_authenticated:
        return HttpResponseRedirect(_next_page(request))
    form = LoginForm(request.POST or None)
    if form.is_valid():
        try:
            logins.log_in(request, **form.cleaned_data)
            return HttpResponseRedirect(_next_page(request))
        except logins.Refused as refusal:
            form.add_error(None, str(refusal))
    context = {
        "form": form,
        "next": request.POST.get("next", request.GET.get("next", "")),
        "has_ended": "ended" in request.GET,
        "provider": conf.OIDC_NAME if conf.OIDC_ISSUER else "",
    }
    return render(request, "lifetime/login.html", context, status=422 if form.is_bound else 200)


@login_not_required
@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    messages.info(request, "You are logged out.")
    return redirect("lifetime:login")


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: AuthenticatedRequest) -> HttpResponse:
    form = PreferencesForm(request.POST or None, instance=request.user)
    if form.is_valid():
        request.user.save(update_fields=["time_zone", "theme"])
        messages.success(request, "Your settings are saved.")
        return _remember_theme(redirect("lifetime:settings"), request.user.theme)
    if form.is_bound:
        request.user.refresh_from_db(fields=["time_zone", "theme"])
    role = request.user.role
    rights = [
        ("Manage Infrastructure and Users", role.manage_infrastructure_and_users),
        ("Manage Teams and Application Roles", role.manage_teams_and_application_roles),
    ]
    context = {"form": form, "rights": rights}
    return render(request, "lifetime/settings.html", context, status=422 if form.is_bound else 200)


@require_POST
def set_theme(request: AuthenticatedRequest) -> HttpResponse:
    form = ThemeForm(request.POST, instance=request.user)
    if form.is_valid():
        request.user.save(update_fields=["theme"])
    else:
        request.user.refresh_from_db(fields=["theme"])
    return _remember_theme(HttpResponseRedirect(_next_page(request)), request.user.theme)


@never_cache
@sensitive_post_parameters("current_password", "new_password", "repeat_new_password")
@require_http_methods(["GET", "HEAD", "POST"])
def change_password(request: AuthenticatedRequest) -> HttpResponse:
    form = ChangePasswordForm(request.user, request.POST or None)
    if form.is_valid():
        logins.change_password(request, request.user, password=form.cleaned_data["new_password"])
        messages.success(request, "Your password is changed. Your other sessions are ended.")
        return redirect("lifetime:settings")
    return render(request, "lifetime/change_password.html", {"form": form}, status=422 if form.is_bound else 200)


def _next_page(request: HttpRequest) -> str:
    """The page asked for before, when it is one of ours."""
    page = request.POST.get("next", request.GET.get("next", ""))
    if url_has_allowed_host_and_scheme(page, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return page
    return resolve_url("lifetime:home")


def _remember_theme(response: HttpResponse, theme: str) -> HttpResponse:
    """Show the log-in page in the same theme next time."""
    response.set_cookie("theme", theme, max_age=THEME_COOKIE_SECONDS, samesite="Lax", httponly=True)
    return response
