"""Blocking an application from deployment to an environment. Known to the console alone: it needs no contact."""

from django.db import transaction
from django.utils import timezone

from audit import log
from environments.maintenance import clean_reason
from environments.models import Application, ApplicationBlock, ApplicationStatus, Environment


class BlockRefused(Exception):
    """Nothing was blocked or unblocked. The text says why."""


def block(environment: Environment, application: Application, *, by: log.Actor, reason: str) -> ApplicationBlock:
    """Keep the application from being deployed there; raises ValidationError (reason) and BlockRefused."""
    reason = clean_reason(reason)
    with transaction.atomic():
        Application.objects.select_for_update(no_key=True).get(pk=application.pk)
        if found := in_force(environment, application):
            raise BlockRefused(_blocked(found))
        if ApplicationStatus.objects.filter(environment=environment, application=application).exists():
            raise BlockRefused(f"{application} is published in {environment} already; it can be blocked only before.")
        found = ApplicationBlock.objects.create(
            application=application,
            environment=environment,
            blocked_at=timezone.now(),
            blocked_by=by.name,
            reason=reason,
        )
        _record(
            f"Blocked application '{application}' from deployment to environment '{environment}'", found, by, reason
        )
    return found


def unblock(environment: Environment, application: Application, *, by: log.Actor, reason: str) -> ApplicationBlock:
    """Allow the deployment again; raises ValidationError (reason) and BlockRefused."""
    reason = clean_reason(reason)
    with transaction.atomic():
        Application.objects.select_for_update(no_key=True).get(pk=application.pk)
        found = in_force(environment, application)
        if found is None:
            raise BlockRefused(f"{application} is not blocked from deployment to {environment}.")
        found.unblocked_at, found.unblocked_by, found.unblock_reason = timezone.now(), by.name, reason
        found.save(update_fields=["unblocked_at", "unblocked_by", "unblock_reason"])
        _record(
            f"Unblocked application '{application}' for deployment to environment '{environment}'", found, by, reason
        )
    return found


def in_force(environment: Environment, application: Application) -> ApplicationBlock | None:
    """The block that keeps the application from being deployed there now."""
    return ApplicationBlock.objects.in_force().filter(environment=environment, application=application).first()


def _blocked(found: ApplicationBlock) -> str:
    return (
        f"{found.application} is blocked from deployment to {found.environment} already: {found.blocked_by} blocked it "
        f"on {found.blocked_at:%d %b %H:%M} UTC, “{found.reason}”."
    )


def _record(message: str, found: ApplicationBlock, by: log.Actor, reason: str) -> None:
    log.record(
        f"{message}: {reason}",
        found.application.audit_object,
        by=by,
        reason=reason,
        details={"environment": found.environment.name, "block": str(found.key)},
    )
