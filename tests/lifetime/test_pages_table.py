"""Every page of the console x who asks x hosting x maintenance mode: what is answered to looking and to writing."""

from dataclasses import dataclass
from uuid import uuid4

import pytest
from django.db import transaction
from django.urls import URLResolver, get_resolver, reverse
from django.utils import timezone

from audit.models import AuditEvent
from deployments import plans
from deployments.choices import Choice
from deployments.models import DeploymentPlan
from environments import maintenance, plugins
from environments.models import ApplicationIcon, EnvironmentFilter
from environments.operations import Operation
from lifetime import service_accounts
from lifetime.changes import Author
from lifetime.models import ApplicationRole, Role, ServiceAccount, Team, TeamApplication, TeamMembership
from lifetime.policy import Action
from tests.deployments.factories import tag
from tests.environments.test_applications import publish
from tests.environments.test_applications_details import give_module
from tests.environments.test_authentication import create as create_provider
from tests.factories import actor, create_environment, create_user
from tests.lifetime.factories import create_role
from tests.lifetime.test_policy import HOSTINGS, has_right, person

pytestmark = pytest.mark.django_db

PEOPLE = ["administrator", "developer", "no access"]
# Names and namespaces that other tests walk: Django's own pages, and the REST API, which has no pages.
ELSEWHERE = {"admin", "rest-api"}
EVERYBODY = "everybody who is logged in"


@dataclass(frozen=True)
class may:  # noqa: N801 - a cell of the table: `may(200, LOG)`
    """What is answered to who may, outside maintenance mode where that matters."""

    status: int
    action: Action | Operation | str
    is_paused: bool = False  # in maintenance mode, though the right for it is no operation's
    to_strangers: int | None = None  # who are sent to the log-in unless it is said here


SEE, BLOCK = Action.VIEW_INFRASTRUCTURE, Action.BLOCK_APPLICATIONS
USERS, TEAMS, ROLES = Action.MANAGE_PEOPLE, Action.MANAGE_TEAMS, Action.MANAGE_APPLICATION_ROLES
LIST, TOGGLE, LOG = Action.VIEW_APPLICATIONS, Action.TOGGLE_MAINTENANCE, Action.VIEW_AUDIT_LOG
REGISTER, UNREGISTER = Action.REGISTER_ENVIRONMENT, Action.UNREGISTER_ENVIRONMENT
TAG, TEST, CENTER = Operation.TAG_APPLICATIONS, Operation.TEST_APPLICATIONS, Operation.OPEN_SERVICE_CENTER
STUDIO, CREATE = Operation.OPEN_SERVICE_STUDIO, Operation.CREATE_APPLICATIONS
PREPARE, EDIT, OPERATE, DEPLOY = (
    Action.PREPARE_PLANS,
    Action.EDIT_PLANS,
    Operation.OPERATE_PLANS,
    Operation.DEPLOY,
)
DATABASES = Action.MANAGE_DATABASES
SETTINGS, SECURITY = Operation.CHANGE_APPLICATION_SETTINGS, Operation.CHANGE_SECURITY_SETTINGS

