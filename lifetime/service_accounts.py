"""Service accounts and their tokens: shown once, kept as a hash, renewed with an overlap, revoked at once."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Max, Q
from django.db.models.functions import Now
from django.utils import timezone

from audit import log
from lifetime import changes, people
from lifetime.changes import Author, Refused
from lifetime.models import Role, ServiceAccount, ServiceToken

EDITABLE = ("username", "description", "role", "is_active")
OVERLAP = timedelta(hours=24)
LONGEST_LIFE = timedelta(days=5 * 365)
MARK = "ltc_"  # tells scanners for leaked secrets whose token it is
SHOWN = 10
USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Issued:
    """A new token. The secret is nowhere else, and not to be found out again."""

    token: ServiceToken
    secret: str


@transaction.atomic
def create(*, username: str, description: str = "", role: Role, by: Author) -> ServiceAccount:
    changes.one_at_a_time()
    account = ServiceAccount(username=username, description=description, role=role)
    _check(account)
    changes.refuse_above_own(by, [role], field="role")
    account.save()
    details = {"role": str(role)}
    log.record(f"Created service account '{account}'", account.audit_object, by=by.actor, details=details)
    return account


@transaction.atomic
def edit(account: ServiceAccount, values: Mapping[str, Any], *, by: Author) -> ServiceAccount:
    """Change what is given (EDITABLE); one audit entry per detail. An inactive account's tokens open nothing."""
    changes.one_at_a_time()
    locked = _locked(account)
    before = {name: getattr(locked, name) for name in EDITABLE}
    for name in values.keys() & set(EDITABLE):
        setattr(locked, name, values[name])
    _check(locked)
    wanted = [name for name in EDITABLE if getattr(locked, name) != before[name]]
    if isinstance(by.who, ServiceAccount) and by.who.pk == locked.pk and wanted:
        raise Refused("A service account cannot change itself.")
    if set(wanted) & {"role", "is_active"}:
        changes.refuse_above_own(by, [before["role"], locked.role], field="role")
    if not wanted:
        return locked
    locked.save(update_fields=wanted)
    log.record_all([_entry(locked, name, before[name], by) for name in wanted])
    return locked


@transaction.atomic
def issue_token(
    account: ServiceAccount, *, by: Author, expires_at: datetime | None = None, newest: int | None = None
) -> Issued:
    """Make a new token; what is valid now ends after the overlap, so that programs can change over.

    `newest` is the id of the newest token that the author knows of, 0 for none: sent twice, the second is refused.
    """
    changes.one_at_a_time()
    locked = _locked(account)
    if not locked.is_active:
        raise Refused(f"The service account {locked} is inactive. Make it active first.")
    own = isinstance(by.who, ServiceAccount) and by.who.pk == locked.pk
    if not own:
        changes.refuse_above_own(by, [locked.role])
    if newest is not None and newest != (locked.tokens.aggregate(newest=Max("pk"))["newest"] or 0):
        raise Refused("A token was issued since you opened this page; nothing was changed. Look at the list first.")
    now = timezone.now()
    if expires_at is not None and not now < expires_at <= now + LONGEST_LIFE:
        raise Refused("A token expires in the future, within five years.", field="expires_at")
    end = now + OVERLAP
    replaced = locked.tokens.filter(revoked_at__isnull=True).filter(Q(expires_at__isnull=True) | Q(expires_at__gt=end))
    overlapping = replaced.update(expires_at=end)
    secret = MARK + secrets.token_urlsafe(32)
    token = ServiceToken.objects.create(
        account=locked, hash=_hash(secret), prefix=secret[:SHOWN], created_by=by.actor.name, expires_at=expires_at
    )
    verb = "Renewed the token" if overlapping else "Issued a token"
    details = {"begins with": token.prefix, "expires": expires_at, "old ones end": end if overlapping else None}
    log.record(f"{verb} of service account '{locked}'", locked.audit_object, by=by.actor, details=details)
    return Issued(token, secret)


@transaction.atomic
def revoke_token(token: ServiceToken, *, by: Author) -> None:
    """End a token at once."""
    locked = ServiceToken.objects.select_for_update(of=("self",)).select_related("account").get(pk=token.pk)
    if locked.revoked_at:
        raise Refused(f"{locked.revoked_by} revoked this token already.")
    locked.revoked_at, locked.revoked_by = timezone.now(), by.actor.name
    locked.save(update_fields=["revoked_at", "revoked_by"])
    account = locked.account
    message = f"Revoked the token {locked} of service account '{account}'"
    log.record(message, account.audit_object, by=by.actor)


def authenticate(secret: str) -> ServiceAccount | None:
    """The active account whose valid token this is. Its use is noted, once a minute at most."""
    found = find_token(secret)
    return found.account if found else None


def find_token(secret: str) -> ServiceToken | None:
    """The valid token of an active account, with the account and its role; see `authenticate`."""
    if not secret.startswith(MARK) or not secret.isascii() or len(secret) > 200:
        return None
    found = ServiceToken.objects.valid().select_related("account__role").filter(hash=_hash(secret)).first()
    if found is None:
        return None
    noted = Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - USE_NOTED_EVERY)
    if not found.last_used_at or found.last_used_at < timezone.now() - USE_NOTED_EVERY:
        ServiceToken.objects.filter(noted, pk=found.pk).update(last_used_at=Now())
    return found


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _locked(account: ServiceAccount) -> ServiceAccount:
    rows = ServiceAccount.objects.select_for_update(no_key=True, of=("self",)).select_related("role")
    return rows.get(pk=account.pk)


def _check(account: ServiceAccount) -> None:
    account.username = people.clean_username(account.username)
    account.description = people.clean_line(account.description, "description", longest=500, needed=False)
    people.refuse_taken_username(account.username, except_for=account)


def _entry(account: ServiceAccount, name: str, before: Any, by: Author) -> log.Entry:
    after = getattr(account, name)
    if name == "is_active":
        message = f"Made service account '{account}' {'active' if after else 'inactive'}"
    else:
        message = f"Changed {name} of service account '{account}' from '{before}' to '{after}'"
    return log.Entry(message=message, on=account.audit_object, by=by.actor)
