"""The pulse of a cluster of workers: how its supervisor sees that it hangs.

A worker that is killed while it waits for a task takes the lock of the cluster's inner queue with it: its replacement
waits for ever, and so do all others, although every process lives (django-q2 issue 23). So each cluster sends itself a
beat every two seconds: its pusher puts one into the inner queue as it does with a task, and a worker takes it out. The
beats belong to one cluster and never touch the database, so that clusters cannot answer for each other.

The inner queue is lost with its cluster. Tasks that it held and no worker had begun are given back at once by the next
cluster; one that had begun comes back when its claim expires, as after any killed worker.

The pulse is kept in files of a folder that `LIFETIME_PULSE` names; without it nothing beats.
"""

import os
import time
from pathlib import Path
from typing import Any

from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.signals import post_execute_in_worker, pre_execute
from django_q.signing import SignedPackage

INTERVAL = 2.0
LONGEST_ANSWER = 5.0  # an idle worker takes a beat within milliseconds
LONGEST_SILENCE = 30.0  # the pusher sleeps ten seconds after trouble with the database
LONGEST_ABSENCE = 60.0  # of the guard, which starts due schedules in between


class Pulse:
    """A cluster's pulse, seen from outside."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers
        self._unanswered_since: float | None = None

    def reset(self) -> None:
        """Forget the former cluster; a new one is about to start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for mark in self.folder.glob("busy-*"):
            mark.unlink(missing_ok=True)
        for claim in self.folder.glob("claimed-*"):
            claim.replace(claim.with_name(claim.name.replace("claimed-", "left-")))
        for name in ("sent", "answered"):
            _write(self.folder / name, 0)
        (self.folder / "guarded").touch()
        self._unanswered_since = None

    def find_fault(self) -> str:
        """Why the cluster must be replaced; empty when it is well."""
        now = time.monotonic()
        is_unanswered = _read(self.folder / "sent") > _read(self.folder / "answered")
        if not is_unanswered or self._count_busy() >= self.workers:
            self._unanswered_since = None
        elif self._unanswered_since is None:
            self._unanswered_since = now
        elif now - self._unanswered_since > LONGEST_ANSWER:
            return f"no worker took anything for {LONGEST_ANSWER:.0f} s, though not all of them were busy"
        if not is_unanswered and _age(self.folder / "sent") > LONGEST_SILENCE:
            return f"nobody has read the queue for {LONGEST_SILENCE:.0f} s"
        if _age(self.folder / "guarded") > LONGEST_ABSENCE:
            return f"its guard has not looked after the workers for {LONGEST_ABSENCE:.0f} s"
        return ""

    def _count_busy(self) -> int:
        return sum(_is_alive(int(mark.name.partition("-")[2])) for mark in self.folder.glob("busy-*"))


class Beating:
    """What a broker adds for the pulse of its cluster."""

    def dequeue(self) -> Any:
        return _due_beat() or super().dequeue()  # type: ignore[misc]

    def set_stat(self, key: str, value: str, timeout: int) -> Any:  # called by the guard on each of its rounds
        if folder := _folder():
            (folder / "guarded").touch()
        return super().set_stat(key, value, timeout)  # type: ignore[misc]


class OrmBroker(Beating, ORM):  # type: ignore[misc]
    """The queue in the database."""

    def dequeue(self) -> Any:
        folder = _folder()
        if folder is None:
            return super().dequeue()
        self._give_back(folder)
        tasks = super().dequeue()
        for pk, _ in tasks or []:
            if pk is not None:
                (folder / f"claimed-{pk}").touch()
        return tasks

    def _give_back(self, folder: Path) -> None:
        """Give up the claims of this cluster's predecessor on tasks that it never began."""
        for claim in folder.glob("left-*"):
            if _age(claim) < Conf.RETRY - 60:  # later somebody else may have claimed it
                pk = int(claim.name.partition("-")[2])
                self.get_connection().filter(pk=pk).update(lock=timezone.now())
            claim.unlink()


def beat(number: int) -> None:
    """What a worker does with a beat."""
    if folder := _folder():
        _write(folder / "answered", number)


def _due_beat() -> list[tuple[None, str]]:
    """A beat to be pushed like a task: when the last one was answered and is old enough."""
    folder = _folder()
    if folder is None or _age(folder / "sent") < INTERVAL:
        return []
    number = _read(folder / "sent")
    if number > _read(folder / "answered"):
        return []
    _write(folder / "sent", number + 1)
    task = {"id": f"beat{number + 1}", "name": "beat", "func": "lifetime.pulse.beat", "args": (number + 1,)}
    return [(None, SignedPackage.dumps({**task, "kwargs": {}, "started": timezone.now(), "save": False}))]


def _begin_task(*, task: dict[str, Any], **_: Any) -> None:
    if folder := _folder():
        (folder / f"claimed-{task.get('ack_id')}").unlink(missing_ok=True)
        (folder / f"busy-{os.getpid()}").touch()


def _end_task(**_: Any) -> None:
    if folder := _folder():
        (folder / f"busy-{os.getpid()}").unlink(missing_ok=True)


# The only hooks that a worker has.
pre_execute.connect(_begin_task, dispatch_uid="pulse")
post_execute_in_worker.connect(_end_task, dispatch_uid="pulse")


def _folder() -> Path | None:
    name = os.environ.get("LIFETIME_PULSE")
    return Path(name) if name else None


def _read(path: Path) -> int:
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return 0


def _write(path: Path, number: int) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(str(number))
    unfinished.replace(path)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
