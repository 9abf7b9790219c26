"""The thirteen operations over page, view, policy, worker and gate, in and out of maintenance mode.

A bystander is in maintenance mode all the while: what works here works in spite of it, and nothing is said to it.
"""

import asyncio
import re
from collections import Counter
from html import unescape
from itertools import product

import pytest
from django.db import transaction

from audit.models import AuditEvent
from environments import gate, tasks
from environments.models import Contact, SyncRun
from environments.operations import Operation
from lifetime import policy
from lifetime.models import Role, ServiceAccount
from tests.environments.walk.page import Page
from tests.environments.walk.scene import everything
from tests.environments.walk.table import OPERATIONS
from tests.factories import create_environment
from tests.lifetime.test_pages_table import ANSWERS, World

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)

# Between a source and a target, `here` is one and then the other.
SIDES = [(row, side) for row in OPERATIONS for side in (("source", "target") if row.has_source_and_target else ("",))]
walked = pytest.mark.parametrize(
    ("row", "side"), [pytest.param(row, side, id=f"{row.operation} {side}".strip()) for row, side in SIDES]
)
ASKS = [(row, ask) for row in OPERATIONS for ask in row.asks]
asks = pytest.mark.parametrize(
    ("row", "ask", "side"),
    [pytest.param(row, ask, side, id=f"{ask} {side}".strip()) for row, side in SIDES for ask in row.asks],
)
ORDERS = [(row, ask) for row, ask in ASKS if ask.queues]
orders = pytest.mark.parametrize(("row", "ask"), [pytest.param(row, ask, id=str(ask)) for row, ask in ORDERS])


def explained(window, what):
    """Who, why and since when, as people read it."""
    return (
        f"{what} is disabled: {window.environment.name} is in maintenance mode since "
        f"{window.enabled_at:%d %b %H:%M} UTC. {window.enabled_by} enabled it: “{window.reason}”. "
        f"Wait until it is disabled, or ask {window.enabled_by}."
    )


def request(scene, ask, data):
    headers = {"HX-Request": "true"} if ask.url.endswith("dialog") else {}
    send = getattr(scene.client, ask.method.lower())
    return send(scene.url(ask.url, *ask.of), data, headers=headers)


def test_the_table_has_a_row_for_each_operation_and_no_row_is_empty():
    assert [row.operation for row in OPERATIONS] == list(Operation)
    for row in OPERATIONS:
        assert row.controls, row.operation
        assert row.asks, row.operation
        assert bool(row.no_worker) != any(ask.queues for ask in row.asks), row.operation
        assert all(bool(ask.queues) == bool(ask.hears) for ask in row.asks), row.operation


def is_guarded(answer):
    return answer is not None and (answer.is_paused or isinstance(answer.action, Operation))


def test_every_request_that_an_operation_guards_is_in_the_table():
    """The table of all pages has them, too; what it has more is no operation's."""
    guarded = {(method, name) for name, _, method, answer in ANSWERS if is_guarded(answer)}
    assert guarded - {(ask.method, ask.url) for _, ask in ASKS} == {
        ("POST", "applications:remove-version"),  # asks every environment that has the application
        ("GET", "applications:remove-version-dialog"),
        ("POST", "settings:read-blocked"),
        ("POST", "settings:unblock"),
        ("POST", "settings:read-databases"),
        ("POST", "settings:add-database"),
        ("POST", "settings:test-database-details"),
        ("POST", "settings:test-database"),
        ("POST", "settings:delete-database"),
    }


@pytest.mark.parametrize("is_in_maintenance", [False, True], ids=["outside", "in maintenance"])
def test_pages_lead_to_what_is_disabled_outside_and_no_page_at_all_does_inside(client, is_in_maintenance):
    world = World("self_managed", is_in_maintenance=is_in_maintenance)
    client.force_login(world.ada)
    free = {name for name, _, _, answer in ANSWERS if answer and not is_guarded(answer)}
    disabled = {world.url(name, of): name for name, of, _, answer in ANSWERS if is_guarded(answer) and name not in free}

    leads = {}
    for name, of, method, answer in ANSWERS:
        if method == "GET" and answer and answer.status == 200 and not is_guarded(answer):
            html = client.get(world.url(name, of)).content.decode(errors="replace")
            for url in Page(world.url(name, of), html).targets & disabled.keys():
                leads.setdefault(disabled[url], []).append(name)

    if is_in_maintenance:
        assert not leads
    else:
        assert "applications:details" in leads["applications:tag-dialog"]
        assert "plans:edit" in leads["plans:discard-dialog"]


