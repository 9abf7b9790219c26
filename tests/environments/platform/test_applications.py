"""The change feed, and what a developer's publish does to it."""

from uuid import UUID

import pytest

from tests.platforms import OWN_PROCESS, Platform, Refused, place_or_process

APPLICATION = {
    "key", "name", "kind", "description", "url_path", "is_system", "version", "version_key", "is_modified",
    "changed_at", "changed_by", "consistency", "consistency_message", "modules",
}  # fmt: skip
MODULE = {
    "key", "name", "kind", "description", "version_key", "hash", "is_modified", "changed_at", "changed_by",
    "consistency", "consistency_message",
}  # fmt: skip


@pytest.fixture
def platform(request):
    yield from place_or_process(request)


def feed(platform, since="0", limit=500) -> dict:
    return platform.call("GET", f"/applications?since={since}&limit={limit}").json


def test_a_new_environment_has_believable_applications(platform):
    page = feed(platform)

    assert (page["more"], page["removed"], len(page["applications"])) == (False, [], 8)
    assert all(set(application) >= APPLICATION for application in page["applications"])
    assert all(set(module) == MODULE for application in page["applications"] for module in application["modules"])
    assert all(UUID(application["key"]) for application in page["applications"])


def test_the_same_application_has_the_same_key_everywhere(platform, tmp_path):
    with Platform.start(
        tmp_path / "other", name="Production", purpose="Production", applications=60, modules=3
    ) as other:
        here = {application["name"]: application for application in feed(platform)["applications"]}
        there = {application["name"]: application for application in feed(other)["applications"]}

    assert len(there) == 60
    assert all(len(application["modules"]) == 3 for application in there.values())
    for name, application in here.items():
        assert application["key"] == there[name]["key"]
        assert application["modules"][0]["key"] == there[name]["modules"][0]["key"]
    assert here["Customer Portal"]["version_key"] != there["Customer Portal"]["version_key"]
    assert here["Users"]["version_key"] == there["Users"]["version_key"]


def test_pages_join_to_the_whole(platform):
    whole, cursor, names, more = feed(platform), "0", [], True
    while more:
        page = feed(platform, since=cursor, limit=3)
        names += [application["name"] for application in page["applications"]]
        cursor, more = page["cursor"], page["more"]

    assert names == [application["name"] for application in whole["applications"]]
    assert cursor == whole["cursor"]


@OWN_PROCESS
def test_only_changes_come_after_a_cursor(platform):
    start = feed(platform)
    digests = platform.call("GET", "/digests").json
    changed = platform.publish(name="Back Office", changed_by="Ana")
    removed = start["applications"][0]["key"]
    platform.remove(removed)
    platform.restart()

    page = feed(platform, since=start["cursor"])

    assert page["applications"] == [changed]
    assert page["removed"] == [removed]
    assert page["cursor"] != start["cursor"]
    assert feed(platform, since=page["cursor"])["applications"] == []
    assert platform.call("GET", "/digests").json["applications"] != digests["applications"]
    assert feed(platform)["removed"] == []
    assert removed not in [application["key"] for application in feed(platform)["applications"]]


def test_a_page_of_changes_counts_removals_too(platform):
    start = feed(platform)
    for application in start["applications"][:3]:
        platform.remove(application["key"])

    page = feed(platform, since=start["cursor"], limit=2)

    assert (len(page["removed"]), page["more"]) == (2, True)
    assert len(feed(platform, since=page["cursor"])["removed"]) == 1


@pytest.mark.parametrize(
    "cursor", ["x", "1", "-1", "", "00000000-3", "{generation}-99", "{generation}-x", "{generation}--1"]
)
def test_an_unknown_cursor_is_gone(platform, cursor):
    generation = feed(platform)["cursor"].split("-")[0]

    reply = platform.call("GET", f"/applications?since={cursor.format(generation=generation)}")

    assert (reply.status, reply.problem) == (410, "cursor-unknown")


@pytest.mark.parametrize("limit", ["0", "2001", "-1", "x", "", "1e2"])
def test_a_limit_out_of_range_is_refused(platform, limit):
    assert platform.call("GET", f"/applications?limit={limit}").problem == "bad-query"


def test_an_empty_environment_has_a_cursor_that_works(tmp_path):
    with Platform.start(tmp_path, applications=0) as platform:
        page = feed(platform)
        platform.publish(name="First")

        assert page["applications"] == []
        assert [application["name"] for application in feed(platform, since=page["cursor"])["applications"]] == [
            "First"
        ]


def test_publishing_creates_what_is_new(platform):
    created = platform.publish(name="Billing", kind="Service", modules=[{"name": "Billing_CS"}, {"name": "Billing_IS"}])

    assert set(created) >= APPLICATION
    assert (created["kind"], created["version"], created["is_modified"]) == ("Service", "", True)
    assert [module["name"] for module in created["modules"]] == ["Billing_CS", "Billing_IS"]
    assert all(set(module) == MODULE for module in created["modules"])


def test_publishing_changes_what_is_known(platform):
    before = feed(platform)["applications"][0]

    after = platform.publish(key=before["key"], description="New words")

    assert after["description"] == "New words"
    assert (after["is_modified"], after["version_key"]) == (True, before["version_key"])
    assert after["changed_at"] > before["changed_at"]
    assert after["modules"][0]["hash"] != before["modules"][0]["hash"]
    assert after["modules"][1:] == before["modules"][1:]


def test_publishing_a_version_is_not_a_modification(platform):
    first = platform.publish(name="Customer Portal", version="9.0.0")

    assert (first["version"], first["is_modified"]) == ("9.0.0", False)
    assert first["version_key"] == platform.publish(name="Customer Portal", version="9.0.0")["version_key"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"key": "no-key"},
        {"key": "7d1a8a52-0c2e-4d7b-8a6f-3f6f3c9d1a11"},
        {"name": ""},
        {"name": "Billing", "kind": "Spreadsheet"},
        {"name": "Billing", "colour": "red"},
        {"name": "Billing", "modules": [{}]},
        {"name": "Billing", "modules": [{"name": "A"}, {"name": "A"}]},
        {"name": "Users", "key": "7d1a8a52-0c2e-4d7b-8a6f-3f6f3c9d1a11"},
    ],
)
def test_a_wrong_publish_is_refused_and_changes_nothing(platform, change):
    before = feed(platform)

    with pytest.raises(Refused):
        platform.publish(**change)

    assert feed(platform) == before


def test_a_removed_application_may_come_back(platform):
    first = feed(platform)["applications"][0]
    platform.remove(first["key"])
    with pytest.raises(Refused, match="application-unknown"):
        platform.remove(first["key"])

    assert platform.publish(name=first["name"])["key"] == first["key"]
