"""What a synchronization pass costs: `python -m tests.bench.bench_sync`.

Real HTTP to a real platform on this machine, a real ledger with durable commits, two worker processes that share the
runs in batches as the queue would hand them out. Beside each pass stands its limit in the same run: the same number of
conditional requests by aiohttp alone in one process, as many at once, without a ledger.
"""

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE

import django

ROUNDS = 7
WORKERS = 2
APPLICATIONS = 50


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    if sys.argv[1:] == ["worker"]:
        _work()
        return
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_sync"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    workers = [_Worker() for _ in range(WORKERS)]
    try:
        for count in (200, 1000):
            _passes(count, workers)
    finally:
        for worker in workers:
            worker.close()
        connection.creation.destroy_test_db(name, verbosity=0)


class _Worker:
    """A process that carries out the runs it is told, one batch after another."""

    def __init__(self) -> None:
        from tests.processes import surroundings

        command = [sys.executable, "-m", "tests.bench.bench_sync", "worker"]
        self._process = subprocess.Popen(command, env=surroundings(), stdin=PIPE, stdout=PIPE, text=True, bufsize=1)
        self.memory = 0
        self.cpu = 0.0

    def begin(self, run_ids: list[int]) -> None:
        self._process.stdin.write(json.dumps(run_ids) + "\n")

    def wait(self) -> None:
        answer = json.loads(self._process.stdout.readline())
        self.memory, self.cpu = answer["memory"], answer["cpu"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)


def _work() -> None:
    from environments import sync

    for line in sys.stdin:
        cpu = time.process_time()
        ids = json.loads(line)
        for start in range(0, len(ids), sync.BATCH):
            sync.run(ids[start : start + sync.BATCH])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"memory": memory, "cpu": time.process_time() - cpu}), flush=True)


def _passes(count: int, workers: list[_Worker]) -> None:
    from tests.factories import create_environment
    from tests.platforms import Platform

    with tempfile.TemporaryDirectory() as folder:
        options = {"count": count, "applications": APPLICATIONS, "modules": 2}
        with Platform.start(Path(folder), **options) as platform:
            environments = [create_environment(address=one, token=platform.token) for one in platform.addresses]
            print(f"{count} environments x {APPLICATIONS} applications, {WORKERS} workers")
            first = _pass(environments, workers)
            print(f"  first pass, everything new: {first:.2f} s, {count / first:.0f}/s")
            for _ in range(2):
                _pass(environments, workers)
            _compare("nothing changed, reply at once", environments, platform, workers)
            platform.behave(delay_seconds=0.2)
            _compare("nothing changed, reply after 0.2 s", environments, platform, workers)
            platform.behave()
            _compare("1 % changed, reply at once", environments, platform, workers, changed=max(1, count // 100))
            print(f"  largest memory of a worker so far: {max(worker.memory for worker in workers)} MB")
            _forget()


def _compare(what: str, environments: list, platform, workers: list[_Worker], *, changed: int = 0) -> None:
    ours, bare, cpu = [], [], []
    for number in range(ROUNDS):
        for environment in environments[:changed]:
            platform.publish(address=environment.address, name="Orders", description=f"Change {number} {time.time()}")
        ours.append(_pass(environments, workers))
        cpu.append(sum(worker.cpu for worker in workers))
        bare.append(_bare(environments, platform))
    median, limit = statistics.median(ours), statistics.median(bare)
    print(
        f"  {what}: median {median:.3f} s, {len(environments) / median:.0f}/s, "
        f"{1000 * statistics.median(cpu) / len(environments):.2f} ms CPU each; "
        f"bare aiohttp {limit:.3f} s, {len(environments) / limit:.0f}/s; ratio {median / limit:.2f} "
        f"(min {min(ours):.3f}, max {max(ours):.3f})"
    )


def _pass(environments: list, workers: list[_Worker]) -> float:
    """One run of each; seconds until all have ended, the queueing of the runs left out."""
    from environments.models import SyncRun

    runs = SyncRun.objects.bulk_create(
        SyncRun(environment=one, trigger="schedule", requested_by="System") for one in environments
    )
    ids = [run.pk for run in runs]
    began = time.perf_counter()
    for number, worker in enumerate(workers):
        worker.begin(ids[number :: len(workers)])
    for worker in workers:
        worker.wait()
    seconds = time.perf_counter() - began
    failed = SyncRun.objects.filter(pk__in=ids).exclude(status="finished")
    assert not failed.exists(), failed.first().message
    return seconds


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
