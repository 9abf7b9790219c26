"""What a plan lacks in its target: site properties without a value. There are no databases to map."""

from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from ninja import Router
from pydantic import Field
from typing_extensions import TypedDict

from deployments import plan_settings, plans
from deployments.models import PlanStatus
from deployments.plans import PlanRefused
from environments.operations import Operation
from lifetime.api import deployments
from lifetime.api.answers import answer, errors, nothing
from lifetime.api.deployments import PLAN
from lifetime.api.properties import LONGEST
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.policy import Action

router = Router()
MOST = 1_000


class MissingMapping(TypedDict):
    """A logical database of an extension that has no connection in the target."""

    ExtensionKey: str
    ExtensionName: str
    LogicalDatabase: str


class DatabaseMapping(Body):
    database_name: str
    logical_database_name: str


class SiteProperty(Body):
    """A value for a site property of a module."""

    module_key: UUID
    name: str = Field(min_length=1, max_length=100)
    value: str = Field(max_length=LONGEST)


class Configuration(Body):
    """Site properties of an application of the plan. Mappings of databases are refused: there are none to map."""

    application_key: UUID | None = None
    site_properties: list[SiteProperty] = Field([], max_length=MOST)
    extension_key: UUID | None = None
    db_mapping: list[DatabaseMapping] = Field([], alias="DBMapping")


class Configured(TypedDict):
    Message: str


@router.get(PLAN + "/getmissingdbmappings", response={200: list[MissingMapping], 204: None, **errors(403, 404)})
def get_missing_database_mappings(request: ApiRequest, plan: UUID) -> HttpResponse:
    """Nothing is ever missing: environments of this console have no logical databases."""
    deployments.get(request, plan, Action.PREPARE_PLANS)
    return nothing()


@router.post(PLAN + "/configuration", response={200: Configured, **errors(400, 403, 404)})
def configure_deployment(request: ApiRequest, plan: UUID, body: list[Configuration]) -> HttpResponse:
    """Give site properties values in the target, before the start or when the plan waits for them; then it goes on."""
    found = deployments.get(request, plan, Operation.OPERATE_PLANS)
    given = _given(body)
    deployed = {one.application_key for one in found.operations.all() if one.is_deployed}
    if unknown := sorted(str(key) for key in given.keys() - deployed):
        raise ValidationError(f"The plan does not deploy {', '.join(unknown)}.")
    merged = plan_settings.merged(found, given)
    if found.status == PlanStatus.SAVED:
        plans.set_settings(found, merged, by=actor(request), revision=found.revision)
        told: Configured = {"Message": "The values are applied with the deployment."}
    else:
        plans.continue_(found, by=actor(request), information=found.information, settings=merged)
        told = {"Message": "The values are applied, and the deployment goes on."}
    return answer(told)


def _given(body: list[Configuration]) -> dict[UUID, dict[str, Any]]:
    """By application, bodies of the Environment API's PUT settings."""
    if any(one.db_mapping for one in body):
        raise PlanRefused("There are no logical databases to map in this infrastructure.")
    found: dict[UUID, dict[str, Any]] = {}
    for one in body:
        if one.application_key is None:
            if one.site_properties:
                raise ValidationError("Name the application of these site properties: ApplicationKey.")
            continue
        entries = found.setdefault(one.application_key, {"site_properties": []})["site_properties"]
        for value in one.site_properties:
            entries.append({"module_key": str(value.module_key), "name": value.name, "effective_value": value.value})
    if not found:
        raise ValidationError("Nothing was given to configure.")
    return found
