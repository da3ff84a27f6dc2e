"""Patterns with ``*`` and ``?``, in a time that grows with the length of the text, whatever both hold.

A regular expression with several ``.*`` tries every way to share a text among them. Here one number holds
every place of the pattern that could have been reached so far, as a bit each, and each letter of the text
moves all of them on at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

import attrs


@attrs.frozen
class Wildcard:
    """One pattern, which is compared with a whole text; letter case does not count.

    Attributes:
        places: For each letter of the pattern the places where it may come next, those of ``?`` among them.
        anywhere: The places of ``?``.
        loops: The places of ``*``: any letters may come there.
        end: The place after the last letter.
    """

    places: Mapping[str, int]
    anywhere: int
    loops: int
    end: int

    @classmethod
    def of(cls, pattern: str) -> Self:
        """Return *pattern*, of which ``*`` stands for any characters and ``?`` for one."""
        places: dict[str, int] = {}
        anywhere = loops = 0
        place = 1
        for letter in _in_order(pattern):
            if letter == "*":
                loops |= place
                continue
            if letter == "?":
                anywhere |= place
            else:
                key = _without_case(letter)
                places[key] = places.get(key, 0) | place
            place <<= 1
        return cls({key: found | anywhere for key, found in places.items()}, anywhere, loops, place)

    def matches(self, text: str) -> bool:
        """Return True if the pattern describes the whole *text*."""
        reached, settled = 1, self.end & self.loops
        for letter in text.upper() if text.isascii() else map(_without_case, text):
            moved = (reached & self.places.get(letter, self.anywhere)) << 1
            reached = moved | (reached & self.loops)
            if not reached:
                return False
            if reached & settled:
                return True
        return bool(reached & self.end)

    def covers(self, pattern: str) -> bool:
        """Return True if every text that *pattern* matches is matched by this one, too; never wrongly.

        What ``*`` of *pattern* stands for is only taken by a ``*`` of this one: that ``?*`` covers ``*x`` is
        not known.
        """
        reached = 1
        for letter in _in_order(pattern):
            kept = reached & self.loops
            if letter == "*":
                reached = kept
            else:
                # "?" stands for any letter, also for one that this pattern does not name.
                key = "" if letter == "?" else _without_case(letter)
                reached = (reached & self.places.get(key, self.anywhere)) << 1 | kept
        return bool(reached & self.end)


def _in_order(pattern: str) -> str:
    """Return the same pattern with every ``?`` before the ``*`` beside it, and one ``*`` for several."""
    return re.sub(r"[*?]{2,}", lambda run: "?" * run[0].count("?") + "*" * ("*" in run[0]), pattern)


def folded(text: str) -> tuple[str, ...]:
    """Return the same letters for all texts that differ in the case of letters alone, as patterns see it."""
    return tuple(map(_without_case, text))


def _without_case(letter: str) -> str:
    """Return the same text for the letters that differ in case alone, as ``re.IGNORECASE`` sees it."""
    return letter.lower()[:1].upper()
