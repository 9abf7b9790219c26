"""The rules of the capabilities, each checked where a server lists it. Nothing here stays: what is sent is refused."""

import hashlib
import random
from base64 import b64encode
from typing import Any
from uuid import UUID

from environments.conformance import shapes
from environments.conformance.rules import Skipped, document, require_writes, rule
from environments.conformance.subject import Failed, Reply, Subject
from environments.platform.canonical import canonical, digest

PATHS = {
    "application-security": "/applications/{key}/security",
    "application-settings": "/applications/{key}/settings",
    "blocked-addresses": "/blocked-addresses",
    "database-connections": "/database-connections",
    "deployments": "/deployments",
    "logs": "/applications/{key}/logs",
    "packages": "/packages/sha256:{digest}",
    "references": "/applications/{key}/references",
    "templates": "/templates",
    "versions": "/applications/{key}/versions",
}
KNOWN = {*PATHS, "events"}
LARGEST_PACKAGE = 16 * 1024**2  # bytes that a check fetches
BY = {"name": "Conformance check", "username": "check"}


@rule("capabilities", "facts list capabilities of the contract, sorted; paths of others are 404 not-found")
def capabilities(subject: Subject) -> None:
    listed = document(subject, "/facts").get("capabilities", [])
    if listed != sorted(set(listed)) or set(listed) - KNOWN:
        raise Failed(f"capabilities are {listed}; sorted, and of {sorted(KNOWN)}")
    for name in sorted(PATHS.keys() - set(listed)):
        path = PATHS[name].format(key=nobody(), digest="0" * 64)
        subject.ask("GET", path).expect_problem(404, "not-found")


@rule("versions", "versions have the shape of the contract, page like the change feed, and are at their own path")
def versions(subject: Subject) -> None:
    application = _application(subject, "versions")
    path = f"/applications/{application['key']}/versions"
    whole = document(subject, path, shape=shapes.VersionsShape)
    _expect_document(subject.ask("GET", path))
    first = document(subject, path, "?limit=1", shape=shapes.VersionsShape)
    if first["versions"] != whole["versions"][:1] or first["more"] != (len(whole["versions"]) > 1):
        raise Failed(f"GET {path}?limit=1 answers {len(first['versions'])} versions, more is {first['more']}")
    last = document(subject, path, f"?since={whole['cursor']}", shape=shapes.VersionsShape)
    if not whole["more"] and last["versions"]:
        raise Failed(f"since={whole['cursor']}, the last cursor, answers versions again")
    for version in whole["versions"][:1]:
        alone = document(subject, f"{path}/{version['key']}", shape=shapes.VersionShape)
        if alone != version:
            raise Failed(f"GET {path}/{version['key']} differs from the list")
    in_use = [version["key"] for version in whole["versions"] if version["in_use"]]
    if len(in_use) > 1 or (in_use and in_use[0] != application["version_key"]):
        raise Failed(f"in_use are {in_use}; the application is based on {application['version_key']}")
    subject.ask("GET", f"{path}?since=no-such-cursor").expect_problem(410, "cursor-unknown")
    subject.ask("GET", f"{path}/{nobody()}").expect_problem(404, "version-unknown")
    subject.ask("GET", f"/applications/{nobody()}/versions").expect_problem(404, "application-unknown")


