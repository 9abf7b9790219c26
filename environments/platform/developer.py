"""The platform's own paths, not part of the API: publishing as a developer does, the access log, the test switch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs
from uuid import UUID

from pydantic import AfterValidator, StringConstraints

from environments.platform import blocking, clock, publishing
from environments.platform.answers import JSON, Answer, Problem, json_answer, method_not_allowed, not_found
from environments.platform.behaviour import Behaviour, BehaviourBody
from environments.platform.packages import LARGEST_PACKAGE
from environments.platform.schemas import ApplicationChange, Name, Strict, check
from environments.platform.shelf import full_disk_is_a_problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from environments.platform.call import Call
    from environments.platform.environment import Environment
    from environments.platform.log import AccessLog

BASE = "/platform"
BODY_SECONDS = 30
UPLOAD_SECONDS = 600
PAGE = 10_000


def _mixed(password: str) -> str:
    if not all(any(test(character) for character in password) for test in (str.isdigit, str.islower, str.isupper)):
        raise ValueError("a password has a digit, a lower and an upper case letter")
    return password


class PasswordBody(Strict):
    username: Name
    password: Annotated[str, StringConstraints(min_length=12, max_length=1000), AfterValidator(_mixed)]


class Developer:
    """Answers `/platform/...` below an environment's address, and below the root of many for all of them."""

    def __init__(self, log: AccessLog, *, with_switches: bool) -> None:
        self._log = log
        self._with_switches = with_switches

    async def answer(self, call: Call, path: str, environments: Iterable[Environment], *, prefix: str | None) -> Answer:
        """`prefix` is the one environment's, nothing when all of them are meant."""
        name, _, rest = path.partition("/")
        if name == "access-log" and not rest:
            _require(call, path, "GET")
            return self._access_log(call, environments, prefix)
        if name == "behaviour" and not rest and self._with_switches:
            _require(call, path, "GET", "PUT")
            return await self._behaviour(call, list(environments))
        if prefix is not None and name == "publish" and not rest:
            _require(call, path, "POST")
            change = check(ApplicationChange, await _json(call))
            application, is_new = call.environment.publish(change)
            return json_answer(application, 201 if is_new else 200)
        if prefix is not None and name == "packages" and not rest:
            _require(call, path, "POST")
            return await _publish_package(call)
        if prefix is not None and name == "passwords" and not rest:
            _require(call, path, "PUT")
            body = check(PasswordBody, await _json(call))
            await blocking.set_password(call.environment, body.username, body.password)
            return Answer(204)
        if prefix is not None and name == "applications" and rest:
            _require(call, path, "DELETE")
            call.environment.remove(_key(rest))
            return Answer(204)
        raise not_found(f"{BASE}/{path}")

    def _access_log(self, call: Call, environments: Iterable[Environment], prefix: str | None) -> Answer:
        query = parse_qs(call.query.decode("latin-1"))
        since, limit = _whole(query, "since", 0), min(_whole(query, "limit", PAGE), PAGE)
        lines, more = self._log.since(since, prefix=prefix, limit=limit)
        serving = json_answer([_serving(other) for environment in environments for other in environment.calls]).body
        body = b'{"lines":[%s],"more":%s,"serving":%s}' % (
            ",".join(lines).encode(),
            b"true" if more else b"false",
            serving,
        )
        return Answer(200, body, [JSON, (b"content-length", b"%d" % len(body))])

    async def _behaviour(self, call: Call, environments: list[Environment]) -> Answer:
        if call.method == "PUT":
            body = check(BehaviourBody, await _json(call))
            for environment in environments:
                behaviour = Behaviour(body)
                environment.switch = behaviour
                environment.behaviour = None if behaviour.is_idle else behaviour
                environment.clock_offset = body.clock_offset_seconds
                environment.shelf.free_bytes = body.free_bytes
        switch = environments[0].switch or Behaviour(BehaviourBody())
        return json_answer(switch.state())


async def _publish_package(call: Call) -> Answer:
    environment = call.environment
    environment.shelf.require_space(0)
    try:
        with environment.shelf.temporary() as path, full_disk_is_a_problem():
            async with asyncio.timeout(UPLOAD_SECONDS):
                with path.open("xb") as file:
                    async for piece in call.pieces(LARGEST_PACKAGE):
                        file.write(piece)
            application, is_new = await publishing.publish_package(
                environment, path, by="developer", may=lambda known: None
            )
    except TimeoutError:
        raise Problem(408, "too-slow", "The body did not arrive", f"It must within {UPLOAD_SECONDS} seconds.") from None
    return json_answer(application, 201 if is_new else 200)


def _serving(call: Call) -> dict[str, Any]:
    return {
        "contact": call.contact,
        "method": call.method,
        "path": call.path,
        "began_at": clock.text(call.began_at),
        "environment": call.environment.name,
    }


async def _json(call: Call) -> Any:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await call.json()
    except TimeoutError:
        raise Problem(408, "too-slow", "The body did not arrive", f"It must within {BODY_SECONDS} seconds.") from None


def _require(call: Call, path: str, *methods: str) -> None:
    if call.method not in methods:
        raise method_not_allowed(call.method, f"{BASE}/{path}", list(methods))


def _key(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise not_found(f"{BASE}/applications/{text}") from None


def _whole(query: dict[str, list[str]], name: str, default: int) -> int:
    value = query.get(name, [str(default)])[-1]
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Problem(400, "bad-query", "A parameter is wrong", f"{name} must be a whole number.")
    return int(value)
