"""Uploaded packages: read without trusting them, kept in the database until a worker has brought them to the target.

A package (.oap) is what docs/environment-api.md describes under "Package format", a solution (.osp) a zip file of
packages. Names, sizes and the manifest are checked here; every byte of the files is checked by the target.
"""

import errno
import hashlib
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import IO, Annotated, Literal
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from audit import log
from deployments import plans, transfer, validation
from deployments.choices import refuse_removed
from deployments.models import (
    DeploymentPlan,
    OperationKind,
    PlanOperation,
    PlanPackage,
    PlanPackagePart,
    PlanStatus,
)
from deployments.models.plan import FINISHED
from deployments.plans import PlanRefused
from deployments.words import named
from environments import gate, versions
from environments.environment_api import Name, References, ReferencesItem, Text
from environments.models import Application, ApplicationBlock, ApplicationStatus, Environment

LARGEST = 1024**3
LARGEST_CONTENT = 2 * 1024**3
LARGEST_MANIFEST = 16 * 1024**2
LARGEST_DIRECTORY = 16 * 1024**2
MOST_FILES = 10_000
MOST_PACKAGES = 100
LONGEST_NAME = 240
SUSPICIOUS_BYTES = 1024**2  # a file above this size ...
SUSPICIOUS_RATIO = 100  # ... that shrank to less than a hundredth is taken for a bomb
MANIFEST = "manifest.json"
WEB = "web/"
PACKAGE = ".oap"
END_RECORD = 22  # bytes of a zip file's last record, without a comment
UNSOUND = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)
PART = 1024 * 1024
KEPT_FOR = timedelta(hours=96)
ORPHANED_AFTER = timedelta(hours=1)


class BadPackage(gate.Refused):
    """The file is no package that could be deployed. The text says why."""


class _Application(BaseModel):
    key: UUID
    name: Name


class _Version(BaseModel):
    key: UUID
    version: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    change_log: Text = ""


