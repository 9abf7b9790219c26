"""Packages that the console sends: streamed to disk, resumed, checked, kept under their digest."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from environments.platform import packages
from environments.platform.answers import CLOSE, Problem
from environments.platform.packages import LARGEST_PACKAGE, BadPackage, Package
from environments.platform.shelf import full_disk_is_a_problem, in_thread, open_to_write, remove, size_of, synchronize

if TYPE_CHECKING:
    from environments.platform.call import Call
    from environments.platform.environment import Environment

KEPT_SECONDS = 96 * 3600.0
WRITE = 1024**2  # bytes that are written at once
HEARD_OUT = 8 * 1024**2  # a body of at most so many bytes is read to its end though nobody needs it


def state(environment: Environment, digest: str) -> dict[str, Any]:
    """What is here of a package."""
    row = _row(environment, digest)
    if row is not None:
        return _complete(digest, *row)
    part = environment.shelf.part(digest)
    if not part.exists():
        raise package_unknown(digest)
    return {"digest": digest, "bytes": size_of(part), "is_complete": False}


def is_here(environment: Environment, digest: str) -> bool:
    return _row(environment, digest) is not None and environment.shelf.package(digest).exists()


async def receive(call: Call) -> tuple[dict[str, Any], int]:
    """Take a package or the next part of one; answer its state and the status of the answer."""
    try:
        return await _receive(call)
    except Problem:
        await call.drain(HEARD_OUT)
        raise


async def _receive(call: Call) -> tuple[dict[str, Any], int]:
    environment, digest = call.environment, call.parameters["digest"]
    if call.header(b"content-type").split(b";")[0].strip().lower() != b"application/zip":
        raise Problem(415, "bad-media-type", "Not a zip file", "Send application/zip.", headers=[CLOSE])
    first, last, total = _part(call)
    if (row := _row(environment, digest)) is not None:
        await call.drain(HEARD_OUT)
        return _complete(digest, *row), 200
    arriving = environment.shelf.arriving
    if digest in arriving:
        raise Problem(
            409, "package-busy", "The package is being sent", "Another request is sending it.", headers=[CLOSE]
        )
    arriving.add(digest)
    try:
        part = environment.shelf.part(digest)
        with full_disk_is_a_problem():
            size = await _write(call, part, first, last, total)
        if total is not None and size < total:
            return {"digest": digest, "bytes": size, "is_complete": False}, 202
        return await _finish(environment, digest, part), 201
    finally:
        arriving.discard(digest)


async def _write(call: Call, part: Path, first: int, last: int | None, total: int | None) -> int:
    """Write the body to its place in the file; what a request that is cut short has written stays. Answer the size."""
    shelf = call.environment.shelf
    part.parent.mkdir(parents=True, exist_ok=True)
    there = size_of(part)
    if first != there and total is not None and first != 0:
        raise Problem(
            409, "wrong-offset", "The part does not fit", f"{there} bytes are there; go on there.", headers=[CLOSE]
        )
    length = call.header(b"content-length")
    shelf.require_space(int(length) if length.isdigit() and int(length) <= LARGEST_PACKAGE else 0)
    expected = None if last is None else last + 1
    with open_to_write(part, buffering=WRITE) as file:
        file.truncate(first)
        file.seek(first)
        size = first
        async for piece in call.pieces(LARGEST_PACKAGE - first):
            size += len(piece)
            if expected is not None and size > expected:
                raise _wrong_length()
            if shelf.free_bytes is not None:
                shelf.require_space(size - first)
            file.write(piece)
    if expected is not None and size != expected:
        raise _wrong_length()
    return size


async def _finish(environment: Environment, digest: str, part: Path) -> dict[str, Any]:
    """The file is whole: check it, and put it where it belongs."""

    def examine(stop: Event) -> Package:
        found = packages.digest_of_file(part, stop=stop)
        if found != digest:
            raise Problem(422, "wrong-digest", "The digest does not match", f"What came has the digest {found}.")
        return packages.read(part, stop=stop)

    try:
        package = await in_thread(examine)
    except BadPackage as error:
        remove(part)
        raise Problem(422, "bad-package", "The file is no package", str(error)) from None
    except Problem:
        remove(part)
        raise
    size = size_of(part)
    with full_disk_is_a_problem():
        await in_thread(lambda stop: synchronize(part))  # what takes long; others are served meanwhile
        environment.shelf.keep(part, digest)
        version = package.manifest.version
        remember(environment, digest, size, str(package.manifest.application.key), str(version.key) if version else "")
    row = _row(environment, digest)
    return _complete(digest, *row) if row else {}


def remember(environment: Environment, digest: str, size: int, application_key: str, version_key: str = "") -> None:
    """A whole package is on the shelf. One without a version is a developer's and no package of the API."""
    environment.store.write(
        "INSERT INTO package (environment, digest, bytes, application, version, added_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (environment, digest) DO UPDATE SET added_at = excluded.added_at,"
        " version = iif(excluded.version = '', version, excluded.version)",
        environment.id,
        digest,
        size,
        application_key,
        version_key,
        environment.now(),
    )


