from django.apps import AppConfig


class LifetimeConfig(AppConfig):
    name = "lifetime"
    verbose_name = "People"
    default_auto_field = "django.db.models.BigAutoField"
