"""What requests look like: keys in any case, texts that a database can store, keys of things in paths."""

import json
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import register_converter
from django.utils.datastructures import MultiValueDict
from ninja.errors import HttpError
from ninja.parser import Parser as JSONParser
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_pascal

QUERY_NAMES = (
    "ChangeLogFilter",
    "ContinueWithErrors",
    "IncludeApplicationRoles",
    "IncludeEnvPermissions",
    "IncludeEnvStatus",
    "IncludeErrorDetails",
    "IncludeInactive",
    "IncludeModules",
    "IncludeTeams",
    "IPAddress",
    "MaxDate",
    "MaximumVersionsToReturn",
    "MinDate",
    "RedeployOutdated",
    "TargetEnvironmentKey",
    "Type",
    "UsersNewRoleKey",
)


class Body(BaseModel):
    """The JSON object of a request. Its keys are taken in any case; those that nobody knows are ignored."""

    model_config = ConfigDict(alias_generator=to_pascal, populate_by_name=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _in_any_case(cls, told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        known = {(info.alias or name).lower(): info.alias or name for name, info in cls.model_fields.items()}
        return {known.get(str(name).lower(), name): value for name, value in told.items()}


class Key:
    """The key of something in a path, in small letters or capitals. Anything else in its place is an unknown path."""

    regex = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"

    def to_python(self, value: str) -> UUID:
        return UUID(value)

    def to_url(self, value: UUID) -> str:
        return str(value)


register_converter(Key, "key")


class Parser(JSONParser):
    """JSON that every parser reads alike, and query parameters whose names are taken in any case."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        try:
            told = json.loads(request.body, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise HttpError(400, f"The body is no JSON: {error}") from None
        if not _is_clean(told):
            raise HttpError(400, "The body has texts with characters that cannot be stored: \\u0000 or half a pair.")
        found: dict[str, Any] = told
        return found

    def parse_querydict(
        self, data: MultiValueDict[str, Any], list_fields: list[str], request: HttpRequest
    ) -> dict[str, Any]:
        if any("\0" in value for value in data.values()):
            raise HttpError(400, "The query has a character that cannot be stored.")
        known = {name.lower(): name for name in QUERY_NAMES}
        return {known.get(name.lower(), name): data[name] for name in data}


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _is_clean(told: Any) -> bool:
    match told:
        case str():
            return "\0" not in told and not any("\ud800" <= one <= "\udfff" for one in told)
        case dict():
            return all(_is_clean(name) and _is_clean(value) for name, value in told.items())
        case list():
            return all(map(_is_clean, told))
    return True
