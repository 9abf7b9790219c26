from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.postgresql import base

from lifetime import database


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not database.is_listening(conn_params["host"]):
            database.start(settings.VAR_DIR)
        try:
            return super().get_new_connection(conn_params)
        except psycopg.OperationalError:  # it is starting, or was killed between the look and the call
            database.start(settings.VAR_DIR)
            return super().get_new_connection(conn_params)
