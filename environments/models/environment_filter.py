import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from environments.models.environment import Environment


class EnvironmentFilter(models.Model):
    """A person's own named set of at least two environments: pages then show only these."""

    key = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="environment_filters")
    name = models.CharField(max_length=60)
    is_default = models.BooleanField("use it when I open a page", default=False)
    environments = models.ManyToManyField(Environment, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "user",
                Lower("name"),
                name="environment_filter_name_unique",
                violation_error_message="You have a filter of this name.",
            ),
            models.UniqueConstraint(
                fields=["user"], condition=Q(is_default=True), name="environment_filter_one_default"
            ),
        ]

    def __str__(self) -> str:
        return self.name
