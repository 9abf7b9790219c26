"""What was changed while an environment could not be spoken to arrives on its return: the differences, once each."""

import pytest
from django.urls import reverse

from environments import deliveries, maintenance, registry, security, sync
from environments.models import AuthenticationProvider, SyncRun, SyncState, TechnicalPreview
from lifetime.models import Role
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


def carry_out(environment):
    """Do what a worker would: every queued run."""
    runs = list(SyncRun.objects.filter(environment=environment, status="queued"))
    sync.run([run.pk for run in runs])
    return SyncRun.objects.filter(environment=environment).newest_first().first()


def settled(platform):
    environment = create_environment(platform=platform, name="Development")
    for _ in range(2):
        sync.run([sync.request(environment, by=actor()).pk])
    assert not deliveries.pending_of(reload(environment))
    return environment


def reload(environment):
    return type(environment).objects.select_related("sync_state", "maintenance_window").get(pk=environment.pk)


def change_role(environment):
    Role.objects.create(name="Tester")


def change_setting(environment):
    # Editing is disabled meanwhile: what was edited just before has not arrived.
    type(environment).objects.filter(pk=environment.pk).update(two_stage_deployments=True)


def change_security(environment):
    type(environment).objects.filter(pk=environment.pk).update(security={"hsts": True})


def change_previews(environment):
    TechnicalPreview.objects.filter(environment=environment, is_available=True).update(is_enabled=True)


def change_authentication(environment):
    provider = AuthenticationProvider(name="Company", mode="oidc", configuration={"client_id": "x"}, is_active=True)
    provider.secret = "of-the-client"
    provider.save()


CHANGES = {
    "permissions": change_role,
    "settings": change_setting,
    "security": change_security,
    "technical_previews": change_previews,
    "authentication": change_authentication,
}
PATHS = {part: f"/{part.replace('_', '-')}" for part in CHANGES}


def puts(platform, since):
    return [(line["path"], line["status"]) for line in platform.log()[since:] if line["method"] == "PUT"]


@pytest.mark.parametrize("parts", [[], *([part] for part in CHANGES), ["permissions", "security"], list(CHANGES)])
def test_exactly_what_was_changed_in_maintenance_mode_is_delivered_after_it(platform, parts):
    environment = settled(platform)
    had = SyncState.objects.get().digests
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    before = len(platform.log())

    for part in parts:
        CHANGES[part](environment)

    waiting = deliveries.pending_of(reload(environment))
    assert {one.part: one.has for one in waiting} == {part: had[part] for part in parts}
    sync.queue_due()
    carry_out(environment)
    assert len(platform.log()) == before

    maintenance.disable(environment, by=actor(), reason="Done")
    run = carry_out(environment)

    assert sorted(puts(platform, before)) == sorted((PATHS[part], 200) for part in parts)
    told = {one["part"]: (one["before"], one["after"]) for one in run.changes.get("delivered", [])}
    assert told == {one.part: (one.has, one.wanted) for one in waiting}
    assert not deliveries.pending_of(reload(environment))
    assert reload(environment).windows.get().status == "ended"
    again = len(platform.log())
    sync.run([sync.request(environment, by=actor()).pk])
    assert puts(platform, again) == []


def test_an_unreachable_environment_gets_the_differences_when_it_is_back(platform):
    environment = settled(platform)
    before = len(platform.log())
    platform.stop()
    change_security(environment)
    sync.run([sync.request(environment, by=actor(), is_full=False).pk])
    assert reload(environment).sync_state.unreachable_since
    assert [one.part for one in deliveries.pending_of(reload(environment))] == ["security"]

    platform._wanted_port = platform.port
    platform._run()
    run = sync.request(environment, by=actor(), is_full=False)
    sync.run([run.pk])

    run.refresh_from_db()
    assert (run.status, [one["part"] for one in run.changes["delivered"]]) == ("finished", ["security"])
    assert puts(platform, before) == [("/security", 200)]
    assert not deliveries.pending_of(reload(environment))


