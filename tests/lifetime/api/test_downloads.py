"""Packages, source code and solutions: asked for, brought by a worker from a real platform, fetched by a link."""

import io
import json
import zipfile
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from deployments import packages
from environments import gate, maintenance
from environments.models import Application, ApplicationVersion
from lifetime.api import fetching, tasks
from lifetime.models import Download, DownloadPart, Level, RoleLevel
from tests.factories import actor, create_environment
from tests.lifetime.api.conftest import create_caller, refused, working
from tests.lifetime.api.test_applications import publish, tag
from tests.lifetime.api.test_deployments import zipped
from tests.lifetime.factories import create_application, create_role
from tests.platforms import package

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def caller(development):
    return create_caller()


@pytest.fixture
def application(development):
    return Application.objects.get(name="Back Office")


@pytest.fixture
def version(caller, development, application):
    """A version that the environment has a package of."""
    with working():
        key = tag(caller, development, application, version="3.0").json()["ApplicationVersionKey"]
    return ApplicationVersion.objects.get(key=key)


def fetch(caller, url, **options):
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}" == "http://testserver"
    return caller.get(f"{parts.path}?{parts.query}", token=caller.secret, **options)


def body(response):
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def test_a_package_is_fetched_by_a_signed_link_with_the_bare_token(caller, application, version, platform, settings):
    path = f"applications/{application.key}/versions/{version.key}/content"
    with working():
        response = caller.get(path)
    assert response.status_code == 200
    assert set(response.json()) == {"url", "expires"}
    assert response.headers["Expires"].endswith("GMT")
    url = response.json()["url"]

    file = fetch(caller, url)
    content = body(file)
    assert int(file.headers["Content-Length"]) == len(content)
    assert file.headers["ETag"].strip('"') == version.package_digest
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(content)).read("manifest.json"))
    assert manifest["version"]["key"] == str(version.key)
    assert file.headers["Content-Disposition"].endswith("Back%20Office%203.0.oap")
    assert AuditEvent.objects.filter(message__startswith="Requested application package 'Back Office 3.0.oap'").exists()

    asked = len(platform.log())
    assert caller.get(path).status_code == 200  # nobody works, and nobody is asked: it is there already
    assert len(platform.log()) == asked
    refused(create_caller(username="other").get(urlsplit(url).path + "?" + urlsplit(url).query), 403, "no link")
    refused(caller.get(urlsplit(url).path), 403, "no link")
    refused(caller.get(f"downloads/{uuid4()}?{urlsplit(url).query}"), 403)
    settings.API_LINK_MINUTES = -1
    refused(fetch(caller, url), 403, "expired")
    settings.API_LINK_MINUTES = 60
    DownloadPart.objects.all().delete()
    refused(fetch(caller, url), 404, "new link")
    with working():
        assert body(fetch(caller, caller.get(path).json()["url"])) == content


def test_a_package_is_not_read_from_an_environment_in_maintenance(caller, application, version, development):
    maintenance.enable(development, by=actor(), reason="Upgrade")

    told = refused(caller.get(f"applications/{application.key}/versions/{version.key}/content"), 400, "Upgrade")
    assert told["Maintenance"][0]["EnvironmentName"] == "Development"
    assert not Download.objects.exists()


def test_the_content_of_an_environment_is_that_of_its_version(caller, application, version, development):
    path = f"environments/{development.key}/applications/{application.key}/content"
    with working():
        first = caller.get(path)
    assert first.status_code == 200
    assert caller.get(f"{path}/?Type=apk").status_code == 204
    refused(caller.get(f"{path}/?Type=exe"), 400, "oap, apk, aab, ipa")


def test_a_damaged_package_is_not_given_out(caller, application, version, platform):
    platform.behave(fail="corrupt", paths=[f"/applications/{application.key}/versions/{version.key}/package"])
    with working():
        refused(caller.get(f"applications/{application.key}/versions/{version.key}/content"), 500, "damaged")
    assert not DownloadPart.objects.exists()


def test_reading_code_needs_the_level_that_opens_it(development, application):
    reader = create_caller(create_role(level=Level.MONITOR), "reader")
    version = application.statuses.get().version_key
    path = f"environments/{development.key}"

    refused(reader.get(f"applications/{application.key}/versions/{version}/content"), 403, "Open and Debug")
    refused(reader.post(f"{path}/applications/{application.key}/sourcecodeaccess"), 403, "Open and Debug")
    wanted = {"SolutionName": "S", "ApplicationKeys": [str(application.key)]}
    refused(reader.post(f"{path}/solution", wanted), 403, "Open and Debug")
    assert not Download.objects.exists()


def test_a_package_that_only_an_unseen_environment_has_is_none(development, application):
    seen = create_environment(name="Seen")
    role = create_role(level=Level.OPEN, environment=seen)
    RoleLevel.objects.create(role=role, environment=development, level=Level.ACCESS)
    application.statuses.create(environment=seen, changed_at=timezone.now())
    version = application.statuses.get(environment=development).version_key

    answer = create_caller(role, "blind").get(f"applications/{application.key}/versions/{version}/content")

    assert answer.status_code == 204  # and no refusal that would name Development


