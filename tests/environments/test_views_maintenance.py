"""Enable and disable maintenance mode from the page."""

import re
import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEvent
from deployments.models import DeploymentPlan
from environments import maintenance, sync
from environments.models import Contact, Environment, MaintenanceWindow, SyncRun
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def environment():
    return create_environment(name="Production", purpose="Production")


def url(name, environment, **more):
    return reverse(f"environments:{name}", args=[environment.key, *more.values()])


def enable(client, environment, **data):
    values = {"reason": "Platform upgrade", "epoch": environment.epoch, **data}
    return client.post(url("enable-maintenance", environment), values, headers=HTMX)


def disable(client, environment, **data):
    return client.post(url("disable-maintenance", environment), {"reason": "Done", **data}, headers=HTMX)


def hold_contact(environment, *, seconds=30, **values):
    now = timezone.now()
    return Contact.objects.create(
        environment=environment,
        epoch=environment.epoch,
        purpose="sync",
        worker="worker-2.example.org",
        pid=4711,
        opened_at=now,
        expires_at=now + timedelta(seconds=seconds),
        **values,
    )


def test_enabling_says_where_to_go_and_is_audited_with_person_and_address(client, user, environment):
    ends = timezone.localtime() + timedelta(hours=2)

    response = enable(client, environment, expected_end=f"{ends:%Y-%m-%dT%H:%M}")

    assert response.headers["HX-Redirect"] == environment.get_absolute_url()
    window = MaintenanceWindow.objects.get()
    assert (window.reason, window.enabled_by) == ("Platform upgrade", "Ada Lovelace")
    assert window.expected_end == ends.replace(second=0, microsecond=0)
    entry = AuditEvent.objects.get(key=window.audit_key)
    assert (entry.actor_username, entry.actor_address, entry.reason) == ("ada", "127.0.0.1", "Platform upgrade")


def test_the_expected_end_is_read_in_the_viewers_time_zone(client, user, environment):
    user.time_zone = "Asia/Tokyo"
    user.save()
    tokyo = timezone.now().astimezone(timezone.get_fixed_timezone(9 * 60)) + timedelta(hours=3)

    enable(client, environment, expected_end=f"{tokyo:%Y-%m-%dT%H:%M}")

    assert MaintenanceWindow.objects.get().expected_end == tokyo.replace(second=0, microsecond=0)


def test_disabling_queues_a_full_synchronization(client, user, environment):
    window = maintenance.enable(environment, by=actor(), reason="Upgrade")

    response = disable(client, environment, window=window.key)

    assert response.headers["HX-Redirect"] == environment.get_absolute_url()
    window.refresh_from_db()
    assert (window.status, window.disabled_by, window.disable_reason) == ("recovering", "Ada Lovelace", "Done")
    assert window.recovery_sync.is_full
    assert AuditEvent.objects.filter(message="Disabled maintenance mode of environment 'Production': Done").exists()


def test_without_htmx_the_answer_is_a_redirect(client, user, environment):
    response = client.post(url("enable-maintenance", environment), {"reason": "Upgrade"})

    assert (response.status_code, response.url) == (302, environment.get_absolute_url())


BAD_REASONS = {
    "empty": ("", "Say why"),
    "blank": ("   \t ", "Say why"),
    "too long": ("x" * 501, "this one has 501"),
    "two lines": ("Upgrade\nof the platform", "one line"),
    "a line separator": ("Upgrade\u2028now", "one line"),
    "a null character": ("Up\0grade", "one line"),
}


@pytest.mark.parametrize(("reason", "words"), BAD_REASONS.values(), ids=BAD_REASONS)
def test_a_bad_reason_is_refused_in_place_both_ways(client, user, environment, reason, words):
    before = AuditEvent.objects.count()

    response = enable(client, environment, reason=reason, expected_end="2099-01-01T10:00")

    assert response.status_code == 422
    html = response.content.decode()
    assert words in html
    assert 'aria-invalid="true"' in html
    assert "2099-01-01T10:00" in html  # nothing typed is lost
    assert not MaintenanceWindow.objects.exists()
    assert AuditEvent.objects.count() == before

    window = maintenance.enable(environment, by=actor(), reason="Upgrade")
    response = disable(client, environment, window=window.key, reason=reason)
    assert response.status_code == 422
    assert words in response.content.decode()
    window.refresh_from_db()
    assert window.is_open


