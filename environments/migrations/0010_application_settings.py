import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0009_events"),
    ]

    operations = [
        migrations.AlterField(
            model_name="contact",
            name="purpose",
            field=models.CharField(
                choices=[
                    ("register", "Registration check"),
                    ("sync", "Synchronization"),
                    ("deploy", "Deployment"),
                    ("tag", "Tagging"),
                    ("deliver", "Delivery"),
                    ("application", "Work on an application"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="ApplicationSettings",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("document", models.JSONField(default=dict)),
                ("digest", models.CharField(blank=True, max_length=100)),
                ("read_at", models.DateTimeField()),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="settings",
                        to="environments.application",
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="environments.environment"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("application", "environment"), name="application_settings_once")
                ],
            },
        ),
    ]
