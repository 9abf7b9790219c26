"""The Applications page: what is where, who may see it, how it is found."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.urls import reverse

from environments import maintenance
from environments.models import Application, ApplicationStatus, EnvironmentFilter, SyncState
from lifetime.models import ApplicationRole, Level, Role, RoleLevel, Team, TeamApplication
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def publish(environment, name="Back Office", *, version="1.0", **status):
    application, _ = Application.objects.get_or_create(
        name=name, defaults={"key": uuid4(), "kind": status.pop("kind", "WebResponsive"), "changed_at": AT}
    )
    ApplicationStatus.objects.create(
        **{
            "environment": environment,
            "application": application,
            "version": version,
            "changed_at": AT,
            "changed_by": "Ana Ferreira",
            **status,
        }
    )
    return application


@pytest.fixture
def pipeline():
    return [create_environment(name=name) for name in ("Development", "Test", "Production")]


@pytest.fixture
def look(client):
    client.force_login(create_user())

    def look(query="", path="applications:list"):
        response = client.get(f"{reverse(path)}{query}")
        assert response.status_code == 200
        return response

    return look


def cells(response):
    """Rows as lists of short texts: 1.0, 1.0+, a ! behind a hotfix, nothing where it is not published."""
    return {
        row.name: [
            one and f"{one[0].version}{'+' if one[0].is_modified else ''}{'!' if one[1] else ''}" for one in row.cells
        ]
        for row in response.context["page"].rows
    }


def test_the_page_shows_every_application_in_every_environment(look, pipeline):
    development, test, production = pipeline
    publish(development, version="1.3", is_modified=True)
    publish(test, version="1.2", consistency="Warning", consistency_message="Consumes an old <module>")
    publish(production, "Users", version="11.0", consistency="Error")

    found = look()

    assert cells(found) == {"Back Office": ["1.3+", "1.2", None], "Users": [None, None, "11.0"]}
    text = found.content.decode()
    assert "Ana Ferreira" in text
    assert "Outdated consumers" in text
    assert "Consumes an old &lt;module&gt;" in text
    assert "Broken references" in text
    assert text.index(">Development<") < text.index(">Test<") < text.index(">Production<")


def test_what_is_changed_or_further_elsewhere_than_where_it_is_published_first_is_a_hotfix(look, pipeline):
    development, test, production = pipeline
    publish(development, version="0.3")
    publish(test, version="0.3.1")
    publish(production, version="0.3", is_modified=True)
    publish(test, "Late", version="2.0", is_modified=True)
    publish(production, "Late", version="1.9", is_modified=False)

    found = look()

    assert cells(found) == {"Back Office": ["0.3", "0.3.1!", "0.3+!"], "Late": [None, "2.0+", "1.9"]}
    assert found.content.decode().count(">Hotfix<") == 2


def test_a_hotfix_that_was_marked_as_solved_is_none_until_it_is_changed_again(look, pipeline):
    development, test, _ = pipeline
    publish(development)
    publish(test, is_modified=True, hotfix_solved_at=AT + timedelta(hours=1))
    publish(test, "Again", is_modified=True, hotfix_solved_at=AT - timedelta(hours=1))
    publish(development, "Again")

    assert cells(look()) == {"Again": ["1.0", "1.0+!", None], "Back Office": ["1.0", "1.0+", None]}


def test_a_hotfix_is_judged_by_the_whole_pipeline_whatever_the_filter_shows(look, pipeline, client):
    _, test, production = pipeline
    for environment in pipeline:
        publish(environment, is_modified=environment == test)
    user = create_user()
    client.force_login(user)
    chosen = EnvironmentFilter.objects.create(user=user, name="Late")
    chosen.environments.set([test, production])

    assert cells(look(f"?filter={chosen.key}")) == {"Back Office": ["1.0+!", "1.0"]}


def test_it_is_searched_by_name_and_paged(look, pipeline):
    for number in range(120):
        publish(pipeline[0], f"Application {number:03d}")
    publish(pipeline[0], "50 % off")

    assert len(look().context["page"].rows) == 50
    assert list(cells(look("?page=3")))[-1] == "Application 119"
    assert list(cells(look("?name=aPPLICATION+11&page=99"))) == [f"Application {n}" for n in range(110, 120)]
    assert list(cells(look("?name=50+%25"))) == ["50 % off"]
    assert "named like this" in look("?name=nothing%00").content.decode()
    assert next(iter(cells(look("?page=x")))) == "50 % off"


def test_it_is_filtered_by_team_and_searched_by_the_name_of_a_team(look, pipeline, client):
    claims, sales = Team.objects.create(name="Claims"), Team.objects.create(name="Sales")
    Team.objects.create(name="Owns nothing")
    for name, team in [("Portal", claims), ("Intake", claims), ("Quotes", sales), ("Nobody's", None)]:
        application = publish(pipeline[0], name)
        if team:
            TeamApplication.objects.create(application=application, team=team)

    assert [one.name for one in look().context["teams"]] == ["Claims", "Sales"]
    assert list(cells(look(f"?team={claims.key}"))) == ["Intake", "Portal"]
    assert list(cells(look(f"?team={claims.key}&name=port", "applications:rows"))) == ["Portal"]
    assert list(cells(look("?name=CLAIMS"))) == ["Intake", "Portal"]
    assert f"team={claims.key}" in look(f"?team={claims.key}").context["search"]
    assert len(cells(look("?team=nonsense"))) == 4
    late = EnvironmentFilter.objects.create(user=create_user(), name="Late")
    late.environments.set(pipeline[1:])
    client.force_login(late.user)
    assert "None of Sales in the environments of Late" in look(f"?team={sales.key}&filter={late.key}").content.decode()


def test_nobody_is_offered_the_team_of_an_application_that_they_do_not_see(client, pipeline):
    TeamApplication.objects.create(application=publish(pipeline[0]), team=Team.objects.create(name="Secret project"))
    role = Role.objects.create(name="Blind")
    RoleLevel.objects.bulk_create(RoleLevel(role=role, environment=one, level=Level.NO_ACCESS) for one in pipeline[:1])
    client.force_login(create_user(role=role))
    assert "Secret project" not in client.get(reverse("applications:list")).content.decode()


def test_empty_states_say_what_to_do(look):
    assert "No environment" in look().content.decode()
    assert "Go to Infrastructure" in look(path="applications:create").content.decode()
    create_environment()
    assert "first synchronization" in look().content.decode()


def test_the_head_says_who_enabled_maintenance_mode_why_and_disables_synchronizing(look, pipeline):
    publish(pipeline[0])
    SyncState.objects.filter(environment=pipeline[2]).update(failures=2, message="No answer.")
    maintenance.enable(pipeline[1], by=actor("Grace Hopper"), reason="Upgrade to 11.29")

    text = look(path="applications:heads").content.decode()

    assert "Grace Hopper" in text
    assert "Upgrade to 11.29" in text
    assert "Synchronizing the environment is disabled" in text
    assert "Synchronization failed" in text
    assert text.count('aria-disabled="true"') == 3  # and deployments to and from it


def test_the_head_leads_to_what_was_done_to_the_environment(client, look, pipeline):
    address = f"{reverse('audit:events')}?from=&amp;to=&amp;type=environment&amp;key={pipeline[0].key}"
    assert f'href="{address}"' in look(path="applications:heads").content.decode()

    client.force_login(create_user(role=Role.objects.create(name="Reader")))
    RoleLevel.objects.create(role=Role.objects.get(name="Reader"), environment=pipeline[0], level=Level.LIST)
    text = look(path="applications:heads").content.decode()

    assert "View Change Log" in text
    assert address not in text


def test_the_rows_look_again_when_a_synchronization_brought_something(look, pipeline):
    stamp = look().context["columns"].stamp
    assert stamp == ""
    assert "HX-Trigger" not in look("?stamp=", "applications:heads").headers
    SyncState.objects.filter(environment=pipeline[0]).update(changed_at=AT)

    response = look("?stamp=", "applications:heads")

    assert "applications-brought" in response.headers["HX-Trigger"]
    assert (
        f"stamp={response.context['columns'].stamp.replace(':', '%3A').replace('+', '%2B')}"
        in response.content.decode()
    )
    assert look(path="applications:rows").templates[0].name == "applications/_matrix.html"


def test_environments_that_are_not_registered_are_no_columns(look, pipeline):
    publish(pipeline[0])
    gone = create_environment(name="Gone")
    publish(gone, "Only there")
    gone.registration, gone.unregistered_at, gone.registered_at = "unregistered", AT, None
    gone.save()

    found = look()

    assert list(cells(found)) == ["Back Office"]
    assert [one.environment.name for one in found.context["columns"]] == ["Development", "Test", "Production"]


def test_with_very_many_environments_the_first_are_shown_and_the_page_says_so(client, look):
    environments = [create_environment(name=f"Environment {number}") for number in range(43)]
    publish(environments[0])
    application = publish(environments[42])

    found = look()

    assert len(found.context["columns"]) == 40
    assert "3 more are not" in found.content.decode()
    places = client.get(application.get_absolute_url()).context["places"]
    assert [place.environment for place in places] == [environments[0], environments[42]]


@pytest.mark.parametrize("path", ["applications:list", "applications:rows", "applications:heads"])
def test_the_number_of_queries_is_constant(look, django_assert_max_num_queries, path):
    for number in range(12):
        environment = create_environment()
        for name in range(number + 1):
            publish(environment, f"Application {name}")
    with django_assert_max_num_queries(16):
        look(path=path)


@pytest.mark.parametrize("path", ["applications:list", "applications:rows", "applications:heads"])
def test_reading_pages_take_no_post(client, path):
    client.force_login(create_user())
    assert client.post(reverse(path)).status_code == 405


# Environment filters


def save(client, environments, url=None, **values):
    data = {"name": "Mine", "environments": [one.pk for one in environments], **values}
    return client.post(url or reverse("applications:create-filter"), data)


def test_a_filter_is_private_and_decides_which_columns_there_are(client, look, pipeline):
    user = create_user()
    client.force_login(user)
    publish(pipeline[0])
    assert save(client, pipeline[:2], is_default="on").status_code == 302
    found = user.environment_filters.get()

    assert [one.environment.name for one in look().context["columns"]] == ["Development", "Test"]
    assert len(look("?filter=all").context["columns"]) == 3
    assert "Mine" in look(path="applications:filters").content.decode()

    client.force_login(create_user())
    assert len(look(f"?filter={found.key}").context["columns"]) == 3
    assert "Mine" not in look(path="applications:filters").content.decode()
    for name in ("edit", "delete"):
        assert client.post(reverse(f"applications:{name}-filter", args=[found.key])).status_code == 404
    assert user.environment_filters.count() == 1


def test_a_filter_needs_a_name_of_its_own_and_two_environments(client, pipeline):
    user = create_user()
    client.force_login(user)
    gone = create_environment(registration="checking")
    for environments, values, message in [
        (pipeline[:1], {}, "at least two"),
        (pipeline, {"name": " "}, "required"),
        ([*pipeline, gone], {}, "not one of the available choices"),
    ]:
        response = save(client, environments, **values)
        assert response.status_code == 422
        assert message in response.content.decode()
    assert not EnvironmentFilter.objects.exists()

    save(client, pipeline)
    response = save(client, pipeline, name="mine")

    assert response.status_code == 422
    assert "another filter of this name" in response.content.decode()
    assert EnvironmentFilter.objects.count() == 1


def test_one_filter_is_the_default_and_all_can_be_changed_and_deleted(client, pipeline):
    user = create_user()
    client.force_login(user)
    save(client, pipeline[:2], name="First", is_default="on")
    save(client, pipeline[1:], name="Second", is_default="on")
    first, second = EnvironmentFilter.objects.order_by("name")
    assert (first.is_default, second.is_default) == (False, True)

    url = reverse("applications:edit-filter", args=[first.key])
    assert "First" in client.get(url).content.decode()
    assert save(client, pipeline, url, name="All").status_code == 302
    first.refresh_from_db()
    assert (first.name, first.environments.count()) == ("All", 3)

    assert client.get(reverse("applications:delete-filter", args=[first.key])).status_code == 405
    assert client.post(reverse("applications:delete-filter", args=[first.key])).status_code == 302
    assert EnvironmentFilter.objects.get() == second


def test_people_see_what_their_roles_list(client, look, pipeline):
    """The default role in the environment, unless another one counts for the application."""
    development, _, production = pipeline
    reader = Role.objects.create(name="Reader")
    for environment, level in zip(pipeline, (Level.ACCESS, Level.LIST, Level.NO_ACCESS), strict=True):
        RoleLevel.objects.create(role=reader, environment=environment, level=level)
    for environment in pipeline:
        publish(environment)
        publish(environment, "Granted")
    publish(development, "Only in development")
    publish(production, "Only in production")
    user = create_user(role=reader)
    granted = Application.objects.get(name="Granted")
    ApplicationRole.objects.create(user=user, application=granted, role=Role.objects.administrator())
    client.force_login(user)

    found = look()

    assert [one.environment.name for one in found.context["columns"]] == ["Development", "Test"]
    assert cells(found) == {"Back Office": [None, "1.0"], "Granted": ["1.0", "1.0"]}


def test_nothing_that_an_environment_says_becomes_markup(client, look, pipeline):
    evil = '<script>alert("1")</script>'
    application = publish(
        pipeline[0], evil, version="<b>1</b>", changed_by=evil, consistency="Error", consistency_message=evil
    )
    for text in (look().content.decode(), client.get(application.get_absolute_url()).content.decode()):
        assert "<script>alert" not in text
        assert "<b>1</b>" not in text
        assert "&lt;script&gt;alert" in text


def test_strangers_see_nothing(client):
    for name in ("list", "rows", "heads", "filters", "create-filter"):
        assert client.get(reverse(f"applications:{name}")).status_code == 302
