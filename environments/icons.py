"""Icons of applications: which pictures are taken, keeping them, and what stands for one that is not there.

Only the outside of a picture is read: that it is whole and nothing else, and how large it is.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection

from environments.environment_api import COLOUR
from environments.models import Application, ApplicationIcon

LARGEST = 256 * 1024  # bytes
SMALLEST_SIDE, LONGEST_SIDE = 16, 1024  # pixels
PALETTE = {
    "#0b6070": "Petrol",
    "#1d529f": "Blue",
    "#5b3fa8": "Violet",
    "#a02c6d": "Magenta",
    "#ad241c": "Red",
    "#a3540a": "Orange",
    "#7a6200": "Olive",
    "#1b6639": "Green",
    "#4a5a66": "Slate",
}
DARK_INK, LIGHT_INK = "#16211e", "#ffffff"
FORGOTTEN_AFTER = "1 day"
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's markers of a frame with its size


@dataclass(frozen=True, kw_only=True)
class Picture:
    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class _Broken(Exception):
    """It begins like a picture, and is none."""


def clean(content: bytes) -> Picture:
    """The picture; ValidationError for what is none, or too large, or has anything behind it."""
    if len(content) > LARGEST:
        raise ValidationError(f"An icon has at most {LARGEST // 1024} KB; this has {-(-len(content) // 1024):,} KB.")
    try:
        media_type, (width, height) = _read(content)
    except (_Broken, struct.error, IndexError):
        raise ValidationError("The picture is broken, or something is behind it. Save it again.") from None
    if not (SMALLEST_SIDE <= width <= LONGEST_SIDE and SMALLEST_SIDE <= height <= LONGEST_SIDE):
        raise ValidationError(
            f"An icon has {SMALLEST_SIDE} to {LONGEST_SIDE} pixels on each side; this has {width:,} × {height:,}."
        )
    return Picture(media_type=media_type, content=content)


def _read(content: bytes) -> tuple[str, tuple[int, int]]:
    if content.startswith(PNG):
        return "image/png", _png(content)
    if content.startswith(JPEG):
        return "image/jpeg", _jpeg(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp", _webp(content)
    raise ValidationError(
        "Icons are PNG, JPEG or WebP pictures. SVG can have programs in it and is not taken; export it as PNG."
    )


def _png(content: bytes) -> tuple[int, int]:
    place, size, kind = len(PNG), (0, 0), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        body = content[place + 4 : place + 8 + length]
        [checksum] = struct.unpack_from(">I", content, place + 8 + length)
        if checksum != zlib.crc32(body) or (kind == b"IHDR") != (place == len(PNG)):
            raise _Broken
        if kind == b"IHDR":
            size = struct.unpack_from(">II", body, 4)
        place += 12 + length
    if place != len(content):
        raise _Broken
    return size


def _jpeg(content: bytes) -> tuple[int, int]:
    if not content.endswith(b"\xff\xd9"):
        raise _Broken
    place = 2
    while True:
        mark, kind, length = struct.unpack_from(">BBH", content, place)
        if mark != 0xFF or kind == 0xDA or length < 2:  # the picture itself begins, and no frame was before it
            raise _Broken
        if kind in FRAMES:
            height, width = struct.unpack_from(">HH", content, place + 5)
            return width, height
        place += 2 + length


def _webp(content: bytes) -> tuple[int, int]:
    [length] = struct.unpack_from("<I", content, 4)
    if length + 8 != len(content):
        raise _Broken
    kind = content[12:16]
    if kind == b"VP8X":
        return tuple(1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))  # type: ignore[return-value]
    if kind == b"VP8L" and content[20] == 0x2F:
        [bits] = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise _Broken


def keep(application_key: UUID, picture: Picture) -> None:
    ApplicationIcon.objects.update_or_create(
        application_key=application_key,
        defaults={"digest": picture.digest, "media_type": picture.media_type, "content": picture.content},
    )


def digest_of(application: Application) -> str:
    found = ApplicationIcon.objects.filter(application_key=application.key)
    return found.values_list("digest", flat=True).first() or ""


def clean_colour(text: str) -> str:
    if text and not COLOUR.fullmatch(text):
        raise ValidationError({"colour": "Write a colour like #1a73e8."})
    return text.lower()


def colour_of(key: UUID, colour: str) -> str:
    """The application's colour, or one of the palette that is always the same for it."""
    return colour or list(PALETTE)[key.int % len(PALETTE)]


def ink_on(colour: str) -> str:
    """What is read better on this colour."""
    red, green, blue = (_linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return DARK_INK if (luminance + 0.05) / 0.0637 > 1.05 / (luminance + 0.05) else LIGHT_INK


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def prune() -> None:
    """Forget icons whose application was never created."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM environments_applicationicon i WHERE created_at < clock_timestamp() - %s::interval"
            " AND NOT EXISTS (SELECT FROM environments_application a WHERE a.key = i.application_key)"
            " AND NOT EXISTS (SELECT FROM environments_applicationtask t WHERE t.key = i.application_key"
            " AND t.status IN ('queued', 'running'))",
            [FORGOTTEN_AFTER],
        )
