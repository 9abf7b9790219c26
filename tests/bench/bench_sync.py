"""What a synchronization pass costs: `python -m tests.bench.bench_sync`.

Real HTTP to a real platform on this machine, a real ledger with durable commits. Beside each pass stands its limit in
the same run: the same number of conditional requests by aiohttp alone, as many at once, without a ledger.
"""

import asyncio
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import django

ROUNDS = 7
APPLICATIONS = 50


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_sync"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        for count in (200, 1000):
            _passes(count)
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def _passes(count: int) -> None:
    from tests.factories import create_environment
    from tests.platforms import Platform

    with tempfile.TemporaryDirectory() as folder:
        options = {"count": count, "applications": APPLICATIONS, "modules": 2}
        with Platform.start(Path(folder), **options) as platform:
            environments = [create_environment(address=one, token=platform.token) for one in platform.addresses]
            print(f"{count} environments x {APPLICATIONS} applications")
            first, _ = _pass(environments)
            print(f"  first pass, everything new: {first:.2f} s, {count / first:.0f}/s")
            for _ in range(2):
                _pass(environments)
            _compare("nothing changed, reply at once", environments, platform)
            platform.behave(delay_seconds=0.2)
            _compare("nothing changed, reply after 0.2 s", environments, platform)
            platform.behave()
            _compare("1 % changed, reply at once", environments, platform, changed=max(1, count // 100))
            print(
                f"  largest memory of this process so far: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
            )
            _forget()


def _compare(what: str, environments: list, platform, *, changed: int = 0) -> None:
    ours, bare, cpu = [], [], []
    for number in range(ROUNDS):
        for environment in environments[:changed]:
            platform.publish(address=environment.address, name="Orders", description=f"Change {number} {time.time()}")
        seconds, used = _pass(environments)
        ours.append(seconds)
        cpu.append(used)
        bare.append(_bare(environments, platform))
    median, limit = statistics.median(ours), statistics.median(bare)
    print(
        f"  {what}: median {median:.3f} s, {len(environments) / median:.0f}/s, "
        f"{1000 * statistics.median(cpu) / len(environments):.2f} ms CPU each; "
        f"bare aiohttp {limit:.3f} s, {len(environments) / limit:.0f}/s; ratio {median / limit:.2f} "
        f"(min {min(ours):.3f}, max {max(ours):.3f})"
    )


def _pass(environments: list) -> tuple[float, float]:
    """One run of each; seconds of wall and of this process's CPU, the queueing of the runs left out."""
    from environments import sync
    from environments.models import SyncRun

    runs = SyncRun.objects.bulk_create(
        SyncRun(environment=one, trigger="schedule", requested_by="System") for one in environments
    )
    began, cpu = time.perf_counter(), time.process_time()
    sync.run([run.pk for run in runs])
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    failed = SyncRun.objects.filter(pk__in=[run.pk for run in runs]).exclude(status="finished")
    assert not failed.exists(), failed.first().message
    return seconds, used


def _bare(environments: list, platform) -> float:
    import aiohttp
    import uvloop

    from environments.models import SyncState
    from environments.sync import IN_FLIGHT

    etags = dict(SyncState.objects.values_list("environment", "etag"))

    async def fetch_all() -> float:
        slots = asyncio.Semaphore(IN_FLIGHT)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def fetch(environment) -> None:
                async with slots:
                    headers = {**platform.headers(epoch=environment.epoch), "If-None-Match": etags[environment.pk]}
                    async with session.get(environment.address + "/environment/v1/digests", headers=headers) as answer:
                        await answer.read()
                        assert answer.status in {200, 304}

            began = time.perf_counter()
            await asyncio.gather(*(fetch(environment) for environment in environments))
            return time.perf_counter() - began

    return uvloop.run(fetch_all())


def _forget() -> None:
    from environments.models import ApplicationStatus, Contact, Environment, ModuleStatus, SyncRun, TechnicalPreview

    for model in (Contact, SyncRun, ModuleStatus, ApplicationStatus, TechnicalPreview, Environment):
        model.objects.all().delete()


if __name__ == "__main__":
    main()
