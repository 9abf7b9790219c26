"""What holds for the project as a whole, beyond the linters that `make test` runs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent


def check_lock(root):
    command = [sys.executable, "requirements/lock.py", "--check"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_lock_is_current():
    result = check_lock(ROOT)
    assert result.returncode == 0, result.stderr


def test_a_new_dependency_makes_the_lock_stale(copy):
    project = copy / "pyproject.toml"
    project.write_text(project.read_text().replace("dependencies = [", 'dependencies = [\n    "flask>=3",', 1))

    result = check_lock(copy)
    assert result.returncode == 1
    assert "requirements/run.txt was made for other dependency lists: run `make lock`." in result.stderr
    assert "requirements/development.txt has flask None, pyproject.toml wants flask>=3." in result.stderr


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: "--index-url https://packages.example.com/simple\n" + text, "names a package index"),
        (lambda text: "\n".join(line for line in text.splitlines() if "--hash" not in line), "pins without hashes"),
        (lambda text: text.replace("django==", "jango=="), "has django None"),
    ],
)
def test_a_lock_changed_by_hand_is_found_out(copy, change, fault):
    lock = copy / "requirements" / "run.txt"
    lock.write_text(change(lock.read_text()))

    result = check_lock(copy)
    assert result.returncode == 1
    assert fault in result.stderr


def test_development_has_the_versions_that_run():
    run, development = (
        {line.split(" ")[0] for line in (ROOT / "requirements" / name).read_text().splitlines() if "==" in line}
        for name in ("run.txt", "development.txt")
    )
    assert run < development


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("name", ["run", "browser"])
def test_scripts_of_continuous_integration_are_sound(name):
    script = ROOT / ".ci" / name
    shell = "bash" if name == "run" else "sh"
    assert subprocess.run([shell, "-n", script], check=False).returncode == 0
    assert script.stat().st_mode & 0o111


def test_every_target_of_the_makefile_is_explained():
    makefile = (ROOT / "Makefile").read_text()
    said = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = makefile.split(".PHONY: ")[1].split("\n")[0].split()
    inner = {"help", "run-environment", "development-environment"}
    assert [f"make {target}" in said for target in phony if target not in inner] == [True] * 6
