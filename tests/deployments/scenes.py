"""What tests of plans begin with: a source and a target that really run, with applications that are known here."""

import json
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from uuid import UUID

from deployments import execution, plans
from deployments.models import DeploymentPlan, OperationKind, ValidationStatus
from deployments.plans import Choice
from environments import sync
from environments.models import Application, Environment
from tests.factories import actor, create_environment
from tests.platforms import Platform, package


@contextmanager
def two_platforms(folder):
    with (
        Platform.start(folder / "source", name="Development", applications=0) as source,
        Platform.start(folder / "target", name="Production", purpose="Production", applications=0) as target,
    ):
        yield source, target


def registered(source, target):
    """The two environments, as the console knows them."""
    return (
        create_environment(platform=source, name="Development", position=1),
        create_environment(platform=target, name="Production", purpose="Production", position=2),
    )


def publish(platform, name="Hotel", page="<h1>Hotel 1</h1>", *, tag="", **content):
    """A developer publishes a web application; with `tag` it is tagged there, and the version answered."""
    application = platform.publish_package(package(name, None, web={"index.html": page.encode()}, **content))
    if not tag:
        return application
    answer = platform.tag(application["key"], tag)
    assert answer.status == 201, answer.body
    return answer.json


def synchronize(*environments):
    for environment in environments:
        run = sync.request(environment, by=actor())
        sync.run([run.pk])
        run.refresh_from_db()
        assert run.status == "finished", run.message


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
    plan.refresh_from_db()
    return plan


def started(source, target, *choices, **how):
    plan = plans.create(source, target, by=actor(), choices=choices)
    return plans.start(validated(plan), by=actor(), **how)


def advanced(plan):
    """The plan after the workers did what there was to do."""
    execution.advance()
    return DeploymentPlan.objects.select_related("source", "target").get(pk=plan.pk)


def page_of(platform, path="Hotel"):
    """What the platform serves to whoever opens the application; "" when it has none."""
    try:
        with urllib.request.urlopen(f"{platform.address}/{path}/", timeout=10) as answer:  # noqa: S310
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        assert error.code == 404
        return ""


def version_in(platform, name="Hotel"):
    """The version of the application as the platform itself tells it; "" when it has none."""
    feed = platform.call("GET", "/applications?limit=2000").json
    return next((one["version"] for one in feed["applications"] if one["name"] == name), "")


def wait_for(condition, *, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


def told(plan):
    """The plan's log, for the message of a failed test."""
    return json.dumps([f"{line.type}: {line.message}" for line in plan.lines.order_by("line")], indent=1)


def environment(key):
    return Environment.objects.get(key=key)
