"""Support staff see what plans do and did."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

GROUP = "Support staff"
VIEWED = {
    "deployments": ["modulereferences", "planfinding", "planline", "planmodule", "planoperation", "planstep"],
}


def permissions(apps):
    found = []
    for label, models in VIEWED.items():
        app = apps.get_app_config(label)
        if not getattr(app, "models_module", None):
            app.models_module = True  # a migration's apps are stubs; permissions are made only for apps with models
        create_permissions(app, apps=apps, verbosity=0)
        of_app = apps.get_model("auth", "Permission").objects.filter(content_type__app_label=label)
        found += of_app.filter(codename__in=[f"view_{model}" for model in models])
    return found


def grant(apps, schema_editor):
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=GROUP)
    group.permissions.add(*permissions(apps))


def withdraw(apps, schema_editor):
    for group in apps.get_model("auth", "Group").objects.filter(name=GROUP):
        group.permissions.remove(*permissions(apps))


class Migration(migrations.Migration):
    dependencies = [
        ("deployments", "0007_uploaded_packages"),
        ("environments", "0004_support_staff"),
    ]

    operations = [migrations.RunPython(grant, withdraw)]
