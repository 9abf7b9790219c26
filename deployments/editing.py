"""Plans as people make and change them, until they are started."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from audit import log
from deployments import states
from deployments.choices import Choice, choice_of, keep_settings, prepared, refuse_removed, sealed, selection, store
from deployments.locking import PlanRefused, changing, lock, locked, refuse_closed, refuse_maintenance
from deployments.models import DeploymentPlan, PlanStatus, ValidationStatus
from deployments.models.plan import LABEL_LENGTH, NOTES_LENGTH
from environments import gate
from environments.models import Environment
from environments.operations import Operation

KEPT_FOR = timedelta(days=30)  # drafts, and the settings of aborted plans, which a retry takes over
DISCARDED_AT_ONCE = 100


def create(
    source: Environment | None,
    target: Environment,
    *,
    by: log.Actor,
    label: str = "",
    notes: str = "",
    choices: Sequence[Choice] = (),
) -> DeploymentPlan:
    """A new draft. Raises ValidationError (label, notes, choices) and gate.Refused."""
    if source is not None and source.pk == target.pk:
        raise PlanRefused("Source and target are the same environment; choose two.")
    operations = prepared(source, target, choices)
    with transaction.atomic():
        plan = DeploymentPlan(
            number=_next_number(),
            label=_clean_label(label),
            notes=_clean_notes(notes),
            source=source,
            target=target,
            created_by=by.name,
            created_by_username=by.username,
        )
        plan.save()
        store(plan, operations)
        whence = f"from '{source}' " if source else ""
        entry = log.Entry(
            message=f"Created deployment plan '{plan.audit_object.name}' {whence}to '{target}'",
            on=plan.audit_object,
            by=by,
            details={"source": source.name if source else "", "target": target.name},
        )
        entries = [entry, *(selection(plan, operation, by) for operation in operations)]
        environments = lock([source.pk, target.pk] if source else [target.pk])  # nobody else sees the plan so far
        refuse_closed(environments.values(), Operation.DEPLOY)
        refuse_removed(operations)
        plan.source, plan.target = environments[source.pk] if source else None, environments[target.pk]
        log.record_all(entries)
    return plan


def save(
    plan: DeploymentPlan, *, by: log.Actor, revision: int, label: str | None = None, notes: str | None = None
) -> DeploymentPlan:
    """Keep the plan for others to see and run, with its label and notes where they are given."""
    with changing(plan, revision) as plan:
        before = (plan.label, plan.notes)
        plan.label = plan.label if label is None else _clean_label(label)
        plan.notes = plan.notes if notes is None else _clean_notes(notes)
        is_asked_for = label is None and notes is None
        if not is_asked_for and not plan.is_draft and (plan.label, plan.notes) == before:
            return plan  # who only passes by has saved nothing
        note_saved(plan, by)
        plan.save(update_fields=["label", "notes", *SAVED])
        log.record(f"Saved deployment plan '{plan.audit_object.name}'", plan.audit_object, by=by)
    return plan


def change(plan: DeploymentPlan, choices: Sequence[Choice], *, by: log.Actor, revision: int) -> DeploymentPlan:
    """Replace what the plan does. What validation had found is outdated then."""
    # Read and prepared before the locks: whatever changes operations of a saved plan raises its revision.
    before = list(plan.operations.order_by("position", "pk"))
    operations = prepared(plan.source, plan.target, choices)
    known = {selection(plan, one, by).message for one in before}
    entries = [entry for one in operations if (entry := selection(plan, one, by)).message not in known]
    left = {one.application_key for one in operations}
    entries += [
        log.Entry(
            message=f"Removed application '{name}' from deployment plan '{plan.audit_object.name}'",
            on=plan.audit_object,
            by=by,
        )
        for name in sorted(one.application_name for one in before if one.application_key not in left)
    ]
    with changing(plan, revision) as plan:
        refuse_removed(operations)
        store(plan, operations, before)
        _outdate(plan)
        if entries:
            log.record_all(entries)
    return plan


def change_target(plan: DeploymentPlan, target: Environment, *, by: log.Actor, revision: int) -> DeploymentPlan:
    """Deploy the same to another environment."""
    if target.pk == plan.source_id:
        raise PlanRefused("Source and target are the same environment; choose two.")
    before = list(plan.operations.order_by("position", "pk"))
    operations = prepared(plan.source, target, [choice_of(operation) for operation in before])
    with changing(plan, revision, also=[target.pk]) as plan:
        former, plan.target = plan.target, target
        plan.save(update_fields=["target"])
        store(plan, operations, before)
        _outdate(plan)
        log.record(
            f"Changed the target of deployment plan '{plan.audit_object.name}' from '{former}' to '{target}'",
            plan.audit_object,
            by=by,
        )
    return plan


def set_settings(
    plan: DeploymentPlan, documents: Mapping[UUID, dict[str, Any]], *, by: log.Actor, revision: int
) -> DeploymentPlan:
    """Settings to apply with the deployment, by application key: bodies of the Environment API's PUT settings."""
    texts = sealed(documents)
    with changing(plan, revision) as plan:
        if not texts:
            return plan
        names = ", ".join(keep_settings(plan, texts))
        _note_edit(plan)
        log.record(
            f"Configured settings of {names} in deployment plan '{plan.audit_object.name}'", plan.audit_object, by=by
        )
    return plan


