"""The table of what maintenance mode stops, walked row by row over all that asks it."""

import asyncio
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from audit.models import AuditEvent
from environments import conversation, gate, maintenance, operations, registry, sync
from environments.models import Contact, Environment, Purpose, RefusedOperation
from environments.operations import Activity, Operation
from lifetime import policy
from lifetime.models import Level, Role
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)

OPERATIONS = [  # as the documentation of LifeTime lists them, O1 to O13
    "tag_applications",
    "deploy",
    "operate_plans",
    "change_application_settings",
    "test_applications",
    "open_service_center",
    "open_service_studio",
    "create_applications",
    "toggle_technical_previews",
    "create_plugins",
    "synchronize",
    "change_security_settings",
    "edit_environment",
]
ACTIVITIES = ["applications", "permissions", "settings", "technical_previews", "authentication"]  # S1 to S5


def in_maintenance(name="Production", **extra):
    environment = create_environment(name=name, **extra)
    window = maintenance.enable(environment, by=actor(), reason="Platform upgrade")
    return Environment.objects.get(pk=environment.pk), window


def test_the_table_is_complete():
    assert Operation.values == OPERATIONS
    assert Activity.values == ACTIVITIES
    assert all(activity.value in conversation.LABELS for activity in Activity)


@pytest.mark.parametrize("operation", Operation)
def test_each_operation_is_allowed_outside_and_refused_inside_with_who_why_since_and_what_to_do(operation):
    user = create_user()
    allowed = create_environment()
    environment, window = in_maintenance()

    assert policy.may(user, operation, allowed) == policy.ALLOWED
    decision = policy.may(user, operation, environment)

    assert not decision
    assert decision.is_temporary
    assert decision.reason == (
        f"{operation.label} is disabled: Production is in maintenance mode since "
        f"{window.enabled_at:%d %b %H:%M} UTC. Ada Lovelace enabled it: “Platform upgrade”. "
        "Wait until it is disabled, or ask Ada Lovelace."
    )


@pytest.mark.parametrize("operation", Operation)
def test_each_operation_is_refused_on_source_and_on_target_and_a_bystander_does_not_matter(operation):
    user = create_user()
    source, target = create_environment(name="Source"), create_environment(name="Target")
    environment, _ = in_maintenance()

    assert not policy.may(user, operation, environment, target)
    assert not policy.may(user, operation, source, environment)
    assert policy.may(user, operation, source, target)


@pytest.mark.parametrize("operation", Operation)
def test_a_direct_request_for_each_operation_is_refused_counted_and_audited(operation):
    user = create_user(name="Ada Lovelace", username="ada")
    environment, window = in_maintenance()

    with pytest.raises(policy.InMaintenance, match="Production is in maintenance mode"):
        policy.get_environment(user, environment.key, operation)

    row = RefusedOperation.objects.get()
    assert (row.window_id, row.operation, row.count, row.last_by) == (window.pk, operation.value, 1, "Ada Lovelace")
    entry = AuditEvent.objects.order_by("-number").first()
    assert not entry.succeeded
    assert entry.message == f"Refused on environment 'Production', which is in maintenance mode: {operation.label}"


@pytest.mark.parametrize("operation", [one for one in Operation if policy.LEVELS.get(one) != Level.LIST])
def test_a_person_without_the_right_is_refused_for_that_reason_and_counted_nowhere(operation):
    user = create_user(role=Role.objects.create(name="Onlooker"))
    environment, _ = in_maintenance()

    decision = policy.may(user, operation, environment)
    with pytest.raises(PermissionDenied):
        policy.require(user, operation, environment)

    assert not decision.is_temporary
    assert decision.reason
    assert "maintenance" not in decision.reason
    assert not RefusedOperation.objects.exists()


def test_an_expected_end_is_part_of_the_reason():
    environment = create_environment(name="Test")
    until = timezone.now().replace(microsecond=0) + timedelta(hours=2)
    maintenance.enable(environment, by=actor(), reason="Upgrade", expected_end=until)

    reason = operations.refusal(Environment.objects.get(pk=environment.pk), Operation.DEPLOY)

    assert f"UTC, expected until {until:%d %b %H:%M} UTC. " in reason


def test_synchronizing_and_editing_are_refused_by_the_domain_too():
    environment, _ = in_maintenance()

    with pytest.raises(gate.InMaintenance, match=r"Synchronizing the environment is disabled"):
        sync.request(environment, by=actor())
    with pytest.raises(gate.InMaintenance, match=r"Editing environment details is disabled"):
        registry.edit(environment, {"name": "Another"}, by=actor())
    assert Environment.objects.get().name == "Production"


@pytest.fixture
def platform(places):
    """One that other tests have not touched; the process is theirs, too."""
    return next(places)


@committed
@pytest.mark.parametrize("purpose", Purpose)
def test_the_gate_refuses_a_worker_whatever_it_comes_for(platform, purpose):
    environment, _ = in_maintenance(platform=platform)

    async def talk():
        async with gate.session() as session, session.contact(environment.pk, purpose) as client:
            await client.get("/facts")

    with pytest.raises(gate.InMaintenance):
        asyncio.run(talk())

    assert platform.log() == []
    assert not Contact.objects.exists()
