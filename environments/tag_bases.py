"""What a tag can be made of beside the application as it is: an older version, and modules of other versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import F

from environments import versions
from environments.models import Application, ApplicationVersion, Environment, ModuleStatus, ModuleVersion
from environments.models.application import ApplicationKind

BASES_OFFERED = 100  # the newest
PICKED_FROM = 30  # the newest, for single modules
PICKABLE = 100  # modules; with more, nobody picks one by one
NOW = "as it is now"


@dataclass(frozen=True, kw_only=True)
class ModuleChoices:
    """A module with the versions of it that may be picked: version key and where it is from."""

    key: UUID
    name: str
    versions: Sequence[tuple[str, str]]


def offered(application: Application) -> list[ApplicationVersion]:
    """The versions that a tag can be based on, newest first: those of which the console knows what is in them."""
    known = application.versions.exclude(created_at=None)
    return list(known.order_by(F("created_at").desc(), "-pk")[:BASES_OFFERED])


def modules(
    environment: Environment,
    application: Application,
    bases: Sequence[ApplicationVersion],
    base: ApplicationVersion | None,
) -> list[ModuleChoices]:
    """The modules that may be picked from other versions than the base has, or than the application has now."""
    if application.kind != ApplicationKind.WEB or are_too_many(environment, application):
        return []
    bases = [one for number, one in enumerate(bases) if number < PICKED_FROM or one == base]
    present = ModuleStatus.objects.filter(environment=environment, module__application=application)
    now = {
        key: (name, version)
        for key, name, version in present.values_list("module__key", "module__name", "version_key")
        if version is not None
    }
    found: dict[UUID, dict[UUID, str]] = {}
    names = {key: name for key, (name, _) in now.items()}
    held: dict[UUID, UUID] = {} if base else {key: version for key, (_, version) in now.items()}
    numbers = {one.pk: one.version for one in sorted(bases, key=lambda one: versions.order(one.version))}
    told = ModuleVersion.objects.filter(application_version__in=list(numbers))
    for version_id, key, name, version in sorted(
        told.values_list("application_version", "module_key", "name", "version_key"),
        key=lambda row: versions.order(numbers[row[0]]),
    ):
        names.setdefault(key, name)
        found.setdefault(key, {}).setdefault(version, f"as in {numbers[version_id]}")
        if base and version_id == base.pk:
            held[key] = version
    for key, (_, version) in now.items():
        found.setdefault(key, {}).setdefault(version, NOW)
    choices = [
        ModuleChoices(
            key=key,
            name=names[key],
            versions=[(str(one), label) for one, label in reversed(of_module.items()) if one != held.get(key)],
        )
        for key, of_module in found.items()
    ]
    return sorted((one for one in choices if one.versions), key=lambda one: (one.name.casefold(), str(one.key)))


def are_too_many(environment: Environment, application: Application) -> bool:
    """Whether the application has more modules than anybody picks one by one."""
    present = ModuleStatus.objects.filter(environment=environment, module__application=application)
    return present.order_by()[: PICKABLE + 1].count() > PICKABLE


def clean_base(application: Application, key: UUID | None) -> ApplicationVersion | None:
    """The version to begin from; ValidationError when the application has none such."""
    if key is None:
        return None
    base = application.versions.filter(key=key).exclude(created_at=None).first()
    if base is None:
        raise ValidationError({"base_version": f"The console knows no such version of {application}; read them first."})
    return base


def clean_picks(environment: Environment, application: Application, picks: Mapping[str, str]) -> list[dict[str, str]]:
    """The picks as the environment takes them; ValidationError for what no version of the application has."""
    if not picks:
        return []
    if application.kind != ApplicationKind.WEB:
        raise ValidationError("Single modules are picked in web applications only.")
    wanted = {(_key(module), _key(version)) for module, version in picks.items()}
    keys = [version for _, version in wanted]
    tagged = ModuleVersion.objects.filter(application_version__application=application, version_key__in=keys)
    present = ModuleStatus.objects.filter(
        environment=environment, module__application=application, version_key__in=keys
    )
    known = {*tagged.values_list("module_key", "version_key"), *present.values_list("module__key", "version_key")}
    if wanted - known:
        raise ValidationError(f"No version of {application} that the console knows has a module that was picked.")
    return [
        {"module_key": str(module), "version_key": str(version)}
        for module, version in sorted(wanted, key=lambda pair: str(pair[0]))
    ]


def _key(text: str) -> UUID:
    try:
        return UUID(str(text))
    except ValueError:
        raise ValidationError("A picked module is named by no key.") from None
