"""Text for readers: escape what comes from outside before it is printed or logged, and count in words.

Apple, a Mac, a portal and a file may send any characters. Unescaped, a line break forges a line of a log, ESC
moves the cursor of a terminal, and a right-to-left mark reverses the rest of the line.

The rules of this file:

1. What ``repr`` would escape is escaped as ``repr`` does it: control characters, line breaks, direction
   marks, lone surrogates. Quotes, backslashes and all else stay, so escaping twice changes nothing.
2. Every class with a text for readers is ``Printed``: it returns its text, which is escaped here.
3. Every module gets its logger here. The arguments of a record are escaped before a handler sees them.
4. Attributes are unescaped. Only printed text is escaped.
5. A notebook shows tables, which are bounded, and have neither scripts nor ids nor colours of their own.
"""

from __future__ import annotations

import logging
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

MAX_LISTED: Final = 10
"""How many serial numbers a text lists."""

MAX_ROWS: Final = 50
"""How many rows a table in a notebook has."""

_LONGEST_LINE: Final = 200
_LONGEST_REPR: Final = 290
_LONGEST_CELL: Final = 300
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

    def _tables(self) -> Iterable[Table]:
        """Return the tables for a notebook; none if it is to show the text."""
        return ()

    def _repr_html_(self) -> str:
        """Return the tables or the text for a notebook, which shows it instead of the ``repr``."""
        return html_tables(self._tables()) or f'<pre style="overflow-x:auto">{_escaped_html(str(self))}</pre>'


class Table(NamedTuple):
    """A table for a notebook.

    Attributes:
        title: What it shows; "" for none.
        heads: The names of the columns; () for none.
        rows: The rows; values are shown as text, None as nothing.
        total: The number of all rows, if *rows* are only the first ones; 0 else.
    """

    title: str
    heads: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    total: int = 0


def html_tables(tables: Iterable[Table]) -> str:
    """Return *tables* as HTML for a notebook (rule 5); "" for none."""
    found = "".join(map(_html_table, tables))
    return f'<div style="overflow-x:auto;margin-top:8px">{found}</div>' if found else ""


_CELL: Final = (
    'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0;'
    'max-width:30em;overflow-wrap:break-word"'
)
_LINE: Final = 'style="border-top:1px solid rgba(128,128,128,.4);background:none"'


def _html_table(table: Table) -> str:
    heads = "".join(f'<th scope="col" {_CELL}>{_cell(head)}</th>' for head in table.heads)
    rows = ["".join(f"<td {_CELL}>{_cell(one)}</td>" for one in row) for row in table.rows[:MAX_ROWS]]
    if more := max(table.total, len(table.rows)) - len(rows):
        rows.append(f'<td {_CELL} colspan="{max(len(table.heads), 1)}">and {more:,} more</td>')
    title = f"<div><b>{_cell(table.title)}</b></div>" if table.title else ""
    head = f"<thead><tr>{heads}</tr></thead>" if heads else ""
    body = "".join(f"<tr {_LINE}>{row}</tr>" for row in rows)
    table_style = 'style="border-collapse:collapse;margin:4px 0 12px 0;color:inherit"'
    return f"{title}<table {table_style}>{head}<tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return "" if value is None else _escaped_html(cut(str(value), _LONGEST_CELL))


def _escaped_html(text: str) -> str:
    from html import escape  # noqa: PLC0415 - only notebooks need it

    return escape(text)


def short_repr(self: object) -> str:
    """Return the ``repr`` of an object with fields: those that are set, as far as they fit one short line.

    For the ``__repr__`` of classes of attrs and msgspec. Fields that attrs hides are left out.
    """
    parts, room = [], _LONGEST_REPR - len(type(self).__name__)
    for name in _shown_fields(self):
        part = printable(f"{name}={_SHORT.repr(getattr(self, name))}")
        room -= len(part) + 2
        if room < 3:
            parts.append("…")
            break
        parts.append(part)
    return f"{type(self).__name__}({', '.join(parts)})"


def _shown_fields(owner: Any) -> Iterator[str]:
    """Yield the names of the fields of *owner* whose values differ from their defaults."""
    fields = [(one.name, one.default) for one in getattr(owner, "__attrs_attrs__", ()) if one.repr]
    if not fields:
        names, defaults = owner.__struct_fields__, owner.__struct_defaults__
        required = (object(),) * (len(names) - len(defaults))
        fields = list(zip(names, required + defaults, strict=True))
    for name, default in fields:
        value = getattr(owner, name)
        if hasattr(default, "factory"):
            default = None if getattr(default, "takes_self", False) else default.factory()  # noqa: PLW2901
        if value != default:
            yield name


class _Short(reprlib.Repr):
    def repr_datetime(self, value: datetime, _level: int) -> str:
        """Return a time that can be read: its ``repr`` would be cut in the middle."""
        return str(value)


_SHORT: Final = _Short()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 60, 60
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = 3


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
