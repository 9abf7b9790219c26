"""Icons of applications: what is taken, where it is kept, how it is served, and what stands for one."""

import struct
import zlib
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models.functions import Now
from django.urls import reverse

from environments import icons, sync
from environments.environment_api import ApplicationItem
from environments.models import Application, ApplicationIcon, ApplicationTask
from environments.tasks import work_on_application
from lifetime.models import Level, Role, RoleLevel, Team
from tests.environments.test_applications import publish
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db(transaction=True)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width=32, height=32, *, red=200):
    rows = b"".join(b"\0" + bytes([red, 40, 60]) * width for _ in range(height)) if width * height < 10**6 else b""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return icons.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg(width, height, kind=0xC0):
    app0 = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + bytes(9)
    frame = bytes([0xFF, kind]) + struct.pack(">HBHHB", 8, 8, height, width, 0)
    return b"\xff\xd8" + app0 + frame + b"\xff\xda\0\x02picture\xff\xd9"


def webp(kind, body):
    content = b"WEBP" + kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(content)) + content


LOSSY = webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 64, 48))
LOSSLESS = webp(b"VP8L", b"\x2f" + struct.pack("<I", 63 | 47 << 14))
EXTENDED = webp(b"VP8X", bytes(4) + (63).to_bytes(3, "little") + (47).to_bytes(3, "little"))


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (png(), "image/png"),
        (jpeg(64, 48), "image/jpeg"),
        (jpeg(64, 48, 0xC2), "image/jpeg"),
        (LOSSY, "image/webp"),
        (LOSSLESS, "image/webp"),
        (EXTENDED, "image/webp"),
    ],
    ids=["png", "jpeg", "progressive-jpeg", "lossy", "lossless", "extended"],
)
def test_pictures_are_known_by_what_is_in_them(content, media_type):
    assert icons.clean(content).media_type == media_type


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "SVG can have programs"),
        (b"GIF89a" + bytes(100), "PNG, JPEG or WebP"),
        (b"", "PNG, JPEG or WebP"),
        (png() + b"<script>alert(1)</script>", "something is behind it"),
        (png()[:-20], "broken"),
        (png()[:60] + b"x" + png()[61:], "broken"),
        (icons.PNG + chunk(b"IEND", b""), "broken"),
        (png(2000, 2000), "16 to 1024 pixels"),
        (png(8, 8), "16 to 1024 pixels"),
        (jpeg(65_000, 20), "16 to 1024 pixels"),
        (jpeg(64, 48)[:-2], "broken"),
        (jpeg(64, 48)[:20] + b"\xff\xd9", "broken"),
        (LOSSY + b"behind", "something is behind it"),
        (LOSSY[:20], "broken"),
        (webp(b"ABCD", bytes(20)), "broken"),
        (png() + bytes(icons.LARGEST), "at most 256 KB"),
    ],
    ids=lambda value: None if isinstance(value, str) else f"{len(value)}-bytes",
)
def test_what_is_no_picture_is_refused(content, words):
    with pytest.raises(ValidationError, match=words):
        icons.clean(content)


@pytest.fixture
def development(platform, client):
    environment = create_environment(platform=platform, name="Development")
    sync.run([sync.request(environment, by=actor()).pk])
    client.force_login(create_user(name="Ada Lovelace"))
    client.post(reverse("applications:read-templates", args=[environment.key]))
    work_on_application(ApplicationTask.objects.get(kind="read_templates").pk)
    return environment


def create(client, environment, **data):
    team, _ = Team.objects.get_or_create(name="Claims")
    body = {"team": str(team.key), "template": "reactive-web", "name": "Claims Portal", **data}
    return client.post(reverse("applications:create-in", args=[environment.key]), body)