# A row: the URL's name, of what it is (attributes of the world), and what GET and POST answer; None is 405.
TABLE = [
    ("lifetime:home", "", may(302, EVERYBODY), None),
    ("lifetime:health", "", may(200, EVERYBODY, to_strangers=200), None),
    ("lifetime:health-of-workers", "", may(200, EVERYBODY, to_strangers=200), None),
    ("lifetime:login", "", may(302, EVERYBODY, to_strangers=200), may(302, EVERYBODY, to_strangers=422)),
    ("lifetime:openid", "", may(404, EVERYBODY, to_strangers=404), None),
    ("lifetime:openid-callback", "", may(404, EVERYBODY, to_strangers=404), None),
    ("lifetime:logout", "", None, may(302, EVERYBODY, to_strangers=302)),
    ("lifetime:settings", "", may(200, EVERYBODY), may(422, EVERYBODY)),
    ("lifetime:set-theme", "", None, may(302, EVERYBODY)),
    ("lifetime:change-password", "", may(200, EVERYBODY), may(422, EVERYBODY)),
    ("lifetime:users", "", may(200, USERS), None),
    ("lifetime:create-user", "", may(200, USERS), may(422, USERS)),
    ("lifetime:people", "", may(200, TEAMS), None),
    ("lifetime:user", "grace", may(200, USERS), may(422, USERS)),
    ("lifetime:unblock-user", "grace", None, may(302, USERS)),
    ("lifetime:roles", "", may(200, USERS), None),
    ("lifetime:create-role", "", may(200, USERS), may(422, USERS)),
    ("lifetime:role", "role", may(200, USERS), may(422, USERS)),
    ("lifetime:delete-role", "role", None, may(422, USERS)),
    ("lifetime:delete-role-dialog", "role", may(302, USERS), None),
    ("lifetime:teams", "", may(200, TEAMS), None),
    ("lifetime:create-team", "", may(200, TEAMS), may(422, TEAMS)),
    ("lifetime:team", "team", may(200, TEAMS), may(422, TEAMS)),
    ("lifetime:delete-team", "team", None, may(302, TEAMS)),
    ("lifetime:delete-team-dialog", "team", may(302, TEAMS), None),
    ("lifetime:set-team-member", "team", None, may(422, TEAMS)),
    ("lifetime:remove-team-member", "team grace", None, may(302, TEAMS)),
    ("lifetime:add-team-applications", "team", None, may(422, TEAMS)),
    ("lifetime:remove-team-application", "team application", None, may(302, TEAMS)),
    ("lifetime:service-accounts", "", may(200, USERS), None),
    ("lifetime:create-service-account", "", may(200, USERS), may(422, USERS)),
    ("lifetime:service-account", "account", may(200, USERS), may(422, USERS)),
    ("lifetime:issue-token", "account", None, may(200, USERS)),
    ("lifetime:revoke-token", "account token", None, may(302, USERS)),
    ("lifetime:application-roles", "application", may(200, ROLES), None),
    ("lifetime:set-application-role", "application", None, may(422, ROLES)),
    ("lifetime:remove-application-role", "application grace", None, may(302, ROLES)),
    ("applications:list", "", may(200, EVERYBODY), None),
    ("applications:rows", "", may(200, EVERYBODY), None),
    ("applications:heads", "", may(200, EVERYBODY), None),
    ("applications:filters", "", may(200, EVERYBODY), None),
    ("applications:create-filter", "", may(200, EVERYBODY), may(422, EVERYBODY)),
    ("applications:edit-filter", "own_filter", may(200, EVERYBODY), may(422, EVERYBODY)),
    ("applications:delete-filter", "own_filter", None, may(302, EVERYBODY)),
    ("applications:create", "", may(200, EVERYBODY), None),
    ("applications:create-in", "here", may(200, CREATE), may(422, CREATE)),
    ("applications:read-templates", "here", None, may(302, CREATE)),
    ("applications:details", "application", may(200, LIST), None),
    ("applications:places", "application", may(200, LIST), None),
    ("applications:icon", "application icon", may(200, LIST), None),
    ("applications:versions", "application", may(200, LIST), None),
    ("applications:version-rows", "application", may(200, LIST), None),
    ("applications:remove-version", "application version", None, may(302, TAG)),
    ("applications:remove-version-dialog", "application version", may(302, TAG), None),
    ("applications:tag", "application here", None, may(422, TAG)),
    ("applications:tag-dialog", "application here", may(302, TAG), None),
    ("applications:read-versions", "application here", None, may(302, LIST, is_paused=True)),
    ("applications:solve-hotfix", "application here", None, may(302, TAG)),
    ("applications:synchronize-definition", "application here", None, may(302, LIST, is_paused=True)),
    ("applications:settings", "application here", may(200, SETTINGS), None),
    ("applications:read-settings", "application here", None, may(302, SETTINGS)),
    ("applications:change-settings", "application here", None, may(302, SETTINGS)),
    ("applications:security", "application here", may(200, SETTINGS), None),
    ("applications:read-security", "application here", None, may(302, SETTINGS)),
    ("applications:change-security", "application here", None, may(302, SETTINGS)),
    ("applications:logs", "application here", may(200, CENTER), None),
    ("applications:log-lines", "application here", may(200, CENTER), None),
    ("applications:read-logs", "application here", None, may(302, CENTER)),
    ("applications:block", "application here", None, may(422, BLOCK)),
    ("applications:block-dialog", "application here", may(302, BLOCK), None),
    ("applications:unblock", "application here", None, may(422, BLOCK)),
    ("applications:open-in-browser", "application here", may(302, TEST), None),
    ("applications:test-dialog", "application here", may(302, TEST), None),
    ("applications:qr-code", "application here", may(200, TEST), None),
    ("applications:configure", "application here", may(302, CENTER), None),
    ("applications:service-center-logs", "application here", may(302, CENTER), None),
    ("applications:open-in-service-studio", "application here", may(302, STUDIO), None),
    ("plans:list", "", may(200, EVERYBODY), None),
    ("plans:create", "", may(200, EVERYBODY), may(422, EVERYBODY)),
    ("plans:plan", "plan", may(302, PREPARE), None),
    ("plans:edit", "plan", may(200, PREPARE), None),
    ("plans:change", "plan", None, may(422, EDIT, is_paused=True)),
    ("plans:add", "plan", None, may(422, EDIT, is_paused=True)),
    ("plans:add-dialog", "plan", may(302, EDIT, is_paused=True), None),
    ("plans:remove", "plan", None, may(422, EDIT, is_paused=True)),
    ("plans:refresh", "plan", None, may(422, EDIT, is_paused=True)),
    ("plans:change-target", "plan", None, may(422, EDIT, is_paused=True)),
    ("plans:change-target-dialog", "plan", may(302, EDIT, is_paused=True), None),
    ("plans:change-operation", "plan application", None, may(422, EDIT, is_paused=True)),
    ("plans:change-operation-dialog", "plan application", may(302, EDIT, is_paused=True), None),
    ("plans:validate", "plan", None, may(422, EDIT, is_paused=True)),
    ("plans:validation", "plan", may(200, PREPARE), None),
    ("plans:save", "plan", None, may(422, EDIT, is_paused=True)),
    ("plans:change-log", "plan", may(200, PREPARE), None),
    ("plans:configure", "plan", may(200, PREPARE), None),
    ("plans:read-settings", "plan", None, may(302, OPERATE)),
    ("plans:set-settings", "plan", None, may(422, OPERATE)),
    ("plans:review", "plan", may(200, PREPARE), None),
    ("plans:save-notes", "plan", None, may(422, EDIT, is_paused=True)),
    ("plans:start", "plan", None, may(422, DEPLOY)),
    ("plans:progress", "aborted", may(200, PREPARE), None),
    ("plans:live", "aborted", may(200, PREPARE), None),
    ("plans:log", "aborted", may(200, PREPARE), None),
    ("plans:continue", "aborted", None, may(409, OPERATE)),
    ("plans:continue-dialog", "aborted", may(302, OPERATE), None),
    ("plans:abort", "aborted", None, may(409, OPERATE)),
    ("plans:abort-dialog", "aborted", may(302, OPERATE), None),
    ("plans:discard", "plan", None, may(302, EDIT, is_paused=True)),
    ("plans:discard-dialog", "plan", may(302, EDIT, is_paused=True), None),
    ("plans:relabel", "plan", None, may(302, EDIT, is_paused=True)),
    ("plans:relabel-dialog", "plan", may(302, EDIT, is_paused=True), None),
    ("plans:retry", "aborted", None, may(302, EDIT, is_paused=True)),
    ("plans:reuse", "aborted", None, may(422, PREPARE)),
    ("plans:reuse-dialog", "aborted", may(302, PREPARE), None),
    ("settings:previews", "", may(200, SEE), may(302, SEE)),
    ("settings:blocked-addresses", "", may(302, USERS), None),
    ("settings:blocked", "here", may(200, USERS), None),
    ("settings:read-blocked", "here", None, may(302, USERS, is_paused=True)),
    ("settings:unblock", "here nothing", None, may(409, USERS, is_paused=True)),
    ("settings:database-connections", "", may(302, DATABASES), None),
    ("settings:databases", "here", may(200, DATABASES), None),
    ("settings:databases-state", "here", may(200, DATABASES), None),
    ("settings:read-databases", "here", None, may(302, DATABASES, is_paused=True)),
    ("settings:add-database", "here", may(200, DATABASES), may(422, DATABASES, is_paused=True)),
    ("settings:test-database-details", "here", None, may(422, DATABASES, is_paused=True)),
    ("settings:database-test-state", "here nothing", may(404, DATABASES), None),
    ("settings:edit-database", "here nothing", may(404, DATABASES), may(404, DATABASES)),
    ("settings:test-database", "here nothing", None, may(409, DATABASES, is_paused=True)),
    ("settings:delete-database", "here nothing", None, may(409, DATABASES, is_paused=True)),
    ("settings:delete-database-dialog", "here nothing", may(302, DATABASES), None),
    ("settings:authentication", "", may(200, USERS), None),
    ("settings:authentication-arrivals", "", may(200, USERS), None),
    ("settings:test-provider", "provider", None, may(302, USERS)),
    ("settings:provider-test-state", "provider", may(200, USERS), None),
    ("settings:create-provider", "oidc", may(200, USERS), may(422, USERS)),
    ("settings:propagate-authentication", "", None, may(302, USERS)),
    ("settings:provider", "provider", may(200, USERS), may(422, USERS)),
    ("settings:activate-provider", "provider", None, may(302, USERS)),
    ("settings:activate-provider-dialog", "provider", may(302, USERS), None),
    ("settings:deactivate-provider", "provider", None, may(409, USERS)),
    ("settings:deactivate-provider-dialog", "provider", may(302, USERS), None),
    ("settings:delete-provider", "provider", None, may(302, USERS)),
    ("settings:plugins", "", may(200, EVERYBODY), None),
    ("settings:register-plugin", "", None, may(422, SEE)),
    ("settings:unregister-plugin", "plugin", None, may(302, SEE)),
    ("settings:create-plugin", "here", None, may(422, Operation.CREATE_PLUGINS)),
    ("environments:list", "", may(200, SEE), None),
    ("environments:cards", "", may(200, SEE), None),
    ("environments:register", "", may(200, REGISTER), may(422, REGISTER)),
    ("environments:proposal", "proposed", may(200, REGISTER), may(422, REGISTER)),
    ("environments:proposal-state", "proposed", may(200, REGISTER), None),
    ("environments:proposed-roles", "proposed", may(200, REGISTER), may(302, REGISTER)),
    ("environments:proposed-users", "proposed", may(200, REGISTER), may(302, REGISTER)),
    ("environments:check-again", "proposed", None, may(302, REGISTER)),
    ("environments:confirm-registration", "proposed", None, may(302, REGISTER)),
    ("environments:discard", "proposed", None, may(302, REGISTER)),
    ("environments:edit", "here", may(200, SEE), may(422, Operation.EDIT_ENVIRONMENT)),
    ("environments:live", "here", may(200, SEE), None),
    ("environments:histories", "here", may(200, SEE), None),
    ("environments:synchronize", "here", None, may(302, Operation.SYNCHRONIZE)),
    ("environments:move", "here", None, may(422, Action.REORDER_ENVIRONMENTS)),
    ("environments:unregister", "here", None, may(422, UNREGISTER)),
    ("environments:unregister-dialog", "here", may(302, UNREGISTER), None),
    ("environments:enable-maintenance", "here", None, may(422, TOGGLE)),
    ("environments:enable-maintenance-dialog", "here", may(302, TOGGLE), None),
    ("environments:enable-maintenance-preview", "here", may(200, TOGGLE), None),
    ("environments:disable-maintenance", "here", None, may(422, TOGGLE)),
    ("environments:disable-maintenance-dialog", "here", may(302, TOGGLE), None),
    ("environments:windows", "here", may(200, SEE), None),
    ("environments:window", "here window", may(200, SEE), None),
    ("environments:timeline", "here", may(200, SEE), None),
    ("environments:contacts", "here", may(200, SEE), None),
    ("environments:syncs", "here", may(200, SEE), None),
    ("environments:pending", "here", may(200, SEE), None),
    ("environments:security", "here", may(200, SEE), may(422, SECURITY)),
    ("rest-api-reference", "", may(200, EVERYBODY), None),
    ("receive-event", "here", None, may(401, EVERYBODY, to_strangers=401)),
    ("audit:events", "", may(200, LOG), None),
    ("audit:export", "", may(422, LOG), None),
    ("audit:actors", "", may(200, LOG), None),
    ("audit:event", "event", may(200, LOG), None),
]


