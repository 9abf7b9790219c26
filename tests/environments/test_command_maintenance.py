"""`manage.py maintenance`: in this process where its answers matter, as a process of its own for its exit codes."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from audit.models import AuditEvent
from deployments.models import DeploymentPlan
from environments import maintenance, sync, watching
from environments.management.commands import maintenance as command
from environments.models import Contact, Environment, MaintenanceWindow, SyncRun
from tests.factories import actor, create_environment, create_user

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)  # other processes see it


class Answer:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


def run(*arguments):
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("maintenance", *arguments, stdout=out, stderr=err)
        code = 0
    except SystemExit as end:
        code = end.code
    except CommandError as error:  # the parser's; from a command line it exits with 2
        code = 2
        err.write(str(error))
    return Answer(code, out.getvalue(), err.getvalue())


def console():
    """Environment variables with which another process works on this test's database."""
    database = connection.settings_dict
    user, host = quote(database["USER"]), quote(database["HOST"] or "localhost", safe="")
    password = f":{quote(database['PASSWORD'], safe='')}" if database["PASSWORD"] else ""
    return {
        **os.environ,
        "DATABASE_URL": f"postgres://{user}{password}@{host}:{database['PORT'] or 5432}/{database['NAME']}",
        "LIFETIME_SECRET_KEY": settings.SECRET_KEY,
        "LIFETIME_ENCRYPTION_KEYS": ",".join(settings.ENCRYPTION_KEYS),
        "PYTHONWARNINGS": "error",
    }


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "manage.py", "maintenance", *arguments],
        cwd=settings.BASE_DIR,
        env=console(),
        stdin=options.pop("stdin", subprocess.PIPE),
        stdout=subprocess.PIPE,
        stderr=options.pop("stderr", subprocess.PIPE),
        text=options.pop("text", True),
        **options,
    )


def run_process(*arguments, typed=""):
    """The command as a process of its own."""
    process = start(*arguments)
    out, err = process.communicate(typed, timeout=60)
    return Answer(process.returncode, out, err)


def open_contact(environment, *, lease=60, **extra):
    now = timezone.now()
    values = {"epoch": environment.epoch, "purpose": "sync", "worker": "elsewhere", "pid": 4242}
    return Contact.objects.create(
        environment=environment, expires_at=now + timedelta(seconds=lease), **{**values, **extra}
    )


def close(contact, outcome="aborted"):
    Contact.objects.filter(pk=contact.pk).update(closed_at=timezone.now(), outcome=outcome)


def in_maintenance():
    return set(Environment.objects.in_maintenance().values_list("name", flat=True))


# Exit codes, each of a real process


@committed
def test_exit_code_0_when_all_is_done():
    create_environment(name="Test")

    answer = run_process("enable", "Test", "--reason", "Upgrade", "--wait", "--json")

    assert answer.code == 0, answer.err
    assert answer.json["result"] == "done"
    assert answer.err == ""
    (one,) = answer.json["environments"]
    assert (one["name"], one["status"], one["blockers"]) == ("Test", "in_force", [])
    assert one["certificate"]["contacts_inside_the_quiet"] == 0
    assert in_maintenance() == {"Test"}


