"""The how-to pages are complete, linked, and use what pyade offers."""

from __future__ import annotations

import re

import pytest
from tests.howto.pages import PAGES

NAMES = sorted(path.name for path in PAGES.glob("*.md") if path.name != "index.md")


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"^\w[\w-]*$", (PAGES / "index.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(f"{name}.md" for name in listed) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_one_question_answers_it_and_says_what_goes_wrong(name: str) -> None:
    text = (PAGES / name).read_text("utf-8")
    titles = re.findall(
        r"^# (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    assert len(titles) == 1
    assert titles[0].endswith("?")
    assert "\n## Pitfalls\n" in text


@pytest.mark.parametrize("name", NAMES)
def test_a_page_imports_only_from_public_packages(name: str) -> None:
    deep = re.findall(r"^ *from (pyade\.\w+\.[\w.]+) import", (PAGES / name).read_text("utf-8"), re.MULTILINE)
    assert [module for module in deep if not module.startswith("pyade.testing.contract")] == []
