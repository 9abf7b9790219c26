"""Logging in, and the two-step back-off that slows down whoever guesses passwords.

Failures are counted per address, and per username from an address, in the database: any number of web processes share
the count. An attempt is counted before its password is looked at, so attempts made at once cannot slip through.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib import auth
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from audit import log as audit
from lifetime.models import LoginCounter, User
from lifetime.requests import client_address, origin

COUNTING_WINDOW = timedelta(minutes=60)
KEPT_FOR = timedelta(days=1)
LONGEST_USERNAME = 150


@dataclass(frozen=True)
class BackOff:
    """After `few` failures in the counting window comes the short block, after `many` the long one."""

    few: int
    short: timedelta
    many: int
    long: timedelta

    def block(self, failures: int) -> timedelta | None:
        if failures >= self.many:
            return self.long
        return self.short if failures == self.few else None


PER_USER = BackOff(few=3, short=timedelta(seconds=30), many=6, long=timedelta(minutes=30))
PER_ADDRESS = BackOff(few=20, short=timedelta(minutes=5), many=50, long=timedelta(minutes=60))


class Refused(Exception):
    """The log-in did not succeed; the text is for the person and never tells whether the user exists."""


class WrongCredentials(Refused):
    def __init__(self) -> None:
        super().__init__("The username or the password is wrong.")


class Blocked(Refused):
    def __init__(self, *, long: bool) -> None:
        super().__init__(f"Too many failed log-ins. Try again in {'60' if long else 'a few'} minutes.")


def log_in(request: HttpRequest, *, username: str, password: str) -> User:
    """Log the person in on this request's session, or raise Refused. Both outcomes are in the audit log."""
    address = client_address(request)
    subject = username.strip().upper().lower()[:LONGEST_USERNAME]  # as the database compares: upper case
    _count(subject, origin(address))
    user = auth.authenticate(request, username=username.strip(), password=password)
    if not isinstance(user, User):
        _record_failure(username.strip(), address)
        raise WrongCredentials
    with transaction.atomic():
        _forget(subject, origin(address))
        auth.login(request, user)
        message = f"User '{user.name}' ({user.username}) logged in"
        audit.record(message, _audited(user), by=user.actor(address), kind=audit.Kind.LOGIN)
    return user


@transaction.atomic
def change_password(request: HttpRequest, user: User, *, password: str) -> None:
    """Set a new password; every other session of the person ends, the one of this request goes on."""
    user.set_password(password)
    user.save(update_fields=["password"])
    auth.update_session_auth_hash(request, user)
    message = f"Changed the password of user '{user.name}' ({user.username})"
    audit.record(message, _audited(user), by=user.actor(client_address(request)))


@transaction.atomic
def _count(subject: str, address: str) -> None:
    """Count an attempt as failed, which `_forget` takes back when it succeeds; raise Blocked when none is allowed."""
    now = timezone.now()
    counters = [(_locked(address, "", now), PER_ADDRESS), (_locked(address, subject, now), PER_USER)]
    for counter, back_off in counters:
        if counter.blocked_until and counter.blocked_until > now:
            raise Blocked(long=counter.failures >= back_off.many)
    for counter, back_off in counters:
        counter.failures += 1
        counter.last_failed_at = now
        if block := back_off.block(counter.failures):
            counter.blocked_until = now + block
        counter.save()


def _locked(address: str, username: str, now: datetime) -> LoginCounter:
    """The subject's counter, locked, begun again when its counting window is over."""
    start = {"counting_since": now, "last_failed_at": now}
    LoginCounter.objects.get_or_create(address=address, username=username, defaults=start)
    counter = LoginCounter.objects.select_for_update().get(address=address, username=username)
    is_blocked = counter.blocked_until is not None and counter.blocked_until > now
    if not is_blocked and counter.counting_since <= now - COUNTING_WINDOW:
        counter.failures, counter.counting_since, counter.blocked_until = 0, now, None
    return counter


def _forget(subject: str, address: str) -> None:
    """Take back the count of an attempt that succeeded. What others failed at from the address stays counted."""
    counter = LoginCounter.objects.select_for_update().get(address=address, username="")
    counter.failures = max(counter.failures - 1, 0)
    if PER_ADDRESS.block(counter.failures + 1):
        counter.blocked_until = None
    counter.save()
    LoginCounter.objects.filter(address=address, username=subject).delete()


@transaction.atomic
def _record_failure(username: str, address: str) -> None:
    """Audit a failed log-in. An unknown username is not copied: people type passwords into the wrong field."""
    LoginCounter.objects.filter(last_failed_at__lt=timezone.now() - KEPT_FOR).delete()
    user = User.objects.filter(username__iexact=username).first()
    if user is None:
        actor = audit.Actor(name="Unknown user", address=address)
        on = audit.AuditObject(type="user", key="", name="Unknown user")
        message, reason = "Log-in of an unknown user failed", "No such username"
    else:
        actor, on = user.actor(address), _audited(user)
        message = f"Log-in of user '{user.name}' ({user.username}) failed"
        reason = "Wrong password" if user.is_active else "The user is inactive"
    audit.record(message, on, by=actor, kind=audit.Kind.LOGIN, succeeded=False, reason=reason)


def _audited(user: User) -> audit.AuditObject:
    return audit.AuditObject(type="user", key=str(user.key), name=user.name)
