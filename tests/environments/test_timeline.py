"""The timeline of an environment: what it shows of which time, for whom, and at what cost."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from deployments.models import DeploymentPlan, PlanOperation
from environments import timeline
from environments.models import MaintenanceWindow, SyncRun, SyncState
from lifetime.models import Level, Role, RoleLevel
from tests.factories import create_environment, create_user
from tests.lifetime.factories import create_application, create_role

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def hours(number):
    return NOW - timedelta(hours=number)


@pytest.fixture
def environment():
    return create_environment(name="Production", sync_interval=60)


def window(environment, began, ended=None, *, recovered=None, **values):
    status = "in_force" if ended is None else "ended" if recovered else "recovering"
    over = {"disabled_at": ended, "disabled_by": "Grace", "disable_reason": "Done"} if ended else {}
    made = MaintenanceWindow.objects.create(
        environment=environment, status=status, epoch=1, enabled_at=began, enabled_by="Grace Hopper",
        reason="Upgrade to 11.29", quiet_at=began, recovered_at=recovered, **over, **values,
    )  # fmt: skip
    if ended is None:
        environment.maintenance_window = made
        environment.save()
    return made


def run(environment, began, status="failed", message="No answer.", minutes=1):
    return SyncRun.objects.create(
        environment=environment, trigger="schedule", status=status, requested_at=began, started_at=began,
        ended_at=began + timedelta(minutes=minutes), requested_by="System",
        message=message if status == "failed" else "",
    )  # fmt: skip


def plan(number, source, target, began, ended, status="finished_successful", **values):
    return DeploymentPlan.objects.create(
        number=number, source=source, target=target, status=status, started_at=began, started_by="Ana",
        ended_at=ended, created_by="Ana", **values,
    )  # fmt: skip


def of(environment, **options):
    return timeline.of(environment, **{"plans": DeploymentPlan.objects.all(), "days": 7, **options})


def lanes(environment, **options):
    found = of(environment, now=NOW, **options)
    return {lane.name: [(one.began_at, one.ended_at, one.variant) for one in lane.spans] for lane in found.lanes}


def test_windows_and_deployments_of_that_time_are_shown_with_those_that_reach_into_it(environment):
    other = create_environment()
    window(environment, hours(200), hours(160), recovered=hours(159))
    window(environment, hours(300), hours(290), recovered=hours(289))
    window(environment, hours(2))
    window(other, hours(3))
    plan(1, other, environment, hours(10), hours(9))
    plan(2, environment, other, hours(8), None, status="running")
    plan(3, None, environment, hours(400), hours(399))
    DeploymentPlan.objects.create(number=4, source=other, target=environment, created_by="Ana")

    found = lanes(environment)

    assert found["Maintenance"] == [(hours(2), None, "maintenance"), (hours(200), hours(160), "maintenance")]
    assert found["Deployments"] == [(hours(10), hours(9), "success"), (hours(8), None, "running")]
    assert found["Not synchronized"] == [(hours(2), None, "paused"), (hours(200), hours(159), "paused")]
    assert [one[:2] for one in lanes(environment, back=1)["Maintenance"]] == [
        (hours(200), hours(160)),
        (hours(300), hours(290)),
    ]
    assert len(lanes(environment, days=30)["Deployments"]) == 3


def test_failures_are_one_gap_until_something_succeeds(environment):
    run(environment, hours(50), "finished")
    for number in (40, 39.5, 39):
        run(environment, hours(number))
    run(environment, hours(38.5), "finished")
    run(environment, hours(20))  # what succeeded between is forgotten
    run(environment, hours(10), message="No route.")
    run(environment, hours(9), message="No route.")

    gaps = lanes(environment)["Not synchronized"]

    minute = timedelta(minutes=1)
    assert gaps == [
        (hours(40), hours(38.5) + minute, "danger"),
        (hours(20), hours(20) + minute, "danger"),
        (hours(10), hours(9) + minute, "danger"),
    ]


def test_what_still_fails_has_no_end(environment):
    now = timezone.now()
    run(environment, now - timedelta(minutes=30))
    SyncState.objects.filter(environment=environment).update(failures=3)
    environment.refresh_from_db()
    [gap] = of(environment, days=1).lanes[2].spans
    assert (gap.ended_at, gap.state) == (None, "Still failing")
    SyncState.objects.filter(environment=environment).update(failures=0)
    environment.refresh_from_db()
    assert of(environment, days=1).lanes[2].spans[0].ended_at is not None


def test_more_failures_than_fit_are_cut_to_the_newest_and_that_is_said(environment, monkeypatch):
    for number in range(5):
        run(environment, hours(100 - 10 * number))
    whole = lanes(environment)["Not synchronized"]
    assert len(whole) == 5
    assert not of(environment, now=NOW).is_cut

    monkeypatch.setattr(timeline, "MOST", 3)
    assert lanes(environment)["Not synchronized"] == whole[-3:]
    assert of(environment, now=NOW).is_cut

    monkeypatch.setattr(timeline, "MOST", 500)
    monkeypatch.setattr(timeline, "MOST_RUNS", 4)
    assert lanes(environment)["Not synchronized"] == whole[-4:]
    assert of(environment, now=NOW).is_cut


def test_bars_stay_in_the_picture_and_those_of_one_time_lie_below_each_other(environment):
    other = create_environment()
    for number in range(10):
        plan(number + 1, other, environment, hours(20 + number), hours(1))
    plan(20, other, environment, hours(500), hours(30))
    found = of(environment, now=NOW)
    deployments = found.lanes[1]
    assert deployments.rows == timeline.MOST_ROWS
    assert found.lanes[2].top == deployments.bottom
    for bar in deployments.bars:
        assert timeline.GUTTER <= bar.x <= bar.x + bar.width <= timeline.WIDTH + 1
        assert bar.width >= timeline.NARROWEST
        assert deployments.top <= bar.y < deployments.bottom
    assert [tick.at.hour for tick in found.ticks] == [0] * len(found.ticks)


def test_the_page_is_a_picture_with_a_text_and_a_table_and_nothing_inline(client, environment):
    client.force_login(create_user())
    window(environment, timezone.now() - timedelta(hours=2))
    made = plan(7, create_environment(name="Test"), environment, timezone.now() - timedelta(hours=5), timezone.now())
    page = reverse("environments:timeline", args=[environment.key])

    text = client.get(page).content.decode()

    svg = ElementTree.fromstring(  # noqa: S314 - our own
        text[text.index('<svg class="chart"') : text.index("</svg>", text.index("chart__")) + 6]
    )
    assert svg.get("role") == "img"
    assert [one.tag for one in svg][:2] == ["title", "desc"]
    assert "Deployments: 1" in svg[1].text
    assert {one.get("class") for one in svg.iter("rect")} >= {
        "chart__bar chart__bar--maintenance chart__bar--open",
        "chart__bar chart__bar--success",
    }
    assert not any(name in one.attrib for one in svg.iter() for name in ("style", "onclick"))
    assert "<style" not in text
    assert f'<a href="{made.get_absolute_url()}">#7 from Test to Production</a>' in text
    assert "Upgrade to 11.29" in text
    for query in ("?days=1", "?days=30&back=2", "?days=x&back=-1", "?days=90&back=99999999"):
        assert client.get(page + query).status_code == 200
    assert "Nothing happened" in client.get(page + "?days=1&back=9").content.decode()
    assert (
        reverse("environments:timeline", args=[environment.key])
        in client.get(environment.get_absolute_url()).content.decode()
    )
    assert client.post(page).status_code == 405
    nobody = Role.objects.create(name="Nobody")
    RoleLevel.objects.create(role=nobody, environment=environment, level=Level.NO_ACCESS)
    client.force_login(create_user(role=nobody))
    assert client.get(page).status_code == 403


def test_plans_that_the_person_may_not_see_are_not_shown(client, environment):
    closed = create_environment(name="Classified")
    role = create_role("Operator", level=Level.ACCESS, environment=environment, manage_infrastructure_and_users=True,
                       manage_teams_and_application_roles=True)  # fmt: skip
    RoleLevel.objects.create(role=role, environment=closed, level=Level.NO_ACCESS)
    ago = timezone.now() - timedelta(hours=5)
    plan(7, closed, environment, ago, timezone.now())
    plan(8, environment, closed, ago, timezone.now())
    plan(9, None, environment, ago, timezone.now())
    hidden = create_application("Payroll")
    secret = plan(10, None, environment, ago, timezone.now())
    PlanOperation.objects.create(
        plan=secret, application=hidden, application_key=hidden.key, application_name=hidden.name, kind="deploy",
        version_key=uuid4(), version_number="1.0",
    )  # fmt: skip
    page = reverse("environments:timeline", args=[environment.key])

    client.force_login(create_user(role=role))
    text = client.get(page).content.decode()
    assert [number for number in (7, 8, 9, 10) if f"#{number} from" in text] == [9]
    assert "Classified" not in text
    client.force_login(create_user())
    text = client.get(page).content.decode()
    assert [number for number in (7, 8, 9, 10) if f"#{number} from" in text] == [7, 8, 9, 10]


def test_the_number_of_queries_is_constant(client, environment):
    client.force_login(create_user())
    page = reverse("environments:timeline", args=[environment.key])

    def queries():
        with CaptureQueriesContext(connection) as found:
            assert client.get(page).status_code == 200
        return len(found)

    def happen(number):
        ago = timezone.now() - timedelta(hours=3 * number)
        window(environment, ago, ago + timedelta(hours=1), recovered=ago + timedelta(hours=2))
        plan(number + 1, create_environment(), environment, ago, ago + timedelta(minutes=5))
        run(environment, ago)

    happen(0)
    few = queries()
    for number in range(1, 13):
        happen(number)
    assert queries() == few <= 13
