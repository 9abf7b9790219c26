"""Security settings of an application's own: reading, changing, what the environment then does, and refusals."""

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.exceptions import ValidationError
from django.db import connections
from django.urls import reverse

from audit.models import AuditEvent
from environments import application_security, gate, maintenance, sync, tasks
from environments.application_security import OFF, OWN
from environments.application_tasks import TaskRefused
from environments.models import Application, ApplicationSecurity, ApplicationTask
from tests.factories import actor, create_environment, create_user
from tests.lifetime.factories import create_application

pytestmark = pytest.mark.django_db(transaction=True)
INHERITED = {"force_https_screens": None, "content_security_policy": None}
OWN_FORM = {
    "force_https": "on",
    "policy": OWN,
    "base-uri": "'self'",
    "child-src": "'self'",
    "connect-src": "'self'",
    "default-src": "'self'",
    "font-src": "'self'\r\ndata:",
    "img-src": "'self'\r\ndata:\r\nhttps://cdn.example.com",
    "script-src": "'self'",
    "style-src": "'self'",
    "frame-ancestors": "'self'",
    "other": "worker-src 'self' blob:",
}


@pytest.fixture
def development(platform):
    environment = create_environment(platform=platform, name="Development")
    sync.run([sync.request(environment, by=actor()).pk])
    return environment


@pytest.fixture
def application(development):
    return Application.objects.get(name="Back Office")


def work(task):
    tasks.work_on_application(task.pk)
    task.refresh_from_db()
    return task


@pytest.fixture
def found(development, application):
    task = work(application_security.request_reading(development, application, by=actor()))
    assert (task.status, task.message) == ("finished", "")
    return ApplicationSecurity.objects.get()


def policy(**directives):
    required = {name: list(values) for name, values in application_security.security.REQUIRED.items() if values}
    return application_security.wanted(
        force_https=True,
        policy=OWN,
        directives={**required, **{name.replace("_", "-"): values for name, values in directives.items()}},
    )


def change(development, application, found, after):
    return application_security.request_change(development, application, after, by=actor(), digest=found.digest)


