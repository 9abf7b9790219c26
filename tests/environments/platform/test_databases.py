"""Database connections: kept without ever showing a password, changed by one at a time, and really tested."""

import sqlite3
from uuid import uuid4

import pytest

from tests.databases import listening
from tests.platforms import BY, OWN_PROCESS, place_or_process

PATH = "/database-connections"
SECRET = "s3cret-word"
NOWHERE = {"host": "127.0.0.1", "port": "1", "database": "orders"}


@pytest.fixture
def platform(request):
    yield from place_or_process(request)


def wanted(**changes):
    """As a body of POST."""
    body = {
        "key": str(uuid4()),
        "name": "Orders",
        "provider": "postgresql",
        "username": "app",
        "password": SECRET,
    }
    return {**body, "parameters": NOWHERE, "by": BY, **changes}


def changed(connection, **changes):
    """As a body of PUT, based on the connection as it was answered."""
    names = ("name", "provider", "description", "username", "parameters", "revision")
    return {**{name: connection[name] for name in names}, "by": BY, **changes}


def listed(platform):
    return platform.call("GET", PATH).json["connections"]


def shelf(platform):
    """The folder of databases of a process's only environment."""
    folder = platform.data / "files" / "1" / "databases"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def try_out(platform, **details):
    return platform.call("POST", f"{PATH}/test", details).json


@OWN_PROCESS
def test_a_connection_is_kept_without_its_password_going_out(platform):
    assert listed(platform) == []
    order = wanted(description="Where orders are")

    made = platform.call("POST", PATH, order)
    again = platform.call("POST", PATH, order)
    platform.restart()

    assert (made.status, again.status) == (201, 200)
    assert made.json == again.json == platform.call("GET", f"{PATH}/{order['key']}").json == listed(platform)[0]
    assert (made.json["has_password"], made.json["revision"], made.json["changed_by"]) == (True, 1, "Ana Ferreira")
    answers = [made, again, platform.call("GET", PATH), platform.call("POST", f"{PATH}/{order['key']}/test", {})]
    assert not any(SECRET.encode() in one.body for one in answers)
    assert SECRET not in (platform.data / "access.jsonl").read_text() + platform.output()


def test_the_same_key_makes_nothing_else(platform):
    order = wanted()
    platform.call("POST", PATH, order)
    for other in ({"description": "x"}, {"password": "another"}, {"name": "Others"}):
        assert platform.call("POST", PATH, {**order, **other}).problem == "key-taken"
    assert platform.call("POST", PATH, wanted(name="ORDERS")).problem == "name-taken"
    assert len(listed(platform)) == 1


def test_who_has_not_seen_a_change_cannot_undo_it(platform):
    first = platform.call("POST", PATH, wanted()).json
    path = f"{PATH}/{first['key']}"
    change = changed(first, description="By Ana")

    second = platform.call("PUT", path, change)
    assert platform.call("PUT", path, change).json == second.json  # the same again does nothing
    refused = platform.call("PUT", path, changed(first, description="By Grace"))

    assert (second.status, second.json["revision"], second.json["description"]) == (200, 2, "By Ana")
    assert (refused.status, refused.problem) == (409, "changed-meanwhile")
    assert "Ana Ferreira" in refused.json["detail"]
    assert platform.call("DELETE", f"{path}?revision=1").problem == "changed-meanwhile"
    assert platform.call("DELETE", f"{path}?revision=x").problem == "bad-query"
    assert listed(platform) == [second.json]
    assert platform.call("DELETE", f"{path}?revision=2").status == 204
    assert platform.call("DELETE", path).problem == "connection-unknown"
    assert platform.call("POST", PATH, wanted(key=first["key"])).problem == "key-taken"
    assert platform.call("POST", PATH, wanted()).status == 201  # the name is free again


def test_a_stored_password_is_sent_nowhere_else(platform):
    first = platform.call("POST", PATH, wanted()).json
    path = f"{PATH}/{first['key']}"

    for elsewhere in ({"username": "root"}, {"parameters": {**NOWHERE, "host": "203.0.113.5"}}):
        assert platform.call("PUT", path, changed(first, **elsewhere)).problem == "password-needed"
        assert platform.call("PUT", path, changed(first, **elsewhere, password=None)).problem == "password-needed"
    given = platform.call("PUT", path, changed(first, username="root", password="another"))
    removed = platform.call("PUT", path, changed(given.json, password=""))

    assert (given.json["username"], given.json["has_password"]) == ("root", True)
    assert removed.json["has_password"] is False


