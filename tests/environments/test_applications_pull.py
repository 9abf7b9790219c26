"""Taking over what an environment says of its applications, beyond what a first synchronization shows."""

from urllib.parse import urlsplit

import pytest
from django.urls import reverse

from environments import applications, registry, sync
from environments.models import Application, ApplicationVersion, ModuleStatus
from tests.factories import actor, create_environment, create_user
from tests.platforms import Platform

pytestmark = pytest.mark.django_db(transaction=True)


def synchronize(environment, **options):
    run = sync.request(environment, by=actor(), **options)
    sync.run([run.pk])
    run.refresh_from_db()
    assert run.status == "finished", run.message
    return run


def modules(environment, name):
    there = ModuleStatus.objects.filter(environment=environment, module__application__name=name)
    return sorted(there.values_list("module__name", flat=True))


@pytest.mark.parametrize("is_full", [True, False])
def test_a_module_that_is_gone_there_goes_from_that_environment_alone(platform, tmp_path, is_full):
    with Platform.start(tmp_path / "other", name="Test") as other:
        development, test = create_environment(platform=platform), create_environment(platform=other)
        synchronize(development)
        synchronize(test)
        before = modules(development, "Back Office")
        assert len(before) > 1
        others = ModuleStatus.objects.exclude(module__application__name="Back Office").count()

        platform.publish(name="Back Office", modules=[{"name": before[0]}])
        synchronize(development, is_full=is_full)

        assert modules(development, "Back Office") == before[:1]
        assert modules(test, "Back Office") == before
        assert ModuleStatus.objects.exclude(module__application__name="Back Office").count() == others


def test_an_application_looks_as_where_it_changed_last_until_an_environment_is_chosen(platform, tmp_path):
    with Platform.start(tmp_path / "other", name="Test") as other:
        development, test = create_environment(platform=platform), create_environment(platform=other)
        synchronize(development)
        synchronize(test)
        application = Application.objects.get(name="Back Office")
        other.publish(key=str(application.key), name="Back Office of Test")
        synchronize(test)
        application.refresh_from_db()
        assert application.name == "Back Office of Test"

        applications.define_by(development, application, by=actor())
        synchronize(development)
        application.refresh_from_db()
        assert application.name == "Back Office"
        other.publish(key=str(application.key), name="Back Office again")
        synchronize(test)
        application.refresh_from_db()
        assert application.name == "Back Office"

        registry.unregister(development, by=actor())
        synchronize(test)
        application.refresh_from_db()
        assert application.name == "Back Office again"


def test_versions_are_known_as_soon_as_they_are_met(platform):
    environment = create_environment(platform=platform)
    synchronize(environment)
    application = Application.objects.get(name="Back Office")
    assert list(application.versions.values_list("version", flat=True)) == ["2.11.0"]

    platform.publish(name="Back Office", version="2.12")
    synchronize(environment, is_full=False)
    synchronize(environment)

    assert set(application.versions.values_list("version", flat=True)) == {"2.11.0", "2.12"}
    assert ApplicationVersion.objects.filter(created_at=None).count() == ApplicationVersion.objects.count()


def test_links_lead_to_pages_that_the_reference_platform_serves(client, platform):
    environment = create_environment(platform=platform)
    synchronize(environment)
    application = Application.objects.get(name="Back Office")
    client.force_login(create_user())
    for name, expected in [("open-in-browser", 200), ("configure", 303), ("service-center-logs", 303)]:
        to = client.get(reverse(f"applications:{name}", args=[application.key, environment.key])).url
        status, headers, body = platform.request("GET", urlsplit(to).path, None, {})
        assert status == expected, (to, body)  # Service Center asks for a log-in of its own
        assert expected == 200 or headers["Location"].endswith("/ServiceCenter/login")
