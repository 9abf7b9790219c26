"""Many plans at once while workers are killed and maintenance mode is toggled, all at random.

`CHAOS_PLANS=200` makes it as large as it was when it was last looked at closely; the gate runs a smaller one.
"""

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest
from django.db import connection, connections

from deployments import plans
from deployments.models import DeploymentPlan, PlanModule
from environments import gate, maintenance
from environments.models import ApplicationStatus, Environment
from tests.deployments import scenes
from tests.deployments.scenes import Place, deploy, validated
from tests.factories import actor
from tests.platforms import Platform
from tests.processes import Process

PLANS = int(os.environ.get("CHAOS_PLANS", "40"))
SEED = int(os.environ.get("CHAOS_SEED", "7"))
ENVIRONMENTS = 20
APPLICATIONS = 6
WORKERS = 3
LEASE = 3.0
PATIENCE = 60 + PLANS  # seconds

pytestmark = pytest.mark.django_db(transaction=True)


def standing(plan):
    names = ("number", "status", "information", "step", "remote", "claimed_by", "claimed_until", "attempts")
    return f"{[(name, str(getattr(plan, name))) for name in names]}: {scenes.told(plan)}"


SHARED = """
SELECT a.plan_id, b.plan_id FROM deployments_planoperation a
JOIN deployments_planoperation b ON b.application_key = a.application_key AND b.plan_id > a.plan_id
JOIN deployments_deploymentplan p ON p.id = a.plan_id JOIN deployments_deploymentplan q ON q.id = b.plan_id
WHERE p.target_id = q.target_id AND p.status IN ('running', 'needs_user_intervention', 'aborting')
  AND q.status IN ('running', 'needs_user_intervention', 'aborting')
"""


class Chaos:
    def __init__(self, environments, versions, tmp_path):
        self.environments = environments
        self.versions = versions  # by source: the keys of the versions there, by application
        self.tmp_path = tmp_path
        self.random = random.Random(SEED)
        self.over = threading.Event()
        self.errors = []
        self.killed = self.toggled = 0
        self.refused = Counter()
        self.stop = tmp_path / "stop"

    def worker(self, number):
        log = self.tmp_path / f"worker-{number}.log"
        return Process("-m", "tests.races.plan_worker", str(LEASE), str(self.stop), log=log)

    def aside(self, do):
        """Run something again and again beside the test."""

        def run():
            try:
                while not self.over.is_set():
                    do()
            except Exception as error:
                self.errors.append(repr(error))
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def kill(self):
        self.over.wait(self.random.uniform(1.0, 3.0))
        number = self.random.randrange(WORKERS)
        self.workers[number].signal(signal.SIGKILL)
        self.workers[number].wait()
        self.killed += 1
        self.workers[number] = self.stack.enter_context(self.worker(self.killed + WORKERS))

    def toggle(self):
        self.over.wait(self.random.uniform(0.2, 0.8))
        environment = self.random.choice(self.environments)
        maintenance.enable(environment, by=actor(), reason="Chaos")
        self.over.wait(self.random.uniform(0.1, 1.0))
        maintenance.disable(environment, by=actor(), reason="Order")
        self.toggled += 1

    def look(self):
        self.over.wait(0.05)
        with connection.cursor() as cursor:
            cursor.execute(SHARED)
            assert cursor.fetchall() == []

    def start_one(self):
        source = self.random.choice(self.environments[: ENVIRONMENTS // 2])
        target = self.random.choice(self.environments[ENVIRONMENTS // 2 :])
        names = self.random.sample(sorted(self.versions[source.pk]), self.random.choice([1, 1, 2]))
        choices = [deploy(self.versions[source.pk][name], name) for name in names]
        try:
            plan = plans.create(source, target, by=actor(), choices=choices)
            plans.start(validated(plan), by=actor())
        except gate.Refused as refusal:
            self.refused[type(refusal).__name__] += 1
            time.sleep(0.02)
            return False
        return True

    def __enter__(self):
        self.stack = ExitStack()
        self.workers = [self.stack.enter_context(self.worker(number)) for number in range(WORKERS)]
        self.threads = [self.aside(do) for do in (self.kill, self.toggle, self.look)]
        return self

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(30)

    def __exit__(self, *_):
        self.end()
        self.stop.touch()
        self.stack.close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with Platform.start(tmp_path_factory.mktemp("many"), count=ENVIRONMENTS, applications=0) as started:
        yield started


def deployments_of(platform, number):
    """What the environment itself remembers of its deployments, by plan."""
    with sqlite3.connect(f"file:{platform.data / 'platform.sqlite3'}?mode=ro", uri=True) as store:
        rows = store.execute(
            "SELECT id, json_extract(state, '$.status') FROM deployment WHERE environment = ?", [number]
        ).fetchall()
    return dict(rows)


def test_no_plan_is_stuck_and_every_version_is_one_that_a_plan_put_there(platform, tmp_path):
    places = [Place(platform, number) for number in range(1, ENVIRONMENTS + 1)]
    environments = [place.registered(name=f"Place {number}") for number, place in enumerate(places, start=1)]
    versions = {}
    for number, (place, environment) in enumerate(zip(places[: ENVIRONMENTS // 2], environments, strict=False)):
        made = {}
        for application in range(APPLICATIONS):
            name = f"App {application}"
            version = place.publish_web(name, page=f"{name} of {number}", tag=f"1.{number}")
            made[name] = version["key"]
        versions[environment.pk] = made
    scenes.synchronize(*environments)
    for place in places[ENVIRONMENTS // 2 :]:
        place.behave(step_seconds={"generating": 0.2, "updating": 0.1})

    with Chaos(environments, versions, tmp_path) as chaos:
        started, ends = 0, time.monotonic() + PATIENCE
        while started < PLANS and time.monotonic() < ends:
            started += chaos.start_one()
        chaos.end()
        assert chaos.errors == []
        plans_of_it = DeploymentPlan.objects.exclude(status="saved")
        unsettled = plans_of_it.in_progress() | plans_of_it.filter(remote="started")
        scenes.wait_for(lambda: not unsettled.exists(), seconds=60, told=lambda: "\n".join(map(standing, unsettled)))

    assert plans_of_it.count() == PLANS
    assert not PlanModule.objects.exists()
    assert not Environment.objects.filter(maintenance_window__isnull=False).exists()
    statuses = Counter(plans_of_it.values_list("status", flat=True))
    print(f"{PLANS} plans: {dict(statuses)}; {chaos.killed} workers killed, {chaos.toggled} windows, "
          f"refused {dict(chaos.refused)}")  # fmt: skip
    assert statuses["finished_successful"] > PLANS / 4
    assert chaos.killed
    assert chaos.toggled
    scenes.synchronize(*environments)
    for number, environment in enumerate(environments[ENVIRONMENTS // 2 :], start=ENVIRONMENTS // 2 + 1):
        there = deployments_of(platform, number)
        put = set()
        for plan in plans_of_it.filter(target=environment).prefetch_related("operations"):
            found = there.get(str(plan.key), "none")
            assert (plan.target_state == "changed") == found.startswith("finished"), (plan.number, found)
            assert plan.target_state != "unknown"
            if found.startswith("finished"):
                put |= {(one.application_name, one.version_key) for one in plan.operations.all()}
        told = ApplicationStatus.objects.filter(environment=environment).select_related("application")
        assert {(one.application.name, one.version_key) for one in told} <= put
        assert {name for name, _ in put} == {one.application.name for one in told}
