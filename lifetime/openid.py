"""Log-in through an OpenID Connect provider: code flow with state, nonce and PKCE, on top of mozilla-django-oidc.

Off without `LIFETIME_OIDC_ISSUER`. The provider is asked for its endpoints at the first log-in, never at the start.
What the library leaves out is checked here: issuer, audience, expiry, and that the user's details belong to the token.
"""

import logging
from time import monotonic
from typing import Any, cast

import jwt
import requests
from django.conf import settings
from django.contrib import auth
from django.core.exceptions import SuspiciousOperation
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from audit import log
from lifetime import people
from lifetime.changes import Author, Refused
from lifetime.models import Role, User
from lifetime.requests import client_address

logger = logging.getLogger(__name__)

DISCOVERY = "/.well-known/openid-configuration"
REMEMBERED_SECONDS = 600
TROUBLE = (SuspiciousOperation, requests.RequestException, jwt.PyJWTError, KeyError, TypeError, ValueError)
_known: dict[str, tuple[float, dict[str, Any]]] = {}


def is_on() -> bool:
    return bool(settings.OIDC_ISSUER)


def provider() -> dict[str, Any]:
    """What the provider says of itself, asked for once in some minutes."""
    issuer = settings.OIDC_ISSUER
    at, found = _known.get(issuer, (0.0, {}))
    if not found or monotonic() - at > REMEMBERED_SECONDS:
        response = requests.get(issuer.rstrip("/") + DISCOVERY, timeout=settings.OIDC_TIMEOUT, allow_redirects=False)
        response.raise_for_status()
        found = response.json()
        if found["issuer"].rstrip("/") != issuer.rstrip("/"):
            raise SuspiciousOperation(f"The provider at {issuer} calls itself {found['issuer']}")
        _known[issuer] = (monotonic(), found)
    return found


class Backend(OIDCAuthenticationBackend):  # type: ignore[misc]  # the library has no types
    """Finds the person whom the provider vouches for. Its endpoints are looked up when they are needed."""

    def __init__(self) -> None:
        self.UserModel = User
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID
        self.OIDC_RP_CLIENT_SECRET = settings.OIDC_RP_CLIENT_SECRET
        self.OIDC_RP_SIGN_ALGO = settings.OIDC_RP_SIGN_ALGO
        self.OIDC_RP_IDP_SIGN_KEY = None

    @property
    def OIDC_OP_TOKEN_ENDPOINT(self) -> str:  # noqa: N802 - the library's name
        return str(provider()["token_endpoint"])

    @property
    def OIDC_OP_USER_ENDPOINT(self) -> str:  # noqa: N802 - the library's name
        return str(provider()["userinfo_endpoint"])

    @property
    def OIDC_OP_JWKS_ENDPOINT(self) -> str:  # noqa: N802 - the library's name
        return str(provider()["jwks_uri"])

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        """Only for the provider's answer to a log-in that began here: a log-in by password has no nonce."""
        if not credentials.get("nonce"):
            return None
        return cast("User | None", super().authenticate(request, **credentials))

    def verify_token(self, token: str, **options: Any) -> dict[str, Any]:
        claims: dict[str, Any] = super().verify_token(token, **options)
        audience = claims.get("aud")
        if self.OIDC_RP_CLIENT_ID not in (audience if isinstance(audience, list) else [audience]):
            raise SuspiciousOperation("The token is for another client")
        if claims.get("iss") != provider()["issuer"]:
            raise SuspiciousOperation("The token is of another issuer")
        if "exp" not in claims or not claims.get("sub"):
            raise SuspiciousOperation("The token has no expiry or no subject")
        return claims

    def get_userinfo(self, access_token: str, id_token: str, payload: dict[str, Any]) -> dict[str, Any]:
        claims: dict[str, Any] = super().get_userinfo(access_token, id_token, payload)
        if claims.get("sub") != payload["sub"]:
            raise SuspiciousOperation("The details are of somebody else than the token")
        return claims

    def verify_claims(self, claims: dict[str, Any]) -> bool:
        claim = claims.get(settings.OIDC_USERNAME_CLAIM)
        if not isinstance(claim, str) or not claim:
            return False
        if settings.OIDC_USERNAME_CLAIM == "email" and not settings.OIDC_TRUST_EMAIL:
            return claims.get("email_verified") in (True, "true")
        return claims.get("email_verified") not in (False, "false")

    def filter_users_by_claims(self, claims: dict[str, Any]) -> QuerySet[User]:
        claim = claims[settings.OIDC_USERNAME_CLAIM]
        found = User.objects.select_related("role")
        if settings.OIDC_USERNAME_CLAIM == "email":
            return found.filter(email__iexact=claim)
        return found.filter(username__iexact=claim)

    def create_user(self, claims: dict[str, Any]) -> User:
        """A person of the role Developer, when the console is told to make people of whom the provider knows."""
        username = claims[settings.OIDC_USERNAME_CLAIM]
        name, email = claims.get("name") or username, claims.get("email") or ""
        try:
            return people.create(username=username, name=name, email=email, role=Role.objects.developer(), by=Author())
        except Refused as refusal:
            raise SuspiciousOperation(f"No user was created: {refusal}") from refusal

    def get_user(self, user_id: int) -> User | None:
        user = User.objects.select_related("role").filter(pk=user_id).first()
        return user if user and user.is_active else None


def log_in(request: HttpRequest, user: User) -> None:
    """Log the person in on this request's session, audited as every log-in is."""
    with transaction.atomic():
        auth.login(request, user, backend="lifetime.openid.Backend")
        log.record(
            f"User '{user.name}' ({user.username}) logged in",
            user.audit_object,
            by=user.actor(client_address(request)),
            kind=log.Kind.LOGIN,
            details={"through": settings.OIDC_NAME},
        )


def record_failure(request: HttpRequest, why: str, user: User | None = None) -> None:
    """Audit a log-in that did not succeed."""
    address = client_address(request)
    actor = user.actor(address) if user else log.Actor(name="Unknown user", address=address)
    on = user.audit_object if user else log.AuditObject(type="user", key="", name="Unknown user")
    who = f"user '{user.name}' ({user.username})" if user else "an unknown user"
    with transaction.atomic():
        log.record(
            f"Log-in of {who} through {settings.OIDC_NAME} failed",
            on,
            by=actor,
            kind=log.Kind.LOGIN,
            succeeded=False,
            reason=why,
        )
