"""One name for two different profiles: group rules and people cannot tell the Macs apart.

The rules of this file:

1. What counts is what is in use at once on one token: the default, the profile of each rule, and each profile
   that was picked for a device. The predecessor of the default, or of a picked profile, is not: the devices
   that still have it are given its successor.
2. Names are the same if they differ in letter case alone, as in group rules of Microsoft Entra.
3. Equal content is one profile, however often it was defined at Apple. What Apple does not see, such as
   account settings, is content, too: where only that differs, Apple has one profile for both, and all their
   Macs get the settings of one.

Source: specification, "Create an Apple enrollment profile", Basics: dynamic groups compare the name.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import attrs

from pyade.core.problems import Problem, Severity

FIX = "give one of them another name"


@attrs.frozen
class NamedUse:
    """A profile in use.

    Attributes:
        name: Its name.
        content: What tells its content from another's; hashable.
        chosen_by: What uses it, in words.
    """

    name: str
    content: Hashable
    chosen_by: str


def same_names(uses: Iterable[NamedUse]) -> tuple[Problem, ...]:
    """Return a warning for each name that different profiles have, by name; its ``value`` is the name.

    Args:
        uses: All profiles that are in use at once on one token.
    """
    found: dict[str, dict[Hashable, NamedUse]] = {}
    for use in uses:
        found.setdefault(use.name.casefold(), {}).setdefault(use.content, use)
    return tuple(
        problem_of(
            next(iter(named.values())).name,
            " and ".join(dict.fromkeys(use.chosen_by for use in named.values())),
        )
        for _, named in sorted(found.items())
        if len(named) > 1
    )


def problem_of(name: str, chosen_by: str) -> Problem:
    """Return the warning about one name, with what uses its profiles in words."""
    text = (
        f"different profiles have this name ({chosen_by}): group rules cannot tell their Macs apart, and"
        " Apple neither where only sign-in or account settings differ"
    )
    return Problem("name", name, text, FIX, Severity.WARNING)