@rule("versions-refused", "bad and used numbers, unknown bases and picked modules are refused; nothing changes")
def versions_refused(subject: Subject) -> None:
    application = _application(subject, "versions")
    require_writes(subject)
    before = subject.ask("GET", "/digests").body
    path = f"/applications/{application['key']}/versions"
    for number in ("", "1.2.3.4", "1000", "01", "v1", "-1"):
        bad = {"key": nobody(), "version": number, "by": BY}
        subject.ask("POST", path, bad).expect_problem(422, "bad-body")
    used = document(subject, path, shape=shapes.VersionsShape)["versions"]
    if used and application["modules"]:
        number = used[-1]["version"]
        subject.ask("POST", path, {"key": nobody(), "version": number, "by": BY}).expect_problem(409, "version-exists")
    order: dict[str, Any] = {"key": nobody(), "version": "999.999.999", "by": BY}
    subject.ask("POST", f"/applications/{nobody()}/versions", order).expect_problem(404, "application-unknown")
    if application["modules"]:
        unknown = {**order, "base_version_key": nobody()}
        subject.ask("POST", path, unknown).expect_problem(404, "version-unknown")
        pick = {"module_key": application["modules"][0]["key"], "version_key": nobody()}
        twice = {**order, "modules": [pick, pick]}
        subject.ask("POST", path, twice).expect_problem(422, "bad-body")
        is_web = application["kind"] == "WebResponsive"
        refused = (404, "module-version-unknown") if is_web else (422, "picks-refused")
        subject.ask("POST", path, {**order, "modules": [pick]}).expect_problem(*refused)
    if subject.ask("GET", "/digests").body != before:
        raise Failed("a refused tag changed the digests")


@rule("versions-removal-refused", "the version that runs is not removed, nor one that is not there; nothing changes")
def versions_removal_refused(subject: Subject) -> None:
    application = _application(subject, "versions")
    require_writes(subject)
    path = f"/applications/{application['key']}/versions"
    subject.ask("DELETE", f"{path}/{nobody()}").expect_problem(404, "version-unknown")
    subject.ask("DELETE", f"/applications/{nobody()}/versions/{nobody()}").expect_problem(404, "application-unknown")
    if application["version_key"] is not None:
        before = subject.ask("GET", path).body
        subject.ask("DELETE", f"{path}/{application['version_key']}").expect_problem(409, "version-in-use")
        if subject.ask("GET", path).body != before:
            raise Failed(f"GET {path} answers something else after a refused removal")


@rule("references", "references have the shape of the contract; those of a version are the same each time")
def references(subject: Subject) -> None:
    application = _application(subject, "references")
    path = f"/applications/{application['key']}/references"
    found = document(subject, path, shape=shapes.ReferencesShape)
    given = {module["key"]: module["version_key"] for module in found["modules"]}
    expected = {module["key"]: module["version_key"] for module in application["modules"]}
    if given != expected:
        raise Failed(f"GET {path}: modules {given}, in the feed {expected}")
    subject.ask("GET", f"/applications/{nobody()}/references").expect_problem(404, "application-unknown")


@rule("application-settings", "settings have the shape of the contract; secrets show as ***; the ETag is in the feed")
def application_settings(subject: Subject) -> None:
    application = _application(subject, "application-settings")
    path = f"/applications/{application['key']}/settings"
    for entry in document(subject, path, shape=shapes.ApplicationSettingsShape)["site_properties"]:
        values = {entry["default_value"], entry["effective_value"]}
        if entry["is_secret"] and not values <= {None, "", "***"}:
            raise Failed(f"GET {path}: the secret {entry['name']} shows")
    reply = subject.ask("GET", path)
    if application.get("settings_digest") and reply.etag != f'"{application["settings_digest"]}"':
        raise Failed(f"{path} has the ETag {reply.etag}, the feed says {application['settings_digest']}")
    subject.ask("GET", path, headers={"If-None-Match": reply.etag}).expect(304)
    subject.ask("GET", f"/applications/{nobody()}/settings").expect_problem(404, "application-unknown")


@rule("application-settings-put", "PUT with nothing changes nothing; an unknown setting: 422 setting-unknown")
def application_settings_put(subject: Subject) -> None:
    application = _application(subject, "application-settings")
    require_writes(subject)
    path = f"/applications/{application['key']}/settings"
    before = subject.ask("GET", path)
    bodies: list[Any] = [{}, before.json()]
    for body in bodies:
        answer = subject.ask("PUT", path, body).expect(200).json()
        if answer.get("digest") != before.etag.strip('"'):
            raise Failed(f"PUT {path} answers {answer}; the settings' digest is {before.etag}")
    unknown = {"site_properties": [{"module_key": nobody(), "name": "NoSuchThing", "effective_value": "1"}]}
    subject.ask("PUT", path, unknown).expect_problem(422, "setting-unknown")
    subject.ask("PUT", path, {"site_properties": {}}).expect_problem(422, "bad-body")
    if subject.ask("GET", path).body != before.body:
        raise Failed(f"GET {path} answers something else afterwards")