def test_exit_code_1_when_the_database_does_not_answer():
    environment = {**console(), "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}
    done = subprocess.run(
        [sys.executable, "manage.py", "maintenance", "status", "--json"],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert json.loads(done.stdout)["result"] == "failed"
    assert "The database does not answer: " in done.stderr
    assert "Traceback" not in done.stderr


@committed
def test_exit_code_2_for_bad_usage_and_wrong_names_which_are_all_listed():
    create_environment(name="Production")

    missing = run_process("enable", "Production")
    wrong = run_process("enable", "Production", "Prodution", "Nowhere", "--reason", "Upgrade")

    assert (missing.code, wrong.code) == (2, 2)
    assert "--reason" in missing.err
    assert "2 environments are not registered here" in wrong.err
    assert "“Prodution” (did you mean “Production”?)" in wrong.err
    assert "“Nowhere”" in wrong.err
    assert in_maintenance() == set()
    assert AuditEvent.objects.count() == 0


@committed
def test_exit_code_3_when_it_is_refused():
    first, second = create_environment(name="First"), create_environment(name="Second")
    create_environment(name="Third")
    maintenance.enable_all([first, second], by=actor(), reason="Upgrade")

    answer = run_process("enable", "--all", "--reason", "Again")

    assert answer.code == 3
    assert "Nothing was toggled." in answer.err
    assert "First is enabled already: Ada Lovelace enabled it" in answer.err
    assert "Second is enabled already" in answer.err
    assert in_maintenance() == {"First", "Second"}


@committed
def test_exit_code_4_when_the_time_is_over_and_the_toggles_stand():
    open_contact(create_environment(name="Test"), step="GET /applications")

    answer = run_process("enable", "Test", "--reason", "Upgrade", "--wait", "--timeout", "0.5", "--json")

    assert answer.code == 4
    assert answer.json["result"] == "timed_out"
    assert "GET /applications" in answer.json["message"]
    assert answer.json["environments"][0]["blockers"][0]["pid"] == 4242
    assert in_maintenance() == {"Test"}


@committed
def test_exit_code_5_when_it_cannot_come_about_everywhere():
    environment = create_environment(name="Test")
    create_environment(name="Other")
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    maintenance.disable(environment, by=actor(), reason="Done")
    SyncRun.objects.update(status="failed", ended_at=timezone.now(), message="Nobody answers")

    answer = run_process("wait", "--for", "recovered", "--all", "--timeout", "20")

    assert answer.code == 5, answer.out + answer.err
    assert "Test: the synchronization did not end well: Nobody answers" in answer.err
    assert "Other: was never in maintenance mode" in answer.out


@committed
def test_ctrl_c_says_what_still_drains_and_the_toggles_stand():
    open_contact(create_environment(name="Test"), step="PUT /settings")
    create_environment(name="Idle")

    process = start("enable", "--all", "--reason", "Upgrade", "--wait", "--timeout", "60")
    until = time.monotonic() + 30
    while not in_maintenance() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 130, err
    assert "the toggles stand" in err
    assert "Test: still draining" in err
    assert "PUT /settings" in err
    assert "Idle: quiet" in out
    assert "Traceback" not in err
    assert in_maintenance() == {"Test", "Idle"}


@committed
def test_names_come_from_the_standard_input():
    for name in ("Test", "Quality", "Production"):
        create_environment(name=name)

    answer = run_process(
        "enable", "-", "--reason", "Upgrade", typed="\ufeff# the small ones\r\nTest\r\n\r\n  quality \nTest\n"
    )

    assert answer.code == 0, answer.err
    assert in_maintenance() == {"Test", "Quality"}


@committed
def test_a_terminal_sees_a_progress_bar_and_a_pipe_does_not():
    contact = open_contact(create_environment(name="Test"))
    own, other = pty.openpty()
    termios.tcsetwinsize(other, (24, 80))
    process = start("enable", "Test", "--reason", "Upgrade", "--wait", stderr=other, text=False)
    os.close(other)
    until = time.monotonic() + 30
    while not in_maintenance() and time.monotonic() < until:
        time.sleep(0.05)
    shown = os.read(own, 100_000).decode()
    close(contact)
    out, _ = process.communicate(timeout=30)
    os.close(own)

    assert process.returncode == 0
    assert "Quiet:   0%" in shown
    assert "0/1" in shown
    assert b"Quiet:" not in out
    assert b"1 cut short" in out


def test_help_lists_every_exit_code():
    for arguments in (["--help"], ["enable", "--help"], ["wait", "--help"]):
        done = subprocess.run(
            [sys.executable, "manage.py", "maintenance", *arguments],
            cwd=settings.BASE_DIR,
            env=console(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0
        for code in (*range(6), 130):
            assert f"  {code}  " in done.stdout


# Which environments


def test_names_match_exactly_before_they_match_without_case_and_count_once():
    create_environment(name="Test")
    create_environment(name="Straße")

    answer = run("enable", "TEST", "test", "Test", "STRASSE", "--reason", "Upgrade", "--json")

    assert answer.code == 0
    assert answer.json["toggled"] == ["Test", "Straße"]


def test_a_purpose_or_all_or_a_file_say_which(tmp_path):
    create_environment(name="A", purpose="Test")
    create_environment(name="B", purpose="Test", hosting="cloud")
    create_environment(name="C", purpose="Production")
    create_environment(name="D", purpose="Development")
    create_environment(name="Gone", purpose="Test", registration="unregistered", unregistered_at=timezone.now())
    file = tmp_path / "names"
    file.write_text("c\n")

    assert run("enable", "--purpose", "non-production", "--reason", "Upgrade", "--json").json["toggled"] == ["A", "B"]
    assert run("enable", "--file", str(file), "D", "--reason", "Upgrade", "--json").json["toggled"] == ["C", "D"]
    assert run("disable", "--all", "--reason", "Done", "--json").json["toggled"] == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say which environments"),
        (["Test", "--all"], "Say which environments"),
        (["--purpose", "Test", "--all"], "Say which environments"),
        (["--purpose", "Production"], "there is no such environment"),
        ([""], "one line of text"),
        (["Te\x00st"], r"“Te\x00st”"),
        (["Te\x1b[31mst\n"], r"“Te\x1b[31mst”"),
        (["Te\udcffst"], r"“Te\udcffst”"),
        (["--file", "/does/not/exist"], "Cannot read /does/not/exist: No such file"),
        (["--file", "/"], "Cannot read /: Is a directory"),
        (["--file", "a\x00b"], r"Cannot read a\x00b"),
        (["--file", "/dev/zero"], "that is no list of names"),
        (["--file", "/dev/null"], "No environment is named"),
    ],
)
def test_what_cannot_be_understood_is_said_and_nothing_is_toggled(arguments, said):
    create_environment(name="Test", purpose="Test")

    answer = run("enable", *arguments, "--reason", "Upgrade")

    assert answer.code == 2
    assert said in answer.err
    assert "\x1b" not in answer.err
    assert in_maintenance() == set()


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "names"
    file.write_bytes(b"Test\n\xff\xfe\n")

    answer = run("enable", "--file", str(file), "--reason", "Upgrade")

    assert answer.code == 2
    assert "is no UTF-8 text (byte 5)" in answer.err


def test_wrong_names_are_in_the_json_document_with_what_looks_like_them():
    create_environment(name="Development")
    create_environment(name="Production")

    answer = run("status", "Develoment", "X", "--json")

    assert answer.code == 2
    assert answer.json["unknown"] == [{"name": "Develoment", "near": ["Development"]}, {"name": "X", "near": []}]


# Reason, person, expected end


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "two\nlines", "bell\x07", "nul\x00"])
def test_a_bad_reason_is_refused_before_anything_else(reason):
    create_environment(name="Test")

    for direction in ("enable", "disable"):
        answer = run(direction, "No such environment", "--reason", reason)
        assert answer.code == 2
        assert answer.err.startswith("--reason: ")


