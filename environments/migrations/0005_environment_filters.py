import uuid

import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0004_support_staff"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="applicationstatus",
            name="hotfix_solved_at",
            field=models.DateTimeField(
                blank=True, help_text="What was changed there until then is merged, somebody said.", null=True
            ),
        ),
        migrations.CreateModel(
            name="EnvironmentFilter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("name", models.CharField(max_length=60)),
                ("is_default", models.BooleanField(default=False, verbose_name="use it when I open a page")),
                ("environments", models.ManyToManyField(related_name="+", to="environments.environment")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="environment_filters",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        models.F("user"),
                        django.db.models.functions.text.Lower("name"),
                        name="environment_filter_name_unique",
                        violation_error_message="You have a filter of this name.",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("is_default", True)),
                        fields=("user",),
                        name="environment_filter_one_default",
                    ),
                ],
            },
        ),
    ]
