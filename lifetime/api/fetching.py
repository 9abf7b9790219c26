"""Files for downloads: asked for by a call, brought and made by a worker, kept in the database until they expire.

They are kept there so that every web process on every host can give them out. A package comes from an environment that
has it, part by part, and counts only when its digest is that of the version. Source code and solutions are made of
packages.
"""

import asyncio
import hashlib
import json
import logging
import tempfile
import zipfile
from collections.abc import Sequence
from datetime import timedelta
from typing import IO, Any
from uuid import UUID

import uvloop
from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models.functions import Now

from audit import log
from deployments import packages
from environments import gate
from environments.environment_api import References, VersionItem, read
from environments.models import Application, ApplicationStatus, Environment, Module, Purpose
from environments.operations import explain
from lifetime.models import Download, DownloadKind, DownloadPart, DownloadStatus, ServiceAccount
from lifetime.queue import enqueue

logger = logging.getLogger(__name__)

PART = 1024 * 1024
LONGEST_SECONDS = 270  # less than the queue's timeout
ORPHANED_AFTER = timedelta(minutes=10)
REUSED_FOR = timedelta(hours=1)
KEPT_FOR = timedelta(hours=3)  # longer than a link that is given out at the end of REUSED_FOR
MOST_APPLICATIONS = 100
MOST_UNDER_WAY = 20  # of one account: each takes a worker for a while, and others wait for workers, too
NOT_IN_NAMES = str.maketrans("/\\:", "___")  # of files, wherever they are unpacked
SOLUTION = "\nMicrosoft Visual Studio Solution File, Format Version 12.00\n"  # tools look for one in each module


class NoPackage(gate.Refused):
    """There is nothing to bring. The text says why."""


class TooMany(gate.Refused):
    """Nothing was queued: the account waits for enough already."""


def wanted(application: Application, version_key: UUID) -> dict[str, str]:
    """One entry of the `applications` of a download's parameters."""
    return {"key": str(application.key), "name": application.name, "version": str(version_key)}


def request(
    kind: DownloadKind,
    environment: Environment,
    applications: Sequence[dict[str, str]],
    *,
    name: str,
    account: ServiceAccount,
    by: log.Actor,
    with_references: bool = False,
    module: Module | None = None,
) -> Download:
    """Queue a file; raises gate.Refused."""
    with transaction.atomic():
        [locked] = Environment.objects.filter(pk=environment.pk).lock()
        if locked.maintenance_window:
            raise gate.InMaintenance(explain(locked.name, locked.maintenance_window, "Reading packages"))
        under_way = Download.objects.filter(account=account, ended_at=None).count()
        if under_way >= MOST_UNDER_WAY:
            raise TooMany(f"{account} waits for {under_way} files already. Ask again when one of them is there.")
        download = Download.objects.create(
            kind=kind,
            account=account,
            environment=locked,
            name=name[:200],
            parameters={
                "applications": list(applications),
                "with_references": with_references,
                **({"module": str(module.key)} if module else {}),
            },
        )
        enqueue("lifetime.api.tasks.fetch", download.pk)
        log.record(
            f"Requested {kind.label.lower()} '{name}' from environment '{locked}'",
            locked.audit_object,
            by=by,
            kind=log.Kind.VIEW,
            details={"applications": [one["name"] for one in applications], "download": str(download.key)},
        )
    return download


def known_package(version_key: UUID, account: ServiceAccount, where: Sequence[Environment]) -> Download | None:
    """The package of a version that this account asked for from one of these: there already, or on its way."""
    found = Download.objects.filter(
        kind=DownloadKind.PACKAGE,
        account=account,
        environment__in=where,
        parameters__applications__0__version=str(version_key),
        requested_at__gt=Now() - REUSED_FOR,
    ).exclude(status=DownloadStatus.ABORTED)
    return found.order_by("-pk").first()


