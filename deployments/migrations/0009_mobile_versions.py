"""The numbers that the stores show of a mobile application, with the version that a plan tags."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("deployments", "0008_support_staff_sees_plans")]

    operations = [
        migrations.AddField(
            model_name="planoperation",
            name="mobile_versions",
            field=models.JSONField(blank=True, default=list, help_text="Of the tag, one a platform."),
        ),
    ]
