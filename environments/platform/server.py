"""The ASGI application: finds the environment, admits the request, misbehaves when told to, answers, logs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from environments.platform import api, behaviour, center, developer, page, publishing, sites
from environments.platform.answers import Answer, FileAnswer, Problem, json_answer, method_not_allowed, not_found
from environments.platform.call import Call, Disconnected

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from starlette.types import Receive, Scope, Send

    from environments.platform.environment import Environment
    from environments.platform.events import Courier
    from environments.platform.log import AccessLog

logger = logging.getLogger("platform")
CLEAN_UP_SECONDS = 3600
LEFTOVER_SECONDS = 24 * 3600.0  # by then nobody works in a file any more; at the start nobody does


class Server:
    def __init__(
        self,
        environments: Sequence[Environment],
        log: AccessLog,
        courier: Courier,
        *,
        token: str,
        with_switches: bool,
    ) -> None:
        self._by_prefix = {environment.prefix: environment for environment in environments}
        self._token = token.encode()
        self._log = log
        self._courier = courier
        self._center = center.Center()
        self._developer = developer.Developer(log, with_switches=with_switches)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        prefix, base, rest = path.partition(api.BASE)
        environment = self._by_prefix.get(prefix)
        if base and environment is not None and (not rest or rest[0] == "/"):
            await self._serve(Call(environment, rest, scope, receive, send, log=self._log))
        else:
            await self._serve_own(path, scope, receive, send)

    async def _serve(self, call: Call) -> None:
        """A request of the Environment API."""
        try:
            try:
                call.admit(self._token)
            except Problem as refusal:
                await call.answer(refusal.answer(), outcome="refused")
                return
            if call.epoch != call.environment.durable_epoch:
                await call.environment.epoch_durable()
            try:
                switched = call.environment.behaviour
                if switched is not None and switched.applies_to(call.path):
                    await _misbehave(call, switched)
                else:
                    await call.answer(await _answer(call))
            except Problem as problem:
                await call.answer(problem.answer())
        except Disconnected:
            call.finish("disconnected", at=call.environment.now())
        except asyncio.CancelledError:
            if call.ending is None:
                raise
            await call.say_farewell()
        except Exception:
            logger.exception("%s %s failed", call.method, call.path)
            await _apologize(call)
        finally:
            call.finish("disconnected", at=call.environment.now())

    async def _serve_own(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything beside the API: the developer's paths and the page. None of it is in the access log."""
        prefix = "/" + path.split("/", 2)[1] if "" not in self._by_prefix else ""
        found = self._by_prefix.get(prefix)
        rest = path.removeprefix(prefix) if found is not None else path
        call = Call(found or next(iter(self._by_prefix.values())), rest, scope, receive, send, log=None)
        try:
            try:
                await call.answer(await self._own_answer(call, rest, found))
            except Problem as problem:
                await call.answer(problem.answer())
        except Disconnected:
            pass
        except FileNotFoundError:  # a site that was replaced at this moment
            with contextlib.suppress(Disconnected):
                await call.answer(not_found(rest).answer())
        except Exception:
            logger.exception("%s %s failed", call.method, path)
            await _apologize(call)

    async def _own_answer(self, call: Call, rest: str, found: Environment | None) -> Answer | FileAnswer:
        environments = [found] if found is not None else list(self._by_prefix.values())
        if rest.startswith(developer.BASE + "/"):
            call.authenticate(self._token)
            name = rest.removeprefix(developer.BASE + "/")
            return await self._developer.answer(call, name, environments, prefix=found.prefix if found else None)
        if found is not None and (rest == center.BASE or rest.startswith(center.BASE + "/")):
            return await self._center.answer(call, rest.removeprefix(center.BASE))
        if found is not None and rest not in ("", "/", "/platform.css"):
            return _site(call, found, rest)
        if rest not in ("", "/", "/platform.css"):
            raise not_found(rest)
        if call.method != "GET":
            raise method_not_allowed(call.method, rest, ["GET"])
        if rest == "/platform.css":
            return page.style()
        return page.of_environment(found) if found is not None else page.of_all(environments)

    def background(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What goes on beside requests, for ever."""
        return [self._courier.run, self._clean_up]

    async def _clean_up(self) -> None:
        older_than = 0.0
        while True:
            for environment in self._by_prefix.values():
                try:
                    publishing.clean_up(environment, older_than=older_than)
                except OSError:
                    logger.exception("Cleaning up %s failed", environment.name)
                await asyncio.sleep(0)
            older_than = LEFTOVER_SECONDS
            await asyncio.sleep(CLEAN_UP_SECONDS)

    def end_all(self) -> None:
        """The process is about to stop: end whatever is being served."""
        problem = Problem(503, "stopping", "The server is stopping")
        for environment in self._by_prefix.values():
            for call in list(environment.calls):
                call.end("ended", problem)


def _site(call: Call, environment: Environment, path: str) -> Answer | FileAnswer:
    name, slash, rest = path[1:].partition("/")
    application = environment.application_at(name)
    if application is None:
        raise not_found(path)
    return sites.serve(call, application, slash + rest)


async def _answer(call: Call) -> Answer | FileAnswer:
    handler, call.parameters = api.find(call.method, call.path)
    return await handler(call)


async def _misbehave(call: Call, switched: behaviour.Behaviour) -> None:
    if switched.body.delay_seconds:
        await call.pause(switched.body.delay_seconds)
    if not switched.body.fail:
        await call.answer(await _answer(call))
        return
    call.forget_condition()
    if switched.body.fail == "lost":
        with contextlib.suppress(Problem):
            await _answer(call)
        call.hang_up()
        return
    right = await _answer(call) if call.method == "GET" else json_answer({"digest": "sha256:" + "0" * 64})
    await behaviour.fail(call, switched.body.fail, right)


async def _apologize(call: Call) -> None:
    if not call.started:
        with contextlib.suppress(Disconnected):
            await call.answer(Problem(500, "server-error", "The server failed", "Its log says more.").answer())
