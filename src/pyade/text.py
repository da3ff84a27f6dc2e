"""Text from outside, as people read it: it stays in its line and shows all that is in it.

Apple, a Mac, a portal and a file may send any characters. Printed as they come, a line break forges a line
of a log, ESC moves the cursor of a terminal, and a right-to-left mark turns the rest of the line round.

The rules of this file:

1. What ``repr`` would escape is escaped as ``repr`` does it: control characters, line breaks, direction
   marks, lone surrogates. Quotes, backslashes and all else stay, so escaping twice changes nothing.
2. Whatever has a text for people is ``Printed``: it gives its words, and they are escaped here.
3. Whatever logs gets its logger here. The arguments of a record are escaped before a handler sees them.
4. Attributes keep what came. Only what is printed is escaped.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping


def is_unicode(text: str) -> bool:
    """Return True if *text* can be written: without half of a pair of surrogates."""
    return text.isascii() or not _SURROGATE.search(text)


def printable(text: str) -> str:
    r"""Return *text* with what cannot be printed in the escapes of ``repr``: ``\x1b``, ``\n``, ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class Printed:
    """Base of everything that ``print`` shows to people: each line is escaped, in this one place."""

    __slots__ = ()

    def _words(self) -> str | list[str]:
        """Return the text, or its lines; a line break inside of one came from outside."""
        raise NotImplementedError

    def __str__(self) -> str:
        words = self._words()
        return printable(words) if isinstance(words, str) else "\n".join(map(printable, words))


class _Argument(Printed):
    """An argument of a log record; ``str`` is asked for no earlier than the record is written."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        return printable(repr(self._value))

    def _words(self) -> str:
        return str(self._value)


def logger(name: str) -> logging.Logger:
    """Return the logger *name*, whose records hold nothing that forges a line.

    Every logger of pyade comes from here. The texts that are passed as arguments are escaped for every
    handler; what is ``Printed`` keeps the line breaks that pyade put into it.
    """
    found = logging.getLogger(name)
    found.addFilter(_escape)  # once: a filter that is there already is not added
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


_SURROGATE = re.compile("[\ud800-\udfff]")
