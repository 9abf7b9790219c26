"""Security settings of an application's own, which come before those of its environment, and what they do to pages."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from environments.platform import journal
from environments.platform.answers import Answer, Problem
from environments.platform.canonical import canonical, digest
from environments.platform.schemas import ApplicationSecurityBody, check

if TYPE_CHECKING:
    from environments.platform.call import Call
    from environments.platform.environment import Environment

INHERITED: dict[str, Any] = {"content_security_policy": None, "force_https_screens": None}
HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?", re.ASCII)


def load(environment: Environment, application_key: str) -> dict[str, Any]:
    row = environment.store.row(
        "SELECT body FROM application_security WHERE environment = ? AND application = ?",
        environment.id,
        application_key,
    )
    return dict(json.loads(row[0])) if row else INHERITED


def put(environment: Environment, application: Mapping[str, Any], body: Any) -> dict[str, Any]:
    """Store them durably; they hold from the next request on, so nothing is to be republished or applied."""
    check(ApplicationSecurityBody, body)
    if body != load(environment, application["key"]):
        with environment.store.transaction():
            environment.store.write(
                "INSERT INTO application_security (environment, application, body) VALUES (?, ?, ?)"
                " ON CONFLICT (environment, application) DO UPDATE SET body = excluded.body",
                environment.id,
                application["key"],
                canonical(body),
            )
            journal.write(
                environment, application["key"], "Security", "Security settings were changed.", user="LifeTime"
            )
    return {"digest": digest(canonical(body)), "republish": [], "apply_settings": False}


def compiled(own: Mapping[str, Any], compiled: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that pages are sent with: the policy is the application's own, where it has one."""
    policy = own["content_security_policy"]
    return {**compiled} if policy is None else {**compiled, "content_security_policy": policy}


def moved_to_https(call: Call, own: Mapping[str, Any], path: str) -> Answer | None:
    """The way to HTTPS, when it is forced and a proxy says that the browser came without.

    This server speaks HTTP alone; who reaches it directly has nowhere else to go.
    """
    forced = own["force_https_screens"]
    if forced is None:
        forced = call.environment.values["security"]["force_https_screens"]
    if not forced or call.header(b"x-forwarded-proto").strip().lower() != b"http":
        return None
    host = HOST.fullmatch(call.header(b"host").decode("latin-1"))
    if host is None:
        raise Problem(400, "bad-request", "The request is malformed", "It names no host.")
    query = f"?{quote(call.query.decode('latin-1'), safe='%&=+/?:;,@!$()*~.-_')}" if call.query else ""
    location = f"https://{host[1]}{call.environment.prefix}{quote(path)}{query}".encode()
    return Answer(307, b"", [(b"location", location), (b"content-length", b"0"), (b"cache-control", b"no-store")])
