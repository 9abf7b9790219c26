"""Pages about service accounts and their tokens."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Max, Q
from django.db.models.functions import Now
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit import paging
from audit.models import AuditEvent
from lifetime import policy, service_accounts
from lifetime.changes import Refused
from lifetime.models import ServiceAccount, ServiceToken
from lifetime.people_forms import ServiceAccountForm, TokenForm, add_refusal
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest
from lifetime.views.answers import author, posted


@require_safe
def all_accounts(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    valid = Q(tokens__revoked_at__isnull=True) & (Q(tokens__expires_at__isnull=True) | Q(tokens__expires_at__gt=Now()))
    rows = (
        ServiceAccount.objects.select_related("role")
        .annotate(
            newest_token=Max("tokens__pk", filter=valid),
            last_used_at=Max("tokens__last_used_at"),
        )
        .order_by("username", "pk")
    )
    accounts = list(rows)
    tokens = ServiceToken.objects.in_bulk([one.newest_token for one in accounts if one.newest_token])
    listed = [(one, tokens.get(one.newest_token)) for one in accounts]
    return render(request, "lifetime/service_accounts.html", {"accounts": listed})


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    form = ServiceAccountForm(posted(request))
    if form.is_valid():
        try:
            account = service_accounts.create(**form.cleaned_data, by=author(request))
            messages.success(request, f"The service account {account} is created. Issue its first token.")
            return redirect(account)
        except Refused as refusal:
            add_refusal(form, refusal)
    status = 422 if form.is_bound else 200
    return render(request, "lifetime/create_service_account.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def account(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    shown = _get(request, key)
    form = ServiceAccountForm(posted(request), account=shown)
    if form.is_valid():
        try:
            saved = service_accounts.edit(shown, form.changes, by=author(request))
            messages.success(request, f"The service account {saved} is saved.")
            return redirect(saved)
        except Refused as refusal:
            add_refusal(form, refusal)
    return _page(request, shown, form=form, status=422 if form.is_bound else 200)


@never_cache
@require_POST
def issue_token(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    """The answer is the one page that ever shows the token; loading it again is a refusal."""
    shown = _get(request, key)
    form = TokenForm(request.POST)
    if form.is_valid():
        try:
            issued = service_accounts.issue_token(shown, by=author(request), **form.cleaned_data)
            return _page(request, shown, issued=issued)
        except Refused as refusal:
            add_refusal(form, refusal)
    return _page(request, shown, token_form=form, status=422)


@require_POST
def revoke_token(request: AuthenticatedRequest, key: UUID, token: int) -> HttpResponse:
    shown = _get(request, key)
    revoked = get_object_or_404(ServiceToken, pk=token, account=shown)
    service_accounts.revoke_token(revoked, by=author(request))
    messages.success(request, f"The token {revoked} is revoked: it opens nothing from now on.")
    return redirect(shown)


def _get(request: AuthenticatedRequest, key: UUID) -> ServiceAccount:
    policy.require(request.user, Action.MANAGE_PEOPLE)
    return get_object_or_404(ServiceAccount.objects.select_related("role"), key=key)


def _page(
    request: AuthenticatedRequest,
    shown: ServiceAccount,
    *,
    form: ServiceAccountForm | None = None,
    token_form: TokenForm | None = None,
    issued: service_accounts.Issued | None = None,
    status: int = 200,
) -> HttpResponse:
    tokens = list(shown.tokens.order_by("-pk")[: paging.SIZE])
    context: dict[str, Any] = {
        "shown": shown,
        "form": form or ServiceAccountForm(account=shown),
        "token_form": token_form or TokenForm(initial={"newest": tokens[0].pk if tokens else 0}),
        "issued": issued,
        "tokens": tokens,
        "has_valid_token": any(token.state == "valid" for token in tokens),
        "history": paging.history(shown.audit_object),
        "has_acted": AuditEvent.objects.by_username(shown.username).exists(),
    }
    return render(request, "lifetime/service_account.html", context, status=status)
