"""Workers that are killed or stopped in the middle of a contact: the window becomes quiet all the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from environments import maintenance, quiet, sync
from environments.models import Contact
from tests.factories import actor, create_environment
from tests.processes import ROOT, Process

LEASE = 3.0

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def holder(environment, tmp_path):
    with Process(
        *("-m", "tests.races.holder", str(environment.pk), str(LEASE), str(tmp_path / "flag")), log=tmp_path / "holder"
    ) as process:
        yield process


def until(condition, *, seconds=15.0):
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, "it did not come true in time"
        time.sleep(0.02)
    return found


def is_stopped(process):
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def settle_until_in_force(window):
    until(maintenance.settle)
    window.refresh_from_db()
    assert window.status == "in_force"
    return window


def answered_after(platform, instant):
    since = instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return [line for line in platform.log() if line["ended_at"] > since and line["outcome"] != "refused"]


def test_a_worker_killed_in_a_call_is_lost_when_its_lease_is_over(platform, tmp_path):
    platform.behave(delay_seconds=60)
    environment = create_environment(platform=platform)
    with holder(environment, tmp_path) as process:
        platform.wait_until_serving(1, seconds=20)
        process.signal(signal.SIGKILL)
        process.wait()
        window = maintenance.enable(environment, by=actor(), reason="Upgrade")
        assert window.status == "draining"
        assert [blocker.pid for blocker in quiet.blockers(environment.pk)] == [process.pid]

        settle_until_in_force(window)

    contact = Contact.objects.get()
    assert contact.outcome == "lost"
    assert (window.quiet_at - window.enabled_at).total_seconds() < LEASE + 1
    assert answered_after(platform, window.quiet_at) == []
    [(_, found)] = quiet.certificates([window])
    assert (found.lost, found.open, found.breaches) == (1, 0, 0)


def test_a_worker_stopped_past_its_lease_is_refused_by_the_environment(platform, tmp_path):
    environment = create_environment(platform=platform)
    with holder(environment, tmp_path) as process:
        until(lambda: len(platform.log()) > 3)
        (tmp_path / "flag").touch()
        until(lambda: is_stopped(process))
        window = maintenance.enable(environment, by=actor(), reason="Upgrade")
        assert window.status == "draining"
        settle_until_in_force(window)
        before = len(platform.log())

        process.signal(signal.SIGCONT)
        assert process.wait() != 0
        late = platform.log()[before:]

    assert [(line["path"], line["status"], line["outcome"]) for line in late if line["method"] == "GET"] == [
        ("/facts", 409, "refused")
    ]
    assert answered_after(platform, window.quiet_at) == []
    assert Contact.objects.get().outcome == "lost"
    [(_, found)] = quiet.certificates([window])
    assert found.breaches == 0


def test_a_worker_that_wakes_after_the_window_is_of_a_passed_epoch(platform, tmp_path):
    environment = create_environment(platform=platform)
    with holder(environment, tmp_path) as process:
        until(lambda: len(platform.log()) > 3)
        (tmp_path / "flag").touch()
        until(lambda: is_stopped(process))
        window = maintenance.enable(environment, by=actor(), reason="Upgrade")
        settle_until_in_force(window)
        maintenance.disable(environment, by=actor(), reason="Done")
        sync.run(list(environment.sync_runs.active().values_list("pk", flat=True)))
        before = len(platform.log())

        process.signal(signal.SIGCONT)
        process.wait()
        late = [line for line in platform.log()[before:] if line["method"] == "GET"]

    assert [(line["path"], line["epoch"], line["status"]) for line in late] == [("/facts", 1, 409)]
    window.refresh_from_db()
    assert window.status == "ended"
    assert environment.sync_runs.get().status == "finished"


def test_a_stopped_worker_that_wakes_within_its_lease_says_goodbye(platform, tmp_path):
    environment = create_environment(platform=platform)
    with holder(environment, tmp_path) as process:
        until(lambda: len(platform.log()) > 3)
        process.signal(signal.SIGSTOP)
        window = maintenance.enable(environment, by=actor(), reason="Upgrade")
        time.sleep(0.3)
        process.signal(signal.SIGCONT)
        process.wait()
    maintenance.settle()
    window.refresh_from_db()

    assert Contact.objects.get().outcome in {"aborted", "failed"}
    assert window.status == "in_force"
    assert answered_after(platform, window.quiet_at) == []


def test_a_restart_of_the_database_delays_quiet_and_does_not_prevent_it():
    folder = Path(tempfile.mkdtemp(prefix="restart-"))  # a socket's path must be short
    folder.chmod(0o755)  # root's server runs as nobody, who has to reach its data
    try:
        variables = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.races.restart", str(folder)],
            cwd=ROOT,
            env={**variables, "LIFETIME_VAR": str(folder), "DJANGO_SETTINGS_MODULE": "lifetime.settings"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:] + (folder / "holder").read_text()[-3000:]
        result = json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    assert (result["at_first"], result["then"]) == ("draining", "in_force")
    assert result["contact"] in {"aborted", "lost"}
    assert result["last_heard_before_quiet"]
    assert result["sync"] == "finished"
    assert result["seconds"] < 15
