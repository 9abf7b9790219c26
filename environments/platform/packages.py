"""Packages: zip files with a manifest and the web files of a version of an application. Nothing in one is trusted."""

from __future__ import annotations

import errno
import hashlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from environments.platform.canonical import MalformedError, canonical, digest, parse
from environments.platform.schemas import Colour, Instant, Key, Number, Strict, Text, Title, faults

LARGEST_PACKAGE = 1024**3
LARGEST_CONTENT = 2 * 1024**3
LARGEST_MANIFEST = 16 * 1024**2
MOST_FILES = 10_000
LONGEST_NAME = 240
SUSPICIOUS_BYTES = 1024**2  # a file above this size ...
SUSPICIOUS_RATIO = 100  # ... that shrank to less than a hundredth is taken for a bomb
CHUNK = 256 * 1024
MANIFEST = "manifest.json"
WEB = "web/"
END_RECORD = 22  # bytes of a zip file's last record, without a comment
UNSOUND = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)
EPOCH = (1980, 1, 1, 0, 0, 0)  # equal content makes equal packages

Short = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Identifier = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00-\x1f/\\]+$")]
UrlPath = Annotated[str, StringConstraints(max_length=100, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.~-]*)?$")]
DataType = Literal["Text", "Integer", "LongInteger", "Decimal", "Currency", "Boolean", "Date", "Time", "DateTime"]


class BadPackage(ValueError):
    """The file is no package; the message says why."""


class Stopped(Exception):
    """Nobody waits for the result any more."""


class Element(Strict):
    name: Identifier
    kind: Identifier
    signature: Short = ""


class Reference(Strict):
    module_key: Key
    module_name: Title
    application_key: Key
    application_name: Title
    elements: list[Element]


class SiteProperty(Strict):
    name: Identifier
    description: Text = ""
    data_type: DataType = "Text"
    default_value: Text | None = None
    is_secret: bool = False


class Endpoint(Strict):
    name: Identifier
    kind: Literal["REST", "SOAP"] = "REST"
    default_url: Text = ""


class Timer(Strict):
    name: Identifier
    default_schedule: Short = ""


class Process(Strict):
    name: Identifier
    signature: Short = ""


class Parts(Strict):
    """What a module consists of, beside its description in the change feed."""

    produces: list[Element] = []
    consumes: list[Reference] = []
    site_properties: list[SiteProperty] = []
    endpoints: list[Endpoint] = []
    timers: list[Timer] = []
    processes: list[Process] = []


class Module(Parts):
    key: Key | None = None
    name: Identifier
    kind: Literal["eSpace", "Extension"] = "eSpace"
    description: Text = ""
    version_key: Key | None = None
    hash: Annotated[str, StringConstraints(max_length=100)] = ""
    created_at: Instant | None = None
    created_by: Short = ""


class Application(Strict):
    key: Key | None = None
    name: Title
    kind: Literal["WebResponsive", "Mobile", "Service", "Library"] = "WebResponsive"
    description: Text = ""
    url_path: UrlPath | None = None
    colour: Colour = ""


class MobileVersion(Strict):
    platform: Literal["Android", "iOS"]
    version: Number
    description: Text = ""


class Version(Strict):
    key: Key
    version: Annotated[Number, StringConstraints(min_length=1)]
    change_log: Text = ""
    created_at: Instant
    created_by: Short = ""
    created_by_username: Short = ""
    based_on: Key | None = None
    mobile_versions: list[MobileVersion] = []


class File(Strict):
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Strict):
    format: Literal[1]
    application: Application
    version: Version | None = None
    modules: Annotated[list[Module], Field(max_length=1000)]
    extensibility: dict[str, Any] = {}
    files: dict[str, File] | None = None


@dataclass(frozen=True)
class Package:
    manifest: Manifest
    files: dict[str, tuple[str, int]]  # name with web/ -> digest, bytes


