"""What the audit log costs with a million entries: `python -m tests.bench.bench_audit [entries]`.

Uses a database of its own on the configured server, created and dropped. Prints medians in milliseconds, each page
beside the bare SQL of its filter and each way of recording beside a bare INSERT, in one run.
"""

import os
import random
import statistics
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import django

ROUNDS = 15
TARGET_MS = 50


def main(entries: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.conf import settings
    from django.db import connection
    from django.test.utils import setup_test_environment, teardown_test_environment

    setup_test_environment(debug=False)
    static_files = "django.contrib.staticfiles.storage.StaticFilesStorage"  # nobody ran collectstatic
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": static_files}}
    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_audit"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        _fill(entries)
        _pages(entries)
        _recording()
        _reading(entries)
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)
        teardown_test_environment()


def _fill(entries: int) -> None:
    from django.db import connection

    from audit.models import AuditEvent
    from tests.audit import chains

    index = next(index for index in AuditEvent._meta.indexes if index.name == "audit_message_words")
    began = time.perf_counter()
    with connection.schema_editor() as editor:
        editor.remove_index(AuditEvent, index)
    chains.append(_events(entries))
    with connection.schema_editor() as editor:
        editor.add_index(AuditEvent, index)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE audit_auditevent")
        cursor.execute("SELECT pg_table_size('audit_auditevent') >> 20, pg_indexes_size('audit_auditevent') >> 20")
        table, indexes = cursor.fetchone()
    seconds = time.perf_counter() - began
    print(f"{entries:,} entries filled in {seconds:.0f} s; table {table} MB, indexes {indexes} MB\n")


def _events(entries: int) -> Iterator:
    """A year of an infrastructure: 1,000 people of unequal zeal, 300 environments, 500 applications.

    Some words are everywhere, some rare, some frequent but only long ago (the hard case for a planner).
    """
    from tests.audit import chains

    chance = random.Random(2)
    end = datetime.now(UTC)
    step = timedelta(days=365) / entries
    people = [(f"Person {n}", f"person{n}", uuid.uuid4()) for n in range(1000)]
    weights = [1 / (n + 1) for n in range(1000)]
    environments = [(str(uuid.uuid4()), f"Environment {n}") for n in range(300)]
    applications = [(str(uuid.uuid4()), f"Application {n}") for n in range(500)]
    actors = chance.choices(people, weights, k=entries)
    for number in range(entries):
        at = end - step * (entries - number)
        name, username, key = ("System", "", None) if chance.random() < 0.3 else actors[number]
        fields = {"actor_name": name, "actor_username": username, "actor_key": key, "actor_address": "192.0.2.7"}
        fields["succeeded"] = chance.random() > 0.02
        dice = chance.random()
        if dice < 0.25:
            on, kind, type_ = environments[number % 300], "update", "environment"
            message = f"Synchronized environment '{on[1]}': {number % 7} applications changed"
        elif dice < 0.26:
            on, kind, type_ = environments[number % 300], "update", "environment"
            message = f"Enabled maintenance mode of environment '{on[1]}': platform upgrade {number}"
            fields["reason"] = f"platform upgrade {number}"
        elif dice < 0.6:
            on, kind, type_ = applications[number % 500], "view", "application"
            message = f"Accessed application '{on[1]}' details"
        elif dice < 0.9:
            on, kind, type_ = ("", f"#{number // 10}"), "update", "plan"
            message = f"Completed deployment plan #{number // 10}"
        elif dice < 0.99:
            on, kind, type_ = (str(key or ""), name), "login", "user"
            message = f"User '{name}' ({username}) logged in"
        elif number < entries // 2:
            on, kind, type_ = ("", "Settings"), "update", "settings"
            message = "Changed blocked addresses of the old gateway"
        else:
            on, kind, type_ = ("", "Settings"), "update", "role"
            message = "Role 'Developer' permissions have changed"
        if number < entries // 3 and number % 3 == 0:
            message += " (imported)"
        fields |= {"kind": kind, "object_type": type_, "object_key": on[0], "object_name": on[1], "message": message}
        if number == entries // 10:
            fields["message"] = "Registered environment 'Needle in the haystack'"
        yield chains.event(at, **fields)


