from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class LifetimeConfig(AppConfig):
    default = True
    name = "lifetime"
    verbose_name = "People"
    default_auto_field = "django.db.models.BigAutoField"


class AdminConfig(admin_apps.AdminConfig):
    """Django admin with the console's own log-in."""

    default = False
    default_site = "lifetime.admin_site.ConsoleAdminSite"
