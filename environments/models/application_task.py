import uuid
from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from audit.log import Actor
from environments.models.application import Application
from environments.models.environment import Environment
from environments.models.sealed import SealedText


class TaskKind(models.TextChoices):
    TAG = "tag", "Tagging a version"
    READ_VERSIONS = "read_versions", "Reading the versions"
    REMOVE_VERSION = "remove_version", "Removing a version"
    READ_SETTINGS = "read_settings", "Reading the settings"
    CHANGE_SETTINGS = "change_settings", "Changing the settings"
    READ_SECURITY = "read_security", "Reading the security settings"
    CHANGE_SECURITY = "change_security", "Changing the security settings"
    READ_LOGS = "read_logs", "Reading the logs"
    READ_TEMPLATES = "read_templates", "Reading the templates"
    CREATE = "create", "Creating an application"
    CREATE_PLUGIN = "create_plugin", "Creating a plugin"
    READ_BLOCKED = "read_blocked", "Reading blocked addresses"
    UNBLOCK = "unblock", "Unblocking an address"
    READ_DATABASES = "read_databases", "Reading database connections"
    SAVE_DATABASE = "save_database", "Saving a database connection"
    DELETE_DATABASE = "delete_database", "Deleting a database connection"
    TEST_DATABASE = "test_database", "Testing a database connection"


class TaskStatus(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    ABORTED = "aborted", "Aborted"


ACTIVE = (TaskStatus.QUEUED, TaskStatus.RUNNING)


class ApplicationTaskQuerySet(models.QuerySet["ApplicationTask"]):
    def active(self) -> "ApplicationTaskQuerySet":
        return self.filter(status__in=ACTIVE)

    def removing(self, versions: Iterable[uuid.UUID]) -> "ApplicationTaskQuerySet":
        """Removals of these versions that are under way. Whoever is about to use one looks, under a lock that those
        take who ask for a removal: the environment's or the application's."""
        keys = [str(key) for key in versions]
        removals = self.active().filter(kind=TaskKind.REMOVE_VERSION, parameters__version_key__in=keys)
        return removals.select_related("application")

    def newest_first(self) -> "ApplicationTaskQuerySet":
        return self.order_by("-pk")


class ApplicationTask(models.Model):
    """One piece of remote work on an application in one environment: queued, claimed by one worker, ended once.

    What it makes gets the task's own key, so an environment that is asked twice makes it once.
    """

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=TaskKind.choices)
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="application_tasks")
    application = models.ForeignKey(Application, on_delete=models.CASCADE, null=True, related_name="tasks")
    status = models.CharField(max_length=20, choices=TaskStatus.choices, default=TaskStatus.QUEUED)
    requested_at = models.DateTimeField(db_default=Now())
    requested_by = models.CharField(max_length=200)
    actor = models.JSONField(default=dict)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    message = models.CharField(max_length=500, blank=True, db_default="")
    parameters = models.JSONField(default=dict)
    sealed_secrets = models.TextField(blank=True, default="", editable=False)
    secrets = SealedText()
    result = models.JSONField(null=True)

    objects = ApplicationTaskQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "application", "kind"],
                condition=Q(status__in=ACTIVE),
                name="application_task_one_active",
            ),
            models.CheckConstraint(
                condition=Q(status__in=ACTIVE, ended_at__isnull=True)
                | (~Q(status__in=ACTIVE) & Q(ended_at__isnull=False)),
                name="application_task_ended_has_instant",
            ),
        ]
        indexes = [models.Index(fields=["application", "environment", "kind", "-id"], name="application_task_history")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.pk}"

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def removal(self) -> str:
        """Of a removal of a version: what is done since when by whom, in words."""
        version = f"version {self.parameters['version']} of {self.application}"
        return f"{self.requested_by} is removing {version} since {self.requested_at:%d %b %H:%M} UTC."

    @property
    def by(self) -> Actor:
        """Who asked for it, for the audit log."""
        known: dict[str, Any] = self.actor
        key = uuid.UUID(known["key"]) if known.get("key") else None
        return Actor(name=self.requested_by, username=known.get("username", ""), key=key, address=known["address"])
