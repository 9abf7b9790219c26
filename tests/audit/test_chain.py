from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test import override_settings

from audit import chain, retention
from audit.log import SYSTEM, AuditObject, digest, record
from audit.models import Anchor, AuditEvent, ChainHead
from tests.audit import chains

pytestmark = pytest.mark.django_db

ON = AuditObject(type="environment", key="", name="Production")


@pytest.fixture
def entries():
    return [record(f"Entry {number}", ON, by=SYSTEM) for number in range(1, 11)]


@contextmanager
def tampering():
    """A superuser who switches the triggers off."""
    tables = ("audit_auditevent", "audit_chainhead", "audit_anchor")
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield cursor
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def fault():
    found = chain.verify().fault
    assert found is not None
    return found.kind, found.number


def test_an_untouched_log_is_intact(entries):
    report = chain.verify()

    assert report.is_intact
    assert (report.entries, report.first, report.last, report.hash) == (10, 1, 10, entries[-1].hash)


def test_an_empty_log_is_intact():
    assert chain.verify().is_intact


@pytest.mark.django_db(transaction=True)
def test_verifying_sees_one_state_and_writes_nothing():
    with transaction.atomic():
        record("One", ON, by=SYSTEM)

    seen = []
    assert chain.verify(on_progress=seen.append).is_intact
    assert seen == [1]
    assert not connection.in_atomic_block


@pytest.mark.parametrize(
    "change",
    [
        "message = 'Entry five'",
        "reason = 'x'",
        "actor_name = 'Somebody'",
        "actor_username = 'somebody'",
        "actor_key = gen_random_uuid()",
        "actor_address = '192.0.2.9'",
        "at = at - interval '1 microsecond'",
        "kind = 'view'",
        "succeeded = false",
        "object_type = 'user'",
        "object_key = 'x'",
        "object_name = 'Test'",
        """details = '{"a": 1}'""",
        "cause = gen_random_uuid()",
        "key = gen_random_uuid()",
        "previous_hash = repeat('1', 64)",
        "hash = repeat('1', 64)",
    ],
)
def test_a_change_of_any_column_is_found(entries, change):
    with tampering() as cursor:
        cursor.execute(f"UPDATE audit_auditevent SET {change} WHERE number = 5")  # noqa: S608

    assert fault() == ("changed", 5)


def test_the_columns_tried_above_are_all_there_are():
    (tried,) = [mark.args[1] for mark in test_a_change_of_any_column_is_found.pytestmark]
    names = {change.split(" = ")[0] for change in tried}

    assert names | {"number"} == {field.column for field in AuditEvent._meta.concrete_fields}


@pytest.mark.parametrize("number", [1, 5, 10])
def test_a_changed_entry_with_a_fitting_hash_is_found(entries, number):
    event = AuditEvent.objects.get(number=number)
    event.message = "Other"
    with tampering() as cursor:
        cursor.execute(
            "UPDATE audit_auditevent SET message = 'Other', hash = %s WHERE number = %s", [digest(event), number]
        )

    assert fault() == ("changed", number)


def rewrite(numbers):
    """Change the first of these entries and make all the hashes after it fit."""
    previous = None
    with tampering() as cursor:
        for event in AuditEvent.objects.filter(number__in=numbers).order_by("number"):
            event.previous_hash, event.message = previous or event.previous_hash, event.message + "!"
            previous = digest(event)
            cursor.execute(
                "UPDATE audit_auditevent SET message = %s, previous_hash = %s, hash = %s WHERE number = %s",
                [event.message, event.previous_hash, previous, event.number],
            )
        cursor.execute("UPDATE audit_chainhead SET hash = %s", [previous])
    return previous


def test_a_rewritten_chain_lacks_the_consoles_signature(entries):
    rewrite(range(5, 11))

    assert fault() == ("head", 10)


def test_a_chain_rewritten_with_the_secret_is_told_by_a_noted_hash(entries):
    noted = (7, entries[6].hash)
    assert chain.verify(known=noted).is_intact
    rewrite(range(5, 11))
    head = ChainHead.objects.get().signed()
    with tampering() as cursor:
        cursor.execute("UPDATE audit_chainhead SET signature = %s", [head.signature])

    assert chain.verify().is_intact
    report = chain.verify(known=noted)
    assert report.fault is not None
    assert (report.fault.kind, report.fault.number) == ("rewritten", 7)


def test_a_noted_entry_that_does_not_exist_is_a_fault(entries):
    report = chain.verify(known=(11, "0" * 64))

    assert report.fault is not None
    assert (report.fault.kind, report.fault.number) == ("rewritten", 11)