def all_urls(patterns, namespace=""):
    """The name of every URL of the console that this table is about."""
    for one in patterns:
        if isinstance(one, URLResolver):
            yield from all_urls(one.url_patterns, f"{one.namespace}:" if one.namespace else namespace)
        elif f"{namespace}{one.name}".partition(":")[0] not in ELSEWHERE:
            yield f"{namespace}{one.name}"


def test_the_table_has_every_url_once():
    assert sorted(name for name, *_ in TABLE) == sorted(all_urls(get_resolver().url_patterns))


class World:
    """One of everything that a URL may be about; `here` is the environment whose hosting and maintenance mode vary."""

    oidc, nothing = "oidc", uuid4()

    def __init__(self, hosting, *, is_in_maintenance):
        self.here = create_environment(name="Test", hosting=hosting)
        self.proposed = create_environment(name="New", registration="checked")
        self.application = application = publish(self.here, version="1.0", is_modified=True)
        application.url_path = "BackOffice"
        application.save()
        self.version = tag(application, "0.9")
        give_module(application, self.here)
        self.role, self.team = create_role("Tester", level=4), Team.objects.create(name="Claims")
        self.ada = create_user(name="Ada Lovelace", username="ada")
        self.grace = create_user(name="Grace Hopper", username="grace", role=self.role)
        TeamMembership.objects.create(team=self.team, user=self.grace, role=self.role)
        TeamApplication.objects.create(team=self.team, application=application)
        ApplicationRole.objects.create(user=self.grace, application=application, role=self.role)
        self.account = ServiceAccount.objects.create(username="pipeline", role=Role.objects.developer())
        self.token = service_accounts.issue_token(self.account, by=Author()).token.pk
        self.own_filter = EnvironmentFilter.objects.create(user=self.ada, name="Mine")
        self.icon = "0" * 64
        ApplicationIcon.objects.create(
            application_key=application.key, digest=self.icon, content=b"GIF89a", media_type="image/gif"
        )
        board = plugins.Wanted(name="Board", entry_point="https://example.com/Board", developer="Grace Hopper")
        self.plugin = plugins.register(board, by=actor())
        self.provider = create_provider()
        other = create_environment(name="Production")
        self.plan = self._plan(other, status="saved")
        self.aborted = self._plan(other, status="running", step="generating", started_at=timezone.now(), started_by="A")
        self.window = maintenance.enable(self.here, by=actor(), reason="Upgrade")
        if not is_in_maintenance:
            maintenance.disable(self.here, by=actor(), reason="Done")
            self.here.sync_runs.update(status="aborted", ended_at=timezone.now())
        self.event = AuditEvent.objects.first()

    def _plan(self, other, **values):
        """From `here` to another environment."""
        choice = Choice(application_key=self.application.key, kind="tag_and_deploy", version_number="2.0")
        plan = plans.create(self.here, other, by=actor(), choices=[choice])
        DeploymentPlan.objects.filter(pk=plan.pk).update(saved_at=timezone.now(), saved_by="Ada Lovelace", **values)
        return plan

    def url(self, name, of):
        found = [getattr(self, one) for one in of.split()]
        return reverse(name, args=[getattr(one, "key", one) for one in found])


