from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("deployments", "0009_mobile_versions")]

    operations = [
        migrations.AlterModelOptions(name="modulereferences", options={"verbose_name_plural": "module references"}),
    ]
