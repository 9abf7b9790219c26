"""Lock files with hashes: `run.txt` (the console with its embedded PostgreSQL), `development.txt` (its tools as well).

`python requirements/lock.py` makes them anew from pyproject.toml; `--check` says, offline, whether they are current.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent / "pyproject.toml"
LOCKS = {"run.txt": ["--extra=embedded"], "development.txt": ["--extra=embedded", "--group=dev"]}
DIGEST = "# For the dependency lists with the digest "
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; say what is wrong, exit 1 if anything is")
    if not parser.parse_args().check:
        for name, wanted in LOCKS.items():
            compile_lock(name, wanted)
    faults = [fault for name in LOCKS for fault in find_faults(name)]
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    return 1 if faults else 0


def compile_lock(name: str, wanted: list[str]) -> None:
    """Let pip-compile pin everything. What `run.txt` pins is pinned alike in `development.txt`."""
    options = ["--quiet", "--generate-hashes", "--strip-extras", "--allow-unsafe", "--upgrade", "--no-annotate"]
    options += ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"]
    if name != "run.txt":
        options += ["--constraint=requirements/run.txt"]
    command = [sys.executable, "-m", "piptools", "compile", *options, f"--output-file=requirements/{name}"]
    environment = {**os.environ, "CUSTOM_COMPILE_COMMAND": "make lock"}
    asked = "\n".join(dependencies(wanted))
    subprocess.run([*command, "-"], input=asked, text=True, check=True, cwd=PROJECT.parent, env=environment)
    lock = HERE / name
    lock.write_text(f"{DIGEST}{digest(wanted)}\n{lock.read_text()}")


def find_faults(name: str) -> list[str]:
    """Why this lock must be made anew; an empty list when it is current."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lock = HERE / name
    if not lock.exists():
        return [f"requirements/{name} is missing: run `make lock`."]
    text, wanted, faults = lock.read_text(), LOCKS[name], []
    if not text.startswith(f"{DIGEST}{digest(wanted)}\n"):
        faults.append(f"requirements/{name} was made for other dependency lists: run `make lock`.")
    if "://" in text or "--index" in text or "--find-links" in text:
        faults.append(f"requirements/{name} names a package index: remove it.")
    pins = {canonicalize_name(package): version for package, version in PIN.findall(text)}
    if text.count("==") < len(pins) or len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) < len(pins):
        faults.append(f"requirements/{name} has pins without hashes: run `make lock`.")
    for requirement in map(Requirement, dependencies(wanted)):
        version = pins.get(canonicalize_name(requirement.name))
        if version is None or version not in requirement.specifier:
            faults.append(f"requirements/{name} has {requirement.name} {version}, pyproject.toml wants {requirement}.")
    return faults


def dependencies(wanted: list[str]) -> list[str]:
    """What pyproject.toml asks for, for one lock."""
    project: dict[str, Any] = tomllib.loads(PROJECT.read_text())
    found = list(project["project"]["dependencies"])
    for option in wanted:
        kind, _, group = option.partition("=")
        lists = project["project"]["optional-dependencies"] if kind == "--extra" else project["dependency-groups"]
        found += lists[group]
    return found


def digest(wanted: list[str]) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(dependencies(wanted)).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
