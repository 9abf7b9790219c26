"""The OpenAPI document, and the page that is made of it."""

import pytest

from lifetime.api import reference
from tests.factories import create_user

pytestmark = pytest.mark.django_db
DOCUMENT = "/lifetimeapi/rest/v2/openapi.json"


def operations():
    for path, methods in reference.document()["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_the_document_is_given_to_anybody(client):
    response = client.get(DOCUMENT)

    assert response.status_code == 200
    assert response.json()["openapi"].startswith("3.")
    assert response.json()["info"]["title"] == "LifeTime REST API"
    assert client.get(f"{DOCUMENT}/").json() == response.json()


def test_each_operation_is_described_with_the_codes_that_it_can_answer():
    for method, path, operation in operations():
        codes = set(operation["responses"])
        assert operation["description"], path
        assert operation["security"], path
        assert {"401", "429", "500"} < codes, path
        is_asked = operation.get("requestBody") or any(one["in"] == "query" for one in operation.get("parameters", []))
        assert "400" in codes or not is_asked, (method, path)
        assert "404" in codes or "{" not in path, (method, path)
        assert method != "post" or codes & {"200", "201", "202", "204"}, path


def test_no_two_operations_have_the_same_id():
    ids = [operation["operationId"] for _, _, operation in operations()]

    assert len(ids) == len(set(ids))


def test_the_page_shows_each_operation_to_whoever_is_logged_in(client):
    assert client.get("/api/").status_code == 302
    client.force_login(create_user(manages_infrastructure=False))

    html = client.get("/api/").content.decode()

    for method, path, _ in operations():
        assert f'<span class="badge">{method.upper()}</span> <span class="code">{path}</span>' in html
    assert "MaintenanceModeExpectedEnd" in html
    assert "<script>" not in html
    assert "style=" not in html


def test_keys_are_keys_and_instants_are_words():
    [maintenance] = [one for one in dict(reference.groups())["Maintenance mode"] if one.method == "PUT"]

    assert [(row.name, row.type) for row in maintenance.parameters] == [("environment", "key")]
    assert {row.name: row.type for row in maintenance.body.rows}["ExpectedEnd"] == "instant or nothing"
    assert [answer.code for answer in maintenance.answers] == ["200"]
