"""What tests of plans begin with: sources and targets that really run, with applications that are known here."""

import json
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from uuid import UUID

import tests.platforms
from deployments import execution, plans
from deployments.models import DeploymentPlan, OperationKind, ValidationStatus
from deployments.plans import Choice
from environments import sync
from environments.models import Application
from tests.factories import actor, create_environment
from tests.platforms import PLACES, Platform, package
from tests.threads import repeated


class Place(tests.platforms.Place):
    """One environment of a platform that hosts many; no other test has touched it."""

    def registered(self, **values):
        return create_environment(address=self.address, token=self.platform.token, **values)

    def publish_web(self, name="Hotel", page="<h1>Hotel 1</h1>", *, tag="", **content):
        """A developer publishes a web application; with `tag` it is tagged there, and the version answered."""
        made = package(name, None, web={"index.html": page.encode()}, **content)
        application = self.publish_package(made)
        if not tag:
            return application
        answer = self.tag(application["key"], tag)
        assert answer.status == 201, answer.body
        return answer.json

    def page(self, path="Hotel"):
        """What is served to whoever opens the application; "" when there is none."""
        try:
            with urllib.request.urlopen(f"{self.address}/{path}/", timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return ""
            raise

    def version(self, name="Hotel"):
        """The application's, as the environment itself tells it; "" when it has none."""
        feed = self.call("GET", "/applications?limit=2000").json
        return next((one["version"] for one in feed["applications"] if one["name"] == name), "")

    def heard(self, *, after, before=None):
        """Requests that the console made, or had under way, between two instants, by the access log."""
        return [
            f"{line['method']} {line['path']}"
            for line in self.log()
            if datetime.fromisoformat(line["ended_at"] or line["began_at"]) > after
            and (before is None or datetime.fromisoformat(line["began_at"]) < before)
            and line["contact"] != 1  # the tests' own
        ]


@contextmanager
def platforms(folder):
    """Two platforms with many environments each, for a module of tests; answers what gives the next pair."""
    with (
        Platform.start(folder / "source", count=PLACES, applications=0) as source,
        Platform.start(folder / "target", name="Production", count=PLACES, applications=0) as target,
    ):
        numbers = count(1)

        def pair():
            number = next(numbers)
            return Place(source, number), Place(target, number)

        yield pair


def synchronize(*environments):
    for environment in environments:
        run = sync.request(environment, by=actor())
        sync.run([run.pk])
        run.refresh_from_db()
        assert run.status == "finished", run.message


class Scene:
    """A source with Hotel 1.0 tagged, a target that may have it, both known here."""

    def __init__(self, pair, *, deployed="", **target):
        self.development, self.production = pair
        self.first = self.development.publish_web(tag="1.0")
        self.source = self.development.registered(name="Development", position=1)
        self.target = self.production.registered(name="Production", position=2, purpose="Production", **target)
        synchronize(self.source, self.target)
        if deployed:
            plan = advanced(self.started(deploy(self.first["key"])))
            assert plan.status == "finished_successful", told(plan)

    def publish(self, page="<h1>Hotel 2</h1>", *, tag="2.0", **content):
        """The next version in the source, known here."""
        made = self.development.publish_web(page=page, tag=tag, **content)
        synchronize(self.source)
        return made

    def started(self, *choices, **how):
        """A plan that somebody has started; nobody has worked on it yet."""
        plan = plans.create(self.source, self.target, by=actor("Grace Hopper"), choices=choices)
        return plans.start(validated(plan), by=actor("Grace Hopper"), **how)


def deploy(version_key, name="Hotel", **more):
    """The choice to deploy a version."""
    key = Application.objects.get(name=name).key
    return Choice(application_key=key, kind=OperationKind.DEPLOY, version_key=UUID(str(version_key)), **more)


def tag_and_deploy(number, name="Hotel", **more):
    key = Application.objects.get(name=name).key
    return Choice(application_key=key, kind=OperationKind.TAG_AND_DEPLOY, version_number=number, **more)


def validated(plan):
    """As after a validation that found nothing."""
    DeploymentPlan.objects.filter(pk=plan.pk).update(
        validation=ValidationStatus.FINISHED, validated_revision=plan.revision
    )
    return fresh(plan)


def fresh(plan):
    return DeploymentPlan.objects.select_related("source", "target", "window").get(pk=plan.pk)


def advanced(plan):
    """The plan after the workers did what there was to do."""
    execution.advance()
    return fresh(plan)


def workers():
    """Somebody who carries out what there is to do, meanwhile."""
    return repeated(execution.advance, pause=0.05)


def wait_for(condition, *, seconds=20.0, told=lambda: ""):
    """Until it has come about; `told` says how things are when it does not."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"it did not come about: {told()}"
        time.sleep(0.02)


def wait_for_status(plan, *statuses, seconds=20.0):
    wait_for(lambda: fresh(plan).status in statuses, seconds=seconds)
    return fresh(plan)


def wait_for_step(plan, step):
    """Until the target is at this step, as far as the console knows."""
    wait_for(lambda: fresh(plan).step == step)
    return fresh(plan)


def told(plan):
    """The plan's log, for the message of a failed test."""
    return json.dumps([f"{line.type}: {line.message}" for line in plan.lines.order_by("line")], indent=1)
