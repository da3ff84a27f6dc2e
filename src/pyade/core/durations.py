"""Durations: their limits, the tolerance between two clocks, and their text for readers."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from pyade.errors import PolicyError

LONGEST: Final = timedelta(days=3650)
"""Ten years: a time that is later by much more, such as by ``timedelta.max``, cannot be represented."""

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""The allowed difference of two clocks: of two machines that share a store, or ours and Apple's.

A stored time further in the future was written before a clock was set back. Apple refuses sessions if the
difference is larger.
"""


_UNITS: Final = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}


def check_span(name: str, span: timedelta) -> None:
    """Accept a duration that is longer than zero and at most ten years.

    Raises:
        PolicyError: *span*, which the caller passed as *name*, is outside of that.
    """
    if not timedelta(0) < span <= LONGEST:
        raise PolicyError(f"{name} is {span}: it must be longer than zero, and at most {LONGEST.days:,} days")


def format_duration(span: timedelta) -> str:
    """Return *span* in its two largest units: ``45 minutes``, ``1 hour 5 minutes``, ``3 days``.

    Seconds are left out; less than a minute is ``0 minutes``.
    """
    left, parts = span, list[str]()
    for name, unit in _UNITS.items():
        count, left = divmod(left, unit)
        if parts or count:
            parts.append(f"{count:,} {name}{'' if count == 1 else 's'}" if count else "")
    return " ".join(filter(None, parts[:2])) or "0 minutes"


def check_not_negative(_instance: object, attribute: attrs.Attribute[timedelta], value: timedelta) -> None:
    """Accept a duration of zero or longer; a validator for attrs.

    Raises:
        PolicyError: It is negative.
    """
    if value < timedelta(0):
        raise PolicyError(f"{attribute.name} is {value}: zero or longer is allowed")


def check_positive(_instance: object, attribute: attrs.Attribute[timedelta], value: timedelta) -> None:
    """Accept a duration longer than zero; a validator for attrs.

    Raises:
        PolicyError: It is not.
    """
    if value <= timedelta(0):
        raise PolicyError(f"{attribute.name} is {value}: it must be longer than zero")
