import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from audit.log import SYSTEM, AuditObject, record
from audit.models import Anchor, AuditEvent, ChainHead
from tests.audit import chains

pytestmark = pytest.mark.django_db

ON = AuditObject(type="environment", key="", name="Production")


@pytest.fixture
def entries():
    return [record(f"Entry {number}", ON, by=SYSTEM) for number in (1, 2, 3)]


def refused(statement, *, match="append-only"):
    with pytest.raises(IntegrityError, match=match), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET message = 'other' WHERE number = 2",
        "UPDATE audit_auditevent SET message = message",
        "DELETE FROM audit_auditevent WHERE number = 3",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "TRUNCATE audit_auditevent CASCADE",
        "DELETE FROM audit_chainhead",
        "TRUNCATE audit_chainhead",
        "INSERT INTO audit_auditevent SELECT 2, gen_random_uuid(), at, actor_name, actor_username, actor_key, "
        "actor_address, kind, succeeded, object_type, object_key, object_name, 'other', reason, details, cause, "
        "previous_hash, hash FROM audit_auditevent WHERE number = 2 ON CONFLICT (number) DO UPDATE SET message = 'x'",
    ],
)
def test_the_owner_of_the_tables_cannot_change_or_remove_an_entry(entries, statement):
    refused(statement)

    assert list(AuditEvent.objects.order_by("number").values_list("message", flat=True)) == [
        "Entry 1",
        "Entry 2",
        "Entry 3",
    ]


def test_the_orm_cannot_either(entries):
    entries[0].message = "Other"
    with pytest.raises(IntegrityError), transaction.atomic():
        entries[0].save()
    with pytest.raises(IntegrityError), transaction.atomic():
        entries[0].delete()
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEvent.objects.all().delete()


def test_nobody_adds_an_entry_beside_the_log(entries):
    copy = AuditEvent.objects.get(number=3)
    copy.number, copy.key = 4, uuid.uuid4()

    with pytest.raises(IntegrityError, match=r"audit\.log"), transaction.atomic():
        copy.save(force_insert=True)


def test_the_head_only_moves_forward(entries):
    refused("UPDATE audit_chainhead SET number = 2", match="forward")
    refused("UPDATE audit_chainhead SET hash = 'x'", match="forward")

    assert ChainHead.objects.get().number == 3


def test_the_setting_of_retention_alone_deletes_nothing(entries):
    refused("SET LOCAL lifetime.audit_anchor = '2'; DELETE FROM audit_auditevent WHERE number <= 2", match="signed")


def test_retention_cannot_delete_beyond_its_anchor_nor_young_entries():
    long_ago = datetime.now(UTC) - timedelta(days=400)
    chains.append([chains.event(long_ago), chains.event(long_ago)])
    record("Young", ON, by=SYSTEM)
    Anchor.objects.create(number=1, at=long_ago, hash="x", cut_at=long_ago, signature="x")
    refused("SET LOCAL lifetime.audit_anchor = '1'; DELETE FROM audit_auditevent WHERE number <= 2", match="signed")
    Anchor.objects.create(number=3, at=long_ago, hash="x", cut_at=long_ago, signature="x")
    refused("SET LOCAL lifetime.audit_anchor = '3'; DELETE FROM audit_auditevent WHERE number <= 3", match="signed")

    assert AuditEvent.objects.count() == 3


def test_anchors_stay_as_they_are():
    now = datetime.now(UTC)
    Anchor.objects.create(number=1, at=now, hash="x", cut_at=now, signature="x")

    refused("UPDATE audit_anchor SET hash = 'y'")
    refused("DELETE FROM audit_anchor")
    refused("TRUNCATE audit_anchor")


def test_the_triggers_can_be_taken_back():
    from importlib import import_module

    migration = import_module("audit.migrations.0002_append_only")
    with connection.cursor() as cursor:
        cursor.execute(migration.DROP)
        cursor.execute(migration.CREATE)
    refused("TRUNCATE audit_auditevent")
