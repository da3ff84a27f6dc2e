"""Enums whose values come from Apple, who adds new ones without notice."""

from __future__ import annotations

import enum
from typing import Self


class OpenStrEnum(enum.StrEnum):
    """A string enum that keeps values it does not know.

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
        # Not cached: the values come from outside, and a cache would grow with them.
        unknown = str.__new__(cls, value)
        unknown._name_ = value
        unknown._value_ = value
        return unknown

    @property
    def is_known(self) -> bool:
        """True if pyade knows this value."""
        return self._value_ in type(self)._value2member_map_
