"""How long from enabling to quiet with 50 slow calls in flight: `python -m tests.bench.bench_quiet`.

A worker process of its own holds the calls to a real platform; this process enables, as a web request would. Beside it
stands the limit in the same run: bare SQL that locks the row, raises the flag, notifies and commits. Then the
platform's access log is compared with the windows: bytes heard after `quiet_at` must be none.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import django
import uvloop

CALLS = 50
ROUNDS = 25


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    if sys.argv[1:]:
        uvloop.run(_hold(int(sys.argv[1])))
        return
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_quiet"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        _measure()
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


async def _hold(environment_id: int) -> None:
    """Keep 50 slow calls in flight, again and again, each in a contact of its own."""
    from environments import gate
    from environments.models import Purpose

    async def keep(session: gate.Session) -> None:
        while True:
            try:
                async with session.contact(environment_id, Purpose.SYNC) as client:
                    await client.get("/facts")
            except (gate.Refused, gate.CalledOff):
                await asyncio.sleep(0.01)

    async with gate.session(lease=60) as session:
        await asyncio.gather(*(keep(session) for _ in range(CALLS)))


def _measure() -> None:
    from environments import maintenance, quiet
    from environments.models import MaintenanceWindow, SyncRun
    from tests.factories import actor, create_environment
    from tests.platforms import Platform
    from tests.processes import Process

    bare, returned, drained = [], [], []
    with tempfile.TemporaryDirectory() as folder, Platform.start(Path(folder) / "platform") as platform:
        environment = create_environment(platform=platform)
        other = create_environment()
        platform.behave(delay_seconds=9)
        with Process("-m", "tests.bench.bench_quiet", str(environment.pk), log=Path(folder) / "holder"):
            for _ in range(ROUNDS):
                platform.wait_until_serving(CALLS, seconds=30)
                bare.append(_bare(other))
                began = time.perf_counter()
                window = maintenance.enable(environment, by=actor(), reason="Upgrade")
                returned.append(time.perf_counter() - began)
                while MaintenanceWindow.objects.get(pk=window.pk).quiet_at is None:
                    time.sleep(0.01)  # the row tells when; asking more often takes the processor from the others
                    if time.perf_counter() - began > 1:  # a goodbye was lost: then somebody has to see the lease end
                        maintenance.settle()
                window.refresh_from_db()
                drained.append((window.quiet_at - window.enabled_at).total_seconds())
                maintenance.disable(environment, by=actor(), reason="Done")
                SyncRun.objects.active().delete()
        log = platform.log()
    windows = list(MaintenanceWindow.objects.filter(quiet_at__isnull=False))
    cut = [found.cut_short for _, found in quiet.certificates(windows)]
    late = [line for line in log for window in windows if _is_inside(line, window)]
    print(f"{ROUNDS} windows, {CALLS} slow calls in flight each ({min(cut)} to {max(cut)} cut short)")
    _say("bare SQL: lock, flag, notify, commit", bare)
    _say("maintenance.enable returns", returned)
    _say("from enabling to quiet", drained)
    print(f"  requests with any instant inside the quiet: {len(late)}")


def _is_inside(line: dict, window) -> bool:
    begins, ends = (
        instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
        for instant in (window.quiet_at, window.disabled_at)
    )
    return line["began_at"] < ends and line["ended_at"] > begins


def _bare(environment) -> float:
    from django.db import connection, transaction

    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT FROM environments_environment WHERE id = %s FOR NO KEY UPDATE", [environment.pk])
        cursor.execute("UPDATE environments_environment SET epoch = epoch + 1 WHERE id = %s", [environment.pk])
        cursor.execute("SELECT pg_notify('bench', '1')")
    return time.perf_counter() - began


def _say(what: str, taken: list[float]) -> None:
    ordered = sorted(1000 * one for one in taken)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    print(f"  {what}: median {statistics.median(ordered):.1f} ms, p95 {p95:.1f} ms, max {ordered[-1]:.1f} ms")


if __name__ == "__main__":
    main()
