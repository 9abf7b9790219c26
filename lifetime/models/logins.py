"""Failed log-ins, counted in the database so that every web process sees the same count."""

from django.db import models


class LoginCounter(models.Model):
    """Failed log-ins of one subject: an address, or a username from an address.

    Usernames are kept as typed, known or not, so that nothing tells whether a user exists.
    """

    address = models.CharField(max_length=64)
    username = models.CharField(max_length=150, blank=True, help_text="Empty: all log-ins from the address.")
    failures = models.PositiveIntegerField(default=0)
    counting_since = models.DateTimeField()
    last_failed_at = models.DateTimeField()
    blocked_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "failed log-ins"
        verbose_name_plural = "failed log-ins"
        constraints = [
            models.UniqueConstraint(fields=["address", "username"], name="login_counter_subject_unique"),
        ]
        indexes = [models.Index(fields=["last_failed_at"], name="login_counter_last_failed_at")]

    def __str__(self) -> str:
        return f"{self.username} from {self.address}" if self.username else self.address