def carry_out(download_id: int) -> None:
    """Claim the download and make the file. Delivered twice, the second delivery finds nothing to claim."""
    queued = Download.objects.filter(pk=download_id, status=DownloadStatus.QUEUED)
    if not queued.update(status=DownloadStatus.GATHERING, claimed_at=Now()):
        return
    download = Download.objects.get(pk=download_id)
    with tempfile.TemporaryFile() as file:
        message = uvloop.run(_attempt(download, file))
        if message:
            _end(download, DownloadStatus.ABORTED, message=message)
        else:
            _keep(download, file)


async def _attempt(download: Download, file: IO[bytes]) -> str:
    """Make the file; why not when it failed."""
    try:
        async with (
            asyncio.timeout(LONGEST_SECONDS),
            gate.session() as session,
            session.contact(download.environment_id, Purpose.APPLICATION) as client,
        ):
            await _make(client, download, file)
    except (gate.Refused, gate.CalledOff, gate.Unreachable, gate.Rejected) as trouble:
        return await sync_to_async(_in_maintenance)(download) or str(trouble)
    except TimeoutError:
        return f"It took longer than {LONGEST_SECONDS} seconds."
    except Exception:
        logger.exception("Download %s failed", download.key)
        return "The console made a mistake here; its log has the details."
    return ""


def _in_maintenance(download: Download) -> str:
    environment = Environment.objects.select_related("maintenance_window").get(pk=download.environment_id)
    window = environment.maintenance_window
    return explain(environment.name, window, "Reading packages") if window else ""


async def _make(client: gate.Client, download: Download, file: IO[bytes]) -> None:
    applications: list[dict[str, str]] = download.parameters["applications"]
    if download.parameters["with_references"]:
        applications = await _with_references(client, download, applications)
    await _reach(download, DownloadStatus.FETCHING)
    if download.kind == DownloadKind.PACKAGE:
        await _bring(client, applications[0], file)
        return
    if download.kind == DownloadKind.SOURCE_CODE:
        with tempfile.TemporaryFile() as package:
            await _bring(client, applications[0], package)
            await _reach(download, DownloadStatus.PACKING)
            await sync_to_async(_unpack_modules)(package, file, download.parameters.get("module", ""))
        return
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as solution:
        solution.writestr("solution.json", json.dumps({"name": download.name, "applications": applications}, indent=1))
        for one in applications:
            with tempfile.TemporaryFile() as package:
                await _bring(client, one, package)
                await sync_to_async(_add)(solution, f"packages/{one['key']}.oap", package)
            _refuse_too_large(file.tell(), download.name)
        await _reach(download, DownloadStatus.PACKING)


async def _bring(client: gate.Client, application: dict[str, str], file: IO[bytes]) -> None:
    """The package of the application's version, checked."""
    path = f"/applications/{application['key']}/versions/{application['version']}"
    version = read(await client.get(path), VersionItem, step="GET version")
    if version.package is None:
        raise NoPackage(f"The environment keeps no package of {application['name']} {version.version}.")
    total, digest = version.package.bytes, hashlib.sha256()
    _refuse_too_large(total, f"The package of {application['name']} {version.version}")
    while (start := file.tell()) < total:
        end = min(start + gate.LONGEST_PART, total)
        part = await client.get_part(f"{path}/package", start=start, end=end, etag=f'"{version.package.digest}"')
        digest.update(part.data)
        await sync_to_async(file.write)(part.data)
    if f"sha256:{digest.hexdigest()}" != version.package.digest:
        raise gate.Rejected(f"The package of {application['name']} {version.version} is damaged.")
    file.seek(0)


def _refuse_too_large(size: int, what: str) -> None:
    if size > packages.LARGEST:
        raise NoPackage(f"{what} has more than {packages.LARGEST:,} bytes; such files are not given out.")


