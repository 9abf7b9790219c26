"""What bodies must look like. Strict: a number in quotes is no number, a member nobody knows is a mistake."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from environments.platform.answers import Problem

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]
# Of applications and modules: what the console would refuse must not get in, or nothing more would be synchronized.
Title = Annotated[
    str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f]*[^\x00-\x1f\s][^\x00-\x1f]*$")
]
Number = Annotated[str, StringConstraints(max_length=40, pattern=r"^[^\x00-\x1f]*$")]
Text = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
Key = Annotated[UUID, Field(strict=False)]


def _instant(text: str) -> str:
    """One that there is, of a year that every time zone can show."""
    if not 1000 <= datetime.fromisoformat(text).year < 9000:
        raise ValueError("no year of ours")
    return text


Instant = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"),
    AfterValidator(_instant),
]
CONTAINED = r"^[\x20-\x2b\x2d-\x3a\x3c-\x7e]*$"  # printable ASCII but comma and semicolon
Colour = Annotated[str, StringConstraints(pattern=r"^(#[0-9a-fA-F]{6})?$")]
Consistency = Literal["", "Warning", "Error"]
StepName = Literal[
    "retrieving",
    "analyzing_processes",
    "generating",
    "analyzing_database",
    "distributing",
    "updating",
    "synchronizing",
]
Schema = TypeVar("Schema", bound=BaseModel)


CAPABILITIES = [
    "application-security",
    "application-settings",
    "blocked-addresses",
    "database-connections",
    "deployments",
    "events",
    "logs",
    "packages",
    "references",
    "templates",
    "versions",
]  # sorted; see docs/environment-api.md


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Open(BaseModel):
    """Stored as given, so members of later versions are welcome."""

    model_config = ConfigDict(strict=True, extra="allow")


class RoleBody(Open):
    key: str
    name: Name
    level: Annotated[int, Field(ge=0, le=6)]
    create_applications: bool
    add_system_dependencies: bool


class UserBody(Open):
    key: str
    username: Name
    name: str
    email: str
    is_active: bool
    role_key: str | None


class PermissionsBody(Open):
    roles: list[RoleBody]
    users: list[UserBody]
    teams: list[dict[str, Any]]


class SettingsBody(Strict):
    name: Name
    lifetime_address: Annotated[str, StringConstraints(max_length=500)]
    two_stage_deployments: bool
    mobile_apps_service: bool
    parallel_deployments: bool
    parallel_deployment_limit: Annotated[int, Field(ge=0, le=1000)]
    environment_key: Annotated[str, StringConstraints(max_length=100)] = ""


class ByBody(Strict):
    """The person for whom the console asks; shown and logged."""

    name: Annotated[str, StringConstraints(max_length=200)]
    username: Annotated[str, StringConstraints(max_length=200)]


class ContentSecurityPolicyBody(Strict):
    """Names and values become a header, so they must not be able to end a directive, a policy or the header."""

    enabled: bool
    directives: dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z-]{1,40}$")],
        list[Annotated[str, StringConstraints(max_length=2000, pattern=CONTAINED)]],
    ]


class SecurityBody(Strict):
    hsts: bool
    force_https_screens: bool
    force_https_integrations: bool
    secure_cookies: bool
    same_site: Literal["None", "Lax", "Strict"]
    remoting_protection: bool
    content_security_policy: ContentSecurityPolicyBody


class ApplicationSecurityBody(Strict):
    """Nothing means as the environment has it."""

    force_https_screens: bool | None
    content_security_policy: ContentSecurityPolicyBody | None


class TechnicalPreviewsBody(Strict):
    enabled: list[str]


class AuthenticationBody(Strict):
    mode: Literal["built_in", "oidc", "ldap"]
    configuration: dict[str, Any]


class ModuleChange(Strict):
    """A module as a developer publishes it: what is left out stays as it is."""

    key: Key | None = None
    name: Title | None = None
    kind: Literal["eSpace", "Extension"] | None = None
    description: Text | None = None
    version_key: Key | None = None
    hash: Annotated[str, StringConstraints(max_length=100)] | None = None
    is_modified: bool | None = None
    changed_at: Instant | None = None
    changed_by: Text | None = None
    consistency: Consistency | None = None
    consistency_message: Text | None = None
    # what it consists of, as in a package's manifest (packages.Parts)
    produces: list[dict[str, Any]] | None = None
    consumes: list[dict[str, Any]] | None = None
    site_properties: list[dict[str, Any]] | None = None
    endpoints: list[dict[str, Any]] | None = None
    timers: list[dict[str, Any]] | None = None
    processes: list[dict[str, Any]] | None = None


class ApplicationChange(Strict):
    """An application as a developer publishes it, found by key or else by name."""

    key: Key | None = None
    name: Title | None = None
    kind: Literal["WebResponsive", "Mobile", "Service", "Library"] | None = None
    description: Text | None = None
    url_path: Annotated[Text, StringConstraints(max_length=120)] | None = None
    is_system: bool | None = None
    version: Number | None = None
    version_key: Key | None = None
    is_modified: bool | None = None
    changed_at: Instant | None = None
    changed_by: Text | None = None
    consistency: Consistency | None = None
    consistency_message: Text | None = None
    modules: list[ModuleChange] | None = None
    team_key: str | None = None
    colour: Colour | None = None
    extensibility: dict[str, Any] | None = None


def check(schema: type[Schema], value: Any) -> Schema:
    """The value as its schema sees it, or a problem that names the first few members that are wrong."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise bad_body(faults(error)) from None


def faults(error: ValidationError) -> str:
    """The first few members that are wrong, in words."""
    found = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()[:5]]
    more = f" (and {error.error_count() - 5} more)" if error.error_count() > 5 else ""
    return "; ".join(found) + more


def bad_body(detail: str) -> Problem:
    return Problem(422, "bad-body", "The body is not what this path takes", detail)
