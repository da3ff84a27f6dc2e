"""The pytest plugin: its fixtures share one clock, and it imports nothing of pyade before one is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyade import Syncer
from pyade.testing import FakeApple, FrozenClock, World

TESTS = """
import sys

def test_nothing_of_pyade_is_loaded_before_a_fixture_is_used():
    assert not [name for name in sys.modules if name.partition(".")[0] == "pyade"]

def test_a_fixture_loads_it(frozen_clock):
    assert "pyade.testing.world" in sys.modules
"""


def test_the_fixtures_belong_to_one_world(
    pyade_world: World, fake_apple: FakeApple, frozen_clock: FrozenClock
) -> None:
    assert pyade_world.fake is fake_apple
    assert fake_apple.clock is pyade_world.client.clock is frozen_clock
    assert Syncer(pyade_world.client, pyade_world.store).sync().changes.added == 3


def run_pytest(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a test in a process, without the options and the coverage of this run."""
    (folder / "test_it.py").write_text(test)
    ours = ("PYTEST_", "COV_", "COVERAGE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options]
    return subprocess.run(
        [*command, "test_it.py"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_run_of_pytest_without_a_fixture_of_pyade_does_not_import_it(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, TESTS)
    assert (run.returncode, "2 passed" in run.stdout) == (0, True), run.stdout


@pytest.mark.slow
def test_coverage_of_a_run_counts_every_line_of_pyade(tmp_path: Path) -> None:
    test = "def test_it(pyade_world):\n    pass\n"
    run = run_pytest(tmp_path, test, "--cov=pyade.loading", "--cov-report=term")
    (line,) = (line for line in run.stdout.splitlines() if "loading.py" in line)
    assert int(line.split()[-1].rstrip("%")) > 60, "lines that run on import are counted"
