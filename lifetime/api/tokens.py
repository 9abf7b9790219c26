"""A service account renews its own token."""

from calendar import monthrange
from datetime import datetime, timedelta
from typing import Literal

from django.http import HttpResponse
from django.utils import timezone
from ninja import Router
from pydantic import Field
from typing_extensions import TypedDict

from lifetime import service_accounts
from lifetime.api.answers import answer, errors, written
from lifetime.api.request import ApiRequest, author
from lifetime.api.schema import Body

router = Router()
MONTHS = {"M": 1, "Y": 12}
DAYS = {"D": 1, "W": 7}


class WantedToken(Body):
    """How long the new token is valid: so many days, weeks, months or years, five years at most."""

    time_period: int = Field(3, ge=1, le=2_000)
    unit: Literal["D", "W", "M", "Y"] = "M"


class IssuedToken(TypedDict):
    """The new token, which is told only here. The old ones go on for a day at most."""

    token: str
    expiresAt: str


@router.post("/auth/tokens", response={200: IssuedToken, **errors(400)})
def renew_token(request: ApiRequest, body: WantedToken) -> HttpResponse:
    """Issue a new token for the calling account."""
    expires_at = _end(timezone.now(), body)
    issued = service_accounts.issue_token(request.account, by=author(request), expires_at=expires_at)
    told: IssuedToken = {"token": issued.secret, "expiresAt": written(expires_at)}
    return answer(told)


def _end(begin: datetime, wanted: WantedToken) -> datetime:
    """So many days or calendar months later; a month's last day where the day is missing."""
    if wanted.unit in DAYS:
        return begin + timedelta(days=DAYS[wanted.unit] * wanted.time_period)
    months = begin.month - 1 + MONTHS[wanted.unit] * wanted.time_period
    year, month = begin.year + months // 12, months % 12 + 1
    return begin.replace(year=year, month=month, day=min(begin.day, monthrange(year, month)[1]))
