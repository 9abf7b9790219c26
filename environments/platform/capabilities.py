"""The paths of the capabilities: versions, templates, settings, logs, databases, packages, deployments, and so on."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from uuid import UUID

from environments.platform import (
    blocking,
    configuration,
    database_providers,
    databases,
    journal,
    protection,
    tagging,
    templates,
    uploads,
    versions,
)
from environments.platform import content as contents
from environments.platform.answers import Answer, Document, FileAnswer, Headers, Problem, json_answer
from environments.platform.canonical import canonical

if TYPE_CHECKING:
    from environments.platform.call import Call

Handler = Callable[["Call"], Awaitable[Answer | FileAnswer]]
PAGE = 500
LARGEST_PAGE = 2000


# Versions
async def get_versions(call: Call) -> Answer:
    since, limit = page_of(call)
    application = call.environment.require(call.parameters["key"])
    return _document(call, await versions.page(call.environment, application, since=since, limit=limit))


async def get_version(call: Call) -> Answer:
    application = call.environment.require(call.parameters["key"])
    row = versions.require(call.environment, application, call.parameters["version_key"])
    return _document(call, await versions.shown(call.environment, application, row))


async def post_version(call: Call) -> Answer:
    body = await call.json()
    application = call.environment.require(call.parameters["key"])
    version, is_new = await tagging.tag(call.environment, application, body)
    return json_answer(version, 201 if is_new else 200)


async def delete_version(call: Call) -> Answer:
    application = call.environment.require(call.parameters["key"])
    versions.remove(call.environment, application, call.parameters["version_key"])
    return Answer(204)


async def get_references(call: Call) -> Answer:
    environment = call.environment
    application = environment.require(call.parameters["key"])
    key = query(call, "version_key")
    if key is None:
        manifest = contents.manifest(application, contents.load(environment, application), None)
    else:
        manifest = versions.require(environment, application, _uuid(key, "version_key")).manifest
    return _document(
        call,
        {"application_key": application["key"], "version_key": key, "modules": contents.references(manifest)},
    )


# Packages
async def get_package_of_version(call: Call) -> Answer | FileAnswer:
    environment = call.environment
    application = environment.require(call.parameters["key"])
    row = versions.require(environment, application, call.parameters["version_key"])
    digest, size = await versions.built(environment, application, row)
    etag = f'"{digest}"'.encode()
    headers: Headers = [
        (b"content-type", b"application/zip"),
        (b"etag", etag),
        (b"accept-ranges", b"bytes"),
        (b"repr-digest", b"sha-256=:%s:" % b64encode(bytes.fromhex(digest.removeprefix("sha256:")))),
    ]
    if call.if_none_match == etag:
        return Answer(304, b"", headers[1:])
    path = environment.shelf.package(digest)
    if_range = call.header(b"if-range")
    asked = call.header(b"range") if if_range in (b"", etag) else b""
    start, end = _range(asked.decode("latin-1"), size)
    headers.append((b"content-length", b"%d" % (end - start)))
    if (start, end) == (0, size):
        return FileAnswer(200, path, start, end, headers)
    headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
    return FileAnswer(206, path, start, end - start, headers)


def _range(asked: str, size: int) -> tuple[int, int]:
    """The half-open range of bytes that a Range header asks for. Several ranges, or none, mean everything."""
    found = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", asked, re.ASCII)
    if found is None:
        return 0, size
    start, end = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
    if start >= end:
        raise Problem(
            416,
            "bad-range",
            "The range lies outside",
            f"The package has {size} bytes.",
            headers=[(b"content-range", b"bytes */%d" % size)],
        )
    return start, end


async def put_package(call: Call) -> Answer:
    state, status = await uploads.receive(call)
    return json_answer(state, status)


async def get_package(call: Call) -> Answer:
    return _document(call, uploads.state(call.environment, call.parameters["digest"]))


# New applications
async def get_templates(call: Call) -> Answer:
    return templates.DOCUMENT.answer(call.if_none_match)


async def post_application(call: Call) -> Answer:
    body = await call.json()
    application, is_new = templates.create(call.environment, body)
    return json_answer(application, 201 if is_new else 200)


# Settings and logs
async def get_application_settings(call: Call) -> Answer:
    application = call.environment.require(call.parameters["key"])
    content = contents.load(call.environment, application)
    values = configuration.load(call.environment, application["key"])
    return configuration.document(application, content, values).answer(call.if_none_match)


async def put_application_settings(call: Call) -> Answer:
    body = await call.json()
    application = call.environment.require(call.parameters["key"])
    return json_answer({"digest": configuration.put(call.environment, application, body)})


async def get_application_security(call: Call) -> Answer:
    application = call.environment.require(call.parameters["key"])
    return _document(call, protection.load(call.environment, application["key"]))


async def put_application_security(call: Call) -> Answer:
    body = await call.json()
    application = call.environment.require(call.parameters["key"])
    return json_answer(protection.put(call.environment, application, body))


async def get_logs(call: Call) -> Answer:
    application = call.environment.require(call.parameters["key"])
    last = query(call, "last")
    if last is not None:
        return _document(call, journal.newest(call.environment, application["key"], whole(last, "last")))
    since, limit = page_of(call)
    return _document(call, journal.page(call.environment, application["key"], since=since, limit=limit))


# Blocked addresses
async def get_blocked_addresses(call: Call) -> Answer:
    return _document(call, blocking.shown(call.environment))


async def delete_blocked_address(call: Call) -> Answer:
    blocking.unblock(call.environment, call.parameters["key"])
    return Answer(204)


# Database connections
async def get_database_providers(call: Call) -> Answer:
    return _document(call, database_providers.shown())


async def get_database_connections(call: Call) -> Answer:
    return _document(call, databases.shown(call.environment))


async def get_database_connection(call: Call) -> Answer:
    return _document(call, databases.require(call.environment, call.parameters["key"]).shown())


async def post_database_connection(call: Call) -> Answer:
    connection, is_new = databases.create(call.environment, await call.json())
    return json_answer(connection, 201 if is_new else 200)


async def put_database_connection(call: Call) -> Answer:
    body = await call.json()
    return json_answer(databases.change(call.environment, call.parameters["key"], body))


async def delete_database_connection(call: Call) -> Answer:
    revision = query(call, "revision")
    databases.delete(
        call.environment, call.parameters["key"], None if revision is None else whole(revision, "revision", 2**31 - 1)
    )
    return Answer(204)


async def test_database(call: Call) -> Answer:
    return json_answer(await databases.test(call.environment, await call.json()))


async def test_database_connection(call: Call) -> Answer:
    return json_answer(await databases.test_saved(call.environment, call.parameters["key"]))


# Deployments
async def get_deployments(call: Call) -> Answer:
    return _document(call, call.environment.deployments.listed())


async def post_deployment(call: Call) -> Answer:
    deployment, is_new = await call.environment.deployments.start(await call.json())
    return json_answer(deployment, 201 if is_new else 200)


async def get_deployment(call: Call) -> Answer:
    since, limit = page_of(call)
    return _document(call, call.environment.deployments.shown(call.parameters["id"], since=since, limit=limit))


async def continue_deployment(call: Call) -> Answer:
    return json_answer(await call.environment.deployments.continue_(call.parameters["id"], await call.json()))


async def abort_deployment(call: Call) -> Answer:
    return json_answer(await call.environment.deployments.abort(call.parameters["id"], await call.json()))


# Queries
def page_of(call: Call) -> tuple[str, int]:
    """The cursor and the limit that a request for a page gives."""
    since, limit = query(call, "since"), query(call, "limit")
    return "0" if since is None else since, PAGE if limit is None else whole(limit, "limit")


def query(call: Call, name: str) -> str | None:
    found = parse_qs(call.query.decode("latin-1"), keep_blank_values=True).get(name)
    return None if found is None else found[-1]


def whole(text: str, name: str, most: int = LARGEST_PAGE) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and 1 <= int(text) <= most):
        raise Problem(400, "bad-query", "A parameter is wrong", f"{name} must be a number from 1 to {most}.")
    return int(text)


def _uuid(text: str, name: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise Problem(400, "bad-query", "A parameter is wrong", f"{name} must be a UUID.") from None


def _document(call: Call, value: Any) -> Answer:
    return Document(canonical(value)).answer(call.if_none_match)


ROUTES: dict[str, dict[str, Handler]] = {
    "/applications/{key}/versions": {"GET": get_versions, "POST": post_version},
    "/applications/{key}/versions/{version_key}": {"GET": get_version, "DELETE": delete_version},
    "/applications/{key}/versions/{version_key}/package": {"GET": get_package_of_version},
    "/packages/{digest}": {"GET": get_package, "PUT": put_package},
    "/templates": {"GET": get_templates},
    "/applications": {"POST": post_application},
    "/applications/{key}/references": {"GET": get_references},
    "/applications/{key}/settings": {"GET": get_application_settings, "PUT": put_application_settings},
    "/applications/{key}/security": {"GET": get_application_security, "PUT": put_application_security},
    "/applications/{key}/logs": {"GET": get_logs},
    "/deployments": {"GET": get_deployments, "POST": post_deployment},
    "/deployments/{id}": {"GET": get_deployment},
    "/deployments/{id}/continue": {"POST": continue_deployment},
    "/deployments/{id}/abort": {"POST": abort_deployment},
    "/blocked-addresses": {"GET": get_blocked_addresses},
    "/blocked-addresses/{key}": {"DELETE": delete_blocked_address},
    "/database-providers": {"GET": get_database_providers},
    "/database-connections": {"GET": get_database_connections, "POST": post_database_connection},
    "/database-connections/test": {"POST": test_database},
    "/database-connections/{key}": {
        "GET": get_database_connection,
        "PUT": put_database_connection,
        "DELETE": delete_database_connection,
    },
    "/database-connections/{key}/test": {"POST": test_database_connection},
}