def test_permissions_stay_unless_they_are_given(platform):
    first = platform.call("POST", PATH, wanted(roles={"1": "read-only"})).json
    path = f"{PATH}/{first['key']}"

    second = platform.call("PUT", path, changed(first, users={"7": "full-control"}))
    third = platform.call("PUT", path, changed(second.json, roles={}))

    assert (first["roles"], first["users"]) == ({"1": "read-only"}, {})
    assert (second.json["roles"], second.json["users"]) == ({"1": "read-only"}, {"7": "full-control"})
    assert (third.json["roles"], third.json["users"]) == ({}, {"7": "full-control"})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "two words"}, "bad-body"),
        ({"name": "a/b"}, "bad-body"),
        ({"username": "a\nb"}, "bad-body"),
        ({"parameters": {"host": ""}}, "bad-body"),
        ({"roles": {"1": "everything"}}, "bad-body"),
        ({"provider": "oracle"}, "provider-unknown"),
        ({"parameters": {"host": "db.example.com"}}, "bad-parameters"),
        ({"parameters": {**NOWHERE, "options": "-c search_path=x"}}, "bad-parameters"),
        ({"parameters": {**NOWHERE, "host": "/run/postgresql"}}, "bad-parameters"),
        ({"parameters": {**NOWHERE, "host": "a,b"}}, "bad-parameters"),
        ({"username": ""}, "bad-parameters"),
        ({"provider": "sqlite", "parameters": {"file": "orders.sqlite3"}}, "bad-parameters"),
        ({"provider": "sqlite", "username": "", "password": None, "parameters": {"file": "../x"}}, "bad-parameters"),
    ],
)
def test_what_could_not_connect_is_refused(platform, changes, problem):
    assert platform.call("POST", PATH, wanted(**changes)).problem == problem
    assert listed(platform) == []


def test_postgresql_is_really_asked(db, platform):
    with listening() as (parameters, username):
        details = {"provider": "postgresql", "username": username, "password": "any"}
        fine = try_out(platform, **details, parameters=parameters)
        wrong = try_out(platform, **details, parameters={**parameters, "database": "no_such_database"})
    nobody = try_out(platform, **details, parameters=NOWHERE)

    assert fine["succeeded"]
    assert f"as {username}: PostgreSQL" in fine["message"]
    assert (wrong["succeeded"], nobody["succeeded"]) == (False, False)
    assert "no_such_database" in wrong["message"]
    assert "Connection refused" in nobody["message"]


@OWN_PROCESS
def test_sqlite_files_of_the_environment_are_opened(platform):
    with sqlite3.connect(shelf(platform) / "orders.sqlite3") as opened:
        opened.execute("CREATE TABLE orders (number INTEGER)")
    opened.close()
    (shelf(platform) / "notes.txt").write_text("This is no database at all. " * 100)
    made = platform.call(
        "POST", PATH, wanted(provider="sqlite", username="", password=None, parameters={"file": "orders.sqlite3"})
    ).json

    saved = platform.call("POST", f"{PATH}/{made['key']}/test", {}).json
    others = [try_out(platform, provider="sqlite", parameters={"file": file}) for file in ("notes.txt", "none.db")]

    assert (saved["succeeded"], saved["message"]) == (True, "Opened orders.sqlite3: 1 table.")
    assert [one["message"] for one in others] == [
        "notes.txt: file is not a database",
        "There is no file none.db in the folder of databases.",
    ]
    assert platform.call("POST", f"{PATH}/{uuid4()}/test", {}).problem == "connection-unknown"


@OWN_PROCESS
def test_a_store_of_before_is_carried_over(platform):
    platform.stop()
    with sqlite3.connect(platform.data / "platform.sqlite3") as store:
        store.execute("DROP TABLE database_connection")
        store.execute("PRAGMA user_version = 4")
    store.close()
    platform.restart()

    assert platform.call("POST", PATH, wanted()).status == 201
