"""What the pages of deployment plans cost: `python -m tests.bench.bench_plans`.

The list with 100,000 plans, unfiltered and by each filter, and the selection of a plan of 1,000 applications. Server
time through Django's test client, sessions and templates included, beside bare SQL that reads the rows of the first
page in the same run.
"""

import os
import statistics
import time
from collections.abc import Callable

import django

PLANS = 100_000
APPLICATIONS = 1_000
ROUNDS = 9
TARGET_MS = 60
PEOPLE = ["Ada Lovelace", "Grace Hopper", "Ana Ferreira", "Katherine Johnson"]

MAKE = """
INSERT INTO deployments_deploymentplan (key, number, label, notes, source_id, target_id, status, information, revision,
    created_at, created_by, created_by_username, saved_at, saved_by, started_at, started_by, aborted_at, aborted_by,
    abort_reason, attempts, last_line, remote, target_state, validation, interventions, answer)
SELECT gen_random_uuid(), n, CASE WHEN n %% 3 = 0 THEN 'Release ' || n / 100 ELSE '' END,
    CASE WHEN n %% 5 = 0 THEN 'Ticket OPS-' || n ELSE '' END, %(source)s, (%(targets)s::int[])[1 + n %% 2],
    CASE WHEN n %% 10 = 0 THEN 'aborted' WHEN n %% 50 = 1 THEN 'saved' ELSE 'finished_successful' END, '', 1,
    now() - (%(plans)s - n) * interval '5 minutes', (%(people)s::text[])[1 + n %% 4], '',
    CASE WHEN n %% 100 = 1 THEN NULL ELSE now() END, CASE WHEN n %% 100 = 1 THEN '' ELSE 'Ada Lovelace' END,
    now() - (%(plans)s - n) * interval '5 minutes', 'Grace Hopper',
    CASE WHEN n %% 10 = 0 THEN now() END, CASE WHEN n %% 10 = 0 THEN 'Grace Hopper' ELSE '' END, '', 0, 0, 'none',
    'unchanged', 'none', '[]', '{}'
FROM generate_series(1, %(plans)s) AS n;
"""
FILL = """
INSERT INTO deployments_planoperation (key, plan_id, position, application_key, application_name, kind, version_key,
    version_number, change_log, module_picks, mobile_versions, zone_key, sealed_settings_text, is_dependency,
    is_proposed, source_version, source_is_modified, target_version, target_existed, package_digest, transferred_bytes)
SELECT gen_random_uuid(), p.id, o, gen_random_uuid(), 'Application ' || (p.number * 7 + o) %% 1000, 'deploy',
    gen_random_uuid(), '1.' || o, '', '{}', '[]', '', '', false, true, '1.' || o, false, '1.0', true, '', 0
FROM deployments_deploymentplan p, generate_series(1, 3) AS o;
"""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.db import connection
    from django.test.utils import setup_test_environment, teardown_test_environment

    setup_test_environment(debug=False)
    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_plans"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        _measure()
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)
        teardown_test_environment()


def _measure() -> None:
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.urls import reverse

    from deployments import plans, proposals
    from lifetime.permissions import Permissions
    from tests.deployments.factories import create_application, publish
    from tests.factories import actor, create_environment, create_user

    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    source, *targets = [create_environment(name=name) for name in ("Development", "Test", "Production")]
    with connection.cursor() as cursor:
        values = {"source": source.pk, "targets": [one.pk for one in targets], "people": PEOPLE, "plans": PLANS}
        cursor.execute(MAKE, values)
        cursor.execute(FILL.replace("%%", "%"))
        cursor.execute("SELECT setval('deployments_plan_number', %s)", [PLANS])
        cursor.execute("ANALYZE")
    user = create_user()
    client = Client()
    client.force_login(user)
    bare = statistics.median(_milliseconds(_bare) for _ in range(ROUNDS))
    print(f"{PLANS:,} plans; bare SQL of the first page {bare:.1f} ms; target {TARGET_MS} ms")
    queries = {
        "all": "",
        "page in the middle": "?before=50000",
        "one target": f"?target={targets[0].key}",
        "status that is rare": "?status=running",
        "status that is frequent": "?status=finished_successful",
        "drafts": "?drafts=on&status=saved",
        "days, created": "?from=2026-01-01&to=2026-02-01",
        "days, started": "?by=started&from=2026-01-01&to=2026-02-01",
        "word of one plan": "?text=OPS-77775",
        "word of many plans": "?text=grace",
        "words of some": "?text=release+33+ana",
        "application": "?text=application+77",
        "word of none": "?text=nothinglikethis",
        "number": "?text=%2377777",
    }
    for name, query in queries.items():
        _report(name, client, f"{reverse('plans:list')}{query}")
    for path in ("applications:list", "applications:heads"):
        _report(path, client, reverse(path))

    for number in range(APPLICATIONS):
        application = create_application(f"Application {number:04d}")
        for version in ("1.0", "1.1"):
            publish(application, source, number=version, is_modified=number % 2 == 0, modules=False)
        if number % 3:
            publish(application, targets[0], number="1.0", modules=False)
    held = Permissions.of(user)
    taken = [_milliseconds(lambda: proposals.candidates(source, targets[0], held)) for _ in range(ROUNDS)]
    print(f"proposals for {APPLICATIONS:,} applications: median {statistics.median(taken):.1f} ms")
    found = proposals.candidates(source, targets[0], held)
    plan = plans.create(source, targets[0], by=actor(), choices=[one.choice(one.default) for one in found])
    _report(f"selection of {APPLICATIONS:,} applications", client, reverse("plans:edit", args=[plan.key]))


def _report(name: str, client: object, address: str) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        response = client.get(address)  # type: ignore[attr-defined]
    assert response.status_code == 200, (address, response.status_code)
    count = len(queries)
    taken = [_milliseconds(lambda: client.get(address)) for _ in range(ROUNDS)]  # type: ignore[attr-defined]
    print(
        f"{name}: median {statistics.median(taken):.1f} ms (min {min(taken):.1f}, max {max(taken):.1f}), "
        f"{count} queries, {len(response.content) // 1024} KB"
    )


def _bare() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.*, s.*, t.* FROM deployments_deploymentplan p "
            "LEFT JOIN environments_environment s ON s.id = p.source_id "
            "JOIN environments_environment t ON t.id = p.target_id ORDER BY p.number DESC LIMIT 51"
        )
        cursor.fetchall()


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
