"""A database for ``SQLStore`` behind any driver of Python's database API, such as another build of SQLite.

The rules of this file:

1. One connection, in the autocommit mode of its driver, is used by one thread at a time. Statements begin and
   end transactions.
2. The text of a driver's error may quote a stored value: an error names its type only.
3. The process id is checked before the lock is taken, which a thread that a fork did not copy may hold.

Source: PEP 249; ``storage.database`` for the rules of every database.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Final

import attrs

from pyade.core.arguments import check_arguments
from pyade.errors import StoreClosedError, StoreError
from pyade.flow import utc_now
from pyade.storage.database import Clock, Dialect, Session, Table, Value, check_rows, check_texts, translated
from pyade.storage.sqlite import DIALECT

_MARKS: Final = {"qmark": "?", "format": "%s", "pyformat": "%s"}


@attrs.frozen
class _Session:
    connection: Any
    database: DbApiDatabase

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        check_texts(values)
        cursor = self.connection.cursor()
        try:
            cursor.execute(self._translate(statement), self._encode(values))
            return [] if cursor.description is None else [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def insert(self, table: Table, rows: Sequence[Sequence[Value]]) -> bool:
        self.rows("SAVEPOINT pyade_insert")
        try:
            self._write(table, rows, table.insert_one())
        except self.database.driver.IntegrityError:
            self.rows("ROLLBACK TO SAVEPOINT pyade_insert")
            return False
        self.rows("RELEASE SAVEPOINT pyade_insert")
        return True

    def update(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        self._write(table, rows, table.update_one())

    def has_table(self, name: str) -> bool:
        return bool(self.rows(self.database.find_table, (name,)))

    def now(self) -> datetime:
        return self.database.clock()

    def _write(self, table: Table, rows: Sequence[Sequence[Value]], statement: str) -> None:
        check_rows(table, rows)
        cursor = self.connection.cursor()
        try:
            cursor.executemany(self._translate(statement), [self._encode(row) for row in rows])
        finally:
            cursor.close()

    def _translate(self, statement: str) -> str:
        return self.database.dialect.translate(statement, self.database.mark)

    def _encode(self, values: Sequence[Value]) -> list[Any]:
        if self.database.dialect.time != "TEXT":
            return list(values)
        return [_encode_text(value) for value in values]


def _encode_text(value: Value) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


@check_arguments(but=("driver",))
class DbApiDatabase:
    """A ``Database`` over one connection of a driver of Python's database API (PEP 249).

    Example::

        def connect():
            return sqlite3.connect("own.db", isolation_level=None, check_same_thread=False)


        store = SQLStore(DbApiDatabase(connect, sqlite3, where="own.db"))

    Args:
        connect: Returns a new connection in autocommit mode, which threads may share one at a time.
        driver: The module of the driver: its ``Error``, ``IntegrityError`` and ``paramstyle`` are used.
        where: The name of the database in errors; holds no secret.
        dialect: Its SQL; omitted, that of SQLite.
        begin: The statement that begins a write, and locks out other writers before it reads.
        find_table: A query with one value, the name of a table, that returns a row if the store has it.
        lock_tables: A statement that locks out other processes that create tables, until the end of the
            transaction; "" where *begin* does so.
        compact: Statements that erase overwritten content.
        clock: Clock of the leases; must be the same for all processes that share the database.

    Raises:
        StoreError: The database cannot be opened, or the driver writes parameters in another way than with
            question marks or ``%s``.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        driver: ModuleType,
        *,
        where: str = "the database",
        dialect: Dialect = DIALECT,
        begin: str = "BEGIN IMMEDIATE",
        find_table: str = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
        lock_tables: str = "",
        compact: Sequence[str] = ("VACUUM",),
        clock: Clock = utc_now,
    ) -> None:
        if driver.paramstyle not in _MARKS:
            raise StoreError(
                f"the driver has the paramstyle {driver.paramstyle!r}: {', '.join(_MARKS)} is allowed"
            )
        self.where: str = where
        self.driver: ModuleType = driver
        self.dialect: Dialect = dialect
        self.find_table: str = find_table
        self.clock: Clock = clock
        self.mark: str = _MARKS[driver.paramstyle]
        self._begin, self._lock_tables, self._compact = begin, lock_tables, tuple(compact)
        self._process = os.getpid()
        self._lock = threading.Lock()
        with translated(self._explained):
            self._connection: Any = connect()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Lend the connection outside a transaction."""
        if self._process != os.getpid():  # rule 3
            raise StoreError(f"{self.where} was open before a fork: open the store in each process")
        with translated(self._explained), self._lock:  # rule 1
            if self._connection is None:
                raise StoreClosedError("the store was closed")
            yield _Session(self._connection, self)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Lend the connection inside a transaction, which an error rolls back."""
        with self.reading() as session:
            try:
                session.rows(self._begin)  # Ctrl-C after it must not leave a transaction to the next write
                yield session
                session.rows("COMMIT")
            except BaseException:
                # A full disk ends the transaction by itself; then a rollback is an error of its own.
                with suppress(self.driver.Error):
                    session.rows("ROLLBACK")
                raise

    def take_turns(self, session: Session) -> None:
        """Run the statement ``lock_tables``."""
        if self._lock_tables:
            session.rows(self._lock_tables)

    def compact(self, tables: Sequence[str]) -> None:  # noqa: ARG002 - the statements take all of them
        """Run the statements of ``compact``."""
        with self.reading() as session:
            for statement in self._compact:
                session.rows(statement)

    def close(self) -> None:
        """Close the connection, unless it belongs to the parent process."""
        if self._process == os.getpid():
            with translated(self._explained), self._lock:
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.close()

    def _explained(self, exc: Exception) -> StoreError | None:
        if isinstance(exc, self.driver.Error | UnicodeDecodeError | OSError):
            return StoreError(f"{self.where}: {type(exc).__name__}")  # rule 2
        return None
