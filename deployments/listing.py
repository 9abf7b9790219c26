"""Finding deployment plans: which a person sees, by filter and words, newest first; the latest of each target.

Pages go by number (keyset), counts stop at 250, words are looked up in an index: a hundred thousand plans cost
what fifty do.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from deployments.models import DeploymentPlan, Information, OperationKind, PlanOperation, PlanStatus
from deployments.models.plan import IN_PROGRESS
from environments.models import Environment
from lifetime.models import Level
from lifetime.permissions import Permissions

SIZE = 50
COUNTED = 250
NAMED = 3  # applications of a plan in the list
RECENT = 500  # plans among which the newest saved one of a target is looked for
WORDS = 8
CONCERNING = 5  # plans on the page of an environment or an application
DRAFT = Q(status=PlanStatus.SAVED, saved_at__isnull=True)
LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What is looked for. Instants are those of `by_start` or of creation."""

    target: UUID | None = None
    status: str = ""
    by_start: bool = False
    since: datetime | None = None
    until: datetime | None = None
    drafts: bool = False
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A plan with what the list tells of it: how many applications it deploys, and the first of them."""

    plan: DeploymentPlan
    applications: int
    named: list[PlanOperation]

    @property
    def unnamed(self) -> int:
        return self.applications - len(self.named)


@dataclass(frozen=True, kw_only=True)
class Page:
    entries: list[Entry]
    older: int | None  # there are plans with lower numbers than this one
    total: str
    is_newest: bool


def visible(held: Permissions, environments: Iterable[Environment]) -> QuerySet[DeploymentPlan]:
    """The plans between environments that the person has access to, whose applications they see in one of them."""
    environments = list(environments)
    open_ = [one.pk for one in environments if held.best_level(one) >= Level.ACCESS]
    plans = DeploymentPlan.objects.all()
    if len(open_) < len(environments):
        plans = plans.filter(Q(source__isnull=True) | Q(source__in=open_), target__in=open_)
    hidden = _hidden(held, environments)
    return plans.filter(~Exists(PlanOperation.objects.filter(hidden, plan=OuterRef("pk")))) if hidden else plans


def _hidden(held: Permissions, environments: Collection[Environment]) -> Q | None:
    """The operations whose application the person does not see; nothing when they see all."""
    special = {*held.on_applications, *held.on_team_applications}
    ordinary = [one.pk for one in environments if held.rights(one).level >= Level.LIST]
    if not special and len(ordinary) == len(environments):
        return None
    seen = Q(plan__source__in=ordinary) | Q(plan__target__in=ordinary)
    if not special:
        return ~seen
    granted = Q(pk__in=[])
    for one in environments:
        there = [pk for pk in special if held.level(pk, one) >= Level.LIST]
        granted |= Q(Q(plan__source=one.pk) | Q(plan__target=one.pk), application__in=there)
    is_special = Q(application__in=special, application__isnull=False)
    return (is_special & ~granted) | (~is_special & ~seen)


def page(
    plans: QuerySet[DeploymentPlan],
    wanted: Filter,
    environments: Iterable[Environment],
    *,
    before: int | None = None,
) -> Page:
    """The plans that pass the filter and are older than number `before`, newest first, with these environments."""
    found = _filtered(plans, wanted)
    older = found if before is None else found.filter(number__lt=before)
    rows = list(older.order_by("-number").defer("interventions", "answer")[: SIZE + 1])
    shown = rows[:SIZE]
    by_id = {one.pk: one for one in environments}
    for plan in shown:
        plan.source = by_id[plan.source_id] if plan.source_id else None
        plan.target = by_id[plan.target_id]
    is_whole = before is None and len(rows) <= SIZE
    count = len(shown) if is_whole else found[: COUNTED + 1].count()
    return Page(
        entries=entries(shown),
        older=shown[-1].number if len(rows) > SIZE else None,
        total=f"{count:,}" if count <= COUNTED else f"{COUNTED:,}+",
        is_newest=before is None,
    )


def _filtered(plans: QuerySet[DeploymentPlan], wanted: Filter) -> QuerySet[DeploymentPlan]:
    if wanted.target:
        plans = plans.filter(target__key=wanted.target)
    if wanted.status:
        plans = plans.filter(status=wanted.status)
    instant = "started_at" if wanted.by_start else "created_at"
    if wanted.since:
        plans = plans.filter(**{f"{instant}__gte": wanted.since})
    if wanted.until:
        plans = plans.filter(**{f"{instant}__lt": wanted.until})
    if not wanted.drafts:
        plans = plans.exclude(DRAFT)
    return _with_words(plans, wanted.text.strip()) if wanted.text.strip() else plans


def _with_words(plans: QuerySet[DeploymentPlan], text: str) -> QuerySet[DeploymentPlan]:
    """Plans with this number or key, else with words that begin like these."""
    if re.fullmatch(r"#\d{1,9}", text, re.ASCII):
        return plans.filter(number=int(text[1:]))
    try:
        return plans.filter(key=UUID(text))
    except ValueError:
        pass
    words = re.sub(r"[\W_]+", " ", text).split()[:WORDS]
    if not words:
        return plans.none()
    query = " & ".join(f"'{word}':*" for word in words)
    return plans.filter(text__document=SearchQuery(query, config="simple", search_type="raw"))


def entries(plans: Collection[DeploymentPlan]) -> list[Entry]:
    """With the applications that each deploys, read by one query that brings no more than is shown."""
    place = Window(RowNumber(), partition_by="plan", order_by=["position", "pk"])
    count = Window(Count("pk"), partition_by="plan")
    deployed = PlanOperation.objects.filter(plan__in=plans).exclude(kind=OperationKind.NOTHING)
    first = deployed.annotate(place=place, count=count).filter(place__lte=NAMED)
    shown = ("plan", "application_key", "application_name", "kind", "version_number", "target_version", "position")
    named: dict[int, list[PlanOperation]] = {}
    counts: dict[int, int] = {}
    for operation in first.only(*shown).order_by("plan", "position", "pk"):
        named.setdefault(operation.plan_id, []).append(operation)
        counts[operation.plan_id] = operation.count
    return [Entry(plan=plan, applications=counts.get(plan.pk, 0), named=named.get(plan.pk, [])) for plan in plans]


def latest(
    held: Permissions, targets: Collection[Environment], environments: Collection[Environment]
) -> dict[int, DeploymentPlan]:
    """Of each target the newest plan in progress, else its newest one of late when that is saved; by environment id."""
    seen = visible(held, environments)
    newest: dict[int, int] = {}
    recent = seen.exclude(DRAFT).order_by("-number").values_list("target", "pk", "status")[:RECENT]
    for target, pk, status in recent:
        newest.setdefault(target, pk if status == PlanStatus.SAVED else 0)
    going_on = Q(target__in=targets, status__in=IN_PROGRESS)
    found = seen.filter(going_on | Q(target__in=targets, pk__in=newest.values()))
    plans = sorted(found.defer("notes", "interventions", "answer"), key=lambda one: (one.is_in_progress, one.number))
    return {plan.target_id: plan for plan in plans}


def concerning(
    held: Permissions, *, environment: Environment | None = None, application_key: UUID | None = None
) -> list[Entry]:
    """The newest plans to or from an environment, or with an application."""
    plans = visible(held, Environment.objects.all()).exclude(DRAFT)
    if environment is not None:
        plans = plans.filter(Q(source=environment) | Q(target=environment))
    if application_key is not None:
        with_it = PlanOperation.objects.filter(application_key=application_key).exclude(kind=OperationKind.NOTHING)
        plans = plans.filter(pk__in=with_it.values("plan"))
    return entries(list(plans.select_related("source", "target").order_by("-number")[:CONCERNING]))


@dataclass(frozen=True, kw_only=True)
class Sign:
    """How a plan stands, in a word, a sign and a colour of the style sheet."""

    label: str
    icon: str
    variant: str


SIGNS: Mapping[str, tuple[str, str]] = {
    PlanStatus.SAVED: ("edit", "saved"),
    PlanStatus.RUNNING: ("sync", "running"),
    PlanStatus.NEEDS_USER_INTERVENTION: ("warning", "waiting"),
    PlanStatus.ABORTING: ("stop", "aborting"),
    PlanStatus.ABORTED: ("stop", "failed"),
    PlanStatus.FINISHED_SUCCESSFUL: ("ok", "completed"),
    PlanStatus.FINISHED_WITH_WARNINGS: ("warning", "warned"),
    PlanStatus.FINISHED_WITH_ERRORS: ("failed", "failed"),
}


def sign(plan: DeploymentPlan) -> Sign:
    icon, variant = SIGNS[plan.status]
    label = PlanStatus(plan.status).label
    if plan.is_draft:
        label, variant = "Draft", "draft"
    elif plan.information == Information.PREPARED:
        label, icon, variant = "Prepared", "suspended", "saved"
    elif plan.information:
        label = Information(plan.information).label
    return Sign(label=label, icon=icon, variant=variant)
