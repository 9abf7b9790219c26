"""The thirteen operations and the five activities, a row each: where people find it, how it is asked for, what it does.

A new page, link or request of an operation is one more line in its row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from environments.models import AuthenticationProvider, Environment, Purpose, TechnicalPreview
from environments.operations import Activity, Operation
from environments.platform.applications import key_of
from environments.platform.seed import PREVIEWS
from tests.factories import create_user

IN, MOBILE_IN, HERE, PLAN = ("application", "here"), ("mobile", "here"), ("here",), ("plan",)
ADVANCE = "deployments.tasks.advance"
ORDERS = f"/applications/{key_of('Back Office')}"
TOGGLE = PREVIEWS[2]


@dataclass(frozen=True)
class Control:
    """Something to click: the page (its URL name, and of what it is), and what it says."""

    page: str
    of: tuple[str, ...]
    label: str
    locks_form: bool = False  # in maintenance mode every field around it is disabled
    goes: bool = False  # with what maintenance mode aborts


@dataclass(frozen=True)
class Ask:
    """A direct request, and what comes of it outside maintenance mode."""

    url: str
    of: tuple[str, ...]
    method: str = "GET"
    data: Callable[[Any], dict[str, Any]] = lambda scene: {}
    status: int = 302
    leads: str = ""  # out of the console, to an address that begins so
    audit: str = ""  # the entry that it leaves
    queues: str = ""  # the kind of the task, or "sync"
    calls: tuple[str, ...] = ()  # what workers are told to call besides
    is_for_all: bool = False  # pages lead there, since it is about any environments
    hears: tuple[str, str] | None = None  # what the environment is asked when a worker carries it out

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass(frozen=True, kw_only=True)
class Row:
    operation: Operation
    purpose: Purpose  # of the contact that it would take
    controls: tuple[Control, ...] = ()
    asks: tuple[Ask, ...] = ()
    has_source_and_target: bool = False
    no_worker: str = ""  # why no worker does anything for it


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An activity: something to carry, the request that carries it, and what the receiver then has of it."""

    activity: Activity
    change: Callable[[Any, int], None]
    hears: tuple[str, str]
    has: Callable[[Any], Any]
    expected: Callable[[int], Any]


def form(url: str, **typed: str) -> Callable[[Any], dict[str, Any]]:
    """The form of an environment's page as a browser would send it, with something typed into it."""
    return lambda scene: {**(page := scene.page(url, *HERE)).filled(page.control("Save")), **typed}


def revised(**typed: str) -> Callable[[Any], dict[str, Any]]:
    """As from a page of the plan as it is."""
    return lambda scene: {"revision": scene.plan.revision, **typed}


def along(**typed: str) -> Callable[[Any], dict[str, Any]]:
    """From the source to the target."""
    return lambda scene: {"source": scene.source.key, "target": scene.target.key, **typed}


def said(what: str) -> str:
    return f"{what} of application 'Back Office' in environment 'Development'"


def opened(how: str, application: str = "Back Office") -> str:
    return f"Opened application '{application}' of environment 'Development' {how}"


