"""One request from its first byte to its line in the access log, however it ends."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from environments.platform import clock
from environments.platform.answers import CLOSE, Answer, FileAnswer, Headers, Problem, date
from environments.platform.canonical import LARGEST_BODY, MalformedError, parse
from environments.platform.environment import contact_ended, deadline_passed, deadline_reached, epoch_passed

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from environments.platform.environment import Environment
    from environments.platform.log import AccessLog

LARGEST_NUMBER = 2**63 - 1
PIECE = 256 * 1024  # of a file
FAREWELL_SECONDS = 1.0
LONGEST_SECONDS = 24 * 3600.0  # whatever the deadline
CONTRACT_HEADERS = (b"authorization", b"lifetime-contact", b"lifetime-deadline", b"lifetime-epoch")


class Disconnected(Exception):
    """The client hung up before it had its answer."""


class Call:
    """What is known of a request, and the only way to answer it: each ends exactly once and is then in the log."""

    __slots__ = (
        "_body_complete",
        "_headers",
        "_log",
        "_receive",
        "_received",
        "_refusal",
        "_send",
        "_task",
        "_timer",
        "_transport",
        "began_at",
        "bytes_in",
        "bytes_out",
        "client_address",
        "contact",
        "deadline",
        "deadline_at",
        "ended",
        "ending",
        "environment",
        "epoch",
        "ignores_deadline",
        "is_farewell",
        "method",
        "parameters",
        "path",
        "query",
        "started",
        "status",
    )

    def __init__(
        self,
        environment: Environment,
        path: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        log: AccessLog | None,
    ) -> None:
        self.began_at = environment.now()
        self.environment = environment
        self.method = scope["method"]
        self.client_address: str = (scope.get("client") or ("", 0))[0]
        self.path = path
        self.parameters: dict[str, str] = {}  # of the path
        self.query = scope["query_string"]
        self.contact: int | None = None
        self.epoch: int | None = None
        self.deadline: str | None = None
        self.deadline_at = 0.0
        self.is_farewell = self.method == "DELETE" and path.startswith("/contacts/")
        self.ignores_deadline = False
        self.bytes_in = 0
        self.bytes_out = 0
        self.status: int | None = None
        self.started = False
        self.ended = False
        self.ending: Problem | None = None
        self._refusal: Problem | None = None
        headers = scope["headers"]
        self._headers: dict[bytes, bytes] = dict(headers)
        if len(self._headers) != len(headers):
            self._refusal = _repeated(headers)
        self._receive = receive
        self._received = bytearray()
        self._body_complete = False
        self._send = send
        self._log = log
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = scope.get("extensions", {}).get("platform.transport")

    # Admission
    def authenticate(self, token: bytes) -> None:
        given = self._headers.get(b"authorization", b"")
        if not (given[:7].lower() == b"bearer " and hmac.compare_digest(given[7:].strip(), token)):
            raise Problem(
                401,
                "unauthorized",
                "Not authorized",
                "Send the environment's token: Authorization: Bearer <token>.",
                headers=[(b"www-authenticate", b'Bearer realm="environment"')],
            )

    def admit(self, token: bytes) -> None:
        """The checks of the contract, in its order. Afterwards the call is one of those being served."""
        self._read_headers()
        self.authenticate(token)
        if self._refusal is not None:
            raise self._refusal
        environment = self.environment
        contact, epoch = self.contact or 0, self.epoch or 0
        if contact in environment.ended_contacts and not self.is_farewell:
            raise contact_ended(contact)
        if epoch < environment.epoch and not self.is_farewell:  # to stop is always welcome
            raise epoch_passed(environment.epoch)
        if epoch > environment.epoch:
            environment.raise_epoch(epoch)
        if self.deadline_at <= self.began_at:
            raise deadline_passed()
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(
            min(self.deadline_at - self.began_at, LONGEST_SECONDS), self._reach_deadline
        )
        environment.calls.add(self)

    def _read_headers(self) -> None:
        headers = self._headers
        try:
            self.contact = _number(headers.get(b"lifetime-contact"), "Lifetime-Contact", least=1)
            self.epoch = _number(headers.get(b"lifetime-epoch"), "Lifetime-Epoch", least=0)
            self.deadline = headers.get(b"lifetime-deadline", b"").decode("latin-1")
            self.deadline_at = _instant(self.deadline, "Lifetime-Deadline")
        except ValueError as error:
            self._refusal = self._refusal or _bad_headers(str(error))

    def forget_condition(self) -> None:
        self._headers.pop(b"if-none-match", None)

    def header(self, name: bytes) -> bytes:
        return self._headers.get(name, b"")

    @property
    def if_none_match(self) -> bytes | None:
        return self._headers.get(b"if-none-match")

    # The request's body
    async def json(self) -> Any:
        media_type = self._headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise Problem(415, "bad-media-type", "Not JSON", "Send application/json.")
        body = await self._body()
        try:
            return parse(body)
        except MalformedError as error:
            raise Problem(400, "bad-json", "The body is not JSON", str(error)) from None

    async def _body(self) -> bytes:
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > LARGEST_BODY:
            raise _too_large(LARGEST_BODY)
        while not self._body_complete:
            await self._hear()
            if self.bytes_in > LARGEST_BODY:
                raise _too_large(LARGEST_BODY)
        return bytes(self._received)

    async def pieces(self, largest: int) -> AsyncIterator[bytes]:
        """The body as it comes, without keeping it."""
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > largest:
            raise _too_large(largest)
        while not self._body_complete:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Disconnected
            piece = message.get("body", b"")
            self.bytes_in += len(piece)
            self._body_complete = not message.get("more_body", False)
            if self.bytes_in > largest:
                raise _too_large(largest)
            if piece:
                yield piece

    async def drain(self, largest: int) -> None:
        """Let a short body come to its end before it is refused: a refusal sent earlier is easily lost with the
        connection, which is reset when something is still on its way."""
        length = self._headers.get(b"content-length", b"")
        if length.isdigit() and int(length) <= largest:
            async for _ in self.pieces(largest):
                pass

    async def pause(self, seconds: float | None) -> None:
        """Let time pass (for ever: None) as long as the client is there."""
        try:
            async with asyncio.timeout(seconds):
                while len(self._received) <= LARGEST_BODY:
                    await self._hear()
        except TimeoutError:
            pass

    async def _hear(self) -> None:
        """Take what the client sends next: more of the body, or that it hung up."""
        message = await self._receive()
        if message["type"] != "http.request":
            raise Disconnected
        self._received += message.get("body", b"")
        self.bytes_in = len(self._received)
        self._body_complete = self._body_complete or not message.get("more_body", False)

    # The answer
    async def answer(self, answer: Answer | FileAnswer, *, outcome: str = "answered") -> None:
        """Answer in one piece, or with a file."""
        if isinstance(answer, FileAnswer):
            await self._stream(answer)
            return
        if outcome == "answered" and self._transport is not None and self._transport.is_closing():
            raise Disconnected
        body = answer.body
        now = self.environment.now()
        self.status = answer.status
        await self._send_start(answer.status, [date.at(now), *answer.headers])
        if body:
            now = self.environment.now()
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        self.bytes_out = len(body)
        self.finish(outcome, at=now)

    async def _stream(self, answer: FileAnswer) -> None:
        with answer.path.open("rb") as file:
            await self.start(answer.status, answer.headers)
            file.seek(answer.start)
            left = answer.length if self.method != "HEAD" else 0
            while left > PIECE:
                piece = await asyncio.to_thread(file.read, PIECE)
                if not piece:
                    raise OSError(f"{answer.path} is shorter than it was")
                left -= len(piece)
                await self.write(piece)
            await self.answer_rest(file.read(left))

    async def start(self, status: int, headers: Headers) -> None:
        """Begin an answer that goes out in pieces."""
        self.status = status
        await self._send_start(status, [date.at(self.environment.now()), *headers])

    async def write(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self.bytes_out += len(piece)
        if self._transport is not None and self._transport.is_closing():
            raise Disconnected

    async def answer_rest(self, piece: bytes) -> None:
        """End an answer that went out in pieces."""
        now = self.environment.now()
        await self._send({"type": "http.response.body", "body": piece, "more_body": False})
        self.bytes_out += len(piece)
        self.finish("answered", at=now)

    async def _send_start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self.started = True

    def hang_up(self) -> None:
        """Close the connection after what was sent."""
        self.finish("answered", at=self.environment.now())
        if self._transport is not None:
            self._transport.close()

    # The end
    def end(self, outcome: str, problem: Problem) -> None:
        """Stop serving, at once: when this returns the call is over and logged, and its task is being cancelled."""
        if self.ended:
            return
        self.ending = problem
        if self.started:
            if self._transport is not None:
                self._transport.abort()  # close() would still send what is buffered
        else:
            self.status = problem.status
            self.bytes_out = len(problem.answer().body)
        self.finish(outcome, at=self.environment.now())
        if self._task is not None:
            self._task.cancel()

    async def say_farewell(self) -> None:
        """Tell the client of an ended call why, if nothing was sent yet; the connection is closed either way."""
        if self._task is not None:
            self._task.uncancel()
        if self.started or self.ending is None:
            return
        answer = self.ending.answer().closing()
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._send_start(answer.status, [date.at(self.environment.now()), *answer.headers])
                await self._send({"type": "http.response.body", "body": answer.body, "more_body": False})
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()

    def finish(self, outcome: str, *, at: float) -> None:
        if self.ended:
            return
        self.ended = True
        self.environment.calls.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._log is not None:
            self._log.append(
                self.environment.prefix,
                self.environment.name,
                self.contact,
                self.epoch,
                self.deadline or None,
                self.method,
                self.path,
                self.began_at,
                at,
                self.status,
                outcome,
                self.bytes_in,
                self.bytes_out,
            )

    def _reach_deadline(self) -> None:
        if not self.ignores_deadline:
            self.end("deadline", deadline_reached())


def _number(value: bytes | None, name: str, *, least: int) -> int:
    if value is None:
        raise ValueError(f"{name} is missing")
    if not value.isdigit() or len(value) > 19 or not least <= int(value) <= LARGEST_NUMBER:
        raise ValueError(f"{name} must be a whole number from {least} to {LARGEST_NUMBER}")
    return int(value)


def _instant(value: str, name: str) -> float:
    if not value:
        raise ValueError(f"{name} is missing")
    try:
        return clock.parse(value)
    except ValueError:
        raise ValueError(f"{name} must be an instant such as 2026-11-23T10:00:00.000000Z") from None


def _repeated(headers: Any) -> Problem | None:
    names = [name for name, _ in headers]
    for name in CONTRACT_HEADERS:
        if names.count(name) > 1:
            return _bad_headers(f"{name.decode().title()} is given more than once")
    return None


def _bad_headers(detail: str) -> Problem:
    return Problem(400, "bad-headers", "A header is missing or wrong", detail)


def _too_large(largest: int) -> Problem:
    return Problem(413, "body-too-large", "The body is too large", f"At most {largest:,} bytes.", headers=[CLOSE])
