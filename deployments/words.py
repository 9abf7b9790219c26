"""How messages about plans count things and name them."""

from collections.abc import Sequence

NAMED_AT_MOST = 5


def counted(number: int, noun: str) -> str:
    """1 application, 2 applications."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def named(names: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more
