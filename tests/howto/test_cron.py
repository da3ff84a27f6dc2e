"""The script of the page about cron runs every night, and its exit code shows a failure."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.howto.pages import files_of, run, write_files

from pyade.storage import SQLiteStore
from pyade.testing.store_examples import example_token


def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    write_files("cron.md", tmp_path)
    printed = run(sys.executable, "-W", "error", "try_nightly.py", folder=tmp_path)
    assert "2 added" in printed


@pytest.mark.slow
def test_the_line_in_the_crontab_runs_the_script(tmp_path: Path) -> None:
    """Without tokens there is nothing to send; cron passes the command to a shell."""
    write_files("cron.md", tmp_path)
    line = files_of("cron.md")["ade"].splitlines()[1]
    *times, user, command = line.split(maxsplit=6)
    assert all(re.fullmatch(r"\*|\d+", part) for part in times)
    assert user == "ade"
    for shown, here in (
        ("/opt/ade/.venv/bin/python", sys.executable),
        ("/opt/ade/", f"{tmp_path}/"),
        ("/var/lib/ade/", f"{tmp_path}/"),
        ("/var/log/ade/", f"{tmp_path}/"),
    ):
        assert shown in command
        command = command.replace(shown, here)
    run("sh", "-c", command, folder=tmp_path)
    assert (tmp_path / "nightly.log").read_text() == ""
    with SQLiteStore(tmp_path / "ade.db") as store:
        store.add_token(example_token())
