"""Tagging: the rules of numbers, and what is said to which environment."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import connections
from django.urls import reverse
from django_q.models import OrmQ

from audit.models import AuditEvent
from environments import application_tasks, blocking, gate, maintenance, sync, tag_bases, tagging, tasks
from environments.application_tasks import TaskRefused
from environments.environment_api import VersionItem
from environments.models import (
    Application,
    ApplicationStatus,
    ApplicationTask,
    ApplicationVersion,
    Contact,
    ModuleStatus,
)
from environments.tagging import Wanted
from tests.environments.test_applications import AT, publish
from tests.environments.test_applications_details import give_module, url
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def platform(places):
    """One that other tests have not touched; the process is theirs, too."""
    return next(places)


@pytest.fixture
def development(platform):
    environment = create_environment(platform=platform, name="Development")
    run = sync.request(environment, by=actor())
    sync.run([run.pk])
    return environment


@pytest.fixture
def application(development):
    """Changed since it was tagged as 2.11.0."""
    return Application.objects.get(name="Back Office")


def tag(environment, application, version="3.0", **wanted):
    return tagging.request(environment, application, Wanted(version=version, **wanted), by=actor())


def work(task):
    tasks.work_on_application(task.pk)
    task.refresh_from_db()
    return task


def posts(platform):
    return [line for line in platform.log() if line["method"] == "POST"]


def test_no_environment_takes_a_version_from_another_application(development, application):
    other = publish(development, name="Hotel")
    theirs = ApplicationVersion.objects.create(key=uuid4(), application=other, version="1.0")
    told = {"key": theirs.key, "version": "9.9", "created_at": AT, "modules": []}
    task = tagging.request_versions(development, application, by=actor())

    tagging._store_versions(task, [VersionItem.model_validate(told)])

    theirs.refresh_from_db()
    assert (theirs.application, theirs.version) == (other, "1.0")


def test_whoever_has_a_long_name_tags_like_others(development, application):
    by = actor("Ada " + "Lovelace" * 20)

    task = work(tagging.request(development, application, Wanted(version="3.0"), by=by))

    assert (task.status, task.message) == ("finished", "")
    assert by.name.startswith(ApplicationVersion.objects.get(key=task.key).created_by)


def test_a_tag_reaches_its_environment_and_is_known_at_once(platform, development, application):
    assert ApplicationStatus.objects.get(application=application).is_modified

    task = work(tag(development, application, change_log="Faster search."))

    assert (task.status, task.message) == ("finished", "")
    version = ApplicationVersion.objects.get(key=task.key)
    assert (version.version, version.change_log, version.created_in) == ("3.0", "Faster search.", development)
    assert version.created_by == "Ada Lovelace"
    assert version.modules.count() == application.modules.count() > 0
    status = ApplicationStatus.objects.get(application=application)
    assert (status.version, status.version_key, status.is_modified) == ("3.0", version.key, False)
    assert not ModuleStatus.objects.filter(module__application=application, is_modified=True).exists()
    [line] = posts(platform)
    assert (line["status"], line["path"]) == (201, f"/applications/{application.key}/versions")
    assert Contact.objects.get(pk=line["contact"]).purpose == "tag"
    messages = list(AuditEvent.objects.order_by("number").values_list("message", flat=True))[-2:]
    assert messages == [
        "Requested tagging of application 'Back Office' in environment 'Development' as 3.0",
        "Tagged application 'Back Office' in environment 'Development' as 3.0",
    ]
    run = sync.request(development, by=actor())
    sync.run([run.pk])
    status.refresh_from_db()
    assert (status.version, status.is_modified) == ("3.0", False)


def test_a_task_that_is_delivered_twice_is_carried_out_once(platform, development, application):
    task = tag(development, application)
    work(task)
    work(task)
    assert len(posts(platform)) == 1
    assert AuditEvent.objects.filter(message__startswith="Tagged").count() == 1


def in_threads(function, count):
    def run(_):
        try:
            return function()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_a_task_that_workers_get_at_the_same_time_is_carried_out_once(platform, development, application):
    platform.behave(delay_seconds=0.3, paths=[f"/applications/{application.key}/versions"])
    task = tag(development, application)
    in_threads(lambda: tasks.work_on_application(task.pk), 3)
    assert [line["status"] for line in posts(platform)] == [201]
    task.refresh_from_db()
    assert task.status == "finished"


def test_what_was_given_up_meanwhile_is_not_stored(platform, development, application):
    task = tag(development, application)
    claimed = application_tasks.claim(task.pk)
    ApplicationTask.objects.filter(pk=task.pk).update(started_at=AT)
    application_tasks.recover()

    application_tasks.run(tagging.TAG, claimed)

    task.refresh_from_db()
    assert task.status == "failed"
    assert not ApplicationVersion.objects.filter(version="3.0").exists()
    run = sync.request(development, by=actor())  # the environment has it all the same, and says so
    sync.run([run.pk])
    assert ApplicationVersion.objects.filter(version="3.0").exists()


def test_a_task_that_was_heard_but_not_answered_is_safe_to_ask_again(platform, development, application):
    task = tag(development, application)
    work(task)
    ApplicationTask.objects.filter(pk=task.pk).update(status="queued", ended_at=None)
    assert work(task).status == "finished"
    assert [line["status"] for line in posts(platform)] == [201, 200]
    assert ApplicationVersion.objects.filter(version="3.0").count() == 1


def test_numbers_that_are_used_backwards_or_none_are_refused(platform, development, application):
    for version, words in [
        ("2.11.0", "used 2.11.0 already"),
        ("2.11", "2.11.0 is the same number"),
        ("2.10.9", "do not go backwards"),
        ("3.0.0.0", "one to three numbers"),
        ("1000", "one to three numbers"),
        ("", "one to three numbers"),
    ]:
        with pytest.raises(ValidationError, match=words) as refusal:
            tag(development, application, version)
        assert list(refusal.value.message_dict) == ["version"]
    assert not ApplicationTask.objects.exists()
    assert posts(platform) == []


def test_a_number_is_new_in_the_whole_infrastructure_and_given_once(development, application):
    production = create_environment(name="Production")
    ApplicationStatus.objects.create(environment=production, application=application, version="2.12", changed_at=AT)
    with pytest.raises(ValidationError, match=r"used 2\.12 already"):
        tag(development, application, "2.12")
    give_module(application, production, "Another")
    tag(production, application, "2.13")
    with pytest.raises(ValidationError, match=r"used 2\.13 already"):
        tag(development, application, "2.13")
    with pytest.raises(TaskRefused, match=r"is tagging Back Office in Production as 2\.13 right now"):
        tag(production, application, "2.14")


def test_people_who_tag_at_once_do_not_get_the_same_number(development, application):
    def try_it():
        try:
            return tag(development, application).pk
        except (ValidationError, TaskRefused):
            return None

    made = [one for one in in_threads(try_it, 4) if one]

    assert len(made) == 1
    assert ApplicationTask.objects.count() == 1


def test_an_application_without_modules_cannot_be_tagged():
    environment = create_environment()
    application = publish(environment)
    with pytest.raises(TaskRefused, match="without modules cannot be tagged"):
        tag(environment, application)
    assert "without modules" in tagging.propose(environment, application).problem


def test_mobile_numbers_rise_for_each_platform(development):
    application = Application.objects.get(name="Field Service")
    ApplicationVersion.objects.create(
        key=uuid4(),
        application=application,
        version="1.8",
        created_at=AT,
        mobile_versions=[{"platform": "iOS", "version": "1.10", "description": ""}],
    )
    assert tagging.propose(development, application).mobile == {"Android": "", "iOS": "1.10"}
    with pytest.raises(ValidationError, match=r"the highest is 1\.10") as refusal:
        tag(development, application, mobile_versions=[{"platform": "iOS", "version": "1.9"}])
    assert list(refusal.value.message_dict) == ["ios_version"]

    task = work(tag(development, application, mobile_versions=[{"platform": "iOS", "version": "1.11"}]))

    assert task.status == "finished", task.message
    told = ApplicationVersion.objects.get(key=task.key).mobile_versions
    assert [(one["platform"], one["version"]) for one in told] == [("iOS", "1.11")]
    with pytest.raises(ValidationError, match="no mobile application"):
        tag(
            development,
            Application.objects.get(name="Back Office"),
            mobile_versions=[{"platform": "iOS", "version": "9"}],
        )


def test_a_refusal_of_the_environment_is_said_and_changes_nothing(platform, development, application):
    platform.behave(fail="status:503", paths=[f"/applications/{application.key}/versions"])
    before = list(ApplicationStatus.objects.order_by("pk").values())

    task = work(tag(development, application))

    assert task.status == "failed"
    assert "answered 503" in task.message
    assert list(ApplicationStatus.objects.order_by("pk").values()) == before
    assert not ApplicationVersion.objects.filter(version="3.0").exists()
    event = AuditEvent.objects.order_by("number").last()
    assert event.message.startswith("Did not tag application 'Back Office' in environment 'Development' as 3.0:")
    assert not event.succeeded
    platform.behave()
    assert work(tag(development, application)).status == "finished"


def test_maintenance_mode_refuses_a_request_and_aborts_what_is_queued(platform, development, application):
    task = tag(development, application)
    window = maintenance.enable(development, by=actor("Grace Hopper"), reason="Upgrade to 11.29")

    work(task)

    assert task.status == "aborted"
    assert "Grace Hopper enabled it: “Upgrade to 11.29”" in task.message
    with pytest.raises(gate.InMaintenance, match="Tagging applications is disabled"):
        tag(development, application, "4.0")
    assert posts(platform) == []
    assert not Contact.objects.filter(opened_at__gt=window.enabled_at).exists()
    assert ApplicationTask.objects.count() == 1


def test_maintenance_mode_cuts_a_tag_that_is_being_made(platform, development, application):
    platform.behave(delay_seconds=20, paths=[f"/applications/{application.key}/versions"])
    task = tag(development, application)

    def carry_out():
        try:
            tasks.work_on_application(task.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(carry_out)
        platform.wait_until_serving(1)
        window = maintenance.enable(development, by=actor("Grace Hopper"), reason="Upgrade to 11.29")
        running.result(timeout=15)

    task.refresh_from_db()
    assert task.status == "aborted"
    assert "Grace Hopper" in task.message
    window.refresh_from_db()
    assert window.status == "in_force"
    assert Contact.objects.get(purpose="tag").outcome == "aborted"
    assert not ApplicationVersion.objects.filter(version="3.0").exists()


def test_a_bystander_in_maintenance_does_not_matter(platform, development, application):
    bystander = create_environment(name="Test")
    ApplicationStatus.objects.create(environment=bystander, application=application, version="2.0", changed_at=AT)
    maintenance.enable(bystander, by=actor(), reason="Upgrade")

    assert work(tag(development, application)).status == "finished"
    assert not Contact.objects.filter(environment=bystander).exists()


def test_what_a_dead_worker_left_is_ended_and_what_was_forgotten_is_queued_again(development, application):
    dead, forgotten = tag(development, application), None
    ApplicationTask.objects.filter(pk=dead.pk).update(status="running", started_at=AT)
    other = Application.objects.get(name="Order Service")
    forgotten = tag(development, other, "9.0")
    ApplicationTask.objects.filter(pk=forgotten.pk).update(requested_at=AT)
    messages = OrmQ.objects.count()

    application_tasks.recover()

    dead.refresh_from_db()
    assert dead.status == "failed"
    assert "stopped answering" in dead.message
    assert OrmQ.objects.count() == messages + 1
    ApplicationTask.objects.filter(pk=dead.pk).update(ended_at=AT)
    application_tasks.prune()
    assert ApplicationTask.objects.count() in {1, 2}


def test_versions_that_others_tagged_are_known_by_number_then_read(platform, development, application):
    assert not application.versions.get(version="2.11.0").is_known

    work(tagging.request_versions(development, application, by=actor()))

    version = application.versions.get(version="2.11.0")
    assert version.is_known
    assert version.modules.exists()


def test_publishing_directly_ends_a_block(platform, development):
    created = platform.publish(name="Brand New")
    application = Application.objects.create(key=created["key"], name="Brand New", kind="Service", changed_at=AT)
    found = blocking.block(development, application, by=actor(), reason="Not released yet")
    run = sync.request(development, by=actor())
    sync.run([run.pk])
    found.refresh_from_db()
    assert (found.unblocked_by, found.unblock_reason) == ("System", "Published there directly.")
    messages = AuditEvent.objects.filter(object_key=str(application.key)).values_list("message", flat=True)
    assert any("though it was blocked" in message for message in messages)


def test_the_form_suggests_a_number_tells_what_is_wrong_and_says_what_happens(
    client, platform, development, application
):
    client.force_login(create_user(name="Ada Lovelace"))
    dialog = client.get(url("tag-dialog", application, development), headers={"HX-Request": "true"})
    assert 'value="2.11.1"' in dialog.content.decode()
    assert "based on 2.11.0 and was changed since" in dialog.content.decode()

    refused = client.post(url("tag", application, development), {"version": "2.11"})
    assert refused.status_code == 422
    assert "2.11.0 is the same number" in refused.content.decode()
    assert not ApplicationTask.objects.exists()

    assert client.post(url("tag", application, development), {"version": "2.11.1"}).status_code == 302
    task = ApplicationTask.objects.get()
    again = client.post(url("tag", application, development), {"version": "2.11.2"})
    assert again.status_code == 422
    assert "right now" in again.content.decode()
    text = client.get(reverse("applications:places", args=[application.key])).content.decode()
    assert "Tagging a version 2.11.1: queued" in text
    work(task)
    text = client.get(application.get_absolute_url()).content.decode()
    assert "Tagging a version 2.11.1: done" in text
    assert client.get(reverse("applications:versions", args=[application.key])).status_code == 200


@pytest.fixture
def two(platform, development):
    """A web application of two modules, tagged as 0.1, 0.2 and 0.3, changed since."""
    for number in ("0.1", "0.2", "0.3", ""):
        modules = [{"name": name, "description": f"of {number or 'now'}"} for name in ("TwoLogic", "TwoUi")]
        published = platform.publish(name="Two Modules", kind="WebResponsive", modules=modules)
        if number:
            assert platform.tag(published["key"], number).status == 201
    run = sync.request(development, by=actor())
    sync.run([run.pk])
    found = Application.objects.get(name="Two Modules")
    work(tagging.request_versions(development, found, by=actor()))
    return found


def test_a_tag_of_an_older_version_leaves_the_application_as_it_is(platform, development, two):
    base = two.versions.get(version="0.2")
    before = list(ApplicationStatus.objects.filter(application=two).values())
    modules = list(ModuleStatus.objects.filter(module__application=two).order_by("pk").values())
    proposal = tagging.propose(development, two, base=str(base.key))
    assert (proposal.suggestion, proposal.base) == ("0.2.1", base)

    task = work(tag(development, two, proposal.suggestion, base_version_key=base.key))

    assert (task.status, task.message) == ("finished", "")
    version = ApplicationVersion.objects.get(key=task.key)
    assert (version.version, version.based_on) == ("0.2.1", base.key)
    assert set(version.modules.values_list("version_key")) == set(base.modules.values_list("version_key"))
    assert before[0]["is_modified"]
    assert list(ApplicationStatus.objects.filter(application=two).values()) == before
    assert list(ModuleStatus.objects.filter(module__application=two).order_by("pk").values()) == modules
    assert AuditEvent.objects.filter(
        message="Tagged application 'Two Modules' in environment 'Development' as 0.2.1, based on 0.2"
    ).exists()
    assert tagging.propose(development, two, base=str(base.key)).suggestion == "0.2.2"


def test_single_modules_are_picked_from_other_versions(platform, development, two):
    base, other = two.versions.get(version="0.1"), two.versions.get(version="0.3")
    logic = other.modules.get(name="TwoLogic")
    choices = {one.name: one for one in tagging.propose(development, two, base=str(base.key)).modules}
    assert [label for _, label in choices["TwoLogic"].versions] == ["as it is now", "as in 0.3", "as in 0.2"]

    task = work(
        tag(
            development,
            two,
            "0.1.1",
            base_version_key=base.key,
            module_picks={str(logic.module_key): str(logic.version_key)},
        )
    )

    assert (task.status, task.message) == ("finished", "")
    made = dict(ApplicationVersion.objects.get(key=task.key).modules.values_list("name", "version_key"))
    assert made == {"TwoLogic": logic.version_key, "TwoUi": base.modules.get(name="TwoUi").version_key}
    assert ApplicationStatus.objects.get(application=two).version == "0.3"


def test_bases_and_picks_that_cannot_be_are_refused(platform, development, two, application):
    base = two.versions.get(version="0.2")
    for wanted, words in [
        ({"base_version_key": uuid4()}, "knows no such version"),
        ({"base_version_key": application.versions.get().key}, "knows no such version"),
        ({"base_version_key": base.key, "module_picks": {str(uuid4()): str(uuid4())}}, "No version of Two Modules"),
        ({"module_picks": {"x": "y"}}, "named by no key"),
    ]:
        with pytest.raises(ValidationError, match=words):
            tag(development, two, "0.2.1", **wanted)
    with pytest.raises(ValidationError, match=r"do not go backwards: the base is 0\.2, so"):
        tag(development, two, "0.1.5", base_version_key=base.key)
    with pytest.raises(ValidationError, match="web applications only"):
        tag(development, Application.objects.get(name="Field Service"), "99", module_picks={"x": "y"})
    assert not ApplicationTask.objects.filter(kind="tag").exists()


def test_a_version_that_the_environment_never_had_is_said_by_it(platform, development, two):
    elsewhere = ApplicationVersion.objects.create(key=uuid4(), application=two, version="0.2.5", created_at=AT)
    task = work(tag(development, two, "0.2.6", base_version_key=elsewhere.key))
    assert task.status == "failed"
    assert "Two Modules has no version" in task.message
    assert not two.versions.filter(version="0.2.6").exists()


def test_another_base_brings_another_number_and_its_modules_to_the_form(client, development, two):
    client.force_login(create_user(name="Ada Lovelace"))
    base = two.versions.get(version="0.2")
    path = url("tag-dialog", two, development)
    htmx = {"HX-Request": "true"}
    first = client.get(path, headers=htmx).content.decode()
    assert 'value="0.4"' in first
    assert "Not picked: as it is now" in first
    other = client.get(path, {"base_version": str(base.key)}, headers=htmx).content.decode()
    assert 'value="0.2.1"' in other
    assert "It will have the content of 0.2, while 0.3 with its changes stays in Development" in other
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tag_bases, "PICKABLE", 1)
        assert "too many modules to pick" in client.get(path, headers=htmx).content.decode()
    nonsense = client.get(path, {"base_version": "nonsense"}, headers=htmx).content.decode()
    assert 'value="0.4"' in nonsense

    logic = two.versions.get(version="0.1").modules.get(name="TwoLogic")
    pick = f"pick-{logic.module_key}"
    data = {"version": "0.2.1", "base_version": str(base.key), pick: str(logic.version_key)}
    refused = client.post(url("tag", two, development), {**data, pick: str(uuid4())})
    assert refused.status_code == 422
    assert '<details class="disclosure" open>' in refused.content.decode()
    assert client.post(url("tag", two, development), {**data, "base_version": str(uuid4())}).status_code == 422
    assert not ApplicationTask.objects.filter(kind="tag").exists()

    assert client.post(url("tag", two, development), data).status_code == 302
    parameters = ApplicationTask.objects.get(kind="tag").parameters
    assert parameters["base_version_key"] == str(base.key)
    assert parameters["modules"] == [{"module_key": str(logic.module_key), "version_key": str(logic.version_key)}]
