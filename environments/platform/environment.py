"""One hosted environment: its documents ready to be answered, its epoch, its ended contacts, its calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from environments.platform import applications, clock, configuration, events, journal, versions
from environments.platform import content as contents
from environments.platform.answers import Document, Problem
from environments.platform.blocking import Attempts
from environments.platform.canonical import canonical, digest
from environments.platform.deployments import Deployments
from environments.platform.schemas import CAPABILITIES

if TYPE_CHECKING:
    from uuid import UUID

    from environments.platform.arrivals import Arrivals
    from environments.platform.behaviour import Behaviour
    from environments.platform.call import Call
    from environments.platform.content import Content
    from environments.platform.events import Courier
    from environments.platform.schemas import ApplicationChange
    from environments.platform.shelf import Shelf
    from environments.platform.store import EnvironmentRow, Store

MASK = "***"


@dataclass(slots=True)
class Feed:
    cursor: str
    more: bool
    body: bytes


class Environment:
    def __init__(
        self,
        row: EnvironmentRow,
        documents: dict[str, bytes],
        ended: set[int],
        store: Store,
        arrivals: Arrivals,
        shelf: Shelf,
    ) -> None:
        self.id = row.id
        self.prefix = row.prefix
        self.generation = row.generation
        self.sequence = row.sequence
        self.horizon = row.horizon
        self.epoch = row.epoch
        self.durable_epoch = row.epoch
        self.ended_contacts = ended
        self.calls: set[Call] = set()
        self.switch: Behaviour | None = None  # as a test set it
        self.behaviour: Behaviour | None = None  # the same while it makes answers wrong
        self.clock_offset = 0.0
        self.store = store
        self.shelf = shelf
        self.attempts = Attempts()
        self.courier: Courier | None = None
        self._arrivals = arrivals
        self._stored = documents
        self._addresses: dict[str, str] | None = None
        documents["facts"] = canonical({**_value(documents["facts"]), "capabilities": CAPABILITIES})
        self._documents = {name: _document(name, body) for name, body in documents.items()}
        self.values: dict[str, Any] = {name: _value(body) for name, body in documents.items()}
        self.digests = self._make_digests()
        self.deployments = Deployments(self)

    @property
    def name(self) -> str:
        return str(self.values["facts"]["name"])

    def now(self) -> float:
        return clock.now() + self.clock_offset

    # Documents
    def document(self, name: str) -> Document:
        return self._documents[name]

    def replace(self, changes: dict[str, Any]) -> None:
        """Store new values of documents durably, all or none, and answer with them from now on."""
        bodies = {name: canonical(value) for name, value in changes.items()}
        changed = {name: body for name, body in bodies.items() if body != self._stored[name]}
        if not changed:
            return
        self.store.save_documents(self.id, changed)
        for name, body in changed.items():
            self._stored[name] = body
            self.values[name] = changes[name]
            self._documents[name] = _document(name, body)
        self.digests = self._make_digests()

    def _make_digests(self) -> Document:
        previews = self.values["technical-previews"]
        return Document(
            canonical(
                {
                    "facts": self._documents["facts"].digest,
                    "applications": self.cursor(self.sequence),
                    "permissions": self._documents["permissions"].digest,
                    "settings": self._documents["settings"].digest,
                    "security": self._documents["security"].digest,
                    "technical_previews_available": digest(canonical(previews["available"])),
                    "technical_previews": digest(canonical({"enabled": previews["enabled"]})),
                    "authentication": self._documents["authentication"].digest,
                }
            )
        )

    # Applications
    def cursor(self, sequence: int) -> str:
        return f"{self.generation}-{sequence}"

    def feed(self, *, since: str, limit: int) -> Feed:
        start = self._sequence_of(since)
        rows = self.store.feed(self.id, since=start, limit=limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        cursor = self.cursor(rows[-1].sequence if more else self.sequence)
        present = [row.body for row in rows if row.body is not None]
        removed = [row.key for row in rows if row.body is None]
        return Feed(cursor, more, applications.page(present, removed, cursor=cursor, more=more))

    def _sequence_of(self, cursor: str) -> int:
        sequence = self.number_of(cursor)
        if cursor == "0" or self.horizon <= sequence <= self.sequence:
            return sequence
        raise cursor_unknown()

    def number_of(self, cursor: str) -> int:
        """The number in a cursor of this environment."""
        if cursor == "0":
            return 0
        generation, _, number = cursor.rpartition("-")
        if generation == self.generation and number.isascii() and number.isdigit() and len(number) < 19:
            return int(number)
        raise cursor_unknown()

    def publish(self, change: ApplicationChange) -> tuple[dict[str, Any], bool]:
        """Create or change an application; answer it and whether it is new."""
        if change.key is None and change.name is None:
            raise Problem(422, "bad-body", "The body is not what this path takes", "Give the key or the name.")
        known = self._find(change)
        if known is None:
            application = applications.create(change, at=self.now())
        else:
            application = applications.publish(known, change, at=self.now())
        namesake = self.store.application(self.id, name=application["name"])
        if namesake is not None and namesake["key"] != application["key"]:
            raise name_taken(application["name"])
        extended = contents.published(contents.load(self, known or application), application, change)
        with self.changes():
            if known is not None:
                versions.adopt(self, known)
            self.save(application, content=extended)
            journal.write(self, application["key"], "Publish", "Published.", user=application["changed_by"])
            events.tell(self, "application-published", application, by=application["changed_by"])
        return application, known is None

    def _find(self, change: ApplicationChange) -> dict[str, Any] | None:
        if change.key is not None:
            return self.store.application(self.id, key=str(change.key))
        return self.store.application(self.id, name=change.name or "")

    def remove(self, key: UUID) -> None:
        application = self.require(str(key))
        with self.changes():
            removed = self.store.remove_application(self.id, str(key))
            if removed is None:
                raise application_unknown(str(key))
            self.sequence, self.horizon = removed
            events.tell(self, "application-removed", application, by="developer")

    def find(self, key: str) -> dict[str, Any] | None:
        return self.store.application(self.id, key=key)

    def require(self, key: str) -> dict[str, Any]:
        found = self.find(key)
        if found is None:
            raise application_unknown(key)
        return found

    @contextmanager
    def changes(self) -> Iterator[None]:
        """Save applications and what belongs to them: all of it durably, or nothing."""
        before = self.sequence, self.horizon
        try:
            with self.store.transaction():
                yield
        except BaseException:
            self.sequence, self.horizon = before
            raise
        self._addresses = None
        self.digests = self._make_digests()

    def save(self, application: dict[str, Any], *, content: Content | None = None, values: Any = None) -> None:
        """Inside `changes`: the application is the newest change; its content and its settings, if they are given."""
        if content is not None:
            contents.save(self, application["key"], content)
        content = content or contents.load(self, application)
        if values is None:
            values = configuration.load(self, application["key"])
        application["settings_digest"] = configuration.digest_of(application, content, values)
        self.sequence = self.store.save_application(
            self.id, application["key"], application["name"], canonical(application)
        )

    def refuse_taken_names(self, key: str, name: str, modules: dict[str, str]) -> None:
        """Raise a problem when another application has the name, or one of the modules (name -> key)."""
        row = self.store.row(
            "SELECT key FROM application WHERE environment = ? AND lower(name) = lower(?) AND key != ?"
            " AND body IS NOT NULL",
            self.id,
            name,
            key,
        )
        if row is not None:
            raise name_taken(name)
        owners = self.module_owners()
        for module, module_key in modules.items():
            owner = owners.get(module.casefold())
            if owner is not None and owner[0] != module_key:
                raise module_name_taken(module, owner[1])

    def module_owners(self) -> dict[str, tuple[str, str]]:
        """Module name, without regard to case -> its module key and the name of its application."""
        return {
            module["name"].casefold(): (module["key"], application["name"])
            for application in self.applications()
            for module in application["modules"]
        }

    def application_at(self, url_path: str) -> dict[str, Any] | None:
        """The application that is served below a path."""
        if self._addresses is None:
            self._addresses = {
                application["url_path"].casefold(): application["key"]
                for application in self.applications()
                if application["url_path"]
            }
        key = self._addresses.get(url_path.casefold())
        return None if key is None else self.find(key)

    def applications(self) -> list[dict[str, Any]]:
        return list(self.store.applications(self.id))

    # Fences
    def raise_epoch(self, epoch: int) -> None:
        """From now on only this epoch or a later one is heard; what an earlier one began is ended."""
        self.epoch = epoch
        self.store.note_epoch(self.id, epoch)
        problem = epoch_passed(epoch)
        for call in [call for call in self.calls if (call.epoch or 0) < epoch and not call.is_farewell]:
            call.end("ended", problem)

    async def epoch_durable(self) -> None:
        epoch = self.epoch
        await self.store.durable()
        self.durable_epoch = max(self.durable_epoch, epoch)

    async def end_contact(self, contact: int) -> None:
        """Return when no request of the contact is being served; none will be, also after a restart."""
        if contact not in self.ended_contacts:
            self.ended_contacts.add(contact)
            self.store.note_ended_contact(self.id, contact, at=clock.now())
        problem = contact_ended(contact)
        for call in [call for call in self.calls if call.contact == contact and not call.is_farewell]:
            call.end("ended", problem)
        await self._arrivals.seen()
        await self.store.durable()


def cursor_unknown() -> Problem:
    return Problem(410, "cursor-unknown", "The cursor cannot be served", "Start again from since=0.")


def application_unknown(key: str) -> Problem:
    return Problem(404, "application-unknown", "There is no such application", f"Nothing has the key {key}.")


def name_taken(name: str) -> Problem:
    return Problem(409, "name-taken", "The name is taken", f"Another application is named {name!r}.")


def module_name_taken(name: str, owner: str) -> Problem:
    return Problem(409, "module-name-taken", "A module's name is taken", f"{owner} has a module named {name!r}.")


def epoch_passed(epoch: int) -> Problem:
    return Problem(409, "epoch-passed", "The epoch has passed", f"This environment has heard of epoch {epoch}.")


def contact_ended(contact: int) -> Problem:
    return Problem(409, "contact-ended", "The contact has ended", f"Contact {contact} was ended; open another one.")


def deadline_passed() -> Problem:
    return Problem(409, "deadline-passed", "The deadline has passed", "This environment's clock is past the deadline.")


def deadline_reached() -> Problem:
    return Problem(503, "deadline-passed", "The deadline has passed", "It passed while the request was being served.")


def _value(body: bytes) -> Any:
    return json.loads(body)


def _document(name: str, body: bytes) -> Document:
    if name == "authentication":
        return Document(canonical(masked(_value(body))), true_digest=digest(body))
    return Document(body)


def masked(value: Any, *, secret: bool = False) -> Any:
    """A configuration that may be shown: what is named a secret, a password or a private key is hidden."""
    if isinstance(value, dict):
        return {key: masked(member, secret=secret or _names_a_secret(key)) for key, member in value.items()}
    if isinstance(value, list):
        return [masked(member, secret=secret) for member in value]
    return MASK if secret and value not in ("", None) else value


def _names_a_secret(key: str) -> bool:
    lowered = key.lower()
    return any(word in lowered for word in ("secret", "password", "private_key"))
