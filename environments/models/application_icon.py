from django.db import models
from django.db.models.functions import Now


class ApplicationIcon(models.Model):
    """The picture of an application. It may be there before the application: that is created with its key."""

    application_key = models.UUIDField(unique=True)
    digest = models.CharField(max_length=64)
    media_type = models.CharField(max_length=20)
    content = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.media_type} {self.digest[:12]}"