async def _with_references(
    client: gate.Client, download: Download, applications: Sequence[dict[str, str]]
) -> list[dict[str, str]]:
    """These applications and all that they refer to, as the environment has them."""
    found = {one["key"]: one for one in applications}
    waiting = list(found.values())
    while waiting:
        one = waiting.pop()
        answer = await client.get(f"/applications/{one['key']}/references?version_key={one['version']}")
        told = read(answer, References, step="GET references")
        for key in {str(used.application_key) for module in told.modules for used in module.consumes}:
            if key not in found:
                found[key] = await sync_to_async(_tagged)(download.environment_id, key)
                waiting.append(found[key])
        if len(found) > MOST_APPLICATIONS:
            raise NoPackage(f"A solution has at most {MOST_APPLICATIONS} applications; with references it has more.")
    return list(found.values())


def _tagged(environment_id: int, key: str) -> dict[str, str]:
    status = ApplicationStatus.objects.select_related("application").filter(
        environment=environment_id, application__key=key, version_key__isnull=False
    )
    if (one := status.first()) is None or one.version_key is None:
        raise NoPackage(f"An application that is referred to, {key}, has no tagged version there.")
    return wanted(one.application, one.version_key)


def _unpack_modules(package: IO[bytes], file: IO[bytes], wanted_module: str) -> None:
    """A zip file for each module, or for the wanted one: what the manifest says of it, and in the first one of the
    manifest the application's files."""
    packages.check(package)
    with zipfile.ZipFile(package) as inside, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as outside:
        manifest = json.loads(inside.read("manifest.json"))
        number = manifest["version"]["version"].partition(".")[0].translate(NOT_IN_NAMES)
        modules = [one for one in enumerate(manifest["modules"]) if wanted_module in ("", one[1]["key"])]
        if not modules:
            raise NoPackage("The version that the application is based on there does not have this module.")
        for place, module in modules:
            name = module["name"].translate(NOT_IN_NAMES).lstrip(".")
            with tempfile.TemporaryFile() as made:
                with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as one:
                    one.writestr(f"{name}.sln", SOLUTION)
                    one.writestr("module.json", json.dumps(module, indent=1, ensure_ascii=False))
                    if place == 0:
                        _copy_files(inside, one)
                made.seek(0)
                _add(outside, f"{name}.v{number}.zip", made)


def _copy_files(inside: zipfile.ZipFile, outside: zipfile.ZipFile) -> None:
    for name in inside.namelist():
        if name.startswith("web/") and not name.endswith("/"):
            with inside.open(name) as content, outside.open(name, "w") as copy:
                while piece := content.read(PART):
                    copy.write(piece)


def _add(outside: zipfile.ZipFile, name: str, content: IO[bytes]) -> None:
    with outside.open(name, "w", force_zip64=True) as copy:
        while piece := content.read(PART):
            copy.write(piece)


async def _reach(download: Download, status: DownloadStatus) -> None:
    await Download.objects.filter(pk=download.pk).aupdate(status=status)


def _keep(download: Download, file: IO[bytes]) -> None:
    file.seek(0)
    digest, size, number = hashlib.sha256(), 0, 0
    while piece := file.read(PART):
        DownloadPart.objects.create(download=download, number=number, content=piece)
        digest.update(piece)
        size += len(piece)
        number += 1
    _end(download, DownloadStatus.COMPLETED, size=size, digest=f"sha256:{digest.hexdigest()}")


def _end(download: Download, status: DownloadStatus, **values: Any) -> None:
    values["message"] = values.get("message", "")[:500]
    Download.objects.filter(pk=download.pk).update(status=status, ended_at=Now(), **values)


def is_whole(download: Download) -> bool:
    """Whether every part is still here: a crash of the database loses them."""
    return download.parts.count() == -(-download.size // PART)


def tidy() -> None:
    """Forget what has expired; end what a dead worker left behind."""
    Download.objects.filter(ended_at__lt=Now() - KEPT_FOR).delete()
    orphaned = Download.objects.filter(ended_at__isnull=True, requested_at__lt=Now() - ORPHANED_AFTER)
    orphaned.update(
        status=DownloadStatus.ABORTED, ended_at=Now(), message="The worker that made it stopped answering. Ask again."
    )
