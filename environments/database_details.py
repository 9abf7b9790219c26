"""What a connection to a database is made of, as people write it, and what of it cannot be."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError

from environments.environment_api import DatabaseConnection, DatabaseProvider

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}", re.ASCII)
SECRET = re.compile("passw|pwd|secret|token", re.IGNORECASE)
LONGEST = {"username": 200, "password": 1000, "description": 4000}
LONGEST_VALUE = 500


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A connection as somebody wants it. Without a password the one that is stored stays."""

    name: str
    provider: str
    description: str = ""
    username: str = ""
    parameters: Mapping[str, str]
    password: str | None = None

    def is_elsewhere(self, than: DatabaseConnection) -> bool:
        return (self.provider, self.username, self.parameters) != (than.provider, than.username, than.parameters)


def parameters_of(text: str) -> dict[str, str]:
    """Parameters as people and programs write them: `name=value`, in lines or with semicolons between."""
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in re.split(r"[;\r\n]", text))):
        name, equals, value = (one.strip() for one in part.partition("="))
        if not name or not equals or not value:
            raise ValidationError({"parameters": f"“{part[:100]}” is no parameter: write name=value."})
        if name in found:
            raise ValidationError({"parameters": f"{name} is there twice."})
        found[name] = value
    return found


def written(parameters: Mapping[str, str], *, between: str) -> str:
    """As `parameters_of` reads them, by name."""
    return between.join(f"{name}={value}" for name, value in sorted(parameters.items()))


def check(
    wanted: Wanted,
    connections: Sequence[DatabaseConnection],
    providers: Sequence[DatabaseProvider],
    present: DatabaseConnection | None,
) -> DatabaseProvider:
    """Its provider. Raises ValidationError by field, by what the environment said last; the environment decides."""
    if not wanted.name:
        raise ValidationError({"name": "Give it a name."})
    namesakes = [one for one in connections if one.name.casefold() == wanted.name.casefold()]
    if any(one.key != (present and present.key) for one in namesakes):
        raise ValidationError({"name": "Another connection of this environment has this name."})
    return check_details(wanted, providers, present)


def check_details(
    wanted: Wanted, providers: Sequence[DatabaseProvider], present: DatabaseConnection | None
) -> DatabaseProvider:
    """As `check`, of what may have no name."""
    if wanted.name and not NAME.fullmatch(wanted.name):
        text = "Begin with a letter; then letters, digits and underscores, 50 characters at most."
        raise ValidationError({"name": text})
    for field, longest in LONGEST.items():
        if len(getattr(wanted, field) or "") > longest:
            raise ValidationError({field: f"At most {longest:,} characters."})
    if not wanted.username.isprintable():
        raise ValidationError({"username": "Write it in one line."})
    if named := [name for name in wanted.parameters if SECRET.search(name)]:
        raise ValidationError({"parameters": f"Give {named[0]} as the password: parameters are shown to people."})
    provider = next((one for one in providers if one.key == wanted.provider), None)
    if provider is None:
        raise ValidationError({"provider": f"The environment offers {_offered(providers)}."})
    allowed = {one.name: one for one in provider.parameters}
    for name, value in wanted.parameters.items():
        if name not in allowed:
            raise ValidationError({"parameters": f"{provider.name} has no {name}; it has {', '.join(allowed)}."})
        if len(value) > LONGEST_VALUE or not value.isprintable():
            raise ValidationError({"parameters": f"Write {name} with {LONGEST_VALUE} characters at most."})
    for name, one in allowed.items():
        if one.is_required and name not in wanted.parameters:
            raise ValidationError({"parameters": f"{provider.name} needs {name}: {one.description}"})
    if provider.has_login and not wanted.username:
        raise ValidationError({"username": f"{provider.name} needs one."})
    if not provider.has_login and (wanted.username or wanted.password):
        raise ValidationError({"username": f"{provider.name} takes no username and no password."})
    is_kept = bool(present and present.has_password and wanted.password is None and provider.has_login)
    if present and is_kept and wanted.is_elsewhere(present):
        raise ValidationError(
            {"password": "Give it again: the stored one is not sent elsewhere, or for another username."}
        )
    return provider


def _offered(providers: Sequence[DatabaseProvider]) -> str:
    return ", ".join(one.key for one in providers) or "no databases to connect to"
