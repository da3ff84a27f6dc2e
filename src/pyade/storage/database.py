"""What a backend is: a few calls on a database that speaks SQL.

``SQLStore`` writes every statement once, in what SQLite and PostgreSQL have in common (``ON CONFLICT``,
``RETURNING``, row values). Values stand as ``?``. Words in braces are the backend's own: ``Dialect`` lists
them; ``{}`` stands before each name of a table.

Rules that every backend keeps:

1. ``writing`` is one transaction that takes its turn before it reads: what a block reads stays true until its
   commit, at least for the row that a statement with ``{for_update}`` selected. An error rolls back.
2. A commit survives a crash, and all later readers see it.
3. Errors of the driver become ``StoreError`` without any text of the driver's about values (``translated``).
4. A text with a NUL character, or with one that is no Unicode, is refused with ``StoreError``: not every
   database can keep it.
"""

# pyright: reportReturnType=false
# A method of a protocol is its docstring.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import cache
from typing import Any, Protocol, TypeAlias

import attrs

from pyade.errors import StoreError

Value: TypeAlias = str | int | bool | datetime | list[str] | list[int] | None
"""What a statement takes. Times are aware and UTC; a backend may return them as ISO 8601 texts, and a bool as
an int. A list stands where ``{one_of}`` is."""

Clock: TypeAlias = Callable[[], datetime]
"""Returns the time, UTC."""


@attrs.frozen(kw_only=True)
class Dialect:
    """What stands for each word in braces.

    Attributes:
        prefix: For ``{}``: what stands before the name of a table, such as a schema and a dot.
        id: A whole number that the database gives to each row, never twice; the primary key.
        integer: Type of whole numbers of 64 bits.
        text: Type of texts that compare and sort by code point.
        json: Type of JSON documents that come back byte for byte.
        time: Type of times with microseconds that compare and sort as they should.
        flag: Type of true and false.
        one_of: What comes after a column that has one of the values of a list, which is one value.
        for_update: What a SELECT ends with to keep a row from other writers until the commit; "" where
            ``writing`` keeps out all of them.
        transaction: A number of the transaction in whose order its events are read: what an event has
            committed before it, no later reader finds after it. ``0`` where writers take turns.
        settled: A condition that is true for an event before which none can turn up any more.
    """

    prefix: str
    id: str
    integer: str
    text: str
    json: str
    time: str
    flag: str
    one_of: str
    for_update: str
    transaction: str
    settled: str

    def translate(self, statement: str, placeholder: str = "?") -> str:
        """Return *statement* in the words of the backend, with *placeholder* for each value."""
        return _translated(self, statement, placeholder)


@cache
def _translated(words: Dialect, statement: str, placeholder: str) -> str:
    names = attrs.asdict(words)
    prefix = names.pop("prefix")
    for name, text in names.items():
        statement = statement.replace(f"{{{name}}}", text)
    statement = statement.replace("?", placeholder)
    return statement.replace("{}", prefix)  # last: the name of a schema may hold anything


@attrs.frozen(kw_only=True)
class Table:
    """A table into which many rows are written at a time.

    Attributes:
        name: Its name, which needs ``{}`` before it.
        columns: The columns that are written, each with its type, a field of ``Dialect``. The last
            one is the primary key.
    """

    name: str
    columns: Mapping[str, str] = attrs.field(hash=False)

    def insert_one(self) -> str:
        """Return a statement that inserts one row."""
        marks = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {{}}{self.name} ({', '.join(self.columns)}) VALUES ({marks})"  # noqa: S608 - ours

    def update_one(self) -> str:
        """Return a statement that writes one row over the one with its primary key."""
        *others, key = self.columns
        return f"UPDATE {{}}{self.name} SET {' = ?, '.join(others)} = ? WHERE {key} = ?"  # noqa: S608 - ours

    def delete_one(self) -> str:
        """Return a statement that deletes the row with a primary key."""
        *_, key = self.columns
        return f"DELETE FROM {{}}{self.name} WHERE {key} = ?"  # noqa: S608 - ours


class Session(Protocol):
    """A connection on loan: inside a transaction in ``Database.writing``, else each statement for itself."""

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Run *statement* and return its rows, none where it has no result."""

    def insert(self, table: Table, rows: Sequence[Sequence[Value]]) -> bool:
        """Insert *rows*, in the order of ``table.columns``; False, and none is inserted, if one is there."""

    def update(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        """Write *rows* over those that have their primary keys, in the same order."""

    def has_table(self, name: str) -> bool:
        """Return True if the store has a table of that name."""

    def now(self) -> datetime:
        """Return the time for leases, UTC, which all who share the database see."""


class Database(Protocol):
    """A backend of ``SQLStore``, which closes it."""

    @property
    def where(self) -> str:
        """What errors call it, such as the path of a file; holds no secret."""

    def reading(self) -> AbstractContextManager[Session]:
        """Lend a connection for reading.

        Raises:
            StoreClosedError: The database was closed.
            StoreError: The database failed.
        """

    def writing(self) -> AbstractContextManager[Session]:
        """Lend a connection inside a transaction, which an error rolls back; raises as ``reading`` does."""

    def take_turns(self, session: Session) -> None:
        """Let nobody else create or migrate tables until the transaction of *session* ends."""

    def compact(self, tables: Sequence[str]) -> None:
        """Leave nothing of what was overwritten or deleted in *tables* where it can be read."""

    def close(self) -> None:
        """Close all connections; does nothing when they are closed."""


@contextmanager
def translated(explain: Callable[[Exception], StoreError | None]) -> Iterator[None]:
    """Turn errors of a driver into ``StoreError``, and keep nothing of them: they may quote stored values.

    Args:
        explain: Returns what to raise in place of an error; None to leave it as it is.
    """
    try:
        yield
    except Exception as exc:
        if isinstance(exc, UnicodeEncodeError):
            error: StoreError | None = StoreError("a text is not valid Unicode: remove unpaired surrogates")
        else:
            error = explain(exc)
        if error is None:
            raise
        try:
            raise error from None
        finally:
            error.__context__ = None  # "from None" only hides it: loggers and debuggers find it


def check_rows(table: Table, rows: Sequence[Sequence[Value]]) -> None:
    """Check the texts of *rows*, in the order of the columns of *table*, as ``check_texts`` does."""
    for index, kind in enumerate(table.columns.values()):
        if kind == "text":
            check_texts(["".join(str(row[index]) for row in rows)])


def check_texts(values: Sequence[Value]) -> None:
    """Check that none of *values* is a text with a NUL character (rule 4).

    Raises:
        StoreError: One is.
    """
    for value in values:
        text = "".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(text, str) and "\0" in text:
            raise StoreError(
                "a text to store or to look up has a NUL character, which no store keeps: remove it"
            )
