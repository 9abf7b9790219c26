"""Plans are numbered by a sequence: a number is never given twice, and nobody waits for another's transaction."""

from django.db import migrations

CREATE = """
CREATE SEQUENCE deployments_plan_number AS integer;
SELECT setval('deployments_plan_number', greatest(coalesce((SELECT max(number) FROM deployments_deploymentplan), 0), 1),
    EXISTS (SELECT FROM deployments_deploymentplan));
"""


class Migration(migrations.Migration):
    dependencies = [("deployments", "0002_execution")]

    operations = [migrations.RunSQL(CREATE, "DROP SEQUENCE deployments_plan_number")]
