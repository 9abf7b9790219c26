"""Packages go from the source's platform to the target's, part by part; none is ever held whole.

While a part is being sent the next one is being read. What a transfer that was cut short has brought over stays at the
target: the next one asks how much is there, and goes on there. A target that has the package already is left alone.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import BaseModel, Field

from environments import gate
from environments.environment_api import read

TOGETHER = 4  # packages that are on their way at once
FIRST_PART = 512 * 1024
SMALLEST_PART = 64 * 1024
QUICK, SLOW = 0.5, 2.0  # seconds; a part should take something between them
FINISHING_SECONDS = 60.0  # the target checks every byte before it answers the last part; the lease allows less
PATIENCE = 15.0  # seconds without any progress, while the target answers
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


class TransferRefused(Exception):
    """The package was not brought over. The text is for people."""


class PackageDamaged(TransferRefused):
    """What the source has is not the package that the version names."""


class NoSpace(TransferRefused):
    """The target's disk is full."""


class PackageBusy(TransferRefused):
    """Somebody else is sending the same package to the target, and gets no further."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """What is to be brought over. `path` is where the source offers it; `size` may be left to the source to tell."""

    path: str
    digest: str
    size: int | None = None


class Source(Protocol):
    """Gives packages in parts: an environment does, and whoever keeps uploaded ones."""

    async def get_part(self, path: str, *, start: int, end: int, etag: str) -> gate.Part: ...


class PackageState(BaseModel):
    """What the target has of a package."""

    digest: str
    bytes: Annotated[int, Field(ge=0)]
    is_complete: bool = True


@dataclass
class Pace:
    """How large the next part is: what this link carries in a second or so, for each part has a deadline."""

    part: int = FIRST_PART

    def took(self, seconds: float, size: int) -> None:
        if seconds > SLOW:
            self.part = max(SMALLEST_PART, self.part // 2)
        elif seconds < QUICK and size >= self.part:
            self.part = min(gate.LONGEST_PART, self.part * 2)


async def transfer_all(
    source: Source,
    target: gate.Client,
    packages: Iterable[Package],
    *,
    on_progress: Callable[[str, int, int], None] = lambda digest, there, total: None,
) -> int:
    """Bring packages over, some at once; the first that fails ends all. Answers how many bytes were sent.

    `on_progress` hears the digest, the bytes of it at the target, and its size.
    """
    pace = Pace()
    waiting = iter({package.digest: package for package in packages}.values())
    sent = 0

    async def carry() -> None:
        nonlocal sent
        for package in waiting:

            def report(there: int, total: int, digest: str = package.digest) -> None:
                on_progress(digest, there, total)

            carried = await _Transfer(source, target, package, report, pace).run()
            sent += carried

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(TOGETHER):
                group.create_task(carry())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return sent


async def transfer(
    source: Source,
    target: gate.Client,
    *,
    package_path: str,
    digest: str,
    size: int | None = None,
    on_progress: Callable[[int, int], None] = lambda there, total: None,
) -> int:
    """Bring one package over. Answers how many bytes were sent: 0 when the target had it.

    Raises TransferRefused, and lets through Unreachable and Rejected; a later call goes on where this one ended.
    """
    package = Package(path=package_path, digest=digest, size=size)
    return await _Transfer(source, target, package, on_progress, Pace()).run()


class _Transfer:
    def __init__(
        self,
        source: Source,
        target: gate.Client,
        package: Package,
        on_progress: Callable[[int, int], None],
        pace: Pace,
    ) -> None:
        self._source = source
        self._target = target
        self._package = package
        self._path = f"/packages/{package.digest}"
        self._on_progress = on_progress
        self._pace = pace
        self._sent = 0
        self._furthest = 0
        self._furthest_at = time.monotonic()
        self._pause = FIRST_PAUSE
        self._began_at = 0  # byte where the last attempt began
        self._from_start = False  # the next one, whatever is there
        self._was_damaged = False

    async def run(self) -> int:
        while True:
            state = await self._ask()
            if state.is_complete:
                self._on_progress(state.bytes, state.bytes)
                return self._sent
            self._began_at = self._start(state)
            try:
                await self._send(self._began_at)
            except gate.Rejected as rejection:
                await self._consider(rejection)
            except _Broken as trouble:
                # The target may have refused before it had heard everything, and the refusal was lost with the
                # connection. If it can still be asked, and not for ever, it is tried again.
                await self._wait(trouble.error)
            else:
                return self._sent

    async def _ask(self) -> PackageState:
        """How much of the package is at the target."""
        try:
            answer = await self._target.get(self._path)
        except gate.Rejected as rejection:
            if rejection.code != "package-unknown":
                raise
            return PackageState(digest=self._package.digest, bytes=0, is_complete=False)
        return self._told(answer)

    def _told(self, answer: gate.Answer) -> PackageState:
        state = read(answer, PackageState, step="/packages")
        if state.digest != self._package.digest:
            raise gate.Rejected("The answer to /packages is about another package than was asked for.")
        if state.bytes > self._furthest:
            self._furthest, self._furthest_at, self._pause = state.bytes, time.monotonic(), FIRST_PAUSE
        return state

    def _start(self, state: PackageState) -> int:
        """Where to go on. What is as long as the package and not whole was never checked to its end: start over."""
        is_too_long = self._package.size is not None and state.bytes >= self._package.size
        start = 0 if self._from_start or is_too_long else state.bytes
        self._from_start = False
        return start

    async def _send(self, start: int) -> None:
        """Send the package from `start` to its end."""
        reading: asyncio.Task[tuple[gate.Part, float]] | None = asyncio.create_task(self._read(start))
        try:
            while reading is not None:
                part, seconds = await reading
                is_last = part.end == part.total
                reading = None if is_last else asyncio.create_task(self._read(part.end))
                began = time.monotonic()
                state = await self._put(part, seconds=FINISHING_SECONDS if is_last else None)
                self._on_progress(state.bytes, part.total)
                if state.is_complete:
                    return
                if is_last or state.bytes != part.end:
                    raise gate.Rejected("The target lost its place in the package.", code="wrong-offset")
                self._pace.took(max(seconds, time.monotonic() - began), len(part.data))
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, start: int) -> tuple[gate.Part, float]:
        package, began = self._package, time.monotonic()
        part = await self._source.get_part(
            package.path, start=start, end=start + self._pace.part, etag=f'"{package.digest}"'
        )
        if package.size not in (None, part.total):
            raise PackageDamaged(
                f"The package at the source has {part.total:,} bytes; that of the version has {package.size:,}."
            )
        return part, time.monotonic() - began

    async def _put(self, part: gate.Part, *, seconds: float | None) -> PackageState:
        self._sent += len(part.data)
        try:
            answer = await self._target.put_part(
                self._path, part.data, start=part.start, total=part.total, seconds=seconds
            )
        except gate.Unreachable as error:
            raise _Broken(error) from None
        return self._told(answer)

    async def _consider(self, rejection: gate.Rejected) -> None:
        """Return when it should be tried again, asking what is there; raise what ends the transfer."""
        match rejection.code:
            case "wrong-digest" if not self._was_damaged:
                self._was_damaged = True  # perhaps on its way, or by what an earlier transfer had left there
                self._furthest = 0
            case "wrong-digest" | "bad-package" | "another-file":
                raise PackageDamaged(
                    f"The package at the source is damaged, or not the one that the version names: {rejection}"
                ) from None
            case "no-space":
                raise NoSpace(f"There is no room for the package at the target: {rejection}") from None
            case "bad-range" if self._began_at:  # the target has more than there is, of something else
                self._from_start = True
            case "package-busy" | "wrong-offset":
                await self._wait(rejection)
            case _:
                raise rejection

    async def _wait(self, trouble: gate.Rejected | gate.Unreachable) -> None:
        """Pause before the next attempt; raise the trouble when nothing has got on for a while.

        When somebody else sends the same package that gets on without us.
        """
        if time.monotonic() - self._furthest_at > PATIENCE:
            if isinstance(trouble, gate.Rejected) and trouble.code == "package-busy":
                raise PackageBusy(f"Another transfer of this package is under way and gets no further: {trouble}")
            raise trouble
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


class _Broken(Exception):
    """The connection to the target broke while a part was being sent."""

    def __init__(self, error: gate.Unreachable) -> None:
        super().__init__(str(error))
        self.error = error
