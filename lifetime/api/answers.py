"""What answers look like: JSON, 204 for nothing, and every error as `{"Errors": [...], "StatusCode": n}`."""

import json
import logging
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NotRequired

from django.conf import settings
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    ValidationError,
)
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from django.utils.encoding import iri_to_uri
from ninja.errors import HttpError
from ninja.errors import ValidationError as Malformed
from typing_extensions import TypedDict

from environments import blocking, gate, maintenance, registry
from environments.models import Environment
from lifetime import changes, outage, policy
from lifetime.api.request import ApiRequest

logger = logging.getLogger(__name__)

NEVER = "1900-01-01T00:00:00"
REFUSALS = (
    gate.Refused,
    maintenance.MaintenanceRefused,
    registry.RegistryRefused,
    blocking.BlockRefused,
    changes.Refused,
)
CODES = {
    400: "refused",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "not_allowed",
    429: "too_many_calls",
    500: "failed",
    503: "unavailable",
}


class InMaintenance(TypedDict):
    """An environment whose maintenance mode is in the way."""

    EnvironmentKey: str
    EnvironmentName: str
    EnabledBy: str
    Reason: str
    Since: str
    ExpectedEnd: str | None


class Error(TypedDict):
    """What every error says. `Code` tells programs what `Errors` tells people."""

    Errors: list[str]
    StatusCode: int
    Code: str
    RequestId: str
    Maintenance: NotRequired[list[InMaintenance]]


class Failed(Exception):
    """It was asked for, but did not come about: answered with 500 and the words. Seconds say when to try again."""

    def __init__(self, text: str, *, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def errors(*codes: int) -> dict[int, Any]:
    """The error codes of an operation, for its description."""
    return dict.fromkeys((*codes, 401, 429, 500, 503), Error)


def to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def answer(value: Any, status: int = 200) -> HttpResponse:
    return answer_written(to_json(value), status)


def answer_written(text: str, status: int = 200) -> HttpResponse:
    """What is JSON already."""
    return HttpResponse(text.encode(), status=status, content_type="application/json; charset=utf-8")


def answer_list(values: Sequence[Any]) -> HttpResponse:
    """The list, or 204 when it is empty."""
    return answer(values) if values else nothing()


def answer_written_list(texts: Sequence[str]) -> HttpResponse:
    """As `answer_list`; each of the texts is JSON already."""
    return answer_written(f"[{','.join(texts)}]") if texts else nothing()


def nothing() -> HttpResponse:
    return HttpResponse(status=204)


def instant(moment: datetime | None) -> str:
    """An instant as the API writes it; one that has not come is the beginning of 1900."""
    return written(moment) if moment else NEVER


def written(moment: datetime) -> str:
    return moment.astimezone(timezone.get_fixed_timezone(0)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def error(
    request: HttpRequest, status: int, *texts: str, code: str = "", retry_after: int | None = None, **more: Any
) -> HttpResponse:
    told = {
        "Errors": list(texts),
        "StatusCode": status,
        "Code": code or CODES.get(status, "refused"),
        "RequestId": getattr(request, "request_id", ""),
        **more,
    }
    response = answer(told, status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def refuse(request: ApiRequest, trouble: Exception) -> HttpResponse:
    """The answer to whatever was raised: a refusal in its own words, a mistake of ours without details."""
    match trouble:
        case Malformed():
            return error(request, 400, *map(_said, trouble.errors))
        case HttpError():
            cause = trouble.__cause__  # ninja words what the parser refuses anew
            return error(request, trouble.status_code, str(cause if isinstance(cause, HttpError) else trouble))
        case Http404():
            return error(request, 404, str(trouble) or "There is nothing here.")
        case policy.InMaintenance() | gate.InMaintenance():
            return _in_maintenance(request, str(trouble))
        case PermissionDenied():
            return error(request, 403, str(trouble) or "This is not allowed.")
        case ValidationError():
            return error(request, 400, *trouble.messages)
        case Failed():
            return error(request, 500, str(trouble), retry_after=trouble.retry_after)
        case RequestDataTooBig():
            return error(
                request, 400, f"The body is too large: here it may have {settings.DATA_UPLOAD_MAX_MEMORY_SIZE:,} bytes."
            )
        case SuspiciousOperation() | UnreadablePostError():
            return error(request, 400, "The request cannot be read.")
        case _ if isinstance(trouble, REFUSALS):
            return error(request, 400, str(trouble))
    path = iri_to_uri(request.path)  # which is one line, whatever came
    if text := outage.explain(trouble):
        logger.warning("Call %s is put off: %s %s. %s", request.request_id, request.method, path, text)
        public = "The console cannot use its database at the moment. Try again later."
        return error(request, 503, public, retry_after=outage.RETRY_SECONDS)
    logger.error("Call %s failed: %s %s", request.request_id, request.method, path, exc_info=trouble)
    text = f"The console made a mistake here. Its log tells more under {request.request_id}."
    return error(request, 500, text, code="mistake")


def _said(problem: dict[str, Any]) -> str:
    """One thing that is wrong with a request: where, and what."""
    source, *place = map(str, problem["loc"] or ("",))
    if source == "body":
        place = place[1:]  # the name of the function's argument means nothing to callers
    said = "Input should be a JSON object" if problem["type"].startswith("model_") else str(problem["msg"])
    if not place and problem["type"] == "missing":
        return "The body is missing."
    return f"{'.'.join(place) or 'The body'}: {said}"


def _in_maintenance(request: ApiRequest, text: str) -> HttpResponse:
    """Who, why, since when and what to do; `Retry-After` when all of them are expected to end."""
    found = list(
        Environment.objects.in_maintenance()
        .filter(key__in=request.concerned)
        .select_related("maintenance_window")
        .in_order()
    )
    windows = [one.maintenance_window for one in found]
    named: list[InMaintenance] = [
        {
            "EnvironmentKey": str(one.key),
            "EnvironmentName": one.name,
            "EnabledBy": window.enabled_by,
            "Reason": window.reason,
            "Since": written(window.enabled_at),
            "ExpectedEnd": written(window.expected_end) if window.expected_end else None,
        }
        for one, window in zip(found, windows, strict=True)
        if window
    ]
    ends = [window.expected_end for window in windows if window and window.expected_end]
    retry_after = None
    if ends and len(ends) == len(windows):
        retry_after = max(1, math.ceil((max(ends) - timezone.now()).total_seconds()))
    return error(request, 400, text, code="in_maintenance", retry_after=retry_after, Maintenance=named)