ANSWERS = [
    (name, of, method, answer)
    for name, of, *answers in TABLE
    for method, answer in zip(("GET", "POST"), answers, strict=True)
]


def expected(kind, hosting, of, answer, *, is_in_maintenance):
    if answer.action != EVERYBODY:
        if not has_right(kind, hosting, answer.action):
            is_hidden = of.startswith("team") or (
                of.startswith(("application", "plan", "aborted")) and kind == "no access"
            )
            return 404 if is_hidden else 403
        if is_in_maintenance and (answer.is_paused or isinstance(answer.action, Operation)):
            return 409
    return answer.status


@pytest.mark.parametrize("kind", PEOPLE)
@pytest.mark.parametrize("hosting", HOSTINGS)
@pytest.mark.parametrize("is_in_maintenance", [False, True], ids=["outside", "in maintenance"])
def test_each_page_keeps_to_the_table(client, quiet, kind, hosting, is_in_maintenance):
    is_corner = is_in_maintenance == (hosting == "cloud")  # two of four are enough for pages about people
    world, user = World(hosting, is_in_maintenance=is_in_maintenance), person(kind)
    world.own_filter = EnvironmentFilter.objects.create(user=user, name="Mine")
    client.force_login(user)

    wrong = []
    for name, of, method, answer in ANSWERS:
        if answer and (is_corner or not name.startswith("lifetime:")):
            status = answered(client, method, world.url(name, of))
            should = expected(kind, hosting, of, answer, is_in_maintenance=is_in_maintenance)
            if status != should:
                wrong.append(f"{method} {name}: {status}, not {should}")

    assert not wrong, "\n".join(wrong)