@rule("application-security", "security settings of an application have the shape of the contract and an ETag")
def application_security(subject: Subject) -> None:
    application = _application(subject, "application-security")
    path = f"/applications/{application['key']}/security"
    document(subject, path, shape=shapes.ApplicationSecurityShape)
    _expect_document(subject.ask("GET", path))
    subject.ask("GET", f"/applications/{nobody()}/security").expect_problem(404, "application-unknown")


@rule("application-security-put", "PUT of what is there changes nothing; what breaks out of the header: 422 bad-body")
def application_security_put(subject: Subject) -> None:
    application = _application(subject, "application-security")
    require_writes(subject)
    path = f"/applications/{application['key']}/security"
    before = subject.ask("GET", path)
    answer = subject.ask("PUT", path, before.json()).expect(200).json()
    if answer.get("digest") != before.etag.strip('"') or not isinstance(answer.get("republish"), list):
        raise Failed(f"PUT {path} answers {answer}; the digest is {before.etag}, and republish is a list")
    bad: list[dict[str, Any]] = [{"img-src; x": ["a"]}, {"img-src": "a"}]
    bad += [{"img-src": [value]} for value in ("a; script-src *", "a, b", "a\r\nSet-Cookie: b")]
    for directives in bad:
        policy = {"enabled": True, "directives": directives}
        body = {"force_https_screens": None, "content_security_policy": policy}
        subject.ask("PUT", path, body).expect_problem(422, "bad-body")
    subject.ask("PUT", path, {"force_https_screens": True}).expect_problem(422, "bad-body")
    if subject.ask("GET", path).body != before.body:
        raise Failed(f"GET {path} answers something else afterwards")


@rule("logs", "logs have the shape of the contract, oldest first; last=N gives the newest")
def logs(subject: Subject) -> None:
    application = _application(subject, "logs")
    path = f"/applications/{application['key']}/logs"
    whole = document(subject, path, "?limit=2000", shape=shapes.LogShape)
    numbers = [line["line"] for line in whole["lines"]]
    if numbers != sorted(set(numbers)):
        raise Failed(f"GET {path}: lines are not in order: {numbers[:10]}")
    newest = document(subject, path, "?last=2", shape=shapes.LogShape)
    if not whole["more"] and newest["lines"] != whole["lines"][-2:]:
        raise Failed(f"GET {path}?last=2 answers {len(newest['lines'])} lines that are not the newest")
    subject.ask("GET", f"{path}?since=no-such-cursor").expect_problem(410, "cursor-unknown")
    subject.ask("GET", f"/applications/{nobody()}/logs").expect_problem(404, "application-unknown")


@rule("templates", "templates have the shape of the contract and an ETag")
def templates(subject: Subject) -> None:
    _require(subject, "templates")
    document(subject, "/templates", shape=shapes.TemplatesShape)
    _expect_document(subject.ask("GET", "/templates"))


@rule("blocked-addresses", "blocked addresses have the shape of the contract; unblocking nobody: 404 block-unknown")
def blocked_addresses(subject: Subject) -> None:
    _require(subject, "blocked-addresses")
    document(subject, "/blocked-addresses", shape=shapes.BlockedShape)
    subject.ask("DELETE", f"/blocked-addresses/{nobody()}").expect_problem(404, "block-unknown")


