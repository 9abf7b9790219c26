"""Callers of the API, and workers beside them: a call that waits is answered by work that goes on meanwhile."""

import json
import re
from functools import cache

import pytest
from django.test import Client
from django_q.models import OrmQ

from environments import sync
from lifetime import service_accounts
from lifetime.changes import Author
from lifetime.models import Role, ServiceAccount
from tests.deployments.conftest import pairs, scene  # noqa: F401 (fixtures)
from tests.factories import actor, create_environment
from tests.threads import repeated

ROOT = "/lifetimeapi/rest/v2"


class Caller:
    """A program with a token. `get` and the like take paths below the API's root, and answer Django's response."""

    def __init__(self, account, secret):
        self.account = account
        self.secret = secret
        self.client = Client(raise_request_exception=False)

    def call(self, method, path, body=None, *, token=None, **headers):
        whole = path if path.startswith("/") else f"{ROOT}/{path}"
        raw = body if isinstance(body, bytes | str) else b"" if body is None else json.dumps(body)
        authorization = f"Bearer {self.secret}" if token is None else token
        headers["Authorization"] = authorization
        response = self.client.generic(method, whole, raw, content_type="application/json", headers=headers)
        check_against_description(method, whole, response)
        return response

    def get(self, path, **options):
        return self.call("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.call("POST", path, body, **options)

    def put(self, path, body=None, **options):
        return self.call("PUT", path, body, **options)

    def delete(self, path, body=None, **options):
        return self.call("DELETE", path, body, **options)


def check_against_description(method, path, response):
    """The status is one that the operation names, and the body is of the shape that it names for it."""
    path = path.partition("?")[0].rstrip("/").replace("/rest/v1", "/rest/v2")
    for pattern, operation in operations():
        if method in operation.methods and re.fullmatch(pattern, path):
            assert response.status_code in operation.response_models, f"{method} {path}: {response.status_code}"
            model = operation.response_models[response.status_code]
            if model is None:
                assert response.content == b""
            elif response.headers["Content-Type"].startswith("application/json"):
                model.model_validate({"response": response.json()}, strict=True)


@cache
def operations():
    from lifetime.api.routes import api

    return [
        (re.sub(r"\{[^}]+\}", "[^/]+", f"{router.prefix}{path}".replace("//", "/")), operation)
        for router in api._get_bound_routers()
        for path, view in router.path_operations.items()
        for operation in view.operations
    ]


def create_caller(role=None, username="pipeline"):
    account = ServiceAccount.objects.create(username=username, role=role or Role.objects.administrator())
    return Caller(account, service_accounts.issue_token(account, by=Author()).secret)


@pytest.fixture
def caller(db):
    return create_caller()


@pytest.fixture
def development(platform, transactional_db):
    """An environment on a real platform, synchronized."""
    environment = create_environment(platform=platform, name="Development")
    run = sync.request(environment, by=actor())
    sync.run([run.pk])
    return environment


def working():
    """Carry out what is queued, as a worker does, until the block ends."""
    return repeated(_carry_out_all, pause=0.02)


def _carry_out_all():
    for message in OrmQ.objects.order_by("pk"):
        if OrmQ.objects.filter(pk=message.pk).delete()[0]:
            carry_out(message.task)


def carry_out(task):
    module, _, name = task["func"].rpartition(".")
    getattr(__import__(module, fromlist=[name]), name)(*task["args"])


def refused(response, status, *words):
    """The answer is an error of this status, as the API words errors."""
    told = response.json()
    assert (response.status_code, told["StatusCode"]) == (status, status), told
    assert response.headers["X-Request-ID"] == told["RequestId"]
    assert told["Errors"]
    assert all(isinstance(text, str) and text for text in told["Errors"])
    for one in words:
        assert one in " ".join(told["Errors"]), told
    return told
