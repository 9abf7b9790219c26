"""To the OpenID Connect provider, and back."""

import logging
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from lifetime import openid
from lifetime.models import User

logger = logging.getLogger(__name__)


@method_decorator([login_not_required, never_cache], name="dispatch")
class Begin(OIDCAuthenticationRequestView):  # type: ignore[misc]  # the library has no types
    """Send the browser to the provider, with state, nonce and the challenge of PKCE."""

    def __init__(self, **options: Any) -> None:
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID

    @property
    def OIDC_OP_AUTH_ENDPOINT(self) -> str:  # noqa: N802 - the library's name
        return str(openid.provider()["authorization_endpoint"])

    def get(self, request: HttpRequest) -> HttpResponse:
        _require_on()
        try:
            response: HttpResponse = super().get(request)
        except openid.TROUBLE as trouble:
            return _failed(request, f"The provider does not answer as it should: {trouble}")
        return response


@method_decorator([login_not_required, never_cache], name="dispatch")
class Callback(OIDCAuthenticationCallbackView):  # type: ignore[misc]  # the library has no types
    """The provider's answer: log the person in, or say on the log-in page that it did not work."""

    user: User | None = None

    def get(self, request: HttpRequest) -> HttpResponse:
        _require_on()
        try:
            response: HttpResponse = super().get(request)
        except openid.TROUBLE as trouble:
            return _failed(request, str(trouble))
        return response

    def login_success(self) -> HttpResponse:
        if self.user is None:
            return self.login_failure()
        openid.log_in(self.request, self.user)
        return redirect(self.success_url)

    def login_failure(self) -> HttpResponse:
        if self.user is not None:
            return _failed(self.request, "The user is inactive", self.user)
        return _failed(self.request, self.request.GET.get("error", "") or "Nobody here is who the provider says it is")


def _require_on() -> None:
    if not openid.is_on():
        raise Http404("No provider is configured.")


def _failed(request: HttpRequest, why: str, user: User | None = None) -> HttpResponse:
    logger.warning("Log-in through the provider failed: %s", why)
    openid.record_failure(request, why[:500], user)
    messages.error(
        request,
        f"Logging in through {settings.OIDC_NAME} did not work. Try again, or ask whoever manages users here.",
    )
    return redirect(reverse("lifetime:login"))
