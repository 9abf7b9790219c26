"""Fifty plans in parallel, one of them alone, and a large one: `python -m tests.bench.bench_deployments`.

Two worker processes carry out plans from one real platform to environments of another. Beside it stands the same work
without a console, in the same run: the packages copied over bare HTTP and the deployments started and polled until
they have ended, fifty at once.
"""

import asyncio
import hashlib
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import django

TARGETS = 10
PLANS = 50
BYTES = 50_000
LARGE = 100
LARGE_BYTES = 5_000_000


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_deployments"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        _measure()
        _measure_large()
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def _measure() -> None:
    from deployments import plans
    from deployments.models import DeploymentPlan
    from environments.models import Environment
    from tests.deployments import scenes
    from tests.factories import actor
    from tests.platforms import Platform
    from tests.processes import Process

    with (
        tempfile.TemporaryDirectory() as name,
        Platform.start(Path(name) / "source", count=1, applications=0) as source,
        Platform.start(Path(name) / "target", count=2 * TARGETS, applications=0) as target,
    ):
        folder = Path(name)
        development = scenes.Place(source, 1)
        versions = {}
        for number in range(PLANS + 1):
            application, page = f"Application {number}", os.urandom(BYTES // 2).hex()
            versions[application] = development.publish_web(application, page, tag="1.0")
        environment = development.registered(name="Development")
        places = [scenes.Place(target, number) for number in range(1, 2 * TARGETS + 1)]
        targets = [place.registered(name=f"Target {number}") for number, place in enumerate(places[:TARGETS])]
        Environment.objects.update(parallel_deployment_limit=20)
        scenes.synchronize(environment, *targets)

        def start(number: int) -> DeploymentPlan:
            application = f"Application {number}"
            choice = scenes.deploy(versions[application]["key"], application)
            plan = plans.create(environment, targets[number % TARGETS], by=actor(), choices=[choice])
            return plans.start(scenes.validated(plan), by=actor())

        def worker(number: int) -> Process:
            return Process("-m", "tests.races.plan_worker", "15", str(folder / "stop"), log=folder / f"worker-{number}")

        def wait() -> None:
            while DeploymentPlan.objects.in_progress().exists():
                time.sleep(0.02)

        with worker(1), worker(2):
            alone = []
            for _ in range(3):
                began = time.perf_counter()
                start(PLANS)
                wait()
                alone.append(time.perf_counter() - began)
            began = time.perf_counter()
            for number in range(PLANS):
                start(number)
            starting = time.perf_counter() - began
            wait()
            together = time.perf_counter() - began
            (folder / "stop").touch()
        statuses = set(DeploymentPlan.objects.values_list("status", flat=True))
        assert statuses == {"finished_successful"}, statuses
        bare = asyncio.run(_bare(development, places[TARGETS:], [versions[f"Application {n}"] for n in range(PLANS)]))

    median = statistics.median(alone)
    print(f"one plan alone: {median:.2f} s; starting {PLANS}: {starting:.2f} s")
    print(f"{PLANS} plans in parallel: {together:.2f} s, {PLANS / together:.1f} a second, "
          f"{PLANS * median / together:.1f} times as fast as one after the other")  # fmt: skip
    print(f"the same without a console: {bare:.2f} s; ratio {together / bare:.2f}")


def _measure_large() -> None:
    """One plan of many large packages, carried out in this process, so that its memory can be seen."""
    import psutil

    from deployments import execution, plans
    from deployments.models import DeploymentPlan
    from tests.deployments import scenes
    from tests.factories import actor
    from tests.platforms import Platform, package

    with (
        tempfile.TemporaryDirectory() as name,
        Platform.start(Path(name) / "source", count=1, applications=0) as source,
        Platform.start(Path(name) / "target", count=2, applications=0) as target,
    ):
        development, production, other = scenes.Place(source, 1), scenes.Place(target, 1), scenes.Place(target, 2)
        versions = {}
        for number in range(LARGE):
            application = f"Large {number}"
            made = package(application, None, web={"data.bin": os.urandom(LARGE_BYTES)})
            versions[application] = development.tag(development.publish_package(made)["key"], "1.0").json
        there = development.registered(name="Source of large ones")
        here = production.registered(name="Target of large ones")
        scenes.synchronize(there, here)
        choices = [scenes.deploy(version["key"], application) for application, version in versions.items()]
        plan = plans.start(scenes.validated(plans.create(there, here, by=actor(), choices=choices)), by=actor())
        before, most, over = psutil.Process().memory_info().rss, [0], threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                most[0] = max(most[0], psutil.Process().memory_info().rss)

        watching = threading.Thread(target=watch)
        watching.start()
        began = time.perf_counter()
        execution.advance()
        whole = time.perf_counter() - began
        over.set()
        watching.join()
        found = DeploymentPlan.objects.get(pk=plan.pk)
        assert found.status == "finished_successful", found.abort_reason
        switched = found.steps.get(name="analyzing_processes").began_at - found.started_at
        bare = asyncio.run(_copied(development, other, list(versions.values())))
    size = LARGE * LARGE_BYTES / 1e6
    print(f"a plan of {LARGE} applications, {size:.0f} MB: {whole:.1f} s")
    print(f"  until all packages were there and checked: {switched.total_seconds():.1f} s")
    print(f"  bare copy of the packages: {bare:.1f} s; the whole plan takes {whole / bare:.1f} times as long")
    print(f"  this process's memory: {before / 1e6:.0f} MB before, at most {most[0] / 1e6:.0f} MB")


async def _copied(source: Any, place: Any, versions: list[dict[str, Any]]) -> float:
    import aiohttp

    began = time.perf_counter()
    slots = asyncio.Semaphore(4)
    async with aiohttp.ClientSession() as http:

        async def copy(number: int, version: dict[str, Any]) -> None:
            headers = {"contact": number + 2, "seconds": 120}
            path = f"/environment/v1/applications/{version['application_key']}/versions/{version['key']}/package"
            async with slots, http.get(source.address + path, headers=source.platform.headers(**headers)) as answer:
                package = await answer.read()
                digest = "sha256:" + hashlib.sha256(package).hexdigest()
                as_zip = {**place.platform.headers(**headers), "Content-Type": "application/zip"}
                where = f"{place.address}/environment/v1/packages/{digest}"
                async with http.put(where, data=package, headers=as_zip) as put:
                    assert put.status in (200, 201), await put.text()

        await asyncio.gather(*(copy(number, version) for number, version in enumerate(versions)))
    return time.perf_counter() - began


async def _bare(source: Any, places: list[Any], versions: list[dict[str, Any]]) -> float:
    """Copy, start and poll, with nothing but an HTTP client; answers the seconds."""
    import aiohttp

    from tests.platforms import BY

    api = "/environment/v1"
    began = time.perf_counter()
    async with aiohttp.ClientSession() as http:

        async def carry(number: int, version: dict[str, Any]) -> None:
            place = places[number % len(places)]
            headers = place.platform.headers(contact=number + 2, seconds=120)
            source_headers = source.platform.headers(contact=number + 2, seconds=120)
            path = f"{api}/applications/{version['application_key']}/versions/{version['key']}/package"
            async with http.get(source.address + path, headers=source_headers) as answer:
                package = await answer.read()
            digest = "sha256:" + hashlib.sha256(package).hexdigest()
            as_zip = {**headers, "Content-Type": "application/zip"}
            async with http.put(f"{place.address}{api}/packages/{digest}", data=package, headers=as_zip) as answer:
                assert answer.status in (200, 201), await answer.text()
            id_ = str(uuid4())
            order = {
                "id": id_,
                "label": f"#{number}",
                "by": BY,
                "applications": [{"application_key": version["application_key"], "package": digest}],
            }
            status = 409
            while status == 409:
                async with http.post(f"{place.address}{api}/deployments", json=order, headers=headers) as answer:
                    status = answer.status
                if status == 409:
                    await asyncio.sleep(0.1)
            told = "running"
            while told == "running":
                await asyncio.sleep(0.1)
                async with http.get(f"{place.address}{api}/deployments/{id_}", headers=headers) as answer:
                    told = (await answer.json())["status"]
            assert told == "finished_successful"

        await asyncio.gather(*(carry(number, version) for number, version in enumerate(versions)))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
