"""What the walk goes over: an environment going in and out of maintenance mode, and a bystander that stays in it."""

from datetime import timedelta
from functools import cached_property

from django.apps import apps
from django.urls import reverse
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ

from deployments import plans
from deployments.choices import Choice
from deployments.models import DeploymentPlan, OperationKind
from environments import maintenance
from environments.models import (
    Application,
    ApplicationSecurity,
    ApplicationSettings,
    ApplicationTask,
    Environment,
    ModuleStatus,
    RefusedOperation,
    SyncRun,
    TechnicalPreview,
)
from environments.platform import seed
from environments.platform.applications import key_of, module_key_of
from environments.platform.templates import TEMPLATES
from lifetime.models import Team
from tests.deployments.factories import validated
from tests.environments.test_applications import AT, publish
from tests.environments.test_applications_details import give_module
from tests.environments.walk.page import Page
from tests.factories import actor, create_environment, create_user

SECURITY = {"force_https_screens": None, "content_security_policy": None}
OURS = 10**12  # no contact of the console has this number
SETTING = {
    "name": "PageSize",
    "module": "BackOffice",
    "module_key": str(module_key_of("Back Office", "BackOffice")),
    "data_type": "Integer",
    "default_value": "50",
    "effective_value": None,
    "is_secret": False,
}


