from django.db import models

from environments.models.application import Application
from environments.models.environment import Environment


class ApplicationSecurity(models.Model):
    """The security settings that an application has of its own in one environment, as that last told them."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="security")
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="+")
    document = models.JSONField(default=dict)
    digest = models.CharField(max_length=100, blank=True)
    read_at = models.DateTimeField()

    class Meta:
        verbose_name = verbose_name_plural = "application security"
        constraints = [
            models.UniqueConstraint(fields=["application", "environment"], name="application_security_once"),
        ]

    def __str__(self) -> str:
        return f"{self.application} in {self.environment}"
