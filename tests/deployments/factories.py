"""Plans with what they need, without any environment being asked."""

from datetime import UTC, datetime
from itertools import count
from uuid import uuid4

from django.utils import timezone

from deployments import plans
from deployments.choices import Choice
from deployments.models import DeploymentPlan, OperationKind, PlanOperation, PlanStep, StepName
from environments.models import Application, ApplicationStatus, ApplicationVersion, Module, ModuleStatus
from tests.factories import actor, create_environment

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
_numbers = count(1)


def create_route(source="Development", target="Test", **of_target):
    """Two environments, one before the other in the pipeline."""
    return create_environment(name=source), create_environment(name=target, purpose="Test", **of_target)


def create_application(name="", *, kind="WebResponsive", **extra):
    return Application.objects.create(
        key=uuid4(), name=name or f"Application {next(_numbers)}", kind=kind, changed_at=AT, **extra
    )


def tag(application, number, **extra):
    """A version of which the console knows what is in it."""
    values = {"key": uuid4(), "created_at": AT, "created_by": "Ana Ferreira", **extra}
    return ApplicationVersion.objects.create(application=application, version=number, **values)


def publish(application, environment, version=None, *, number="", is_modified=False, modules=True):
    """Have an environment run a version; one module there makes that it can be tagged."""
    if version is None and number:
        known = ApplicationVersion.objects.filter(application=application, version=number).first()
        version = known or tag(application, number)
    ApplicationStatus.objects.update_or_create(
        application=application,
        environment=environment,
        defaults={
            "version": version.version if version else "",
            "version_key": version.key if version else None,
            "is_modified": is_modified,
            "changed_at": AT,
            "changed_by": "Ana Ferreira",
        },
    )
    if modules:
        module, _ = Module.objects.get_or_create(
            application=application, name=application.name.replace(" ", ""), defaults={"key": uuid4(), "changed_at": AT}
        )
        ModuleStatus.objects.update_or_create(
            module=module, environment=environment, defaults={"version_key": uuid4(), "changed_at": AT}
        )
    return version


def create_plan(source, target, *, applications=(), by=None, saved=True, **values):
    """A saved plan that deploys what runs in the source; `values` are set as they are, whatever the rules say."""
    choices = []
    for application in applications:
        status = ApplicationStatus.objects.get(application=application, environment=source)
        choices.append(
            Choice(
                application_key=application.key,
                kind=OperationKind.DEPLOY,
                version_key=status.version_key,
                version_number=status.version,
                is_proposed=True,
            )
        )
    plan = plans.create(source, target, by=by or actor(), label=values.pop("label", ""), choices=choices)
    if saved:
        plan = plans.save(plan, by=by or actor(), revision=plan.revision, notes=values.pop("notes", ""))
    if values:
        DeploymentPlan.objects.filter(pk=plan.pk).update(**values)
    return DeploymentPlan.objects.select_related("source", "target").get(pk=plan.pk)


def create_started_plan(source, target, *, applications=(), status="running", step="generating", **values):
    """A plan in progress, or over, with its seven steps."""
    plan = create_plan(source, target, applications=applications)
    values = {"started_at": timezone.now(), "started_by": "Grace Hopper", **values}
    DeploymentPlan.objects.filter(pk=plan.pk).update(status=status, step=step, **values)
    names = StepName.values
    PlanStep.objects.bulk_create(
        PlanStep(
            plan=plan,
            position=place,
            name=name,
            state="finished" if place <= names.index(step) else "running" if name == step else "waiting",
            began_at=timezone.now() if place <= names.index(step) + 1 else None,
        )
        for place, name in enumerate(names, start=1)
    )
    return DeploymentPlan.objects.select_related("source", "target").get(pk=plan.pk)


def validated(plan, **values):
    """As if validation had ended for the plan as it is."""
    DeploymentPlan.objects.filter(pk=plan.pk).update(
        validation="finished", validated_revision=plan.revision, validated_at=timezone.now(), **values
    )
    plan.refresh_from_db()
    return plan


def operation(plan, application):
    return PlanOperation.objects.get(plan=plan, application_key=application.key)
