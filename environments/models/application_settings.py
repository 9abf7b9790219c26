from django.db import models

from environments.models.application import Application
from environments.models.environment import Environment


class ApplicationSettings(models.Model):
    """The settings of an application as one environment last told them; it shows its secrets as `***`."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="settings")
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="+")
    document = models.JSONField(default=dict)
    digest = models.CharField(max_length=100, blank=True)
    read_at = models.DateTimeField()

    class Meta:
        verbose_name = verbose_name_plural = "application settings"
        constraints = [
            models.UniqueConstraint(fields=["application", "environment"], name="application_settings_once"),
        ]

    def __str__(self) -> str:
        return f"{self.application} in {self.environment}"
