"""Technical Preview features: what environments offer, and which of it is enabled where.

Availability is pulled, the choice is delivered, both by synchronization. Everything is off until somebody enables it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.db import transaction

from audit import log
from environments import gate, sync
from environments.models import Environment, TechnicalPreview
from environments.operations import Operation, refusal


@dataclass(frozen=True, kw_only=True)
class Place:
    """A feature in one environment, or why it is not to be had there."""

    environment: Environment
    is_enabled: bool = False
    is_available: bool = False

    @property
    def requirement(self) -> str:
        """What the environment lacks; "" when the requirements are met."""
        if self.is_available:
            return ""
        if self.environment.sync_state.synchronized_at is None:
            return "Not known yet: it was never synchronized."
        version = self.environment.version
        return f"Not offered by platform {version}." if version else "Not offered by this environment."


@dataclass(frozen=True, kw_only=True)
class Feature:
    key: str
    name: str
    description: str
    places: list[Place] = field(default_factory=list)

    @property
    def met(self) -> int:
        """In how many environments the requirements are met."""
        return sum(place.is_available for place in self.places)


def features() -> list[Feature]:
    """Every feature that an environment offers, or still has enabled, with all environments in order; two queries."""
    environments = list(Environment.objects.registered().in_order().select_related("maintenance_window", "sync_state"))
    rows = TechnicalPreview.objects.filter(environment__in=environments).order_by("key", "environment")
    known: dict[str, dict[int, TechnicalPreview]] = {}
    for row in rows:
        if row.is_available or row.is_enabled:
            known.setdefault(row.key, {})[row.environment_id] = row
    found = []
    for key, places in known.items():
        first = next(iter(places.values()))
        shown = [_place(environment, places.get(environment.pk)) for environment in environments]
        found.append(Feature(key=key, name=first.name, description=first.description, places=shown))
    return sorted(found, key=lambda feature: (feature.name.casefold(), feature.key))


def _place(environment: Environment, row: TechnicalPreview | None) -> Place:
    if row is None:
        return Place(environment=environment)
    return Place(environment=environment, is_enabled=row.is_enabled, is_available=row.is_available)


def change(wanted: Mapping[tuple[int, str], bool], *, by: log.Actor) -> int:
    """Enable and disable features, by environment id and feature key: all of it, or nothing when one is refused.

    One audit entry per toggle; environments are synchronized. Returns how many changed. Raises gate.InMaintenance,
    gate.NotRegistered and ValidationError.
    """
    with transaction.atomic():
        ids = {environment_id for environment_id, _ in wanted}
        environments = {one.pk: one for one in Environment.objects.filter(pk__in=ids).lock()}
        for environment in environments.values():
            if reason := refusal(environment, Operation.TOGGLE_TECHNICAL_PREVIEWS):
                raise gate.InMaintenance(reason)
            if not environment.is_registered:
                raise gate.NotRegistered(f"{environment} is not registered.")
        rows = TechnicalPreview.objects.select_for_update().filter(environment__in=ids).order_by("pk")
        known = {(row.environment_id, row.key): row for row in rows}
        changed: list[TechnicalPreview] = []
        for (environment_id, key), enabled in wanted.items():
            row = known.get((environment_id, key))
            if row is None or (enabled and not row.is_available):
                raise ValidationError(f"{environments[environment_id]} does not offer the feature {key}.")
            if row.is_enabled != enabled:
                row.is_enabled = enabled
                changed.append(row)
        if changed:
            TechnicalPreview.objects.bulk_update(changed, ["is_enabled"])
            sync.deliver({row.environment_id: environments[row.environment_id] for row in changed}.values())
            log.record_all([_entry(row, environments[row.environment_id], by) for row in changed])
    return len(changed)


def _entry(row: TechnicalPreview, environment: Environment, by: log.Actor) -> log.Entry:
    what = "Enabled" if row.is_enabled else "Disabled"
    return log.Entry(
        message=f"{what} Technical Preview feature '{row.name}' in environment '{environment}'",
        on=environment.audit_object,
        by=by,
        details={"part": "technical_previews", "feature": row.key, "enabled": row.is_enabled},
    )
