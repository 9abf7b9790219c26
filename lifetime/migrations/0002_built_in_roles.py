from django.db import migrations

BUILT_IN = [
    {
        "name": "Administrator",
        "description": "Full control of the infrastructure, its users, teams and roles.",
        "manage_infrastructure_and_users": True,
        "manage_teams_and_application_roles": True,
    },
    {
        "name": "Developer",
        "description": "Works on applications; manages no infrastructure.",
    },
]


def create(apps, schema_editor):
    for role in BUILT_IN:
        apps.get_model("lifetime", "Role").objects.create(is_built_in=True, **role)


class Migration(migrations.Migration):
    dependencies = [("lifetime", "0001_people")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
