import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0017_names_in_plural"),
    ]

    operations = [
        migrations.AddField(
            model_name="application",
            name="colour",
            field=models.CharField(blank=True, db_default="", default="", help_text="Like #1a73e8.", max_length=7),
        ),
        migrations.CreateModel(
            name="ApplicationIcon",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("application_key", models.UUIDField(unique=True)),
                ("digest", models.CharField(max_length=64)),
                ("media_type", models.CharField(max_length=20)),
                ("content", models.BinaryField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
        ),
    ]