def test_what_was_asked_for_is_given_out_only_while_the_role_still_opens_it(development, application, version):
    role = create_role(level=Level.OPEN)
    developer = create_caller(role, "developer")
    path = f"environments/{development.key}/applications/{application.key}"
    content = f"applications/{application.key}/versions/{version.key}/content"
    with working():
        url = developer.get(content).json()["url"]
    key = developer.post(f"{path}/sourcecodeaccess").json()["PackageKey"]
    fetching.carry_out(Download.objects.get(key=key).pk)
    source = f"{path}/sourcecodeaccess/{key}"
    source_url = developer.get(f"{source}/download").json()["url"]
    body(fetch(developer, url))
    RoleLevel.objects.filter(role=role).update(level=Level.MONITOR)

    for response in (fetch(developer, url), fetch(developer, source_url), developer.get(f"{source}/download")):
        refused(response, 403, "Open and Debug")
    refused(developer.get(content), 403, "Open and Debug")


def test_an_account_waits_for_so_many_files_at_once(caller, application, version, development, monkeypatch):
    monkeypatch.setattr(fetching, "MOST_UNDER_WAY", 2)
    path = f"environments/{development.key}/applications/{application.key}/sourcecodeaccess"
    keys = [caller.post(path).json()["PackageKey"] for _ in range(2)]

    refused(caller.post(path), 400, "waits for 2 files")
    assert create_caller(username="other").post(path).status_code == 201
    fetching.carry_out(Download.objects.get(key=keys[0]).pk)
    assert caller.post(path).status_code == 201


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (package(raw={"web/../../evil": b"x"}), "leads out"),
        (zipped(**{"manifest.json": b" " * 3_000_000}), "times its size"),
        (zipped(readme="x"), "neither"),
        (package(raw={"web/bomb": bytes(3_000_000)}), "times its size"),
    ],
    ids=["path", "manifest", "nothing", "bomb"],
)
def test_a_package_of_an_environment_is_unpacked_no_more_trustingly_than_an_uploaded_one(content, words):
    with pytest.raises(gate.Refused, match=words):
        fetching._unpack_modules(io.BytesIO(content), io.BytesIO(), "")


def test_no_module_leads_out_of_the_zip_file_by_its_name():
    made = io.BytesIO()

    fetching._unpack_modules(io.BytesIO(package(modules=[{"name": "../..\\evil"}])), made, "")

    outer = zipfile.ZipFile(made)
    [name] = outer.namelist()
    inner = zipfile.ZipFile(io.BytesIO(outer.read(name)))
    assert not [one for one in (name, *inner.namelist()) if one.startswith((".", "/")) or "\\" in one or "/.." in one]


def test_a_package_that_is_too_large_is_not_brought(caller, application, version, monkeypatch):
    monkeypatch.setattr(packages, "LARGEST", 100)
    with working():
        refused(caller.get(f"applications/{application.key}/versions/{version.key}/content"), 500, "than 100 bytes")
    assert not DownloadPart.objects.exists()


def test_source_code_is_a_zip_file_with_one_for_each_module(caller, application, version, development):
    path = f"environments/{development.key}/applications/{application.key}/sourcecodeaccess"
    response = caller.post(f"{path}/")
    key = response.json()["PackageKey"]
    assert (response.status_code, response.json()["Status"]) == (201, "InProgress")
    assert caller.get(f"{path}/{key}/status").status_code == 201
    refused(caller.get(f"{path}/{key}/status".replace(str(application.key), str(uuid4()))), 404, "no such thing")
    refused(caller.get(f"{path}/{key}/download"), 400, "still being made")

    fetching.carry_out(Download.objects.get(key=key).pk)
    fetching.carry_out(Download.objects.get(key=key).pk)  # delivered twice

    assert caller.get(f"{path}/{key}/status/").json()["Status"] == "Done"
    outer = zipfile.ZipFile(io.BytesIO(body(fetch(caller, caller.get(f"{path}/{key}/download").json()["url"]))))
    names = outer.namelist()
    assert sorted(names) == sorted(f"{module.name}.v3.zip" for module in application.modules.all())
    first = zipfile.ZipFile(io.BytesIO(outer.read(names[0])))
    assert {"module.json", names[0].replace(".v3.zip", ".sln")} < set(first.namelist())
    assert any(name.startswith("web/") for name in first.namelist())
    refused(create_caller(username="other").get(f"{path}/{key}/status"), 404)