def test_a_reason_of_500_characters_is_kept_without_the_blanks_around_it(client, user, environment):
    enable(client, environment, reason=f"  {'x' * 500} ")

    assert MaintenanceWindow.objects.get().reason == "x" * 500


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("2020-01-01T10:00", "in the past"),
        ("2999-01-01T10:00", "more than a year"),
        ("9999-12-31T23:59", "more than a year"),
        ("0001-01-01T00:00", "in the past"),
        ("tomorrow", "Write date and time"),
    ],
)
def test_a_bad_expected_end_is_refused_in_place(client, user, environment, typed, words):
    user.time_zone = "America/New_York"
    user.save()

    response = enable(client, environment, expected_end=typed)

    assert response.status_code == 422
    assert words in response.content.decode()
    assert "Platform upgrade" in response.content.decode()
    assert not MaintenanceWindow.objects.exists()


def test_enabling_twice_names_who_did_it(client, user, environment):
    maintenance.enable(environment, by=actor("Grace Hopper"), reason="Replace the disks")
    environment.refresh_from_db()

    response = enable(client, environment)

    assert response.status_code == 422
    assert "Grace Hopper enabled it" in response.content.decode()
    assert "Replace the disks" in response.content.decode()
    assert MaintenanceWindow.objects.count() == 1


def test_disabling_what_is_not_enabled_says_who_disabled_it(client, user, environment):
    assert "it never was" in disable(client, environment).content.decode()
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    maintenance.disable(environment, by=actor("Grace Hopper"), reason="Finished early")

    response = disable(client, environment)

    assert response.status_code == 422
    assert "Grace Hopper disabled it" in response.content.decode()
    assert SyncRun.objects.count() == 1


def test_a_stale_form_to_enable_is_refused_and_shows_how_things_stand_now(client, user, environment):
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    maintenance.disable(environment, by=actor("Grace Hopper"), reason="Finished early")

    response = enable(client, environment)  # of the page from before

    html = response.content.decode()
    assert response.status_code == 422
    assert "Somebody was faster" in html
    assert "Platform upgrade" in html
    environment.refresh_from_db()
    assert not environment.is_in_maintenance
    assert f'name="epoch" value="{environment.epoch}"' in html  # who decides again now knows
    assert enable(client, environment).status_code == 200


def test_a_stale_form_to_disable_never_ends_another_window(client, user, environment):
    former = maintenance.enable(environment, by=actor(), reason="First")
    maintenance.disable(environment, by=actor(), reason="Done")
    latter = maintenance.enable(environment, by=actor("Grace Hopper"), reason="Second")

    response = disable(client, environment, window=former.key)

    assert response.status_code == 422
    assert "Somebody was faster" in response.content.decode()
    assert str(latter.key) in response.content.decode()
    latter.refresh_from_db()
    assert latter.is_open


@pytest.mark.parametrize("name", ["enable-maintenance", "disable-maintenance"])
def test_toggles_are_posts_of_people_with_the_right_only(client, environment, name):
    developer = create_user(manages_infrastructure=False)
    assert client.post(url(name, environment), {"reason": "x"}).status_code == 302  # to the log-in page
    client.force_login(developer)
    assert client.post(url(name, environment), {"reason": "x"}).status_code == 403
    client.force_login(create_user())
    assert client.get(url(name, environment)).status_code == 405
    unknown = reverse(f"environments:{name}", args=[uuid.uuid4()])
    assert client.post(unknown, {"reason": "x"}).status_code == 404
    assert not MaintenanceWindow.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_cloud_environment_is_left_to_support_staff(client, user):
    environment = create_environment(name="Cloud", hosting="cloud")

    assert enable(client, environment).status_code == 403
    page = client.get(environment.get_absolute_url()).content.decode()
    assert "support staff do this for you" in page
    assert re.search(r'aria-disabled="true"[^>]*>(<svg.*?</svg>)?Enable maintenance mode', page)
    assert not MaintenanceWindow.objects.exists()


@pytest.mark.parametrize("name", ["enable-maintenance-dialog", "disable-maintenance-dialog", "unregister-dialog"])
def test_dialogs_are_parts_of_the_page(client, user, environment, name):
    assert "<html" not in client.get(url(name, environment), headers=HTMX).content.decode()
    assert client.get(url(name, environment)).url == environment.get_absolute_url()


def test_the_dialog_lists_what_will_be_aborted_and_who_started_it(client, user, environment):
    target = create_environment(name="Disaster Recovery")
    run = sync.request(environment, by=actor("Grace Hopper"))
    hold_contact(environment, sync_run=run)
    DeploymentPlan.objects.create(
        number=12,
        source=environment,
        target=target,
        status="running",
        created_by="Alan Turing",
        started_by="Alan Turing",
        started_at=timezone.now(),
    )

    for name in ("enable-maintenance-dialog", "enable-maintenance-preview"):
        html = client.get(url(name, environment), headers=HTMX).content.decode()
        assert "Deployment plan #12 from Production to Disaster Recovery, started by Alan Turing" in html
        assert f"Synchronization {run.pk} (Synchronize now), queued, requested by Grace Hopper" in html
        assert "worker-2.example.org:4711" in html