@pytest.mark.parametrize(
    ("removed", "first"), [("1", 1), ("1, 2", 1), ("5", 5), ("5, 6, 7", 5), ("9, 10", 9), ("10", 10)]
)
def test_missing_entries_are_found(entries, removed, first):
    with tampering() as cursor:
        cursor.execute(f"DELETE FROM audit_auditevent WHERE number IN ({removed})")  # noqa: S608

    assert fault() == ("missing", first)


def test_an_emptied_log_is_found(entries):
    with tampering() as cursor:
        cursor.execute("TRUNCATE audit_auditevent")

    assert fault() == ("missing", 1)


def test_a_missing_entry_whose_followers_moved_up_is_found(entries):
    with tampering() as cursor:
        cursor.execute("DELETE FROM audit_auditevent WHERE number = 5")
        cursor.execute("UPDATE audit_auditevent SET number = number + 100 WHERE number > 5")
        cursor.execute("UPDATE audit_auditevent SET number = number - 101 WHERE number > 100")

    assert fault() == ("reordered", 5)


def test_swapped_entries_are_found(entries):
    with tampering() as cursor:
        for old, new in ((4, 100), (8, 4), (100, 8)):
            cursor.execute("UPDATE audit_auditevent SET number = %s WHERE number = %s", [new, old])

    assert fault() == ("reordered", 4)


def test_an_added_entry_is_found(entries):
    with tampering() as cursor:
        event = AuditEvent.objects.get(number=10)
        event.number, event.previous_hash = 11, event.hash
        cursor.execute(
            "INSERT INTO audit_auditevent SELECT 11, gen_random_uuid(), at, actor_name, actor_username, actor_key, "
            "actor_address, kind, succeeded, object_type, object_key, object_name, message, reason, details, cause, "
            "hash, hash FROM audit_auditevent WHERE number = 10"
        )
    event = AuditEvent.objects.get(number=11)
    with tampering() as cursor:
        cursor.execute("UPDATE audit_auditevent SET hash = %s WHERE number = 11", [digest(event)])

    assert fault() == ("added", 11)


def test_a_head_set_back_is_found(entries):
    with tampering() as cursor:
        cursor.execute("DELETE FROM audit_auditevent WHERE number > 8")
        cursor.execute("UPDATE audit_chainhead SET number = 8, hash = %s, at = %s", [entries[7].hash, entries[7].at])

    assert fault() == ("head", 8)


def test_a_missing_head_is_found(entries):
    with tampering() as cursor:
        cursor.execute("DELETE FROM audit_chainhead")

    assert fault() == ("head", 10)


def test_another_secret_is_a_fault_unless_it_is_a_former_one(entries, settings):
    old = settings.SECRET_KEY

    with override_settings(SECRET_KEY="another"):
        assert fault() == ("head", 10)
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[old]):
        assert chain.verify().is_intact


@pytest.fixture
def pruned():
    long_ago = datetime.now(UTC) - timedelta(days=400)
    chains.append(chains.event(long_ago + timedelta(hours=hour)) for hour in range(6))
    record("Young", ON, by=SYSTEM)
    retention.prune(days=365)


def test_what_retention_left_is_intact(pruned):
    report = chain.verify()

    assert report.is_intact
    assert (report.first, report.last) == (7, 8)


def test_an_anchor_that_the_console_did_not_sign_is_found(pruned):
    event = AuditEvent.objects.get(number=7)
    with tampering() as cursor:
        cursor.execute("DELETE FROM audit_auditevent WHERE number = 7")
        cursor.execute("UPDATE audit_anchor SET number = 7, hash = %s", [event.hash])

    assert fault() == ("anchor", 7)


def test_the_signature_of_a_head_is_none_of_an_anchor(entries):
    head = ChainHead.objects.get()
    with tampering() as cursor:
        cursor.execute("DELETE FROM audit_auditevent")
    Anchor.objects.create(number=10, at=head.at, hash=head.hash, cut_at=head.at, signature=head.signature)

    assert fault() == ("anchor", 10)


def test_entries_missing_after_an_anchor_are_found(pruned):
    with tampering() as cursor:
        cursor.execute("DELETE FROM audit_auditevent WHERE number = 7")

    assert fault() == ("missing", 7)


def test_a_removed_anchor_is_found(pruned):
    with tampering() as cursor:
        cursor.execute("DELETE FROM audit_anchor")

    assert fault() == ("missing", 1)


def test_a_noted_entry_that_retention_deleted_cannot_be_compared(pruned):
    anchor = Anchor.objects.get()

    assert chain.verify(known=(6, anchor.hash)).is_intact
    assert chain.verify(known=(6, "0" * 64)).fault.kind == "rewritten"
    assert chain.verify(known=(3, "0" * 64)).fault.kind == "missing"
