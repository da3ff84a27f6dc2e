"""The pages print what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.howto.pages import blocks_of, run


@pytest.mark.slow  # that it runs is tested for every change, with the other pages
@pytest.mark.parametrize("page", ["incident.md"])
def test_a_page_prints_the_text_that_it_shows(page: str, tmp_path: Path) -> None:
    printed = run(sys.executable, "-c", "\n".join(blocks_of(page, "python")), folder=tmp_path)
    shown = blocks_of(page, "text")
    assert shown
    for block in shown:
        assert _without_times(block) in _without_times(printed)


def _without_times(text: str) -> str:
    return re.sub(r"\b\d\d:\d\d(:\d\d)?\b", "12:00", text)
