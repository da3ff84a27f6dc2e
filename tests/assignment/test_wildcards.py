"""Patterns of rules match exactly what equivalent regular expressions match."""

from __future__ import annotations

import re
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from pyade.assignment.rules import Wildcard, _fold_letter

LETTERS = "aAbB*?\n.[\\\u0130\u0131i\u00df\u1e9e\u017fs\u212ak\ufb05\ufb06\ud800"
"""Includes letters with unusual case mappings: a dotless i, a long s, a Kelvin sign, a sharp s."""


def expression(pattern: str) -> re.Pattern[str]:
    words = {"*": ".*", "?": "."}
    joined = "".join(words.get(letter) or re.escape(letter) for letter in pattern)
    return re.compile(joined, re.IGNORECASE | re.DOTALL)


@given(st.text(LETTERS, max_size=6), st.text(LETTERS, max_size=8))
def test_pattern_matches_what_its_regular_expression_matches(pattern: str, text: str) -> None:
    assert Wildcard.of(pattern).matches(text) == bool(expression(pattern).fullmatch(text))


@given(st.text("aB*?", max_size=6), st.text("Ab*?", max_size=6), st.text("abX", max_size=8))
def test_covering_pattern_matches_all_texts_of_the_covered_one(wide: str, narrow: str, text: str) -> None:
    covers, fits = Wildcard.of(wide).covers(narrow), Wildcard.of(narrow).matches(text)
    assert not (covers and fits) or Wildcard.of(wide).matches(text)
    assert Wildcard.of(narrow).covers(narrow)
    assert Wildcard.of("*").covers(narrow)


def test_examples_of_covering_patterns() -> None:
    for wide, narrow in (
        ("*?", "?*"),
        ("Mac*", "macBook ?ir*"),
        ("*a*", "ba*?"),
        ("M?c", "Mac"),
    ):
        assert Wildcard.of(wide).covers(narrow), (wide, narrow)
    for wide, narrow in (
        ("Mac", "Mac*"),
        ("Mac?", "Mac*"),
        ("Mac", "M?c"),
        ("stra\u00dfe", "strasse"),
    ):
        assert not Wildcard.of(wide).covers(narrow), (wide, narrow)


@given(st.text(max_size=8), st.integers(0, 8))
def test_pattern_made_of_a_text_matches_that_text(text: str, at: int) -> None:
    """In any case, and with any part replaced by a wildcard."""
    for pattern in (text, f"{text[:at]}*", f"*{text[at:]}", f"{text[:at]}*{text[at:]}", "?" * len(text)):
        assert Wildcard.of(pattern).matches(text)
        assert Wildcard.of(pattern).matches(text) == bool(expression(pattern).fullmatch(text))


def test_case_is_ignored_as_in_regular_expressions_for_every_letter() -> None:
    """All letters that differ only in case match, and no others."""
    same = defaultdict(set)
    letters = [chr(number) for number in range(0x110000)]
    for letter in letters:
        same[_fold_letter(letter)].add(letter)
    groups = [group for group in same.values() if len(group) > 1]
    assert len(groups) > 1_000
    for group in groups:
        for letter in group:
            assert re.compile(re.escape(letter), re.IGNORECASE).sub("", "".join(sorted(group))) == ""
    cased = "".join(letter for letter in letters if letter.lower() != letter or letter.upper() != letter)
    for letter in cased[::7]:
        found = re.findall(re.escape(letter), cased, re.IGNORECASE)
        assert set(found) == same[_fold_letter(letter)] & set(cased)
