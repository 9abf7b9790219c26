"""Packages that were uploaded for a plan, until a worker has brought them to the target."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("deployments", "0006_tick"),
    ]

    operations = [
        migrations.CreateModel(
            name="PlanPackage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("application_key", models.UUIDField()),
                ("digest", models.CharField(max_length=100)),
                ("size", models.PositiveBigIntegerField()),
                (
                    "references",
                    models.JSONField(default=dict, help_text="What its modules offer and use, as its manifest says."),
                ),
                ("kept_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "plan",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="packages",
                        to="deployments.deploymentplan",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PlanPackagePart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("content", models.BinaryField()),
                (
                    "package",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="deployments.planpackage",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="planpackage",
            constraint=models.UniqueConstraint(fields=("plan", "application_key"), name="plan_package_once"),
        ),
        migrations.AddConstraint(
            model_name="planpackagepart",
            constraint=models.UniqueConstraint(fields=("package", "number"), name="plan_package_part_once"),
        ),
        migrations.RunSQL(
            "ALTER TABLE deployments_planpackagepart ALTER COLUMN content SET STORAGE EXTERNAL",
            migrations.RunSQL.noop,
        ),
    ]
