"""Tagging and the history of versions, and what modules offer and use."""

import io
import json
import sqlite3
import threading
import zipfile
from uuid import uuid4

import pytest

from environments.platform import packages
from environments.platform.canonical import canonical, digest
from tests.platforms import BY, OWN_PROCESS, Platform, place_or_process

NAME = "Back Office"  # 2.11.0 in development, modified


@pytest.fixture
def platform(request):
    yield from place_or_process(request)


@pytest.fixture
def key(platform) -> str:
    return platform.application(NAME)["key"]


def feed_digest(platform) -> str:
    return platform.call("GET", "/digests").json["applications"]


def test_tagging_makes_a_version_and_the_application_is_no_longer_modified(platform, key):
    before = platform.application(NAME)
    mobile = [{"platform": "iOS", "version": "2.12", "description": "Faster"}]

    reply = platform.tag(key, "2.12.0", change_log="Search", mobile_versions=mobile)

    assert reply.status == 201
    assert reply.body == canonical(reply.json)
    version, after = reply.json, platform.application(NAME)
    assert (version["version"], version["change_log"], version["created_by"]) == ("2.12.0", "Search", "Ana Ferreira")
    assert (version["application_key"], version["based_on"], version["in_use"]) == (key, before["version_key"], True)
    assert version["mobile_versions"] == mobile
    assert [one["module_key"] for one in version["modules"]] == [one["key"] for one in before["modules"]]
    assert [one["version_key"] for one in version["modules"]] == [one["version_key"] for one in before["modules"]]
    assert (after["version"], after["version_key"], after["is_modified"]) == ("2.12.0", version["key"], False)
    assert not any(module["is_modified"] for module in after["modules"])
    assert platform.call("GET", f"/applications/{key}/versions/{version['key']}").json == version
    assert "Tagged version 2.12.0." in str(platform.call("GET", f"/applications/{key}/logs").json)


@OWN_PROCESS
def test_the_history_begins_with_what_it_came_with_and_outlives_a_restart(platform, key):
    first = platform.tag(key, "2.12").json
    second = platform.tag(key, "2.13").json
    platform.restart()

    versions = platform.versions(key)

    assert [one["version"] for one in versions] == ["2.11.0", "2.12", "2.13"]
    assert [one["in_use"] for one in versions] == [False, False, True]
    assert versions[1:] == [{**first, "in_use": False}, second]
    page = platform.call("GET", f"/applications/{key}/versions?limit=2").json
    rest = platform.call("GET", f"/applications/{key}/versions?since={page['cursor']}").json
    assert (page["more"], rest["more"], page["versions"] + rest["versions"]) == (True, False, versions)
    assert platform.call("GET", f"/applications/{key}/versions?since={rest['cursor']}").json["versions"] == []
    assert platform.call("GET", f"/applications/{key}/versions?since=7").problem == "cursor-unknown"


def test_an_order_given_twice_makes_one_version(platform, key):
    order = {"key": str(uuid4()), "version": "2.12.0", "by": BY}
    replies = [platform.call("POST", f"/applications/{key}/versions", order) for _ in range(2)]

    assert [reply.status for reply in replies] == [201, 200]
    assert replies[0].body == replies[1].body
    other = platform.call("POST", f"/applications/{key}/versions", {**order, "version": "2.13.0"})
    assert (other.status, other.problem) == (409, "key-taken")
    assert [one["version"] for one in platform.versions(key)] == ["2.11.0", "2.12.0"]


def test_twenty_people_who_tag_at_once_make_one_version(platform, key):
    replies = []

    def tag():
        replies.append(platform.tag(key, "2.12.0"))

    threads = [threading.Thread(target=tag) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(reply.status for reply in replies) == [201] + [409] * 19
    assert {reply.problem for reply in replies} == {"", "version-exists"}
    assert len(platform.versions(key)) == 2


@pytest.mark.parametrize(
    "number", ["", "1.2.3.4", "1000", "1.", ".1", "01", "1.02", "v1", "1.2.x", "-1", "\u0661", "1 ", "1\n"]
)
def test_a_number_that_is_none_is_refused(platform, key, number):
    before = feed_digest(platform)

    reply = platform.tag(key, number)

    assert (reply.status, reply.problem) == (422, "bad-body")
    assert feed_digest(platform) == before


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        ("2.11.0", "version-exists"),
        ("2.11", "version-exists"),
        ("2.10.9", "version-backwards"),
        ("0", "version-backwards"),
    ],
)
def test_numbers_are_new_and_never_go_backwards(platform, key, number, problem):
    before = feed_digest(platform)

    reply = platform.tag(key, number)

    assert (reply.status, reply.problem) == (409, problem)
    assert feed_digest(platform) == before
    assert len(platform.versions(key)) == 1


