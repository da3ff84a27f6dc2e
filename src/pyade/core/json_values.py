"""What is kept of a JSON value that pyade does not know: as it came, if a store can keep it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 32
"""How deep arrays and objects may be nested; deeper ones break what writes JSON."""

MAX_RECORD: Final = 64 * 1024
"""Bytes of one record of a list; a device has less than 2 KiB."""

MAX_SERIAL: Final = 200
"""Characters of a serial number or id. Apple's have 8 to 40; PostgreSQL's indexes take no 2,000 bytes."""


def check_keepable(value: Any) -> None:
    """Accept a value that can be written as JSON and read back as it is.

    Raises:
        msgspec.ValidationError: It is nested deeper than 32, or holds a number that is none.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, Mapping):
                below.extend(one.values())
            elif isinstance(one, (list, tuple)):
                below.extend(one)
            elif isinstance(one, float) and not math.isfinite(one):
                raise msgspec.ValidationError(f"{one} is no number of JSON")
        if not below:
            return
        level = below
    raise msgspec.ValidationError(f"a value is nested deeper than {MAX_DEPTH}")


def check_id(value: str, name: str) -> None:
    """Accept a text that names something: neither blank nor longer than 200 characters.

    Raises:
        msgspec.ValidationError: It is.
    """
    if value.strip() and len(value) <= MAX_SERIAL:
        return
    if value.strip():
        raise msgspec.ValidationError(f"{name} has {len(value)} characters, at most {MAX_SERIAL} are allowed")
    raise msgspec.ValidationError(f"{name} is empty")
