"""Applications made from templates."""

from uuid import uuid4

import pytest


@pytest.fixture
def platform(places):
    """One that other tests have not touched; the process is theirs, too."""
    return next(places)


def test_templates_are_offered(platform):
    templates = platform.call("GET", "/templates").json["templates"]

    assert {"reactive-web", "mobile", "service", "library"} <= {one["key"] for one in templates}
    assert all(set(one) == {"key", "name", "kind", "description"} for one in templates)


def test_an_application_is_made_for_a_team(platform):
    team = str(uuid4())
    before = platform.call("GET", "/applications").json["cursor"]

    reply = platform.create("Claims Desk", team_key=team, colour="#1A73E8", description="For claims.")

    assert reply.status == 201
    made = reply.json
    assert (made["name"], made["team_key"], made["colour"]) == ("Claims Desk", team, "#1A73E8")
    assert (made["version"], made["version_key"], made["is_modified"]) == ("", None, True)
    assert (made["url_path"], [one["name"] for one in made["modules"]]) == ("ClaimsDesk", ["ClaimsDesk"])
    assert platform.call("GET", f"/applications?since={before}").json["applications"] == [made]
    assert platform.tag(made["key"], "0.1").status == 201


def test_the_same_order_makes_one_application(platform):
    key = str(uuid4())
    first, second = (platform.create("Claims Desk", key=key) for _ in range(2))

    assert [first.status, second.status] == [201, 200]
    assert first.body == second.body
    assert platform.create("Other", key=key).problem == "key-taken"
    assert platform.create("Other", key=platform.application("Users")["key"]).problem == "key-taken"


@pytest.mark.parametrize(
    ("order", "status", "problem"),
    [
        ({"name": "back office"}, 409, "name-taken"),
        ({"name": "BackOffice"}, 409, "module-name-taken"),
        ({"template_key": "spreadsheet"}, 422, "template-unknown"),
        ({"name": ""}, 422, "bad-body"),
        ({"name": " x"}, 422, "bad-body"),
        ({"name": "x\ny"}, 422, "bad-body"),
        ({"name": "x" * 101}, 422, "bad-body"),
        ({"colour": "red"}, 422, "bad-body"),
        ({"team_key": "ours"}, 422, "bad-body"),
        ({"by": None}, 422, "bad-body"),
        ({"size": 1}, 422, "bad-body"),
    ],
)
def test_a_wrong_order_makes_nothing(platform, order, status, problem):
    before = platform.call("GET", "/digests").body

    reply = platform.create(**{"name": "Claims Desk", **order})

    assert (reply.status, reply.problem) == (status, problem)
    assert platform.call("GET", "/digests").body == before


def test_names_of_other_scripts_get_modules_and_paths_of_their_own(platform):
    first, second = platform.create("注文").json, platform.create("請求").json

    assert first["modules"][0]["name"] == "App"
    assert second == {"type": second["type"], "title": second["title"], "status": 409, "detail": second["detail"]}