def test_no_page_takes_another_method(client, quiet):
    world = World("self_managed", is_in_maintenance=False)
    client.force_login(world.ada)

    for name, of, method, answer in ANSWERS:
        if answer is None:
            assert answered(client, method, world.url(name, of)) == 405, (method, name)


@pytest.fixture
def quiet(caplog, settings):
    """For hundreds of requests and refusals: no log lines, and sessions without the database."""
    caplog.set_level("CRITICAL", "django.request")
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"


def answered(client, method, url):
    """The status; what a request changed is undone."""
    if method == "GET":
        return send(client, method, url).status_code
    session = client.cookies["sessionid"].value
    with transaction.atomic():
        response = send(client, method, url)
        transaction.set_rollback(True)
    client.cookies["sessionid"] = session
    return response.status_code


def send(client, method, url):
    return client.get(url) if method == "GET" else client.post(url, {"csrfmiddlewaretoken": "as from every form"})


@pytest.mark.parametrize("is_in_maintenance", [False, True], ids=["outside", "in maintenance"])
def test_strangers_are_sent_to_the_log_in(client, quiet, is_in_maintenance):
    world = World("self_managed", is_in_maintenance=is_in_maintenance)

    for name, of, *answers in TABLE:
        is_public = any(answer and answer.to_strangers for answer in answers)  # the view itself answers strangers
        for method, answer in zip(("GET", "POST"), answers, strict=True):
            should = (answer.to_strangers if answer else 405) if is_public else 302
            response = send(client, method, world.url(name, of))
            assert response.status_code == should, (method, name)
            assert should != 302 or response.url.startswith("/login/"), (method, name)
