"""What applications cost: `python -m tests.bench.bench_applications [matrix|sync]`.

The matrix of 1,000 applications x 20 environments: the time that the server takes, and its queries. The first full
synchronization of 5,000 applications x 10 modules with a real platform over HTTP, and the memory of this process.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import django

ROUNDS = 15
APPLICATIONS, ENVIRONMENTS = 1_000, 20


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.db import connection

    from tests.processes import let_go_of_database

    wanted = sys.argv[1:] or ["matrix", "sync"]
    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_applications"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        if "sync" in wanted:
            _first_synchronization()
        if "matrix" in wanted:
            _matrix()
    finally:
        let_go_of_database()
        connection.creation.destroy_test_db(name, verbosity=0)


def _matrix() -> None:
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from environments.models import Environment, SyncState
    from tests.factories import actor, create_environment, create_user

    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.ALLOWED_HOSTS = ["testserver"]
    Environment.objects.update(registration="unregistered", unregistered_at=datetime.now(UTC))
    environments = [create_environment(name=f"Environment {number:02d}") for number in range(ENVIRONMENTS)]
    SyncState.objects.update(synchronized_at=datetime.now(UTC))
    _publish(environments)
    from environments import maintenance

    maintenance.enable(environments[3], by=actor(), reason="Upgrade of the platform to 11.29")
    client = Client()
    client.force_login(create_user())
    print(f"{APPLICATIONS:,} applications x {Environment.objects.registered().count()} environments")
    for what, path in [
        ("first page", "/applications/"),
        ("last page", "/applications/?page=20"),
        ("search", "/applications/?name=application+09"),
        ("heads, asked for again and again", "/applications/heads/"),
    ]:
        client.get(path)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
            count = len(queries)
        assert answer.status_code == 200
        took = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            client.get(path)
            took.append(1000 * (time.perf_counter() - began))
        print(
            f"  {what}: median {statistics.median(took):.0f} ms of server time "
            f"(min {min(took):.0f}, max {max(took):.0f}), {count} queries, {len(answer.content) // 1024} KB"
        )


def _publish(environments: list) -> None:
    from environments.models import Application, ApplicationStatus

    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    applications = Application.objects.bulk_create(
        Application(key=UUID(int=number), name=f"Application {number:04d}", kind="WebResponsive", changed_at=at)
        for number in range(APPLICATIONS)
    )
    ApplicationStatus.objects.bulk_create(
        ApplicationStatus(
            environment=environment,
            application=application,
            version=f"1.{20 - place}.{number % 7}",
            is_modified=(number + place) % 5 == 0,
            consistency={0: "Error", 1: "Warning"}.get(number % 17, ""),
            changed_at=at,
            changed_by="Ada Lovelace",
        )
        for place, environment in enumerate(environments)
        for number, application in enumerate(applications)
    )


def _first_synchronization() -> None:
    from environments.models import ApplicationStatus, ModuleStatus
    from tests.factories import create_environment
    from tests.platforms import Platform

    for applications, modules in [(500, 10), (5_000, 10)]:
        options = {"applications": applications, "modules": modules}
        with tempfile.TemporaryDirectory() as folder, Platform.start(Path(folder), **options) as platform:
            environment = create_environment(platform=platform)
            before = _memory()
            first = _synchronize(environment)
            after = _memory()
            again = _synchronize(environment)
            stored = ApplicationStatus.objects.filter(environment=environment).count()
            parts = ModuleStatus.objects.filter(environment=environment).count()
        assert (stored, parts) == (applications, applications * modules)
        print(
            f"{applications:,} applications x {modules} modules: first full synchronization {first:.2f} s "
            f"({applications * (1 + modules) / first:,.0f} rows/s), again with nothing changed {again:.2f} s; "
            f"largest memory of this process {before} MB before, {after} MB after"
        )


def _synchronize(environment) -> float:
    from environments import sync
    from environments.models import SyncRun

    run = SyncRun.objects.create(environment=environment, trigger="manual", is_full=True, requested_by="System")
    began = time.perf_counter()
    sync.run([run.pk])
    took = time.perf_counter() - began
    run.refresh_from_db()
    assert run.status == "finished", run.message
    return took


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
