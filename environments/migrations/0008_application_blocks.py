import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0007_application_tasks"),
    ]

    operations = [
        migrations.CreateModel(
            name="ApplicationBlock",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("blocked_at", models.DateTimeField()),
                ("blocked_by", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=500)),
                ("unblocked_at", models.DateTimeField(null=True)),
                ("unblocked_by", models.CharField(blank=True, max_length=200)),
                ("unblock_reason", models.CharField(blank=True, max_length=500)),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="blocks",
                        to="environments.application",
                    ),
                ),
                (
                    "environment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="application_blocks",
                        to="environments.environment",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("unblocked_at__isnull", True)),
                        fields=("application", "environment"),
                        name="application_block_one_in_force",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True), models.Q(("blocked_by", ""), _negated=True)
                        ),
                        name="application_block_has_reason",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("unblock_reason", ""), ("unblocked_at__isnull", True), ("unblocked_by", "")),
                            models.Q(
                                ("unblocked_at__isnull", False),
                                models.Q(("unblocked_by", ""), _negated=True),
                                models.Q(("unblock_reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="application_block_unblocked_at_by_reason_together",
                    ),
                ],
            },
        ),
    ]
