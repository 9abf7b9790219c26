import threading
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from audit import chain
from audit.log import SYSTEM, Actor, AuditObject, Entry, Kind, digest, record, record_all
from audit.models import GENESIS, AuditEvent, ChainHead

PRODUCTION = AuditObject(type="environment", key=str(uuid.uuid4()), name="Production")
ADA = Actor(name="Ada Lovelace", username="ada", key=uuid.uuid4(), address="192.0.2.1")


@pytest.mark.django_db
def test_an_entry_keeps_what_it_was_told():
    cause = record("Did one thing", PRODUCTION, by=SYSTEM)

    record(
        "Did another",
        PRODUCTION,
        by=ADA,
        kind=Kind.VIEW,
        succeeded=False,
        reason="because",
        details={"plans": [1, 2]},
        cause=cause.key,
    )

    event = AuditEvent.objects.get(message="Did another")
    assert (event.actor_name, event.actor_username, event.actor_key) == ("Ada Lovelace", "ada", ADA.key)
    assert event.actor_address == "192.0.2.1"
    assert (event.object_type, event.object_key, event.object_name) == ("environment", PRODUCTION.key, "Production")
    assert (event.kind, event.succeeded, event.reason) == ("view", False, "because")
    assert event.details == {"plans": [1, 2]}
    assert event.cause == cause.key
    assert abs((datetime.now(UTC) - event.at).total_seconds()) < 60


@pytest.mark.django_db
def test_numbers_and_hashes_follow_each_other():
    first, second = record_all([Entry(message=text, on=PRODUCTION, by=SYSTEM) for text in ("One", "Two")])
    third = record("Three", PRODUCTION, by=SYSTEM)

    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert first.previous_hash == GENESIS
    assert (second.previous_hash, third.previous_hash) == (first.hash, second.hash)
    head = ChainHead.objects.get()
    assert (head.number, head.hash, head.at) == (3, third.hash, third.at)
    assert head.is_signed()


@pytest.mark.django_db
def test_what_comes_back_from_the_database_has_the_hash():
    details = {
        "floats": [1.0, 0.1, 1e22, 1e-7, -0.0],
        "when": datetime(2026, 11, 23, 14, 5, 9, 123456, tzinfo=UTC),
        "key": uuid.uuid4(),
        "exactly": Decimal("1.10"),
        "words": "Größe 😀 \u2028 \\ \" '",
        "nested": {"b": {"z": 1, "a": None}, "a": [True, {}]},
        1: "numbers as names",
    }

    record("Größe 'ändern' 😀\t\\N \\.", PRODUCTION, by=ADA, details=details, reason="ü\\")

    event = AuditEvent.objects.get()
    assert event.message == "Größe 'ändern' 😀 \\N \\."
    assert event.hash == digest(event)
    assert chain.verify().is_intact


@pytest.mark.django_db(transaction=True)
def test_recording_outside_a_transaction_is_refused():
    with pytest.raises(TransactionManagementError):
        record("Did something", PRODUCTION, by=SYSTEM)

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_nothing_to_record_writes_nothing():
    assert record_all([]) == []

    assert ChainHead.objects.get().number == 0


@pytest.mark.django_db
def test_too_long_texts_end_in_an_ellipsis():
    event = record("m" * 2001, PRODUCTION, by=Actor(name="n" * 300), reason="r" * 501)
    whole = record("m" * 2000, PRODUCTION, by=SYSTEM, reason="r" * 500)

    assert event.message == "m" * 1999 + "…"
    assert event.reason == "r" * 499 + "…"
    assert event.actor_name == "n" * 254 + "…"
    assert (whole.message, whole.reason) == ("m" * 2000, "r" * 500)
    assert chain.verify().is_intact


@pytest.mark.django_db
def test_keys_are_never_cut():
    with pytest.raises(ValueError, match="too long"):
        record("Did something", AuditObject(type="environment", key="k" * 101, name="x"), by=SYSTEM)


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["one\ntwo", "one\r\n\x00two", "one\u2028two", "one\x1b\u202etwo", "one\ud800two"])
def test_texts_become_one_line_without_control_characters(text):
    event = record(text, PRODUCTION, by=SYSTEM, reason=text, details={"text": text, text: 1})

    event.refresh_from_db()
    assert event.message == event.reason == "one two"
    assert event.details == {"text": "one two", "one two": 1}


@pytest.mark.django_db
def test_secrets_are_hidden():
    event = record(
        "Cannot reach https://admin:hunter2@example.org/env: sent Bearer abcdef0123456789",
        PRODUCTION,
        by=SYSTEM,
        reason="it said 'Authorization: Basic YWRtaW46aHVudGVyMg=='",
        details={"token": "abc", "nested": [{"client_secret": {"a": 1}, "address": "http://u:p@h/"}], "password": ""},
    )

    event.refresh_from_db()
    assert event.message == "Cannot reach https://***@example.org/env: sent Bearer ***"
    assert event.reason == "it said 'Authorization: Basic ***'"
    assert event.details == {
        "token": "***",
        "nested": [{"client_secret": "***", "address": "http://***@h/"}],
        "password": "",
    }


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_act_leaves_neither_entry_nor_gap():
    with transaction.atomic():
        record("One", PRODUCTION, by=SYSTEM)
    with pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012
        record("Never", PRODUCTION, by=SYSTEM)
        raise RuntimeError
    with transaction.atomic():
        record("Two", PRODUCTION, by=SYSTEM)

    assert list(AuditEvent.objects.order_by("number").values_list("number", "message")) == [(1, "One"), (2, "Two")]
    assert chain.verify().is_intact


@pytest.mark.django_db(transaction=True)
def test_eight_threads_at_once_write_one_unbroken_chain():
    failures = []

    def work(name):
        try:
            for count in range(15):
                entries = [Entry(message=f"{name} {count} {n}", on=PRODUCTION, by=ADA) for n in range(1 + count % 3)]
                with transaction.atomic():
                    record_all(entries)
                    if count % 5 == 4:
                        transaction.set_rollback(True)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    kept = sum(1 + count % 3 for count in range(15) if count % 5 != 4)
    assert list(AuditEvent.objects.order_by("number").values_list("number", flat=True)) == list(range(1, 8 * kept + 1))
    times = list(AuditEvent.objects.order_by("number").values_list("at", flat=True))
    assert times == sorted(times)
    assert chain.verify().is_intact


@pytest.mark.django_db
def test_two_hundred_entries_are_written_in_three_statements(django_assert_num_queries):
    entries = [Entry(message=f"Enabled {n}", on=PRODUCTION, by=ADA) for n in range(200)]

    with django_assert_num_queries(3):
        began = time.perf_counter()
        events = record_all(entries)
        seconds = time.perf_counter() - began

    assert [event.message for event in events] == [entry.message for entry in entries]
    assert seconds < 0.5  # tests/bench/bench_audit.py measures; this only notices a loop of statements


@pytest.mark.django_db(transaction=True)
def test_a_missing_head_is_made_only_for_an_empty_log():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_chainhead DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM audit_chainhead")
    with transaction.atomic():
        assert record("One", PRODUCTION, by=SYSTEM).number == 1
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_chainhead")
        cursor.execute("ALTER TABLE audit_chainhead ENABLE TRIGGER USER")

    with pytest.raises(RuntimeError, match="head of the audit log is missing"), transaction.atomic():
        record("Two", PRODUCTION, by=SYSTEM)
