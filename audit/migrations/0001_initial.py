"""The tables of the log, and the extension behind the index of words."""

import uuid

import django.contrib.postgres.indexes
import django.core.serializers.json
import django.db.models.functions.text
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        TrigramExtension(),
        migrations.CreateModel(
            name="Anchor",
            fields=[
                (
                    "hash",
                    models.CharField(
                        default="0000000000000000000000000000000000000000000000000000000000000000", max_length=64
                    ),
                ),
                ("signature", models.CharField(blank=True, max_length=64)),
                ("number", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ("at", models.DateTimeField(verbose_name="time of the last entry deleted")),
                ("cut_at", models.DateTimeField()),
            ],
            options={
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("number", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ("key", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("at", models.DateTimeField(verbose_name="time")),
                ("actor_name", models.CharField(max_length=255, verbose_name="user")),
                ("actor_username", models.CharField(blank=True, max_length=255, verbose_name="username")),
                ("actor_key", models.UUIDField(blank=True, null=True, verbose_name="user's key")),
                ("actor_address", models.CharField(blank=True, max_length=64, verbose_name="address")),
                (
                    "kind",
                    models.CharField(
                        choices=[("update", "Update"), ("view", "View"), ("login", "Log-in")], max_length=6
                    ),
                ),
                ("succeeded", models.BooleanField()),
                ("object_type", models.CharField(max_length=50, verbose_name="changes to")),
                ("object_key", models.CharField(blank=True, max_length=100)),
                ("object_name", models.CharField(max_length=255, verbose_name="object")),
                ("message", models.CharField(max_length=2000)),
                ("reason", models.CharField(blank=True, max_length=500)),
                (
                    "details",
                    models.JSONField(blank=True, default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder),
                ),
                ("cause", models.UUIDField(blank=True, null=True)),
                ("previous_hash", models.CharField(max_length=64)),
                ("hash", models.CharField(max_length=64)),
            ],
            options={
                "verbose_name": "audit event",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["at", "number"], name="audit_by_time"),
                    models.Index(fields=["actor_username", "number"], name="audit_by_user"),
                    models.Index(fields=["object_type", "number"], name="audit_by_type"),
                    models.Index(
                        condition=models.Q(("object_key", ""), _negated=True),
                        fields=["object_key", "number"],
                        name="audit_by_object",
                    ),
                    models.Index(condition=models.Q(("succeeded", False)), fields=["number"], name="audit_failed"),
                    models.Index(
                        condition=models.Q(("cause__isnull", False)), fields=["cause", "number"], name="audit_by_cause"
                    ),
                    django.contrib.postgres.indexes.GinIndex(
                        django.contrib.postgres.indexes.OpClass(
                            django.db.models.functions.text.Upper("message"), name="gin_trgm_ops"
                        ),
                        name="audit_message_words",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("number__gte", 1)), name="audit_number_from_one"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["update", "view", "login"])), name="audit_known_kind"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ChainHead",
            fields=[
                (
                    "hash",
                    models.CharField(
                        default="0000000000000000000000000000000000000000000000000000000000000000", max_length=64
                    ),
                ),
                ("signature", models.CharField(blank=True, max_length=64)),
                ("id", models.SmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("number", models.BigIntegerField(default=0)),
                ("at", models.DateTimeField(null=True)),
            ],
            options={
                "default_permissions": (),
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="audit_one_head")],
            },
        ),
    ]