def forget_old(environment: Environment, *, used: set[str]) -> None:
    """Delete packages, and parts of packages, that came long ago and that nothing uses."""
    store, shelf = environment.store, environment.shelf
    before = environment.now() - KEPT_SECONDS
    for (digest,) in store.rows(
        "SELECT digest FROM package WHERE environment = ?1 AND added_at < ?2"
        " AND digest NOT IN (SELECT digest FROM version WHERE environment = ?1 AND digest IS NOT NULL)"
        " AND digest NOT IN (SELECT web FROM version WHERE environment = ?1 AND web IS NOT NULL)"
        " AND digest NOT IN (SELECT package FROM content WHERE environment = ?1 AND package IS NOT NULL)",
        environment.id,
        before,
    ):
        if digest not in used:
            store.write("DELETE FROM package WHERE environment = ? AND digest = ?", environment.id, digest)
            remove(shelf.package(digest))
    if shelf.incoming.exists():
        for part in shelf.incoming.iterdir():
            if part.stat().st_mtime < before and f"sha256:{part.stem}" not in shelf.arriving:
                remove(part)


def package_unknown(digest: str, *, status: int = 404) -> Problem:
    return Problem(status, "package-unknown", "There is no such package", f"{digest} is not here, or not whole.")


def _row(environment: Environment, digest: str) -> tuple[int, str, str] | None:
    row = environment.store.row(
        "SELECT bytes, application, version FROM package WHERE environment = ? AND digest = ? AND version != ''",
        environment.id,
        digest,
    )
    return None if row is None else (row[0], row[1], row[2])


def _complete(digest: str, size: int, application: str, version: str) -> dict[str, Any]:
    return {
        "digest": digest,
        "bytes": size,
        "is_complete": True,
        "application_key": application,
        "version_key": version,
    }


def _part(call: Call) -> tuple[int, int | None, int | None]:
    """First byte, last byte and size of the whole, as Content-Range gives them."""
    given = call.header(b"content-range").decode("latin-1")
    if not given:
        return 0, None, None
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", given, re.ASCII)
    if found is None or not int(found[1]) <= int(found[2]) < int(found[3]):
        raise Problem(400, "bad-headers", "A header is missing or wrong", "Content-Range must be bytes N-M/TOTAL.")
    if int(found[3]) > LARGEST_PACKAGE:
        raise Problem(
            413, "body-too-large", "The body is too large", f"At most {LARGEST_PACKAGE:,} bytes.", headers=[CLOSE]
        )
    return int(found[1]), int(found[2]), int(found[3])


def _wrong_length() -> Problem:
    return Problem(
        400, "bad-headers", "A header is wrong", "The body is not as long as Content-Range says.", headers=[CLOSE]
    )
