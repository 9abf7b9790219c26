"""The schedule that takes up what nobody has in hand; nothing finer depends on it."""

from django.db import migrations

TASK = "deployments.tasks.tick"


def create(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.update_or_create(
        name="Look after deployment plans", defaults={"func": TASK, "schedule_type": "I", "minutes": 1, "repeats": -1}
    )


def remove(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(func=TASK).delete()


class Migration(migrations.Migration):
    dependencies = [("deployments", "0005_plan_list"), ("django_q", "0018_task_success_index")]
    operations = [migrations.RunPython(create, remove)]