def test_source_code_of_a_module_is_a_zip_file_with_its_own(caller, application, version, development):
    module = application.modules.order_by("pk").last()
    path = f"environments/{development.key}/modules/{module.key}/sourcecodeaccess"
    response = caller.post(f"{path}/")
    key = response.json()["PackageKey"]
    assert (response.status_code, response.json()["Status"]) == (201, "InProgress")
    refused(caller.get(f"{path}/{key}/download"), 400, "still being made")

    fetching.carry_out(Download.objects.get(key=key).pk)

    assert caller.get(f"{path}/{key}/status/").json()["Status"] == "Done"
    outer = zipfile.ZipFile(io.BytesIO(body(fetch(caller, caller.get(f"{path}/{key}/download").json()["url"]))))
    assert outer.namelist() == [f"{module.name}.v3.zip"]
    inner = zipfile.ZipFile(io.BytesIO(outer.read(outer.namelist()[0])))
    assert json.loads(inner.read("module.json"))["key"] == str(module.key)
    whole = f"environments/{development.key}/applications/{application.key}/sourcecodeaccess"
    refused(caller.get(f"{whole}/{key}/status"), 404)
    refused(caller.post(path.replace(str(module.key), str(uuid4()))), 404, "no such module")
    reader = create_caller(create_role(level=Level.MONITOR), "reader")
    refused(reader.post(path), 403, "Open and Debug")

    maintenance.enable(development, by=actor(), reason="Upgrade")
    refused(caller.post(path), 400, "Upgrade")


def test_a_module_that_the_version_does_not_have_has_no_code(caller, application, version, development):
    module = application.modules.create(key=uuid4(), name="Newer", kind="eSpace", changed_at=timezone.now())
    module.statuses.create(environment=development, changed_at=timezone.now())
    path = f"environments/{development.key}/modules/{module.key}/sourcecodeaccess"
    key = caller.post(path).json()["PackageKey"]

    fetching.carry_out(Download.objects.get(key=key).pk)

    refused(caller.get(f"{path}/{key}/status"), 500, "does not have this module")


def test_a_solution_has_the_packages_of_its_applications_and_what_they_refer_to(
    caller, application, version, development
):
    path = f"environments/{development.key}"
    wanted = {"SolutionName": "Sol 1", "ApplicationKeys": [str(application.key)], "IncludeReferences": True}
    response = caller.post(f"{path}/solution", wanted)
    key = response.content.decode()
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert caller.get(f"{path}/solutionstatus/{key}").json() == {"Status": "Created", "StatusReason": ""}

    fetching.carry_out(Download.objects.get(key=key).pk)

    status = caller.get(f"{path}/solutionstatus/{key}").json()
    assert status["Status"] == "Completed", status
    solution = zipfile.ZipFile(io.BytesIO(body(fetch(caller, caller.get(f"{path}/solution/{key}/").json()["url"]))))
    listed = json.loads(solution.read("solution.json"))
    assert listed["name"] == "Sol 1.osp"
    assert f"packages/{application.key}.oap" in solution.namelist()
    assert len(listed["applications"]) == len(solution.namelist()) - 1 > 1
    refused(caller.post(f"{path}/solution", {**wanted, "ApplicationKeys": []}), 400, "ApplicationKeys")
    refused(caller.post(f"{path}/solution", {**wanted, "ApplicationKeys": [str(uuid4())]}), 404)


def test_what_was_never_tagged_has_no_code_to_read(caller, development):
    application = create_application()
    status = publish(application, development)
    status.version_key = None
    status.save()
    path = f"environments/{development.key}/applications/{application.key}"

    refused(caller.post(f"{path}/sourcecodeaccess"), 400, "never tagged")
    assert caller.get(f"{path}/content").status_code == 204
    elsewhere = ApplicationVersion.objects.create(key=uuid4(), application=application, version="9")
    assert caller.get(f"applications/{application.key}/versions/{elsewhere.key}/content").status_code == 204
    refused(caller.get(f"applications/{application.key}/versions/{uuid4()}/content"), 404)


def test_an_aborted_solution_says_why(caller, application, version, development):
    wanted = {"SolutionName": "S", "ApplicationKeys": [str(application.key)]}
    path = f"environments/{development.key}"
    key = caller.post(f"{path}/solution", wanted).content.decode()
    maintenance.enable(development, by=actor(), reason="Upgrade")
    tasks.fetch(Download.objects.get(key=key).pk)

    told = caller.get(f"{path}/solutionstatus/{key}").json()
    assert told["Status"] == "Aborted"
    assert "is in maintenance mode" in told["StatusReason"]
    refused(caller.get(f"{path}/solution/{key}"), 400, "maintenance mode")


def test_files_expire_and_what_a_dead_worker_left_is_ended(caller, application, version, development):
    account = caller.account
    old = Download.objects.create(
        kind="package",
        account=account,
        environment=development,
        name="x",
        status="completed",
        ended_at="2026-01-01T00:00Z",
    )
    DownloadPart.objects.create(download=old, number=0, content=b"x")
    left = Download.objects.create(kind="package", account=account, environment=create_environment(), name="y")
    Download.objects.filter(pk=left.pk).update(requested_at="2026-01-01T00:00Z", status="fetching")

    tasks.tidy_downloads()

    left.refresh_from_db()
    assert (left.status, DownloadPart.objects.count()) == ("aborted", 0)
    assert not Download.objects.filter(pk=old.pk).exists()