@pytest.mark.parametrize(
    "until", ["tomorrow", "2020-01-01", "9999-12-31T23:59:59-23:00", "9999-01-01", "2026-13-01", ""]
)
def test_an_expected_end_is_an_instant_in_the_near_future(until):
    create_environment(name="Test")

    answer = run("enable", "Test", "--reason", "Upgrade", f"--until={until}")

    assert answer.code == 2
    assert "--until" in answer.err
    assert in_maintenance() == set()


def test_an_expected_end_is_kept():
    create_environment(name="Test")
    until = (timezone.now() + timedelta(hours=2)).replace(microsecond=0)

    answer = run("enable", "Test", "--reason", "Upgrade", "--until", until.isoformat(), "--json")

    assert answer.json["environments"][0]["expected_end"] == until.isoformat()


def test_the_audit_log_names_the_system_user_or_the_person_given():
    create_environment(name="Test")
    user = create_user(username="grace", name="Grace Hopper")

    run("enable", "Test", "--reason", "Upgrade")
    run("disable", "Test", "--reason", "Done", "--by", "GRACE")

    enabled, disabled = (
        AuditEvent.objects.get(message__startswith=start) for start in ("Enabled maintenance", "Disabled maintenance")
    )
    assert enabled.actor_name.endswith(" (command line)")
    assert (disabled.actor_name, disabled.actor_key) == ("Grace Hopper", user.key)


