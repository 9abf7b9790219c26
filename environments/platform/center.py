"""The environment's own Service Center: pages for people whom the console let in, behind a log-in of its own."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from environments.platform import blocking, configuration, journal, multipart, page, people, publishing
from environments.platform import content as contents
from environments.platform.answers import Answer, FileAnswer, Headers, Problem, method_not_allowed, not_found
from environments.platform.packages import LARGEST_PACKAGE
from environments.platform.people import CHANGE, LIST, MONITOR, Person
from environments.platform.shelf import full_disk_is_a_problem

if TYPE_CHECKING:
    from environments.platform.call import Call
    from environments.platform.environment import Environment

BASE = "/ServiceCenter"
COOKIE = "service-center"
SESSION_SECONDS = 8 * 3600.0
MOST_SESSIONS = 10_000
UPLOAD_SECONDS = 600
FORM_SECONDS = 30
LARGEST_FORM = 1024**2
WRONG = "The user name or the password is wrong, or you have no access to this environment."
UUID_TEXT = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
APPLICATION = re.compile(rf"/applications/({UUID_TEXT})(/logs|/settings)?", re.ASCII)


class Session(NamedTuple):
    environment: int
    username: str
    ends_at: float


class Center:
    """Sessions are kept in memory: a restart logs everybody out."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._checking = asyncio.Lock()  # one password at a time: nobody tries a hundred before the first is counted

    async def answer(self, call: Call, path: str) -> Answer | FileAnswer:
        """`path` is what comes after /ServiceCenter."""
        environment = call.environment
        if call.method not in ("GET", "POST"):
            raise method_not_allowed(call.method, path, ["GET", "POST"])
        if call.method == "POST":
            _require_same_origin(call)
        if path == "":
            return _redirect(environment, "/")
        if path == "/login":
            return await self._log_in(call) if call.method == "POST" else _login_page(environment)
        person = self._person(call)
        if person is None:
            return _redirect(environment, "/login")
        if path == "/logout" and call.method == "POST":
            self._sessions.pop(_cookie(call), None)
            return _redirect(environment, "/login", cookie=_set_cookie(environment, "", seconds=0))
        if path == "/":
            return _home(environment, person)
        if path == "/publish":
            return await _publish(call, person) if call.method == "POST" else _publish_page(environment, person)
        if found := APPLICATION.fullmatch(path):
            application, level = _visible(environment, person, found[1])
            if found[2] == "/logs":
                return _logs(environment, person, application, level)
            if found[2] == "/settings" and call.method == "POST":
                return await _change_settings(call, person, application, level)
            if found[2] == "/settings":
                return _settings(environment, person, application, level)
            return _application(environment, person, application, level)
        raise not_found(f"{BASE}{path}")

    def _person(self, call: Call) -> Person | None:
        """Who is logged in, by the permissions as they are now."""
        session = self._sessions.get(_cookie(call))
        if session is None or session.environment != call.environment.id or session.ends_at < call.environment.now():
            return None
        person = people.find(call.environment, session.username)
        return person if person is not None and person.level else None

    async def _log_in(self, call: Call) -> Answer:
        environment = call.environment
        form = await _form(call)
        username, password = form.get("username", "")[:200], form.get("password", "")[:1000]
        async with self._checking:
            try:
                environment.attempts.refuse_blocked(environment, call.client_address, username)
            except blocking.Blocked as refusal:
                return _login_page(environment, message=str(refusal), status=429)
            person = people.find(environment, username)
            stored = blocking.password_hash(environment, username)
            is_right = await asyncio.to_thread(blocking.is_right, password, stored)
            if not is_right or person is None or not person.level:
                environment.attempts.failed(environment, call.client_address, username)
                return _login_page(environment, message=WRONG, status=403)
            environment.attempts.succeeded(call.client_address, username)
        return _redirect(environment, "/", cookie=_set_cookie(environment, self._begin(environment, person)))

    def _begin(self, environment: Environment, person: Person) -> str:
        now = environment.now()
        if len(self._sessions) >= MOST_SESSIONS:
            self._sessions = {key: one for key, one in self._sessions.items() if one.ends_at > now}
        while len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        key = secrets.token_urlsafe(32)
        self._sessions[key] = Session(environment.id, person.username, now + SESSION_SECONDS)
        return key


def _visible(environment: Environment, person: Person, key: str) -> tuple[dict[str, Any], int]:
    application = environment.find(key)
    level = person.level_for(key)
    if application is None or level < LIST:
        raise not_found(f"{BASE}/applications/{key}")
    return application, level


