"""An environment's files: packages by digest, packages that are arriving, staging areas, sites that are served."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import IO, TypeVar

from environments.platform.answers import Problem

RESERVE = 16 * 1024**2  # bytes of the disk that stay free for the store and the log
Result = TypeVar("Result")


class Shelf:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages = folder / "packages"
        self.incoming = folder / "incoming"
        self.staging = folder / "staging"
        self.sites = folder / "sites"
        self.databases = folder / "databases"  # what people put there
        self.free_bytes: int | None = None  # the test switch pretends that the disk has no more than that
        self.arriving: set[str] = set()  # digests of packages that a request is sending now

    def package(self, digest: str) -> Path:
        return self.packages / f"{digest.removeprefix('sha256:')}.zip"

    def part(self, digest: str) -> Path:
        """Of a package that is not whole yet."""
        return self.incoming / f"{digest.removeprefix('sha256:')}.part"

    def site(self, name: str) -> Path:
        return self.sites / name

    def new_site(self) -> str:
        return secrets.token_hex(8)

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """A new path that is gone afterwards, unless it was moved away."""
        self.staging.mkdir(parents=True, exist_ok=True)
        path = self.staging / secrets.token_hex(8)
        try:
            yield path
        finally:
            remove(path)

    def keep(self, path: Path, digest: str, *, durably: bool = True) -> None:
        """Move a whole package to its place; one that could be made again need not outlive a power cut."""
        self.packages.mkdir(parents=True, exist_ok=True)
        if durably:
            synchronize(path)
        path.replace(self.package(digest))
        if durably:
            synchronize(self.packages)

    def require_space(self, size: int) -> None:
        """Raise the problem `no-space` when the disk has no room for so many bytes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free - RESERVE
        if self.free_bytes is not None:
            free = min(free, self.free_bytes)
        if size > free:
            raise no_space(f"{size:,} bytes are needed, {max(0, free):,} are free.")


def synchronize(path: Path) -> None:
    """Return when a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def open_to_write(path: Path, *, buffering: int) -> IO[bytes]:
    """A file as it is, or a new one."""
    return path.open("r+b" if path.exists() else "wb", buffering=buffering)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def full_disk_is_a_problem() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space("The disk is full.") from None
        raise


def no_space(detail: str) -> Problem:
    return Problem(507, "no-space", "There is no room", detail)


async def in_thread(work: Callable[[Event], Result]) -> Result:
    """Do slow work beside the event loop. When the caller is cancelled the work is told to stop, and waited for.

    So nothing goes on working in the files of a request that is over.
    """
    stop = Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at, so that nobody warns of it
        raise
