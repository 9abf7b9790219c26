"""The one row of the chain's head: no entry yet."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

    operations = [
        migrations.RunSQL(
            "INSERT INTO audit_chainhead (id, number, hash, signature) VALUES (1, 0, repeat('0', 64), '')",
            migrations.RunSQL.noop,
        )
    ]
