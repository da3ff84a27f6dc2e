"""The command line as processes, and in this process where a process adds nothing.

The rules of this file:

1. Processes see no setting of this run: neither its store nor its proxies.
2. A fake that is served ends with its test.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from pyade import Token
from pyade.apple.http import connection
from pyade.cli import main
from pyade.storage import SQLiteStore
from pyade.testing import FakeApple


def clean() -> dict[str, str]:
    """Return the environment without settings of pyade (rule 1)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYADE_")}


PROFILE = {
    "profile_name": "Standard Mac",
    "url": "https://mdm.contoso.com/enroll",
    "is_supervised": True,
    "is_mdm_removable": False,
    "skip_setup_items": ["Siri"],
}


@attrs.frozen
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands in a folder, with variables of the environment that last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env: dict[str, str] = {}

    def __call__(self, *arguments: str, code: int | None = 0, options: tuple[str, ...] = ()) -> Done:
        """Run ``python -m pyade`` and check its exit code."""
        command = [sys.executable, *options, "-m", "pyade", *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**clean(), **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        found = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert code in (None, found.code), found
        assert "Traceback" not in found.err, found.err
        return found

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command that runs until it is stopped."""
        process = subprocess.Popen(
            [sys.executable, "-m", "pyade", *arguments],
            cwd=self.folder,
            env={**clean(), **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A script that runs the tests in the background ignores Ctrl-C, and what it starts inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        with process:
            try:
                yield process
            finally:
                process.kill()  # rule 2

    @contextlib.contextmanager
    def fake(self, *arguments: str) -> Iterator[Any]:
        """Serve the fakes and point the commands at them; yields what the process printed."""
        with self.started("fake", "serve", *arguments) as process:
            assert process.stdout is not None
            served = json.loads(process.stdout.readline())
            self.env["PYADE_BASE_URL"] = served["base_url"]
            yield served
            process.send_signal(signal.SIGTERM)
            assert (process.wait(20), process.communicate()[1]) == (0, "")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
    shell = Shell(tmp_path)
    shell.env["PYADE_STORE"] = "ade.db"
    return shell


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, in a folder of its own."""
    (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
    for name in [name for name in os.environ if name.startswith("PYADE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYADE_STORE", "ade.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connection, "pause", lambda _seconds: None)  # between retries

    def run(*arguments: str, code: int = 0, stdin: bytes = b"") -> Done:
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            found = main(arguments)
        assert found == code, (out.getvalue(), err.getvalue())
        return Done(found, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Iterator[FakeApple]:
    """Return a fake with 3 Macs, whose token ``hq`` is in the store; the commands are pointed at it."""
    fake = FakeApple()
    fake.add_devices(3, server=fake.add_server("Main"))
    with SQLiteStore(tmp_path / "ade.db") as store:
        store.add_token(fake.token(name="hq"))
    with fake.serve() as served:
        monkeypatch.setenv("PYADE_BASE_URL", served.base_url)
        yield fake


def stored_token(folder: Path, name: str = "hq") -> Token:
    with SQLiteStore(folder / "ade.db") as store:
        return store.token(name)
