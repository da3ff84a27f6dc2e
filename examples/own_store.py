"""A custom store: SQLite through the library apsw, which supports custom file systems (VFS) and ciphers.

For a driver of Python's database API, ``DbApiDatabase`` is shorter: see ``examples/jobs/own_store.py``.

Needs: pyade and apsw; the extra ``test`` has it.
Run: ``python examples/own_store.py``; ``docs/own-store.md`` explains it.
"""

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import attrs

from pyade import Syncer
from pyade.errors import StoreClosedError, StoreError
from pyade.storage import Dialect, Session, SQLStore, Table, Value, check_texts, translated
from pyade.testing import FrozenClock, World

DIALECT = Dialect(
    prefix="",
    id="INTEGER PRIMARY KEY AUTOINCREMENT",
    integer="INTEGER",
    text="TEXT",
    json="TEXT",
    time="TEXT",
    flag="INTEGER",
    one_of="IN (SELECT value FROM json_each(?))",  # a list is a single value
    for_update="",  # BEGIN IMMEDIATE locks out all other writers
    transaction="0",
    settled="TRUE",
)
SETTINGS = "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL"


@attrs.frozen
class ApswSession:
    """The connection, borrowed for a block."""

    connection: apsw.Connection
    clock: Callable[[], datetime]

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        return self.connection.execute(DIALECT.translate(statement), _plain(values)).fetchall()

    def insert(self, table: Table, rows: Sequence[Sequence[Value]]) -> bool:
        """Insert all rows, or none if one exists; over a network, send them in one statement instead."""
        try:
            with self.connection:  # a savepoint
                self.connection.executemany(DIALECT.translate(table.insert_one()), map(_plain, rows))
        except apsw.ConstraintError:
            return False
        return True

    def update(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        """Overwrite the rows with the same primary keys."""
        self.connection.executemany(DIALECT.translate(table.update_one()), map(_plain, rows))

    def has_table(self, name: str) -> bool:
        """Return True if there is such a table."""
        return self.connection.table_exists("main", name)

    def now(self) -> datetime:
        """Return the time for leases."""
        return self.clock()


class ApswDatabase:
    """One connection that all threads share, one at a time; each process opens its own."""

    def __init__(
        self,
        path: str,
        *,
        connect: Callable[[str], apsw.Connection] = apsw.Connection,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Open the file, or create it; *connect* may name a VFS, or give the key to a build with ciphers."""
        self.where = path
        self._clock = clock
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        with translated(self._explained):
            Path(path).touch(mode=0o600)  # holds secrets: only its owner may read it
            self._connection = connect(path)
            self._connection.set_busy_timeout(30_000)
            self._connection.execute(SETTINGS).fetchall()

    @contextmanager
    def reading(self) -> Iterator[ApswSession]:
        """Lend the connection in autocommit mode."""
        if self._process != os.getpid():  # before the lock: a thread of the parent may hold it
            raise StoreError(f"{self.where}: the file was open before a fork: use the method 'spawn'")
        with translated(self._explained), self._lock:
            if self._closed:
                raise StoreClosedError("the store was closed")
            yield ApswSession(self._connection, self._clock)

    @contextmanager
    def writing(self) -> Iterator[ApswSession]:
        """Lend the connection inside a transaction, which locks the file before anything is read."""
        with self.reading() as session:
            try:
                session.rows("BEGIN IMMEDIATE")
                yield session
                session.rows("COMMIT")
            except BaseException:
                if session.connection.in_transaction:  # a full disk ends it by itself
                    session.rows("ROLLBACK")
                raise

    def take_turns(self, session: Session) -> None:
        """Do nothing: a write transaction has the file for itself."""

    def compact(self, tables: Sequence[str]) -> None:  # noqa: ARG002 - VACUUM takes all of them
        """Rewrite the file without overwritten content."""
        with self.reading() as session:
            session.rows("VACUUM")
            session.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection, unless it belongs to the parent process."""
        if self._process == os.getpid():
            with self._lock:
                self._closed = True
                self._connection.close()

    def _explained(self, exc: Exception) -> StoreError | None:
        if isinstance(exc, apsw.Error | UnicodeDecodeError | OSError):
            return StoreError(f"{self.where}: {type(exc).__name__}")  # its text may quote a stored value
        return None


def _plain(values: Sequence[Value]) -> Sequence[Any]:
    check_texts(values)
    return [_plain_value(value) for value in values]


def _plain_value(value: Value) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def main() -> None:
    """Sync the fleet of a fake Apple into a store."""
    with tempfile.TemporaryDirectory() as folder:
        store = SQLStore(ApswDatabase(f"{folder}/own.db"))
        with World(FrozenClock(), store=store) as world:
            print(Syncer(world.client, store).sync())


if __name__ == "__main__":
    main()
