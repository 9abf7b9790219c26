"""Old entries are deleted once a day, at 07:30 of the database's clock as in LifeTime."""

from datetime import UTC, datetime, timedelta

from django.db import migrations

TASK = "audit.tasks.prune"


def create(apps, schema_editor):
    at = datetime.now(UTC).replace(hour=7, minute=30, second=0, microsecond=0) + timedelta(days=1)
    apps.get_model("django_q", "Schedule").objects.update_or_create(
        name="Audit retention", defaults={"func": TASK, "schedule_type": "D", "repeats": -1, "next_run": at}
    )


def remove(apps, schema_editor):
    apps.get_model("django_q", "Schedule").objects.filter(func=TASK).delete()


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_chain_head"), ("django_q", "0018_task_success_index")]
    operations = [migrations.RunPython(create, remove)]
