"""What environments tell the console: something was published there, so it is due now, not at its next time.

An event is signed with the environment's token (docs/environment-api.md, "Events"). It is taken once, and believed only
as far as to ask the environment itself.
"""

import hashlib
import hmac
import re
import time
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from pydantic import BaseModel, ConfigDict, ValidationError

from audit.log import SYSTEM
from environments import sync
from environments.models import Environment, EnvironmentEvent, SyncTrigger

LONGEST_BODY = 64 * 1024
TOLERANCE = 300  # seconds that the environment's clock may be off
SIGNATURE = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")


class EventRefused(Exception):
    """Not signed by this environment, too old, or not an event."""


class Event(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: UUID
    type: str


def receive(environment: Environment, *, signature: str, body: bytes) -> bool:
    """Take an event; answers whether it was new. Raises EventRefused, and gate.Refused when the console keeps quiet."""
    _verify(environment, signature, body)
    try:
        event = Event.model_validate_json(body)
    except ValidationError:
        raise EventRefused("The body is no event.") from None
    with transaction.atomic():
        _, is_new = EnvironmentEvent.objects.get_or_create(
            environment=environment, event_id=event.id, defaults={"type": event.type[:60]}
        )
        if is_new:
            sync.request(environment, by=SYSTEM, trigger=SyncTrigger.EVENT, is_full=False)
    return is_new


def _verify(environment: Environment, signature: str, body: bytes) -> None:
    found = SIGNATURE.fullmatch(signature)
    if found is None or not environment.token:
        raise EventRefused("The signature is missing or malformed.")
    instant, given = found.groups()
    expected = hmac.new(environment.token.encode(), f"{instant}.".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(given, expected):
        raise EventRefused("The signature is not this environment's.")
    offset = environment.sync_state.clock_offset or 0.0
    if abs(int(instant) - offset - time.time()) > TOLERANCE:
        raise EventRefused("The signature is too old, or the clocks differ.")


def prune() -> None:
    """Forget events after three days; an environment sends one for a day at most."""
    EnvironmentEvent.objects.filter(received_at__lt=Now() - timedelta(days=3)).delete()
