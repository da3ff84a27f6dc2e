"""The store of the page passes the suites with the test file of the page."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest
from tests.howto.pages import ROOT, blocks_of, run, write_files

pytestmark = pytest.mark.slow


def test_the_commands_of_the_page_pass(tmp_path: Path) -> None:
    pytest.importorskip("apsw")
    write_files("own-store.md", tmp_path)
    copy, test = map(shlex.split, blocks_of("own-store.md", "sh")[0].splitlines())
    assert copy[0] == "cp"
    shutil.copy(ROOT / copy[1], tmp_path / copy[2])
    assert test[0] == "python"
    # tests/examples runs the other suites on the same file.
    printed = run(sys.executable, *test[1:], "-k", "TestEncryption", folder=tmp_path)
    assert "passed" in printed
    assert "failed" not in printed
    assert "3 added" in run(sys.executable, "try_my_store.py", folder=tmp_path)
