"""Reading what modules offer and use, from a real environment, and keeping it."""

import json
import time
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from deployments import references
from deployments.content import Element, Module, Use
from deployments.models import ModuleReferences
from deployments.references import Wanted
from environments import gate
from environments.models import Environment, Purpose
from environments.platform.applications import key_of, module_key_of
from tests.deployments.sides import module, use
from tests.environments.platform.test_conformance import sabotaged
from tests.factories import create_environment
from tests.platforms import Platform

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with Platform.start(tmp_path_factory.mktemp("references"), applications=0) as started:
        yield started


async def read(platform, *wanted, address=""):
    address = address or platform.address
    environment = await Environment.objects.filter(address=address).afirst()
    if environment is None:
        environment = await sync_to_async(create_environment)(address=address, token=platform.token)
    async with gate.session() as session, session.contact(environment.pk, Purpose.DEPLOY) as client:
        return await references.read_for(client, wanted)


def publish(platform, name, *modules):
    return platform.publish(name=name, modules=list(modules))


def requests(platform, since=0):
    return [line for line in platform.log(since) if "/references" in line["path"]]


async def test_what_a_module_offers_and_uses_is_read_and_kept(platform):
    publish(platform, "Orders", module("Orders", offers=("GetOrder", "ListOrders:7")))
    shop = publish(platform, "Shop", module("Shop", uses=(use("Orders", "Orders", "GetOrder", "ListOrders:7"),)))
    wanted = [Wanted(key_of("Orders")), Wanted(key_of("Shop"))]

    found = await read(platform, *wanted)

    [orders], [user] = (found[one] for one in wanted)
    assert orders.produces == {("Action", "GetOrder"): "1", ("Action", "ListOrders"): "7"}
    assert user == Module(
        key=module_key_of("Shop", "Shop"),
        name="Shop",
        version_key=UUID(shop["modules"][0]["version_key"]),
        produces={},
        consumes=(
            Use(
                module_key=module_key_of("Orders", "Orders"),
                module="Orders",
                application_key=key_of("Orders"),
                application="Orders",
                elements=(Element("Action", "GetOrder", "1"), Element("Action", "ListOrders", "7")),
            ),
        ),
    )
    kept = await sync_to_async(references.known)([user.version_key, orders.version_key])
    assert kept == {(user.key, user.version_key): user, (orders.key, orders.version_key): orders}


async def test_a_version_is_read_as_it_was(platform):
    publish(platform, "Hotel", module("Hotel", offers=("Old",)))
    key = str(uuid4())
    assert platform.tag(str(key_of("Hotel")), "1.0", version_key=key).status == 201
    publish(platform, "Hotel", module("Hotel", offers=("New",)))
    now, then = Wanted(key_of("Hotel")), Wanted(key_of("Hotel"), UUID(key))

    found = await read(platform, now, then)

    assert [list(found[one][0].produces) for one in (then, now)] == [[("Action", "Old")], [("Action", "New")]]
    assert await ModuleReferences.objects.filter(module_name="Hotel").acount() == 2


async def test_what_the_environment_does_not_have_is_nothing(platform):
    publish(platform, "Garage", module("Garage"))
    wanted = [Wanted(uuid4()), Wanted(key_of("Garage"), uuid4())]

    assert await read(platform, *wanted) == dict.fromkeys(wanted)


async def test_what_is_known_stays_as_it_was_told_first(platform):
    publish(platform, "Bank", module("Bank", offers=("Pay",)))
    [bank] = (await read(platform, Wanted(key_of("Bank"))))[Wanted(key_of("Bank"))]
    await ModuleReferences.objects.filter(module_key=bank.key).aupdate(module_name="As it was")

    await read(platform, Wanted(key_of("Bank")))

    assert (await ModuleReferences.objects.aget(module_key=bank.key)).module_name == "As it was"


async def test_many_are_read_at_once_but_not_all(platform):
    names = [f"Many {number}" for number in range(40)]
    for name in names:
        publish(platform, name, module(name.replace(" ", "")))
    since = platform.log()[-1]["line"] if platform.log() else 0
    platform.behave(delay_seconds=0.2, paths=["/applications"])
    began = time.monotonic()

    found = await read(platform, *(Wanted(key_of(name)) for name in names))

    took = time.monotonic() - began
    platform.behave()
    assert len(found) == 40
    assert 0.6 <= took < 3  # three rounds of sixteen
    assert most_at_once(requests(platform, since)) == references.IN_FLIGHT


def most_at_once(lines):
    steps = sorted([(line["began_at"], 1) for line in lines] + [(line["ended_at"], -1) for line in lines])
    most = now = 0
    for _, change in steps:
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("fail", ["garbage", "wrong_types", "status:503"])
async def test_a_wrong_answer_is_told_as_such(platform, fail):
    publish(platform, "Odd", module("Odd"))
    platform.behave(fail=fail, paths=["/applications"])

    with pytest.raises(gate.Rejected):
        await read(platform, Wanted(key_of("Odd")))
    platform.behave()

    assert not await ModuleReferences.objects.aexists()


async def test_references_of_something_else_are_refused(platform):
    publish(platform, "Mine", module("Mine"))
    publish(platform, "Other", module("Other"))

    def other(method, path, headers, ask):
        return ask(path=path.replace(str(key_of("Mine")), str(key_of("Other"))))

    with sabotaged(platform, other) as address, pytest.raises(gate.Rejected, match="another application"):
        await read(platform, Wanted(key_of("Mine")), address=address)


async def test_what_was_read_stays_when_the_rest_fails(platform, monkeypatch):
    monkeypatch.setattr(references, "KEPT_AT_ONCE", 1)
    publish(platform, "First", module("First"))

    def vanishing(method, path, headers, ask):
        if str(key_of("First")) in path or "/references" not in path:
            return ask()
        body = {"type": "urn:lifetime:problem:server-error", "title": "Broken", "status": 500, "detail": ""}
        return 500, {"content-type": "application/problem+json"}, json.dumps(body).encode()

    with sabotaged(platform, vanishing) as address, pytest.raises(gate.Rejected):
        await read(platform, Wanted(key_of("First")), Wanted(key_of("Second")), address=address)

    assert await ModuleReferences.objects.filter(module_name="First").aexists()


def test_what_was_read_long_ago_is_forgotten(settings):
    for name, days in (("old", settings.LEDGER_DAYS + 1), ("new", 1)):
        ModuleReferences.objects.create(
            module_key=uuid4(), version_key=uuid4(), module_name=name, application_key=uuid4(), application_name=name
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE deployments_modulereferences SET read_at = now() - make_interval(days => %s) "
                "WHERE module_name = %s",
                [days, name],
            )

    references.prune()

    assert ModuleReferences.objects.get().module_name == "new"
