"""A reader who follows the tutorial sees what it shows."""

from pathlib import Path

import pytest
from tests import tutorial


@pytest.mark.slow
def test_the_tutorial_shows_what_is_printed_in_an_empty_folder_and_a_new_environment(tmp_path: Path) -> None:
    page, real = tutorial.follow(tmp_path)
    assert page == real


def test_following_a_page_finds_a_difference_and_ignores_times(tmp_path: Path) -> None:
    page = "```python\n# a.py\nprint('2030-01-01 00:00 UTC', 'new')\n```\n```sh\npython3 a.py\n```\n"
    real = tutorial.Reader(tmp_path).follow(f"{page}```text\n2026-01-01 00:00 UTC old\n```\n")
    assert real == f"{page}```text\n2030-01-01 00:00 UTC new\n```\n"
    same = f"{page}```text\n2026-01-01 00:00 UTC new\n```\n"
    assert tutorial.Reader(tmp_path).follow(same) == same


def test_following_a_page_stops_at_a_command_that_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="status 3: oh"):
        tutorial.Reader(tmp_path).follow("```sh\necho oh; exit 3\n```\n")
