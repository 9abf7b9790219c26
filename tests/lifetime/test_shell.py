import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from django.urls import reverse

from lifetime.views import errors
from tests.factories import create_user

pytestmark = pytest.mark.django_db


def test_the_start_page_leads_to_a_page_one_may_see(client):
    client.force_login(create_user(manages_infrastructure=False))

    assert client.get("/").headers["Location"] == reverse("applications:list")


def test_a_page_of_the_shell_needs_one_query_for_the_person(client, django_assert_num_queries):
    client.force_login(create_user())
    client.get(reverse("lifetime:settings"))

    with django_assert_num_queries(4):  # session, person with role, whether any environment is in the cloud, health
        client.get(reverse("lifetime:settings"))


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(client):
    client.force_login(create_user())
    response = client.get(reverse("lifetime:settings"))
    html = response.content.decode()

    assert "<style" not in html
    assert " style=" not in html
    assert "<script>" not in html
    assert "onclick" not in html
    assert "https://" not in html
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]


def test_unknown_pages_are_404_in_the_shell(client):
    client.force_login(create_user())
    response = client.get("/nothing/here/")

    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_a_refusal_says_why():
    request = RequestFactory().get("/")
    request.user = create_user()
    request.resolver_match = None
    request._messages = []

    response = errors.forbidden(request, PermissionDenied("Ask Ada & Bob."))

    assert response.status_code == 403
    assert "You may not do this" in response.content.decode()
    assert "Ask Ada &amp; Bob." in response.content.decode()


def test_a_form_without_its_token_is_refused_in_plain_words():
    client = Client(enforce_csrf_checks=True)

    response = client.post(reverse("lifetime:login"), {"username": "ada"})

    assert response.status_code == 403
    assert "Please send that again" in response.content.decode()


def test_error_pages_need_neither_request_nor_database(django_assert_num_queries):
    from django.views.defaults import bad_request, server_error

    with django_assert_num_queries(0):
        for view, arguments, text in [
            (server_error, (), "Something went wrong here"),
            (bad_request, (ValueError(),), "That request makes no sense"),
        ]:
            assert text in view(RequestFactory().get("/"), *arguments).content.decode()
