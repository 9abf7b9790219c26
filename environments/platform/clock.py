"""Instants as the contract writes them: RFC 3339, UTC, microseconds, Z. Rounded down, so never after the fact."""

import re
import time
from datetime import UTC, datetime
from functools import lru_cache

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


def now() -> float:
    return time.time()


def text(instant: float) -> str:
    microseconds = int(instant * 1_000_000)
    return f"{_second(microseconds // 1_000_000)}.{microseconds % 1_000_000:06d}Z"


def parse(value: str) -> float:
    """Raises ValueError for anything but the one way to write an instant."""
    if not _INSTANT.fullmatch(value):
        raise ValueError(f"{value!r} is no instant")
    return datetime.fromisoformat(value).timestamp()


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