def test_the_dialog_says_when_nothing_is_in_progress(client, user, environment):
    html = client.get(url("enable-maintenance-dialog", environment), headers=HTMX).content.decode()

    assert "Nothing is in progress" in html
    assert f'name="epoch" value="{environment.epoch}"' in html


def test_whoever_looks_settles_a_draining_window(client, user, environment):
    contact = hold_contact(environment, step="GET /applications")
    window = maintenance.enable(environment, by=actor(), reason="Upgrade")

    html = client.get(url("live", environment)).content.decode()
    assert "Waiting for 1 contact to end" in html
    assert "worker-2.example.org:4711" in html
    assert "GET /applications" in html

    Contact.objects.filter(pk=contact.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    html = client.get(url("live", environment)).content.decode()
    assert "The environment is quiet" in html
    assert "Far side unknown" in html
    window.refresh_from_db()
    assert window.status == "in_force"


def test_the_page_of_a_window_settles_it_too(client, user, environment):
    hold_contact(environment, seconds=-1)
    window = maintenance.enable(environment, by=actor(), reason="Upgrade")

    client.get(reverse("environments:window", args=[environment.key, window.key]))

    window.refresh_from_db()
    assert window.quiet_at is not None


def test_the_page_says_when_somebody_toggled_after_it_was_loaded(client, user, environment):
    path = f"{url('live', environment)}?epoch={environment.epoch}"
    assert "after you opened this page" not in client.get(path).content.decode()
    maintenance.enable(environment, by=actor(), reason="Upgrade")

    assert "after you opened this page" in client.get(path).content.decode()
    assert client.get(f"{url('live', environment)}?epoch=nonsense").status_code == 200


def test_the_title_says_that_maintenance_mode_is_enabled(client, user, environment):
    assert "<title>Edit Production · " in client.get(environment.get_absolute_url()).content.decode()
    maintenance.enable(environment, by=actor(), reason="Upgrade")

    html = client.get(environment.get_absolute_url()).content.decode()
    assert "<title>Edit Production (maintenance mode enabled) · " in html
    assert "Disable maintenance mode" in html
    assert "Unregister environment" in html
    assert html.count("disabled") > 9  # every field


def test_the_page_of_a_window_tells_all_that_it_did(client, user, environment):
    target = create_environment(name="Disaster Recovery")
    run = sync.request(environment, by=actor("Grace Hopper"))
    hold_contact(environment, sync_run=run, step="PUT /settings", seconds=-1)
    DeploymentPlan.objects.create(
        number=12, source=environment, target=target, status="running", created_by="A", started_by="Alan Turing"
    )
    window = maintenance.enable(environment, by=actor(), reason="Replace the disks")
    client.post(url("synchronize", environment))
    client.post(url("synchronize", environment))

    html = client.get(reverse("environments:window", args=[environment.key, window.key])).content.decode()

    for words in (
        "Replace the disks",
        "#12 from Production to Disaster Recovery, started by Alan Turing",
        f"Synchronization {run.pk}",
        "PUT /settings",
        "Lost, far side unknown",
        "Synchronizing the environment",
        "Audit entry #",
    ):
        assert words in html
    assert '<td class="number" data-label="Times">2</td>' in html


def test_a_window_of_another_environment_is_not_found(client, user, environment):
    other = create_environment(name="Test")
    window = maintenance.enable(other, by=actor(), reason="Upgrade")

    assert client.get(reverse("environments:window", args=[environment.key, window.key])).status_code == 404


def test_what_changed_meanwhile_is_shown_when_it_is_over(client, user, platform):
    environment = create_environment(platform=platform, name="Development")
    first = sync.request(environment, by=actor())
    sync.run([first.pk])
    window = maintenance.enable(environment, by=actor(), reason="Upgrade")
    platform.publish(name="Made during maintenance", kind="Library", modules=[])
    Environment.objects.filter(pk=environment.pk).update(lifetime_address="https://console.example.com")
    maintenance.disable(environment, by=actor(), reason="Done")
    assert "waiting for a worker" in client.get(url("live", environment)).content.decode()

    window.refresh_from_db()
    sync.run([window.recovery_sync_id])

    for path in (url("live", environment), reverse("environments:window", args=[environment.key, window.key])):
        html = client.get(path).content.decode()
        assert "Fully synchronized" in html
        assert "1 application added" in html
        assert "<li>Environment settings</li>" in html


def test_a_failed_recovery_offers_to_try_again(client, user):
    environment = create_environment(name="Production")
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    window = maintenance.disable(environment, by=actor(), reason="Done")
    sync.run([window.recovery_sync_id])

    html = client.get(url("live", environment)).content.decode()

    assert "The full synchronization failed" in html
    assert "out of maintenance mode, but not in sync" in html
    assert url("synchronize", environment) in html
