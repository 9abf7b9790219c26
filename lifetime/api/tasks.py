"""What workers do for the API. Each may be delivered twice."""

from lifetime.api import calls, fetching


def write_down_calls() -> None:
    """Every minute: bring the calls of service accounts into the audit log."""
    calls.write_down()


def fetch(download_id: int) -> None:
    """Bring or make a file that somebody wants to download."""
    fetching.carry_out(download_id)


def tidy_downloads() -> None:
    """Every hour: forget files that have expired."""
    fetching.tidy()
