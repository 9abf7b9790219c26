"""The paths of the Environment API v1: what each answers once its request has been admitted."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from environments.platform import capabilities
from environments.platform.answers import (
    Answer,
    Document,
    FileAnswer,
    Problem,
    json_answer,
    method_not_allowed,
    not_found,
)
from environments.platform.canonical import canonical, digest
from environments.platform.capabilities import page_of
from environments.platform.schemas import (
    AuthenticationBody,
    PermissionsBody,
    SecurityBody,
    SettingsBody,
    TechnicalPreviewsBody,
    check,
)

if TYPE_CHECKING:
    from environments.platform.call import Call

Handler = Callable[["Call"], Awaitable[Answer | FileAnswer]]
BASE = "/environment/v1"
UUID_TEXT = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
PARAMETERS = {"key": UUID_TEXT, "version_key": UUID_TEXT, "id": UUID_TEXT, "digest": r"sha256:[0-9a-f]{64}"}


async def get_digests(call: Call) -> Answer:
    return call.environment.digests.answer(call.if_none_match)


def get_document(name: str) -> Handler:
    async def get(call: Call) -> Answer:
        return call.environment.document(name).answer(call.if_none_match)

    return get


async def get_applications(call: Call) -> Answer:
    since, limit = page_of(call)
    return Document(call.environment.feed(since=since, limit=limit).body).answer(call.if_none_match)


async def put_permissions(call: Call) -> Answer:
    value = await call.json()
    check(PermissionsBody, value)
    return _replaced(call, "permissions", value)


async def put_settings(call: Call) -> Answer:
    value = await call.json()
    check(SettingsBody, value)
    facts = {**call.environment.values["facts"], "name": value["name"]}
    call.environment.replace({"settings": value, "facts": facts})
    return json_answer({"digest": digest(canonical(value))})


async def put_security(call: Call) -> Answer:
    """What is compiled into modules needs them republished; the rest only needs to be applied."""
    value = await call.json()
    check(SecurityBody, value)
    before = call.environment.values["security"]
    compiled = {"hsts", "content_security_policy"}
    changed = {name for name in value if value[name] != before[name]}
    call.environment.replace({"security": value})
    modules = (
        {
            module["name"]
            for application in call.environment.applications()
            for module in application["modules"]
            if module["kind"] == "eSpace"
        }
        if changed & compiled
        else set()
    )
    return json_answer(
        {"digest": digest(canonical(value)), "republish": sorted(modules), "apply_settings": bool(changed - compiled)}
    )


async def put_technical_previews(call: Call) -> Answer:
    body = check(TechnicalPreviewsBody, await call.json())
    previews = call.environment.values["technical-previews"]
    available = {preview["key"] for preview in previews["available"]}
    unknown = sorted(set(body.enabled) - available)
    if unknown or len(set(body.enabled)) != len(body.enabled):
        detail = f"enabled: {', '.join(unknown)} is not available" if unknown else "enabled: a key is given twice"
        raise Problem(422, "bad-body", "The body is not what this path takes", detail)
    enabled = sorted(body.enabled)
    call.environment.replace({"technical-previews": {**previews, "enabled": enabled}})
    return json_answer({"digest": digest(canonical({"enabled": enabled}))})


async def put_authentication(call: Call) -> Answer:
    value = await call.json()
    check(AuthenticationBody, value)
    return _replaced(call, "authentication", value)


async def delete_contact(call: Call) -> Answer:
    contact = call.parameters["id"]
    if contact != str(call.contact):
        raise Problem(
            400, "bad-headers", "A header is missing or wrong", "Lifetime-Contact must be the contact to end."
        )
    await call.environment.end_contact(int(contact))
    return Answer(204)


def _replaced(call: Call, name: str, value: Any) -> Answer:
    call.environment.replace({name: value})
    return json_answer({"digest": digest(canonical(value))})


ROUTES: dict[str, dict[str, Handler]] = {
    "/digests": {"GET": get_digests},
    "/facts": {"GET": get_document("facts")},
    "/applications": {"GET": get_applications},
    "/permissions": {"GET": get_document("permissions"), "PUT": put_permissions},
    "/settings": {"GET": get_document("settings"), "PUT": put_settings},
    "/security": {"GET": get_document("security"), "PUT": put_security},
    "/technical-previews": {"GET": get_document("technical-previews"), "PUT": put_technical_previews},
    "/authentication": {"GET": get_document("authentication"), "PUT": put_authentication},
    "/contacts/{id}": {"DELETE": delete_contact},
}
for _path, _methods in capabilities.ROUTES.items():
    ROUTES.setdefault(_path, {}).update(_methods)


def _pattern(path: str) -> re.Pattern[str]:
    named = {**PARAMETERS, "id": r"[0-9]+"} if path == "/contacts/{id}" else PARAMETERS
    return re.compile(re.sub(r"\{(\w+)\}", lambda found: f"(?P<{found[1]}>{named[found[1]]})", path), re.ASCII)


PATTERNS = [(_pattern(path), methods) for path, methods in ROUTES.items() if "{" in path]


def find(method: str, path: str) -> tuple[Handler, dict[str, str]]:
    """The handler of a path below the API's base, and the parameters in it."""
    methods, parameters = ROUTES.get(path), {}
    if methods is None:
        for pattern, candidates in PATTERNS:
            if found := pattern.fullmatch(path):
                methods, parameters = candidates, found.groupdict()
                break
    if methods is None:
        raise not_found(f"{BASE}{path}")
    handler = methods.get(method)
    if handler is None:
        raise method_not_allowed(method, f"{BASE}{path}", list(methods))
    return handler, parameters