def read(path: Path, *, by_developer: bool = False, stop: Event | None = None) -> Package:
    """Check everything about a package, every byte of it included; raises BadPackage."""
    with _opened(path) as (archive, entries):
        manifest = _manifest(archive, entries)
        if not by_developer:
            _require_complete(manifest)
        files = {name: _digest(archive, entry, stop) for name, entry in entries.items() if name != MANIFEST}
        if manifest.files is not None:
            listed = {name: (file.digest, file.bytes) for name, file in manifest.files.items()}
            if listed != files:
                differing = sorted(name for name in listed.keys() | files if listed.get(name) != files.get(name))
                raise BadPackage(f"Files and their list in the manifest differ: {', '.join(differing[:5])}.")
        return Package(manifest, files)


def manifest_of(path: Path) -> Package:
    """What a package says of itself, without reading its files."""
    with _opened(path) as (archive, entries):
        manifest = _manifest(archive, entries)
        _require_complete(manifest)
        return Package(manifest, {name: (file.digest, file.bytes) for name, file in (manifest.files or {}).items()})


def unpack(path: Path, folder: Path, package: Package, *, stop: Event | None = None) -> None:
    """Write the web files below a new folder, each checked again; raises BadPackage. The caller cleans up."""
    folder.mkdir(parents=True)
    with _opened(path) as (archive, entries):
        for name, (expected, _) in package.files.items():
            target = folder / PurePosixPath(name.removeprefix(WEB))
            target.parent.mkdir(parents=True, exist_ok=True)
            hasher = hashlib.sha256()
            with target.open("xb") as file:
                for chunk in _chunks(archive, entries[name], stop):
                    hasher.update(chunk)
                    file.write(chunk)
            if f"sha256:{hasher.hexdigest()}" != expected:
                raise BadPackage(f"{name} has another digest than the manifest says.")


def build(
    path: Path,
    manifest: Mapping[str, Any],
    *,
    web: Path | None,
    generated: Mapping[str, bytes],
    stop: Event | None = None,
) -> tuple[str, int]:
    """Write a package with the web files of another one, or with generated ones; answer digest and size."""
    files: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, allowZip64=False, compresslevel=6) as target:
        for name, content in sorted(generated.items()):
            target.writestr(_info(name), content)
            files[name] = {"digest": digest(content), "bytes": len(content)}
        if web is not None:
            with _opened(web) as (source, entries):
                for name, entry in sorted(entries.items()):
                    if name != MANIFEST:
                        files[name] = _copied(source, entry, target, name, stop)
        target.writestr(_info(MANIFEST), canonical({**manifest, "files": files}))
    return digest_of_file(path, stop=stop), path.stat().st_size


def digest_of_file(path: Path, *, stop: Event | None = None) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            _check_stop(stop)
            hasher.update(chunk)
    return f"sha256:{hasher.hexdigest()}"


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def _copied(
    source: zipfile.ZipFile, entry: zipfile.ZipInfo, target: zipfile.ZipFile, name: str, stop: Event | None
) -> dict[str, Any]:
    hasher, size = hashlib.sha256(), 0
    with target.open(_info(name), "w") as file:
        for chunk in _chunks(source, entry, stop):
            hasher.update(chunk)
            size += len(chunk)
            file.write(chunk)
    return {"digest": f"sha256:{hasher.hexdigest()}", "bytes": size}


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    try:
        _check_end_record(path)
        with zipfile.ZipFile(path) as archive:
            yield archive, _entries(archive)
    except BadPackage:
        raise
    except UNSOUND as error:
        raise BadPackage(f"The file is no sound zip file: {error}.") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the beginning of the file
            raise
        raise BadPackage("The file is no sound zip file: it is cut off.") from None


