"""Deployments: seven steps, one switch, and nothing half done whatever comes between."""

import random
import signal
import threading
import time
from uuid import uuid4

import pytest

from environments.platform.applications import key_of, module_key_of
from tests.platforms import BY, Platform, digest_of, instant, package

STEPS = (
    "retrieving",
    "analyzing_processes",
    "generating",
    "analyzing_database",
    "distributing",
    "updating",
    "synchronizing",
)
STOPPABLE = STEPS[:5]
HOTEL = str(key_of("Hotel"))
MODULE = str(module_key_of("Hotel", "Hotel"))
ONE, TWO = (
    package("Hotel", f"{number}.0", web={"index.html": f"<h1>Hotel {number}</h1>".encode()}) for number in (1, 2)
)


def served(platform, path="/Hotel/") -> bytes:
    status, _, body = platform.request("GET", path, None, {})
    return body if status == 200 else b""


def snapshot(platform) -> tuple:
    """Everything that a deployment could change."""
    files = platform.data / "files" / "1" / "sites"
    return (
        platform.call("GET", "/digests").json,
        platform.call("GET", "/applications").json,
        sorted(path.name for path in files.iterdir()) if files.exists() else [],
        served(platform),
    )


def deployed(platform, *packages, **order) -> dict:
    reply = platform.deploy(*packages, **order)
    assert reply.status == 201, reply.body
    return platform.wait_for_deployment(reply.json["id"])


def messages(deployment) -> str:
    return "\n".join(line["message"] for line in deployment["log"])


def test_a_version_goes_from_one_environment_to_the_other_and_is_served(platform, tmp_path):
    source = platform
    made = source.publish_package(package("Hotel", None, files=None, web={"index.html": b"<h1>Hotel</h1>"}))
    version = source.tag(made["key"], "1.0.0").json
    with Platform.start(tmp_path / "test", name="Test", purpose="Test") as target:
        cursor = target.call("GET", "/applications").json["cursor"]
        done = deployed(target, source.package_of(made["key"], version["key"]))

        assert (done["status"], done["is_applied"], done["reason"]) == ("finished_successful", True, "")
        assert [(step["name"], step["state"]) for step in done["steps"]] == [(name, "finished") for name in STEPS]
        assert served(target) == b"<h1>Hotel</h1>"
        [there] = target.call("GET", f"/applications?since={cursor}").json["applications"]
        here = source.application("Hotel")
        same = ("key", "name", "kind", "url_path", "version", "version_key", "is_modified")
        assert {name: there[name] for name in same} == {name: here[name] for name in same}
        assert [one["hash"] for one in there["modules"]] == [one["hash"] for one in here["modules"]]
        assert there["changed_by"] == "Ana Ferreira"
        assert target.versions(made["key"]) == [version]
        assert source.package_of(made["key"], version["key"]) == target.package_of(made["key"], version["key"])
        assert "deployed" in str(target.call("GET", f"/applications/{made['key']}/logs").json)


def test_seeded_applications_can_be_deployed(platform, tmp_path):
    with Platform.start(tmp_path / "production", name="Production", purpose="Production") as target:
        packages = []
        for name in ("Customer Portal", "Order Service"):
            key = platform.application(name)["key"]
            packages.append(platform.package_of(key, platform.versions(key)[0]["key"]))

        assert deployed(target, *packages)["status"] == "finished_successful"
        assert target.application("Customer Portal")["version"] == "3.4.0"
        assert b"3.4.0" in served(target, "/CustomerPortal/")
        assert [one["version"] for one in target.versions(target.application("Customer Portal")["key"])] == [
            "3.3.2",
            "3.4.0",
        ]


def test_a_hundred_deployments_of_one_order_are_one(platform):
    platform.upload(ONE)
    order = {"id": str(uuid4()), "by": BY, "applications": [{"application_key": HOTEL, "package": digest_of(ONE)}]}
    replies = []
    threads = [
        threading.Thread(target=lambda: replies.append(platform.call("POST", "/deployments", order))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    platform.wait_for_deployment(order["id"])

    assert sorted(reply.status for reply in replies) == [200] * 19 + [201]
    assert len(platform.call("GET", "/deployments").json["deployments"]) == 1
    assert platform.call("POST", "/deployments", {**order, "label": "other"}).problem == "key-taken"
    platform.restart()
    assert platform.call("POST", "/deployments", order).json["status"] == "finished_successful"


def test_the_log_can_be_followed(platform):
    done = deployed(platform, ONE)
    path = f"/deployments/{done['id']}"

    first = platform.call("GET", f"{path}?limit=2").json
    rest = platform.call("GET", f"{path}?since={first['cursor']}").json

    assert (first["more"], rest["more"]) == (True, False)
    assert first["log"] + rest["log"] == done["log"]
    assert [line["line"] for line in done["log"]] == list(range(1, len(done["log"]) + 1))
    assert platform.call("GET", f"{path}?since={rest['cursor']}").json["log"] == []
    assert "log" not in platform.call("GET", "/deployments").json["deployments"][0]
    assert platform.call("GET", f"/deployments/{uuid4()}").problem == "deployment-unknown"


@pytest.mark.parametrize("step", STOPPABLE)
def test_an_abort_before_the_switch_leaves_everything_as_it_was(platform, step):
    deployed(platform, ONE)
    before = snapshot(platform)
    platform.behave(step_seconds={step: 30})
    id_ = platform.deploy(TWO).json["id"]
    platform.wait_for_deployment(id_, step=step)

    reply = platform.abort_deployment(id_, "Maintenance")

    assert reply.status == 200
    done = platform.wait_for_deployment(id_)
    assert (done["status"], done["reason"], done["is_applied"]) == ("aborted", "Maintenance", False)
    assert {one["state"] for one in done["steps"]} <= {"undone", "waiting"}
    assert snapshot(platform) == before
    assert platform.abort_deployment(id_).json["status"] == "aborted"
    platform.behave()
    assert deployed(platform, TWO)["status"] == "finished_successful"


@pytest.mark.parametrize("step", STEPS[5:])
def test_from_the_switch_on_it_is_too_late(platform, step):
    platform.behave(step_seconds={step: 1})
    id_ = platform.deploy(ONE).json["id"]
    platform.wait_for_deployment(id_, step=step)

    assert platform.abort_deployment(id_).problem == "too-late"
    assert platform.wait_for_deployment(id_)["status"] == "finished_successful"
    assert platform.abort_deployment(id_).problem == "too-late"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_a_known_state(platform, step):
    deployed(platform, ONE)
    before = snapshot(platform)
    platform.behave(fail_step=step)
    done = deployed(platform, TWO)

    if step == "synchronizing":
        assert (done["status"], done["is_applied"]) == ("finished_with_errors", True)
        assert served(platform) == b"<h1>Hotel 2</h1>"
        return
    assert (done["status"], done["is_applied"]) == ("aborted", False)
    assert step in done["reason"]
    assert next(one for one in done["steps"] if one["name"] == step)["state"] == "failed"
    assert snapshot(platform) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("step", STEPS)
def test_a_restart_in_the_middle_ends_in_a_known_state(platform, step, number):
    deployed(platform, ONE)
    before = snapshot(platform)
    platform.behave(step_seconds={step: 30})
    id_ = platform.deploy(TWO).json["id"]
    platform.wait_for_deployment(id_, step=step)

    platform.restart(number=number)

    done = platform.deployment(id_)
    if step == "synchronizing":
        assert (done["status"], done["is_applied"]) == ("finished_successful", True)
        assert served(platform) == b"<h1>Hotel 2</h1>"
    else:
        assert (done["status"], done["is_applied"]) == ("aborted", False)
        assert "restarted" in done["reason"]
        assert snapshot(platform) == before
    time.sleep(0.2)
    assert len(list((platform.data / "files" / "1" / "sites").iterdir())) == 1
    assert deployed(platform, TWO)["status"] == "finished_successful"


def test_kills_at_random_moments_leave_one_version_or_the_other(platform):
    chance = random.Random(4)
    for number in range(1, 9):
        content = package("Hotel", f"{number}.0", web={"index.html": f"<h1>Hotel {number}</h1>".encode()})
        id_ = platform.deploy(content).json["id"]
        time.sleep(chance.random() * 0.1)
        platform.restart(number=signal.SIGKILL)
        done = platform.deployment(id_)

        assert done["status"] == ("finished_successful" if done["is_applied"] else "aborted")
        versions = {one["name"]: one["version"] for one in platform.call("GET", "/applications").json["applications"]}
        if done["is_applied"]:
            assert versions["Hotel"] == f"{number}.0"
        assert served(platform) == (f"<h1>Hotel {versions['Hotel'][0]}</h1>".encode() if "Hotel" in versions else b"")


def test_two_stages_prepare_and_then_switch(platform):
    deployed(platform, ONE)
    ready = deployed(platform, TWO, two_stage=True)

    assert (ready["status"], ready["information"], ready["is_applied"]) == (
        "needs_user_intervention", "deploy_prepared", False,
    )  # fmt: skip
    assert ready["prepared_until"] > instant(95 * 3600)
    assert served(platform) == b"<h1>Hotel 1</h1>"
    platform.restart()
    assert platform.deployment(ready["id"])["information"] == "deploy_prepared"
    assert served(platform) == b"<h1>Hotel 1</h1>"

    replies = []
    threads = [
        threading.Thread(target=lambda: replies.append(platform.continue_deployment(ready["id"], "deploy_prepared")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = platform.wait_for_deployment(ready["id"])

    assert {reply.status for reply in replies} == {200}
    assert (done["status"], served(platform)) == ("finished_successful", b"<h1>Hotel 2</h1>")
    assert messages(done).count("continues") == 1
    assert platform.continue_deployment(ready["id"], "deploy_prepared").status == 200
    assert platform.continue_deployment(ready["id"], "business_process_impact").problem == "not-waiting"


def test_what_is_prepared_can_be_aborted(platform):
    deployed(platform, ONE)
    before = snapshot(platform)
    ready = deployed(platform, TWO, two_stage=True)

    assert platform.abort_deployment(ready["id"]).json["status"] == "aborted"
    assert snapshot(platform) == before
    assert platform.continue_deployment(ready["id"], "deploy_prepared").problem == "not-waiting"


def test_what_is_prepared_expires_after_96_hours(platform):
    deployed(platform, ONE)
    before = snapshot(platform)
    ready = deployed(platform, TWO, two_stage=True)
    platform.behave(clock_offset_seconds=96 * 3600 + 5)
    order = {"information": "deploy_prepared", "by": BY}

    late = platform.call("POST", f"/deployments/{ready['id']}/continue", order, seconds=97 * 3600)

    assert (late.status, late.json["status"]) == (200, "aborted")
    assert "96 hours" in late.json["reason"]
    platform.behave()
    assert snapshot(platform) == before


def with_property(version, *properties) -> bytes:
    module = {"name": "Hotel", "site_properties": [{"name": name, "data_type": "Integer"} for name in properties]}
    return package("Hotel", version, modules=[module])


def test_a_missing_setting_waits_for_its_value(platform):
    waiting = deployed(platform, with_property("1.0", "Rooms"))

    assert waiting["information"] == "needs_configuration_or_confirmation"
    [one] = waiting["interventions"]
    assert (one["kind"], one["names"]) == ("missing_setting", ["Hotel.Rooms"])
    go = waiting["id"], "needs_configuration_or_confirmation"
    assert platform.continue_deployment(*go).problem == "setting-missing"
    values = [{"module_key": MODULE, "name": "Rooms", "effective_value": "many"}]
    assert platform.continue_deployment(*go, settings={HOTEL: {"site_properties": values}}).problem == "bad-value"
    assert platform.continue_deployment(*go, settings={str(uuid4()): {}}).problem == "setting-unknown"
    assert platform.deployment(waiting["id"])["status"] == "needs_user_intervention"
    values[0]["effective_value"] = "12"
    assert platform.continue_deployment(*go, settings={HOTEL: {"site_properties": values}}).status == 200

    assert platform.wait_for_deployment(waiting["id"])["status"] == "finished_successful"
    [found] = platform.call("GET", f"/applications/{HOTEL}/settings").json["site_properties"]
    assert found["effective_value"] == "12"


def test_settings_may_come_with_the_order(platform):
    values = {"site_properties": [{"module_key": MODULE, "name": "Rooms", "effective_value": "12"}]}

    assert (
        deployed(platform, with_property("1.0", "Rooms"), settings={HOTEL: values})["status"] == "finished_successful"
    )
    wrong = {"site_properties": [{"module_key": MODULE, "name": "Nothing", "effective_value": "12"}]}
    assert platform.deploy(with_property("2.0", "Rooms"), settings={HOTEL: wrong}).problem == "setting-unknown"
    assert deployed(platform, with_property("3.0", "Rooms"))["status"] == "finished_successful"


def test_modules_that_would_go_wait_for_a_confirmation(platform):
    deployed(platform, package("Hotel", "1.0", modules=[{"name": "Hotel"}, {"name": "Hotel_Old"}]))

    waiting = deployed(platform, TWO)
    assert [(one["kind"], one["names"]) for one in waiting["interventions"]] == [("module_removal", ["Hotel_Old"])]
    assert len(platform.application("Hotel")["modules"]) == 2
    platform.continue_deployment(waiting["id"], "needs_configuration_or_confirmation")
    assert platform.wait_for_deployment(waiting["id"])["status"] == "finished_successful"
    assert len(platform.application("Hotel")["modules"]) == 1


def test_a_module_that_moves_to_another_application_of_the_deployment_does_not_go(platform):
    rooms = {"name": "Rooms"}
    assert deployed(platform, package("Hotel", "1.0", modules=[{"name": "Hotel"}, rooms]))["status"].startswith("fin")
    moved = {**rooms, "key": str(module_key_of("Hotel", "Rooms"))}
    parts = package("Hotel", "2.0", modules=[{"name": "Hotel"}]), package("Reception", "1.0", modules=[moved])

    found = deployed(platform, *parts)

    assert (found["status"], found["interventions"]) == ("finished_successful", []), messages(found)


def test_running_processes_that_would_change_wait_for_a_confirmation(platform):
    def version(number, signature):
        return package(
            "Hotel", number, modules=[{"name": "Hotel", "processes": [{"name": "Stay", "signature": signature}]}]
        )

    deployed(platform, version("1.0", "a"))
    assert deployed(platform, version("1.1", "a"))["status"] == "finished_successful"
    waiting = deployed(platform, version("1.2", "b"))
    assert (waiting["information"], waiting["interventions"][0]["names"]) == ("business_process_impact", ["Stay"])
    platform.continue_deployment(waiting["id"], "business_process_impact")
    assert platform.wait_for_deployment(waiting["id"])["status"] == "finished_successful"
    assert deployed(platform, version("1.3", "c"), accept=["process_impact"])["status"] == "finished_successful"


def using(signature) -> bytes:
    element = {"name": "Book", "kind": "Action", "signature": signature}
    reference = {"module_key": MODULE, "module_name": "Hotel", "application_key": HOTEL, "application_name": "Hotel",
                 "elements": [element]}  # fmt: skip
    return package("Travel", "1.0", modules=[{"name": "Travel", "consumes": [reference]}])


def offering(version, signature) -> bytes:
    element = {"name": "Book", "kind": "Action", "signature": signature}
    return package("Hotel", version, modules=[{"name": "Hotel", "produces": [element]}])


def test_broken_references_wait_and_show_when_they_are_accepted(platform):
    waiting = deployed(platform, using("a"))
    assert waiting["interventions"][0]["kind"] == "broken_reference"
    assert "producer module is missing" in waiting["interventions"][0]["message"]
    platform.continue_deployment(waiting["id"], "needs_configuration_or_confirmation")
    done = platform.wait_for_deployment(waiting["id"])

    assert (done["status"], done["is_applied"]) == ("finished_with_errors", True)
    travel = platform.application("Travel")
    assert (travel["consistency"], "missing" in travel["consistency_message"]) == ("Error", True)
    assert deployed(platform, offering("1.0", "a"))["status"] == "finished_successful"
    assert platform.application("Travel")["consistency"] == ""
    waiting = deployed(platform, offering("2.0", "b"))
    assert "another signature" in waiting["interventions"][0]["message"]
    platform.abort_deployment(waiting["id"])
    assert platform.application("Travel")["consistency"] == ""


def test_producer_and_consumer_may_come_together(platform):
    assert deployed(platform, using("a"), offering("1.0", "a"))["status"] == "finished_successful"


def test_a_package_that_was_damaged_on_the_disk_is_noticed(platform):
    deployed(platform, ONE)
    before = snapshot(platform)
    platform.behave(step_seconds={"retrieving": 0.5})
    id_ = platform.deploy(TWO).json["id"]
    file = platform.data / "files" / "1" / "packages" / f"{digest_of(TWO).removeprefix('sha256:')}.zip"
    content = bytearray(file.read_bytes())
    content[60] ^= 1
    file.write_bytes(content)

    done = platform.wait_for_deployment(id_)

    assert (done["status"], "damaged" in done["reason"]) == ("aborted", True)
    assert snapshot(platform) == before


def test_a_full_disk_aborts_and_leaves_everything_as_it_was(platform):
    deployed(platform, ONE)
    before = snapshot(platform)
    big = package("Hotel", "3.0", web={"big.bin": random.Random(1).randbytes(500_000)})
    platform.upload(big)
    platform.behave(free_bytes=600_000)

    done = deployed(platform, big)

    assert (done["status"], "bytes are needed" in done["reason"]) == ("aborted", True)
    platform.behave()
    assert snapshot(platform) == before


def test_an_older_version_is_refused_but_a_rollback_is_not(platform):
    old = package("Hotel", "1.0")
    deployed(platform, package("Hotel", "2.0"))
    before = snapshot(platform)

    assert platform.deploy(old).problem == "downgrade"
    assert snapshot(platform) == before
    assert deployed(platform, package("Hotel", "1.0.1"))["status"] == "finished_successful"


def settings(platform, **changes) -> None:
    platform.call("PUT", "/settings", {**platform.call("GET", "/settings").json, **changes})


def test_only_as_many_as_the_settings_allow_and_no_two_with_a_common_module(platform):
    platform.behave(step_seconds={"retrieving": 30})
    first = platform.deploy(ONE).json["id"]
    assert platform.deploy(package("Other", "1.0")).problem == "deployment-busy"

    settings(platform, parallel_deployments=True, parallel_deployment_limit=2)
    busy = platform.deploy(TWO, label="#2")
    assert (busy.status, busy.problem, "Hotel is part of #1" in busy.json["detail"]) == (409, "module-busy", True)
    second = platform.deploy(package("Other", "1.0"))
    assert second.status == 201
    assert platform.deploy(package("Third", "1.0")).problem == "deployment-busy"
    platform.abort_deployment(first)
    assert platform.deploy(TWO).status == 201


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (package("back office", "1.0"), 409, "name-taken"),
        (package("Other", "1.0", modules=[{"name": "backoffice"}]), 409, "module-name-taken"),
        (package("Other", "1.0", application={"key": str(key_of("Other")), "name": "Other", "url_path": "BackOffice"}),
         409, "url-path-taken"),
    ],
)  # fmt: skip
def test_a_package_that_clashes_with_another_application_is_refused(platform, content, status, problem):
    before = snapshot(platform)
    reply = platform.deploy(content)

    assert (reply.status, reply.problem) == (status, problem)
    assert snapshot(platform) == before


def test_a_wrong_order_starts_nothing(platform):
    platform.upload(ONE)
    right = {"application_key": HOTEL, "package": digest_of(ONE)}
    order = {"id": str(uuid4()), "by": BY, "applications": [right]}

    def problem(**changes):
        return platform.call("POST", "/deployments", {**order, **changes}).problem

    assert problem(applications=[]) == "bad-body"
    assert problem(applications=[right, right]) == "bad-body"
    assert problem(applications=[{**right, "package": digest_of(TWO)}]) == "package-unknown"
    assert problem(applications=[{**right, "application_key": str(uuid4())}]) == "package-unknown"
    assert problem(applications=[{**right, "deployment_zone": "nowhere"}]) == "bad-body"
    assert problem(id="1") == "bad-body"
    assert problem(accept=["everything"]) == "bad-body"
    assert problem(redeploy=[str(uuid4())]) == "application-unknown"
    assert platform.call("GET", "/deployments").json == {"deployments": []}
    assert (
        platform.call("POST", f"/deployments/{uuid4()}/abort", {"reason": "", "by": BY}).problem == "deployment-unknown"
    )


def test_dependents_are_republished_on_demand(platform):
    deployed(platform, using("a"), offering("1.0", "a"))
    before = platform.application("Travel")
    key = before["key"]

    assert deployed(platform, offering("1.1", "a"), redeploy=[key])["status"] == "finished_successful"
    after = platform.application("Travel")
    assert after["changed_at"] > before["changed_at"]
    assert (after["version"], after["modules"]) == (before["version"], before["modules"])


def test_the_work_goes_on_when_the_contact_that_started_it_has_ended(platform):
    platform.behave(step_seconds={"generating": 0.5})
    platform.upload(ONE)
    order = {"id": str(uuid4()), "by": BY, "applications": [{"application_key": HOTEL, "package": digest_of(ONE)}]}
    platform.call("POST", "/deployments", order, contact=7)
    platform.call("DELETE", "/contacts/7", contact=7)

    assert platform.wait_for_deployment(order["id"])["status"] == "finished_successful"


def test_other_requests_are_answered_while_large_packages_are_worked_on(platform):
    noise = random.Random(1).randbytes(1024**2)
    content = package("Hotel", "1.0", web={f"part{number}.js": noise + bytes([number]) for number in range(24)})
    platform.upload(content)
    id_ = platform.deploy(content).json["id"]
    longest = 0.0
    while platform.deployment(id_)["status"] == "running":
        began = time.monotonic()
        platform.call("GET", "/digests")
        longest = max(longest, time.monotonic() - began)

    assert platform.deployment(id_)["status"] == "finished_successful"
    assert longest < 0.5


def test_a_hundred_applications_are_one_switch(platform):
    packages = [package(f"Hotel {number}", "1.0") for number in range(100)]
    cursor = platform.call("GET", "/applications").json["cursor"]

    done = deployed(platform, *packages)

    assert done["status"] == "finished_successful"
    page = platform.call("GET", f"/applications?since={cursor}").json
    assert len(page["applications"]) == 100