@walked
def test_its_controls_work_outside_and_stay_greyed_with_the_reason_inside(scene, row, side):
    if side:
        scene.deploy(side)
        scene.have("plan", "running", "prepared", "aborted", "finished")
    asked = {scene.url(ask.url, *ask.of) for ask in row.asks}
    shut = {scene.url(ask.url, *ask.of) for ask in row.asks if not ask.is_for_all}
    for one in row.controls:
        page = scene.page(one.page, *one.of)
        control = page.control(one.label.format(scene=scene))
        assert not control.is_greyed, one
        assert page.leads(control).partition("?")[0] in asked, one

    why = explained(scene.enable(), row.operation.label)

    for one in row.controls:
        page = scene.page(one.page, *one.of)
        assert not page.targets & shut, one  # no other way in from there
        if one.goes:
            assert not page.controls(one.label), one
            continue
        control = page.control(one.label.format(scene=scene))
        assert control.is_greyed, one
        assert page.why(control) == why, one
        if one.locks_form:
            assert all(field.is_greyed for field in page.form(control)), one
    assert scene.log() == []


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_way_to_a_new_plan_at_the_head_of_the_target_is_greyed_inside(scene, side):
    scene.deploy(side)
    for name in ("applications:list", "applications:heads"):
        page = scene.page(name)
        assert page.leads(page.control(f"Deploy… to {scene.target}")).startswith(scene.url("plans:create"))

    why = explained(scene.enable(), Operation.OPERATE_PLANS.label)

    for name in ("applications:list", "applications:heads"):
        page = scene.page(name)
        control = page.control(f"Deploy… to {scene.target}")
        assert control.is_greyed
        assert page.why(control) == why


@asks
def test_a_direct_request_does_it_outside_and_is_refused_inside(scene, row, ask, side):
    if side:
        scene.deploy(side)
        scene.have(*ask.of)
    data = ask.data(scene)  # of a page that was opened before
    with transaction.atomic():
        does_it(scene, ask, data)
        transaction.set_rollback(True)

    window = scene.enable()
    before, entries = everything(), AuditEvent.objects.count()
    response = request(scene, ask, data)

    assert response.status_code == 409
    assert explained(window, row.operation.label) in unescape(response.content.decode())
    assert everything() == before
    assert scene.refused() == [(window.pk, row.operation.value, 1, "Ada Lovelace")]  # and none of the bystander's
    [entry] = AuditEvent.objects.order_by("number")[entries:]
    assert entry.message == (
        f"Refused on environment 'Development', which is in maintenance mode: {row.operation.label}"
    )
    assert (entry.succeeded, entry.actor_name, entry.object_name) == (False, "Ada Lovelace", "Development")
    assert scene.log() == []


def does_it(scene, ask, data):
    """Asked outside maintenance mode, it is done or queued, and audited; views talk to nobody."""
    entries, before = AuditEvent.objects.count(), scene.newest_order(ask.queues or "sync")
    response = request(scene, ask, data)

    assert response.status_code == ask.status
    assert response.get("Location", "").startswith(ask.leads.format(here=scene.here.address))
    found = AuditEvent.objects.order_by("number").values_list("message", "actor_name", "succeeded")[entries:]
    messages = [(re.sub(r"'#\d+'", "'#N'", message), name, succeeded) for message, name, succeeded in found]
    audit = ask.audit.format(scene=scene)
    assert ((audit, "Ada Lovelace", True) in messages) if audit else not messages
    order = scene.newest_order(ask.queues or "sync")
    if ask.queues:
        assert order != before
        assert (order.status, order.environment, len(scene.queue())) == ("queued", scene.here, 1)
    else:
        assert (order, scene.queue()) == (before, list(ask.calls))
    assert scene.log() == []
    assert not scene.refused()


