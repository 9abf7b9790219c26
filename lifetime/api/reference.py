"""The description of the API: an OpenAPI document for programs, and a page for people that is made of it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from lifetime.requests import AuthenticatedRequest

KINDS = {
    "uuid": "key",
    "date-time": "instant",
    "binary": "bytes",
    "boolean": "True or False",
    "string": "text",
    "null": "nothing",
    "integer": "whole number",
}
METHODS = ("get", "post", "put", "delete")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A member of a record, or a parameter."""

    name: str
    type: str
    description: str
    is_required: bool


@dataclass(frozen=True, kw_only=True)
class Content:
    """A body: what it is in one line, and its members when it is a record."""

    title: str
    rows: list[Row]


@dataclass(frozen=True, kw_only=True)
class Answer:
    code: str
    content: Content | None


@dataclass(frozen=True, kw_only=True)
class Operation:
    id: str
    method: str
    path: str
    description: str
    parameters: list[Row]
    body: Content | None
    answers: list[Answer]
    refusals: str


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, as programs get it."""
    from lifetime.api.routes import api  # late, as in entry: workers and commands have the URLs, but answer no call

    found: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema(path_prefix="")))
    return found


def serve() -> HttpResponse:
    """The document as an answer; it tells nothing of this infrastructure, so no token is asked for."""
    return HttpResponse(json.dumps(document()), content_type="application/json", headers={"Cache-Control": "no-cache"})


@require_safe
def page(request: AuthenticatedRequest) -> HttpResponse:
    """Every operation by resource."""
    root = request.build_absolute_uri("/lifetimeapi/rest/v2")
    return render(request, "lifetime/api.html", {"groups": groups(), "records": records(), "root": root})


@cache
def groups() -> list[tuple[str, list[Operation]]]:
    """The operations under the name of their resource."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document()["paths"].items():
        for method in METHODS:
            if told := methods.get(method):
                found.setdefault(told["tags"][0], []).append(_operation(path, method, told))
    return list(found.items())


@cache
def records() -> list[Content]:
    """Every record by name."""
    schemas: dict[str, Any] = document()["components"]["schemas"]
    found = [Content(title=name, rows=list(_rows(schema))) for name, schema in sorted(schemas.items())]
    return [one for one in found if one.rows]


def _operation(path: str, method: str, told: dict[str, Any]) -> Operation:
    answers = {code: one for code, one in told["responses"].items() if int(code) < 400}
    return Operation(
        id=re.sub(r"\W+", "-", f"{method} {path}").strip("-"),
        method=method.upper(),
        path=path,
        description=told.get("description", ""),
        parameters=[
            Row(
                name=one["name"],
                type=_type(one["schema"]),
                description=one["schema"].get("description", ""),
                is_required=one.get("required", False),
            )
            for one in told.get("parameters", [])
        ],
        body=_content(told.get("requestBody", {})),
        answers=[Answer(code=code, content=_content(one)) for code, one in sorted(answers.items())],
        refusals=", ".join(sorted(code for code in told["responses"] if int(code) >= 400)),
    )


def _content(told: dict[str, Any]) -> Content | None:
    for media_type, one in told.get("content", {}).items():
        schema = one["schema"]
        kind = "" if media_type == "application/json" else f" as {media_type}"
        return Content(title=_type(schema) + kind, rows=list(_rows(schema)))
    return None


def _rows(schema: dict[str, Any]) -> Iterator[Row]:
    """The members of a record, or of the records in a list."""
    found = _resolved(schema.get("items", schema))
    for name, one in found.get("properties", {}).items():
        yield Row(
            name=name,
            type=_type(one),
            description=one.get("description", ""),
            is_required=name in found.get("required", []),
        )


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _type(schema: dict[str, Any]) -> str:
    """What kind of value it is, in words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = str(schema.get("type", "any"))
    return KINDS.get(schema.get("format", ""), KINDS.get(kind, kind))
