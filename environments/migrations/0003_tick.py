"""The schedule that wakes synchronization and the sweeper each minute; nothing finer depends on it."""

from django.db import migrations

TASK = "environments.tasks.tick"


def create(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.update_or_create(
        name="Synchronize and sweep", defaults={"func": TASK, "schedule_type": "I", "minutes": 1, "repeats": -1}
    )


def remove(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(func=TASK).delete()


class Migration(migrations.Migration):
    dependencies = [("environments", "0002_maintenance_flag"), ("django_q", "0018_task_success_index")]
    operations = [migrations.RunPython(create, remove)]