class _File(BaseModel):
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class _Manifest(BaseModel):
    format: Literal[1]
    application: _Application
    version: _Version
    modules: Annotated[list[ReferencesItem], Field(min_length=1, max_length=1000)]
    files: dict[str, _File]


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package, readable from the beginning of `file`, and what its manifest says."""

    file: IO[bytes]
    digest: str
    size: int
    application_key: UUID
    application_name: str
    version_key: UUID
    version_number: str
    change_log: str
    references: References


@contextmanager
def read(file: IO[bytes]) -> Iterator[list[Package]]:
    """The packages in an uploaded file, be it one or a solution of several. Raises BadPackage."""
    with ExitStack() as opened:
        with _opened(file) as archive:
            names = [entry.filename for entry in archive.infolist()]
            files = [file] if MANIFEST in names else _unpacked(archive, opened)
        found = [_package(one) for one in files]
        keys = [one.application_key for one in found]
        if len(set(keys)) < len(keys):
            raise BadPackage("The solution has an application twice.")
        yield found


def check(file: IO[bytes]) -> None:
    """Raise BadPackage unless the file is one sound package, wherever it came from."""
    _package(file)


def create(target: Environment, packages: Sequence[Package], *, by: log.Actor, notes: str = "") -> DeploymentPlan:
    """A saved plan that deploys these packages, to be validated. Raises gate.Refused and ValidationError."""
    kept = _keep(packages)
    try:
        with transaction.atomic():
            plan = plans.create(None, target, by=by, notes=notes)
            PlanPackage.objects.filter(pk__in=kept).update(plan=plan)
            _add_operations(plan, packages)
            names = named([f"{one.application_name} {one.version_number}" for one in packages])
            log.record(
                f"Uploaded packages of {names} for deployment plan '{plan.audit_object.name}'",
                plan.audit_object,
                by=by,
                details={"digests": [one.digest for one in packages], "target": target.name},
            )
            plan = plans.save(plan, by=by, revision=plan.revision)
            return validation.request(plan, by=by)
    except BaseException:
        PlanPackage.objects.filter(pk__in=kept, plan=None).delete()
        raise


def _add_operations(plan: DeploymentPlan, packages: Sequence[Package]) -> None:
    keys = [one.application_key for one in packages]
    blocked = ApplicationBlock.objects.in_force().filter(environment=plan.target, application__key__in=keys)
    if names := sorted(blocked.values_list("application__name", flat=True)):
        raise PlanRefused(f"Blocked from deployment to {plan.target}: {', '.join(names)}. Unblock them first.")
    known = {one.key: one for one in Application.objects.filter(key__in=keys)}
    told = ApplicationStatus.objects.filter(environment=plan.target, application__key__in=keys)
    there = {one.application_id: one.version for one in told}
    operations = []
    for position, package in enumerate(packages):
        application = known.get(package.application_key)
        pk = application.pk if application else 0
        operations.append(
            PlanOperation(
                plan=plan,
                position=position,
                application=application,
                application_key=package.application_key,
                application_name=package.application_name,
                kind=OperationKind.DEPLOY,
                version_key=package.version_key,
                version_number=versions.clean(package.version_number),
                change_log=package.change_log,
                is_proposed=False,
                target_version=there.get(pk, ""),
                target_existed=pk in there,
                package_digest=package.digest,
                package_bytes=package.size,
            )
        )
    refuse_removed(operations)
    PlanOperation.objects.bulk_create(operations)


@transaction.atomic
def _keep(packages: Sequence[Package]) -> list[int]:
    """Store what was uploaded, for a plan to come."""
    ids = []
    for package in packages:
        kept = PlanPackage.objects.create(
            application_key=package.application_key,
            digest=package.digest,
            size=package.size,
            references=package.references.model_dump(mode="json"),
        )
        package.file.seek(0)
        number = 0
        while piece := package.file.read(PART):
            PlanPackagePart.objects.create(package=kept, number=number, content=piece)
            number += 1
        ids.append(kept.pk)
    return ids


class Stored:
    """Gives the packages that were uploaded for a plan in parts, as an environment gives its own."""

    def __init__(self, plan_id: int) -> None:
        self._plan_id = plan_id

    async def get_part(self, path: str, *, start: int, end: int, etag: str) -> gate.Part:
        """`path` is the digest. Raises TransferRefused when the bytes are not here any more."""
        return await sync_to_async(self._read)(path, start, end)

    def _read(self, digest: str, start: int, end: int) -> gate.Part:
        kept = PlanPackage.objects.filter(plan=self._plan_id, digest=digest).order_by("pk").first()
        if kept is None:
            raise transfer.TransferRefused("The package was not uploaded for this plan.")
        end = min(end, kept.size)
        first, last = start // PART, (end - 1) // PART
        pieces = kept.parts.filter(number__range=(first, last)).order_by("number")
        data = b"".join(bytes(one) for one in pieces.values_list("content", flat=True))
        data = data[start - first * PART : end - first * PART]
        if len(data) != end - start:
            hours = KEPT_FOR.total_seconds() / 3600
            raise transfer.TransferRefused(
                f"The uploaded package is not here any more: it is kept for {hours:.0f} hours. Upload it again."
            )
        return gate.Part(start=start, data=data, total=kept.size)


def tidy() -> None:
    """Forget the bytes of plans that have ended, and of those that nobody has carried out in time; and what a web
    process that died has left without a plan."""
    PlanPackage.objects.filter(plan=None, kept_at__lt=Now() - ORPHANED_AFTER).delete()
    over = Q(plan__status__in=[*FINISHED, PlanStatus.ABORTED])
    late = Q(kept_at__lt=Now() - KEPT_FOR)
    packages = PlanPackage.objects.filter(over | late, parts__isnull=False)
    PlanPackagePart.objects.filter(package__in=packages.values("pk")).delete()


# Reading zip files that anybody may have made


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    try:
        _check_end_record(file)
        with zipfile.ZipFile(file) as archive:
            yield archive
    except gate.Refused:
        raise
    except UNSOUND as error:
        raise BadPackage(f"The file is no sound zip file: {error}.") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the beginning of the file
            raise
        raise BadPackage("The file is no sound zip file: it is cut off.") from None


def _check_end_record(file: IO[bytes]) -> None:
    """Refuse, before anything is read into memory, lists of more files than a package may have."""
    size = file.seek(0, 2)
    file.seek(max(0, size - END_RECORD - 20))
    tail = file.read()
    record = tail[-END_RECORD:]
    if len(record) < END_RECORD or record[:4] != b"PK\x05\x06" or record[-2:] != b"\0\0":
        raise BadPackage("The file is no package: no zip file, cut off, or one that ends in a comment.")
    count, directory_bytes = int.from_bytes(record[10:12], "little"), int.from_bytes(record[12:16], "little")
    if count > MOST_FILES or tail[:4] == b"PK\x06\x07" or directory_bytes > LARGEST_DIRECTORY:
        raise BadPackage(f"It has more than {MOST_FILES:,} files.")


def _unpacked(archive: zipfile.ZipFile, opened: ExitStack) -> list[IO[bytes]]:
    """The packages in a solution, each in a file of its own that is closed with `opened`."""
    entries = _entries(archive, lambda name: True)
    packages = {name: entry for name, entry in entries.items() if name.lower().endswith(PACKAGE)}
    if not packages:
        raise BadPackage(f"It is neither a package with {MANIFEST} nor a solution with packages ({PACKAGE}).")
    if len(packages) > MOST_PACKAGES:
        raise BadPackage(f"A solution has at most {MOST_PACKAGES} packages; this one has {len(packages):,}.")
    files: list[IO[bytes]] = []
    for _, entry in sorted(packages.items()):
        file = opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
        with archive.open(entry) as content:
            while piece := content.read(PART):
                file.write(piece)
        files.append(file)
    return files


def _package(file: IO[bytes]) -> Package:
    with _opened(file) as archive:
        entries = _entries(archive, _is_of_package)
        manifest = _manifest(archive, entries)
        listed = {name: one.bytes for name, one in manifest.files.items()}
        there = {name: entry.file_size for name, entry in entries.items() if name != MANIFEST}
        if listed != there:
            differing = sorted(name for name in listed.keys() | there if listed.get(name) != there.get(name))
            raise BadPackage(f"Files and their list in the manifest differ: {', '.join(differing[:5])}.")
    digest, size = _digest(file)
    if size > LARGEST:
        raise BadPackage(f"A package of more than {LARGEST:,} bytes.")
    return Package(
        file=file,
        digest=digest,
        size=size,
        application_key=manifest.application.key,
        application_name=manifest.application.name,
        version_key=manifest.version.key,
        version_number=manifest.version.version,
        change_log=manifest.version.change_log,
        references=References(
            application_key=manifest.application.key, version_key=manifest.version.key, modules=manifest.modules
        ),
    )


def _manifest(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> _Manifest:
    entry = entries.get(MANIFEST)
    if entry is None or entry.file_size > LARGEST_MANIFEST:
        raise BadPackage(f"It has no {MANIFEST} (of at most {LARGEST_MANIFEST:,} bytes).")
    try:
        manifest = _Manifest.model_validate_json(archive.read(entry))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise BadPackage(f"{MANIFEST} is no JSON: {first['ctx']['error']}.") from None
        place = ".".join(map(str, first["loc"]))[:LONGEST_NAME]
        raise BadPackage(f"{MANIFEST}: {place}: {first['msg']}.") from None
    if any(module.version_key is None for module in manifest.modules):
        raise BadPackage(f"{MANIFEST}: a module has no version: only tagged versions are deployed.")
    return manifest


def _entries(archive: zipfile.ZipFile, may_be: Callable[[str], bool]) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    folders: set[str] = set()
    total = 0
    if len(archive.infolist()) > MOST_FILES:
        raise BadPackage(f"It has more than {MOST_FILES:,} files.")
    for entry in archive.infolist():
        name = entry.filename
        _check_name(entry, may_be)
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


def _is_of_package(name: str) -> bool:
    return name == MANIFEST or name.startswith(WEB)


def _check_name(entry: zipfile.ZipInfo, may_be: Callable[[str], bool]) -> None:
    name = entry.orig_filename  # as it is in the file: `filename` is cut at a NUL and has its separators changed
    shown = repr(name[:80])
    parts = name.rstrip("/").split("/")
    if len(name) > LONGEST_NAME:
        raise BadPackage(f"The name {shown}... is longer than {LONGEST_NAME} characters.")
    if any(ord(character) < 32 or character in "\\:\x7f" for character in name):
        raise BadPackage(f"The name {shown} has a character that no name may have.")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise BadPackage(f"The name {shown} leads out of the package.")
    if not may_be(name):
        raise BadPackage(f"{shown} is neither {MANIFEST} nor below {WEB}.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not entry.is_dir()):
        raise BadPackage(f"{shown} is a link or a device.")
    if entry.flag_bits & 0x41:
        raise BadPackage(f"{shown} is encrypted.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadPackage(f"{shown} is neither stored nor deflated.")


def _digest(file: IO[bytes]) -> tuple[str, int]:
    file.seek(0)
    hasher, size = hashlib.sha256(), 0
    while piece := file.read(PART):
        hasher.update(piece)
        size += len(piece)
    return f"sha256:{hasher.hexdigest()}", size
