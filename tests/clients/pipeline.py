"""The published client, as a person installs and runs it: from the registry, in a virtual environment of its own."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
from django.conf import settings

PACKAGE = "outsystems-pipeline==0.11.0"
INSTALL_SECONDS = 300
RUN_SECONDS = 60


def installed() -> Path:
    """The Python of the client's environment under var/, made and filled once."""
    folder = settings.VAR_DIR / "clients" / PACKAGE.replace("==", "-")
    python, done = folder / "bin" / "python", folder / "installed"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            _run(
                str(python), *("-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "install", PACKAGE)
            )
            done.touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if done.returncode:
        words = f"{PACKAGE} could not be installed, and without it nothing is proven here. Can pip reach its registry?"
        pytest.fail(f"{words}\n{' '.join(command)}\n{done.stdout}\n{done.stderr}", pytrace=False)


class Result:
    """What a script printed, and how it ended."""

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output

    def succeeded(self, *words: str) -> None:
        assert self.code == 0, self.output
        for one in words:
            assert one in self.output, self.output

    def failed(self, *words: str) -> None:
        assert self.code == 1, self.output
        for one in words:
            assert one in self.output, self.output


class Client:
    """Runs scripts against one console, in one folder, as one job of a pipeline does."""

    def __init__(self, folder: Path, *, url: str, token: str, authority: Path) -> None:
        self.folder = folder
        self._python = installed()
        self._url, self._token = url, token
        self._configuration = folder / "pipeline.env"
        self._configuration.write_text(
            "SLEEP_PERIOD_IN_SECS=1\nQUEUE_TIMEOUT_IN_SECS=20\nDEPLOYMENT_TIMEOUT_IN_SECS=60\n"
            "SOURCECODE_SLEEP_PERIOD_IN_SECS=1\nSOLUTION_SLEEP_PERIOD_IN_SECS=1\n"
            f"LIFETIME_SSL_CERT_VERIFY={authority}\nPROPERTIES_API_SSL_CERT_VERIFY={authority}\n"
        )

    @property
    def artifacts(self) -> Path:
        return self.folder / "Artifacts"

    def run(self, script: str, *options: str, url: str = "-u", token: str = "-t") -> Result:
        """`url` and `token` are the names of these options: one script calls them otherwise."""
        return self.start(script, *options, url=url, token=token).result()

    def start(self, script: str, *options: str, url: str = "-u", token: str = "-t") -> "Run":
        """As `run`, but meanwhile other things can happen."""
        common = (url, self._url, token, self._token, "--config_file", str(self._configuration))
        surroundings = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "NO_PROXY": "127.0.0.1"}
        process = subprocess.Popen(
            [str(self._python), "-m", f"outsystems.pipeline.{script}", *common, *options],
            cwd=self.folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Run(process)


class Run:
    """A script that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def result(self) -> Result:
        """How it ended, as soon as it has."""
        try:
            output, _ = self._process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
            pytest.fail(f"It did not end within {RUN_SECONDS} s:\n{output}", pytrace=False)
        return Result(self._process.returncode, output)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
