"""Roles, applications and refusals for the tests about people."""

from datetime import UTC, datetime
from itertools import count
from uuid import uuid4

import pytest
from django.db import transaction

from audit.models import AuditEvent
from environments.models import Application, Environment, SyncState
from lifetime.changes import Author, Refused
from lifetime.models import (
    ApplicationRole,
    Role,
    RoleLevel,
    ServiceAccount,
    ServiceToken,
    Team,
    TeamApplication,
    TeamMembership,
    User,
)
from tests.factories import create_user

ALL = (
    Role,
    RoleLevel,
    User,
    Team,
    TeamMembership,
    TeamApplication,
    ApplicationRole,
    ServiceAccount,
    ServiceToken,
    SyncState,
    AuditEvent,
)

_numbers = count(1)


def create_application(name=""):
    return Application.objects.create(
        key=uuid4(),
        name=name or f"Application {next(_numbers)}",
        kind="WebResponsive",
        changed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def create_role(name="", *, level=None, environment=None, create=False, dependencies=False, **flags):
    """A role with this level in the environment, or in all that there are."""
    role = Role.objects.create(name=name or f"Role {next(_numbers)}", **flags)
    if level is not None:
        for one in [environment] if environment else Environment.objects.all():
            RoleLevel.objects.create(
                role=role,
                environment=one,
                level=level,
                create_applications=create,
                add_system_dependencies=dependencies,
            )
    return role


def create_manager(name="", **options):
    """A role with both rights for the infrastructure, which is not the built-in one."""
    return create_role(name, manage_infrastructure_and_users=True, manage_teams_and_application_roles=True, **options)


def administrator():
    return Author(who=create_user(name="Ada Lovelace", username="ada"))


def messages():
    return list(AuditEvent.objects.order_by("number").values_list("message", flat=True))


def everything():
    return [list(model.objects.order_by("pk").values()) for model in ALL]


def untouched(function, *arguments, match, **options):
    """The call is refused in these words, and neither changes nor records anything."""
    before = everything()
    with pytest.raises(Refused, match=match) as refusal, transaction.atomic():
        function(*arguments, **options)
    assert everything() == before
    return refusal.value
