"""Text for readers: escape what comes from outside before it is printed or logged, and count in words.

Apple, a Mac, a portal and a file may send any characters. Unescaped, a line break forges a line of a log, ESC
moves the cursor of a terminal, and a right-to-left mark reverses the rest of the line.

The rules of this file:

1. What ``repr`` would escape is escaped as ``repr`` does it: control characters, line breaks, direction
   marks, lone surrogates. Quotes, backslashes and all else stay, so escaping twice changes nothing.
2. Every class with a text for readers is ``Printed``: it returns its text, which is escaped here.
3. Every module gets its logger here. The arguments of a record are escaped before a handler sees them.
4. Attributes are unescaped. Only printed text is escaped.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

MAX_LISTED: Final = 10
"""How many serial numbers a text lists."""

_LONGEST_LINE: Final = 200
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_unicode(text: str) -> bool:
    """Return True if *text* can be encoded: it has no lone surrogates."""
    return text.isascii() or not _SURROGATE.search(text)


def printable(text: str) -> str:
    r"""Return *text* with unprintable characters escaped as in ``repr``: ``\x1b``, ``\n``, ``\u202e``."""
    if text.isprintable():
        return text
    # Rule 1
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def cut(text: str, length: int) -> str:
    """Return *text*, escaped for readers, cut to *length* characters with an ellipsis if it is longer."""
    shown = printable(text[: length + 1])
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


class Printed:
    """Base of every class that ``print`` shows to readers: each line is escaped, in this one place."""

    __slots__ = ()

    def _words(self) -> str | list[str]:
        """Return the text, or its lines; a line break inside of a line is from outside, and escaped."""
        raise NotImplementedError

    def __str__(self) -> str:  # rules 2 and 4
        words = self._words()
        return printable(words) if isinstance(words, str) else "\n".join(map(printable, words))

    def __repr__(self) -> str:
        """Return the first line of the text; a class with few fields shows them instead."""
        first, _, more = str(self).partition("\n")
        first = " ".join(first.split())
        return f"<{type(self).__name__}: {cut(first, _LONGEST_LINE)}{' …' if more else ''}>"

    def _repr_html_(self) -> str:
        """Return the text for a notebook, which shows it instead of the ``repr``."""
        from html import escape  # noqa: PLC0415 - only notebooks need it

        return f'<pre style="overflow-x:auto">{escape(str(self))}</pre>'


class _Argument(Printed):
    """An argument of a log record; ``str`` is called only when the record is written."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        return printable(repr(self._value))

    def _words(self) -> str:
        return str(self._value)


def logger(name: str) -> logging.Logger:
    """Return the logger *name*, whose records cannot forge a line.

    Every logger of pyade is made here. The texts that are passed as arguments are escaped for every handler;
    ``Printed`` objects keep the line breaks of pyade.
    """
    found = logging.getLogger(name)
    found.addFilter(_escape)  # rule 3; a filter is added only once
    return found


def _escape(record: logging.LogRecord) -> bool:
    if isinstance(record.args, Mapping):
        record.args = {name: _escaped(value) for name, value in record.args.items()}
    elif record.args is not None:
        record.args = tuple(map(_escaped, record.args))
    return True


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    return value if value is None or isinstance(value, int | float | Printed) else _Argument(value)


def abbreviate(serials: Sequence[str]) -> str:
    """Return the first ``MAX_LISTED`` of *serials*, joined by commas; an ellipsis stands for the rest."""
    first = ", ".join(serials[:MAX_LISTED])
    return f"{first}, …" if len(serials) > MAX_LISTED else first


def format_utc(value: datetime) -> str:
    """Return *value*, which is UTC, as text: ``2026-01-31 08:15:00 UTC``."""
    return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")


def pluralize(number: int, noun: str) -> str:
    """Return *number* with its noun: ``1 page``, ``2,500 pages``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
