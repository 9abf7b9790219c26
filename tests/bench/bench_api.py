"""What the REST API costs: `python -m tests.bench.bench_api [applications|environments|audit]`.

GET applications with the status of 1,000 applications x 20 environments. GET environments, with authentication, rate
limit and the call kept for the audit log, against a bare view of Django in the same run, in one process and by several
threads. Bringing the kept calls into the audit log.
"""

import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import django

ROUNDS = 10
CALLS = 400
THREADS = 4
APPLICATIONS, ENVIRONMENTS, MODULES = 1_000, 20, 3


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    os.environ.setdefault("LIFETIME_DATABASE_POOL", "on")
    django.setup()
    from django.conf import settings
    from django.db import connection

    settings.ALLOWED_HOSTS = ["testserver"]
    settings.API_CALLS_PER_MINUTE = 10**9
    wanted = sys.argv[1:] or ["environments", "audit", "applications"]
    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_api"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        from tests.bench.bench_applications import _publish
        from tests.factories import create_environment
        from tests.lifetime.api.conftest import create_caller

        caller = create_caller()
        environments = [create_environment(name=f"Environment {number:02d}") for number in range(ENVIRONMENTS)]
        if "environments" in wanted:
            _environments(caller)
        if "audit" in wanted:
            _audit()
        if "applications" in wanted:
            _publish(environments)
            _give_modules(environments)
            _applications(caller)
    finally:
        connection.close_pool()
        connection.creation.destroy_test_db(name, verbosity=0)


def _give_modules(environments: list) -> None:
    from environments.models import Application, ApplicationStatus, Module, ModuleStatus

    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    statuses = list(ApplicationStatus.objects.all())
    for status in statuses:
        status.version_key = uuid4()
    ApplicationStatus.objects.bulk_update(statuses, ["version_key"], batch_size=2_000)
    modules = Module.objects.bulk_create(
        Module(key=uuid4(), application=application, name=f"Module {number}", kind="eSpace", changed_at=at)
        for application in Application.objects.all()
        for number in range(MODULES)
    )
    ModuleStatus.objects.bulk_create(
        (
            ModuleStatus(environment=environment, module=module, version_key=uuid4(), changed_at=at)
            for environment in environments
            for module in modules
        ),
        batch_size=10_000,
    )


def _applications(caller) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    print(f"{APPLICATIONS:,} applications x {ENVIRONMENTS} environments x {MODULES} modules")
    for what, flags in [
        ("names only", ""),
        ("with status", "IncludeEnvStatus=True"),
        ("with status and modules", "IncludeEnvStatus=True&IncludeModules=True"),
    ]:
        path = f"applications?{flags}"
        caller.get(path)
        with CaptureQueriesContext(connection) as queries:
            answer = caller.get(path)
            count = len(queries)
        assert answer.status_code == 200
        took = _times(lambda path=path: caller.get(path), ROUNDS)
        print(
            f"  {what}: median {statistics.median(took):.0f} ms of server time (min {min(took):.0f}, "
            f"max {max(took):.0f}), {count} queries, {len(answer.content) // 1024:,} KB"
        )


def _environments(caller) -> None:
    from django.http import JsonResponse
    from django.test import RequestFactory

    from lifetime.api import entry

    factory = RequestFactory(headers={"Authorization": f"Bearer {caller.secret}"})

    def call():
        assert entry.serve(factory.get("/lifetimeapi/rest/v2/environments")).status_code == 200

    def bare():
        from environments.models import Environment

        factory.get("/bare")
        found = Environment.objects.registered().in_order().values("key", "name", "address")
        assert JsonResponse(list(found), safe=False).status_code == 200

    print(f"GET environments, {ENVIRONMENTS} of them, without middleware")
    for what, function in [("bare view, one query", bare), ("the API", call)]:
        function()
        took = _times(function, CALLS)
        rate = _rate(function)
        print(f"  {what}: median {statistics.median(took):.2f} ms, {rate:,.0f} calls/s by {THREADS} threads")


def _audit() -> None:
    from lifetime.api import calls

    began = time.perf_counter()
    written = calls.write_down()
    took = time.perf_counter() - began
    print(f"{written:,} kept calls into the audit log: {took:.2f} s, {written / took:,.0f}/s")


def _times(function, rounds: int) -> list[float]:
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        took.append(1000 * (time.perf_counter() - began))
    return took


def _rate(function) -> float:
    from django.db import connections

    def work(_):
        for _ in range(CALLS // THREADS):
            function()
        connections.close_all()

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    return CALLS / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