def test_mobile_numbers_never_go_backwards(platform, key):
    platform.tag(key, "2.12.0", mobile_versions=[{"platform": "iOS", "version": "3.0"}])

    for number in ("3.0", "3.0.0", "2.9"):
        reply = platform.tag(key, "2.13.0", mobile_versions=[{"platform": "iOS", "version": number}])
        assert reply.problem == "mobile-version-backwards"
    twice = [{"platform": "Android", "version": "1"}, {"platform": "Android", "version": "2"}]
    assert platform.tag(key, "2.13.0", mobile_versions=twice).problem == "bad-body"
    assert platform.tag(key, "2.13.0", mobile_versions=[{"platform": "Android", "version": "1"}]).status == 201


def test_an_application_without_modules_cannot_be_tagged(platform):
    empty = platform.publish(name="Empty", modules=[])

    assert platform.tag(empty["key"], "1.0").problem == "no-modules"


def test_a_version_based_on_an_older_one_has_its_content_and_changes_nothing(platform, key):
    old = platform.versions(key)[0]
    platform.publish(key=key, description="Newer")
    new = platform.tag(key, "2.12.0").json
    now = platform.application(NAME)

    rollback = platform.tag(key, "2.11.1", base_version_key=old["key"])

    assert (rollback.status, rollback.json["based_on"], rollback.json["in_use"]) == (201, old["key"], False)
    assert [one["hash"] for one in rollback.json["modules"]] == [one["hash"] for one in old["modules"]]
    assert [one["hash"] for one in rollback.json["modules"]] != [one["hash"] for one in new["modules"]]
    assert platform.application(NAME) == now
    assert platform.tag(key, "2.10.0", base_version_key=old["key"]).problem == "version-backwards"
    assert platform.tag(key, "2.14.0", base_version_key=str(uuid4())).problem == "version-unknown"


def publish_two(platform, description):
    modules = [{"name": "TwoUi", "description": description}, {"name": "TwoLogic", "description": description}]
    return platform.publish(name="Two Modules", modules=modules)


def pick(version, name):
    [module] = [one for one in version["modules"] if one["name"] == name]
    return {"module_key": module["module_key"], "version_key": module["version_key"]}


def manifest_of(platform, key, version):
    reply = platform.call("GET", f"/applications/{key}/versions/{version['key']}/package")
    assert digest(reply.body) == version["package"]["digest"]
    with zipfile.ZipFile(io.BytesIO(reply.body)) as package:
        return json.loads(package.read("manifest.json"))


def test_single_modules_are_picked_from_other_versions_and_are_in_the_package(platform, tmp_path):
    key = publish_two(platform, "first")["key"]
    old = platform.tag(key, "0.1").json
    publish_two(platform, "second")
    new = platform.tag(key, "0.2").json
    now = publish_two(platform, "third")

    mixed = platform.tag(key, "0.1.1", base_version_key=old["key"], modules=[pick(new, "TwoLogic")])
    with_now = {"module_key": now["modules"][0]["key"], "version_key": now["modules"][0]["version_key"]}
    today = platform.tag(key, "0.2.1", base_version_key=new["key"], modules=[with_now])
    back = platform.tag(key, "0.3", modules=[pick(old, "TwoUi")])

    assert [mixed.status, today.status, back.status] == [201, 201, 201]
    for version, described in [
        (mixed.json, ["first", "second"]),
        (today.json, ["third", "second"]),
        (back.json, ["first", "third"]),
    ]:
        manifest = manifest_of(platform, key, version)
        assert [module["description"] for module in manifest["modules"]] == described
        assert [one["version_key"] for one in manifest["modules"]] == [one["version_key"] for one in version["modules"]]
    file = tmp_path / "package.zip"
    file.write_bytes(platform.package_of(key, mixed.json["key"]))
    assert [module.description for module in packages.read(file).manifest.modules] == ["first", "second"]
    assert mixed.json["based_on"] == old["key"]
    assert back.json["based_on"] == new["key"]
    assert platform.application("Two Modules") == now


def test_picks_that_cannot_be_are_refused_and_change_nothing(platform, key):
    old = platform.versions(key)[0]
    [first, *_] = old["modules"]
    picked = {"module_key": first["module_key"], "version_key": first["version_key"]}
    mobile = platform.application("Field Service")
    before = feed_digest(platform)
    for body, status, problem in [
        ([{**picked, "version_key": str(uuid4())}], 404, "module-version-unknown"),
        ([{**picked, "module_key": str(uuid4())}], 404, "module-version-unknown"),
        ([picked, picked], 422, "bad-body"),
        ([{"module_key": picked["module_key"]}], 422, "bad-body"),
    ]:
        reply = platform.tag(key, "2.12.0", modules=body)
        assert (reply.status, reply.problem) == (status, problem)
    assert platform.tag(mobile["key"], "99.0", modules=[picked]).problem == "picks-refused"
    assert feed_digest(platform) == before
    assert [one["version"] for one in platform.versions(key)] == ["2.11.0"]


def test_two_modules_of_one_name_are_not_put_together(platform):
    key = publish_two(platform, "first")["key"]
    old = platform.tag(key, "0.1").json
    platform.publish(name="Two Modules", modules=[{"name": "TwoUi", "key": str(uuid4())}])
    assert platform.tag(key, "0.2", modules=[pick(old, "TwoUi")]).problem == "picks-refused"


