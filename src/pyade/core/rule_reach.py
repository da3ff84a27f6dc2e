"""Whether a rule can ever decide, or the rules before it take every Mac that it describes.

The rules of this file, where a *case* of a rule is one pattern of each of its conditions:

1. A rule can never decide if each of its cases is covered by a rule before it. One rule covers a case if each
   of its own conditions holds for every Mac of the case.
2. A condition holds if one of its patterns matches all that the pattern of the case does; see ``Wildcard``.
3. A condition that the case does not have may fail, as Apple need not say everything about a Mac. The family
   of what can only be the model of a Mac is known: ``Mac``.
4. A predicate may be false, except where the later rule asks the same one.
5. Only what can be known is said. A rule of more than 1,000 cases is compared condition by condition with one
   rule at a time.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Self

import attrs

from pyade.core.wildcards import Wildcard, folded

if TYPE_CHECKING:
    from pyade.core.rules import Rule

_MAX_CASES: Final = 1_000
_NAMES_OF_MACS: Final = ("mac", "imac", "xserve")
"""How the name of every model of Apple's begins that is a Mac, and of no other; in lower case."""


@attrs.frozen
class _Patterns:
    """The patterns of one condition: those without a wildcard are found in a set."""

    texts: frozenset[tuple[str, ...]]
    wildcards: tuple[Wildcard, ...]

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        given = tuple(patterns)
        return cls(
            frozenset(folded(pattern) for pattern in given if not _is_wild(pattern)),
            tuple(Wildcard.of(pattern) for pattern in given if _is_wild(pattern)),
        )

    def cover(self, pattern: str) -> bool:
        is_listed = bool(self.texts) and not _is_wild(pattern) and _folded(pattern) in self.texts
        return is_listed or any(one.covers(pattern) for one in self.wildcards)


def never_reached(rules: Sequence[Rule]) -> tuple[Rule, tuple[Rule, ...]] | None:
    """Return the first rule that can never decide, and the earlier ones that take its Macs; None if none is.

    Args:
        rules: In the order in which they count.
    """
    before: list[tuple[Rule, dict[str, _Patterns]]] = []
    for rule in rules:
        asked = [it for it in before if it[0].predicate is None or it[0].predicate is rule.predicate]
        if takers := _takers(rule, asked):
            return rule, takers
        before.append((rule, {name: _Patterns.of(texts) for name, texts in rule.conditions.items()}))
    return None


def _takers(rule: Rule, before: list[tuple[Rule, dict[str, _Patterns]]]) -> tuple[Rule, ...]:
    found: dict[int, Rule] = {}
    for case in _cases(rule):
        for earlier, conditions in before:
            if all(_holds(name, patterns, case) for name, patterns in conditions.items()):
                found[id(earlier)] = earlier
                break
        else:
            return ()
    return tuple(found.values())


def _cases(rule: Rule) -> Iterator[Mapping[str, tuple[str, ...]]]:
    """Yield the cases of *rule*; one of them for all if there are too many."""
    conditions = rule.conditions
    if math.prod(map(len, conditions.values())) > _MAX_CASES:
        yield conditions
        return
    for patterns in itertools.product(*conditions.values()):
        yield {name: (pattern,) for name, pattern in zip(conditions, patterns, strict=True)}


def _holds(name: str, patterns: _Patterns, case: Mapping[str, tuple[str, ...]]) -> bool:
    """Return True if one of *patterns* matches whatever the patterns of *case* for that condition do."""
    wanted = case.get(name, ())
    if name == "family" and not wanted and "model" in case and all(map(_names_a_mac, case["model"])):
        wanted = ("Mac",)
    return bool(wanted) and all(map(patterns.cover, wanted))


@functools.lru_cache(maxsize=1_024)
def _folded(pattern: str) -> tuple[str, ...]:
    """Return *pattern* in the letters of ``folded``: each is compared with all rules before it."""
    return folded(pattern)


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _names_a_mac(pattern: str) -> bool:
    """Return True if only the model of a Mac matches *pattern*."""
    return re.split("[*?]", pattern.lower(), maxsplit=1)[0].startswith(_NAMES_OF_MACS)
