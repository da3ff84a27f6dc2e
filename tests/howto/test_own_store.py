"""The store of the page passes the suites with the test file of the page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from tests.howto.pages import blocks_of, run, write_files

pytestmark = pytest.mark.slow


def test_the_commands_of_the_page_pass(tmp_path: Path) -> None:
    write_files("own-store.md", tmp_path)
    (test,) = map(shlex.split, blocks_of("own-store.md", "sh"))
    assert test[0] == "python"
    # tests/storage runs the other suites on the same database.
    printed = run(sys.executable, *test[1:], "-k", "TestEncryption", folder=tmp_path)
    assert "passed" in printed
    assert "failed" not in printed
    assert "3 added" in run(sys.executable, "try_my_store.py", folder=tmp_path)
