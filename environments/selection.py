"""The environments that somebody names on a command line: exactly those, or none of them with every mistake listed."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from environments.models import Environment, EnvironmentPurpose

UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, broken encodings, line and paragraph separators


class BadSelection(Exception):
    """What was named cannot be understood; the text says what and how to put it right."""


@dataclass(frozen=True)
class Unknown:
    """A name that no registered environment has, with those that look like it."""

    name: str
    near: Sequence[str]

    def __str__(self) -> str:
        hint = f" (did you mean {' or '.join(f'“{one}”' for one in self.near)}?)" if self.near else ""
        return f"“{printable(self.name)}”{hint}"


class UnknownNames(BadSelection):
    """Some names belong to no registered environment; `unknown` has all of them."""

    def __init__(self, unknown: Sequence[Unknown]) -> None:
        self.unknown = unknown
        what = "environment is" if len(unknown) == 1 else "environments are"
        super().__init__(f"{len(unknown)} {what} not registered here: {', '.join(map(str, unknown))}.")


def parse(text: str) -> list[str]:
    """The names in a text: one a line; empty lines and lines that begin with # do not count."""
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


def by_names(names: Iterable[str]) -> list[Environment]:
    """The registered environments of these names, in pipeline order, each once.

    A name matches exactly, else without regard to case. Raises BadSelection and UnknownNames.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names))
    if not wanted:
        raise BadSelection("No environment is named.")
    if unclean := [name for name in wanted if not name or not is_clean(name)]:
        shown = ", ".join(f"“{printable(name)}”" for name in unclean)
        raise BadSelection(f"A name is one line of text without control characters: {shown}.")
    registered = everything()
    exact = {environment.name: environment for environment in registered}
    folded = {environment.name.casefold(): environment for environment in registered}
    found = {name: exact.get(name) or folded.get(name.casefold()) for name in wanted}
    if unknown := [Unknown(name, _near(name, registered)) for name, one in found.items() if one is None]:
        raise UnknownNames(unknown)
    chosen = {environment.pk for environment in found.values() if environment}
    return [environment for environment in registered if environment.pk in chosen]


def by_purpose(purpose: EnvironmentPurpose) -> list[Environment]:
    """The registered environments of a purpose, in pipeline order."""
    return [environment for environment in everything() if environment.purpose == purpose]


def everything() -> list[Environment]:
    """Every registered environment, in pipeline order, with its maintenance window."""
    return list(Environment.objects.registered().select_related("maintenance_window").in_order())


def is_clean(text: str) -> bool:
    """Whether a text may be looked up in the database and shown on a terminal."""
    return not any(unicodedata.category(character) in UNPRINTABLE for character in text)


def printable(text: str) -> str:
    """A text for a terminal: what would steer it, or break its encoding, is spelt out."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _near(name: str, registered: Sequence[Environment]) -> list[str]:
    names = {environment.name.casefold(): environment.name for environment in registered}
    return [names[found] for found in get_close_matches(name.casefold(), names, n=3, cutoff=0.6)]
