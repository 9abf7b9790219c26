import csv
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from audit.log import SYSTEM, Actor, AuditObject, record
from tests.audit import chains

pytestmark = pytest.mark.django_db

ON = AuditObject(type="environment", key="k", name="Production")


def run(*words):
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command("audit", *words, stdout=out, stderr=err)
    except SystemExit as ended:
        code = ended.code
    except CommandError as refusal:
        code = refusal.returncode
        err.write(str(refusal))
    return code, out.getvalue(), err.getvalue()


def tamper():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute("UPDATE audit_auditevent SET message = 'x' WHERE number = 1")
        cursor.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER USER")


def test_verify_says_that_the_log_is_intact():
    assert run("verify") == (0, f"The audit log is intact: No entries, last 0:{'0' * 64}\n", "")
    record("One", ON, by=SYSTEM)
    event = record("Two", ON, by=SYSTEM)

    assert run("verify") == (0, f"The audit log is intact: 2 entries, last 2:{event.hash}\n", "")
    code, out, _ = run("verify", "--json")
    assert code == 0
    assert json.loads(out) == {"intact": True, "entries": 2, "first": 1, "last": 2, "hash": event.hash, "fault": None}


def test_verify_says_what_is_wrong_and_where():
    record("One", ON, by=SYSTEM)
    tamper()

    code, out, err = run("verify")
    assert (code, out) == (1, "")
    assert "NOT intact (changed): #1 is not what was written" in err
    code, out, _ = run("verify", "--json")
    assert code == 1
    answer = json.loads(out)
    assert (answer["intact"], answer["fault"]["kind"], answer["fault"]["number"]) == (False, "changed", 1)


def test_verify_compares_a_noted_entry():
    event = record("One", ON, by=SYSTEM)

    assert run("verify", "--known", f"1:{event.hash}")[0] == 0
    assert run("verify", "--known", f"1:{'0' * 64}")[0] == 1
    assert run("verify", "--known", "nonsense")[0] == 2


def test_prune_deletes_and_says_how_much():
    now = datetime.now(UTC)
    chains.append(chains.event(now - timedelta(days=age)) for age in (400, 380, 50))

    assert run("prune", "--days", "10")[0] == 2
    assert run("prune") == (0, "Deleted 2 audit entries, #1 to #2.\n", "")
    assert run("prune") == (0, "No audit entry is old enough to be deleted.\n", "")
    assert run("verify")[0] == 0


def test_export_writes_the_filtered_entries(tmp_path):
    chains.append([chains.event(datetime.now(UTC) - timedelta(days=100), message="Long ago")])
    record("One", ON, by=SYSTEM)
    record("Two", ON, by=Actor(name="Ada", username="ada"), succeeded=False)
    file = tmp_path / "audit.csv"

    assert run("export", "--format", "csv", "--output", str(file))[0] == 0
    with file.open(encoding="utf-8-sig", newline="") as written:
        assert [row["Message"] for row in csv.DictReader(written)] == ["Long ago", "One", "Two"]
    file = tmp_path / "audit.jsonl"
    assert run("export", "--format", "jsonl", "--output", str(file), "--failed", "--user", "ada")[0] == 0
    assert [json.loads(line)["message"] for line in file.read_text().splitlines()] == ["Two"]


def test_export_writes_a_spreadsheet_up_to_its_limit(tmp_path, monkeypatch):
    record("One", ON, by=SYSTEM)
    file = tmp_path / "audit.xlsx"
    assert run("export", "--format", "xlsx", "--output", str(file))[0] == 0
    assert zipfile.is_zipfile(file)
    file.unlink()
    monkeypatch.setattr("audit.spreadsheet.MOST_ENTRIES", 0)
    code, _, err = run("export", "--format", "xlsx", "--output", str(file))
    assert (code, "at most 0 entries" in err, file.exists()) == (1, True, False)


def test_export_goes_to_the_standard_output(capsys):
    record("One", ON, by=SYSTEM)

    assert run("export", "--format", "jsonl", "--output", "-")[0] == 0
    assert json.loads(capsys.readouterr().out)["message"] == "One"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--from", "yesterday"), 2, "--from: Write the date"),
        (("--user", "nobody"), 2, "--user: Nobody called"),
        (("--type", "planet"), 2, "--type: The log has no entry"),
        (("--output", "/nonexistent/file"), 1, "Cannot write /nonexistent/file: No such file or directory"),
    ],
)
def test_a_bad_export_is_refused(tmp_path, words, code, message):
    file = tmp_path / "audit.csv"

    ended, _, err = run("export", "--format", "csv", "--output", str(file), *words)

    assert ended == code
    assert message in err
    assert not file.exists()


def test_the_exit_codes_are_in_the_help(capsys):
    for words in (["--help"], ["verify", "--help"]):
        assert run(*words)[0] == 0
        assert "exit codes:" in capsys.readouterr().out
