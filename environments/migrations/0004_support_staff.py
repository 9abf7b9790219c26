"""Support staff: who looks after the console in Django admin. A group with permissions, not superusers."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

GROUP = "Support staff"
VIEWED = {
    "environments": [
        "application",
        "applicationstatus",
        "contact",
        "environment",
        "maintenancewindow",
        "module",
        "modulestatus",
        "refusedoperation",
        "syncrun",
        "syncstate",
        "technicalpreview",
    ],
    "deployments": ["deploymentplan"],
    "audit": ["anchor", "auditevent"],
    "django_q": ["failure", "ormq", "schedule", "success"],
    "lifetime": ["logincounter", "role", "user"],
}


def create(apps, schema_editor):
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=GROUP)
    permissions = apps.get_model("auth", "Permission").objects
    granted = []
    for label, models in VIEWED.items():
        app = apps.get_app_config(label)
        if not getattr(app, "models_module", None):
            app.models_module = True  # a migration's apps are stubs; permissions are made only for apps with models
        create_permissions(app, apps=apps, verbosity=0)
        granted += permissions.filter(content_type__app_label=label, codename__in=[f"view_{model}" for model in models])
    granted += permissions.filter(content_type__app_label="environments", codename="toggle_maintenance")
    granted += permissions.filter(content_type__app_label="lifetime", codename="delete_logincounter")
    group.permissions.set(granted)


def remove(apps, schema_editor):
    apps.get_model("auth", "Group").objects.filter(name=GROUP).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0003_tick"),
        ("deployments", "0001_plans"),
        ("audit", "0003_chain_head"),
        ("lifetime", "0003_login_counters"),
        ("django_q", "0018_task_success_index"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(create, remove)]