@rule("database-connections", "connections and providers have the shape of the contract, each connection its own path")
def database_connections(subject: Subject) -> None:
    _require(subject, "database-connections")
    offered = document(subject, "/database-providers", shape=shapes.DatabaseProvidersShape)["providers"]
    listed = document(subject, "/database-connections", shape=shapes.DatabaseConnectionsShape)["connections"]
    _expect_document(subject.ask("GET", "/database-connections"))
    if unknown := {one["provider"] for one in listed} - {one["key"] for one in offered}:
        raise Failed(f"/database-connections has providers that /database-providers has not: {sorted(unknown)}")
    for one in listed:
        if "password" in one:
            raise Failed(f"GET /database-connections: {one['name']} has a member password")
    for one in listed[:3]:
        path = f"/database-connections/{one['key']}"
        if document(subject, path, shape=shapes.DatabaseConnectionShape) != one:
            raise Failed(f"GET {path} differs from the list")
    subject.ask("GET", f"/database-connections/{nobody()}").expect_problem(404, "connection-unknown")


@rule("database-connections-refused", "bad names, unknown providers and old revisions are refused; nothing changes")
def database_connections_refused(subject: Subject) -> None:
    _require(subject, "database-connections")
    require_writes(subject)
    path = "/database-connections"
    before = subject.ask("GET", path)
    right: dict[str, Any] = {"name": "ConformanceCheck", "provider": "no-such-provider", "parameters": {}, "by": BY}
    subject.ask("POST", path, {**right, "key": nobody()}).expect_problem(422, "provider-unknown")
    subject.ask("POST", f"{path}/test", {"provider": "no-such-provider"}).expect_problem(422, "provider-unknown")
    for name in ("", "two words", "1st", "a/b", "a" * 51):
        subject.ask("POST", path, {**right, "key": nobody(), "name": name}).expect_problem(422, "bad-body")
    subject.ask("PUT", f"{path}/{nobody()}", {**right, "revision": 1}).expect_problem(404, "connection-unknown")
    subject.ask("DELETE", f"{path}/{nobody()}").expect_problem(404, "connection-unknown")
    subject.ask("POST", f"{path}/{nobody()}/test", {}).expect_problem(404, "connection-unknown")
    for one in before.json()["connections"][:1]:
        older = {**{name: one[name] for name in ("name", "provider", "username", "parameters")}, "by": BY}
        stale = {**older, "description": "check", "revision": one["revision"] + 1}
        subject.ask("PUT", f"{path}/{one['key']}", stale).expect_problem(409, "changed-meanwhile")
        later = f"{path}/{one['key']}?revision={one['revision'] + 1}"
        subject.ask("DELETE", later).expect_problem(409, "changed-meanwhile")
    if subject.ask("GET", path).body != before.body:
        raise Failed(f"GET {path} answers something else afterwards")


@rule("database-tests", "a test that cannot succeed: 200, succeeded false, and why, without the password")
def database_tests(subject: Subject) -> None:
    _require(subject, "database-connections")
    require_writes(subject)
    for provider in document(subject, "/database-providers", shape=shapes.DatabaseProvidersShape)["providers"]:
        details: dict[str, Any] = {
            "provider": provider["key"],
            "parameters": {one["name"]: "check.invalid" for one in provider["parameters"] if one["is_required"]},
        }
        if provider["has_login"]:
            details |= {"username": "check", "password": "check-secret"}
        reply = subject.ask("POST", "/database-connections/test", details)
        if reply.status == 422:
            continue  # a required parameter that takes no such text
        told = reply.expect(200).json()
        if told.get("succeeded") is not False or not told.get("message") or b"check-secret" in reply.body:
            raise Failed(f"{reply}; it must say why it failed, and not the password")


