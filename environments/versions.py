"""Version numbers of applications: one to three numbers of up to three digits, with dots between them."""

import re
from collections.abc import Collection
from functools import lru_cache

from django.core.exceptions import ValidationError

PATTERN = re.compile(r"\d{1,3}(\.\d{1,3}){0,2}", re.ASCII)
PARTS = 3
HIGHEST = 999
FIRST = "0.1"
Order = tuple[int, ...]


@lru_cache(maxsize=10_000)
def order(version: str) -> Order:
    """What versions are compared by; a text that is no number comes before all numbers."""
    return tuple(int(part) for part in (version + ".0.0").split(".")[:PARTS]) if PATTERN.fullmatch(version) else ()


def clean(text: str) -> str:
    """The number as it is written, without needless zeros; ValidationError when it is none."""
    version = text.strip()
    if not PATTERN.fullmatch(version):
        raise ValidationError("Write one to three numbers of up to three digits with dots between them, like 4.2.")
    return ".".join(str(int(part)) for part in version.split("."))


def following(version: str) -> str:
    """The next increment: 4.2 → 4.3, 0.999 → 1.0; "" when there is none."""
    if not version:
        return FIRST
    if not PATTERN.fullmatch(version):
        return ""
    parts = [int(part) for part in version.split(".")]
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] < HIGHEST:
            parts[place] += 1
            return ".".join(str(part) for part in parts)
        parts[place] = 0
    return ""


def suggest(current: str, used: Collection[str]) -> str:
    """A free number for what is based on `current`: the next one, or one behind it where others have gone on."""
    taken = {order(one) for one in used}
    suggestion = following(current)
    if current and order(suggestion) in taken and current.count(".") + 1 < PARTS:
        suggestion = f"{current}.1"  # a hotfix of what is elsewhere further
    while suggestion and order(suggestion) in taken:
        suggestion = following(suggestion)
    return suggestion
