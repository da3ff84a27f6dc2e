"""The protocol of a store backend: a few calls on an SQL database, and its dialect.

``SQLStore`` has each statement once, in the SQL that SQLite and PostgreSQL share (``ON CONFLICT``,
``RETURNING``, row values). ``?`` is the placeholder of a value. A name in braces is replaced by the
``Dialect`` of the backend; ``{}`` precedes each table name and is replaced by its prefix.

The rules that every backend keeps:

1. ``writing`` is one transaction that locks before it reads: what the block reads does not change until its
   commit, at least in the row that a statement with ``{for_update}`` selected. An error rolls back.
2. A commit survives a crash, and all later readers see it.
3. Errors of the driver become ``StoreError``, without text of the driver that may quote values
   (``translated``).
4. A text with a NUL character, or with an unpaired surrogate, is refused with ``StoreError``: not every
   database can store it.
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
"""Value of a placeholder. Times are aware and UTC; a backend may return them as ISO 8601 texts, and a bool as
an int. A list is the value for ``{one_of}``."""

Clock: TypeAlias = Callable[[], datetime]
"""Returns the time, UTC."""


@attrs.frozen(kw_only=True)
class Dialect:
    """The SQL of a backend for each name in braces.

    Attributes:
        prefix: For ``{}``: prefix of a table name, such as a schema and a dot.
        id: Type and constraint of a primary key: an integer that the database assigns, never twice.
        integer: Type of 64-bit integers.
        text: Type of texts that compare and sort by code point.
        json: Type of JSON documents that are returned byte for byte.
        time: Type of times with microseconds that compare and sort in time order.
        flag: Type of booleans.
        one_of: Condition after a column: it has one of the values of a list, which is a single placeholder.
        for_update: End of a SELECT that locks its row against other writers until the commit; "" if
            ``writing`` locks out all other writers.
        transaction: Expression for a number of the current transaction. Events are read in the order of these
            numbers. ``0`` if only one write transaction runs at a time.
        settled: Condition that is true for an event before which no other event can appear any more.
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
        """Return *statement* in the SQL of the backend, with *placeholder* for each value."""
        return _translated(self, statement, placeholder)


@cache
def _translated(dialect: Dialect, statement: str, placeholder: str) -> str:
    names = attrs.asdict(dialect)
    prefix = names.pop("prefix")
    for name, text in names.items():
        statement = statement.replace(f"{{{name}}}", text)
    statement = statement.replace("?", placeholder)
    return statement.replace("{}", prefix)  # last: the name of a schema may contain braces


@attrs.frozen(kw_only=True)
class Table:
    """A table into which many rows are written at a time.

    Attributes:
        name: Its name without prefix; statements put ``{}`` before it.
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
        """Return a statement that overwrites the row with the same primary key."""
        *others, key = self.columns
        return f"UPDATE {{}}{self.name} SET {' = ?, '.join(others)} = ? WHERE {key} = ?"  # noqa: S608 - ours

    def delete_one(self) -> str:
        """Return a statement that deletes the row with a primary key."""
        *_, key = self.columns
        return f"DELETE FROM {{}}{self.name} WHERE {key} = ?"  # noqa: S608 - ours


class Session(Protocol):
    """A borrowed connection: in a transaction within ``Database.writing``, else in autocommit mode."""

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Run *statement* and return its rows; an empty list if it has no result."""

    def insert(self, table: Table, rows: Sequence[Sequence[Value]]) -> bool:
        """Insert *rows*, in the order of ``table.columns``; if one exists, insert none and return False."""

    def update(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        """Overwrite the rows with the primary keys of *rows*; columns in the order of ``table.columns``."""

    def has_table(self, name: str) -> bool:
        """Return True if the store has a table of that name."""

    def now(self) -> datetime:
        """Return the time for leases, UTC, from the clock that all users of the database share."""


class Database(Protocol):
    """A backend of ``SQLStore``, which closes it."""

    @property
    def where(self) -> str:
        """The name of the database in errors, such as the path of a file; holds no secret."""

    def reading(self) -> AbstractContextManager[Session]:
        """Lend a connection for reading.

        Raises:
            StoreClosedError: The database was closed.
            StoreError: The database failed.
        """

    def writing(self) -> AbstractContextManager[Session]:
        """Lend a connection inside a transaction, which an error rolls back; raises as ``reading`` does.

        The transaction keeps rules 1 and 2.
        """

    def take_turns(self, session: Session) -> None:
        """Lock out other processes that create or migrate tables, until the transaction of *session* ends."""

    def compact(self, tables: Sequence[str]) -> None:
        """Erase overwritten and deleted content of *tables*, so that it cannot be read from disk."""

    def close(self) -> None:
        """Close all connections; does nothing if they are closed."""


@contextmanager
def translated(explain: Callable[[Exception], StoreError | None]) -> Iterator[None]:
    """Turn errors of a driver into ``StoreError`` without a reference to them: they may quote stored values.

    Args:
        explain: Returns the error to raise instead; None to raise the original one.
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
            raise error from None  # rule 3
        finally:
            error.__context__ = None  # "from None" only hides it: loggers and debuggers find it


def check_rows(table: Table, rows: Sequence[Sequence[Value]]) -> None:
    """Check all texts in *rows*, which are in the order of the columns of *table*, with ``check_texts``."""
    for index, column_type in enumerate(table.columns.values()):
        if column_type == "text":
            check_texts(["".join(str(row[index]) for row in rows)])


def check_texts(values: Sequence[Value]) -> None:
    """Check that no text in *values* has a NUL character (rule 4).

    Raises:
        StoreError: A text has one.
    """
    for value in values:
        text = "".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(text, str) and "\0" in text:  # rule 4
            raise StoreError(
                "a text to store or to look up has a NUL character, which no store keeps: remove it"
            )
