import os
import signal

import pytest
from django.apps import apps
from django.conf import settings as console_settings
from django.db.backends.postgresql.operations import DatabaseOperations

from lifetime import database
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
def django_db_setup(django_db_setup):
    yield
    let_go_of_database()


@pytest.fixture(scope="session", autouse=True)
def _audit_log_can_be_emptied_between_tests():
    """Triggers keep the audit log append-only. Emptying the database after a test that commits goes around them."""
    original = DatabaseOperations.execute_sql_flush
    tables = [model._meta.db_table for model in apps.get_app_config("audit").get_models()]

    def execute_sql_flush(self, statements):
        off = [f'ALTER TABLE "{table}" DISABLE TRIGGER USER' for table in tables]
        on = [f'ALTER TABLE "{table}" ENABLE TRIGGER USER' for table in tables]
        head = "INSERT INTO audit_chainhead (id, number, hash, signature) VALUES (1, 0, repeat('0', 64), '')"
        return original(self, [*off, *statements, head, *on])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "execute_sql_flush", execute_sql_flush)
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