def test_an_application_is_created_with_its_icon_and_its_colour(client, platform, development):
    upload = SimpleUploadedFile("../evil.svg", png(), content_type="image/svg+xml")
    assert create(client, development, palette="#1b6639", icon=upload).status_code == 302
    work_on_application(ApplicationTask.objects.get(kind="create").pk)

    created = Application.objects.get(name="Claims Portal")
    assert created.colour == "#1b6639"
    found = ApplicationIcon.objects.get(application_key=created.key)
    assert bytes(found.content) == png()
    address = reverse("applications:icon", args=[created.key, found.digest])
    for page in (created.get_absolute_url(), reverse("applications:list")):
        assert f'src="{address}"' in client.get(page).content.decode()
    answer = client.get(address)
    assert (answer.status_code, answer.content) == (200, png())
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert client.get(reverse("applications:icon", args=[created.key, "0" * 64])).status_code == 404
    assert client.post(address).status_code == 405
    nobody = Role.objects.create(name="Nobody")
    RoleLevel.objects.create(role=nobody, environment=development, level=Level.NO_ACCESS)
    client.force_login(create_user(role=nobody))
    assert client.get(address).status_code == 404


def test_a_wrong_picture_or_colour_creates_nothing(client, development):
    svg = SimpleUploadedFile("icon.png", b"<svg/>", content_type="image/png")
    assert "SVG can have programs" in create(client, development, icon=svg).content.decode()
    large = SimpleUploadedFile("icon.png", png() + bytes(10**6), content_type="image/png")
    assert "at most 256 KB" in create(client, development, icon=large).content.decode()
    assert "like #1a73e8" in create(client, development, colour="red").content.decode()
    assert create(client, development, palette="#123456").status_code == 422
    assert not ApplicationTask.objects.filter(kind="create").exists()
    assert not ApplicationIcon.objects.exists()
    assert create(client, development, palette="#1b6639", colour="#1A73E8").status_code == 302
    assert ApplicationTask.objects.get(kind="create").parameters["colour"] == "#1a73e8"


def test_the_colour_comes_with_the_application(platform, development):
    platform.publish(name="Green One", colour="#1B6639")
    sync.run([sync.request(development, by=actor()).pk])
    assert Application.objects.get(name="Green One").colour == "#1b6639"


@pytest.mark.parametrize(("given", "kept"), [("#ABCDEF", "#abcdef"), ("red", ""), ("", ""), (None, ""), (7, "")])
def test_a_colour_that_is_none_is_no_reason_to_refuse_an_application(given, kept):
    item = {"key": str(uuid4()), "name": "A", "is_modified": False, "changed_at": "2026-11-23T10:00:00Z", "modules": []}
    assert ApplicationItem.model_validate({**item, "kind": "Service", "colour": given}).colour == kept


def test_icons_of_what_was_never_created_are_forgotten():
    application = publish(create_environment())
    orphan, fresh = uuid4(), uuid4()
    for key in (application.key, orphan, fresh):
        icons.keep(key, icons.clean(png()))
    old = ApplicationIcon.objects.exclude(application_key=fresh)
    old.update(created_at=Now() - timedelta(days=2))

    icons.prune()

    assert {one.application_key for one in ApplicationIcon.objects.all()} == {application.key, fresh}


def test_an_application_without_an_icon_shows_its_initial_on_its_colour(client):
    application = publish(create_environment(), "<b>émile")
    client.force_login(create_user())
    text = client.get(application.get_absolute_url()).content.decode()
    assert f'fill="{icons.colour_of(application.key, "")}"' in text
    assert ">B</text>" in text
    Application.objects.update(colour="#ffffff")
    text = client.get(reverse("applications:list")).content.decode()
    assert 'fill="#ffffff"' in text
    assert f'fill="{icons.DARK_INK}"' in text


def test_ink_is_readable_on_every_colour_of_the_palette():
    def luminance(colour):
        parts = [icons._linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for colour in [*icons.PALETTE, "#000000", "#ffffff", "#808080", "#ffff00"]:
        light, dark = sorted([luminance(colour), luminance(icons.ink_on(colour))], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4, colour
