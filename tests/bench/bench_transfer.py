"""What it costs to bring packages from one platform to another: `python -m tests.bench.bench_transfer`.

100 packages of 5 MB that cannot be compressed, between two real platforms on this machine, through contacts of the
gate. Beside it stands the limit in the same run: the same bytes by aiohttp alone, as many at once, each answer streamed
into one request, to the same platform, which checks them just the same. The target is a fresh environment every time.
"""

import asyncio
import os
import random
import shutil
import statistics
import tempfile
import time
from itertools import count
from pathlib import Path

import django

PACKAGES = 100
BYTES = 5_000_000
ROUNDS = 5


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.db import connection

    from tests.processes import let_go_of_database

    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_transfer"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        _measure()
    finally:
        let_go_of_database()
        connection.creation.destroy_test_db(name, verbosity=0)


def _measure() -> None:
    from tests.platforms import Platform

    with (
        tempfile.TemporaryDirectory() as folder,
        Platform.start(Path(folder) / "source", applications=0) as source,
        Platform.start(
            Path(folder) / "target", name="Test", purpose="Test", count=2 * ROUNDS, applications=0
        ) as target,
    ):
        packages = [_made(source, number) for number in range(PACKAGES)]
        size = sum(package.size for package in packages)
        numbers = count(1)
        ours, bare, memory = [], [], []
        for _ in range(ROUNDS):
            memory.append(_memory())
            ours.append(_pass(_transfer, source, target, next(numbers), packages))
            memory[-1] += (_peak(),)
            bare.append(_pass(_copy, source, target, next(numbers), packages))
        print(f"{PACKAGES} packages, {size / 1e6:.0f} MB, {ROUNDS} rounds, 4 at once")
        _say("transfer_all in contacts of the gate", ours, size)
        _say("bare GET into PUT by aiohttp", bare, size)
        print(f"  ratio {statistics.median(ours) / statistics.median(bare):.2f}")
        rounds = ", ".join(f"{before} to {peak}" for before, peak in memory)
        print(f"  this process's memory before and at most during each round, in MB: {rounds}")


def _made(source, number: int):
    """An application that is published and tagged; what is to be brought over."""
    from deployments.transfer import Package
    from tests.platforms import package

    name = f"Application {number}"
    noise = random.Random(number).randbytes(BYTES)
    source.publish_package(package(name, version=None, web={"noise.bin": noise}, files=None))
    key = source.application(name)["key"]
    version = source.tag(key, "1.0.0").json
    path = f"/applications/{key}/versions/{version['key']}/package"
    return Package(path=path, digest=version["package"]["digest"], size=version["package"]["bytes"])


def _pass(work, source, target, number: int, packages: list) -> float:
    """Seconds that it took; afterwards everything is there, and then forgotten again."""
    import uvloop

    address = target.addresses[number - 1]
    seconds = uvloop.run(work(source, target, address, packages))
    shelf = target.data / "files" / str(number) / "packages"
    assert {path.stem for path in shelf.iterdir()} == {one.digest.removeprefix("sha256:") for one in packages}
    shutil.rmtree(shelf)
    return seconds


async def _transfer(source, target, address: str, packages: list) -> float:
    from asgiref.sync import sync_to_async

    from deployments import transfer
    from environments import gate
    from environments.models import Purpose

    environments = await sync_to_async(_environments)(source, target, address)
    async with gate.session() as session:
        began = time.perf_counter()
        one, other = (session.contact(pk, Purpose.DEPLOY, plan_number=1) for pk in environments)
        async with one as first, other as second:
            await transfer.transfer_all(first, second, packages)
        return time.perf_counter() - began


def _environments(source, target, address: str) -> list[int]:
    from environments.models import Environment
    from tests.factories import create_environment

    first = Environment.objects.filter(address=source.address).first() or create_environment(platform=source)
    return [first.pk, create_environment(address=address, token=target.token).pk]


async def _copy(source, target, address: str, packages: list) -> float:
    import aiohttp

    from deployments.transfer import TOGETHER

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        waiting = iter(packages)

        async def carry() -> None:
            for package in waiting:
                path = f"{source.address}/environment/v1{package.path}"
                async with session.get(path, headers=source.headers(seconds=60)) as found:
                    await send(package, found.content.iter_any())

        async def send(package, content) -> None:
            path = f"{address}/environment/v1/packages/{package.digest}"
            headers = {"Content-Type": "application/zip", "Content-Length": str(package.size)}
            async with session.put(path, data=content, headers={**target.headers(seconds=60), **headers}) as answer:
                assert answer.status == 201, await answer.text()

        began = time.perf_counter()
        await asyncio.gather(*(carry() for _ in range(TOGETHER)))
        return time.perf_counter() - began


def _memory() -> tuple[int, ...]:
    """Megabytes now; the peak is counted anew from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return (_status("VmRSS"),)


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) // 1024


def _say(what: str, taken: list[float], size: int) -> None:
    median = statistics.median(taken)
    print(
        f"  {what}: median {median:.2f} s, {size / median / 1e6:.0f} MB/s (min {min(taken):.2f}, max {max(taken):.2f})"
    )


if __name__ == "__main__":
    main()
