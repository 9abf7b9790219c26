"""What the REST API keeps. What a crash may forget is in unlogged tables: their writes wait for no disk."""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

SCHEDULES = {
    "Audit of API calls": ("lifetime.api.tasks.write_down_calls", "I"),
    "Expired downloads": ("lifetime.api.tasks.tidy_downloads", "H"),
}


def create(apps, schema_editor):
    for name, (func, kind) in SCHEDULES.items():
        apps.get_model("django_q", "Schedule").objects.update_or_create(
            name=name,
            defaults={"func": func, "schedule_type": kind, "minutes": 1 if kind == "I" else None, "repeats": -1},
        )


def remove(apps, schema_editor):
    funcs = [func for func, _ in SCHEDULES.values()]
    apps.get_model("django_q", "Schedule").objects.filter(func__in=funcs).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0015_contacts_outlive_runs"),
        ("lifetime", "0007_housekeeping"),
        ("django_q", "0018_task_success_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="ApiQuota",
            fields=[
                (
                    "token",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="lifetime.servicetoken",
                    ),
                ),
                ("began_at", models.DateTimeField()),
                ("used", models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="ApiCall",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("method", models.CharField(max_length=10)),
                ("path", models.CharField(max_length=500)),
                ("status", models.PositiveSmallIntegerField()),
                ("took", models.PositiveIntegerField(help_text="Milliseconds.")),
                ("request_id", models.CharField(max_length=64)),
                ("address", models.CharField(blank=True, max_length=64)),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="lifetime.serviceaccount",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Download",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("package", "Application package"),
                            ("source_code", "Source code"),
                            ("solution", "Solution"),
                        ],
                        max_length=20,
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                ("parameters", models.JSONField(default=dict)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Created"),
                            ("gathering", "Gathering Dependencies"),
                            ("fetching", "Getting Binaries"),
                            ("packing", "Generating Solution"),
                            ("completed", "Completed"),
                            ("aborted", "Aborted"),
                        ],
                        default="queued",
                        max_length=20,
                    ),
                ),
                ("message", models.CharField(blank=True, max_length=500)),
                ("size", models.PositiveBigIntegerField(default=0)),
                ("digest", models.CharField(blank=True, max_length=100)),
                ("requested_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("claimed_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="lifetime.serviceaccount"
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="environments.environment"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="DownloadPart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("content", models.BinaryField()),
                (
                    "download",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="lifetime.download",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("download", "number"), name="download_part_once")],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE lifetime_apiquota SET UNLOGGED, SET (fillfactor = 50);"
            "ALTER TABLE lifetime_downloadpart SET UNLOGGED, ALTER COLUMN content SET STORAGE EXTERNAL;",
            migrations.RunSQL.noop,
        ),
        migrations.RunPython(create, remove),
    ]
