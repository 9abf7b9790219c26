import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from audit import chain, retention, tasks
from audit.log import SYSTEM, AuditObject, record
from audit.models import Anchor, AuditEvent, ChainHead
from tests.audit import chains

ON = AuditObject(type="environment", key="", name="Production")


def fill(*ages):
    now = datetime.now(UTC)
    chains.append(chains.event(now - timedelta(days=age)) for age in ages)


@pytest.mark.django_db
def test_old_entries_go_and_an_audited_anchor_stays():
    fill(500, 400, 366, 364, 100)
    last_hash = AuditEvent.objects.get(number=3).hash

    cut = retention.prune()

    assert cut == retention.Cut(first=1, last=3)
    assert list(AuditEvent.objects.order_by("number").values_list("number", flat=True)) == [4, 5, 6]
    anchor = Anchor.objects.get()
    assert (anchor.number, anchor.hash) == (3, last_hash)
    assert anchor.is_signed()
    event = AuditEvent.objects.get(number=6)
    assert event.message == "Deleted 3 audit entries older than 365 days (#1 to #3)"
    assert event.details["hash"] == last_hash
    assert chain.verify().is_intact


@pytest.mark.django_db
def test_pruning_goes_on_from_the_last_cut():
    fill(500, 400, 300, 200)
    retention.prune(days=365)

    assert retention.prune(days=250) == retention.Cut(first=3, last=3)
    assert retention.prune(days=250) is None
    assert Anchor.objects.count() == 2
    assert chain.verify().is_intact


@pytest.mark.django_db
def test_nothing_old_is_nothing_done():
    fill(10)

    assert tasks.prune() == "No audit entry is old enough"
    assert not Anchor.objects.exists()
    assert ChainHead.objects.get().number == 1


@pytest.mark.django_db
def test_the_setting_says_how_long(settings):
    settings.AUDIT_RETENTION_DAYS = 40
    fill(50, 45, 35)

    assert tasks.prune() == "Deleted 2 audit entries"


@pytest.mark.django_db
@pytest.mark.parametrize("days", [29, 0, -1])
def test_young_entries_are_kept_whatever_is_asked(days):
    fill(500)

    with pytest.raises(retention.TooShort):
        retention.prune(days=days)

    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db
def test_a_log_that_is_all_old_goes_on_numbering():
    fill(500, 400)

    retention.prune()

    assert list(AuditEvent.objects.values_list("number", flat=True)) == [3]
    assert record("Next", ON, by=SYSTEM).number == 4
    assert chain.verify().is_intact


@pytest.mark.django_db(transaction=True)
def test_two_prunings_at_once_and_a_writer_leave_one_intact_log():
    fill(*[400] * 50)
    failures = []

    def run(work):
        def target():
            try:
                work()
            except Exception as error:
                failures.append(error)
            finally:
                connection.close()

        return threading.Thread(target=target)

    def write():
        for number in range(20):
            with transaction.atomic():
                record(f"Entry {number}", ON, by=SYSTEM)

    threads = [run(retention.prune), run(retention.prune), run(write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert Anchor.objects.count() == 1
    report = chain.verify()
    assert report.is_intact
    assert (report.first, report.last) == (51, 71)