OPERATIONS = (
    Row(
        operation=Operation.TAG_APPLICATIONS,
        purpose=Purpose.TAG,
        controls=(
            Control("applications:details", ("application",), "Tag Version Development"),
            Control("applications:places", ("application",), "Tag Version Development"),
            Control("applications:details", ("application",), "Mark Hotfix as Solved Development"),
        ),
        asks=(
            Ask("applications:tag-dialog", IN, status=200),
            Ask(
                "applications:tag", IN, "POST", lambda scene: {"version": "9.0"},
                audit=said("Requested tagging") + " as 9.0",
                queues="tag", hears=("POST", f"{ORDERS}/versions"),
            ),
            Ask("applications:solve-hotfix", IN, "POST", audit=said("Marked the hotfix") + " as solved"),
        ),
    ),
    Row(
        operation=Operation.DEPLOY,
        purpose=Purpose.DEPLOY,
        has_source_and_target=True,
        controls=(Control("plans:review", PLAN, "Deploy Now", locks_form=True),),
        asks=(Ask("plans:start", PLAN, "POST", revised(), audit="Launched deployment plan '#N'", calls=(ADVANCE,)),),
        no_worker="tests/deployments has them at each of the seven steps",
    ),
    Row(
        operation=Operation.OPERATE_PLANS,
        purpose=Purpose.DEPLOY,
        has_source_and_target=True,
        controls=(
            Control("plans:list", (), "Discard #{scene.plan.number}"),
            Control("plans:list", (), "Retry Plan #{scene.aborted.number}"),
            Control("plans:edit", PLAN, "Add Applications"),
            Control("plans:edit", PLAN, "Add All with Differences"),
            Control("plans:edit", PLAN, "Add All Applications"),
            Control("plans:edit", PLAN, "Refresh Applications"),
            Control("plans:edit", PLAN, "Change target environment"),
            Control("plans:edit", PLAN, "Relabel"),
            Control("plans:edit", PLAN, "Discard Plan"),
            Control("plans:edit", PLAN, "Save Plan", locks_form=True),
            Control("plans:configure", PLAN, "Save and continue", locks_form=True),
            Control("plans:review", PLAN, "Save Plan & Notes", locks_form=True),
            Control("plans:review", PLAN, "Discard Plan"),
            Control("plans:progress", ("running",), "Abort", goes=True),
            Control("plans:live", ("running",), "Abort", goes=True),
            Control("plans:progress", ("prepared",), "Continue Deployment", goes=True),
            Control("plans:progress", ("aborted",), "Retry Plan"),
            Control("plans:progress", ("finished",), "Relabel"),
        ),
        asks=(
            Ask(
                "plans:create", (), "POST", along(begin="on"),
                audit="Created deployment plan '#N' from '{scene.source}' to '{scene.target}'", is_for_all=True,
            ),
            Ask("plans:change", PLAN, "POST", revised()),
            Ask("plans:add-dialog", PLAN, status=200),
            Ask(
                "plans:add", PLAN, "POST", revised(which="all"),
                audit="Selected 'Tag & Deploy {scene.next}' for 'Field Service' in deployment plan '#N'",
            ),
            Ask(
                "plans:remove", PLAN, "POST", revised(application="all"),
                audit="Removed application 'Back Office' from deployment plan '#N'",
            ),
            Ask("plans:refresh", PLAN, "POST", revised()),
            Ask("plans:change-target-dialog", PLAN, status=200),
            Ask(
                "plans:change-target", PLAN, "POST", lambda scene: {**revised()(scene), "target": scene.third.key},
                audit="Changed the target of deployment plan '#N' from '{scene.target}' to 'Test'",
            ),
            Ask("plans:change-operation-dialog", (*PLAN, "application"), status=200),
            Ask(
                "plans:change-operation", (*PLAN, "application"), "POST", revised(version="9.1"),
                audit="Selected 'Tag & Deploy 9.1' for 'Back Office' in deployment plan '#N'",
            ),
            Ask(
                "plans:validate", PLAN, "POST", revised(),
                audit="Requested validation of deployment plan '#N'", calls=("deployments.tasks.validate",),
            ),
            Ask("plans:save", PLAN, "POST", revised(), audit="Saved deployment plan '#N'"),
            Ask("plans:save-notes", PLAN, "POST", revised(notes="Ask Ana"), audit="Saved deployment plan '#N'"),
            Ask(
                "plans:read-settings", PLAN, "POST",
                audit="Requested the settings of application 'Back Office' in environment 'Production'",
                calls=("environments.tasks.work_on_application",) * 2,
            ),
            Ask(
                "plans:set-settings", PLAN, "POST", revised(**{"settings": "1", "value-0": "75"}),
                audit="Configured settings of Back Office in deployment plan '#N'",
            ),
            Ask("plans:discard-dialog", PLAN, status=200),
            Ask("plans:discard", PLAN, "POST", audit="Discarded deployment plan '#N'"),
            Ask("plans:relabel-dialog", PLAN, status=200),
            Ask("plans:relabel-dialog", ("finished",), status=200),
            Ask(
                "plans:relabel", PLAN, "POST", lambda scene: {"label": "Rooms"},
                audit="Relabelled deployment plan '#N' from '' to 'Rooms'",
            ),
            Ask("plans:abort-dialog", ("running",), status=200),
            Ask("plans:abort", ("running",), "POST", audit="Aborted deployment plan '#N'", calls=(ADVANCE,)),
            Ask("plans:continue-dialog", ("prepared",), status=200),
            Ask(
                "plans:continue", ("prepared",), "POST", lambda scene: {"information": "deploy_prepared"},
                audit="Continued deployment plan '#N'", calls=(ADVANCE,),
            ),
            Ask(
                "plans:retry", ("aborted",), "POST",
                audit="Created deployment plan '#N' from '{scene.source}' to '{scene.target}'",
            ),
            Ask(
                "plans:reuse", ("finished",), "POST", along(same_versions="on"),
                audit="Created deployment plan '#N' from '{scene.source}' to '{scene.target}'",
            ),
        ),
        no_worker="tests/deployments has them at each of the seven steps",
    ),
    Row(
        operation=Operation.CHANGE_APPLICATION_SETTINGS,
        purpose=Purpose.APPLICATION,
        controls=(
            Control("applications:details", ("application",), "Settings Development"),
            Control("applications:details", ("application",), "Security Settings Development"),
        ),
        asks=(
            Ask("applications:settings", IN, status=200),
            Ask(
                "applications:read-settings", IN, "POST", audit=said("Requested the settings"),
                queues="read_settings", hears=("GET", f"{ORDERS}/settings"),
            ),
            Ask(
                "applications:change-settings", IN, "POST",
                lambda scene: {"digest": "sha256:as read", "value-0": "75", "mode": "default"},
                audit=said("Requested a change of settings"),
                queues="change_settings", hears=("PUT", f"{ORDERS}/settings"),
            ),
            Ask("applications:security", IN, status=200),
            Ask(
                "applications:read-security", IN, "POST", audit=said("Requested the security settings"),
                queues="read_security", hears=("GET", f"{ORDERS}/security"),
            ),
            Ask(
                "applications:change-security", IN, "POST",
                lambda scene: {"digest": "sha256:as read", "force_https": "on"},
                audit=said("Requested a change of security settings"),
                queues="change_security", hears=("PUT", f"{ORDERS}/security"),
            ),
        ),
    ),
    Row(
        operation=Operation.TEST_APPLICATIONS,
        purpose=Purpose.APPLICATION,
        controls=(
            Control("applications:details", ("application",), "Open in Browser Development"),
            Control("applications:details", ("mobile",), "Test Development"),
        ),
        asks=(
            Ask(
                "applications:open-in-browser", IN, leads="{here}/BackOffice/",
                audit=opened("in the browser"),
            ),
            Ask("applications:test-dialog", MOBILE_IN, status=200),
            Ask(
                "applications:qr-code", MOBILE_IN, status=200,
                audit=opened("as a QR code to test it", "Field Service"),
            ),
        ),
        no_worker="the person's own browser goes there",
    ),
    Row(
        operation=Operation.OPEN_SERVICE_CENTER,
        purpose=Purpose.APPLICATION,
        controls=(
            Control("applications:details", ("application",), "View Application Logs Development"),
            Control("applications:details", ("application",), "Configure Application Development"),
        ),
        asks=(
            Ask("applications:logs", IN, status=200, audit=said("Viewed the log")),
            Ask("applications:log-lines", IN, status=200),
            Ask(
                "applications:read-logs", IN, "POST", audit=said("Requested the log"),
                queues="read_logs", hears=("GET", f"{ORDERS}/logs"),
            ),
            Ask(
                "applications:configure", IN, leads="{here}/ServiceCenter/",
                audit=opened("in Service Center to configure it"),
            ),
            Ask(
                "applications:service-center-logs", IN, leads="{here}/ServiceCenter/",
                audit=opened("in Service Center to view its logs"),
            ),
        ),
    ),
    Row(
        operation=Operation.OPEN_SERVICE_STUDIO,
        purpose=Purpose.APPLICATION,
        controls=(Control("applications:details", ("application",), "Open in Service Studio Development"),),
        asks=(
            Ask(
                "applications:open-in-service-studio", IN, leads="servicestudio://",
                audit=opened("in Service Studio"),
            ),
        ),
        no_worker="the person's own Service Studio goes there",
    ),
    Row(
        operation=Operation.CREATE_APPLICATIONS,
        purpose=Purpose.APPLICATION,
        controls=(Control("applications:create", (), "Development"),),
        asks=(
            Ask("applications:create-in", HERE, status=200),
            Ask(
                "applications:create-in", HERE, "POST",
                lambda scene: {"team": scene.team.key, "template": "reactive-web", "name": "Invoices"},
                audit="Requested application 'Invoices' for team 'Orders' in environment 'Development'",
                queues="create", hears=("POST", "/applications"),
            ),
            Ask(
                "applications:read-templates", HERE, "POST",
                audit="Requested the templates of environment 'Development'",
                queues="read_templates", hears=("GET", "/templates"),
            ),
        ),
    ),
    Row(
        operation=Operation.TOGGLE_TECHNICAL_PREVIEWS,
        purpose=Purpose.SYNC,
        controls=(Control("settings:previews", (), f"Off {TOGGLE['name']} in Development"),),
        asks=(
            Ask(
                "settings:previews", (), "POST", lambda scene: {"on": [scene.toggle(TOGGLE["key"])]},
                audit=f"Enabled Technical Preview feature '{TOGGLE['name']}' in environment 'Development'",
                queues="sync", hears=("PUT", "/technical-previews"),
            ),
        ),
    ),
    Row(
        operation=Operation.CREATE_PLUGINS,
        purpose=Purpose.APPLICATION,
        controls=(Control("settings:plugins", (), "Create in Development"),),
        asks=(
            Ask(
                "settings:create-plugin", HERE, "POST", lambda scene: {"name": "Board"},
                audit="Requested plugin 'Board' in environment 'Development'",
                queues="create_plugin", hears=("POST", "/applications"),
            ),
        ),
    ),
    Row(
        operation=Operation.SYNCHRONIZE,
        purpose=Purpose.SYNC,
        controls=(
            Control("environments:list", (), "Synchronize now Development"),
            Control("environments:cards", (), "Synchronize now Development"),
            Control("environments:edit", HERE, "Synchronize now Development"),
            Control("environments:live", HERE, "Synchronize now Development"),
            Control("applications:list", (), "Synchronize now Development"),
            Control("applications:heads", (), "Synchronize now Development"),
            Control("applications:details", ("application",), "Synchronize App Definition Development"),
            Control("applications:details", ("application",), "Read Versions Development"),
        ),
        asks=(
            Ask(
                "environments:synchronize", HERE, "POST",
                audit="Requested synchronization of environment 'Development'",
                queues="sync", hears=("GET", "/applications"),
            ),
            Ask(
                "applications:synchronize-definition", IN, "POST",
                audit="Requested synchronization of environment 'Development'",
                queues="sync", hears=("GET", "/applications"),
            ),
            Ask(
                "applications:read-versions", IN, "POST", audit=said("Requested the versions"),
                queues="read_versions", hears=("GET", f"{ORDERS}/versions"),
            ),
        ),
    ),
    Row(
        operation=Operation.CHANGE_SECURITY_SETTINGS,
        purpose=Purpose.SYNC,
        controls=(Control("environments:security", HERE, "Save", locks_form=True),),
        asks=(
            Ask(
                "environments:security", HERE, "POST", form("environments:security", hsts="on"),
                audit="Changed HTTP Strict Transport Security of environment 'Development' from off to on",
                queues="sync", hears=("PUT", "/security"),
            ),
        ),
    ),
    Row(
        operation=Operation.EDIT_ENVIRONMENT,
        purpose=Purpose.SYNC,
        controls=(Control("environments:edit", HERE, "Save", locks_form=True),),
        asks=(
            Ask(
                "environments:edit", HERE, "POST", form("environments:edit", two_stage_deployments="on"),
                audit="Changed execute deployments in two stages of environment 'Development' from 'False' to 'True'",
                queues="sync", hears=("PUT", "/settings"),
            ),
        ),
    ),
)  # fmt: skip


