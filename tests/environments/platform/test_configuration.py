"""Settings and logs of applications."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from environments.platform.canonical import canonical, digest
from tests.platforms import Platform

TYPES = {
    "Text": (["", "x", "ü" * 4000], ["\0"]),
    "Integer": (["0", "-2147483648", "2147483647"], ["2147483648", "1.0", "", " 1", "one"]),
    "LongInteger": (["9223372036854775807"], ["9223372036854775808"]),
    "Decimal": (["1.5", "-0.00000001", "10"], ["1,5", "NaN", "1e5", "."]),
    "Currency": (["9.99"], ["9.99 EUR"]),
    "Boolean": (["True", "False"], ["true", "1", "yes"]),
    "Date": (["2026-11-23"], ["2026-13-01", "23.11.2026", "20261123"]),
    "Time": (["10:00:00"], ["10", "25:00:00"]),
    "DateTime": (["2026-11-23 10:00:00"], ["2026-11-23", "2026-11-23T10:00:00"]),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Platform]:
    with Platform.start(tmp_path_factory.mktemp("shared")) as started:
        yield started


@pytest.fixture
def platform(shared) -> Platform:
    """The platform of all tests here; each publishes its own application anew."""
    return shared


@pytest.fixture
def application(platform):
    properties = [{"name": kind, "data_type": kind} for kind in TYPES]
    secret = {"name": "Key", "data_type": "Text", "default_value": "built-in", "is_secret": True}
    return platform.publish(
        name=f"Hotel {uuid4()}",
        kind="Mobile",
        extensibility={"resource": "icon.png"},
        modules=[
            {
                "name": "Hotel",
                "site_properties": [*properties, secret],
                "endpoints": [{"name": "Rates", "kind": "REST", "default_url": "https://rates.example.com"}],
                "timers": [{"name": "Clean", "default_schedule": "0 3 * * *"}],
            },
            {"name": "Hotel_CS"},
        ],
    )


def path(application) -> str:
    return f"/applications/{application['key']}/settings"


def get(platform, application) -> dict:
    return platform.call("GET", path(application)).json


def entry(application, name, **values) -> dict:
    return {"module_key": application["modules"][0]["key"], "name": name, **values}


def put(platform, application, name, value):
    return platform.call(
        "PUT", path(application), {"site_properties": [entry(application, name, effective_value=value)]}
    )


def test_settings_show_what_modules_define(platform, application):
    reply = platform.call("GET", path(application))

    assert reply.body == canonical(reply.json)
    found = {one["name"]: one for one in reply.json["site_properties"]}
    assert found["Integer"] == entry(
        application, "Integer", module="Hotel", description="", data_type="Integer", default_value=None,
        effective_value=None, is_secret=False,
    )  # fmt: skip
    assert found["Key"]["default_value"] == "***"
    assert reply.json["endpoints"][0]["default_url"] == "https://rates.example.com"
    assert reply.json["timers"][0]["effective_schedule"] is None
    assert reply.json["extensibility"] == {"mode": "default", "default": {"resource": "icon.png"}, "custom": None}
    assert reply.headers["ETag"] == f'"{application["settings_digest"]}"'
    assert platform.call("GET", path(application), headers={"If-None-Match": reply.headers["ETag"]}).status == 304


def test_a_changed_setting_shows_in_the_feed_and_outlives_a_restart(platform, application):
    cursor = platform.call("GET", "/applications").json["cursor"]
    before = get(platform, application)
    custom = {"mode": "custom", "custom": {"resource": "other.png"}}
    change = {
        "site_properties": [entry(application, "Integer", effective_value="5")],
        "endpoints": [entry(application, "Rates", effective_url="http://localhost:9000/x")],
        "timers": [entry(application, "Clean", effective_schedule="*/5 1-6,22 * * 1")],
        "extensibility": custom,
    }

    reply = platform.call("PUT", path(application), change)
    platform.restart()

    after = get(platform, application)
    assert {one["name"]: one["effective_value"] for one in after["site_properties"]}["Integer"] == "5"
    assert after["endpoints"][0]["effective_url"] == "http://localhost:9000/x"
    assert after["timers"][0]["effective_schedule"] == "*/5 1-6,22 * * 1"
    assert after["extensibility"] == {**before["extensibility"], **custom}
    [changed] = platform.call("GET", f"/applications?since={cursor}").json["applications"]
    assert changed["settings_digest"] == reply.json["digest"] != application["settings_digest"]
    assert {**changed, "settings_digest": ""} == {**application, "settings_digest": ""}


def test_only_what_is_named_changes(platform, application):
    put(platform, application, "Integer", "5")
    put(platform, application, "Text", "x")
    same = platform.call("GET", "/digests").body
    platform.call("PUT", path(application), {})
    platform.call("PUT", path(application), get(platform, application))

    assert platform.call("GET", "/digests").body == same
    put(platform, application, "Integer", None)
    found = {one["name"]: one["effective_value"] for one in get(platform, application)["site_properties"]}
    assert (found["Integer"], found["Text"]) == (None, "x")


def test_a_secret_never_shows_and_stays_when_its_mask_comes_back(platform, application):
    stored = put(platform, application, "Key", "s3cret").json["digest"]
    shown = platform.call("GET", path(application))
    platform.call("PUT", path(application), shown.json)

    assert b"s3cret" not in shown.body
    assert {one["name"]: one for one in shown.json["site_properties"]}["Key"]["effective_value"] == "***"
    assert platform.call("GET", path(application)).headers["ETag"] == f'"{stored}"' != f'"{digest(shown.body)}"'
    assert put(platform, application, "Key", "other").json["digest"] != stored
    assert b"s3cret" not in platform.call("GET", f"/applications/{application['key']}/logs").body


@pytest.mark.parametrize("kind", TYPES)
def test_values_are_of_their_type(platform, application, kind):
    right, wrong = TYPES[kind]
    for value in right:
        assert put(platform, application, kind, value).status == 200, value
    before = platform.call("GET", "/digests").body
    for value in wrong:
        reply = put(platform, application, kind, value)
        assert (reply.status, reply.problem) == (422, "bad-value"), value
        assert kind in reply.json["detail"]
    assert platform.call("GET", "/digests").body == before


@pytest.mark.parametrize("url", ["", "rates", "ftp://x", "http://", "http://a b", "javascript:alert(1)", "http://[x"])
def test_an_endpoint_is_a_url(platform, application, url):
    change = {"endpoints": [entry(application, "Rates", effective_url=url)]}

    assert platform.call("PUT", path(application), change).problem == "bad-value"


@pytest.mark.parametrize(
    "schedule", ["daily", "* * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "* * * * * *", "a * * * *"]
)
def test_a_schedule_is_five_fields(platform, application, schedule):
    change = {"timers": [entry(application, "Clean", effective_schedule=schedule)]}

    assert platform.call("PUT", path(application), change).problem == "bad-value"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"site_properties": [{"module_key": str(uuid4()), "name": "Integer", "effective_value": "1"}]},
            "setting-unknown",
        ),
        ({"extensibility": {"mode": "custom"}}, "bad-value"),
        ({"extensibility": {"mode": "custom", "custom": []}}, "bad-body"),
        ({"site_properties": {}}, "bad-body"),
        ({"timers": [{"name": "Clean"}]}, "bad-body"),
        ([], "bad-body"),
    ],
)
def test_a_wrong_change_is_refused(platform, application, change, problem):
    before = platform.call("GET", "/digests").body

    reply = platform.call("PUT", path(application), change)

    assert (reply.status, reply.problem) == (422, problem)
    assert platform.call("GET", "/digests").body == before


def test_one_wrong_value_keeps_the_right_ones_out(platform, application):
    values = [entry(application, "Text", effective_value="x"), entry(application, "Integer", effective_value="x")]

    assert platform.call("PUT", path(application), {"site_properties": values}).problem == "bad-value"
    assert {one["effective_value"] for one in get(platform, application)["site_properties"]} == {None}


def test_the_log_tells_what_happened_and_can_be_paged(platform, application):
    key = application["key"]
    for number in range(5):
        platform.publish(key=key, changed_by=f"person {number}")

    whole = platform.call("GET", f"/applications/{key}/logs").json
    page = platform.call("GET", f"/applications/{key}/logs?limit=2").json
    rest = platform.call("GET", f"/applications/{key}/logs?since={page['cursor']}").json

    assert [one["kind"] for one in whole["lines"]] == ["Publish"] * 6
    assert whole["lines"][-1]["user"] == "person 4"
    assert page["lines"] + rest["lines"] == whole["lines"]
    assert (page["more"], rest["more"]) == (True, False)
    newest = platform.call("GET", f"/applications/{key}/logs?last=2").json
    assert newest["lines"] == whole["lines"][-2:]
    assert platform.call("GET", f"/applications/{key}/logs?since={newest['cursor']}").json["lines"] == []
    assert platform.call("GET", f"/applications/{key}/logs?since=x").problem == "cursor-unknown"
    assert platform.call("GET", f"/applications/{key}/logs?last=0").problem == "bad-query"
    assert platform.call("GET", f"/applications/{uuid4()}/logs").problem == "application-unknown"
