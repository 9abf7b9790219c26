"""What holds for every page about environments."""

import pytest
from django.urls import reverse

from environments import maintenance, sync
from environments.models import Contact
from environments.urls import urlpatterns
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}


def test_no_web_request_ever_speaks_to_an_environment(client, platform):
    client.force_login(create_user())
    environment = create_environment(platform=platform, name="Development")
    window = maintenance.enable(environment, by=actor(), reason="Upgrade")
    maintenance.disable(environment, by=actor(), reason="Done")
    proposed = create_environment(platform=platform, address=f"{platform.address}/x", registration="checked")

    walked = set()
    for pattern in urlpatterns:
        names = pattern.pattern.converters.keys()
        key = proposed.key if "register/" in str(pattern.pattern) else environment.key
        values = {"key": key, "window_key": window.key}
        path = reverse(f"environments:{pattern.name}", kwargs={name: values[name] for name in names})
        for headers in ({}, HTMX):
            got = client.get(path, headers=headers)
            posted = client.post(path, {"reason": "Upgrade", "to": 0, "name": "Development"}, headers=headers)
            assert got.status_code < 500
            assert posted.status_code < 500
            assert (got.status_code, posted.status_code) != (405, 405)
        walked.add(pattern.name)

    assert len(walked) == len(urlpatterns) > 20
    assert platform.log() == []
    assert not Contact.objects.exists()


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(client):
    client.force_login(create_user())
    environment = create_environment(name="Development")
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    sync.queue_due()
    paths = [reverse("environments:list"), reverse("environments:register"), environment.get_absolute_url()]

    for path in paths:
        html = client.get(path).content.decode()
        for inline in ("<style", " style=", "<script>", " onclick", "https://cdn", 'href="http'):
            assert inline not in html


def test_what_people_wrote_is_escaped(client):
    client.force_login(create_user())
    environment = create_environment(name="<b>bold</b>")
    maintenance.enable(environment, by=actor("<i>Ada</i>"), reason="<script>alert(1)</script>")

    for name in ("edit", "windows", "disable-maintenance-dialog", "unregister-dialog"):
        html = client.get(reverse(f"environments:{name}", args=[environment.key]), headers=HTMX).content.decode()
        assert "<script>alert" not in html
        assert "<b>bold" not in html
        assert "<i>Ada" not in html
    assert "<b>bold" not in client.get(reverse("environments:list")).content.decode()