def _check_end_record(path: Path) -> None:
    """Refuse, before anything is read into memory, lists of more files than a package may have."""
    if not path.exists():
        raise BadPackage("There is no file.")
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - END_RECORD - 20))
        tail = file.read()
    record = tail[-END_RECORD:]
    if len(record) < END_RECORD or record[:4] != b"PK\x05\x06" or record[-2:] != b"\0\0":
        raise BadPackage("The file is no zip file, is cut off, or ends in a comment.")
    count, directory_bytes = int.from_bytes(record[10:12], "little"), int.from_bytes(record[12:16], "little")
    if count > MOST_FILES or tail[:4] == b"PK\x06\x07" or directory_bytes > 16 * 1024**2:
        raise BadPackage(f"It has more than {MOST_FILES:,} files.")


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    folders: set[str] = set()
    total = 0
    if len(archive.infolist()) > MOST_FILES:
        raise BadPackage(f"It has more than {MOST_FILES:,} files.")
    for entry in archive.infolist():
        name = entry.filename
        _check_name(entry)
        if entry.is_dir():
            folders.add(name.rstrip("/").casefold())
            continue
        folded = name.casefold()
        if folded in taken:
            raise BadPackage(f"{name!r} is there twice (or differs only in case).")
        taken.add(folded)
        folders.update(str(parent).casefold() for parent in PurePosixPath(name).parents if str(parent) != ".")
        total += entry.file_size
        if total > LARGEST_CONTENT:
            raise BadPackage(f"Unpacked it is larger than {LARGEST_CONTENT:,} bytes.")
        if entry.file_size > SUSPICIOUS_BYTES and entry.compress_size * SUSPICIOUS_RATIO < entry.file_size:
            raise BadPackage(f"{name!r} unpacks to more than {SUSPICIOUS_RATIO} times its size.")
        entries[name] = entry
    if clash := taken & folders:
        raise BadPackage(f"{min(clash)!r} is a file and a folder.")
    return entries


def _check_name(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename  # as it is in the file: `filename` is cut at a NUL and has its separators changed
    shown = repr(name[:80])
    parts = name.rstrip("/").split("/")
    if len(name) > LONGEST_NAME:
        raise BadPackage(f"The name {shown}... is longer than {LONGEST_NAME} characters.")
    if any(ord(character) < 32 or character in "\\:\x7f" for character in name):
        raise BadPackage(f"The name {shown} has a character that no name may have.")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise BadPackage(f"The name {shown} leads out of the package.")
    if any(part.endswith((" ", ".")) for part in parts):
        raise BadPackage(f"The name {shown} ends in a space or a dot.")
    if name != MANIFEST and not name.startswith(WEB):
        raise BadPackage(f"{shown} is neither {MANIFEST} nor below {WEB}.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not entry.is_dir()):
        raise BadPackage(f"{shown} is a link or a device.")
    if entry.flag_bits & 0x41:
        raise BadPackage(f"{shown} is encrypted.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadPackage(f"{shown} is neither stored nor deflated.")


def _manifest(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> Manifest:
    entry = entries.get(MANIFEST)
    if entry is None or entry.file_size > LARGEST_MANIFEST:
        raise BadPackage(f"It has no {MANIFEST} (of at most {LARGEST_MANIFEST:,} bytes).")
    try:
        manifest = Manifest.model_validate(parse(archive.read(entry)))
    except MalformedError as error:
        raise BadPackage(f"{MANIFEST} is not JSON: {error}.") from None
    except ValidationError as error:
        raise BadPackage(f"{MANIFEST}: {faults(error)}.") from None
    names = [module.name.casefold() for module in manifest.modules]
    keys = [module.key for module in manifest.modules if module.key is not None]
    if len(set(names)) != len(names) or len(set(keys)) != len(keys):
        raise BadPackage(f"{MANIFEST}: two modules have one name or one key.")
    for module in manifest.modules:
        for named in (module.site_properties, module.endpoints, module.timers, module.processes):
            given = [one.name for one in named]
            if len(set(given)) != len(given):
                raise BadPackage(f"{MANIFEST}: {module.name} names something twice.")
    return manifest


def _require_complete(manifest: Manifest) -> None:
    missing = [
        name
        for name, value in (
            ("version", manifest.version),
            ("files", manifest.files),
            ("modules", manifest.modules or None),
            ("application.key", manifest.application.key),
            *((f"key of {module.name}", module.key) for module in manifest.modules),
            *((f"version_key of {module.name}", module.version_key) for module in manifest.modules),
        )
        if value is None
    ]
    if missing:
        raise BadPackage(f"{MANIFEST} lacks {', '.join(missing[:5])}.")


def _digest(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, stop: Event | None) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    for chunk in _chunks(archive, entry, stop):
        hasher.update(chunk)
        size += len(chunk)
    return f"sha256:{hasher.hexdigest()}", size


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, stop: Event | None) -> Iterator[bytes]:
    with archive.open(entry) as file:
        while chunk := file.read(CHUNK):
            _check_stop(stop)
            yield chunk


def _check_stop(stop: Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped
