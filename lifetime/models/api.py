"""What the API keeps: how often each token called, the calls that are not yet in the audit log, and downloads."""

import uuid

from django.db import models
from django.db.models.functions import Now

from environments.models import Environment
from lifetime.models.service_accounts import ServiceAccount, ServiceToken


class ApiQuota(models.Model):
    """The calls of one token in the minute that began at `began_at`. The table is unlogged: a crash forgets it."""

    token = models.OneToOneField(ServiceToken, on_delete=models.CASCADE, primary_key=True, related_name="+")
    began_at = models.DateTimeField()
    used = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.used} calls since {self.began_at:%H:%M:%S}"


class ApiCall(models.Model):
    """A call of a service account, until `lifetime.api.calls.write_down` has brought it into the audit log."""

    account = models.ForeignKey(ServiceAccount, on_delete=models.CASCADE, related_name="+", db_index=False)
    at = models.DateTimeField(db_default=Now())
    method = models.CharField(max_length=10)
    path = models.CharField(max_length=500)
    status = models.PositiveSmallIntegerField()
    took = models.PositiveIntegerField(help_text="Milliseconds.")
    request_id = models.CharField(max_length=64)
    address = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class DownloadKind(models.TextChoices):
    PACKAGE = "package", "Application package"
    SOURCE_CODE = "source_code", "Source code"
    SOLUTION = "solution", "Solution"


class DownloadStatus(models.TextChoices):
    QUEUED = "queued", "Created"
    GATHERING = "gathering", "Gathering Dependencies"
    FETCHING = "fetching", "Getting Binaries"
    PACKING = "packing", "Generating Solution"
    COMPLETED = "completed", "Completed"
    ABORTED = "aborted", "Aborted"


OVER = (DownloadStatus.COMPLETED, DownloadStatus.ABORTED)


class Download(models.Model):
    """A file that a service account asked for: brought by a worker, kept in parts until it expires."""

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=DownloadKind.choices)
    account = models.ForeignKey(ServiceAccount, on_delete=models.CASCADE, related_name="+")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    parameters = models.JSONField(default=dict)
    status = models.CharField(max_length=20, choices=DownloadStatus.choices, default=DownloadStatus.QUEUED)
    message = models.CharField(max_length=500, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=100, blank=True)
    requested_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name

    @property
    def is_over(self) -> bool:
        return self.status in OVER


class DownloadPart(models.Model):
    """A piece of a file; the table is unlogged: after a crash of the database the file is brought once more."""

    download = models.ForeignKey(Download, on_delete=models.CASCADE, related_name="parts", db_index=False)
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["download", "number"], name="download_part_once")]

    def __str__(self) -> str:
        return f"{self.download} {self.number}"