# Pages
def _home(environment: Environment, person: Person) -> Answer:
    rows = [
        (
            _link(environment, f"/applications/{application['key']}", application["name"]),
            escape(_version(application)),
            escape(f"{application['changed_at'][:16].replace('T', ' ')} by {application['changed_by']}"),
            escape(application["consistency_message"] or application["consistency"] or "Fine"),
        )
        for application in environment.applications()
        if person.level_for(application["key"]) >= LIST
    ]
    publish = "<p>" + _link(environment, "/publish", "Publish a package") + "</p>" if person.level >= CHANGE else ""
    table = page.table(f"Applications ({len(rows)})", ("Name", "Version", "Published", "State"), rows, "None for you.")
    return _page(environment, person, "Service Center", publish + table)


def _application(environment: Environment, person: Person, application: Mapping[str, Any], level: int) -> Answer:
    key = application["key"]
    links = []
    if application["url_path"]:
        address = f"{environment.prefix}/{application['url_path']}/"
        links.append(f'<a href="{escape(address)}">Open in browser</a>')
    if level >= MONITOR:
        links.append(_link(environment, f"/applications/{key}/logs", "Log"))
        links.append(_link(environment, f"/applications/{key}/settings", "Settings"))
    modules = [
        (
            escape(module["name"]),
            escape(module["kind"]),
            escape(module["hash"][:12]) + (" +" if module["is_modified"] else ""),
            escape(f"{module['changed_at'][:16].replace('T', ' ')} by {module['changed_by']}"),
        )
        for module in application["modules"]
    ]
    table = page.table("Modules", ("Name", "Kind", "Hash", "Published"), modules, "None.")
    intro = (
        f"<p>{escape(application['description'])}</p><p>Version <strong>{escape(_version(application))}</strong></p>"
    )
    items = "".join(f"<li>{link}</li>" for link in links)
    return _page(environment, person, application["name"], f"{intro}<ul>{items}</ul>{table}")


def _logs(environment: Environment, person: Person, application: Mapping[str, Any], level: int) -> Answer:
    _require(level, MONITOR)
    lines = journal.newest(environment, application["key"], 200)["lines"][::-1]
    names = ("at", "kind", "level", "module", "user", "message")
    rows = [tuple(escape(str(line[name])) for name in names) for line in lines]
    table = page.table("Newest lines", ("At", "Kind", "Level", "Module", "User", "Message"), rows, "Nothing yet.")
    return _page(environment, person, f"Log of {application['name']}", table)


def _settings(
    environment: Environment,
    person: Person,
    application: Mapping[str, Any],
    level: int,
    *,
    message: str = "",
    status: int = 200,
) -> Answer:
    _require(level, MONITOR)
    values = configuration.load(environment, application["key"])
    shown = configuration.shown(application, contents.load(environment, application), values)
    readonly = "" if level >= CHANGE else " readonly"
    rows = []
    for kind, member in configuration.KINDS.items():
        default = member.replace("effective", "default")
        for entry in shown[kind]:
            name = escape(f"{kind}/{entry['module_key']}/{entry['name']}")
            label = escape(f"{entry['module']}.{entry['name']}")
            value = escape(entry[member] or "")
            rows.append(
                (
                    f'<label for="{name}">{label}</label>',
                    escape(entry[default] if entry[default] is not None else "(none)"),
                    f'<input id="{name}" name="{name}" value="{value}"{readonly}>',
                )
            )
    table = page.table("Values; empty for the default", ("Setting", "Default", "Effective"), rows, "It has none.")
    button = "<p><button>Save</button></p>" if rows and level >= CHANGE else ""
    alert = f'<p role="alert">{escape(message)}</p>' if message else ""
    form = f'{alert}<form method="post">{table}{button}</form>'
    return _page(environment, person, f"Settings of {application['name']}", form, status=status)


async def _change_settings(call: Call, person: Person, application: dict[str, Any], level: int) -> Answer:
    _require(level, CHANGE)
    environment = call.environment
    change: dict[str, list[dict[str, Any]]] = {}
    for name, value in (await _form(call)).items():
        kind, _, place = name.partition("/")
        module_key, _, setting = place.partition("/")
        if kind in configuration.KINDS:
            entry = {"module_key": module_key, "name": setting, configuration.KINDS[kind]: value or None}
            change.setdefault(kind, []).append(entry)
    try:
        configuration.put(environment, application, change, by=person.name)
    except Problem as problem:
        if problem.status != 422:
            raise
        return _settings(environment, person, application, level, message=problem.detail, status=422)
    return _redirect(environment, f"/applications/{application['key']}/settings")


def _publish_page(environment: Environment, person: Person, *, message: str = "", status: int = 200) -> Answer:
    _require(person.level, CHANGE)
    alert = f'<p role="alert">{escape(message)}</p>' if message else ""
    form = (
        f'{alert}<form method="post" enctype="multipart/form-data"><p><label for="package">Package (a zip file with '
        'manifest.json and web/)</label><br><input id="package" name="package" type="file" accept=".zip" required></p>'
        "<p><button>Publish</button></p></form>"
    )
    return _page(environment, person, "Publish a package", form, status=status)


