"""Who calls, how often, for what: what holds for every path."""

import json
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connections, transaction
from django.urls import get_resolver

from audit.models import AuditEvent
from lifetime import service_accounts
from lifetime.api import calls, tasks
from lifetime.models import ApiCall, ServiceAccount
from tests.factories import create_environment
from tests.lifetime.api.conftest import ROOT, Caller, create_caller, refused

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer ltc_wrong", "Basic YTpi", "ltc_wrong", "Bearer \x00"])
def test_without_a_valid_token_nothing_is_answered(caller, token):
    response = caller.get("environments", token=token)

    refused(response, 401, "token")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not ApiCall.objects.exists()


def test_an_inactive_account_and_a_bare_token_open_nothing(caller):
    refused(caller.get("environments", token=caller.secret), 401)
    ServiceAccount.objects.update(is_active=False)
    refused(caller.get("environments"), 401)


def basic(username, secret):
    return "Basic " + b64encode(f"{username}:{secret}".encode()).decode()


def test_a_name_and_the_token_as_its_password_are_taken_too(caller):
    assert caller.get("environments", token=basic("pipeline", caller.secret)).status_code == 204
    create_caller(username="other")
    for token in (basic("other", caller.secret), basic("", caller.secret), basic("pipeline", "x"), "Basic =", "Basic"):
        refused(caller.get("environments", token=token), 401)


def test_a_session_opens_nothing_and_no_csrf_token_is_asked_for(caller, client):
    from tests.factories import create_user

    client.force_login(create_user())
    assert client.get(f"{ROOT}/environments").status_code == 401
    strict = type(client)(enforce_csrf_checks=True)
    response = strict.post(
        f"{ROOT}/environments/{uuid4()}/solution", headers={"Authorization": f"Bearer {caller.secret}"}
    )
    assert response.status_code in {400, 404}


@pytest.mark.parametrize(
    "path", ["environments", "environments/", f"{ROOT}/environments", "/lifetimeapi/rest/v1/environments/"]
)
def test_both_forms_of_a_path_and_the_alias_are_answered_alike(caller, path):
    environment = create_environment(name="Quality")

    response = caller.get(path)

    assert response.status_code == 200
    assert [one["Key"] for one in response.json()] == [str(environment.key)]


@pytest.mark.parametrize(
    "path",
    [
        ROOT,
        "nothing",
        "environments/x",
        "environments/0dc818e3-e593-4a1b-97e5-6e81da304d83/nothing",
        "/lifetimeapi",
        "/PropertiesAPI/rest/v1/x",
        "/lifetimeapi/soap",
    ],
)
def test_an_unknown_path_is_told_in_json(caller, path):
    for form in (path, f"{path}/"):
        refused(caller.get(form), 404)


def test_a_wrong_method_is_told_in_json(caller):
    response = caller.call("PATCH", "environments/")

    refused(response, 405, "PATCH")
    assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_a_head_is_an_answer_without_its_body_and_options_tell_the_methods(caller):
    create_environment()
    whole = caller.get("environments")

    head = caller.call("HEAD", "environments")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    assert caller.call("HEAD", "teams/").status_code == 204
    assert caller.call("HEAD", f"environments/{uuid4()}").status_code == 404
    assert caller.call("HEAD", "auth/tokens").status_code == 405

    options = caller.call("OPTIONS", "auth/tokens")
    assert (options.status_code, options.headers["Allow"]) == (204, "POST, OPTIONS")
    calls.write_down()
    assert AuditEvent.objects.filter(message__contains="called HEAD", kind="view").count() == 4


def test_an_answer_without_a_body_is_of_no_type(caller):
    assert "Content-Type" not in caller.get("environments").headers


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[1]", b"null", b'{"a": NaN}', b"[" * 100_000, b'"\\ud800"', b"\xff", b'{"reason": "a\\u0000b"}'],
)
def test_a_body_that_is_none_is_a_bad_request(caller, body):
    environment = create_environment()

    refused(caller.put(f"environments/{environment.key}/maintenancemode", body), 400, "body")


def test_a_body_that_is_too_large_is_a_bad_request(caller):
    path = f"environments/{create_environment().key}/maintenancemode"

    refused(caller.put(path, b" " * 3_000_000), 400, "too large", "may have 2,621,440 bytes")


def test_a_mistake_of_ours_is_told_without_details(caller, monkeypatch, caplog):
    monkeypatch.setattr("lifetime.api.places.environments", lambda request: 1 / 0)

    told = refused(caller.get("environments", **{"X-Request-ID": "abc-1"}), 500, "abc-1")

    assert told["Code"] == "mistake"
    assert "ZeroDivisionError" not in json.dumps(told)
    assert "abc-1" in caplog.text