def test_a_person_who_may_not_toggle_is_refused():
    create_environment(name="Test")
    create_environment(name="Cloud", hosting="cloud")
    create_user(username="dev", manages_infrastructure=False)
    create_user(username="admin")
    create_user(username="gone", is_active=False)
    create_user(username="root", is_staff=True, is_superuser=True)

    refused = run("enable", "Test", "--reason", "Upgrade", "--by", "dev")
    cloud = run("enable", "Test", "Cloud", "--reason", "Upgrade", "--by", "admin")
    gone = run("enable", "Test", "--reason", "Upgrade", "--by", "gone")
    nobody = run("enable", "Test", "--reason", "Upgrade", "--by", "no\x00body")
    assert in_maintenance() == set()
    support = run("enable", "Test", "Cloud", "--reason", "Upgrade", "--by", "root")

    assert (refused.code, cloud.code, gone.code, nobody.code, support.code) == (3, 3, 2, 2, 0)
    assert "dev may not: This needs a role" in refused.err
    assert "Cloud is a cloud environment" in cloud.err


# Bulk


def test_a_bulk_call_can_be_repeated():
    create_environment(name="A")
    create_environment(name="B")
    run("enable", "A", "--reason", "Upgrade")

    again = run("enable", "--all", "--reason", "Upgrade", "--skip-enabled", "--json")
    third = run("enable", "--all", "--reason", "Upgrade", "--skip-enabled")
    back = run("disable", "A", "--reason", "Done")
    rest = run("disable", "--all", "--reason", "Done", "--skip-disabled", "--json")
    refused = run("disable", "--all", "--reason", "Done")

    assert (again.json["toggled"], again.json["skipped"]) == (["B"], ["A"])
    assert third.code == 0
    assert "Nothing was left to toggle." in third.out
    assert back.code == 0
    assert (rest.json["toggled"], rest.json["skipped"]) == (["B"], ["A"])
    assert refused.code == 3
    assert "Maintenance mode of A is not enabled" in refused.err


def count_queries(number, direction):
    environments = [create_environment(name=f"{direction} {number} {one}") for one in range(number)]
    names = [one.name for one in environments]
    if direction == "enable":
        busy = SyncRun.objects.bulk_create(
            SyncRun(environment=one, trigger="manual", status="running", started_at=timezone.now(), requested_by="Ada")
            for one in environments
        )
        for run_ in busy[:2]:
            open_contact(run_.environment, sync_run=run_)
        plan_number = DeploymentPlan.objects.count() + 1
        DeploymentPlan.objects.create(
            number=plan_number, source=environments[0], target=environments[1], status="running", created_by="Ada"
        )
    else:
        maintenance.enable_all(environments, by=actor(), reason="Upgrade")
    with CaptureQueriesContext(connection) as queries:
        answer = run(direction, *names, "--reason", "Because", "--json")
    assert answer.code == 0, answer.err
    assert len(answer.json["toggled"]) == number
    statements = [query["sql"] for query in queries if "django_q_ormq" not in query["sql"]]
    return len(statements), statements


@committed
@pytest.mark.parametrize("direction", ["enable", "disable"])
def test_the_number_of_statements_does_not_grow_with_the_environments(direction):
    few, _ = count_queries(4, direction)
    many, statements = count_queries(200, direction)

    assert few == many, statements
    assert statements.count("BEGIN") <= 3  # the toggle, a look that settles, the audit of what became quiet
    messages = OrmQ.objects.count()
    assert messages <= 4 + 200 / sync.BATCH + 1


