from functools import cached_property

from django.db import models
from django.urls import reverse

from audit.log import AuditObject


class ApplicationKind(models.TextChoices):
    WEB = "WebResponsive", "Web"
    MOBILE = "Mobile", "Mobile"
    SERVICE = "Service", "Service"
    LIBRARY = "Library", "Library"


class Consistency(models.TextChoices):
    FINE = "", "Consistent"
    WARNING = "Warning", "Outdated consumers"
    ERROR = "Error", "Broken references"


class Application(models.Model):
    """An application of the infrastructure; its look is that of the environment where it changed last."""

    key = models.UUIDField(unique=True)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=20, choices=ApplicationKind.choices)
    description = models.TextField(blank=True)
    url_path = models.CharField(max_length=120, blank=True)
    is_system = models.BooleanField(default=False)
    colour = models.CharField(max_length=7, blank=True, default="", db_default="", help_text="Like #1a73e8.")
    changed_at = models.DateTimeField()
    definition_environment = models.ForeignKey(
        "environments.Environment",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Its name and look are those of this environment; empty: of the one where it changed last.",
    )

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("applications:details", args=[self.key])

    @property
    def is_mobile(self) -> bool:
        return self.kind == ApplicationKind.MOBILE

    @cached_property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="application", key=str(self.key), name=self.name)


class Module(models.Model):
    key = models.UUIDField(unique=True)
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="modules")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=20)
    description = models.TextField(blank=True)
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class InEnvironment(models.Model):
    """What an environment last said of something that is published there."""

    version_key = models.UUIDField(null=True)
    is_modified = models.BooleanField(default=False)
    consistency = models.CharField(max_length=10, choices=Consistency.choices, blank=True)
    consistency_message = models.TextField(blank=True)
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=120, blank=True)

    class Meta:
        abstract = True


class ApplicationStatus(InEnvironment):
    environment = models.ForeignKey("environments.Environment", on_delete=models.CASCADE, related_name="applications")
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="statuses")
    version = models.CharField(max_length=40, blank=True, help_text="The tagged version that it is based on.")
    hotfix_solved_at = models.DateTimeField(
        null=True, blank=True, help_text="What was changed there until then is merged, somebody said."
    )

    class Meta:
        verbose_name_plural = "application statuses"
        constraints = [
            models.UniqueConstraint(fields=["environment", "application"], name="application_status_once"),
        ]

    def __str__(self) -> str:
        return f"{self.application} {self.version}"


class ModuleStatus(InEnvironment):
    environment = models.ForeignKey("environments.Environment", on_delete=models.CASCADE, related_name="+")
    module = models.ForeignKey(Module, on_delete=models.CASCADE, related_name="statuses")
    hash = models.CharField(max_length=100, blank=True)

    class Meta:
        verbose_name_plural = "module statuses"
        constraints = [models.UniqueConstraint(fields=["environment", "module"], name="module_status_once")]

    def __str__(self) -> str:
        return str(self.module)