@rule("packages", "the package of a version is what its digest says, whole and in ranges")
def packages(subject: Subject) -> None:
    application = _application(subject, "packages")
    path = f"/applications/{application['key']}/versions"
    for version in document(subject, path, shape=shapes.VersionsShape)["versions"]:
        given = version["package"]
        if given is None:
            raise Failed(f"version {version['version']} has no package")
        if given["bytes"] > LARGEST_PACKAGE:
            continue
        where = f"{path}/{version['key']}/package"
        whole = subject.ask("GET", where).expect(200)
        if digest(whole.body) != given["digest"] or whole.etag != f'"{given["digest"]}"':
            raise Failed(f"{where}: digest {digest(whole.body)}, ETag {whole.etag}, the version says {given['digest']}")
        expected = "sha-256=:" + b64encode(hashlib.sha256(whole.body).digest()).decode() + ":"
        if whole.headers.get("Repr-Digest") != expected:
            raise Failed(f"{where}: Repr-Digest is {whole.headers.get('Repr-Digest')}, not {expected}")
        part = subject.ask("GET", where, headers={"Range": "bytes=5-14"}).expect(206)
        if part.body != whole.body[5:15]:
            raise Failed(f"{where}: bytes=5-14 answers {len(part.body)} other bytes")
        beyond: dict[str, str | None] = {"Range": f"bytes={given['bytes']}-"}
        subject.ask("GET", where, headers=beyond).expect_problem(416, "bad-range")
        return
    raise Skipped("there is no version with a small package")


@rule("packages-refused", "an upload that is no package, or has another digest, is refused and forgotten")
def packages_refused(subject: Subject) -> None:
    _require(subject, "packages")
    require_writes(subject)
    content = random.randbytes(100)  # noqa: S311 - only has to be new
    zipped: dict[str, str | None] = {"Content-Type": "application/zip"}
    right, wrong = f"/packages/{digest(content)}", "/packages/sha256:" + "0" * 64
    subject.ask("PUT", wrong, raw=content, headers=zipped).expect_problem(422, "wrong-digest")
    subject.ask("PUT", right, raw=content, headers=zipped).expect_problem(422, "bad-package")
    subject.ask("PUT", right, raw=content).expect_problem(415, "bad-media-type")
    for path in (right, wrong):
        subject.ask("GET", path).expect_problem(404, "package-unknown")


@rule("deployments", "deployments have the shape of the contract; an unknown one: 404 deployment-unknown")
def deployments(subject: Subject) -> None:
    _require(subject, "deployments")
    for one in document(subject, "/deployments", shape=shapes.DeploymentsShape)["deployments"][:3]:
        document(subject, f"/deployments/{one['id']}", shape=shapes.DeploymentShape)
    unknown = nobody()
    subject.ask("GET", f"/deployments/{unknown}").expect_problem(404, "deployment-unknown")
    abort = {"reason": "check", "by": BY}
    subject.ask("POST", f"/deployments/{unknown}/abort", abort).expect_problem(404, "deployment-unknown")


@rule("deployments-refused", "a deployment of a package that is not here: 422 package-unknown; nothing is started")
def deployments_refused(subject: Subject) -> None:
    _require(subject, "deployments")
    require_writes(subject)
    before = subject.ask("GET", "/deployments").body
    item = {"application_key": nobody(), "package": "sha256:" + "0" * 64}
    order: dict[str, Any] = {"id": nobody(), "by": BY, "applications": [item]}
    subject.ask("POST", "/deployments", order).expect_problem(422, "package-unknown")
    subject.ask("POST", "/deployments", {**order, "applications": []}).expect_problem(422, "bad-body")
    if subject.ask("GET", "/deployments").body != before:
        raise Failed("a refused deployment shows in the list")


def nobody() -> str:
    """A key that nothing has."""
    return str(UUID(int=random.getrandbits(128), version=4))


def _require(subject: Subject, name: str) -> None:
    if name not in document(subject, "/facts").get("capabilities", []):
        raise Skipped(f"it does not list the capability {name}")


def _application(subject: Subject, capability: str) -> dict[str, Any]:
    """An application to look at, one with a version when there is one."""
    _require(subject, capability)
    found: list[dict[str, Any]] = document(subject, "/applications")["applications"]
    if not found:
        raise Skipped("it has no application to look at")
    return next((one for one in found if one["version"]), found[0])


def _expect_document(reply: Reply) -> None:
    if reply.body != canonical(reply.json()):
        raise Failed(f"{reply}; it is not canonical")
    if reply.etag != f'"{digest(reply.body)}"':
        raise Failed(f'{reply}; its ETag is {reply.etag or "missing"}, its digest "{digest(reply.body)}"')
