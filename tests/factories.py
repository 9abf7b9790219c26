"""Plain functions that make what a test needs; every argument has a default."""

from importlib import import_module
from itertools import count

from django.apps import apps
from django.contrib.auth.models import Group
from django.utils import timezone

from audit.log import Actor
from environments.models import Environment, SyncState
from lifetime.models import Role, User

PASSWORD = "Correct horse battery staple 9"

_numbers = count(1)


def create_user(*, username="", name="", email="", role=None, password=PASSWORD, manages_infrastructure=True, **extra):
    """A person who manages the infrastructure, unless told otherwise."""
    number = next(_numbers)
    name = name or f"Person {number}"
    username = username or f"person{number}"
    role = role or (Role.objects.administrator() if manages_infrastructure else Role.objects.developer())
    return User.objects.create_user(
        username, password, name=name, email=email or f"{username}@example.org", role=role, **extra
    )


def create_environment(*, platform=None, name="", address="", token="", registration="registered", **extra):
    """A registered environment; with `platform` the one that it serves."""
    number = next(_numbers)
    values = {
        "name": name or f"Environment {number}",
        "address": address or (platform.address if platform else f"http://127.0.0.1:9/{number}"),
        "purpose": "Development",
        "position": number,
        "registration": registration,
        **extra,
    }
    if registration == "registered":
        values.setdefault("registered_at", timezone.now())
    environment = Environment(**values)
    environment.token = token or (platform.token if platform else "token")
    environment.save()
    SyncState.objects.create(environment=environment)
    return environment


def actor(name="Ada Lovelace"):
    return Actor(name=name, username=name.split()[0].lower())


def create_support_staff(**extra):
    """A person of the group that the migration makes; it is made again where a test has emptied the database."""
    if not Group.objects.filter(name="Support staff").exists():
        migration = import_module("environments.migrations.0004_support_staff")
        migration.create(apps, None)
    user = create_user(**{"manages_infrastructure": False, "is_staff": True, **extra})
    user.groups.add(Group.objects.get(name="Support staff"))
    return user
