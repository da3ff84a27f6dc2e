"""Values from Apple's JSON: enums that keep unknown values, times, and limits of what a store can keep."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, Self

import msgspec


class OpenStrEnum(enum.StrEnum):
    """A string enum that keeps unknown values, as Apple adds new ones without notice.

    ``Kind("new")`` gives a member-like object with that value, which compares, hashes, pickles and
    encodes by value, is not added to the enum and has ``is_known`` False. Known values are found in
    any letter case.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        for member in cls:
            if member.value.lower() == value.lower():
                return member
        # Not cached: the values are untrusted input, and a cache would grow with them.
        unknown = str.__new__(cls, value)
        unknown._name_ = value
        unknown._value_ = value
        return unknown

    @property
    def is_known(self) -> bool:
        """True if pyade knows this value."""
        return self._value_ in type(self)._value2member_map_


def format_time(value: datetime) -> str:
    """Return *value* in Apple's format: UTC, ``Z``, a fraction only if there is one."""
    text = value.astimezone(UTC).isoformat()
    return text.removesuffix("+00:00") + "Z"


def parse_time(text: str) -> datetime:
    """Return the time of *text* in UTC; fractions and offsets are read, no offset means UTC.

    Raises:
        msgspec.ValidationError: *text* is not an ISO 8601 date and time.
    """
    return in_utc(msgspec.convert(text, datetime))


def parse_date(text: str) -> date:
    """Return the UTC day of *text*, ``YYYY-MM-DD``.

    Raises:
        msgspec.ValidationError: *text* is not a date.
    """
    return msgspec.convert(text, date)


def in_utc(value: datetime) -> datetime:
    """Return *value* in UTC; a time without a zone is taken as UTC."""
    if value.tzinfo is UTC:
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


MAX_DEPTH: Final = 32
"""How deep arrays and objects may be nested; JSON encoders fail with deeper ones."""

MAX_RECORD: Final = 64 * 1024
"""Bytes of one record of a list; a device has less than 2 KiB."""

MAX_SERIAL: Final = 200
"""Characters of a serial number or id. Apple's have 8 to 40; PostgreSQL's indexes take no 2,000 bytes."""


def check_storable(value: Any) -> None:
    """Accept a value that can be written as JSON and read back as it is.

    Raises:
        msgspec.ValidationError: It is nested deeper than 32, or holds NaN or an infinite number.
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
                raise msgspec.ValidationError(f"JSON has no number {one}")
        if not below:
            return
        level = below
    raise msgspec.ValidationError(f"a value is nested deeper than {MAX_DEPTH}")


def check_id(value: str, name: str) -> None:
    """Accept an id: a text that is neither blank nor longer than 200 characters.

    Raises:
        msgspec.ValidationError: It is blank or longer; *name* names it.
    """
    if value.strip() and len(value) <= MAX_SERIAL:
        return
    if value.strip():
        raise msgspec.ValidationError(f"{name} has {len(value)} characters, at most {MAX_SERIAL} are allowed")
    raise msgspec.ValidationError(f"{name} is empty")
