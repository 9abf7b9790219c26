"""The shapes of the Environment API v1, as the console reads them. docs/environment-api-v1.yaml is the contract.

`read` checks an answer: what is not of the shape is `Rejected` with the first thing that is wrong, in words.
"""

import hashlib
import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from environments.gate import Answer, Rejected
from environments.printable import printable

LONGEST_PLACE = 100  # in an answer, as a refusal names it
Shape = TypeVar("Shape", bound=BaseModel)
COLOUR = re.compile(r"#[0-9a-f]{6}", re.ASCII | re.IGNORECASE)
ESCAPED_ZERO = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# What the database keeps and every time zone can show: beyond, a row could be written that nobody can read.
Instant = Annotated[AwareDatetime, Field(ge=datetime(1000, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]
Name = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f]+$")]
Short = Annotated[str, StringConstraints(max_length=120, pattern=r"^[^\x00]*$")]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]
LONGEST_PERSON = 120  # people may have longer names, and what they do is shown all the same
Person = Annotated[Short, BeforeValidator(lambda given: given[:LONGEST_PERSON] if isinstance(given, str) else given)]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=False, extra="ignore", frozen=True)


class Digests(_Shape):
    """What an environment has, part by part."""

    facts: Short
    applications: Short
    permissions: Short
    settings: Short
    security: Short
    technical_previews_available: Short
    technical_previews: Short
    authentication: Short


class Zone(_Shape):
    """A deployment zone: where in the environment an application runs."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    name: Name
    is_default: bool = False


class Facts(_Shape):
    name: Name
    purpose: Literal["Development", "Test", "Production"]
    version: Annotated[str, StringConstraints(max_length=40)]
    number_of_front_ends: Annotated[int, Field(ge=0, le=1000)]
    application_server: Annotated[str, StringConstraints(max_length=60)]
    application_server_type: Annotated[str, StringConstraints(max_length=20)]
    database_provider: Annotated[str, StringConstraints(max_length=60)]
    deployment_zones: Annotated[list[Zone], Field(max_length=200)] = []
    capabilities: Annotated[list[Short], Field(max_length=200)] = []


class _Published(_Shape):
    key: UUID
    name: Name
    description: Text = ""
    version_key: UUID | None = None
    is_modified: bool
    changed_at: Instant
    changed_by: Person = ""
    consistency: Literal["", "Warning", "Error"] = ""
    consistency_message: Text = ""


class ModuleItem(_Published):
    kind: Annotated[str, StringConstraints(max_length=20)]
    hash: Annotated[str, StringConstraints(max_length=100)] = ""


def _colour(given: Any) -> str:
    """A colour like #1a73e8; none for what is written otherwise, which is no reason to refuse an application."""
    return given.lower() if isinstance(given, str) and COLOUR.fullmatch(given) else ""


class ApplicationItem(_Published):
    kind: Literal["WebResponsive", "Mobile", "Service", "Library"]
    url_path: Short = ""
    is_system: bool = False
    colour: Annotated[str, BeforeValidator(_colour)] = ""
    version: Annotated[str, StringConstraints(max_length=40)] = ""
    modules: list[ModuleItem]


class ApplicationsPage(_Shape):
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    more: bool
    applications: list[ApplicationItem]
    removed: list[UUID] = []


class ModuleVersionItem(_Shape):
    module_key: UUID
    name: Name
    version_key: UUID
    hash: Annotated[str, StringConstraints(max_length=100)] = ""
    created_at: Instant | None = None
    created_by: Person = ""


class Package(_Shape):
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0, lt=2**63)]


class MobileVersion(_Shape):
    platform: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    version: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    description: Text = ""


class VersionItem(_Shape):
    """A tagged version of an application."""

    key: UUID
    version: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    change_log: Text = ""
    created_at: Instant
    created_by: Person = ""
    based_on: UUID | None = None
    package: Package | None = None
    mobile_versions: list[MobileVersion] = []
    modules: list[ModuleVersionItem]


class VersionsPage(_Shape):
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    more: bool
    versions: list[VersionItem]


Identifier = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


class ElementItem(_Shape):
    """What a module offers to others. The same when kind and name are; compatible when the signature is, too."""

    name: Identifier
    kind: Identifier
    signature: Identifier = ""


class UseItem(_Shape):
    """What a module uses of another one."""

    module_key: UUID
    module_name: Name
    application_key: UUID
    application_name: Name
    elements: list[ElementItem] = []


class ReferencesItem(_Shape):
    """What one version of a module offers and uses."""

    key: UUID
    name: Name
    version_key: UUID | None = None
    produces: list[ElementItem] = []
    consumes: list[UseItem] = []


class References(_Shape):
    """Of an application as it is now, or with `version_key` of that version."""

    application_key: UUID
    version_key: UUID | None = None
    modules: list[ReferencesItem]


class DeploymentLine(_Shape):
    line: Annotated[int, Field(ge=1, lt=2**31)]
    at: Instant
    type: Literal["Info", "Warning", "Error"] = "Info"
    step: Short = ""
    message: Text


class DeploymentStep(_Shape):
    name: Short
    state: Literal["waiting", "running", "finished", "failed", "undone"]
    began_at: Instant | None = None
    ended_at: Instant | None = None
    warnings: Annotated[int, Field(ge=0, lt=2**31)] = 0
    errors: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Intervention(_Shape):
    """Something that a person has to decide or to give."""

    kind: Short
    application_key: UUID | None = None
    message: Text
    names: list[Text] = []