def publish(scene: Any, number: int) -> None:
    scene.platform.publish(name=f"Claims {number}", address=scene.here.address)


def published(scene: Any) -> list[str]:
    found = scene.here.applications.filter(application__name__startswith="Claims")
    return sorted(found.values_list("application__name", flat=True))


def hire(scene: Any, number: int) -> None:
    create_user(username=f"newcomer{number}")


def limit(scene: Any, number: int) -> None:
    Environment.objects.filter(pk=scene.here.pk).update(parallel_deployment_limit=10 + number)


def switch_on(scene: Any, number: int) -> None:
    key = PREVIEWS[number]["key"]
    TechnicalPreview.objects.filter(environment=scene.here, key=key).update(is_enabled=True)


def configure(scene: Any, number: int) -> None:
    AuthenticationProvider.objects.update_or_create(
        name="Company",
        defaults={"mode": "oidc", "is_active": True, "configuration": {"client_id": f"console-{number}"}},
    )


# Each change is number 0, made outside maintenance mode, then number 1, made in it.
ACTIVITIES = (
    Skipped(
        activity=Activity.APPLICATIONS,
        change=publish,
        hears=("GET", "/applications"),
        has=published,
        expected=lambda number: ["Claims 0", "Claims 1"][: number + 1],
    ),
    Skipped(
        activity=Activity.PERMISSIONS,
        change=hire,
        hears=("PUT", "/permissions"),
        has=lambda scene: sorted(
            one["username"] for one in scene.far_side("/permissions")["users"] if one["username"] != "ada"
        ),
        expected=lambda number: ["newcomer0", "newcomer1"][: number + 1],
    ),
    Skipped(
        activity=Activity.SETTINGS,
        change=limit,
        hears=("PUT", "/settings"),
        has=lambda scene: scene.far_side("/settings")["parallel_deployment_limit"],
        expected=lambda number: 10 + number,
    ),
    Skipped(
        activity=Activity.TECHNICAL_PREVIEWS,
        change=switch_on,
        hears=("PUT", "/technical-previews"),
        has=lambda scene: set(scene.far_side("/technical-previews")["enabled"]),
        expected=lambda number: {one["key"] for one in PREVIEWS[: number + 1]},
    ),
    Skipped(
        activity=Activity.AUTHENTICATION,
        change=configure,
        hears=("PUT", "/authentication"),
        has=lambda scene: scene.far_side("/authentication")["configuration"]["client_id"],
        expected=lambda number: f"console-{number}",
    ),
)
