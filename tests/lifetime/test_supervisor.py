import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from lifetime.supervisor import DidNotStart, Process, Supervisor


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(tmp_path, said):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with Supervisor(logs=tmp_path / "log", say=said.append) as supervisor:
        yield supervisor
    for number, handler in handlers.items():
        signal.signal(number, handler)


def python(code, name="Sleeper", **options):
    return Process(name, [sys.executable, "-c", code], **options)


def turn_until(supervisor, is_so, seconds=10):
    deadline = time.monotonic() + seconds
    while not is_so():
        supervisor.turn(0.02)
        assert time.monotonic() < deadline


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_what_dies_starts_again_after_ever_longer_pauses(supervisor, said):
    process = python("raise SystemExit(3)")
    supervisor.start(process)
    turn_until(supervisor, lambda: process.failures == 3)

    assert said == [f"Sleeper ended with exit code 3; it starts again in {pause} s." for pause in ("0.5", "1", "2")]


def test_what_hangs_is_replaced(supervisor, said):
    faults = iter(["it hangs"])
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = python(code, find_fault=lambda: next(faults, "") if process.last_lines else "", grace=0.2)
    supervisor.start(process)
    first = process.popen.pid
    turn_until(supervisor, lambda: process.is_running and process.popen.pid != first)

    assert said == ["Sleeper is replaced: it hangs."]
    assert not is_alive(first)


def test_stopping_leaves_no_process_behind_not_even_workers_of_workers(supervisor, said):
    code = """
import signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
worker = subprocess.Popen([sys.executable, "-c", stubborn])
print(worker.pid, flush=True)
time.sleep(60)
"""
    process = python(code)
    supervisor.start(process)
    turn_until(supervisor, lambda: process.last_lines)
    pids = [process.popen.pid, int(process.last_lines[0])]
    assert all(map(is_alive, pids))

    supervisor.stop()
    deadline = time.monotonic() + 5
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
    assert said == []


def test_what_does_not_end_in_its_grace_is_killed(supervisor, said):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = python(code, grace=0.3)
    supervisor.start(process)
    turn_until(supervisor, lambda: process.last_lines)
    pid = process.popen.pid
    supervisor.stop()

    assert said == ["Sleeper did not end by itself and was killed."]
    assert not is_alive(pid)


def test_waiting_ends_when_the_process_does_and_says_what_it_said(supervisor):
    process = python("raise SystemExit('no such file')")
    supervisor.start(process)
    with pytest.raises(DidNotStart, match="Sleeper did not start:\nno such file"):
        supervisor.wait_until(lambda: False, [process], 10)


def test_all_output_is_kept_and_the_important_part_shown(supervisor, said, tmp_path):
    code = "import time\nfor n in range(9): print('WARNING', n)\nprint('by the way', flush=True)\ntime.sleep(60)"
    process = python(code, name="Environment Test")
    supervisor.start(process)
    turn_until(supervisor, lambda: "by the way" in process.last_lines)

    log = tmp_path / "log" / "environment-test.log"
    assert log.read_text().splitlines() == [*(f"WARNING {n}" for n in range(9)), "by the way"]
    assert said == [*(f"Environment Test: WARNING {n}" for n in range(5)), f"Environment Test: … more in {log}"]


def test_asking_to_end_ends_run(supervisor):
    supervisor.start(python("import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"))
    supervisor.run()
    assert supervisor.is_asked_to_end
