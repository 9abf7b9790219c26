"""The watched queue, for real: a supervisor, a cluster with its database and its queue, and workers that are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from lifetime import pulse
from lifetime.queue import enqueue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("queue")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LIFETIME_PULSE", str(tmp_path))
    pulse.Pulse(tmp_path, workers=2).reset()
    return tmp_path


@pytest.fixture
def work(tmp_path):
    """`manage.py work` on this test's database."""
    configuration = connection.settings_dict
    auth = f"{configuration['USER']}:{configuration['PASSWORD']}@" if configuration["USER"] else ""
    host = configuration["HOST"].replace("/", "%2F")
    port = f":{configuration['PORT']}" if configuration["PORT"] else ""
    environment = {
        **os.environ,
        "DATABASE_URL": f"postgres://{auth}{host}{port}/{configuration['NAME']}",
        "LIFETIME_SECRET_KEY": settings.SECRET_KEY,
        "LIFETIME_ENCRYPTION_KEYS": ",".join(settings.ENCRYPTION_KEYS),
        "TMPDIR": str(tmp_path),
    }
    log = tmp_path / "work.log"
    with log.open("w") as output:
        command = [sys.executable, settings.BASE_DIR / "manage.py", "work"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    process.log = log
    yield process
    process.terminate()
    assert process.wait(30) == 0, log.read_text()


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def cluster_of(work):
    """The sentinel's processes: two workers, monitor, pusher."""
    wait_for(lambda: children(work.pid) and children(children(work.pid)[0]))
    (main,) = children(work.pid)
    (sentinel,) = children(main)
    wait_for(lambda: len(children(sentinel)) == 4)
    return children(sentinel)


def wait_for(is_so, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run_task(folder, seconds=90.0):
    """Have the queue do something that can be seen; return the seconds that it took."""
    made = folder / f"made-{time.monotonic_ns()}"
    began = time.monotonic()
    enqueue("os.mkdir", str(made))
    wait_for(made.exists, seconds)
    return time.monotonic() - began


def test_the_queue_runs_again_after_its_idle_workers_were_killed(work, tmp_path):
    run_task(tmp_path)
    wait_for(lambda: not OrmQ.objects.exists())  # what a worker has begun would come back only when its claim expires
    for worker in cluster_of(work)[:2]:
        os.kill(worker, signal.SIGKILL)

    assert run_task(tmp_path) < 60  # the killed cluster had claimed it; its successor gives the claim back
    assert "Queue is replaced: no worker took anything" in work.log.read_text()
    assert run_task(tmp_path) < 30
    wait_for(lambda: not OrmQ.objects.exists())


def test_a_killed_cluster_starts_again(work, tmp_path):
    run_task(tmp_path)
    cluster_of(work)
    os.kill(children(work.pid)[0], signal.SIGKILL)

    wait_for(lambda: "Queue was killed by SIGKILL" in work.log.read_text())

    assert run_task(tmp_path) < 60


def test_a_beat_is_due_when_the_last_was_answered_and_is_old_enough(folder):
    sent = folder / "sent"
    os.utime(sent, (0, 0))
    ((acknowledge, package),) = pulse._due_beat()

    assert acknowledge is None
    task = SignedPackage.loads(package)
    assert (task["func"], task["args"], task["save"]) == ("lifetime.pulse.beat", (1,), False)
    assert pulse._due_beat() == []  # too young
    os.utime(sent, (0, 0))
    assert pulse._due_beat() == []  # not answered

    pulse.beat(1)
    assert pulse._due_beat() != []


def test_an_unanswered_beat_is_a_fault_unless_all_workers_are_busy(folder, monkeypatch):
    watched = pulse.Pulse(folder, workers=1)
    monkeypatch.setattr(pulse, "LONGEST_ANSWER", 0.05)
    (folder / "sent").write_text("7")
    assert watched.find_fault() == ""
    time.sleep(0.1)
    assert "no worker took anything" in watched.find_fault()

    pulse._begin_task(task={})
    time.sleep(0.1)
    assert watched.find_fault() == ""
    pulse._end_task()
    (folder / "answered").write_text("7")
    assert watched.find_fault() == ""


@pytest.mark.parametrize(("name", "fault"), [("sent", "nobody has read the queue"), ("guarded", "guard")])
def test_silence_of_pusher_or_guard_is_a_fault(folder, name, fault):
    watched = pulse.Pulse(folder, workers=1)
    assert watched.find_fault() == ""
    os.utime(folder / name, (0, 0))
    assert fault in watched.find_fault()


def test_only_tasks_that_nobody_began_are_given_back(folder):
    enqueue("os.getpid")
    enqueue("os.getpid")
    broker = pulse.OrmBroker()
    begun = broker.dequeue()[0]
    waiting = broker.dequeue()[0]
    pulse._begin_task(task={"ack_id": begun[0]})
    assert broker.queue_size() == 0

    pulse.Pulse(folder, workers=2).reset()
    assert [pk for pk, _ in broker.dequeue()] == [waiting[0]]
    assert broker.queue_size() == 0
