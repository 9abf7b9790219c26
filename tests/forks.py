"""Processes of the reference platform, forked from one that has imported it already.

A test gets a server of its own all the same, with its own data, session, signals and exit code, for a tenth of what
`python -m environments.platform` takes; tests/environments/platform/test_process.py starts that one.
"""

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

import uvloop  # noqa: F401 (the server asks for it late)

from environments.platform.__main__ import main

ROOT = Path(__file__).resolve().parent.parent


class Forked:
    """A process that runs the platform's `main`, with the methods of `subprocess.Popen` that tests need."""

    def __init__(self, arguments: list[str], *, output: Path) -> None:
        self.pid = parent().ask(arguments=arguments, output=str(output))
        self._ended = os.pidfd_open(self.pid)  # its id is its own until the parent has been asked for the exit code
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._wait(0)

    def wait(self, seconds: float) -> int:
        code = self._wait(seconds)
        if code is None:
            raise subprocess.TimeoutExpired("environments.platform", seconds)
        return code

    def _wait(self, seconds: float) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], seconds)[0]:
            self.returncode = parent().ask(wait=self.pid)
            os.close(self._ended)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Parent:
    """The process that forks when asked to; it ends with the tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._one_at_a_time = threading.Lock()
        atexit.register(self._end)

    def ask(self, **order: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())

    def _end(self) -> None:
        self._process.communicate()


@functools.cache
def parent() -> Parent:
    return Parent()


def serve() -> None:
    """Fork for each line that starts a process; wait for the process of each other one, which has ended.

    Those that are left when nobody asks any more outlived tests that were killed.
    """
    running = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
            running.remove(order["wait"])
        else:
            answer = os.fork()
            if not answer:
                run(order["arguments"], Path(order["output"]))
            running.add(answer)
        print(answer, flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def run(arguments: list[str], output: Path) -> NoReturn:
    os.setsid()
    with Path(os.devnull).open() as nothing, output.open("ab") as file:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os._exit(main(arguments))  # tearing down what it shares with its parent would cost more than all else


if __name__ == "__main__":
    serve()
