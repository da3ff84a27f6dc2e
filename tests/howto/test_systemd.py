"""systemd reads the units of the page, and the hardening does what the page says."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.howto.pages import PAGES, files_of

from pyade.cli.app import COMMANDS

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """Return the files of the units, with programs that exist in place of those below /opt/ade."""
    paths = []
    for name, text in files_of("systemd.md").items():
        path = tmp_path / name
        path.write_text(re.sub(r"/opt/ade/\.venv/bin/\w+", "/bin/true", text), "utf-8")
        paths.append(str(path))
    return paths


@needs_systemd
def test_systemd_accepts_the_units(units: list[str]) -> None:
    done = analyze("verify", *units)
    assert done.returncode == 0, done.stderr
    assert "ade" not in done.stderr


@needs_systemd
def test_the_service_is_little_exposed(units: list[str]) -> None:
    """Systemd's score is from 0 (best) to 10; a unit without hardening has 9.6."""
    done = analyze("security", "--offline=true", "--threshold=30", units[0])
    assert done.returncode == 0, done.stdout[-400:]


@needs_systemd
def test_the_timer_runs_every_night() -> None:
    timer = configparser.ConfigParser(interpolation=None)
    timer.read_string(files_of("systemd.md")["ade-nightly.timer"])
    done = analyze("calendar", timer["Timer"]["OnCalendar"], "--iterations=2")
    times = re.findall(r"(\d+)-(\d+)-(\d+) (\d\d:\d\d):00", done.stdout)
    assert {time for *_, time in times} == {"02:17"}


def test_the_units_run_programs_that_other_pages_show() -> None:
    text = (PAGES / "systemd.md").read_text("utf-8")
    assert "starlette_app.py" in files_of("asgi.md")
    assert "def create()" in files_of("asgi.md")["starlette_app.py"]
    commands = re.findall(r"^ExecStart=-?/opt/ade/.venv/bin/pyade (\w+)", text, re.MULTILINE)
    assert (commands[0], set(commands) - set(COMMANDS)) == ("sync", set())
    assert "starlette_app:create --app-dir /opt/ade" in text
