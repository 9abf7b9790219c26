"""Every operation of the API's description, called with what the description allows and with what it does not.

Whatever comes, the answer is one that the description names, of the shape that it names, and never a mistake of ours.
"""

import hypothesis
import pytest
import schemathesis
from django.conf import settings as console_settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from environments.models import Module
from lifetime.models import Team
from tests.deployments.factories import create_application, create_plan, create_route, publish, validated
from tests.factories import create_user
from tests.lifetime.api.conftest import create_caller
from tests.lifetime.factories import create_role

pytestmark = pytest.mark.django_db

AS_DESCRIBED = (status_code_conformance, content_type_conformance, response_schema_conformance)
FEW = hypothesis.settings(
    max_examples=5,
    deadline=None,
    database=None,
    derandomize=True,  # the same calls each time: what is found stays found
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
set_hypothesis_home_dir(console_settings.VAR_DIR / "hypothesis")


@pytest.fixture(autouse=True)
def _one_connection():
    """Requests leave the connection open, as with Django's own client: the test is one transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def known():
    """Something of each kind that paths name, by the name of the parameter."""
    source, target = create_route()
    application = create_application("Order Portal")
    version = publish(application, source, number="1.0")
    return {
        "environment": str(source.key),
        "application": str(application.key),
        "version": str(version.key),
        "module": str(Module.objects.get().key),
        "plan": str(validated(create_plan(source, target, applications=[application])).key),
        "role": str(create_role().key),
        "team": str(Team.objects.create(name="Portals").key),
        "user": str(create_user().key),
    }


def operations():
    document = schemathesis.openapi.from_wsgi("/lifetimeapi/rest/v2/openapi.json", get_wsgi_application())
    document.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    return [one.ok() for one in document.get_all_operations()]


def test_every_answer_is_as_described(known, settings):
    settings.API_WAIT_SECONDS = 0.0  # nobody works: what has to wait for that is answered as failed
    settings.API_CALLS_PER_MINUTE = 1_000_000
    headers = {"Authorization": f"Bearer {create_caller().secret}"}
    codes = set()
    for operation in operations():

        @FEW
        @hypothesis.given(
            case=operation.as_strategy(), is_known=hypothesis.strategies.sampled_from([True, True, False])
        )
        def check(case, is_known):
            if is_known:
                case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
            with transaction.atomic():
                response = case.call(headers=headers)
                transaction.set_rollback(True)
            case.validate_response(response, checks=AS_DESCRIBED)
            assert response.status_code < 500 or response.json()["Code"] == "failed", response.text
            codes.add(response.status_code)

        check()
    assert codes >= {200, 201, 202, 204, 400, 404}
