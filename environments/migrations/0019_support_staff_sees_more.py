"""Support staff see what was added to environments and applications since their group was made."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

GROUP = "Support staff"
VIEWED = [
    "applicationblock",
    "applicationicon",
    "applicationsettings",
    "applicationtask",
    "applicationversion",
    "authenticationprovider",
    "environmentevent",
    "environmentfilter",
    "moduleversion",
    "plugin",
    "providertest",
    "registrationdraft",
]


def permissions(apps):
    app = apps.get_app_config("environments")
    if not getattr(app, "models_module", None):
        app.models_module = True  # a migration's apps are stubs; permissions are made only for apps with models
    create_permissions(app, apps=apps, verbosity=0)
    found = apps.get_model("auth", "Permission").objects.filter(content_type__app_label="environments")
    return found.filter(codename__in=[f"view_{model}" for model in VIEWED])


def grant(apps, schema_editor):
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=GROUP)
    group.permissions.add(*permissions(apps))


def withdraw(apps, schema_editor):
    for group in apps.get_model("auth", "Group").objects.filter(name=GROUP):
        group.permissions.remove(*permissions(apps))


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0018_application_looks"),
        ("lifetime", "0006_support_staff"),
    ]

    operations = [migrations.RunPython(grant, withdraw)]