def test_no_path_writes_a_line_of_its_own_into_the_log(caller, monkeypatch, caplog):
    monkeypatch.setattr("lifetime.api.places.environment", lambda *given: 1 / 0)

    path = f"/PropertiesAPI/rest/v1/Modules/x%0AERROR%20Forged/Environments/{uuid4()}"
    assert refused(caller.get(path), 500)["Code"] == "mistake"

    assert "x%0AERROR%20Forged" in caplog.text
    assert "\nERROR Forged" not in caplog.text


def test_a_request_id_is_echoed_or_made(caller):
    assert caller.get("environments", **{"X-Request-ID": "build:17"}).headers["X-Request-ID"] == "build:17"
    assert caller.get("environments", **{"X-Request-ID": "a b"}).headers["X-Request-ID"] != "a b"
    assert len(caller.get("environments").headers["X-Request-ID"]) == 36


def test_a_token_may_make_so_many_calls_in_a_minute(caller, settings):
    settings.API_CALLS_PER_MINUTE = 2
    other = service_accounts.issue_token(caller.account, by=service_accounts.Author())

    left = [caller.get("environments").headers["RateLimit-Remaining"] for _ in range(2)]
    response = caller.get("environments")

    assert left == ["1", "0"]
    refused(response, 429, "2 calls in a minute")
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert caller.get("environments", token=f"Bearer {other.secret}").status_code == 204


def test_each_call_becomes_an_entry_of_the_audit_log(caller):
    environment = create_environment()
    before = AuditEvent.objects.count()
    caller.get("environments/", **{"X-Request-ID": "r1"})
    caller.put(f"environments/{environment.key}/maintenancemode", {})
    assert AuditEvent.objects.count() == before

    tasks.write_down_calls()
    tasks.write_down_calls()

    first, second = AuditEvent.objects.order_by("number")[before:]
    assert first.message == f"Service account 'pipeline' called GET {ROOT}/environments/: 200"
    assert (first.kind, first.succeeded, first.actor_username) == ("view", True, "pipeline")
    assert (first.details["request"], first.actor_address) == ("r1", "127.0.0.1")
    assert (second.kind, second.succeeded) == ("update", False)
    assert not ApiCall.objects.exists()


@pytest.mark.parametrize("path", ["%00", "environments/%00", "%ff%fe", "environments/%F0%9F%98%80", "x" * 3000])
def test_odd_paths_are_not_found_and_written_down(caller, path):
    refused(caller.get(path), 404)

    calls.write_down()
    assert AuditEvent.objects.order_by("number").last().message.endswith(": 404")


def test_a_call_that_cannot_be_kept_is_answered_all_the_same(caller, monkeypatch, caplog):
    monkeypatch.setattr(calls, "KEEP", "SELECT 1 / (%s * 0)" + " + length(%s::text) * 0" * 7)

    with transaction.atomic():  # of its own, so that the test's goes on
        assert caller.get("environments").status_code == 204
        transaction.set_rollback(True)
    assert "not in the audit log" in caplog.text


def test_more_calls_than_go_into_one_batch_are_all_written_down(caller, monkeypatch):
    monkeypatch.setattr(calls, "WRITTEN_AT_ONCE", 3)
    for _ in range(7):
        caller.get("environments")

    assert calls.write_down() == 7


def test_every_path_of_the_description_is_reached(caller):
    from lifetime.api.routes import api

    resolver = get_resolver("lifetime.api.routes")
    paths = api.get_openapi_schema(path_prefix="")["paths"]
    for path, methods in paths.items():
        filled = "/".join(str(uuid4()) if part.startswith("{") else part for part in path.split("/"))
        assert resolver.resolve(filled)
        for method in methods:
            assert "is possible here" not in caller.call(method.upper(), filled, {}).content.decode(), (method, path)
    assert len(paths) >= 40


@pytest.mark.django_db(transaction=True)
def test_calls_at_once_are_counted_and_written_down_once_each(settings):
    settings.API_CALLS_PER_MINUTE = 9
    caller = create_caller()

    def work(number):
        try:
            if number % 4 == 0:
                return calls.write_down()
            return create_caller_like(caller).get("environments").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(work, range(16)))
    calls.write_down()

    assert (answers.count(204), answers.count(429)) == (9, 3)
    called = AuditEvent.objects.filter(message__contains="called GET")
    assert called.count() == 12
    assert called.filter(succeeded=False).count() == 3


def create_caller_like(caller):
    return Caller(caller.account, caller.secret)
