"""The plan of a profile: its effect on one version of macOS, as rows that print as a table."""

from __future__ import annotations

import enum
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sized
from typing import Final, Protocol, TypeVar

import attrs

from pyade.core.exports import Exportable
from pyade.core.macos.versions import MacOSVersion
from pyade.text import Printed, Table, printable

_WIDTHS: Final = (25, 22, 11, 46)
_GAP: Final = "  "
_SETTING_HEADS: Final = ("setting", "value", "effect", "why")
_SCREEN_HEADS: Final = ("screen", "in the profile", "effect", "what that means")


class Effect(enum.StrEnum):
    """What a setting does on a Mac.

    Attributes:
        APPLIES: It takes effect.
        SERVER_ONLY: It is kept by the server; no Mac receives it.
        NOT_SET: The profile leaves it to macOS or to the user.
        NOT_USED: It is sent for other versions; this one uses another setting.
        NO_EFFECT: It has no effect on this version, or because of another setting.
        FALLS_BACK: This version does something else instead.
        FOLLOWS: It is no setting but a consequence of one.
        SENT_AS_IS: It is sent; pyade does not know its effect.
        SHOWN: The screen is shown.
        PASSED: Setup Assistant skips the screen by itself.
        HIDDEN: The screen is not shown.
        MAY_SHOW: The screen should be hidden, but Apple does not guarantee it.
        NOT_THERE: This version does not have the screen.
    """

    APPLIES = "applies"
    SERVER_ONLY = "server only"
    NOT_SET = "not set"
    NOT_USED = "not used"
    NO_EFFECT = "no effect"
    FALLS_BACK = "falls back"
    FOLLOWS = "follows"
    SENT_AS_IS = "sent as is"
    SHOWN = "shown"
    PASSED = "passed"
    HIDDEN = "hidden"
    MAY_SHOW = "may show"
    NOT_THERE = "not there"


@attrs.frozen
class PlanRow(Exportable):
    """One setting or screen.

    Attributes:
        setting: The setting as it is written (``primary_account.account_name``); for a screen, ``skip.``
            and its key (``skip.Siri``).
        value: Its value as text; never a secret.
        effect: Its effect on this version.
        why: The reason, or the consequence for the user.
        label: Its name in the table; "" means ``setting``, a part indented under its setting.
    """

    setting: str
    value: str
    effect: Effect
    why: str
    label: str = ""


class _NamesSetting(Protocol):
    @property
    def setting(self) -> str: ...


RowT = TypeVar("RowT", bound=_NamesSetting)


def row_of(rows: Iterable[RowT], setting: str) -> RowT:
    """Return the row of *setting*, or of the screen with that key.

    Raises:
        KeyError: There is none.
    """
    for row in rows:
        if row.setting in (setting, f"skip.{setting}"):
            return row
    raise KeyError(setting)


@attrs.frozen(kw_only=True, repr=False)
class ProfilePlan(Exportable, Printed):
    """The effect of each setting and each screen of a profile on one version of macOS; prints as a table.

    Attributes:
        profile_name: The profile.
        version: The version.
        settings: One row for each setting, and for the consequences of some.
        screens: One row for each Setup Assistant screen.
    """

    profile_name: str
    version: MacOSVersion
    settings: tuple[PlanRow, ...]
    screens: tuple[PlanRow, ...]

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        """All rows, the settings first."""
        return self.settings + self.screens

    def row(self, setting: str) -> PlanRow:
        """Return the row of a setting such as ``locked``, or of a screen such as ``SkipKeys.SIRI``.

        Args:
            setting: As the rows name it; or the key of a screen, whose row is ``skip.Siri``.

        Raises:
            KeyError: The plan has no such row.
        """
        return row_of(self.rows, setting)

    def _words(self) -> list[str]:
        title = f"{self.profile_name} on macOS {self.version}"
        settings = _table(_SETTING_HEADS, self.settings)
        screens = _table(_SCREEN_HEADS, self.screens)
        return [title, "", *settings, "", *screens]

    def _tables(self) -> Iterator[Table]:
        title = f"{self.profile_name} on macOS {self.version}"
        for heads, rows in ((_SETTING_HEADS, self.settings), (_SCREEN_HEADS, self.screens)):
            cells = [(row.label or row.setting, row.value, row.effect.value, row.why) for row in rows]
            yield Table(title, heads, cells)


def yes(value: bool) -> str:
    """Return a switch as text for a plan."""
    return "yes" if value else "no"


def count_certificates(certificates: Sized) -> str:
    """Return the number of certificates in words; "" for none."""
    count = len(certificates)
    return f"{count} certificate{'' if count == 1 else 's'}" if count else ""


def _table(heads: tuple[str, str, str, str], rows: tuple[PlanRow, ...]) -> Iterator[str]:
    yield from _lines(heads)
    yield _GAP.join("-" * width for width in _WIDTHS)
    for row in rows:
        yield from _lines((row.label or _indented(row.setting), row.value, row.effect, row.why))


def _indented(setting: str) -> str:
    parent, _, part = setting.rpartition(".")
    return f"  {part}" if parent else setting


def _lines(cells: tuple[str, str, str, str]) -> Iterator[str]:
    columns = [_wrapped(printable(cell), width) for cell, width in zip(cells, _WIDTHS, strict=True)]
    for parts in itertools.zip_longest(*columns, fillvalue=""):
        padded = (part.ljust(width) for part, width in zip(parts, _WIDTHS, strict=True))
        yield _GAP.join(padded).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    indent = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)
