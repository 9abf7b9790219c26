"""A real database for connections to reach: the tests' own PostgreSQL, on a port of loopback."""

import contextlib
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

from django.db import connection


@contextmanager
def listening():
    """Parameters and the username by which the tests' PostgreSQL is reached over TCP."""
    known = connection.settings_dict
    login = {"database": known["NAME"]}, known["USER"]
    if not str(known["HOST"]).startswith("/"):
        yield {"host": known["HOST"], "port": str(known["PORT"] or 5432), **login[0]}, login[1]
        return
    behind = Path(known["HOST"]) / f".s.PGSQL.{known['PORT'] or 5432}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, str(behind)), daemon=True).start()
        yield {"host": "127.0.0.1", "port": str(server.getsockname()[1]), **login[0]}, login[1]
        server.shutdown(socket.SHUT_RDWR)


def _serve(server, behind):
    with contextlib.suppress(OSError):
        while True:
            near, _ = server.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(behind)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, target), daemon=True).start()


def _carry(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