def select_dependents(plan: DeploymentPlan, application_keys: Collection[UUID], *, by: log.Actor) -> DeploymentPlan:
    """Which applications of the target are republished with the plan."""
    with changing(plan, None) as plan:
        changed = [
            one
            for one in plan.dependents.order_by("application_name", "pk")
            if one.is_selected != (one.application_key in application_keys)
        ]
        if not changed:
            return plan
        for is_selected in (True, False):
            other = [one.pk for one in changed if one.is_selected != is_selected]
            plan.dependents.filter(pk__in=other).update(is_selected=is_selected)
        _note_edit(plan)
        name = plan.audit_object.name
        messages = [
            f"Left out '{one.application_name}' from what deployment plan '{name}' republishes"
            if one.is_selected
            else f"Added '{one.application_name}' to what deployment plan '{name}' republishes"
            for one in changed
        ]
        log.record_all([log.Entry(message=message, on=plan.audit_object, by=by) for message in messages])
    return plan


def relabel(plan: DeploymentPlan, label: str, *, by: log.Actor) -> DeploymentPlan:
    """Call the plan otherwise, whatever its state."""
    label = _clean_label(label)
    with locked(plan) as plan:
        refuse_closed(plan.environments, Operation.OPERATE_PLANS)
        before, plan.label = plan.label, label
        plan.save(update_fields=["label"])
        log.record(
            f"Relabelled deployment plan '{plan.audit_object.name}' from '{before}' to '{label}'",
            plan.audit_object,
            by=by,
        )
    return plan


def discard(plan: DeploymentPlan, *, by: log.Actor) -> None:
    """Forget a plan that has not been started."""
    with locked(plan) as plan:
        refuse_maintenance(plan.environments, Operation.OPERATE_PLANS)
        if plan.status != PlanStatus.SAVED:
            raise states.WrongState(f"Only a plan that has not been started can be discarded: {states.told(plan)}")
        _forget(plan, by=by)


def _forget(plan: DeploymentPlan, *, by: log.Actor, reason: str = "") -> None:
    entry = log.Entry(
        message=f"Discarded deployment plan '{plan.audit_object.name}'",
        on=plan.audit_object,
        by=by,
        reason=reason,
        details={"label": plan.label, "target": plan.target.name},
    )
    plan.delete()
    log.record_all([entry])


# What nobody needs any more


EMPTY_SETTINGS = """
UPDATE deployments_planoperation o SET sealed_settings_text = '' FROM deployments_deploymentplan p
WHERE p.id = o.plan_id AND o.sealed_settings_text <> '' AND (p.status LIKE 'finished%%'
    OR (p.status = 'aborted' AND p.ended_at < clock_timestamp() - make_interval(days => %s)))
"""


def prune() -> None:
    """Discard drafts that nobody has saved in 30 days, and empty the settings of plans that have ended."""
    long_ago = timezone.now() - KEPT_FOR
    drafts = DeploymentPlan.objects.drafts().filter(created_at__lt=long_ago).exclude(validated_at__gte=long_ago)
    is_open = (Q(source=None) | Q(source__maintenance_window=None)) & Q(target__maintenance_window=None)
    for draft in drafts.filter(is_open).order_by("pk")[:DISCARDED_AT_ONCE]:
        with suppress(gate.Refused), locked(draft) as plan:
            refuse_maintenance(plan.environments, Operation.OPERATE_PLANS)
            if plan.is_draft:
                _forget(plan, by=log.SYSTEM, reason=f"Nobody has saved it in {KEPT_FOR.days} days.")
    with connection.cursor() as cursor:
        cursor.execute(EMPTY_SETTINGS, [KEPT_FOR.days])


# What edits have in common


SAVED = ("saved_at", "saved_by", "saved_by_username")


def note_saved(plan: DeploymentPlan, by: log.Actor) -> None:
    plan.saved_at, plan.saved_by, plan.saved_by_username = timezone.now(), by.name, by.username


def _outdate(plan: DeploymentPlan) -> None:
    """An edit of what the plan does: what validation found is about another plan."""
    plan.revision += 1
    plan.validation, plan.validation_message = ValidationStatus.NONE, ""
    plan.save(update_fields=["revision", "validation", "validation_message"])


def _note_edit(plan: DeploymentPlan) -> None:
    """An edit of what does not matter to validation: what is known, or being found out, stays about this plan."""
    if plan.validated_revision == plan.revision:
        plan.validated_revision += 1
    plan.revision += 1
    plan.save(update_fields=["revision", "validated_revision"])


def _clean_label(text: str) -> str:
    label = " ".join(text.split())
    if len(label) > LABEL_LENGTH:
        raise ValidationError({"label": f"Keep the label to {LABEL_LENGTH} characters."})
    return label


def _clean_notes(text: str) -> str:
    notes = text.strip().replace("\x00", "")
    if len(notes) > NOTES_LENGTH:
        raise ValidationError({"notes": f"Keep the notes to {NOTES_LENGTH:,} characters."})
    return notes


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('deployments_plan_number')")
        return int(cursor.fetchone()[0])
