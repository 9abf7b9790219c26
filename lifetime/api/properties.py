"""The Properties API: site properties, addresses of integrations and schedules of timers, one value at a time.

It stands beside the LifeTime API under its own root. A value comes as the raw body, whatever its content type says.
"""

from dataclasses import dataclass
from uuid import UUID, uuid5

from django.http import Http404, HttpResponse
from ninja import Router
from ninja.errors import HttpError
from typing_extensions import TypedDict

from environments import application_settings
from environments.application_settings import Changes, Setting
from environments.models import Application, Environment, Module
from environments.operations import Operation
from lifetime.api import places, waiting
from lifetime.api.answers import Failed, answer, errors
from lifetime.api.request import ApiRequest, actor

router = Router()
PLACE = "/Modules/{module}/Environments/{key:environment}"
LONGEST = 4_000
TYPES = {"site_properties": "SiteProperty", "endpoints": "REST_Endpoint", "timers": "TimerSchedule"}
RAW = {
    "requestBody": {
        "description": "The value itself, as text in UTF-8. Empty is a value too.",
        "content": {"text/plain": {"schema": {"type": "string", "maxLength": LONGEST}}},
    }
}


class Outcome(TypedDict):
    """`Message` says why it was not done when `Success` is false."""

    Success: bool
    Message: str


class ConfigurationItem(TypedDict):
    """A setting as manifests of pipelines name it. Secrets show no value."""

    ModuleKey: str
    ModuleName: str
    ConfigurationItemKey: str
    ConfigurationItemName: str
    ConfigurationItemType: str
    TargetValue: str | None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A module in an environment."""

    environment: Environment
    application: Application
    module: Module

    def settings(self) -> list[Setting]:
        """The module's settings as they were last read."""
        known = application_settings.stored(self.environment, self.application)
        told = application_settings.settings_of(known) if known else []
        return [one for one in told if one.module_key == str(self.module.key)]


@router.get(PLACE, response={200: list[ConfigurationItem], **errors(400, 403, 404)})
def list_configuration_items(request: ApiRequest, module: str, environment: UUID) -> HttpResponse:
    """The settings of a module with their keys, read from the environment now."""
    place = _place(request, module, environment)
    with waiting.place():
        _read(request, place)
    return answer([_item(one) for one in place.settings()])


@router.put(PLACE + "/SiteProperties/{item}/Value", response={201: Outcome, **errors(400, 403, 404)}, openapi_extra=RAW)
def set_site_property(request: ApiRequest, module: str, environment: UUID, item: str) -> HttpResponse:
    """Set the effective value of a site property, named by its key or its name."""
    return _set(request, module, environment, item, "site_properties")


@router.put(
    PLACE + "/RESTReferences/{item}/EffectiveURL", response={201: Outcome, **errors(400, 403, 404)}, openapi_extra=RAW
)
def set_rest_address(request: ApiRequest, module: str, environment: UUID, item: str) -> HttpResponse:
    """Set the address of a REST service that the module uses."""
    return _set(request, module, environment, item, "endpoints", "REST")


@router.put(
    PLACE + "/SOAPReferences/{item}/EffectiveURL", response={201: Outcome, **errors(400, 403, 404)}, openapi_extra=RAW
)
def set_soap_address(request: ApiRequest, module: str, environment: UUID, item: str) -> HttpResponse:
    """Set the address of a SOAP service that the module uses."""
    return _set(request, module, environment, item, "endpoints", "SOAP")


@router.put(PLACE + "/Timers/{item}/Schedule", response={201: Outcome, **errors(400, 403, 404)}, openapi_extra=RAW)
def set_timer_schedule(request: ApiRequest, module: str, environment: UUID, item: str) -> HttpResponse:
    """Set the schedule of a timer."""
    return _set(request, module, environment, item, "timers")


def key_of(setting: Setting) -> str:
    """The key of a setting: it has none of its own, so it is made from its module, kind and name."""
    return str(uuid5(UUID(setting.module_key), f"{setting.kind}/{setting.name}"))


def _set(
    request: ApiRequest, module: str, environment: UUID, item: str, kind: str, data_type: str = ""
) -> HttpResponse:
    value = _value(request)
    place = _place(request, module, environment)
    with waiting.place():
        setting = _find(place, item, kind, data_type)
        if setting is None:
            _read(request, place)
            setting = _find(place, item, kind, data_type)
        if setting is None:
            return _outcome(f"{place.module} has no such setting in {place.environment}: {item}.")
        try:
            _change(request, place, Changes(values={setting.id: value}))
        except waiting.TimedOut:
            raise
        except Failed as trouble:
            return _outcome(str(trouble))
    return _outcome("")


def _value(request: ApiRequest) -> str:
    try:
        value = request.body.decode()
    except UnicodeDecodeError:
        raise HttpError(400, "The value is not text in UTF-8.") from None
    if "\0" in value or len(value) > LONGEST:
        raise HttpError(400, f"A value is text of at most {LONGEST:,} characters.")
    return value


def _place(request: ApiRequest, module: str, environment_key: UUID) -> Place:
    """The module, by its key or its name, where its settings may be changed."""
    environment = places.environment(request, environment_key)
    unknown = f"{environment} has no such module."
    if (one := _module(environment, module)) is None:
        raise Http404(unknown)
    try:
        application, environment = places.application_in(
            request, environment_key, one.application.key, Operation.CHANGE_APPLICATION_SETTINGS
        )
    except Http404:  # names can be guessed: one that the account does not see is told like one that is not there
        raise Http404(unknown) from None
    return Place(environment=environment, application=application, module=one)


def _module(environment: Environment, named: str) -> Module | None:
    if "\0" in named:  # no database looks for that
        return None
    found = Module.objects.filter(statuses__environment=environment).select_related("application")
    key = _key(named)
    return (found.filter(key=key) if key else found.filter(name=named)).order_by("pk").first()


def _key(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _find(place: Place, item: str, kind: str, data_type: str) -> Setting | None:
    for one in place.settings():
        is_of_kind = one.kind == kind and (not data_type or one.data_type == data_type)
        if is_of_kind and item in (one.name, key_of(one)):
            return one
    return None


def _read(request: ApiRequest, place: Place) -> None:
    by = actor(request)
    waiting.until_over(application_settings.request_reading(place.environment, place.application, by=by))


def _change(request: ApiRequest, place: Place, changes: Changes) -> None:
    known = application_settings.stored(place.environment, place.application)
    task = application_settings.request_change(
        place.environment, place.application, changes, by=actor(request), digest=known.digest if known else ""
    )
    waiting.until_over(task)


def _outcome(problem: str) -> HttpResponse:
    told: Outcome = {"Success": not problem, "Message": problem}
    return answer(told, 201)


def _item(one: Setting) -> ConfigurationItem:
    is_soap = one.kind == "endpoints" and one.data_type == "SOAP"
    return {
        "ModuleKey": one.module_key,
        "ModuleName": one.module,
        "ConfigurationItemKey": key_of(one),
        "ConfigurationItemName": one.name,
        "ConfigurationItemType": "SOAP_Endpoint" if is_soap else TYPES[one.kind],
        "TargetValue": None if one.is_secret else one.effective,
    }
