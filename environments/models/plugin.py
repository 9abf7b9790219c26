import uuid
from functools import cached_property

from django.db import models
from django.db.models.functions import Lower, Now

from audit.log import AuditObject
from environments.models.application import Application


class Plugin(models.Model):
    """A page that somebody else made for the console: an application of an environment, or any other address."""

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    entry_point = models.CharField(max_length=300)
    developer = models.CharField(max_length=120)
    for_managers_only = models.BooleanField(default=False)
    application = models.ForeignKey(Application, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    registered_at = models.DateTimeField(db_default=Now())
    registered_by = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="plugin_name_unique")]

    def __str__(self) -> str:
        return self.name

    @cached_property
    def audit_object(self) -> AuditObject:
        return AuditObject(type="plugin", key=str(self.key), name=self.name)
