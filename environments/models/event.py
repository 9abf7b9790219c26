from django.db import models
from django.db.models.functions import Now


class EnvironmentEvent(models.Model):
    """An event that an environment sent, kept for some days so that it is taken once."""

    environment = models.ForeignKey("environments.Environment", on_delete=models.CASCADE, related_name="events")
    event_id = models.UUIDField()
    type = models.CharField(max_length=60)
    received_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["environment", "event_id"], name="environment_event_once")]

    def __str__(self) -> str:
        return f"{self.type} of {self.environment}"