def test_a_dry_run_says_what_would_be_aborted_and_does_nothing():
    source, target = create_environment(name="Dev"), create_environment(name="Prod")
    bystander = create_environment(name="Other")
    plan = {"created_by": "Ada", "started_by": "Grace", "status": "running"}
    DeploymentPlan.objects.create(number=7, source=source, target=target, **plan)
    DeploymentPlan.objects.create(number=8, source=bystander, target=target, **{**plan, "status": "saved"})
    run_ = sync.request(source, by=actor("Ada Lovelace"))
    open_contact(source, sync_run=run_, step="GET /facts")
    entries = AuditEvent.objects.count()

    answer = run("enable", "Dev", "--reason", "Upgrade", "--dry-run")
    document = run("enable", "Dev", "--reason", "Upgrade", "--dry-run", "--json").json

    assert answer.code == 0
    assert "would abort Deployment plan #7 (Dev → Prod, started by Grace)" in answer.out
    assert f"would abort Synchronization {run_.pk} of Dev (started by Ada Lovelace)" in answer.out
    assert "at GET /facts" in answer.out
    assert "#8" not in answer.out
    assert [plan["name"] for plan in document["would_abort"]["plans"]] == ["Deployment plan #7"]
    assert in_maintenance() == set()
    assert AuditEvent.objects.count() == entries


def test_a_dry_run_says_that_it_would_be_refused():
    maintenance.enable(create_environment(name="A"), by=actor(), reason="Upgrade")
    create_environment(name="B")

    assert run("enable", "--all", "--reason", "Upgrade", "--dry-run").code == 3
    assert run("enable", "--all", "--reason", "Upgrade", "--dry-run", "--skip-enabled").code == 0
    assert run("disable", "--all", "--reason", "Upgrade", "--dry-run").code == 3
    document = run("disable", "A", "--reason", "Upgrade", "--dry-run", "--json").json
    assert document["would_disable"] == ["A"]
    assert in_maintenance() == {"A"}


# Looking and waiting


def test_status_shows_those_in_maintenance_and_settles_them():
    quiet, busy, recovering = (create_environment(name=name) for name in ("Quiet", "Busy", "Back"))
    create_environment(name="Never")
    contact = open_contact(busy, step="GET /applications")
    open_contact(quiet, lease=-1)
    for one in (quiet, busy, recovering):
        maintenance.enable(one, by=actor(), reason="Upgrade", expected_end=timezone.now() + timedelta(hours=1))
    maintenance.disable(recovering, by=actor(), reason="Done")

    answer = run("status")
    close(contact)
    document = run("status", "Busy", "Never", "--json").json

    lines = answer.out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["Quiet", "Busy", "Back"]
    assert "in force" in lines[1]
    assert "0 cut short, 1 lost, none inside the quiet" in lines[1]
    assert "draining" in lines[2]
    assert "recovering" in lines[3]
    assert "Busy waits for Sync" in lines[4]
    assert "its lease lasts" in lines[4]
    busy_one, never = document["environments"]
    assert busy_one["status"] == "in_force"
    assert busy_one["certificate"]["contacts_cut_short"] == 1
    assert (never["in_maintenance"], never["window"]) == (False, None)


def test_status_says_when_there_is_none():
    assert run("status").out == "No environment is in maintenance mode.\n"
    assert run("status", "--json").json["environments"] == []


def test_a_broken_certificate_is_said():
    environment = create_environment(name="Test")
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    open_contact(environment)

    assert "BROKEN: 1 contacts inside the quiet" in run("status").out
    assert run("wait", "--for", "quiet", "Test", "--timeout", "1").code == 5


