"""Plans of one state, newest first."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("deployments", "0004_plan_text")]

    operations = [
        migrations.AddIndex(
            model_name="deploymentplan",
            index=models.Index(fields=["status", "-number"], name="plan_status_newest"),
        ),
    ]
