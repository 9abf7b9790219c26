"""Every call of the API comes in here: who calls, how often, what for, and how it is answered and written down.

Paths are taken with and without a slash at their end, and neither form is ever redirected to the other. Whatever
happens, the answer is one of the API's own: also for unknown paths, wrong methods and mistakes.
"""

import base64
import logging
import re
import time
from typing import cast
from uuid import uuid4

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.urls import Resolver404, get_resolver
from django.utils.encoding import iri_to_uri
from django.views.decorators.csrf import csrf_exempt

from lifetime import service_accounts
from lifetime.api import calls, reference
from lifetime.api.answers import error, nothing, refuse
from lifetime.api.request import ApiRequest
from lifetime.models import ServiceToken
from lifetime.requests import client_address

logger = logging.getLogger(__name__)

ROUTES = "lifetime.api.routes"
ROOT = "/lifetimeapi/rest/v2"
DESCRIPTION = f"{ROOT}/openapi.json"
DOWNLOADS = f"{ROOT}/downloads/"
FORMER = re.compile(r"^/lifetimeapi/rest/v1(?=/|$)")
REQUEST_ID = re.compile(r"[\w.:/+=-]{1,64}", re.ASCII)


@csrf_exempt
@login_not_required
def serve(request: HttpRequest) -> HttpResponseBase:
    """Answer a call."""
    call = _taken(request)
    began = time.monotonic()
    try:
        response = _answer(call)
    except Exception as trouble:
        response = refuse(call, trouble)
    if not response.streaming and not response.getvalue():
        response.headers.pop("Content-Type", None)  # nothing is of no type
    if call.method == "HEAD":
        response = _head(response)
    response.headers["X-Request-ID"] = call.request_id
    response.headers.setdefault("Cache-Control", "no-store")
    if getattr(call, "account", None):
        _keep(call, response.status_code, time.monotonic() - began)
    return response


def _head(response: HttpResponseBase) -> HttpResponse:
    """The answer without its body, whose length it tells."""
    length = "" if response.streaming else str(len(response.getvalue()))
    head = HttpResponse(status=response.status_code, headers=response.headers)
    head.headers.setdefault("Content-Length", length)
    return head


def _keep(call: ApiRequest, status: int, seconds: float) -> None:
    """Keep the call for the audit log. What was done is done: trouble with this does not change the answer."""
    path = iri_to_uri(call.path)
    try:
        calls.keep(
            call.account,
            method=call.method or "",
            path=path,
            status=status,
            took=round(seconds * 1000),
            request_id=call.request_id,
            address=client_address(call),
        )
    except DatabaseError:
        logger.exception("Call %s is not in the audit log: %s %s", call.request_id, call.method, path)


def _taken(request: HttpRequest) -> ApiRequest:
    """The request as one of the API's, with an id: the caller's own where it is a decent one."""
    call = cast("ApiRequest", request)
    given = call.headers.get("X-Request-ID", "")
    call.request_id = given if REQUEST_ID.fullmatch(given) else str(uuid4())
    call.concerned = set()
    call.version = 1 if FORMER.match(call.path_info) else 2
    return call


def _answer(call: ApiRequest) -> HttpResponseBase:
    path = FORMER.sub(ROOT, call.path_info).rstrip("/")
    if path == DESCRIPTION and call.method in ("GET", "HEAD"):
        return reference.serve()
    token = _token(call, is_bare_allowed=path.startswith(DOWNLOADS))
    if token is None:
        refused = error(call, 401, "Send the valid token of a service account: Authorization: Bearer <token>.")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused
    call.account = token.account
    quota = calls.count(token)
    response: HttpResponseBase
    if quota.is_exceeded:
        text = f"This token may make {quota.limit:,} calls in a minute. Try again in {quota.seconds_left} seconds."
        response = error(call, 429, text, retry_after=max(1, quota.seconds_left))
    else:
        response = _serve_path(call, path)
    for name, value in quota.headers.items():
        response.headers[name] = value
    return response


def _token(call: ApiRequest, *, is_bare_allowed: bool) -> ServiceToken | None:
    """The token that the call came with. Downloads are fetched with the token alone in the header."""
    given = call.headers.get("Authorization", "").strip()
    scheme, _, secret = given.partition(" ")
    match scheme.lower():
        case "bearer":
            return service_accounts.find_token(secret.strip())
        case "basic":
            return _token_as_password(secret.strip())
    return service_accounts.find_token(given) if is_bare_allowed else None


def _token_as_password(credentials: str) -> ServiceToken | None:
    """Some clients have fields for a name and a password only: the account's username, and its token."""
    try:
        username, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return None
    token = service_accounts.find_token(password)
    return token if token and token.account.username == username else None


def _serve_path(call: ApiRequest, path: str) -> HttpResponseBase:
    try:
        match = get_resolver(ROUTES).resolve(path or "/")
    except Resolver404:
        return error(call, 404, f"The API has no path {call.path}.")
    method, call.method = call.method, "GET" if call.method == "HEAD" else call.method
    response: HttpResponseBase = match.func(call, *match.args, **match.kwargs)
    call.method = method
    if isinstance(response, HttpResponseNotAllowed):
        allowed = sorted(response.headers["Allow"].split(", "))
        text = f"Not {method}, but {', '.join(allowed)} is possible here."
        response = nothing() if method == "OPTIONS" else error(call, 405, text)
        response.headers["Allow"] = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"])
    return response
