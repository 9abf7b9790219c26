"""Connections to databases that an environment keeps. What it has, and what it is told, a worker asks it."""

from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from ninja import Router
from pydantic import Field
from typing_extensions import TypedDict

from environments import database_connections
from environments.database_connections import Known
from environments.database_details import Wanted, parameters_of
from environments.database_details import written as written_parameters
from environments.environment_api import DatabaseConnection
from environments.models import ApplicationTask, Environment
from lifetime.api import places, waiting
from lifetime.api.answers import Failed, answer, errors, nothing, written
from lifetime.api.request import ApiRequest, actor
from lifetime.api.schema import Body
from lifetime.policy import Action

router = Router()

PATH = "/environments/{key:environment}/dbconnections"
PARAMETERS = "As name=value with semicolons between, for example host=db.example.com;database=orders"


class DbConnection(TypedDict):
    """A connection. Its password is never told."""

    dbConnectionName: str
    description: str
    providerName: str
    isAdvancedConfiguration: bool
    databaseConfiguration: str
    key: str
    providerKey: str
    dbUsername: str
    hasPassword: bool
    revision: int
    changedOn: str
    changedBy: str


class DbProvider(TypedDict):
    DisplayName: str
    ProviderKey: str


class DbConnectionTested(TypedDict):
    message: str
    tookMilliseconds: int


class WantedDbConnection(Body):
    """A connection as it is wanted. Of one that is there, what is left out stays."""

    db_connection_name: str | None = None
    provider_key: str | None = None
    description: str | None = None
    db_username: str | None = None
    db_password: str | None = None
    db_config_params: str | None = Field(None, description=PARAMETERS)
    revision: int | None = Field(None, description="Change it only as it is by this revision.")

    def wanted(self, present: DatabaseConnection | None = None) -> Wanted:
        def given(text: str | None, name: str) -> str:
            kept = getattr(present, name) if present else ""
            return str(kept) if text is None else text

        keeps = present is not None and self.db_config_params is None
        return Wanted(
            name=given(self.db_connection_name, "name"),
            provider=given(self.provider_key, "provider"),
            description=given(self.description, "description"),
            username=given(self.db_username, "username"),
            parameters=present.parameters if present and keeps else parameters_of(self.db_config_params or ""),
            password=self.db_password,
        )


@router.get(PATH, response={200: list[DbConnection], **errors(400, 403, 404)})
def list_database_connections(request: ApiRequest, environment: UUID) -> HttpResponse:
    """What the environment has now; it is asked for that."""
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    with waiting.place():
        known = asked(request, found)
    return answer([_record(one, known) for one in known.connections])


@router.post(PATH, response={201: DbConnection, **errors(400, 403, 404)})
def create_database_connection(request: ApiRequest, environment: UUID, body: WantedDbConnection) -> HttpResponse:
    """Add a connection. It is not tested by that."""
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    wanted = body.wanted()
    with waiting.place():
        asked(request, found)
        known = _done(database_connections.save(found, wanted, by=actor(request)))
    return answer(_record(named(known, wanted.name), known), 201)


@router.get(PATH + "/{connection}", response={200: DbConnection, **errors(400, 403, 404)})
def get_database_connection(request: ApiRequest, environment: UUID, connection: str) -> HttpResponse:
    """One connection, by its name."""
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    with waiting.place():
        known = asked(request, found)
    return answer(_record(named(known, connection), known))


@router.put(PATH + "/{connection}", response={200: DbConnection, **errors(400, 403, 404)})
def change_database_connection(
    request: ApiRequest, environment: UUID, connection: str, body: WantedDbConnection
) -> HttpResponse:
    """Change a connection, its name as well. Its password has to be given anew when it is to be sent elsewhere."""
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    with waiting.place():
        present = named(asked(request, found), connection)
        wanted = body.wanted(present)
        revision = body.revision or present.revision
        known = _done(database_connections.save(found, wanted, by=actor(request), key=present.key, revision=revision))
    return answer(_record(named(known, wanted.name), known))


@router.delete(PATH + "/{connection}", response={204: None, **errors(400, 403, 404)})
def delete_database_connection(request: ApiRequest, environment: UUID, connection: str) -> HttpResponse:
    """Delete a connection."""
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    with waiting.place():
        present = named(asked(request, found), connection)
        task = database_connections.delete(found, present.key, by=actor(request), revision=present.revision)
        waiting.until_over(task)
    return nothing()


@router.get(
    "/environments/{key:environment}/dbconnection/dbproviders",
    response={200: list[DbProvider], **errors(400, 403, 404)},
)
def list_database_providers(request: ApiRequest, environment: UUID) -> HttpResponse:
    """The kinds of databases that the environment can connect to."""
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    with waiting.place():
        known = asked(request, found)
    told: list[DbProvider] = [{"DisplayName": one.name, "ProviderKey": one.key} for one in known.providers]
    return answer(told)


@router.post(
    "/environments/{key:environment}/testdbconnection", response={200: DbConnectionTested, **errors(400, 403, 404)}
)
def test_database_connection(request: ApiRequest, environment: UUID, body: WantedDbConnection) -> HttpResponse:
    """Have the environment connect: by these details, or with a name alone by the connection as it is saved."""
    found = places.environment(request, environment, Action.MANAGE_DATABASES)
    with waiting.place():
        known = asked(request, found)
        present = None
        if body.db_connection_name and (body.provider_key is None or body.db_password is None):
            present = _find(known, body.db_connection_name)
            if present is None and body.provider_key is None:
                raise _unknown(body.db_connection_name)
        task = database_connections.request_test(
            found, body.wanted(present), by=actor(request), key=present.key if present else None
        )
        came = database_connections.outcome(waiting.until_over(task))
    if came is None or not came.succeeded:
        raise ValidationError(came.message if came else "It was not tested.")
    told: DbConnectionTested = {"message": came.message, "tookMilliseconds": came.took_ms}
    return answer(told)


def asked(request: ApiRequest, environment: Environment) -> Known:
    return _done(database_connections.request(environment, by=actor(request)))


def _done(task: ApplicationTask) -> Known:
    """What the environment has when the task has gone well."""
    over = waiting.until_over(task)
    if over.result is None:
        raise Failed(f"{over.environment} has done it, but did not say what it has now. Look again; do not repeat it.")
    return database_connections.of(over.environment)


def _find(known: Known, name: str) -> DatabaseConnection | None:
    return next((one for one in known.connections if one.name.casefold() == name.casefold()), None)


def named(known: Known, name: str) -> DatabaseConnection:
    found = _find(known, name)
    if found is None:
        raise _unknown(name)
    return found


def _unknown(name: str) -> Http404:
    return Http404(f"The environment has no database connection named {name}.")


def _record(one: DatabaseConnection, known: Known) -> DbConnection:
    names = {provider.key: provider.name for provider in known.providers}
    return {
        "dbConnectionName": one.name,
        "description": one.description,
        "providerName": names.get(one.provider, one.provider),
        "isAdvancedConfiguration": bool(one.parameters),
        "databaseConfiguration": written_parameters(one.parameters, between=";"),
        "key": str(one.key),
        "providerKey": one.provider,
        "dbUsername": one.username,
        "hasPassword": one.has_password,
        "revision": one.revision,
        "changedOn": written(one.changed_at),
        "changedBy": one.changed_by,
    }