async def _publish(call: Call, person: Person) -> Answer:
    _require(person.level, CHANGE)
    environment = call.environment

    def may(known: Mapping[str, Any] | None) -> None:
        if known is None and not person.may_create:
            raise _forbidden("Your role may not create applications here.")
        if known is not None:
            _require(person.level_for(known["key"]), CHANGE)

    try:
        environment.shelf.require_space(0)
        with environment.shelf.temporary() as path, full_disk_is_a_problem():
            async with asyncio.timeout(UPLOAD_SECONDS):
                content_type = call.header(b"content-type").decode("latin-1")
                await multipart.receive(content_type, call.pieces(LARGEST_PACKAGE), path)
            application, _ = await publishing.publish_package(environment, path, by=person.name, may=may)
    except TimeoutError:
        return _publish_page(environment, person, message="The package took too long to arrive.", status=408)
    except Problem as problem:
        if problem.status in (403, 413):
            raise
        return _publish_page(environment, person, message=problem.detail, status=problem.status)
    return _redirect(environment, f"/applications/{application['key']}")


def _login_page(environment: Environment, *, message: str = "", status: int = 200) -> Answer:
    alert = f'<p role="alert">{escape(message)}</p>' if message else ""
    form = (
        f"{alert}<form method='post'><p><label for='username'>User name</label><br>"
        "<input id='username' name='username' autocomplete='username' required></p>"
        "<p><label for='password'>Password</label><br>"
        "<input id='password' name='password' type='password' autocomplete='current-password' required></p>"
        "<p><button>Log in</button></p></form>"
    )
    return _page(environment, None, "Log in", form, status=status)


def _page(environment: Environment, person: Person | None, title: str, content: str, *, status: int = 200) -> Answer:
    who = ""
    if person is not None:
        who = (
            f'<form method="post" action="{escape(environment.prefix)}{BASE}/logout">'
            f"<p>{_link(environment, '/', 'Service Center')} of {escape(environment.name)} · {escape(person.name)} "
            "<button>Log out</button></p></form>"
        )
    return page.page(
        f"{title} - {environment.name}",
        f"{who}<h1>{escape(title)}</h1>{content}",
        style=f"{environment.prefix}/platform.css",
        status=status,
        forms=True,
    )


def _link(environment: Environment, path: str, text: str) -> str:
    return f'<a href="{escape(environment.prefix)}{BASE}{escape(path)}">{escape(text)}</a>'


def _version(application: Mapping[str, Any]) -> str:
    return (application["version"] or "no version") + (" +" if application["is_modified"] else "")


def _redirect(environment: Environment, path: str, *, cookie: bytes | None = None) -> Answer:
    headers: Headers = [
        (b"location", f"{environment.prefix}{BASE}{path}".encode()),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
    ]
    if cookie is not None:
        headers.append((b"set-cookie", cookie))
    return Answer(303, b"", headers)


# Requests
def _require(level: int, least: int) -> None:
    if level < least:
        raise _forbidden("Your role does not allow that here.")


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", "You may not", detail)


def _require_same_origin(call: Call) -> None:
    """A page of somebody else's must not make a person's browser do anything here."""
    site = call.header(b"sec-fetch-site")
    origin = call.header(b"origin").decode("latin-1")
    host = call.header(b"host").decode("latin-1")
    if site not in (b"", b"same-origin", b"none") or (origin and urlsplit(origin).netloc != host):
        raise _forbidden("The request comes from another site.")


async def _form(call: Call) -> dict[str, str]:
    try:
        async with asyncio.timeout(FORM_SECONDS):
            body = b"".join([piece async for piece in call.pieces(LARGEST_FORM)])
    except TimeoutError:
        raise Problem(408, "too-slow", "The form did not arrive", f"It must within {FORM_SECONDS} seconds.") from None
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=5000)
    except ValueError:
        raise Problem(400, "bad-form", "The form cannot be read", "Send it as a browser does.") from None
    return {name: values[-1] for name, values in fields.items()}


def _cookie(call: Call) -> str:
    for part in call.header(b"cookie").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _set_cookie(environment: Environment, value: str, *, seconds: float = SESSION_SECONDS) -> bytes:
    """As the environment's security settings want cookies."""
    security = environment.values["security"]
    secure = "; Secure" if security["secure_cookies"] or security["same_site"] == "None" else ""
    path = f"{environment.prefix}{BASE}"
    flags = f"HttpOnly; SameSite={security['same_site']}{secure}"
    return f"{COOKIE}={value}; Path={path}; Max-Age={int(seconds)}; {flags}".encode()
