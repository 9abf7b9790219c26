"""The append-only log: its entries, the head of their chain, and the anchors that retention leaves behind.

Names are copied, nothing is referenced: entries outlive what they speak of. Triggers in the database refuse to change
or remove entries (migration 0002), whoever asks; `audit.log` alone writes them.
"""

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Upper
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

if TYPE_CHECKING:
    from audit.log import AuditObject

GENESIS = "0" * 64  # the "previous hash" of entry 1


class Kind(models.TextChoices):
    UPDATE = "update", "Update"
    VIEW = "view", "View"
    LOGIN = "login", "Log-in"


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def about(self, on: "AuditObject") -> Self:
        """What was done to this object."""
        return self.filter(object_type=on.type, object_key=on.key)

    def by_system(self) -> Self:
        return self.filter(actor_username="", actor_name="System")

    def by_username(self, *usernames: str) -> Self:
        if len(usernames) == 1:
            return self.filter(actor_username=usernames[0])
        return self.filter(actor_username__in=usernames)

    def updates(self) -> Self:
        return self.filter(kind=Kind.UPDATE)

    def failed(self) -> Self:
        return self.filter(succeeded=False)

    def containing(self, text: str) -> Self:
        """Entries whose message contains the text, whatever its case (the trigram index answers it)."""
        return self.filter(message__icontains=text)

    def since(self, begin: datetime) -> Self:
        """Entries written at or after an instant.

        Times never go back along the numbers, so the instant becomes a number: one look-up in the index of times, and
        every other index, which ends in the number, serves the range.
        """
        events = AuditEvent.objects.filter(at__gte=begin).order_by("at", "number")
        first = events.values_list("number", flat=True).first()
        return self.none() if first is None else self.filter(number__gte=first)

    def until(self, end: datetime) -> Self:
        """Entries written before an instant; as `since`."""
        events = AuditEvent.objects.filter(at__lt=end).order_by("-at", "-number")
        last = events.values_list("number", flat=True).first()
        return self.none() if last is None else self.filter(number__lte=last)

    def newest_first(self) -> Self:
        return self.order_by("-number")


class AuditEvent(models.Model):
    """One act: who did what to what, when, from where, whether it worked, and why."""

    number = models.BigIntegerField(primary_key=True, editable=False)  # gapless: the chain's head gives it
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    at = models.DateTimeField("time")  # the database's clock
    actor_name = models.CharField("user", max_length=255)
    actor_username = models.CharField("username", max_length=255, blank=True)
    actor_key = models.UUIDField("user's key", null=True, blank=True)
    actor_address = models.CharField("address", max_length=64, blank=True)
    kind = models.CharField(max_length=6, choices=Kind)
    succeeded = models.BooleanField()
    object_type = models.CharField("changes to", max_length=50)
    object_key = models.CharField(max_length=100, blank=True)
    object_name = models.CharField("object", max_length=255)
    message = models.CharField(max_length=2000)
    reason = models.CharField(max_length=500, blank=True)
    details = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    cause = models.UUIDField(null=True, blank=True)  # key of the entry that led to this one
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        verbose_name = "audit event"
        default_permissions = ("view",)
        # Each index ends in the number, the order of the pages, so that a page reads only the rows it shows.
        indexes = [
            models.Index(fields=["at", "number"], name="audit_by_time"),
            models.Index(fields=["actor_username", "number"], name="audit_by_user"),
            models.Index(fields=["object_type", "number"], name="audit_by_type"),
            models.Index(fields=["object_key", "number"], name="audit_by_object", condition=~Q(object_key="")),
            models.Index(fields=["number"], name="audit_failed", condition=Q(succeeded=False)),
            models.Index(fields=["cause", "number"], name="audit_by_cause", condition=Q(cause__isnull=False)),
            GinIndex(OpClass(Upper("message"), name="gin_trgm_ops"), name="audit_message_words"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(number__gte=1), name="audit_number_from_one"),
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="audit_known_kind"),
        ]

    def __str__(self) -> str:
        return f"#{self.number} {self.message}"

    def get_absolute_url(self) -> str:
        return reverse("audit:event", args=[self.key])

    @property
    def changes_something(self) -> bool:
        return self.kind == Kind.UPDATE

    @property
    def actor(self) -> str:
        return f"{self.actor_name} ({self.actor_username})" if self.actor_username else self.actor_name


