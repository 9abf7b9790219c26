"""The console's own processes, for a supervisor: web and queue."""

import socket
import sys
from pathlib import Path

from django.conf import settings

from lifetime.pulse import Pulse
from lifetime.supervisor import Process

TASKS_GRACE = 15.0  # seconds for running tasks to end when the queue is stopped


def manage(*arguments: str) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]


def web(host: str, port: int) -> Process:
    """The web server with this console."""
    options = ["--interface", "wsgi", "--host", host, "--port", str(port), "--workers", "1", "--blocking-threads", "4"]
    options += ["--no-ws", "--log-level", "warning", "--workers-kill-timeout", "5", "lifetime.wsgi:application"]
    return Process("Web", [sys.executable, "-m", "granian", *options], folder=settings.BASE_DIR)


def queue(folder: Path) -> Process:
    """A cluster of workers, replaced when its pulse, kept in this folder, says that it hangs."""
    pulse = Pulse(folder, settings.Q_CLUSTER["workers"])
    return Process(
        "Queue",
        manage("qcluster"),
        {"LIFETIME_PULSE": str(pulse.folder)},
        settings.BASE_DIR,
        prepare=pulse.reset,
        find_fault=pulse.find_fault,
        grace=TASKS_GRACE,
    )


def is_answering(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(wanted: int, *, host: str = "127.0.0.1", taken: frozenset[int] = frozenset()) -> int:
    """The wanted port, or the next one that is free."""
    for port in range(wanted, min(wanted + 200, 65_536)):
        if port not in taken and is_free(port, host):
            return port
    raise OSError(f"No port is free between {wanted} and {wanted + 199}.")
