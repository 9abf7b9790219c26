"""Web applications: the files of a package, compiled into a folder, and served below the application's URL path."""

from __future__ import annotations

import gzip
import json
import mimetypes
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from environments.platform import content as contents
from environments.platform import packages, protection
from environments.platform.answers import Answer, FileAnswer, Headers, method_not_allowed, not_found
from environments.platform.canonical import canonical, digest
from environments.platform.packages import WEB, Package
from environments.platform.schemas import CONTAINED
from environments.platform.shelf import synchronize

if TYPE_CHECKING:
    from environments.platform.call import Call

INDEX = "site.json"
COMPRESSED_FROM = 1024  # bytes; below it is not worth it
COMPRESSED_UP_TO = 16 * 1024**2
TEXTUAL = ("text/", "application/javascript", "application/json", "application/xml", "image/svg+xml")
FALLBACK = "application/octet-stream"


def compile_site(package_path: Path, package: Package, folder: Path, stop: Event) -> int:
    """Unpack the web files and make what is needed to serve them; answer how many there are. Slow: in a thread."""
    files = folder / "files"
    packages.unpack(package_path, files, package, stop=stop)
    index: dict[str, dict[str, Any]] = {}
    for name, (checksum, size) in package.files.items():
        path = name.removeprefix(WEB)
        media_type = mimetypes.guess_type(path)[0] or FALLBACK
        entry = {"digest": checksum, "bytes": size, "type": media_type, "compressed": None}
        if media_type.startswith(TEXTUAL) and COMPRESSED_FROM <= size <= COMPRESSED_UP_TO:
            smaller = gzip.compress((files / path).read_bytes(), 6, mtime=0)
            if len(smaller) < size:
                compressed = folder / "compressed" / checksum.removeprefix("sha256:")
                compressed.parent.mkdir(exist_ok=True)
                compressed.write_bytes(smaller)
                entry["compressed"] = len(smaller)
        index[path] = entry
    (folder / INDEX).write_bytes(canonical(index))
    for path_ in sorted(folder.rglob("*")):
        synchronize(path_)
    synchronize(folder)
    return len(index)


def serve(call: Call, application: Mapping[str, Any], path: str) -> Answer | FileAnswer:
    """The answer for a path below the application's own; `path` begins with a slash, or is nothing."""
    if call.method not in ("GET", "HEAD"):
        raise method_not_allowed(call.method, path, ["GET", "HEAD"])
    environment = call.environment
    if path == "":
        location = f"{environment.prefix}/{quote(application['url_path'])}/".encode()
        return Answer(302, b"", [(b"location", location), (b"content-length", b"0")])
    own = protection.load(environment, application["key"])
    if moved := protection.moved_to_https(call, own, f"/{application['url_path']}{path}"):
        return moved
    content = contents.load(environment, application)
    compiled = content.compiled or contents.compiled_security(environment)
    headers = _security_headers(protection.compiled(own, compiled))
    name = path[1:] or "index.html"
    if name.endswith("/"):
        name += "index.html"
    if content.site is None:
        return _generated(call, application, content, name, headers)
    folder = environment.shelf.site(content.site)
    entry = _index(folder).get(name)
    if entry is None:
        raise not_found(path)
    return _file(call, folder, name, entry, headers)


def _generated(
    call: Call, application: Mapping[str, Any], content: contents.Content, name: str, headers: Headers
) -> Answer:
    version = {"version": application["version"] + ("+" if application["is_modified"] else "")}
    pages = contents.generated(contents.manifest(application, content, version if application["version"] else None))
    body = pages.get(f"{WEB}{name}")
    if body is None:
        raise not_found(f"/{name}")
    etag = f'"{digest(body)}"'.encode()
    if call.if_none_match == etag:
        return Answer(304, b"", [(b"etag", etag), *headers])
    media_type = (b"content-type", b"text/html; charset=utf-8")
    return Answer(200, body, [media_type, (b"etag", etag), (b"content-length", b"%d" % len(body)), *headers])


def _file(call: Call, folder: Path, name: str, entry: Mapping[str, Any], headers: Headers) -> Answer | FileAnswer:
    accepts = call.header(b"accept-encoding").decode("latin-1")
    compressed = entry["compressed"] if "gzip" in accepts and "gzip;q=0" not in accepts.replace(" ", "") else None
    checksum = entry["digest"]
    etag = f'"{checksum}{"-gzip" if compressed else ""}"'.encode()
    headers = [*headers, (b"etag", etag), (b"cache-control", b"no-cache")]
    if entry["compressed"]:
        headers.append((b"vary", b"Accept-Encoding"))
    if call.if_none_match == etag:
        return Answer(304, b"", headers)
    media_type = entry["type"] + ("; charset=utf-8" if entry["type"].startswith("text/") else "")
    size = compressed or entry["bytes"]
    headers += [(b"content-type", media_type.encode()), (b"content-length", b"%d" % size)]
    if compressed:
        headers.append((b"content-encoding", b"gzip"))
        return FileAnswer(200, folder / "compressed" / checksum.removeprefix("sha256:"), 0, size, headers)
    return FileAnswer(200, folder / "files" / name, 0, size, headers)


def _security_headers(compiled: Mapping[str, Any]) -> Headers:
    headers: Headers = [(b"x-content-type-options", b"nosniff")]
    if compiled["hsts"]:
        headers.append((b"strict-transport-security", b"max-age=31536000"))
    policy = compiled["content_security_policy"]
    if policy["enabled"] and policy["directives"]:
        directives = "; ".join(_directives(policy["directives"]))
        headers.append((b"content-security-policy", directives.encode("ascii")))
    return headers


def _directives(given: Mapping[str, list[str]]) -> Iterator[str]:
    """As a policy has them; what is under "other" are whole directives. Nothing that could end one gets through."""
    for name, values in sorted(given.items()):
        contained = [value for value in values if re.fullmatch(CONTAINED, value)]
        if name == "other":
            yield from contained
        elif re.fullmatch(r"[a-z-]+", name):
            yield " ".join([name, *contained])


@lru_cache(maxsize=256)
def _index(folder: Path) -> dict[str, dict[str, Any]]:
    """A site never changes: another version is another folder."""
    return dict(json.loads((folder / INDEX).read_bytes()))
