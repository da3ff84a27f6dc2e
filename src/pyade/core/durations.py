"""Spans of time as a person reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final


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
