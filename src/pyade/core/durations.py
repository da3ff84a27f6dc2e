"""Spans of time: those that are allowed, how far clocks are apart, and how a person reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pyade.errors import PolicyError

LONGEST: Final = timedelta(days=3650)
"""Ten years: the end of a longer one is not in every calendar, such as that of ``timedelta.max``."""


CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far two clocks may be apart: of two machines that share a store, or ours and Apple's.

A stored time that lies further ahead comes from before a clock was moved back. Apple refuses sessions of who
is further away.
"""


def check_span(name: str, span: timedelta) -> None:
    """Accept a span that is longer than zero and at most ten years.

    Raises:
        PolicyError: *span*, which the caller gave as *name*, is another one.
    """
    if not timedelta(0) < span <= LONGEST:
        raise PolicyError(f"{name} is {span}: it must be longer than zero, and at most {LONGEST.days:,} days")


def in_words(span: timedelta) -> str:
    """Return *span* in its two largest units: ``45 minutes``, ``1 hour 5 minutes``, ``3 days``.

    Seconds are left out; less than a minute is ``0 minutes``.
    """
    left, parts = span, list[str]()
    for name, unit in _UNITS.items():
        count, left = divmod(left, unit)
        if parts or count:
            parts.append(f"{count:,} {name}{'' if count == 1 else 's'}" if count else "")
    return " ".join(filter(None, parts[:2])) or "0 minutes"


_UNITS: Final = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}
