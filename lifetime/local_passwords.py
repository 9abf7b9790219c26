"""Local passwords: who keeps one when people log in by an external provider, and who loses it.

Local administrators are the way in when the provider fails: support staff and superusers, who are made in Django admin.
"""

from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX, make_password
from django.contrib.sessions.models import Session
from django.db.models import Q, QuerySet

from environments.models import AuthenticationProvider
from lifetime import changes
from lifetime.models import User

BATCH = 500


def local_administrators() -> QuerySet[User]:
    """Those who keep their passwords and can undo everything: active, and managing the infrastructure."""
    local = _with_password().filter(Q(is_staff=True) | Q(is_superuser=True), is_active=True)
    return local.filter(role__manage_infrastructure_and_users=True)


def refusal_to_clear(well_known_url: str) -> str:
    """Why nobody's password may be cleared in favour of this provider now; "" when they may."""
    from lifetime import openid  # which creates people, whose rules ask this module

    if not openid.is_on() or settings.OIDC_ISSUER.rstrip("/") + openid.DISCOVERY != well_known_url:
        return (
            "This console does not log people in by this provider, so without passwords they could not log in at all. "
            "Set LIFETIME_OIDC_ISSUER to it first."
        )
    if not local_administrators().exists():
        return (
            "There is no local administrator, who could still log in when the provider fails. Give one of the "
            "administrators, who has a password here, the right of support staff in Django admin first."
        )
    return ""


def is_way_in_missing() -> bool:
    """Whether people log in by a provider, and nobody who could undo that has a password for when it fails."""
    if not AuthenticationProvider.objects.filter(is_active=True).exists():
        return False
    able = _with_password().filter(is_active=True, role__manage_infrastructure_and_users=True)
    return not able.exists()


def to_clear() -> QuerySet[User]:
    """Whose passwords would be cleared: everybody's but those of support staff and superusers."""
    return _with_password().filter(is_staff=False, is_superuser=False)


def without() -> QuerySet[User]:
    """Active people who cannot log in by a password."""
    return User.objects.filter(_unusable(), is_active=True)


def clear() -> int:
    """Leave the passwords of local administrators only, in the caller's transaction; how many were cleared."""
    changes.one_at_a_time()
    people = list(to_clear().select_for_update(no_key=True).order_by("pk").only("pk", "password"))
    for user in people:
        user.password = make_password(None)
    User.objects.bulk_update(people, ["password"], batch_size=BATCH)
    return len(people)


def end_sessions(*, except_for: str) -> int:
    """End all sessions but this one: everybody else has to log in again. How many ended."""
    ended, _ = Session.objects.exclude(session_key=except_for).delete()
    return ended


def _with_password() -> QuerySet[User]:
    return User.objects.exclude(_unusable())


def _unusable() -> Q:
    return Q(password="") | Q(password__startswith=UNUSABLE_PASSWORD_PREFIX)
