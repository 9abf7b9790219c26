"""The rules of the Environment API v1, each with the check that finds it broken."""

import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from environments.conformance.shapes import SHAPES
from environments.conformance.subject import Failed, Reply, Subject
from environments.platform.canonical import canonical, digest

GRACE_SECONDS = 2.0  # for a server to end what it must end
PAGES = 20
DOCUMENTS = ("/facts", "/permissions", "/settings", "/security", "/technical-previews", "/authentication")


class Skipped(Exception):
    """The check cannot be made here; the message says why."""


@dataclass(frozen=True)
class Result:
    name: str
    outcome: Literal["passed", "failed", "skipped"]
    expected: str
    came: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


Check = Callable[[Subject], None]
CHECKS: list[tuple[str, str, Check]] = []


def rule(name: str, expected: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS.append((name, expected, check))
        return check

    return register


def run(subject: Subject) -> list[Result]:
    """Every check in order. When the very first fails, nothing else would tell more, so the rest is skipped."""
    results: list[Result] = []
    for name, expected, check in CHECKS:
        if results and results[0].outcome == "failed":
            results.append(Result(name, "skipped", expected, "the first check failed"))
            continue
        try:
            check(subject)
        except Failed as failure:
            results.append(Result(name, "failed", expected, str(failure)))
        except Skipped as reason:
            results.append(Result(name, "skipped", expected, str(reason)))
        else:
            results.append(Result(name, "passed", expected))
    return results


# The checks
@rule("answers", "GET /digests with right headers is answered 200")
def answers(subject: Subject) -> None:
    reply = subject.ask("GET", "/digests")
    if reply.status == 409 and b"deadline-passed" in reply.body and "Date" in reply.headers:
        _measure_clock(subject, reply)
        reply = subject.ask("GET", "/digests")
    if reply.status == 409 and b"epoch-passed" in reply.body:
        raise Failed(f"{reply}; it has heard of a later epoch: give it with --epoch")
    reply.expect(200)


@rule("date", "every answer has the server's Date, exact to the second and never from a cache")
def date(subject: Subject) -> None:
    etag = subject.ask("GET", "/digests").etag
    replies = [
        subject.ask("GET", "/facts"),
        subject.ask("GET", "/digests", headers={"If-None-Match": etag}),
        subject.ask("GET", "/facts", headers={"Authorization": None}),
        subject.ask("GET", "/no-such-path"),
    ]
    for reply in replies:
        if not _date(reply):
            raise Failed(f"{reply}; Date: {reply.headers.get('Date')}")
    _measure_clock(subject, replies[0])
    time.sleep(1.2)
    passed = _date(subject.ask("GET", "/facts")) - _date(replies[0])
    if not 1 <= passed <= 2 + GRACE_SECONDS:
        raise Failed(f"1.2 seconds later its Date was {passed:.0f} seconds later")


@rule("token", "without the right token: 401, problem unauthorized")
def token(subject: Subject) -> None:
    for given in (None, "Bearer wrong", "Bearer ", "Basic d3Jvbmc6d3Jvbmc="):
        subject.ask("GET", "/facts", headers={"Authorization": given}).expect_problem(401, "unauthorized")


@rule("headers", "a missing or malformed Lifetime header: 400, problem bad-headers")
def headers(subject: Subject) -> None:
    wrong: dict[str, tuple[str | None, ...]] = {
        "Lifetime-Contact": (None, "", "0", "-1", "one", "1.0"),
        "Lifetime-Deadline": (None, "", "soon", "2099-01-01", "2099-01-01T00:00:00Z", "2099-13-01T00:00:00.000000Z"),
        "Lifetime-Epoch": (None, "", "one", "-1"),
    }
    for name, values in wrong.items():
        for value in values:
            try:
                subject.ask("GET", "/facts", headers={name: value}).expect_problem(400, "bad-headers")
            except Failed as failure:
                raise Failed(f"with {name}: {value}: {failure}") from None


@rule("deadline-passed", "a deadline that the server's clock has passed: 409, problem deadline-passed")
def deadline_passed(subject: Subject) -> None:
    subject.ask("GET", "/facts", seconds=-30).expect_problem(409, "deadline-passed")
    subject.ask("PUT", "/settings", {}, seconds=-30).expect_problem(409, "deadline-passed")


@rule("epoch-passed", "an epoch lower than the highest seen: 409, problem epoch-passed")
def epoch_passed(subject: Subject) -> None:
    if subject.epoch == 0:
        raise Skipped("there is no epoch below 0: give a higher one with --epoch")
    lower: dict[str, str | None] = {"Lifetime-Epoch": str(subject.epoch - 1)}
    subject.ask("GET", "/facts", headers=lower).expect_problem(409, "epoch-passed")
    subject.ask("GET", "/facts").expect(200)


@rule("farewell", "ending a contact is heard whatever its epoch, and does not lower it")
def farewell(subject: Subject) -> None:
    if subject.epoch == 0:
        raise Skipped("there is no epoch below 0: give a higher one with --epoch")
    contact = str(subject.contact())
    lower: dict[str, str | None] = {"Lifetime-Epoch": str(subject.epoch - 1), "Lifetime-Contact": contact}
    subject.ask("DELETE", f"/contacts/{contact}", headers=lower).expect(204)
    subject.ask("GET", "/facts", headers={"Lifetime-Contact": contact}).expect_problem(409, "contact-ended")
    subject.contact()
    subject.ask("GET", "/facts", headers={"Lifetime-Epoch": str(subject.epoch - 1)}).expect_problem(409, "epoch-passed")


@rule("epoch-token", "a request without the right token does not raise the epoch")
def epoch_token(subject: Subject) -> None:
    raised: dict[str, str | None] = {"Lifetime-Epoch": str(subject.epoch + 1), "Authorization": "Bearer wrong"}
    subject.ask("GET", "/facts", headers=raised).expect(401)
    subject.ask("GET", "/facts").expect(200)


@rule("contact-ended", "DELETE /contacts/{id}: 204, also twice; then 409 contact-ended for it and for no other")
def contact_ended(subject: Subject) -> None:
    contact = str(subject.contact())
    mine: dict[str, str | None] = {"Lifetime-Contact": contact}
    subject.ask("GET", "/facts", headers=mine).expect(200)
    for _ in range(2):
        reply = subject.ask("DELETE", f"/contacts/{contact}", headers=mine).expect(204)
        if reply.body:
            raise Failed(f"{reply}; a 204 has no body")
    subject.ask("GET", "/facts", headers=mine).expect_problem(409, "contact-ended")
    subject.contact()
    subject.ask("GET", "/facts").expect(200)


@rule("contact-own", "a contact that ends another one: 400, problem bad-headers")
def contact_own(subject: Subject) -> None:
    other = subject.contact()
    subject.contact()
    subject.ask("DELETE", f"/contacts/{other}").expect_problem(400, "bad-headers")


@rule("order", "checks come in the order token, headers, contact, epoch, deadline, and before path and body")
def order(subject: Subject) -> None:
    contact = str(subject.contact())
    ended: dict[str, str | None] = {"Lifetime-Contact": contact}
    subject.ask("DELETE", f"/contacts/{contact}", headers=ended).expect(204)
    subject.contact()
    lower: dict[str, str | None] = {"Lifetime-Epoch": str(max(0, subject.epoch - 1))}
    malformed: dict[str, str | None] = {"Lifetime-Contact": "x"}
    unknown: dict[str, str | None] = {"Authorization": None}
    ask = subject.ask
    ask("GET", "/facts", headers=unknown | malformed, seconds=-30).expect_problem(401, "unauthorized")
    ask("GET", "/no-such-path", headers=unknown).expect_problem(401, "unauthorized")
    ask("GET", "/facts", headers=malformed | lower, seconds=-30).expect_problem(400, "bad-headers")
    ask("GET", "/facts", headers=ended | {"Lifetime-Deadline": None}).expect_problem(400, "bad-headers")
    ask("GET", "/facts", headers=ended | lower, seconds=-30).expect_problem(409, "contact-ended")
    if subject.epoch:
        ask("GET", "/facts", headers=lower, seconds=-30).expect_problem(409, "epoch-passed")
    ask("GET", "/no-such-path", seconds=-30).expect_problem(409, "deadline-passed")


@rule("deadline-reached", "a request being served when its deadline comes is ended: closed, or 503 deadline-passed")
def deadline_reached(subject: Subject) -> None:
    with subject.begin("PUT", "/settings", seconds=2, headers={}) as connection:
        _expect_end(connection, 2 + GRACE_SECONDS, {b"503"})


@rule("contact-cut", "ending a contact ends its requests that are being served")
def contact_cut(subject: Subject) -> None:
    contact = str(subject.contact())
    mine: dict[str, str | None] = {"Lifetime-Contact": contact}
    with subject.begin("PUT", "/settings", seconds=60, headers=mine) as connection:
        time.sleep(0.2)
        subject.ask("DELETE", f"/contacts/{contact}", headers=mine).expect(204)
        subject.contact()
        _expect_end(connection, GRACE_SECONDS, {b"409", b"503"})


@rule("shape", "documents have the members of the contract, of the right types, and no application comes twice")
def shape(subject: Subject) -> None:
    for path in SHAPES:
        value = document(subject, path)
        if path == "/applications":
            keys = [application["key"] for application in value["applications"]]
            if len(keys) != len(set(keys)):
                raise Failed("GET /applications: two applications have one key")
        if path == "/technical-previews" and value["enabled"] != sorted(set(value["enabled"])):
            raise Failed(f"GET /technical-previews: enabled is not sorted: {value['enabled']}")


@rule("canonical", "bodies are canonical JSON: sorted members, no spaces, no needless escapes, UTF-8")
def is_canonical(subject: Subject) -> None:
    for path in SHAPES:
        reply = subject.ask("GET", path).expect(200)
        if reply.body != canonical(reply.json()):
            raise Failed(f"{reply}; canonical would be {canonical(reply.json())[:160].decode()!r}")


@rule("etag", "documents carry the ETag of their digest; If-None-Match with it gives 304 without a body")
def etag(subject: Subject) -> None:
    for path in ("/digests", "/applications", *DOCUMENTS):
        reply = subject.ask("GET", path).expect(200)
        if path != "/authentication" and reply.etag != f'"{digest(reply.body)}"':
            raise Failed(f'GET {path}: ETag {reply.etag or "missing"}, the body\'s is "{digest(reply.body)}"')
        again = subject.ask("GET", path, headers={"If-None-Match": reply.etag}).expect(304)
        if again.body:
            raise Failed(f"{again}; a 304 has no body")
        subject.ask("GET", path, headers={"If-None-Match": '"sha256:0"'}).expect(200)


@rule("digests", "the digests are those of the documents")
def digests(subject: Subject) -> None:
    given = document(subject, "/digests")
    previews = document(subject, "/technical-previews")
    expected = {path[1:]: digest(subject.ask("GET", path).body) for path in DOCUMENTS[:4]}
    expected["technical_previews_available"] = digest(canonical(previews["available"]))
    expected["technical_previews"] = digest(canonical({"enabled": previews["enabled"]}))
    expected["authentication"] = subject.ask("GET", "/authentication").etag.strip('"')
    for name, value in expected.items():
        if given.get(name) != value:
            raise Failed(f"digests.{name} is {given.get(name)}, the document's is {value}")


@rule("settings-name", "the name in /settings is the name in /facts")
def settings_name(subject: Subject) -> None:
    settings, facts = document(subject, "/settings"), document(subject, "/facts")
    if settings["name"] != facts["name"]:
        raise Failed(f"settings say {settings['name']!r}, facts {facts['name']!r}")


@rule("feed", "pages of the change feed join to the whole; the last cursor gives nothing new")
def feed(subject: Subject) -> None:
    whole = document(subject, "/applications", "?since=0&limit=2000")
    if whole["removed"]:
        raise Failed(f"since=0 answers removals: {whole['removed'][:3]}")
    limit = max(1, -(-len(whole["applications"]) // PAGES))
    keys: list[str] = []
    cursor, more, pages = "0", True, 0
    while more:
        page = document(subject, "/applications", f"?since={cursor}&limit={limit}")
        if len(page["applications"]) + len(page["removed"]) > limit:
            raise Failed(f"limit={limit} answers {len(page['applications'])} applications")
        pages += 1
        if pages > PAGES + 1 or (page["more"] and page["cursor"] == cursor):
            raise Failed(f"after {pages} pages of {limit} there is still more; the cursor is {page['cursor']!r}")
        keys += [application["key"] for application in page["applications"]]
        cursor, more = page["cursor"], page["more"]
    if not whole["more"] and keys != [application["key"] for application in whole["applications"]]:
        raise Failed(f"{len(keys)} applications in pages of {limit}, {len(whole['applications'])} at once")
    last = document(subject, "/applications", f"?since={cursor}")
    if last["applications"] or last["removed"] or last["more"]:
        raise Failed(f"since={cursor}, the last cursor, answers {len(last['applications'])} applications again")


@rule("feed-errors", "an unknown cursor: 410 cursor-unknown; a limit that is no number from 1 to 2000: 400 bad-query")
def feed_errors(subject: Subject) -> None:
    subject.ask("GET", "/applications?since=no-such-cursor").expect_problem(410, "cursor-unknown")
    for limit in ("0", "2001", "-1", "many"):
        subject.ask("GET", f"/applications?limit={limit}").expect_problem(400, "bad-query")


@rule("paths", "an unknown path: 404 not-found; a wrong method: 405 method-not-allowed")
def paths(subject: Subject) -> None:
    subject.ask("GET", "/no-such-path").expect_problem(404, "not-found")
    subject.ask("PUT", "/digests", {}).expect_problem(405, "method-not-allowed")


@rule("put-refused", "a body that is no JSON: 400 bad-json; of another shape: 422 bad-body; nothing changes")
def put_refused(subject: Subject) -> None:
    require_writes(subject)
    before = subject.ask("GET", "/digests").body
    for path in ("/permissions", "/settings", "/security", "/technical-previews", "/authentication"):
        for raw in (b"{", b"", b'{"a":1,"a":2}'):
            subject.ask("PUT", path, raw=raw).expect_problem(400, "bad-json")
        wrong: list[Any] = [[], {}, {"enabled": [5], "name": 5, "mode": "magic"}]
        for body in wrong:
            subject.ask("PUT", path, body).expect_problem(422, "bad-body")
    if subject.ask("GET", "/digests").body != before:
        raise Failed("a refused PUT changed the digests")


@rule("put", "PUT stores the document as given and answers its digest, which GET and /digests then have")
def put(subject: Subject) -> None:
    require_writes(subject)
    settings = document(subject, "/settings")
    permissions = document(subject, "/permissions")
    try:
        _expect_stored(subject, "/settings", {**settings, "name": settings["name"] + " (check)"}, "settings")
        settings_name(subject)
        role = {
            "key": "check",
            "name": "Ünï",
            "level": 6,
            "create_applications": True,
            "add_system_dependencies": False,
        }
        _expect_stored(subject, "/permissions", {**permissions, "roles": [*permissions["roles"], role]}, "permissions")
    finally:
        subject.ask("PUT", "/settings", settings)
        subject.ask("PUT", "/permissions", permissions)
    _expect_stored(subject, "/settings", settings, "settings")
    _expect_stored(subject, "/permissions", permissions, "permissions")
    security = document(subject, "/security")
    answer = _expect_stored(subject, "/security", security, "security")
    if not isinstance(answer.get("republish"), list) or not isinstance(answer.get("apply_settings"), bool):
        raise Failed(f"PUT /security answers {answer}; it must say republish and apply_settings")
    enabled = {"enabled": document(subject, "/technical-previews")["enabled"]}
    if (given := subject.ask("PUT", "/technical-previews", enabled).expect(200).json()) != {
        "digest": digest(canonical(enabled))
    }:
        raise Failed(f"PUT /technical-previews answers {given}, not the digest of {enabled}")


@rule("secrets", "GET /authentication shows no secret; the digest is of the true body")
def secrets(subject: Subject) -> None:
    require_writes(subject)
    before = document(subject, "/authentication")
    if b"***" in canonical(before):
        raise Skipped("the environment has a secret that this check could not put back")
    body = {"mode": "oidc", "configuration": {"client_id": "check", "client_secret": "check-secret"}}
    try:
        stored = subject.ask("PUT", "/authentication", body).expect(200).json()
        shown = document(subject, "/authentication")
        listed = document(subject, "/digests")["authentication"]
    finally:
        subject.ask("PUT", "/authentication", before)
    if shown["configuration"].get("client_secret") != "***" or b"check-secret" in canonical(shown):
        raise Failed(f"GET /authentication answers {shown}; the secret must show as ***")
    expected = digest(canonical(body))
    if stored != {"digest": expected} or listed != expected:
        raise Failed(f"PUT answers {stored}, /digests {listed}; the true body's is {expected}")


@rule("epoch-raised", "a higher epoch is kept, and ends what a lower one began")
def epoch_raised(subject: Subject) -> None:
    require_writes(subject)
    with subject.begin("PUT", "/settings", seconds=60, headers={}) as connection:
        time.sleep(0.2)
        lower, subject.epoch = subject.epoch, subject.epoch + 1
        subject.contact()
        subject.ask("GET", "/facts").expect(200)
        subject.ask("GET", "/facts", headers={"Lifetime-Epoch": str(lower)}).expect_problem(409, "epoch-passed")
        _expect_end(connection, GRACE_SECONDS, {b"409", b"503"})


def document(subject: Subject, path: str, query: str = "", *, shape: type[BaseModel] | None = None) -> Any:
    """A document that has the shape of the contract, or Failed: checks may rely on its members."""
    reply = subject.ask("GET", path + query).expect(200)
    if reply.headers.get_content_type() != "application/json":
        raise Failed(f"{reply}; the content type must be application/json")
    value = reply.json()
    try:
        (shape or SHAPES[path]).model_validate(value)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
        raise Failed(f"GET {path}{query}: {faults}") from None
    return value


def require_writes(subject: Subject) -> None:
    if not subject.may_write:
        raise Skipped("it writes: use --write on a server that no console uses")


def _expect_stored(subject: Subject, path: str, body: Any, name: str) -> dict[str, Any]:
    answer = subject.ask("PUT", path, body).expect(200).json()
    expected = digest(canonical(body))
    if not isinstance(answer, dict) or answer.get("digest") != expected:
        raise Failed(f"PUT {path} answers {answer}; the digest of what was put is {expected}")
    if (got := subject.ask("GET", path).expect(200)).body != canonical(body):
        raise Failed(f"{got}; put was {canonical(body)[:160].decode()!r}")
    if (listed := document(subject, "/digests")[name]) != expected:
        raise Failed(f"after PUT {path} /digests says {listed}, not {expected}")
    return answer


def _expect_end(connection: socket.socket, seconds: float, statuses: set[bytes]) -> None:
    """The server must close the connection, or answer with one of these statuses, in time."""
    began = time.monotonic()
    connection.settimeout(seconds)
    try:
        received = connection.recv(4096)
    except TimeoutError:
        raise Failed(f"the request was still being served {time.monotonic() - began:.1f} seconds later") from None
    except OSError:
        received = b""
    if received and received[9:12] not in statuses:
        raise Failed(f"the answer was {received[:160].decode(errors='replace')!r}")


def _date(reply: Reply) -> float:
    try:
        return parsedate_to_datetime(reply.headers.get("Date", "")).timestamp()
    except ValueError:
        return 0.0


def _measure_clock(subject: Subject, reply: Reply) -> None:
    if there := _date(reply):
        subject.clock_difference = there + 0.5 - time.time()