def _pages(entries: int) -> None:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from lifetime.models import Role, User

    role, _ = Role.objects.get_or_create(
        name="Bench", manage_infrastructure_and_users=True, manage_teams_and_application_roles=True
    )
    user = User.objects.create_user("bench", name="Bench", email="bench@example.com", role=role)
    client = Client()
    client.force_login(user)
    everything = {"from": "", "to": ""}
    old = (datetime.now(UTC) - timedelta(days=300)).date().isoformat()
    filters = {
        "last seven days (as it opens)": {},
        "all of the year": everything,
        "a page in the middle of the year": everything | {"before": entries // 2},
        "word everywhere": everything | {"message": "application"},
        "word of 1 %": everything | {"message": "maintenance mode"},
        "one entry of all": everything | {"message": "needle in"},
        "word that is nowhere": everything | {"message": "nonexistent"},
        "word frequent, but only long ago": everything | {"message": "imported"},
        "word of two letters": everything | {"message": "zq"},
        "plan number": everything | {"message": "#4711"},
        "only failed": everything | {"failed": "on"},
        "only updates": everything | {"updates": "on"},
        "busy user": everything | {"user": "person0"},
        "rare user": everything | {"user": "person999"},
        "user by name": everything | {"user": "Person 50"},
        "System": everything | {"user": "System"},
        "type, but only long ago": everything | {"type": "settings"},
        "failed updates of a user, a word": everything
        | {"failed": "on", "updates": "on", "user": "person3", "message": "plan"},
        "failed updates of an old type": everything | {"failed": "on", "updates": "on", "type": "settings"},
        "seven days, word, failed": {"message": "deployment", "failed": "on"},
        "old day, word": {"from": old, "to": old, "message": "maintenance"},
    }
    print(
        f"{'page of 50, median ms of ' + str(ROUNDS):40} {'page':>8} {'p95':>8} {'bare SQL':>9} {'queries':>8}  total"
    )
    worst = 0.0
    for title, data in filters.items():
        with CaptureQueriesContext(connection) as queries:
            response = client.get("/audit/", data)
        assert response.status_code == 200, (title, response.content)
        statements = [each["sql"] for each in queries.captured_queries]
        rows = next(sql for sql in statements if "audit_auditevent" in sql and "LIMIT 51" in sql)
        times = _times(lambda data=data: client.get("/audit/", data))
        bare = statistics.median(_times(lambda rows=rows: _run(rows)))
        page = statistics.median(times)
        worst = max(worst, page)
        total = response.context["page"].total
        mark = "" if page <= TARGET_MS else "  OVER"
        print(f"{title:40} {page:8.1f} {_p95(times):8.1f} {bare:9.1f} {len(statements):8}  {total}{mark}")
    print(f"worst page {worst:.1f} ms (target {TARGET_MS})\n")


def _recording() -> None:
    from django.db import connection, transaction

    from audit import log

    def entry(number: int) -> log.Entry:
        on = log.AuditObject(type="environment", key=str(uuid.uuid4()), name=f"Environment {number}")
        message = f"Enabled maintenance mode of environment '{on.name}': platform upgrade"
        return log.Entry(message=message, on=on, by=log.SYSTEM, reason="platform upgrade")

    def ours(count: int) -> Callable[[], object]:
        def run() -> None:
            with transaction.atomic():
                log.record_all([entry(number) for number in range(count)])

        return run

    def bare(count: int) -> Callable[[], object]:
        def run() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                rows = ", ".join(["(%s, now(), %s, %s, %s, %s)"] * count)
                values = [
                    v for n in range(count) for v in (n, uuid.uuid4(), f"Environment {n}", "platform upgrade", "x" * 64)
                ]
                cursor.execute(f"INSERT INTO bare (number, at, key, name, reason, hash) VALUES {rows}", values)  # noqa: S608

        return run

    _run("CREATE TABLE bare (number bigint, at timestamptz, key uuid, name text, reason text, hash text)")
    for count in (1, 200):
        times, bare_times = _times(ours(count), 60), _times(bare(count), 60)
        median, bare_median = statistics.median(times), statistics.median(bare_times)
        ratio = f"{median / bare_median:.1f} times bare INSERT ({bare_median:.2f} ms)"
        print(f"record {count:3}: {median:6.2f} ms (p95 {_p95(times):.2f}), {ratio}")
    print()


def _reading(entries: int) -> None:
    from audit import chain
    from audit.export import Format
    from audit.models import AuditEvent

    for title, work in {
        "verify": lambda: chain.verify().entries,
        "export CSV": lambda: sum(len(piece) for piece in Format.CSV.write(AuditEvent.objects.all())),
        "export JSON lines": lambda: sum(len(piece) for piece in Format.JSONL.write(AuditEvent.objects.all())),
        "export of a rare word": lambda: sum(
            len(piece) for piece in Format.CSV.write(AuditEvent.objects.all().containing("needle in"))
        ),
    }.items():
        began = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - began
        print(f"{title:24} {seconds:6.1f} s, {entries / seconds:9,.0f} entries/s (result {result:,})")
    tracemalloc.start()
    part = AuditEvent.objects.filter(number__lte=min(entries, 100_000))
    for _ in Format.CSV.write(part):
        pass
    print(f"memory at most while exporting: {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MB")


def _times(work: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return times


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def _run(statement: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)
        if cursor.description:
            cursor.fetchall()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
