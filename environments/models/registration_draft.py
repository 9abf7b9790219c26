from django.db import models

from environments.models.environment import Environment


class RegistrationDraft(models.Model):
    """What the check read and people chose for a proposed environment: applied when it is registered, then forgotten.

    `people` are those whom the environment knows: username, name, email, is_active, role (a name). `levels` are by
    role key, `choices` by the id of the newcomer; what nobody chose has its default.
    """

    environment = models.OneToOneField(Environment, on_delete=models.CASCADE, primary_key=True, related_name="draft")
    people = models.JSONField(default=list, blank=True)
    people_message = models.CharField(max_length=500, blank=True, help_text="Why its people are not known.")
    people_left_out = models.PositiveIntegerField(default=0, help_text="Further people, who were not kept.")
    levels = models.JSONField(default=dict, blank=True)
    choices = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        return f"Registration of {self.environment}"
