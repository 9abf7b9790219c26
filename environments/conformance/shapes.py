"""What documents look like, for checking what a server answers; members of later versions are fine."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from environments.platform.schemas import (
    AuthenticationBody,
    ContentSecurityPolicyBody,
    PermissionsBody,
    SecurityBody,
    SettingsBody,
    StepName,
)

Key = Annotated[UUID, Field(strict=False)]
Instant = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Consistency = Literal["", "Warning", "Error"]


class Open(BaseModel):
    model_config = ConfigDict(strict=True)


class ZoneShape(Open):
    key: str
    name: str
    is_default: bool


class FactsShape(Open):
    name: str
    purpose: Literal["Development", "Test", "Production"]
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+\.\d+$")]
    number_of_front_ends: Annotated[int, Field(ge=1)]
    application_server: str
    application_server_type: Literal[".NET", "JAVA"]
    database_provider: str
    deployment_zones: list[ZoneShape]
    capabilities: list[str] = []


class PreviewShape(Open):
    key: str
    name: str
    description: str


class PreviewsShape(Open):
    available: list[PreviewShape]
    enabled: list[str]


class ModuleShape(Open):
    key: Key
    name: str
    kind: Literal["eSpace", "Extension"]
    description: str
    version_key: Key
    hash: str
    is_modified: bool
    changed_at: Instant
    changed_by: str
    consistency: Consistency
    consistency_message: str


class ApplicationShape(Open):
    key: Key
    name: str
    kind: Literal["WebResponsive", "Mobile", "Service", "Library"]
    description: str
    url_path: str
    is_system: bool
    version: str
    version_key: Key | None
    is_modified: bool
    changed_at: Instant
    changed_by: str
    consistency: Consistency
    consistency_message: str
    modules: list[ModuleShape]


class PageShape(Open):
    cursor: str
    more: bool
    applications: list[ApplicationShape]
    removed: list[Key]


class DigestsShape(Open):
    facts: str
    applications: str
    permissions: str
    settings: str
    security: str
    technical_previews_available: str
    technical_previews: str
    authentication: str


# What comes with capabilities
class PackageShape(Open):
    digest: Digest
    bytes: int


class MobileVersionShape(Open):
    platform: Literal["Android", "iOS"]
    version: str


class ModuleVersionShape(Open):
    module_key: Key
    name: str
    version_key: Key
    hash: str
    created_at: Instant
    created_by: str


class VersionShape(Open):
    key: Key
    application_key: Key
    version: str
    change_log: str
    created_at: Instant
    created_by: str
    created_by_username: str
    based_on: Key | None
    in_use: bool
    package: PackageShape | None
    mobile_versions: list[MobileVersionShape]
    modules: list[ModuleVersionShape]


class VersionsShape(Open):
    cursor: str
    more: bool
    versions: list[VersionShape]


class TemplateShape(Open):
    key: str
    name: str
    kind: Literal["WebResponsive", "Mobile", "Service", "Library"]
    description: str


class TemplatesShape(Open):
    templates: list[TemplateShape]


class SettingShape(Open):
    module_key: Key
    module: str
    name: str


class PropertyShape(SettingShape):
    description: str
    data_type: str
    default_value: str | None
    effective_value: str | None
    is_secret: bool


class EndpointShape(SettingShape):
    kind: Literal["REST", "SOAP"]
    default_url: str
    effective_url: str | None


class TimerShape(SettingShape):
    default_schedule: str
    effective_schedule: str | None


class ExtensibilityShape(Open):
    mode: Literal["default", "custom"]
    default: dict[str, Any]
    custom: dict[str, Any] | None


class ApplicationSettingsShape(Open):
    site_properties: list[PropertyShape]
    endpoints: list[EndpointShape]
    timers: list[TimerShape]
    extensibility: ExtensibilityShape


class ApplicationSecurityShape(Open):
    force_https_screens: bool | None
    content_security_policy: ContentSecurityPolicyBody | None


class LogLineShape(Open):
    line: int
    at: Instant
    kind: str
    level: Literal["Info", "Warning", "Error"]
    module: str
    user: str
    message: str


class LogShape(Open):
    cursor: str
    more: bool
    lines: list[LogLineShape]


class BlockShape(Open):
    key: Key
    kind: Literal["address", "login"]
    address: str
    username: str
    attempts: int
    blocked_at: Instant
    blocked_until: Instant


class BlockedShape(Open):
    blocked: list[BlockShape]


class DatabaseParameterShape(Open):
    name: str
    description: str
    is_required: bool


class DatabaseProviderShape(Open):
    key: str
    name: str
    has_login: bool
    parameters: list[DatabaseParameterShape]


class DatabaseProvidersShape(Open):
    providers: list[DatabaseProviderShape]


DatabasePermissions = dict[str, Literal["no-access", "read-only", "full-control"]]


class DatabaseConnectionShape(Open):
    key: Key
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,49}$")]
    provider: str
    description: str
    username: str
    has_password: bool
    parameters: dict[str, str]
    roles: DatabasePermissions
    users: DatabasePermissions
    revision: Annotated[int, Field(ge=1)]
    changed_at: Instant
    changed_by: str


class DatabaseConnectionsShape(Open):
    connections: list[DatabaseConnectionShape]


class ElementShape(Open):
    name: str
    kind: str
    signature: str


class ReferenceShape(Open):
    module_key: Key
    module_name: str
    application_key: Key
    application_name: str
    elements: list[ElementShape]


class ReferencingModuleShape(Open):
    key: Key
    name: str
    version_key: Key
    produces: list[ElementShape]
    consumes: list[ReferenceShape]


class ReferencesShape(Open):
    application_key: Key
    version_key: Key | None
    modules: list[ReferencingModuleShape]


class StepShape(Open):
    name: StepName
    state: Literal["waiting", "running", "finished", "failed", "undone"]
    can_abort: bool


class DeploymentShape(Open):
    id: Key
    label: str
    status: Literal[
        "running", "needs_user_intervention", "aborting", "aborted", "finished_successful", "finished_with_warnings",
        "finished_with_errors",
    ]  # fmt: skip
    information: str
    reason: str
    step: StepName
    steps: Annotated[list[StepShape], Field(min_length=7, max_length=7)]
    is_applied: bool


class DeploymentsShape(Open):
    deployments: list[DeploymentShape]


SHAPES: dict[str, type[BaseModel]] = {
    "/digests": DigestsShape,
    "/facts": FactsShape,
    "/applications": PageShape,
    "/permissions": PermissionsBody,
    "/settings": SettingsBody,
    "/security": SecurityBody,
    "/technical-previews": PreviewsShape,
    "/authentication": AuthenticationBody,
}
