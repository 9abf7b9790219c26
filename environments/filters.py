"""Environment filters: a person's own named sets of environments. They decide what pages list, and nothing else."""

from collections.abc import Collection, Sequence

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from environments.models import Environment, EnvironmentFilter
from lifetime.models import User

FEWEST = 2
MOST = 50  # filters of one person


def of(user: User) -> list[EnvironmentFilter]:
    """The person's filters by name, the environments with them."""
    return list(user.environment_filters.prefetch_related("environments").order_by("name", "pk"))


def chosen(filters: Sequence[EnvironmentFilter], wanted: str) -> EnvironmentFilter | None:
    """The filter with this key; without a key the default one; none for "all" or a key that is not the person's."""
    if not wanted:
        return next((one for one in filters if one.is_default), None)
    return next((one for one in filters if str(one.key) == wanted), None)


def save(
    found: EnvironmentFilter, *, name: str, environments: Collection[Environment], is_default: bool
) -> EnvironmentFilter:
    """Create or change a filter of `found.user`; raises ValidationError."""
    if len({one.pk for one in environments}) < FEWEST:
        raise ValidationError({"environments": "Choose at least two environments."})
    try:
        with transaction.atomic():
            User.objects.select_for_update(no_key=True).get(pk=found.user_id)  # one default, whoever saves at once
            others = EnvironmentFilter.objects.filter(user=found.user_id).exclude(pk=found.pk)
            if found.pk is None and others.count() >= MOST:
                raise ValidationError(f"You have {MOST} filters already; delete one first.")
            if is_default:
                others.update(is_default=False)
            found.name, found.is_default = name, is_default
            found.save()
            found.environments.set(environments)
    except IntegrityError:
        raise ValidationError({"name": "You have another filter of this name."}) from None
    return found


def delete(found: EnvironmentFilter) -> None:
    found.delete()
