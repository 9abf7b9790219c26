"""What load balancers and monitoring ask. Anybody may, so the answers name nothing but how well the console is."""

import logging
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from lifetime import outage
from lifetime.health import Health, look

logger = logging.getLogger(__name__)


@never_cache
@login_not_required
@require_safe
def web(request: HttpRequest) -> JsonResponse:
    """Whether this web process can answer people: 200 or 503. Workers do not matter."""
    return _answer(_find())


@never_cache
@login_not_required
@require_safe
def workers(request: HttpRequest) -> JsonResponse:
    """Whether workers do what is due: 200, or 503 with what is wrong."""
    found = _find()
    return _answer(found, is_well=isinstance(found, Health) and found.is_working)


def _find() -> Health | str:
    """How well the work gets done, or why that cannot be known."""
    try:
        outage.require_current_schema()
        return look()
    except (outage.NotMigrated, Error) as trouble:
        if not (text := outage.explain(trouble)):
            raise
        logger.warning(text)
        return str(trouble) if isinstance(trouble, outage.NotMigrated) else outage.AWAY_IN_PUBLIC


def _answer(found: Health | str, *, is_well: bool = True) -> JsonResponse:
    if isinstance(found, str):
        return JsonResponse({"status": "failed", "problems": [found]}, status=503)
    told: dict[str, Any] = {
        "status": "ok" if is_well else "failed",
        "problems": found.problems,
        "schedule_delay_seconds": round(max(0.0, found.schedule_delay), 1),
        "waiting_messages": found.waiting,
        "longest_wait_seconds": round(found.longest_wait, 1),
        "clock_skew_seconds": round(found.clock_skew, 1) + 0.0,
    }
    return JsonResponse(told, status=200 if is_well else 503)