def test_a_developer_who_publishes_a_version_leaves_the_one_before_in_the_history(platform, key):
    platform.publish(key=key, version="2.12.0")
    platform.publish(key=key, version="2.13.0")

    assert [one["version"] for one in platform.versions(key)] == ["2.11.0", "2.12.0", "2.13.0"]


def test_what_is_not_there_is_said_so(platform, key):
    nobody = str(uuid4())

    for path in (f"/applications/{nobody}/versions", f"/applications/{nobody}/references"):
        assert platform.call("GET", path).problem == "application-unknown"
    assert platform.tag(nobody, "1.0").problem == "application-unknown"
    assert platform.call("GET", f"/applications/{key}/versions/{nobody}").problem == "version-unknown"
    assert platform.call("GET", "/applications/nobody/versions").problem == "not-found"
    assert platform.call("GET", f"/applications/{key}/references?version_key=x").problem == "bad-query"


def test_a_full_disk_leaves_everything_as_it_was(platform, key):
    before = feed_digest(platform)
    platform.behave(free_bytes=1000)

    reply = platform.tag(key, "2.12.0")

    assert (reply.status, reply.problem) == (507, "no-space")
    assert feed_digest(platform) == before
    platform.behave()
    assert platform.tag(key, "2.12.0").status == 201


def test_references_tell_what_modules_offer_and_use(platform, key):
    service = platform.application("Order Service")

    found = platform.call("GET", f"/applications/{key}/references")

    assert found.headers["ETag"] == f'"{digest(found.body)}"'
    module = next(one for one in found.json["modules"] if one["name"] == "BackOffice")
    used = {one["module_name"]: one for one in module["consumes"]}
    assert used["OrderService_CS"]["application_key"] == service["key"]
    offered = platform.call("GET", f"/applications/{service['key']}/references").json["modules"][0]["produces"]
    assert [one for one in offered if one in used["OrderService_CS"]["elements"]] == used["OrderService_CS"]["elements"]
    version = platform.versions(key)[0]["key"]
    tagged = platform.call("GET", f"/applications/{key}/references?version_key={version}").json
    assert (tagged["version_key"], tagged["modules"]) == (version, found.json["modules"])


def test_references_of_a_version_stay_when_the_application_moves_on(platform):
    element = {"name": "Book", "kind": "Action", "signature": "a"}
    made = platform.publish(name="Hotel", version="1.0", modules=[{"name": "Hotel_CS", "produces": [element]}])
    changed = [{"name": "Hotel_CS", "produces": [{**element, "signature": "b"}]}]
    platform.publish(key=made["key"], modules=changed)

    path = f"/applications/{made['key']}/references"
    tagged = platform.call("GET", f"{path}?version_key={made['version_key']}").json

    assert tagged["modules"][0]["produces"] == [element]
    assert platform.call("GET", path).json["modules"][0]["produces"] == [{**element, "signature": "b"}]


def test_environments_of_one_process_have_their_own_versions(tmp_path):
    with Platform.start(tmp_path, count=2) as platform:
        one, two = platform.addresses
        key = platform.application(NAME, address=one)["key"]
        platform.tag(key, "2.12.0", address=one)

        assert len(platform.versions(key, address=one)) == 2
        assert len(platform.versions(key, address=two)) == 1


def test_a_store_of_an_earlier_release_is_brought_up(tmp_path):
    with Platform.start(tmp_path) as platform:
        platform.stop()
        with sqlite3.connect(tmp_path / "platform.sqlite3") as db:
            tables = ["content", "setting", "version", "package", "creation", "log_line", "block", "password", "event",
                      "deployment", "deployment_line", "application_security", "version_removal",
                      "database_connection"]  # fmt: skip
            for table in tables:
                db.execute(f"DROP TABLE {table}")
            db.execute("PRAGMA user_version = 1")
        db.close()
        platform.restart()

        key = platform.application(NAME)["key"]
        assert platform.tag(key, "2.12.0").status == 201


def test_a_version_is_removed_unless_it_runs(platform, key):
    first = platform.tag(key, "2.12").json
    second = platform.tag(key, "2.13").json
    aside = platform.tag(key, "2.14", base_version_key=first["key"]).json
    path = f"/applications/{key}/versions"
    cursor = platform.call("GET", path).json["cursor"]

    assert platform.call("DELETE", f"{path}/{second['key']}").problem == "version-in-use"
    for version in (first, aside):
        assert platform.call("DELETE", f"{path}/{version['key']}").status == 204
        again = platform.call("DELETE", f"{path}/{version['key']}")
        assert (again.status, again.problem) == (404, "version-unknown")
    assert {first["key"], aside["key"]}.isdisjoint(one["key"] for one in platform.versions(key))
    assert platform.call("GET", f"{path}/{first['key']}/package").status == 404

    new = platform.tag(key, "2.14").json  # the number is free again, the cursor is not
    assert [one["key"] for one in platform.call("GET", f"{path}?since={cursor}").json["versions"]] == [new["key"]]
