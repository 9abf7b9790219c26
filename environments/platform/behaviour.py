"""The test switch: answer slowly or wrongly, so that a client can be tested against trouble. Only with `--switches`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from environments.platform.answers import JSON, Answer, FileAnswer, Headers, Problem
from environments.platform.canonical import canonical
from environments.platform.schemas import StepName, Strict

if TYPE_CHECKING:
    from environments.platform.call import Call

HUGE = 2 * 1024**3
PIECE = b"x" * 65_536
DEPTH = 10_000
LONGEST_OFFSET = 30 * 86_400
FAILURES = r"^(|status:[45]\d\d|html|redirect|huge|deep|garbage|wrong_types|duplicate_keys|hang|half|lost|corrupt)$"


class BehaviourBody(Strict):
    delay_seconds: Annotated[float, Field(ge=0, le=3600, strict=False)] = 0.0
    paths: list[str] = []
    fail: Annotated[str, StringConstraints(pattern=FAILURES)] = ""
    times: Annotated[int, Field(ge=0)] = 0
    clock_offset_seconds: Annotated[float, Field(ge=-LONGEST_OFFSET, le=LONGEST_OFFSET, strict=False)] = 0.0
    free_bytes: Annotated[int, Field(ge=0)] | None = None
    step_seconds: dict[StepName, Annotated[float, Field(ge=0, le=3600, strict=False)]] = {}
    fail_step: StepName | Literal[""] = ""


class Behaviour:
    """How an environment misbehaves now; `left` requests more, or until changed."""

    def __init__(self, body: BehaviourBody) -> None:
        self.body = body
        self.left = body.times

    @property
    def is_idle(self) -> bool:
        return not self.body.delay_seconds and not self.body.fail

    def applies_to(self, path: str) -> bool:
        """Whether this request misbehaves. Farewells do so only when named: an empty list means all other paths."""
        if self.is_idle or (self.body.times and not self.left):
            return False
        if not self.body.paths:
            matches = not path.startswith("/contacts/")
        else:
            matches = any(path == named or path.startswith(named.rstrip("/") + "/") for named in self.body.paths)
        if matches and self.body.times:
            self.left -= 1
        return matches

    def state(self) -> dict[str, Any]:
        return {**self.body.model_dump(), "left": self.left}


async def fail(call: Call, failure: str, answer: Answer | FileAnswer) -> None:
    """Give the call an answer that is wrong in the named way; `answer` is what it should have been."""
    if isinstance(answer, FileAnswer):
        await _fail_file(call, failure, answer)
        return
    if failure.startswith("status:"):
        status = int(failure[7:])
        await call.answer(Problem(status, "switched", "Switched to fail", "The test switch is set.").answer())
    elif failure == "html":
        await call.answer(
            _with(b"<!doctype html><title>Welcome</title><h1>It works!</h1>", b"text/html; charset=utf-8")
        )
    elif failure == "redirect":
        location = f"{call.environment.prefix}/environment/v1/redirected".encode()
        await call.answer(Answer(302, b"", [(b"location", location), (b"content-length", b"0")]))
    elif failure == "hang":
        call.ignores_deadline = True
        await call.pause(None)
    elif failure == "huge":
        await _pour(call)
    elif failure == "half":
        await call.start(200, [JSON, (b"content-length", b"%d" % max(2, len(answer.body)))])
        await call.write((answer.body or b"{}")[: max(1, len(answer.body) // 2)])
        call.hang_up()
    else:
        await call.answer(_with(_wrong_body(failure, answer.body), b"application/json"))


async def _fail_file(call: Call, failure: str, answer: FileAnswer) -> None:
    """`half` breaks off in the middle, `corrupt` changes one byte; else the failures of any answer."""
    if failure not in ("half", "corrupt"):
        await fail(call, failure, Answer(200, b"{}"))
        return
    content = bytearray(answer.path.read_bytes()[answer.start : answer.start + answer.length])
    await call.start(answer.status, answer.headers)
    if failure == "half":
        await call.write(bytes(content[: len(content) // 2]))
        call.hang_up()
        return
    content[len(content) // 2] ^= 1
    await call.answer_rest(bytes(content))


def _wrong_body(failure: str, body: bytes) -> bytes:
    match failure:
        case "deep":
            return b"[" * DEPTH + b"]" * DEPTH
        case "wrong_types":
            return canonical(_retyped(json.loads(body or b"{}")))
        case "duplicate_keys":
            return _duplicated(json.loads(body or b"{}"))
        case _:
            return bytes(range(256)) * 4


async def _pour(call: Call) -> None:
    """Two gigabytes of one string, as fast as the client takes them."""
    await call.start(200, [JSON])
    await call.write(b'{"name":"')
    for _ in range(HUGE // len(PIECE)):
        await call.write(PIECE)
    await call.answer_rest(b'"}')


def _retyped(value: Any) -> Any:
    match value:
        case dict():
            return {key: _retyped(member) for key, member in value.items()}
        case list():
            return {"not": "a list"}
        case bool():
            return "yes"
        case str():
            return 12345
        case None:
            return []
        case _:
            return "many"


def _duplicated(value: Any) -> bytes:
    """Two applications with one key; elsewhere an object that names its first member twice."""
    if isinstance(value, dict) and value.get("applications"):
        first = value["applications"][0]
        value["applications"].append({**first, "name": first["name"] + " again"})
        return canonical(value)
    if isinstance(value, dict) and value:
        name, member = sorted(value.items())[0]
        return b"{" + canonical(name) + b":" + canonical(member) + b"," + canonical(value)[1:]
    return b'{"key":1,"key":2}'


def _with(body: bytes, media_type: bytes) -> Answer:
    headers: Headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
    return Answer(200, body, headers)