@pytest.mark.parametrize("behaviour", ["status:422", "status:503", "garbage"])
def test_a_refused_part_does_not_keep_the_others_and_nothing_is_sent_twice(platform, behaviour):
    environment = settled(platform)
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    for change in CHANGES.values():
        change(environment)
    platform.behave(fail=behaviour, paths=["/security"])
    before = len(platform.log())

    maintenance.disable(environment, by=actor(), reason="Done")
    run = carry_out(environment)

    assert run.status == "failed"
    assert {one["part"] for one in run.changes["delivered"]} == set(CHANGES) - {"security"}
    [failed] = run.changes["failed"]
    assert failed["part"] == "security"
    assert failed["message"] == run.message
    [waiting] = deliveries.pending_of(reload(environment))
    assert (waiting.part, waiting.message) == ("security", run.message)
    state = reload(environment).sync_state
    assert state.failures == 1
    assert state.due_at > run.ended_at  # with back-off
    assert reload(environment).windows.get().status == "recovering"

    again = len(platform.log())
    platform.behave()
    run = sync.request(environment, by=actor())
    sync.run([run.pk])
    run.refresh_from_db()

    assert run.status == "finished"
    assert puts(platform, again) == [("/security", 200)]
    assert [path for path, status in puts(platform, before) if status == 200].count("/permissions") == 1
    assert reload(environment).windows.get().status == "ended"


def test_several_refused_parts_are_listed(platform):
    environment = settled(platform)
    for change in CHANGES.values():
        change(environment)
    platform.behave(fail="status:422", paths=["/security", "/authentication"])

    run = sync.request(environment, by=actor(), is_full=False)
    sync.run([run.pk])

    run.refresh_from_db()
    assert [one["part"] for one in run.changes["failed"]] == ["security", "authentication"]
    assert run.message.startswith("2 parts failed. ")
    assert len(run.changes["delivered"]) == 3


def test_a_connection_lost_half_way_tells_what_was_delivered(platform):
    environment = settled(platform)
    for change in CHANGES.values():
        change(environment)
    platform.behave(fail="half", paths=["/security"])

    run = sync.request(environment, by=actor(), is_full=False)
    sync.run([run.pk])

    run.refresh_from_db()
    assert run.status == "failed"
    assert [one["part"] for one in run.changes["delivered"]] == ["permissions", "settings"]
    assert [one["part"] for one in run.changes["failed"]] == ["security"]
    platform.behave()
    before = len(platform.log())
    sync.run([sync.request(environment, by=actor(), is_full=False).pk])
    assert "/permissions" not in {path for path, _ in puts(platform, before)}
    assert not deliveries.pending_of(reload(environment))


def test_pages_say_what_is_pending_and_since_when(client, platform):
    client.force_login(create_user(name="Ada Lovelace", username="ada"))
    environment = settled(platform)
    sync.run([sync.request(environment, by=actor()).pk])  # Ada has arrived
    registry.edit(environment, {"name": "Dev"}, by=actor())
    security.change(environment, {"hsts": True}, by=actor())
    maintenance.enable(environment, by=actor(), reason="Upgrade")

    [settings, hardening] = deliveries.pending_of(reload(environment))
    assert (settings.part, hardening.part) == ("settings", "security")
    assert reload(environment).sync_state.synchronized_at < settings.since < hardening.since
    page = client.get(environment.get_absolute_url()).content.decode()
    assert "Changed in the console, not delivered yet" in page
    assert hardening.wanted in page
    fragment = client.get(reverse("environments:pending", args=[environment.key])).content.decode()
    assert hardening.wanted in fragment
    cards = client.get(reverse("environments:list")).content.decode()
    assert "Pending: environment settings, security settings" in cards

    maintenance.disable(reload(environment), by=actor(), reason="Done")
    carry_out(environment)

    page = client.get(environment.get_absolute_url()).content.decode()
    assert "not delivered yet" not in page
    assert "Digests before and after" in page
    assert hardening.has in page
    assert hardening.wanted in page


def test_pending_is_for_those_who_see_the_infrastructure(client):
    environment = create_environment()
    client.force_login(create_user(manages_infrastructure=False))
    assert client.get(reverse("environments:pending", args=[environment.key])).status_code == 403
    client.force_login(create_user())
    assert client.post(reverse("environments:pending", args=[environment.key])).status_code == 405
