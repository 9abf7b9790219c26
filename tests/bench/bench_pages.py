"""What the Infrastructure page costs with 1,000 environments: `python -m tests.bench.bench_pages`.

Server time through Django's test client, sessions and templates included, beside bare SQL that reads the same rows in
the same run. One environment in twenty is in maintenance mode.
"""

import os
import statistics
import time
from collections.abc import Callable

import django

ENVIRONMENTS = 1000
ROUNDS = 15
TARGET_MS = 60


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.db import connection
    from django.test.utils import setup_test_environment, teardown_test_environment

    setup_test_environment(debug=False)
    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_pages"
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
    from django.test.utils import CaptureQueriesContext
    from django.urls import reverse

    from environments import maintenance
    from tests.factories import actor, create_environment, create_user

    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    environments = [create_environment(name=f"Environment {number}") for number in range(ENVIRONMENTS)]
    maintenance.enable_all(environments[::20], by=actor(), reason="Upgrade")
    client = Client()
    client.force_login(create_user())
    for page in ("environments:list", "environments:cards"):
        address = reverse(page)
        with CaptureQueriesContext(connection) as queries:
            size = len(client.get(address).content)
        count = len(queries)
        bare = [_milliseconds(_bare) for _ in range(ROUNDS)]
        taken = [_milliseconds(lambda address=address: client.get(address)) for _ in range(ROUNDS)]
        median, limit = statistics.median(taken), statistics.median(bare)
        print(
            f"{page}, {ENVIRONMENTS} environments: median {median:.1f} ms (min {min(taken):.1f}, max {max(taken):.1f}; "
            f"target {TARGET_MS}), {count} queries, {size // 1024} KB; bare SQL {limit:.1f} ms, "
            f"ratio {median / limit:.1f}"
        )


def _bare() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT e.*, s.*, w.* FROM environments_environment e "
            "LEFT JOIN environments_syncstate s ON s.environment_id = e.id "
            "LEFT JOIN environments_maintenancewindow w ON w.id = e.maintenance_window_id ORDER BY e.position, e.id"
        )
        cursor.fetchall()


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
