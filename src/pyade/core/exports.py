"""Rows and reports as plain values: for tables, CSV and JSON.

The rules of this file:

1. ``to_dict`` has the same keys, in the same order, for every instance of a class.
2. Every value is a text, number, True, False or None, or a list or dict of such: ``json.dumps`` takes it.
   Times are ISO 8601 texts in UTC that end in ``Z``, durations are seconds, enums are their values.
3. In a row only a value that is a list or a mapping by nature, such as ``Event.details``, is one. Its ``str``
   is JSON, so that ``csv`` writes it as JSON.
4. There is no default for values of other types: a secret raises ``TypeError``.
5. Values are as Apple sent them, unescaped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import attrs

from pyade.core.arguments import check_arguments
from pyade.errors import PyadeError
from pyade.loading import lazy_modules
from pyade.text import Printed, is_unicode

if TYPE_CHECKING:
    from pyade.core import values
else:
    lazy_modules(globals(), values="pyade.core.values")


class Exportable:
    """Base of the rows and reports that tables, CSV and JSON take."""

    __slots__ = ()

    _EXPORTED: ClassVar[str] = ""
    """The attributes with spaces between them; "" for all fields of the class.

    ``device.model`` has the key ``model``, and is None if ``device`` is; ``result=attempt.result`` names its
    key.
    """

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Return the keys of ``to_dict``, which are the same for every instance, in their order."""
        return tuple(_readers(cls))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json.dumps``, ``csv.DictWriter`` and ``pandas.DataFrame`` take.

        Returns:
            A new dict. Times are ISO 8601 texts in UTC, durations are seconds, enums are their values.
        """
        return {name: _plain(read(self)) for name, read in _readers(type(self)).items()}


class _Read(Protocol):
    def __call__(self, owner: Any, /) -> Any: ...


_known: Final[dict[type, Mapping[str, _Read]]] = {}


def _readers(cls: type[Exportable]) -> Mapping[str, _Read]:
    if cls in _known:
        return _known[cls]
    exported: dict[str, _Read] = {}
    for one in (cls._EXPORTED or " ".join(field_names(cls))).split():
        path = one.rpartition("=")[2]
        exported[one.partition("=")[0] if "=" in one else path.rpartition(".")[2]] = _reader(path)
    return _known.setdefault(cls, exported)


def field_names(cls: type) -> tuple[str, ...]:
    """Return the names of the fields of an attrs class or a msgspec struct."""
    if attrs.has(cls):
        return tuple(field.name for field in attrs.fields(cls))
    return tuple(getattr(cls, "__struct_fields__", ()))


def _reader(path: str) -> _Read:
    owner, dot, name = path.rpartition(".")
    if not dot:
        return attrgetter(path)
    read_owner, read = _reader(owner), attrgetter(name)

    def read_inner(value: Any, /) -> Any:
        inner = read_owner(value)
        return None if inner is None else read(inner)

    return read_inner


class _Object(dict[str, Any]):
    """A mapping in a row."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)  # rule 3


class _Array(list[Any]):
    """A list in a row."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)  # rule 3


_PLAIN: Final = frozenset({type(None), bool, int, float, str})


def _plain(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str(value)  # also of an enum
    if isinstance(value, datetime):
        return values.format_time(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return _nested(value)


def _nested(value: Any) -> Any:
    if isinstance(value, Exportable):
        return _Object(value.to_dict())
    if isinstance(value, PyadeError):
        return _Object(error=type(value).__name__, text=str(value))
    if isinstance(value, Printed):
        return str(value)
    if isinstance(value, Mapping):
        return _Object((str(key), _plain(one)) for key, one in value.items())
    if isinstance(value, AbstractSet):
        return _Array(sorted(map(_plain, value)))
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        return _Array(map(_plain, value))
    raise TypeError(f"{type(value).__name__} has no plain value")  # rule 4


class TextFile(Protocol):
    """An open text file, or what has its method."""

    def write(self, text: str, /) -> object:
        """Write *text*."""
        ...


@check_arguments
def write_csv(
    rows: Iterable[Exportable | Mapping[str, Any]], file: TextFile, *, columns: Iterable[str] | None = None
) -> int:
    r"""Write a CSV file with a header that a spreadsheet can open safely.

    A text that a spreadsheet would run as a formula, because it starts with ``=``, ``+``, ``-``, ``@``, a tab
    or a line break, gets an apostrophe before it: asset tags and names are written by others. Numbers stay.
    ``csv.DictWriter`` writes all texts as they are.

    Args:
        rows: Objects with ``to_dict``, such as devices, events and reports; or mappings. They are read one by
            one.
        file: An open text file: ``open(path, "w", newline="", encoding="utf-8")``, or ``sys.stdout``. Excel
            reads accents and other scripts only with ``encoding="utf-8-sig"``.
        columns: The columns to write, in order; one that a row lacks stays empty. None for those of the first
            row: then nothing is written if there are no rows.

    Returns:
        The number of rows, without the header.

    Source: OWASP, "CSV Injection".
    """
    names = None if columns is None else list(columns)
    writer = csv.writer(file)
    count = 0
    if names is not None:
        writer.writerow(map(_cell, names))
    for row in rows:
        found = row.to_dict() if isinstance(row, Exportable) else row
        if names is None:
            names = list(found)
            writer.writerow(map(_cell, names))
        writer.writerow([_cell(found.get(name)) for name in names])
        count += 1
    return count


_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")  # wide forms too


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not is_unicode(value):
        value = value.encode("utf-8", "backslashreplace").decode()
    return f"'{value}" if value.startswith(_FORMULA) else value