def test_waiting_for_quiet_gives_up_lost_contacts_by_itself():
    environment = create_environment(name="Test")
    open_contact(environment, lease=1)
    maintenance.enable(environment, by=actor(), reason="Upgrade")

    answer = run("wait", "--for", "quiet", "--json", "--timeout", "20")

    assert answer.code == 0
    assert answer.json["environments"][0]["certificate"]["contacts_lost"] == 1
    assert 0.5 < answer.json["waited_seconds"] < 10


def test_waiting_for_the_quiet_of_what_is_not_in_maintenance_is_refused():
    create_environment(name="Test")

    answer = run("wait", "--for", "quiet", "Test")

    assert answer.code == 3
    assert "Not in maintenance mode" in answer.err


def test_waiting_ends_when_somebody_else_disables():
    environment = create_environment(name="Test")
    open_contact(environment)
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    awaited = watching.begin([environment.pk])
    maintenance.disable(environment, by=actor("Grace Hopper"), reason="Enough")

    awaited.look()

    assert awaited.is_over(watching.Goal.QUIET)
    assert "Grace Hopper disabled it, “Enough”" in awaited.describe(watching.Goal.QUIET)


@committed
def test_a_restart_of_the_database_does_not_end_the_waiting(monkeypatch):
    environment = create_environment(name="Test")
    open_contact(environment, lease=1)
    maintenance.enable(environment, by=actor(), reason="Upgrade")
    answers = iter([OperationalError("the connection was closed"), OperationalError("starting up")])
    real = watching.Awaited.look

    def look(self):
        if trouble := next(answers, None):
            raise trouble
        real(self)

    monkeypatch.setattr(watching.Awaited, "look", look)

    assert run("wait", "--for", "quiet", "Test", "--timeout", "20").code == 0


@committed
def test_disable_waits_until_the_environment_is_back_in_sync(platform):
    create_environment(platform=platform, name="Test")
    run("enable", "Test", "--reason", "Upgrade")
    process = start("disable", "Test", "--reason", "Done", "--wait", "--timeout", "30", "--json")
    until = time.monotonic() + 20
    while not (runs := list(SyncRun.objects.filter(status="queued"))) and time.monotonic() < until:
        time.sleep(0.05)
    sync.run([one.pk for one in runs])
    out, err = process.communicate(timeout=30)

    assert process.returncode == 0, err
    (one,) = json.loads(out)["environments"]
    assert (one["status"], one["recovery"]["status"]) == ("ended", "finished")
    assert one["recovered_at"]
    assert MaintenanceWindow.objects.get().recovered_at


def test_waiting_shorter_than_a_look_still_looks_once():
    create_environment(name="Test")

    assert run("enable", "Test", "--reason", "Upgrade", "--wait", "--timeout", "0").code == 0


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf", "soon", "1e9"])
def test_a_time_limit_is_a_sensible_number(timeout):
    create_environment(name="Test")

    with pytest.raises(CommandError, match="timeout"):
        call_command("maintenance", "enable", "Test", "--reason", "x", f"--timeout={timeout}")


def test_the_codes_have_names():
    assert set(command.RESULTS) == {0, 1, 2, 3, 4, 5, 130}


def test_synchronize_queues_what_it_may_and_names_what_it_skips():
    create_environment(name="A")
    maintenance.enable(create_environment(name="B"), by=actor(), reason="Upgrade")
    out, err = io.StringIO(), io.StringIO()

    with pytest.raises(SystemExit) as end:
        call_command("sync_environments", "--all", stdout=out, stderr=err)
    with pytest.raises(SystemExit) as wrong:
        call_command("sync_environments", "Nowhere", stdout=out, stderr=err)
    with pytest.raises(SystemExit) as nothing:
        call_command("sync_environments", stdout=out, stderr=err)

    assert (end.value.code, wrong.value.code, nothing.value.code) == (5, 2, 2)
    assert "A: Synchronization" in out.getvalue()
    assert "is queued" in out.getvalue()
    assert "B: skipped. Synchronizing the environment is disabled: B is in maintenance mode" in out.getvalue()
    assert SyncRun.objects.active().count() == 1
