"""What the permission model costs: `python -m tests.bench.bench_permissions`.

5,000 users x 50 roles x 100 teams for 30 environments, of which each has levels of its own. Real HTTP to a real
platform. Beside each figure stands its limit in the same run: json.dumps of the same document, and the same requests by
aiohttp alone.
"""

import asyncio
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import django

USERS, ROLES, TEAMS, APPLICATIONS, ENVIRONMENTS = 5_000, 50, 100, 1_000, 30
ROUNDS = 11


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    django.setup()
    from django.db import connection

    from tests.factories import create_environment
    from tests.platforms import Platform
    from tests.processes import let_go_of_database

    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = "bench_permissions"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Platform.start(Path(folder), count=ENVIRONMENTS, applications=5) as platform,
        ):
            environments = [create_environment(address=one, token=platform.token) for one in platform.addresses]
            _people(environments)
            print(f"{USERS:,} users x {ROLES} roles x {TEAMS} teams; {ENVIRONMENTS} environments")
            _bodies(environments)
            _deliveries(environments, platform)
            _pages(environments)
        print(f"largest memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")
    finally:
        let_go_of_database()
        connection.creation.destroy_test_db(name, verbosity=0)


def _people(environments: list) -> None:
    from django.db import connection

    from environments.models import Application
    from lifetime.models import ApplicationRole, Role, RoleLevel, Team, TeamApplication, TeamMembership, User

    chance = random.Random(3)
    roles = Role.objects.bulk_create(Role(name=f"Role {number}") for number in range(ROLES))
    RoleLevel.objects.bulk_create(
        RoleLevel(role=role, environment=environment, level=chance.randint(0, 6))
        for role in roles
        for environment in environments
    )
    users = User.objects.bulk_create(
        User(
            username=f"colleague{number}",
            name=f"Person {number} Müller",
            email=f"person{number}@example.org",
            password="!",
            role=roles[number % ROLES],
        )
        for number in range(USERS)
    )
    applications = Application.objects.bulk_create(
        Application(key=uuid4(), name=f"Application {number}", kind="WebResponsive", changed_at=datetime.now(UTC))
        for number in range(APPLICATIONS)
    )
    teams = Team.objects.bulk_create(Team(name=f"Team {number}") for number in range(TEAMS))
    TeamMembership.objects.bulk_create(
        TeamMembership(team=teams[number % TEAMS], user=user, role=roles[3]) for number, user in enumerate(users)
    )
    TeamApplication.objects.bulk_create(
        TeamApplication(team=teams[number % TEAMS], application=application)
        for number, application in enumerate(applications)
    )
    ApplicationRole.objects.bulk_create(
        ApplicationRole(user=users[number], application=applications[number // 2], role=roles[5])
        for number in range(2 * APPLICATIONS)
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _change_somebody() -> None:
    from lifetime.models import User

    User.objects.filter(username="colleague7").update(name=f"Person {time.time()}")


def _body_of(environment) -> bytes:
    from environments import deliveries

    return next(one.body for one in deliveries.due([environment])[environment.pk] if one.part == "permissions")


def _bodies(environments: list) -> None:
    from environments import deliveries

    first = _milliseconds(lambda: _body_of(environments[0]))
    body = _body_of(environments[0])
    document = json.loads(body)
    bare = _median(lambda: json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())

    def digests() -> None:
        for each in deliveries.due(environments).values():
            assert [one.digest for one in each if one.part == "permissions"]

    print(f"body of {len(body) // 1024:,} KB; json.dumps of it {bare:.1f} ms")
    print(f"  built by a process that just began: {first:.1f} ms, ratio {first / bare:.2f}")
    for what, work, before in [
        ("built after one user changed", lambda: _body_of(environments[0]), _change_somebody),
        ("built again", lambda: _body_of(environments[0]), None),
        (f"digests for {ENVIRONMENTS} environments, one user changed", digests, _change_somebody),
        (f"digests for {ENVIRONMENTS} environments, nothing changed", digests, None),
    ]:
        took = _median(work, before)
        print(f"  {what}: median {took:.1f} ms, ratio {took / bare:.2f}")


def _deliveries(environments: list, platform) -> None:
    from environments.models import SyncRun, SyncState

    _settle(environments)
    ours, bare = [], []
    for _ in range(ROUNDS):
        _change_somebody()
        ours.append(_milliseconds(lambda: _synchronize(environments[:1])))
        delivered = SyncRun.objects.newest_first()[0].changes["delivered"]
        assert [one["part"] for one in delivered] == ["permissions"]
        body = _body_of(environments[0]).replace(b"Person 1 ", b"Somebody ")
        bare.append(_milliseconds(lambda body=body: _bare([(environments[0], body)], platform)))
        SyncState.objects.update(etag="")
    _print("delivered to one environment", ours, bare, "bare PUT by aiohttp")
    _settle(environments)
    ours = [_milliseconds(lambda: _synchronize(environments)) for _ in range(ROUNDS)]
    assert SyncRun.objects.newest_first()[0].changes == {}
    bare = [_milliseconds(lambda: _bare([(one, b"") for one in environments], platform)) for _ in range(ROUNDS)]
    _print(f"nothing changed in {ENVIRONMENTS} environments", ours, bare, "bare conditional GET by aiohttp")


def _synchronize(environments: list) -> set[str]:
    from environments import sync
    from environments.models import SyncRun

    runs = SyncRun.objects.bulk_create(
        SyncRun(environment=one, trigger="schedule", requested_by="System") for one in environments
    )
    ids = [run.pk for run in runs]
    sync.run(ids)
    return set(SyncRun.objects.filter(pk__in=ids).values_list("status", flat=True))


def _settle(environments: list) -> None:
    """Bring all in sync, twice: a delivery changes what they say. The one platform process takes a few at once."""
    for start in [*range(0, len(environments), 5)] * 2:
        assert _synchronize(environments[start : start + 5]) == {"finished"}


def _bare(bodies: list, platform) -> None:
    """PUT each of these bodies; where there is none, ask for the digests as an idle synchronization does."""
    import aiohttp
    import uvloop

    from environments.models import SyncState

    etags = dict(SyncState.objects.values_list("environment", "etag"))

    async def say(session, environment, body: bytes) -> None:
        base = environment.address + "/environment/v1"
        headers = platform.headers(epoch=environment.epoch)
        if body:
            headers["Content-Type"] = "application/json"
            request = session.put(f"{base}/permissions", data=body, headers=headers)
        else:
            headers["If-None-Match"] = etags[environment.pk]
            request = session.get(f"{base}/digests", headers=headers)
        async with request as answer:
            await answer.read()
            assert answer.status in (200, 304)

    async def say_all() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(say(session, *one) for one in bodies))

    uvloop.run(say_all())


def _pages(environments: list) -> None:
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext
    from django.urls import reverse

    from environments import maintenance
    from tests.factories import actor, create_user

    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client()
    client.force_login(create_user())
    _settle(environments)
    maintenance.enable_all(environments[::5], by=actor(), reason="Upgrade")
    for situation in ("nothing pending", "permissions pending"):
        for what, path in [
            ("Edit Environment", environments[0].get_absolute_url()),
            ("its part that says what is pending", reverse("environments:pending", args=[environments[0].key])),
            (f"{ENVIRONMENTS} cards, a fifth of them in maintenance mode", reverse("environments:cards")),
        ]:
            client.get(path)
            with CaptureQueriesContext(connection) as queries:
                page = client.get(path).content
                count = len(queries)
            assert (b"ermissions" in page.split(b"Maintenance windows")[0]) == (situation != "nothing pending")
            took = _median(lambda path=path: client.get(path))
            print(f"  {what}, {situation}: median {took:.1f} ms, {count} queries")
        _change_somebody()


def _print(what: str, ours: list[float], bare: list[float], limit: str) -> None:
    median, least = statistics.median(ours), statistics.median(bare)
    print(f"  {what}: median {median:.0f} ms; {limit} {least:.0f} ms; ratio {median / least:.2f}")


def _median(work: Callable[[], object], before: Callable[[], object] | None = None) -> float:
    took = []
    for _ in range(ROUNDS):
        if before:
            before()
        took.append(_milliseconds(work))
    return statistics.median(took)


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