def page_of(platform, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=10)
    connection.request("GET", "/BackOffice/", headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_a_policy_of_its_own_reaches_the_pages_of_the_application(platform, development, application, found):
    assert found.document == INHERITED
    after = policy(img_src=["'self'", "data:", "https://cdn.example.com"])

    task = work(change(development, application, found, after))

    assert (task.status, task.message) == ("finished", "")
    found.refresh_from_db()
    assert found.document == after
    assert "img-src 'self' data: https://cdn.example.com" in page_of(platform).headers["Content-Security-Policy"]
    assert page_of(platform, **{"X-Forwarded-Proto": "http"}).status == 307
    where = "of application 'Back Office' in environment 'Development'"
    messages = list(AuditEvent.objects.order_by("number").values_list("message", flat=True))
    start = messages.index(f"Requested a change of security settings {where}")
    assert messages[start + 1] == f"Changed Force HTTPS for screens {where} from as the environment to on"
    assert messages[start + 2] == f"Changed Content Security Policy {where} from as the environment to its own"
    assert f"Changed Content Security Policy script-src {where} from “” to “'self'”" in messages
    assert len(messages[start + 1 :]) == 2 + len(after["content_security_policy"]["directives"])

    task = work(change(development, application, found, INHERITED))
    assert task.status == "finished"
    assert page_of(platform).headers["Content-Security-Policy"] is None


def test_what_was_changed_meanwhile_is_not_overwritten(platform, development, application, found):
    with pytest.raises(TaskRefused, match="changed since you opened"):
        application_security.request_change(development, application, policy(), by=actor(), digest="sha256:old")
    other = {**INHERITED, "force_https_screens": False}
    path = f"/applications/{application.key}/security"
    platform.call("PUT", path, other)

    task = work(change(development, application, found, policy()))

    assert task.status == "failed"
    assert "Somebody else changed them meanwhile" in task.message
    assert platform.call("GET", path).json == other
    assert not AuditEvent.objects.order_by("number").last().succeeded


@pytest.fixture
def careless():
    """An environment that sends no ETag, and answers each change well without making it."""

    class Handler(BaseHTTPRequestHandler):
        document = INHERITED

        def do_GET(self):
            self.tell(self.document)

        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.tell({"digest": "sha256:x"})

        def tell(self, answer):
            body = json.dumps(answer).encode()
            self.send_response_only(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        Handler.environment = create_environment(address=f"http://127.0.0.1:{server.server_port}")
        yield Handler
        server.shutdown()
        thread.join()


def read_again(environment, application):
    task = work(application_security.request_reading(environment, application, by=actor()))
    assert (task.status, task.message) == ("finished", "")
    return ApplicationSecurity.objects.get()


def test_a_change_that_the_environment_took_and_did_not_make_has_failed(careless):
    application = create_application("Back Office")
    found = read_again(careless.environment, application)

    task = work(change(careless.environment, application, found, policy()))

    assert task.status == "failed"
    assert "took the change but has Force HTTPS for screens as the environment" in task.message
    found.refresh_from_db()
    assert found.document == INHERITED
    last = AuditEvent.objects.order_by("number").last()
    assert (last.succeeded, last.message) == (
        False,
        f"Did not change security settings of application 'Back Office' in environment '{careless.environment}': "
        + task.message,
    )


@pytest.mark.parametrize("name", ["\x00", "a" * 5000], ids=["zero", "long"])
def test_odd_names_of_directives_are_that_readings_trouble(careless, name):
    careless.document = {**INHERITED, "content_security_policy": {"enabled": True, "directives": {name: []}}}

    task = work(application_security.request_reading(careless.environment, create_application(), by=actor()))

    assert task.status == "failed"
    assert "GET security of the application is not of the agreed shape" in task.message
    assert task.message.isprintable()
    assert len(task.message) < 300


def test_an_older_page_changes_nothing_in_an_environment_without_etags_either(careless):
    application = create_application("Back Office")
    shown = read_again(careless.environment, application)
    careless.document = {**INHERITED, "force_https_screens": False}
    assert read_again(careless.environment, application).document == careless.document

    with pytest.raises(TaskRefused, match="changed since you opened"):
        change(careless.environment, application, shown, policy())


def test_nothing_that_differs_is_no_task_and_two_at_once_are_one(development, application, found):
    assert change(development, application, found, INHERITED) is None
    change(development, application, found, policy())
    with pytest.raises(TaskRefused, match="right now"):
        change(development, application, found, policy(img_src=["'self'", "data:", "https://b.example"]))
    assert ApplicationTask.objects.filter(kind="change_security").count() == 1


@pytest.mark.parametrize(
    ("directives", "words"),
    [
        ({"img_src": ["'self'", "data:", "a; script-src *"]}, "another directive"),
        ({"img_src": ["'self'", "data:", "a\nb"]}, "control character"),
        ({"img_src": ["https://cdn.example.com"]}, "img-src keeps 'self' and data:"),
        ({"img_src": ["'self'", "data:", "https://é.example"]}, "not ASCII"),
    ],
    ids=["directive", "line", "required", "ascii"],
)
def test_a_policy_is_cleaned_as_that_of_an_environment(directives, words):
    with pytest.raises(ValidationError, match=words):
        policy(**directives)
    assert application_security.wanted(force_https=None, policy="", directives={"img-src": [";"]}) == INHERITED
    off = application_security.wanted(force_https=False, policy=OFF, directives={"img-src": [";"]})
    assert off["content_security_policy"] == {"enabled": False, "directives": {}}


def test_maintenance_mode_refuses_it_and_aborts_what_is_queued(platform, development, application, found):
    task = change(development, application, found, policy())
    maintenance.enable(development, by=actor("Grace Hopper"), reason="Upgrade to 11.29")
    before = len(platform.log())

    work(task)

    assert task.status == "aborted"
    assert "Grace Hopper enabled it" in task.message
    for ask in (
        lambda: change(development, application, found, policy(img_src=["'self'", "data:"])),
        lambda: application_security.request_reading(development, application, by=actor()),
    ):
        with pytest.raises(gate.InMaintenance, match="Changing application settings is disabled"):
            ask()
    assert len(platform.log()) == before


def test_maintenance_mode_cuts_a_change_that_is_being_made(platform, development, application, found):
    platform.behave(delay_seconds=20, paths=[f"/applications/{application.key}/security"])
    task = change(development, application, found, policy())

    def carry_out():
        try:
            tasks.work_on_application(task.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(carry_out)
        platform.wait_until_serving(1)
        maintenance.enable(development, by=actor("Grace Hopper"), reason="Upgrade to 11.29")
        running.result(timeout=15)

    task.refresh_from_db()
    assert task.status == "aborted"
    found.refresh_from_db()
    assert found.document == INHERITED


def test_the_page_reads_changes_and_says_what_is_wrong(client, platform, development, application):
    client.force_login(create_user(name="Ada Lovelace"))
    at = [application.key, development.key]
    page = reverse("applications:security", args=at)
    assert "not read yet" in client.get(page).content.decode()
    assert client.post(reverse("applications:change-security", args=at), OWN_FORM).status_code == 302
    assert client.post(reverse("applications:read-security", args=at)).status_code == 302
    assert "every 1s" in client.get(page, headers={"HX-Request": "true"}).content.decode()
    work(ApplicationTask.objects.get(kind="read_security"))
    assert "HX-Refresh" in client.get(page, headers={"HX-Request": "true"}).headers
    text = client.get(page).content.decode()
    assert "As Development has it: off" in text
    digest = ApplicationSecurity.objects.get().digest
    save = reverse("applications:change-security", args=at)

    for wrong, words in [
        ({"img-src": "'self'\r\ndata:\r\na; b"}, "another directive"),
        ({"img-src": ""}, "img-src keeps"),
        ({"other": "Script-src x"}, "no name of a directive"),
        ({"policy": "nonsense"}, "Select a valid choice"),
        ({"digest": "sha256:old"}, "changed since you opened"),
    ]:
        refused = client.post(save, {**OWN_FORM, "digest": digest, **wrong})
        assert refused.status_code == 422
        assert words in refused.content.decode()
    assert client.post(save, {"digest": digest}).status_code == 302  # nothing differs
    assert not ApplicationTask.objects.filter(kind="change_security").exists()

    assert client.post(save, {**OWN_FORM, "digest": digest}).status_code == 302
    work(ApplicationTask.objects.get(kind="change_security"))
    assert "worker-src 'self' blob:" in page_of(platform).headers["Content-Security-Policy"]
    assert "worker-src &#x27;self&#x27; blob:" in client.get(page).content.decode()
    assert "Changing the security settings: done" in client.get(application.get_absolute_url()).content.decode()
