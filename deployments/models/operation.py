import json
import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from deployments.models.plan import DeploymentPlan
from environments.models.sealed import SealedText


class OperationKind(models.TextChoices):
    DEPLOY = "deploy", "Deploy"
    TAG_AND_DEPLOY = "tag_and_deploy", "Tag & Deploy"
    CUSTOM = "custom", "Deploy Custom"
    NOTHING = "nothing", "Do Nothing"


class PlanOperation(models.Model):
    """What a plan does with one application. Names and numbers are copied: applications and versions may go.

    `key` is what a tag made for it gets, so a source that is asked twice tags once.
    """

    plan = models.ForeignKey(DeploymentPlan, on_delete=models.CASCADE, related_name="operations")
    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    position = models.PositiveIntegerField(default=0)
    application = models.ForeignKey(
        "environments.Application", on_delete=models.SET_NULL, null=True, related_name="plan_operations"
    )
    application_key = models.UUIDField()
    application_name = models.CharField(max_length=120)
    kind = models.CharField(max_length=20, choices=OperationKind.choices)
    version = models.ForeignKey(
        "environments.ApplicationVersion", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    version_key = models.UUIDField(null=True, blank=True, help_text="Of the version to deploy; once tagged, of that.")
    version_number = models.CharField(max_length=40, blank=True)
    change_log = models.TextField(blank=True)
    base_version_key = models.UUIDField(null=True, blank=True)
    module_picks = models.JSONField(default=dict, blank=True)
    mobile_versions = models.JSONField(default=list, blank=True, help_text="Of the tag, one a platform.")
    zone_key = models.CharField(max_length=100, blank=True)
    sealed_settings_text = models.TextField(blank=True, editable=False)
    settings_text = SealedText()
    is_dependency = models.BooleanField(default=False, help_text="Added by validation.")
    is_proposed = models.BooleanField(default=True, help_text="As the console proposed it.")
    source_version = models.CharField(max_length=40, blank=True)
    source_is_modified = models.BooleanField(default=False)
    target_version = models.CharField(max_length=40, blank=True)
    target_existed = models.BooleanField(default=False)
    package_digest = models.CharField(max_length=100, blank=True)
    package_bytes = models.BigIntegerField(null=True, blank=True)
    transferred_bytes = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan", "application_key"], name="plan_operation_once"),
            models.CheckConstraint(
                condition=~Q(kind="deploy") | Q(version_key__isnull=False), name="plan_operation_deploys_a_version"
            ),
        ]
        indexes = [models.Index(fields=["application_key"], name="plan_operation_application")]

    def __str__(self) -> str:
        return f"{self.application_name}: {self.described}"

    @property
    def settings(self) -> dict[str, Any]:
        """A body of `PUT /applications/{key}/settings` of the Environment API; {} when there is nothing to set."""
        return dict(json.loads(self.settings_text)) if self.sealed_settings_text else {}

    @settings.setter
    def settings(self, document: dict[str, Any]) -> None:
        self.settings_text = json.dumps(document) if document else ""

    @property
    def is_deployed(self) -> bool:
        return self.kind != OperationKind.NOTHING

    @property
    def is_tagged_first(self) -> bool:
        return self.kind in (OperationKind.TAG_AND_DEPLOY, OperationKind.CUSTOM)

    @property
    def described(self) -> str:
        """In LifeTime's words: Deploy 1.0."""
        label = OperationKind(self.kind).label
        return f"{label} {self.version_number}" if self.version_number and self.is_deployed else label

    @property
    def tag_parameters(self) -> dict[str, Any]:
        """What the source is asked to tag, in the words of its API."""
        picks = [{"module_key": key, "version_key": picked} for key, picked in sorted(self.module_picks.items())]
        return {
            "version": self.version_number,
            "change_log": self.change_log,
            **({"base_version_key": str(self.base_version_key)} if self.base_version_key else {}),
            **({"modules": picks} if picks else {}),
            **({"mobile_versions": self.mobile_versions} if self.mobile_versions else {}),
        }
