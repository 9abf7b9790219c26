import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0005_environment_filters"),
    ]

    operations = [
        migrations.AddField(
            model_name="application",
            name="definition_environment",
            field=models.ForeignKey(
                blank=True,
                help_text="Its name and look are those of this environment; empty: of the one where it changed last.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="environments.environment",
            ),
        ),
        migrations.CreateModel(
            name="ApplicationVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.UUIDField(unique=True)),
                ("version", models.CharField(max_length=40)),
                ("change_log", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(null=True)),
                ("created_by", models.CharField(blank=True, max_length=200)),
                ("based_on", models.UUIDField(null=True)),
                ("package_digest", models.CharField(blank=True, max_length=100)),
                ("mobile_versions", models.JSONField(blank=True, default=list)),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="versions",
                        to="environments.application",
                    ),
                ),
                (
                    "created_in",
                    models.ForeignKey(
                        help_text="Where the console tagged it.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="environments.environment",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ModuleVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("module_key", models.UUIDField()),
                ("name", models.CharField(max_length=120)),
                ("version_key", models.UUIDField()),
                ("hash", models.CharField(blank=True, max_length=100)),
                ("created_at", models.DateTimeField(null=True)),
                ("created_by", models.CharField(blank=True, max_length=200)),
                (
                    "application_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="modules",
                        to="environments.applicationversion",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="applicationversion",
            index=models.Index(fields=["application", "version"], name="version_of_application"),
        ),
        migrations.AddConstraint(
            model_name="moduleversion",
            constraint=models.UniqueConstraint(
                fields=("application_version", "module_key"), name="module_version_once"
            ),
        ),
    ]
