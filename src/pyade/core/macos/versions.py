"""macOS versions: read from text or from a build, in one total order."""

from __future__ import annotations

import re
from typing import Final

import attrs

from pyade.errors import VersionError
from pyade.text import Printed

ALLOWED: Final = 'a macOS version from 10.9 on, such as "10.15", "14.1", "13.4.1" or "13.4.1 (a)"'
ALLOWED_BUILD: Final = (
    'a macOS build of a known train from 13 (10.9) to 26 (27), such as "22C65" or "23A5257q"'
)

_VERSION = r"([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:\.([0-9]{1,4}))?(?: ?\(([a-z])\))?"
_BUILD = r"([0-9]{2})([A-Z])([0-9]{1,6})([a-z]?)"


@attrs.frozen(order=True)
class MacOSVersion(Printed):
    """A macOS version; missing parts are 0, and a version without supplemental letter sorts first.

    Attributes:
        major: 10, or 11 and later.
        minor: The second number.
        patch: The third number.
        supplement: The letter of a supplemental update without its parentheses, "a" to "z"; "" for none.

    Raises:
        VersionError: A part is out of range, or the version is below 10.9, which has no automated enrollment.

    Source: Apple, ``com.apple.softwareupdate.required``, ``OSVersion``.
    """

    major: int
    minor: int = 0
    patch: int = 0
    supplement: str = ""

    def __attrs_post_init__(self) -> None:
        numbers = (self.major, self.minor, self.patch)
        if not all(type(number) is int for number in numbers):
            raise VersionError(", ".join(map(repr, numbers))[:80], "whole numbers; parse() reads a text")
        if min(numbers) < 0 or numbers < (10, 9):
            raise VersionError(".".join(map(str, numbers)), ALLOWED)
        if _match("[a-z]?", self.supplement) is None:
            raise VersionError(
                _describe(self.supplement), "a supplemental letter, a to z without parentheses"
            )

    @classmethod
    def parse(cls, text: str) -> MacOSVersion:
        """Return the version that *text* names.

        Args:
            text: One to three numbers and at most one supplemental letter: ``14``, ``14.1``, ``13.4.1 (a)``.
                Space around it is ignored; a product name in front of it is not read.

        Raises:
            VersionError: *text* is something else, or below 10.9.
        """
        match = _match(_VERSION, text)
        if match is None:
            raise VersionError(_describe(text), ALLOWED)
        major, minor, patch = (int(part or 0) for part in match.group(1, 2, 3))
        return cls(major, minor, patch, match[4] or "")

    @classmethod
    def of(cls, value: MacOSVersion | str) -> MacOSVersion:
        """Return *value* itself, or the version that its text names.

        Raises:
            VersionError: The text is not a version.
        """
        return value if isinstance(value, MacOSVersion) else cls.parse(value)

    @classmethod
    def from_build(cls, build: str) -> MacOSVersion:
        """Return the version of a build, as far as the build determines it.

        The train determines the major version, the letter the minor one (the third number up to 10.15). A
        third number of macOS 11 and later cannot be computed and is 0, except for a few known builds: read
        the result as "at least this version, below the next minor one".

        Args:
            build: Such as ``22C65``; a beta (``22E5219e``) counts as the version that it precedes.

        Raises:
            VersionError: The build cannot be read, or its train or letter is unknown.

        Source: Apple, ``MachineInfo.VERSION``; trains, letters and late builds as seen in public build lists.
        """
        match = _match(_BUILD, build)
        if match is None:
            raise VersionError(_describe(build), ALLOWED_BUILD)
        train, letter = int(match[1]), match[2]
        # A beta and a rapid security response have numbers above every release of their letter.
        number = 0 if match[4] else int(match[3])
        if known := _KNOWN_BUILDS.get(match[0]):
            return cls.parse(known)
        if train in _LETTERS_OF_10:
            letters = _LETTERS_OF_10[train]
            if letter not in letters:
                raise VersionError(match[0], f"train {train} has the letters {letters[0]} to {letters[-1]}")
            return cls(10, train - 4, letters.index(letter))
        if train == 20 and letter == "B":
            return cls(11, 0, 1)
        letters = _LETTERS_OF_11_TO_13 if train <= 22 else _LETTERS_FROM_14
        if train not in _MAJOR_OF_TRAIN:
            raise VersionError(match[0], ALLOWED_BUILD)
        if (minor := _MINOR_OF_LETTER.get((train, letter), letters.find(letter))) < 0:
            raise VersionError(
                match[0], f"macOS {_MAJOR_OF_TRAIN[train]} has no builds of the letter {letter}"
            )
        for first, late_minor in _LATE_BUILDS.get((train, letter), ()):
            if number >= first:
                minor = late_minor
        return cls(_MAJOR_OF_TRAIN[train], minor)

    def _words(self) -> str:
        patch = f".{self.patch}" if self.patch else ""
        supplement = f" ({self.supplement})" if self.supplement else ""
        return f"{self.major}.{self.minor}{patch}{supplement}"


def _match(pattern: str, value: object) -> re.Match[str] | None:
    # Versions come from devices, and from callers without a type checker: any type is possible.
    return re.fullmatch(pattern, value.strip()) if isinstance(value, str) else None


def _describe(value: object) -> str:
    return value[:80] if isinstance(value, str) else f"{repr(value)[:60]} ({type(value).__name__}, not text)"


_MAJOR_OF_TRAIN = {20: 11, 21: 12, 22: 13, 23: 14, 24: 15, 25: 26, 26: 27}

# Up to 10.15 the letter counts the third number; the last letter is the last release of its train.
_LETTERS_OF_10 = {
    13: "ABCDEF",
    14: "ABCDEF",
    15: "ABCDEFG",
    16: "ABCDEFG",
    17: "ABCDEFG",
    18: "ABCDEFG",
    19: "ABCDEFGH",
}

# The index of a letter is the minor version: 11 to 13 had no release of the letter B, and I is never used.
_LETTERS_OF_11_TO_13 = "ACDEFG"
_LETTERS_FROM_14 = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
_MINOR_OF_LETTER = {(21, "H"): 7, (22, "H"): 7}

# From this number on, a letter holds builds of a later minor version.
_LATE_BUILDS = {
    (20, "G"): ((165, 6), (817, 7)),
    (21, "G"): ((115, 6), (816, 7)),
    (22, "G"): ((120, 6),),
    (24, "G"): ((222, 7),),
}
_KNOWN_BUILDS = {"22A400": "13.0.1"}
