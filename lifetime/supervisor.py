"""Run a few processes as one: restart what dies, replace what hangs, end all of them together.

One thread, no polling of output by threads. Each process leads a session of its own, so that Ctrl-C in the terminal
reaches the supervisor alone and it decides on the order; where the system can (Linux), a process also gets SIGTERM when
the supervisor itself is killed.
"""

import contextlib
import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

LONGEST_PAUSE = 30.0  # between two starts of a process that dies again and again
SETTLED = 60.0  # a process that lived this long starts again without a pause
LONGEST_LOG = 10_000_000
IMPORTANT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")
IMPORTANT_LINES = 5  # shown of each process in ten seconds
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG

_library = ctypes.CDLL(None) if sys.platform == "linux" else None


class DidNotStart(Exception):
    """A process ended before it was ready; the message has the end of what it said."""


@dataclass(eq=False)
class Process:
    """What to run, and what is known of its present run."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    prepare: Callable[[], None] = lambda: None  # called before each start
    find_fault: Callable[[], str] = lambda: ""  # why a running process must be replaced; empty when it is well
    grace: float = 10.0  # seconds between being asked to end and being killed

    popen: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0
    last_lines: list[str] = field(default_factory=list)
    unfinished_line: bytes = b""
    shown: list[float] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None


class Supervisor:
    """Use as a context: leaving it ends the processes. `logs` is where their output goes; None passes it through."""

    def __init__(self, *, logs: Path | None, say: Callable[[str], None]) -> None:
        self.logs = logs
        self.say = say
        self.is_asked_to_end = False
        self._is_hurried = False
        self._processes: list[Process] = []
        self._selector = selectors.DefaultSelector()
        self._looked_at = 0.0

    def __enter__(self) -> "Supervisor":
        if self.logs:
            self.logs.mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, process: Process) -> None:
        self._processes.append(process)
        self._launch(process)

    def run(self) -> None:
        """Keep everything running until SIGINT, SIGTERM or SIGHUP."""
        while not self.is_asked_to_end:
            self.turn()

    def wait_until(self, is_ready: Callable[[], bool], processes: Sequence[Process], seconds: float) -> None:
        """Keep everything running until it is ready; raise DidNotStart when one of the processes ends instead."""
        deadline = time.monotonic() + seconds
        while not self.is_asked_to_end and not is_ready():
            self.turn(0.05)
            for process in processes:
                if process.failures:
                    raise DidNotStart("\n".join([f"{process.name} did not start:", *process.last_lines]))
            if time.monotonic() > deadline:
                names = ", ".join(process.name for process in processes)
                raise DidNotStart(f"Not ready after {seconds:.0f} s: {names}. See {self.logs}.")

    def turn(self, seconds: float = 0.25) -> None:
        """Pass output on for a while, then look after the processes."""
        self._pass_output_on(seconds)
        now = time.monotonic()
        for process in self._processes:
            if process.popen is None:
                if now >= process.start_at and not self.is_asked_to_end:
                    self._launch(process)
            elif (code := process.popen.poll()) is not None:
                self._bury(process, code)
        if now - self._looked_at >= 1.0:
            self._looked_at = now
            for process in self._processes:
                if process.is_running and (fault := process.find_fault()):
                    self._replace(process, fault)

    def stop(self) -> None:
        """End all processes: ask, wait for their grace, kill. Asked a second time to end, kill at once."""
        for process in self._processes:
            _ask_to_end(process)
        deadline = {process: time.monotonic() + process.grace for process in self._processes}
        while any(process.is_running for process in self._processes):
            self._pass_output_on(0.05)
            for process in self._processes:
                if process.is_running and (self._is_hurried or time.monotonic() > deadline[process]):
                    self.say(f"{process.name} did not end by itself and was killed.")
                    _kill(process)
                    _wait(process)
        for process in self._processes:
            _kill(process)
        self._pass_output_on(0)
        self._processes.clear()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._is_hurried = self.is_asked_to_end
        self.is_asked_to_end = True

    def _launch(self, process: Process) -> None:
        process.prepare()
        process.popen = subprocess.Popen(
            process.command,
            cwd=process.folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **process.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self.logs else None,
            stderr=subprocess.STDOUT if self.logs else None,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        process.started_at = time.monotonic()
        if process.popen.stdout:
            os.set_blocking(process.popen.stdout.fileno(), False)
            self._selector.register(process.popen.stdout, selectors.EVENT_READ, process)

    def _bury(self, process: Process, code: int) -> None:
        """Take note of a death, and plan the next start."""
        _kill(process)  # what it left behind
        self._pass_output_on(0)
        process.popen = None
        lived = time.monotonic() - process.started_at
        process.failures = 1 if lived > SETTLED else process.failures + 1
        pause = min(LONGEST_PAUSE, 0.5 * 2 ** (process.failures - 1))
        process.start_at = time.monotonic() + pause
        if not self.is_asked_to_end:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            self.say(f"{process.name} {how}; it starts again in {pause:g} s.")

    def _replace(self, process: Process, fault: str) -> None:
        self.say(f"{process.name} is replaced: {fault}.")
        _ask_to_end(process)
        deadline = time.monotonic() + min(process.grace, 3.0)
        while process.is_running and time.monotonic() < deadline and not self._is_hurried:
            self._pass_output_on(0.05)
        _kill(process)
        _wait(process)
        process.popen = None
        process.start_at = time.monotonic()

    def _pass_output_on(self, seconds: float) -> None:
        if not self._selector.get_map():
            time.sleep(seconds)
            return
        for key, _ in self._selector.select(seconds):
            stream: IO[bytes] = key.fileobj  # type: ignore[assignment]
            with contextlib.suppress(BlockingIOError):
                if self.logs and (output := os.read(stream.fileno(), 65536)):
                    self._keep(key.data, output, self.logs)
                else:
                    self._selector.unregister(stream)
                    stream.close()

    def _keep(self, process: Process, output: bytes, logs: Path) -> None:
        path = logs / f"{process.name.lower().replace(' ', '-')}.log"
        with path.open("ab") as log:
            log.write(output)
            is_long = log.tell() > LONGEST_LOG
        if is_long:
            path.replace(path.with_suffix(".log.1"))
        *whole, process.unfinished_line = (process.unfinished_line + output).split(b"\n")
        lines = [line.decode(errors="replace") for line in whole]
        process.last_lines = [*process.last_lines, *lines][-15:]
        for line in filter(IMPORTANT.search, lines):
            now = time.monotonic()
            process.shown = [shown for shown in process.shown if now - shown < 10.0]
            if len(process.shown) < IMPORTANT_LINES:
                self.say(f"{process.name}: {line}")
            elif len(process.shown) == IMPORTANT_LINES:
                self.say(f"{process.name}: … more in {path}")
            process.shown.append(now)


def _die_with_parent() -> None:
    if _library:
        _library.prctl(DIE_WITH_PARENT, signal.SIGTERM)


def _ask_to_end(process: Process) -> None:
    """SIGTERM to the leader alone: it ends its own workers in the right order, with what they are doing."""
    if process.is_running and process.popen:
        with contextlib.suppress(ProcessLookupError):
            process.popen.terminate()


def _kill(process: Process) -> None:
    """SIGKILL to what is left of the process and its workers."""
    if process.popen:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.popen.pid, signal.SIGKILL)


def _wait(process: Process) -> None:
    if process.popen:
        process.popen.wait()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the steps before a supervisor is in charge like Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
