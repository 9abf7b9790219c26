"""Support staff see levels, teams, roles on applications and service accounts in Django admin."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

GROUP = "Support staff"
VIEWED = [
    "applicationrole",
    "rolelevel",
    "serviceaccount",
    "servicetoken",
    "team",
    "teamapplication",
    "teammembership",
]


def permissions(apps):
    app = apps.get_app_config("lifetime")
    if not getattr(app, "models_module", None):
        app.models_module = True  # a migration's apps are stubs; permissions are made only for apps with models
    create_permissions(app, apps=apps, verbosity=0)
    found = apps.get_model("auth", "Permission").objects.filter(content_type__app_label="lifetime")
    return found.filter(codename__in=[f"view_{model}" for model in VIEWED])


def grant(apps, schema_editor):
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=GROUP)
    group.permissions.add(*permissions(apps))


def withdraw(apps, schema_editor):
    for group in apps.get_model("auth", "Group").objects.filter(name=GROUP):
        group.permissions.remove(*permissions(apps))


class Migration(migrations.Migration):
    dependencies = [
        ("lifetime", "0005_shared_usernames"),
        ("environments", "0004_support_staff"),
    ]

    operations = [migrations.RunPython(grant, withdraw)]