class Place(models.Model):
    """A place in the chain, signed by the console: whoever has only the database cannot move it."""

    hash = models.CharField(max_length=64, default=GENESIS)
    signature = models.CharField(max_length=64, blank=True)

    number: int
    at: datetime | None

    class Meta:
        abstract = True

    def signed(self) -> Self:
        self.signature = self._sign(settings.SECRET_KEY)
        return self

    def is_signed(self) -> bool:
        """Whether the console signed it, with its secret or with a former one."""
        secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return any(constant_time_compare(self.signature, self._sign(secret)) for secret in secrets)

    def _sign(self, secret: str | bytes) -> str:
        text = f"{self.number} {instant(self.at) if self.at else ''} {self.hash}"
        return salted_hmac(f"audit.{self._meta.model_name}", text, secret=secret, algorithm="sha256").hexdigest()


class ChainHead(Place):
    """The last entry: one row, locked by whoever writes, so numbers have no gap."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    number = models.BigIntegerField(default=0)
    at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="audit_one_head")]

    def __str__(self) -> str:
        return f"#{self.number} {self.hash[:12]}"


class Anchor(Place):
    """Where retention cut the chain: the last entry it deleted, so that the cut can be told from tampering."""

    number = models.BigIntegerField(primary_key=True, editable=False)
    at = models.DateTimeField("time of the last entry deleted")
    cut_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"Entries up to #{self.number}, deleted {self.cut_at:%Y-%m-%d}"


def instant(at: datetime) -> str:
    """An instant as the log writes it: UTC with microseconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def known_actors(containing: str = "", *, limit: int = 100) -> list[tuple[str, str]]:
    """(username, latest name) of the people in the log whose name or username contains a text; looks at 5,000 at most.

    The console itself is ("", "System").
    """
    statement = f"""
        {_distinct("actor_username")}
        SELECT found.value, latest.actor_name
        FROM (SELECT value FROM found WHERE value <> '' LIMIT 5000) AS found
        CROSS JOIN LATERAL (
            SELECT actor_name FROM audit_auditevent AS event
            WHERE event.actor_username = found.value ORDER BY event.number DESC LIMIT 1
        ) AS latest
        WHERE strpos(lower(latest.actor_name), %(text)s) > 0 OR strpos(lower(found.value), %(text)s) > 0
        LIMIT %(limit)s
    """  # noqa: S608 - the column is ours
    with connection.cursor() as cursor:
        cursor.execute(statement, {"text": containing.lower(), "limit": limit})
        people: list[tuple[str, str]] = cursor.fetchall()
    return [("", "System"), *people] if containing.lower() in "system" else people


def known_object_types() -> list[str]:
    """The types of objects in the log."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_distinct('object_type')} SELECT value FROM found WHERE value IS NOT NULL LIMIT 100")  # noqa: S608
        rows: list[tuple[str]] = cursor.fetchall()
    return [value for (value,) in rows]


def _distinct(column: str) -> str:
    """SQL of the different values of an indexed column: one step in the index per value, however long the log is."""
    return f"""
        WITH RECURSIVE found (value) AS (
            (SELECT {column} FROM audit_auditevent ORDER BY {column} LIMIT 1)
            UNION ALL
            SELECT (SELECT {column} FROM audit_auditevent WHERE {column} > found.value ORDER BY {column} LIMIT 1)
            FROM found WHERE found.value IS NOT NULL
        )
    """  # noqa: S608 - the column is ours