def test_the_policy_decides_by_the_environments_concerned_and_no_other(scene):
    account = ServiceAccount.objects.create(username="pipeline", role=Role.objects.administrator())
    other = create_environment(name="Production")
    people = (scene.user, account)
    for person, (row, concerned) in product(people, concerned_by(scene.here, other)):
        assert policy.may(person, row.operation, *concerned) == policy.ALLOWED, row.operation

    window = scene.enable()

    for person, (row, concerned) in product(people, concerned_by(scene.here, other)):
        decision = policy.may(person, row.operation, *concerned)
        assert decision == policy.Decision(False, explained(window, row.operation.label), is_temporary=True)
        with pytest.raises(policy.InMaintenance, match="Grace Hopper enabled it"):
            policy.require(person, row.operation, *concerned)
        assert policy.may(person, row.operation, *[other] * len(concerned)) == policy.ALLOWED  # here is a bystander now
    times = Counter(row.operation.value for row, _ in concerned_by(scene.here, other))
    assert scene.refused() == sorted(
        (window.pk, operation, number * len(people), "pipeline") for operation, number in times.items()
    )


def concerned_by(here, other):
    """Each row with the environments that it is about; `here` is the source once and the target once."""
    for row in OPERATIONS:
        for concerned in [(here, other), (other, here)] if row.has_source_and_target else [(here,)]:
            yield row, concerned


@pytest.mark.parametrize("row", [row for row in OPERATIONS if row.has_source_and_target], ids=lambda row: row.operation)
def test_between_two_environments_in_maintenance_mode_each_window_counts_the_refusal(scene, row):
    scene.enable()
    source, target = scene.reload(scene.bystander), scene.here

    with pytest.raises(policy.InMaintenance, match="Sandbox is in maintenance mode"):
        policy.require(scene.user, row.operation, source, target)

    assert [(window, count) for window, _, count, _ in scene.refused()] == [
        (scene.elsewhere.pk, 1),
        (scene.window.pk, 1),
    ]


@committed
@orders
def test_a_worker_is_kept_out_inside_and_does_it_afterwards(scene, row, ask):
    data = ask.data(scene)
    assert request(scene, ask, data).status_code == ask.status
    order = scene.newest_order(ask.queues)
    window = scene.enable()

    order.refresh_from_db()
    assert order.status == "aborted"
    assert "maintenance mode" in order.message
    assert window.enabled_by in order.message
    assert window.reason in order.message
    scene.work_off()  # its message comes nevertheless

    # A worker had claimed it just before, and comes to the gate just afterwards.
    type(order).objects.filter(pk=order.pk).update(status="queued", ended_at=None, message="")
    carry_out(order)
    order.refresh_from_db()
    assert order.status == "aborted"
    operation = Operation.SYNCHRONIZE if isinstance(order, SyncRun) else row.operation
    assert order.message == explained(window, operation.label)
    assert scene.log() == []
    assert not Contact.objects.exists()

    scene.disable()
    scene.work_off()
    if not isinstance(order, SyncRun):  # people ask again; what synchronization delivers comes by itself
        assert request(scene, ask, data).status_code == ask.status
        scene.work_off()
        again = scene.newest_order(ask.queues)
        assert (again.status, again.message) == ("finished", "")
    heard = {(line["method"], line["path"].partition("?")[0]) for line in scene.log() if line["status"] < 300}
    assert ask.hears in heard
    assert {line["prefix"] for line in scene.log()} == {scene.here.address.removeprefix(scene.platform.root)}
    assert row.purpose in Contact.objects.values_list("purpose", flat=True)


def carry_out(order):
    if isinstance(order, SyncRun):
        tasks.synchronize([order.pk])
    else:
        tasks.work_on_application(order.pk)


@committed
def test_the_gate_admits_the_contact_of_each_operation_outside_and_none_inside(scene):
    async def talk(environment, purpose):
        async with gate.session() as session, session.contact(environment.pk, purpose) as client:
            await client.get("/facts")

    for row in OPERATIONS:
        asyncio.run(talk(scene.here, row.purpose))
        with pytest.raises(gate.InMaintenance):
            asyncio.run(talk(scene.bystander, row.purpose))
    assert [line["path"] for line in scene.log()] == ["/facts"] * len(OPERATIONS)
    contacts = Contact.objects.count()

    scene.enable()

    for row in OPERATIONS:
        with pytest.raises(gate.InMaintenance):
            asyncio.run(talk(scene.here, row.purpose))
    assert len(scene.log()) == len(OPERATIONS)
    assert Contact.objects.count() == contacts
