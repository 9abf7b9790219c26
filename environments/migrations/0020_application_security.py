import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0019_support_staff_sees_more"),
    ]

    operations = [
        migrations.AlterField(
            model_name="applicationtask",
            name="kind",
            field=models.CharField(
                choices=[
                    ("tag", "Tagging a version"),
                    ("read_versions", "Reading the versions"),
                    ("read_settings", "Reading the settings"),
                    ("change_settings", "Changing the settings"),
                    ("read_security", "Reading the security settings"),
                    ("change_security", "Changing the security settings"),
                    ("read_logs", "Reading the logs"),
                    ("read_templates", "Reading the templates"),
                    ("create", "Creating an application"),
                    ("create_plugin", "Creating a plugin"),
                    ("read_blocked", "Reading blocked addresses"),
                    ("unblock", "Unblocking an address"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="ApplicationSecurity",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("document", models.JSONField(default=dict)),
                ("digest", models.CharField(blank=True, max_length=100)),
                ("read_at", models.DateTimeField()),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="security",
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
                "verbose_name": "application security",
                "verbose_name_plural": "application security",
                "constraints": [
                    models.UniqueConstraint(fields=("application", "environment"), name="application_security_once")
                ],
            },
        ),
    ]
