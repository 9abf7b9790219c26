import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0006_versions"),
    ]

    operations = [
        migrations.CreateModel(
            name="ApplicationTask",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("tag", "Tagging a version"),
                            ("read_versions", "Reading the versions"),
                            ("read_settings", "Reading the settings"),
                            ("change_settings", "Changing the settings"),
                            ("read_logs", "Reading the logs"),
                            ("read_templates", "Reading the templates"),
                            ("create", "Creating an application"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("finished", "Finished"),
                            ("failed", "Failed"),
                            ("aborted", "Aborted"),
                        ],
                        default="queued",
                        max_length=20,
                    ),
                ),
                ("requested_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("requested_by", models.CharField(max_length=200)),
                ("actor", models.JSONField(default=dict)),
                ("started_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("message", models.CharField(blank=True, db_default="", max_length=500)),
                ("parameters", models.JSONField(default=dict)),
                ("sealed_secrets", models.TextField(blank=True, default="", editable=False)),
                ("result", models.JSONField(null=True)),
                (
                    "application",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tasks",
                        to="environments.application",
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="application_tasks",
                        to="environments.environment",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["application", "environment", "kind", "-id"], name="application_task_history")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ("queued", "running"))),
                        fields=("environment", "application", "kind"),
                        name="application_task_one_active",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at__isnull", True), ("status__in", ("queued", "running"))),
                            models.Q(
                                models.Q(("status__in", ("queued", "running")), _negated=True),
                                ("ended_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="application_task_ended_has_instant",
                    ),
                ],
            },
        ),
    ]
