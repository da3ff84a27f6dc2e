"""The stores in one SQLite file and in memory, and their database.

The rules of this file:

1. Every write takes the write lock of the file at its start, so that writes of two processes never
   interleave; readers continue meanwhile (WAL).
2. One connection writes and one reads, each behind a lock that threads hold for milliseconds.
3. The process id is checked before a lock is taken: after a fork a lock may be held by a thread that does not
   exist in the child.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret
from pyade.crypto.secret_box import SecretBox, masked_keys
from pyade.errors import StoreClosedError, StoreError
from pyade.flow import utc_now
from pyade.loading import lazy_modules
from pyade.storage import sqlite_file
from pyade.storage.database import Clock, Dialect, Session, Table, Value, check_rows, check_texts, translated
from pyade.storage.sql import SQLStore
from pyade.storage.sqlite_file import FairLock, Forkable, UnexplainedError, Watch

if TYPE_CHECKING:
    import sqlite3

    import msgspec
else:
    lazy_modules(globals(), msgspec="msgspec", sqlite3="sqlite3")

IN_MEMORY = ":memory:"

_CHECKPOINT_WAIT_S = 1.0
"""How long another worker may take to record its checkpoint; it takes less than a thousandth of that."""

DIALECT = Dialect(
    prefix="",
    id="INTEGER PRIMARY KEY AUTOINCREMENT",
    integer="INTEGER",
    text="TEXT",
    json="TEXT",
    time="TEXT",
    flag="INTEGER",
    one_of="IN (SELECT value FROM json_each(?))",
    for_update="",
    transaction="0",
    settled="TRUE",
)


@attrs.frozen
class _Session:
    connection: sqlite3.Connection
    clock: Clock

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        query, plain = DIALECT.translate(statement), _encode_values(values)
        if "RETURNING" not in query:  # a statement that writes runs only once
            try:
                return self.connection.execute(query, plain).fetchall()
            except sqlite3.OperationalError as exc:
                if hasattr(exc, "sqlite_errorcode"):
                    raise
            # Python, not SQLite, failed: a text is no UTF-8. Read it so that only its own row is damaged.
        self.connection.text_factory = lambda data: data.decode(errors="surrogateescape")
        try:
            return self.connection.execute(query, plain).fetchall()
        finally:
            self.connection.text_factory = str

    def insert(self, table: Table, rows: Sequence[Sequence[Value]]) -> bool:
        before = self.connection.total_changes
        try:
            self._write(table, rows, table.insert_one())
        except sqlite3.IntegrityError:
            # Undone by hand: for a savepoint SQLite would copy each page that is written.
            inserted = rows[: self.connection.total_changes - before]
            self.connection.executemany(DIALECT.translate(table.delete_one()), [row[-1:] for row in inserted])
            return False
        return True

    def update(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        self._write(table, rows, table.update_one())

    def _write(self, table: Table, rows: Sequence[Sequence[Value]], statement: str) -> None:
        check_rows(table, rows)
        columns = list(map(list, zip(*rows, strict=True)))
        for column, column_type in zip(columns, table.columns.values(), strict=True):
            if column_type == "time":
                column[:] = map(_TimeTexts().__getitem__, column)
        self.connection.executemany(DIALECT.translate(statement), zip(*columns, strict=True))

    def has_table(self, name: str) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self.connection.execute(query, (name,)).fetchone() is not None

    def now(self) -> datetime:
        return self.clock()


class SQLiteDatabase(Forkable):
    """The ``Database`` behind both stores."""

    def __init__(self, path: str, *, busy_timeout_s: float, clock: Clock) -> None:
        """Open *path*, or create it if there is no such file.

        Raises:
            StoreError: The file cannot be opened, or belongs to another program.
        """
        super().__init__(path, is_file=path != IN_MEMORY)
        self._busy_timeout_s = busy_timeout_s
        self.clock: Clock = clock
        self._path = sqlite_file.create_private(path) if self._is_file else path
        self._refusal: StoreError | None = None
        self._is_damaged = False
        with translated(self._explained):
            if self._is_file:
                self._watch = Watch(self._path)
                self._identity = self._watch.identity
            self._writer = self._connect()
        sqlite_file.register(self)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Lend the connection for reading, outside a transaction."""
        with self._locked(self._reads):  # rule 2
            try:
                yield _Session(self._open_reader(), self.clock)
            except sqlite3.DatabaseError as exc:
                # The file may have been overwritten: then closing must not write into it.
                self._is_damaged |= sqlite_file.is_damage(exc)
                raise

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Lend the connection for writing inside a transaction, which an error rolls back."""
        with self._locked(self._writes):
            writer = self._open_writer()
            try:
                changes = self._begin(writer)
                yield _Session(writer, self.clock)
                writer.execute("COMMIT")
            except BaseException:
                if self._writer is writer and writer.in_transaction:  # else it was closed
                    writer.execute("ROLLBACK")
                raise
            if self._is_file:
                with suppress(sqlite3.OperationalError, StoreError):  # committed, whatever follows
                    self._watch.committed(writer, changes or 0)

    def take_turns(self, session: Session) -> None:
        """Do nothing: a write transaction has the file for itself."""

    def compact(self, tables: Sequence[str]) -> None:  # noqa: ARG002 - VACUUM takes all of them
        """Rewrite the file; while another process reads, the WAL is truncated later."""
        with self._locked(self._writes):
            writer = self._open_writer()
            writer.execute("VACUUM")
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._is_file:
                self._watch.reopened()

    def backup(self, path: str) -> None:
        """Copy everything to a new file at *path*."""
        self._check_process()
        if os.path.lexists(path):
            raise StoreError(f"{path}: there is a file already: choose another path for the backup")
        # A unique name: two backups to one path would otherwise write into one file.
        partial = sqlite_file.create_private(f"{path}.{uuid4().hex}.partial")
        try:
            with self._locked(self._reads), closing(sqlite3.connect(partial)) as target:
                self._open_reader().backup(target)
            Path(partial).replace(path)
        finally:
            Path(partial).unlink(missing_ok=True)

    def close(self) -> None:
        """Close both connections; does nothing when they are closed."""
        if self._refusal is None:
            self._refusal = StoreClosedError("the store was closed")
        if self._process != os.getpid():
            return  # inherited by a fork: the parent uses the file
        with self._writes.held(), self._reads.held():
            self._close_safely()

    @contextmanager
    def _locked(self, lock: FairLock) -> Iterator[None]:
        self._check_process()  # rule 3
        with translated(self._explained), lock.held(self._check_usable):
            yield

    def _check_usable(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(self._refusal.reason)

    def _begin(self, writer: sqlite3.Connection) -> int | None:
        """Begin a write; a file that was replaced or overwritten is closed without a checkpoint."""
        deadline = time.monotonic() + _CHECKPOINT_WAIT_S
        while True:
            try:
                writer.execute("BEGIN IMMEDIATE")  # rule 1
                return self._watch.count(writer) if self._is_file else None
            except sqlite3.DatabaseError as exc:
                if not self._is_file or not sqlite_file.is_damage(exc):
                    raise
                self._refusal = self._watch.overwritten()
            except StoreError as error:
                if isinstance(error, UnexplainedError) and time.monotonic() < deadline:
                    writer.execute("ROLLBACK")
                    time.sleep(0.005)
                    continue
                self._refusal = error
            with self._reads.held():
                self._close_connections(sqlite_file.close_unwritten)
            raise type(self._refusal)(self._refusal.reason)

    def _close_safely(self) -> None:
        connection = self._writer or self._reader
        if (
            not self._is_file
            or connection is None
            or (not self._is_damaged and self._watch.knows(connection))
        ):
            self._close_connections(sqlite3.Connection.close)
        else:
            self._close_connections(sqlite_file.close_unwritten)

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            self._watch.reopened()
            self._writer = self._connect()
        return self._writer

    def _open_reader(self) -> sqlite3.Connection:
        if not self._is_file:
            return self._open_writer()
        self._watch.check_path()
        if self._reader is None:
            self._reader = self._connect()
        return self._reader

    def _connect(self) -> sqlite3.Connection:
        return sqlite_file.connect(self._path, self.where, timeout_s=self._busy_timeout_s)

    def _explained(self, exc: Exception) -> StoreError | None:
        if not isinstance(exc, sqlite3.Error):
            return None
        return StoreError(f"{self.where}: {sqlite_file.explanation(exc, timeout_s=self._busy_timeout_s)}")


def _encode_values(values: Sequence[Value]) -> Sequence[Value]:
    check_texts(values)
    return [_encode_value(value) for value in values]


def _encode_value(value: Value) -> Value:
    if isinstance(value, datetime):
        return _time_text(value)
    return msgspec.json.encode(value).decode() if isinstance(value, list) else value


class _TimeTexts(dict[Any, Any]):
    """Cache of texts of times, most of which are equal within a page."""

    def __missing__(self, time: datetime | None) -> str | None:
        text = self[time] = None if time is None else _time_text(time)
        return text


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


@check_arguments(but=("keys",))
class SQLiteStore(SQLStore):
    """A ``Store`` in one SQLite file; safe for several threads, several processes and forks.

    A new file is readable by its owner only (mode 0600), since it holds secrets.
    """

    _database: SQLiteDatabase

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keys: Iterable[str | bytes | Secret] | None = None,
        busy_timeout_s: float = 30.0,
        clock: Callable[[], datetime] = utc_now,
        allow_unreadable_secrets: bool = False,
    ) -> None:
        """Open the store, create the file if there is none, and migrate an older one.

        Args:
            path: The file, or ``":memory:"`` for a store that ends with this object.
            keys: Encrypt secrets with the first key, and decrypt with any; see ``crypto.secret_box``. None
                stores secrets as plain text.
            busy_timeout_s: Seconds to wait while another process writes.
            clock: Clock of the leases; must be the same for all processes that share the file.
            allow_unreadable_secrets: Open the store even if no key decrypts its secrets.

        Raises:
            StoreVersionError: The file was written by a newer pyade.
            StoreError: The file cannot be opened, belongs to another program, or holds secrets that were
                encrypted with another key.
        """
        keys = masked_keys(keys)
        box = SecretBox(keys)  # before a file is made
        database = SQLiteDatabase(os.fspath(path), busy_timeout_s=busy_timeout_s, clock=clock)
        super().__init__(database, keys=box, allow_unreadable_secrets=allow_unreadable_secrets)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy a snapshot of the store to a new file, while others continue to read and write.

        Args:
            path: A path without a file; the backup gets mode 0600, and appears there when it is complete.

        Raises:
            StoreError: There is a file already, or it cannot be written.
        """
        self._database.backup(os.fspath(path))


@check_arguments(but=("keys",))
class MemoryStore(SQLStore):
    """A ``Store`` that loses everything when it is closed; safe for several threads, not for processes."""

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Create an empty store; *clock* is the clock of its leases."""
        super().__init__(SQLiteDatabase(IN_MEMORY, busy_timeout_s=0.0, clock=clock))

    def __repr__(self) -> str:
        return "MemoryStore()"