class Scene:
    """`here` is Development; Ada Lovelace, an administrator, works with it by `client`. Sandbox is the bystander."""

    def __init__(self, platform, place, client):
        self.platform = platform
        self.client = client
        self.user = create_user(name="Ada Lovelace", username="ada")
        client.force_login(self.user)
        self.bystander = create_environment(
            name="Sandbox", address=platform.addresses[0], token=platform.token, position=0
        )
        self.here = create_environment(name="Development", address=place, token=platform.token, position=1)
        self.team = Team.objects.create(name="Orders")
        self.application = self._publish("Back Office", "WebResponsive")
        self.mobile = self._publish("Field Service", "Mobile")
        read = {"application": self.application, "environment": self.here, "digest": "sha256:as read", "read_at": AT}
        ApplicationSettings.objects.create(**read, document={"site_properties": [SETTING]})
        ApplicationSecurity.objects.create(**read, document=SECURITY)
        for environment in (self.bystander, self.here):
            self._offer(environment)
        self.elsewhere = maintenance.enable(self.bystander, by=actor("Edsger Dijkstra"), reason="Another matter")
        self.seen = len(platform.log())
        self.window = None

    def _publish(self, name, kind):
        """What the platform's seed has of this name, changed here since it was tagged."""
        path = name.replace(" ", "")
        application = Application.objects.create(key=key_of(name), name=name, kind=kind, url_path=path, changed_at=AT)
        publish(self.bystander, name, version="1.0")
        publish(self.here, name, version="1.1", is_modified=True)
        module = give_module(application, self.here, name=path, is_modified=True)
        type(module).objects.filter(pk=module.pk).update(key=module_key_of(name, path))
        return application

    def _offer(self, environment):
        """Technical Preview features, and templates as it was asked for them before."""
        for one in seed.PREVIEWS:
            TechnicalPreview.objects.create(environment=environment, **one)
        ApplicationTask.objects.create(
            kind="read_templates", environment=environment, requested_by="System", status="finished",
            ended_at=timezone.now(), result=TEMPLATES,
        )  # fmt: skip

    # Deployment plans
    def deploy(self, side):
        """From now on `here` is the source, or the target, of plans with Production, which nobody talks to."""
        is_source = side == "source"
        self.other = create_environment(name="Production", position=2 if is_source else 0)
        self.next = "1.1.1" if is_source else "1.2"  # the number that is proposed for Field Service
        self.third = create_environment(name="Test", position=3)
        self.source, self.target = (self.here, self.other) if is_source else (self.other, self.here)
        for application in (self.application, self.mobile):
            publish(self.other, application.name, version="1.0", is_modified=not is_source)
            for module in application.modules.all():
                ModuleStatus.objects.create(
                    module=module, environment=self.other, changed_at=AT, version_key=module.key, is_modified=True
                )
        read = {"application": self.application, "environment": self.other, "digest": "sha256:as read", "read_at": AT}
        ApplicationSettings.objects.create(**read, document={"site_properties": [SETTING]})

    def have(self, *names):
        """Make what is asked for by these names, before anything is compared."""
        for name in names:
            getattr(self, name)

    @cached_property
    def plan(self):
        return self._plan()

    @cached_property
    def running(self):
        return self._started("running")

    @cached_property
    def prepared(self):
        until = timezone.now() + timedelta(hours=90)
        return self._started("needs_user_intervention", information="deploy_prepared", prepared_until=until)

    @cached_property
    def aborted(self):
        return self._started("aborted", aborted_at=timezone.now(), aborted_by="Grace Hopper", ended_at=timezone.now())

    @cached_property
    def finished(self):
        return self._started("finished_successful", ended_at=timezone.now())

    def _plan(self):
        """Saved and validated."""
        choice = Choice(application_key=self.application.key, kind=OperationKind.TAG_AND_DEPLOY, version_number="9.0")
        plan = plans.create(self.source, self.target, by=actor(), choices=[choice])
        return validated(plans.save(plan, by=actor(), revision=plan.revision))

    def _started(self, status, **values):
        plan = self._plan()
        values = {"step": "generating", "started_at": timezone.now(), "started_by": "Grace Hopper", **values}
        DeploymentPlan.objects.filter(pk=plan.pk).update(status=status, **values)
        return plan

    # Maintenance mode
    def enable(self):
        self.window = maintenance.enable(self.here, by=actor("Grace Hopper"), reason="Upgrade to 11.29")
        self.here = self.reload(self.here)
        return self.window

    def disable(self):
        maintenance.disable(self.here, by=actor("Grace Hopper"), reason="Upgraded")
        self.here = self.reload(self.here)

    @staticmethod
    def reload(environment):
        return Environment.objects.select_related("maintenance_window", "sync_state").get(pk=environment.pk)

    # What people do
    def url(self, name, *of):
        """The address of a page; `of` names attributes of the scene whose keys it takes."""
        return reverse(name, args=[getattr(self, one).key for one in of])

    def page(self, name, *of):
        url = self.url(name, *of)
        response = self.client.get(url)
        assert response.status_code == 200, (url, response.status_code)
        return Page(url, response.content.decode())

    def toggle(self, feature):
        """The value of a box of the Technical Preview page."""
        return f"{self.here.key}/{feature}"

    # What workers do
    def work_off(self):
        """Carry out everything that is queued, as a worker does."""
        while message := OrmQ.objects.order_by("pk").first():
            order = message.task
            message.delete()
            import_string(order["func"])(*order["args"])

    @staticmethod
    def queue():
        """The functions that workers are told to call."""
        return sorted(message.task["func"] for message in OrmQ.objects.all())

    def newest_order(self, kind):
        """The newest task of this kind, or the newest synchronization, here."""
        found = SyncRun.objects.all() if kind == "sync" else ApplicationTask.objects.filter(kind=kind)
        return found.filter(environment=self.here).order_by("pk").last()

    # What it came to
    def log(self):
        """What environments of the platform were asked since the scene was set."""
        return self.platform.log()[self.seen :]

    def far_side(self, path):
        """A document as the environment has it, asked by somebody else than the console."""
        reply = self.platform.call("GET", path, contact=OURS, epoch=self.here.epoch, address=self.here.address)
        assert reply.status == 200, reply.body
        return reply.json

    @staticmethod
    def is_ours(line):
        return line["contact"] == OURS

    def refused(self):
        """Refused operations as counted, by window and operation."""
        rows = RefusedOperation.objects.values_list("window", "operation", "count", "last_by")
        return sorted(rows)


def everything():
    """Every row of the console's and the queue's tables but refusals and audit entries."""
    models = [model for app in ("lifetime", "environments", "deployments", "django_q") for model in _models(app)]
    return {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in models}


def _models(app):
    return [one for one in apps.get_app_config(app).get_models() if one is not RefusedOperation and not one._meta.proxy]
