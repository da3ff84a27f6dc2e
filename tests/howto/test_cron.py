"""The commands and the script of the page about cron sync and assign, and cron has nothing to mail."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.howto.pages import complete, files_of, run, write_files

from pyade import EnrollmentProfile
from pyade.storage import SQLiteStore
from pyade.testing import FakeApple
from pyade.testing.store_examples import example_token


@pytest.mark.slow
def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    write_files("cron.md", tmp_path)
    printed = run(sys.executable, "-W", "error", "try_nightly.py", folder=tmp_path)
    assert "2 added" in printed


@pytest.mark.slow
def test_the_command_line_in_the_crontab_syncs_and_assigns_silently(tmp_path: Path) -> None:
    fake = FakeApple()
    fake.add_devices(3, server=fake.add_server("Contoso MDM"))
    with SQLiteStore(tmp_path / "ade.db") as store, fake.serve() as served:
        store.add_token(fake.token(name="hq"))
        store.set_default_profile(
            "hq", EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")
        )
        lines = files_of("cron.md")["ade"].splitlines()
        settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
        assert settings["PYADE_STORE"] == "/var/lib/ade/ade.db"
        settings |= {"PYADE_STORE": str(tmp_path / "ade.db"), "PYADE_BASE_URL": served.base_url}
        assert settings.pop("PATH").startswith("/opt/ade/.venv/bin:")
        nightly, weekly = (_command(line, tmp_path) for line in lines if line[0].isdigit())
        done = complete("sh", "-c", nightly, folder=tmp_path, **settings)
        assert (done.stdout, done.stderr) == ("", ""), "cron would mail it"
        assert store.count_devices("hq")["assigned"] == 3
        assert "1 problem" in run("sh", "-c", weekly, folder=tmp_path, **settings)


def _command(line: str, folder: Path) -> str:
    """Return the command of a line for a crontab, with the paths of this test."""
    *times, user, command = line.split(maxsplit=6)
    assert all(re.fullmatch(r"\*|\d+", part) for part in times)
    assert user == "ade"
    command = command.replace("/opt/ade/.venv/bin/python", sys.executable)
    return re.sub(r"/(?:opt|var/lib|var/log)/ade/", f"{folder}/", command)


@pytest.mark.slow
def test_the_line_in_the_crontab_runs_the_script(tmp_path: Path) -> None:
    """Without tokens there is nothing to send; cron passes the command to a shell."""
    write_files("cron.md", tmp_path)
    run("sh", "-c", _command(files_of("cron.md")["ade-nightly"], tmp_path), folder=tmp_path)
    assert (tmp_path / "nightly.log").read_text() == ""
    with SQLiteStore(tmp_path / "ade.db") as store:
        store.add_token(example_token())
