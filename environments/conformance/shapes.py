"""What documents look like, for checking what a server answers; members of later versions are fine."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from environments.platform.schemas import AuthenticationBody, PermissionsBody, SecurityBody, SettingsBody

Key = Annotated[UUID, Field(strict=False)]
Instant = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")]
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
