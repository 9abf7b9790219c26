import os
import signal
from datetime import timedelta

import pytest
from django.apps import apps
from django.conf import settings as console_settings
from django.db import connection, transaction
from django.test import TransactionTestCase
from django.utils import timezone
from django_q.models import Schedule

from lifetime import database
from tests.factories import create_user
from tests.platforms import places, platform  # noqa: F401 (fixtures)
from tests.processes import let_go_of_database


def pytest_configure(config):
    """A shell ignores Ctrl-C for what it runs in the background, and children inherit that: tests send it to them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config):
    """The embedded PostgreSQL was started by the first connection; stop it with the last test run that used it."""
    if not hasattr(config, "workerinput") and not os.environ.get("DATABASE_URL"):
        database.stop(console_settings.VAR_DIR, only_when_unused=True)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():  # no worker runs beside the tests, and no page shall say so after some minutes
        Schedule.objects.update(next_run=timezone.now() + timedelta(days=1))
    yield
    let_go_of_database()


@pytest.fixture(scope="session", autouse=True)
def _emptied_quickly_between_tests():
    """Delete the few rows that a test left which commits, in 5 ms. Django would truncate each table and make content
    types and permissions anew: 180 ms, for new files and their way to the disk.

    Triggers keep the audit log append-only; this goes around them.
    """
    kept = {"django_content_type", "auth_permission"}
    tables = sorted(set(connection.introspection.django_table_names()) - kept)
    audit = [model._meta.db_table for model in apps.get_app_config("audit").get_models()]
    statements = [
        f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE",  # as after TRUNCATE, nobody writes behind the test
        *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in audit),
        *(f"DELETE FROM {table}" for table in tables),  # noqa: S608
        "INSERT INTO audit_chainhead (id, number, hash, signature) VALUES (1, 0, repeat('0', 64), '')",
        "SET CONSTRAINTS ALL IMMEDIATE",  # or their checks would be in the way of changing the table
        *(f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in audit),
    ]

    def empty(self):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("; ".join(statements))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield


@pytest.fixture(autouse=True)
def _static_files_as_they_are(settings):
    """Nobody ran collectstatic: serve static files from where they are written, under their own names."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.WHITENOISE_AUTOREFRESH = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def user(client):
    """Ada, an administrator, who has logged in with `client`."""
    user = create_user(name="Ada Lovelace", username="ada")
    client.force_login(user)
    return user