class DeploymentState(_Shape):
    """How far a deployment is, with the log since a cursor."""

    id: UUID
    status: Literal[
        "running",
        "needs_user_intervention",
        "aborting",
        "aborted",
        "finished_successful",
        "finished_with_warnings",
        "finished_with_errors",
    ]
    information: Literal[
        "", "deploy_prepared", "needs_configuration_or_confirmation", "business_process_impact", "deployment_suspended"
    ] = ""
    reason: Text = ""
    step: Short = ""
    steps: list[DeploymentStep] = []
    interventions: list[Intervention] = []
    is_applied: bool
    prepared_until: Instant | None = None
    log: list[DeploymentLine] = []
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    more: bool = False

    @property
    def is_over(self) -> bool:
        return self.status == "aborted" or self.status.startswith("finished")


Value = Annotated[str, StringConstraints(max_length=4_000, pattern=r"^[^\x00]*$")]


class _Setting(_Shape):
    module_key: UUID
    module: Name
    name: Name


class SiteProperty(_Setting):
    description: Text = ""
    data_type: Short = "Text"
    default_value: Value | None = None
    effective_value: Value | None = None
    is_secret: bool = False


class Endpoint(_Setting):
    kind: Short = ""
    default_url: Value | None = None
    effective_url: Value | None = None


class Timer(_Setting):
    default_schedule: Value | None = None
    effective_schedule: Value | None = None


class Extensibility(_Shape):
    mode: Literal["default", "custom"] = "default"
    default: dict[str, Any] = {}
    custom: dict[str, Any] | None = None


class SettingsDocument(_Shape):
    """The settings of one application."""

    site_properties: list[SiteProperty] = []
    endpoints: list[Endpoint] = []
    timers: list[Timer] = []
    extensibility: Extensibility = Extensibility()


class ContentSecurityPolicy(_Shape):
    enabled: bool
    directives: dict[Short, list[Text]]


class ApplicationSecurityDocument(_Shape):
    """The security settings that an application has of its own; None is as the environment has it."""

    force_https_screens: bool | None
    content_security_policy: ContentSecurityPolicy | None


class LogLine(_Shape):
    line: int
    at: Instant
    kind: Short = ""
    level: Short = ""
    module: Short = ""
    user: Person = ""
    message: Text = ""


class Logs(_Shape):
    lines: list[LogLine]


class Template(_Shape):
    key: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    name: Name
    kind: Short = ""
    description: Text = ""


class Templates(_Shape):
    templates: list[Template]


class BlockedAddress(_Shape):
    """An address, or one user name from one address, that an environment does not let log in for a while."""

    key: UUID
    kind: Literal["address", "login"]
    address: Short
    username: Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00]*$")] = ""
    attempts: int = 0
    blocked_at: Instant
    blocked_until: Instant


class BlockedAddresses(_Shape):
    blocked: Annotated[list[BlockedAddress], Field(max_length=10_000)]


class DatabaseParameter(_Shape):
    name: Name
    description: Text = ""
    is_required: bool = False


class DatabaseProvider(_Shape):
    """A kind of database, and what connections to such take."""

    key: Name
    name: Name
    has_login: bool = True
    parameters: Annotated[list[DatabaseParameter], Field(max_length=100)] = []


class DatabaseProviders(_Shape):
    providers: Annotated[list[DatabaseProvider], Field(max_length=100)]


DatabasePermissions = dict[Short, Literal["no-access", "read-only", "full-control"]]


class DatabaseConnection(_Shape):
    """A connection to a database as an environment shows it: without its password."""

    key: UUID
    name: Name
    provider: Name
    description: Text = ""
    username: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")] = ""
    has_password: bool = False
    parameters: dict[Name, Text] = {}
    roles: DatabasePermissions = {}
    users: DatabasePermissions = {}
    revision: Annotated[int, Field(ge=1, lt=2**31)]
    changed_at: AwareDatetime
    changed_by: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")] = ""


class DatabaseConnections(_Shape):
    connections: Annotated[list[DatabaseConnection], Field(max_length=10_000)]


class DatabaseTest(_Shape):
    """What came of connecting to a database."""

    succeeded: bool
    message: Text
    took_ms: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Preview(_Shape):
    key: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    name: Name
    description: Text = ""


class TechnicalPreviews(_Shape):
    available: list[Preview]
    enabled: list[str]


class Stored(_Shape):
    """The answer to a delivery; security settings tell what has to be done so that they take effect."""

    digest: Short
    republish: list[Name] = []
    apply_settings: bool = False


def read(answer: Answer, shape: type[Shape], *, step: str) -> Shape:
    """The answer's body as this shape; raises Rejected."""
    try:
        found = shape.model_validate_json(answer.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:LONGEST_PLACE] or "body"
        raise Rejected(
            f"The answer to {step} is not of the agreed shape: {printable(where)}: {printable(first['msg'])}"
        ) from None
    if issubclass(shape, _Shape) and ESCAPED_ZERO.search(answer.body):  # other shapes are cleaned by who reads them
        raise Rejected(f"The answer to {step} is not of the agreed shape: a text has a zero character in it.")
    return found


def refuse_duplicates(page: ApplicationsPage) -> None:
    """Raise Rejected when two applications, or two modules, have one key."""
    keys = Counter(item.key for application in page.applications for item in (application, *application.modules))
    if keys and (most := keys.most_common(1)[0])[1] > 1:
        raise Rejected(f"Two applications or modules have the same key, {most[0]}.")


_canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical(body: Any) -> bytes:
    """JSON with sorted keys and no spaces, in UTF-8: equal bodies have equal digests on both sides."""
    return _canonical_json(body).encode()


def digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()
