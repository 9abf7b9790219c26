"""What each of the seven steps of a deployment does. Up to the switch, nothing that is served changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from environments.platform import clock, configuration, journal, packages, publishing, references, sites, versions
from environments.platform import content as contents
from environments.platform.answers import Problem
from environments.platform.deployment import counted
from environments.platform.packages import BadPackage, Package
from environments.platform.publishing import Arrival
from environments.platform.shelf import full_disk_is_a_problem, in_thread, remove, size_of, synchronize

if TYPE_CHECKING:
    from environments.platform.deployment import Deployment
    from environments.platform.environment import Environment

Interventions = list[dict[str, Any]]


async def retrieve(deployment: Deployment) -> Interventions:
    """Read every package, every byte of it."""
    shelf = deployment.environment.shelf
    for application in deployment.state["applications"]:
        checksum = application["package"]
        path = shelf.package(checksum)
        package = await _read(path, checksum)
        deployment.packages[checksum] = package
        size = sum(size for _, size in package.files.values())
        what = f"{counted(len(package.files), 'file')}, {counted(size, 'byte')}"
        deployment.log(f"{application['name']} {application['version']}: {what}.")
    return []


async def analyze_processes(deployment: Deployment) -> Interventions:
    """Running business processes whose definition changes or goes."""
    found = []
    for application in deployment.state["applications"]:
        known = deployment.environment.find(application["application_key"])
        if known is None:
            continue
        content = contents.load(deployment.environment, known)
        before = {
            (module["key"], process["name"]): process["signature"]
            for module in known["modules"]
            for process in content.of(module["key"])["processes"]
        }
        after = {
            (str(module.key), process.name): process.signature
            for module in deployment.packages[application["package"]].manifest.modules
            for process in module.processes
        }
        names = sorted(name for (module, name), signature in before.items() if after.get((module, name)) != signature)
        if names:
            message = f"{known['name']}: running processes would change: {', '.join(names)}."
            found.append(_intervention("process_impact", application["application_key"], message, names))
    deployment.log(f"{counted(len(found), 'application')} with running processes that would change.")
    return found


async def generate(deployment: Deployment) -> Interventions:
    """Check references, and compile web files into the staging area."""
    environment = deployment.environment
    for one in _broken(deployment):
        deployment.log(one.message)
    staging = environment.shelf.staging / deployment.id
    remove(staging)
    packages_ = [deployment.packages[application["package"]] for application in deployment.state["applications"]]
    needed = sum(size for package in packages_ for _, size in package.files.values())
    environment.shelf.require_space(publishing.UNPACKED_FACTOR * needed)
    staging.mkdir(parents=True)
    for application, package in zip(deployment.state["applications"], packages_, strict=True):
        site = environment.shelf.new_site()
        path, folder = environment.shelf.package(application["package"]), staging / site
        with full_disk_is_a_problem():
            count = await _compile(path, package, folder)
        deployment.state["sites"][application["application_key"]] = site
        deployment.log(f"{application['name']}: compiled {counted(count, 'file')}.")
    deployment.save()
    return []


async def analyze_database(deployment: Deployment) -> Interventions:
    """What would go, and what would lack a value."""
    environment = deployment.environment
    found: Interventions = []
    ready = arrivals(deployment)
    kept = {module["key"] for one in ready for module in one.application["modules"]}  # perhaps by another of them
    for one in ready:
        key = one.application["key"]
        known = environment.find(key)
        gone = [module["name"] for module in known["modules"] if module["key"] not in kept] if known else []
        if gone:
            message = f"{one.application['name']}: modules would be removed: {', '.join(gone)}."
            found.append(_intervention("module_removal", key, message, gone))
    publishing.refuse_clashes(environment, [one.application for one in ready])
    found += missing_settings(environment, deployment, deployment.state["settings"])
    found += [
        _intervention("broken_reference", one.application_key, one.message, list(one.names))
        for one in _broken(deployment)
    ]
    deployment.log(f"{counted(len(found), 'thing')} to decide." if found else "Nothing to decide.")
    return found


async def distribute(deployment: Deployment) -> Interventions:
    """Bring the compiled files to where they will be served from."""
    shelf = deployment.environment.shelf
    staging = shelf.staging / deployment.id
    with full_disk_is_a_problem():
        shelf.sites.mkdir(parents=True, exist_ok=True)
        for site in deployment.state["sites"].values():
            (staging / site).replace(shelf.site(site))
        synchronize(shelf.sites)
    remove(staging)
    deployment.log(f"In place: {counted(len(deployment.state['sites']), 'site')}.")
    return []


async def update(deployment: Deployment) -> Interventions:
    """The switch: one transaction, in which it is also noted that it has happened."""
    environment, state = deployment.environment, deployment.state
    state["replaced"] = []
    try:
        with full_disk_is_a_problem(), environment.changes():
            ready = arrivals(deployment)
            publishing.refuse_clashes(environment, [one.application for one in ready])
            for broken in _broken(deployment):
                deployment.log(broken.message, kind="Error")
            for one in ready:
                _install(deployment, one)
            _republish(deployment)
            _note_consistency(deployment)
            state["is_applied"] = True
            deployment.log("Switched over.")
            deployment.save()
    except BaseException:
        state["is_applied"] = False
        raise
    return []


async def synchronize_(deployment: Deployment) -> Interventions:
    """Everything answers with the new versions; what they replaced can go."""
    for site in deployment.state.pop("replaced", []):
        publishing.retire(deployment.environment, site)
    for application in deployment.state["applications"]:
        found = deployment.environment.require(application["application_key"])
        deployment.log(f"{found['name']} {found['version']} is served.")
    return []


WORK: dict[str, Callable[[Deployment], Awaitable[Interventions]]] = {
    "retrieving": retrieve,
    "analyzing_processes": analyze_processes,
    "generating": generate,
    "analyzing_database": analyze_database,
    "distributing": distribute,
    "updating": update,
    "synchronizing": synchronize_,
}


# What arrives
def arrival(environment: Environment, package: Package, checksum: str, *, site: str, by: str) -> Arrival:
    known = environment.find(str(package.manifest.application.key))
    size = size_of(environment.shelf.package(checksum))
    return publishing.deployed(environment, package, known, by=by, package_file=(checksum, size), site=site)


def arrivals(deployment: Deployment) -> list[Arrival]:
    """The applications as they will be, over what they are now."""
    state = deployment.state
    found = []
    for application in state["applications"]:
        key, checksum = application["application_key"], application["package"]
        package = deployment.packages[checksum]
        site = state["sites"].get(key, "")
        one = arrival(deployment.environment, package, checksum, site=site, by=state["started_by"])
        if zone := state["zones"].get(key):
            one.application["deployment_zone"] = zone
        one.values = _values(deployment.environment, one, state["settings"])
        found.append(one)
    return found


def refuse_downgrade(environment: Environment, package: Package) -> None:
    """A version older by number and by date must not replace a newer one. A younger one may: that is a rollback."""
    known = environment.find(str(package.manifest.application.key))
    version = package.manifest.version
    if known is None or version is None or not known["version"]:
        return
    versions.adopt(environment, known)
    row = versions.find(environment, known["key"], known["version_key"]) if known["version_key"] else None
    made_at = row.body["created_at"] if row else ""
    if versions.number(version.version) < versions.number(known["version"]) and version.created_at < made_at:
        raise Problem(
            409,
            "downgrade",
            "The version is older than the one here",
            f"{known['name']} {known['version']} of {made_at} is here; {version.version} is of {version.created_at}.",
        )


def missing_settings(
    environment: Environment, deployment: Deployment, given: Iterable[tuple[str, dict[str, Any]]]
) -> Interventions:
    """Site properties that would have no value, with the settings given."""
    found = []
    for application in deployment.state["applications"]:
        package = deployment.packages[application["package"]]
        one = arrival(environment, package, application["package"], site="", by="")
        names = configuration.missing(one.application, one.content, _values(environment, one, given))
        if names:
            message = f"{one.application['name']}: settings without a value: {', '.join(names)}."
            found.append(_intervention("missing_setting", one.application["key"], message, names))
    return found


def _values(
    environment: Environment, one: Arrival, given: Iterable[tuple[str, dict[str, Any]]]
) -> configuration.Values:
    values = configuration.load(environment, one.application["key"])
    for key, change in given:
        if key == one.application["key"]:
            values = configuration.changed(one.application, one.content, values, change)
    return values


def _broken(deployment: Deployment) -> list[references.Broken]:
    """References that the deployment would break, or bring broken; not those of others that are broken anyway."""
    environment = deployment.environment
    arriving: references.Installed = {
        one.application["key"]: (one.application, one.content) for one in arrivals(deployment)
    }
    everything = references.installed(environment, arriving)
    found = references.broken(everything, references.touched(everything, set(arriving)))
    others = {one.application_key for one in found} - arriving.keys()
    anyway = references.broken(references.installed(environment, {}), others) if others else []
    return [one for one in found if one.application_key in arriving or one not in anyway]


async def _read(path: Path, checksum: str) -> Package:
    def work(stop: Event) -> Package:
        if packages.digest_of_file(path, stop=stop) != checksum:
            raise BadPackage(f"The package {checksum} was damaged on the disk.")
        return packages.read(path, stop=stop)

    return await in_thread(work)


async def _compile(path: Path, package: Package, folder: Path) -> int:
    return await in_thread(lambda stop: sites.compile_site(path, package, folder, stop))


# The switch
def _install(deployment: Deployment, one: Arrival) -> None:
    environment, state = deployment.environment, deployment.state
    known = environment.find(one.application["key"])
    if known is not None:
        versions.adopt(environment, known)
        state["replaced"].append(contents.load(environment, known).site)
    if one.values:
        configuration.save(environment, one.application["key"], one.values)
    environment.save(one.application, content=one.content, values=one.values)
    versions.add(environment, one.application["key"], one.manifest, web=one.package[0], package=one.package)
    message = f"Version {one.application['version']} was deployed ({state['label'] or deployment.id})."
    journal.write(environment, one.application["key"], "Deployment", message, user=state["started_by"])


def _republish(deployment: Deployment) -> None:
    """Applications that use the new ones, published again against them."""
    environment = deployment.environment
    for key in deployment.state["redeploy"]:
        application = environment.find(key)
        if application is None:
            deployment.log(f"{key} is gone and was not republished.", kind="Warning")
            continue
        content = contents.load(environment, application)
        content.compiled = contents.compiled_security(environment)
        application["changed_at"] = clock.text(environment.now())
        environment.save(application, content=content)
        deployment.log(f"{application['name']} was republished.")
        journal.write(environment, key, "Publish", "Republished.", user=deployment.state["started_by"])


def _note_consistency(deployment: Deployment) -> None:
    """Say on the applications that were touched whether they find what they use."""
    environment = deployment.environment
    everything = references.installed(environment, {})
    keys = references.touched(everything, {one["application_key"] for one in deployment.state["applications"]})
    messages: dict[str, list[str]] = {}
    for one in references.broken(everything, keys):
        messages.setdefault(one.application_key, []).append(one.message)
    for key in sorted(keys):
        application = dict(everything[key][0])
        text = " ".join(messages.get(key, []))[:2000]
        wanted = ("Error", text) if text else ("", "")
        has_error = application["consistency"] == "Error" or bool(text)
        if has_error and (application["consistency"], application["consistency_message"]) != wanted:
            application["consistency"], application["consistency_message"] = wanted
            environment.save(application)


def _intervention(kind: str, key: str, message: str, names: Iterable[str]) -> dict[str, Any]:
    return {"kind": kind, "application_key": key, "message": message, "names": list(names)}
