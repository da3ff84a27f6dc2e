"""The database of the SQLite stores.

Rules of this file:

1. Every write takes the write lock of the file at its start, so that two processes never interleave; readers
   go on meanwhile (WAL).
2. Threads take turns, for milliseconds: one connection writes and one reads, each behind a lock.
3. A commit is on disk before the call returns.
4. The process is looked at before a lock: after a fork a lock may be held by a thread that is not there.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from pyade.errors import StoreClosedError, StoreError
from pyade.storage import sqlite_forks
from pyade.storage.database import Session, Table, Value, Words, check_texts, translated
from pyade.storage.sqlite_file import UnexplainedError, Watch, close_unwritten, create_private
from pyade.storage.sqlite_forks import Turn

IN_MEMORY = ":memory:"

_PATIENCE_S = 1.0
"""How long another worker may take to note its checkpoint; it takes less than a thousandth of that."""

APPLICATION_ID = 0x50414445
"""``PADE``: tells a store of pyade from any other SQLite file."""

WORDS = Words(
    prefix="",
    id="INTEGER PRIMARY KEY AUTOINCREMENT",
    integer="INTEGER",
    text="TEXT",
    json="TEXT",
    time="TEXT",
    flag="INTEGER",
    for_update="",
    transaction="0",
    settled="TRUE",
)


@attrs.frozen
class _Session:
    connection: sqlite3.Connection
    clock: Callable[[], datetime]

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        query, plain = WORDS.translate(statement), _plain(values)
        try:
            return self.connection.execute(query, plain).fetchall()
        except sqlite3.OperationalError as exc:
            if hasattr(exc, "sqlite_errorcode") or not query.lstrip().startswith("SELECT"):
                raise
        # Python, not SQLite, failed: a text is no UTF-8. Read on, so that only its own row cannot be decoded.
        self.connection.text_factory = _lenient
        try:
            return self.connection.execute(query, plain).fetchall()
        finally:
            self.connection.text_factory = str

    def upsert(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        self.connection.executemany(WORDS.translate(table.upsert_one()), map(_plain, rows))

    def has_table(self, name: str) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self.connection.execute(query, (name,)).fetchone() is not None

    def now(self) -> datetime:
        return self.clock()


class SQLiteDatabase:
    """The ``Database`` behind both stores."""

    def __init__(self, path: str, *, busy_timeout_s: float, clock: Callable[[], datetime]) -> None:
        """Open *path*, or create it if there is no such file.

        Raises:
            StoreError: The file cannot be opened, or belongs to another program.
        """
        self.where = path
        self._busy_timeout_s = busy_timeout_s
        self._clock = clock
        self._is_file = path != IN_MEMORY
        self._path = create_private(path) if self._is_file else path
        self._process = os.getpid()
        self._refusal: StoreError | None = None
        self._is_damaged = False
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._make_locks()
        with translated(self._explained):
            if self._is_file:
                self._watch = Watch(self._path)
                sqlite_forks.check_not_inherited(path, self._watch.identity)
            try:
                self._writer = self._connect()
            except BaseException:
                self.close()
                raise
        sqlite_forks.register(self)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Lend the connection for reading, outside a transaction."""
        self._check_process()
        with translated(self._explained), self._reads.taken(self._check_usable):
            if not self._is_file:
                yield self._session(self._writer)
                return
            self._watch.check_place()
            if self._reader is None:
                self._reader = self._connect()
            try:
                yield self._session(self._reader)
            except sqlite3.DatabaseError as exc:
                # It may have been overwritten: then closing must not write into it.
                self._is_damaged |= _code(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
                raise

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Lend the connection for writing inside a transaction, which an error rolls back."""
        self._check_process()
        with translated(self._explained), self._writes.taken(self._check_usable):
            writer = self._open_writer()
            try:
                changes = self._begin(writer)
                yield self._session(writer)
                writer.execute("COMMIT")
            except BaseException:
                if self._writer is writer and writer.in_transaction:  # else it was closed
                    writer.execute("ROLLBACK")
                raise
            if changes is not None:
                with contextlib.suppress(sqlite3.OperationalError, StoreError):  # committed, whatever follows
                    self._watch.committed(writer, changes)

    def take_turns(self, session: Session) -> None:
        """Do nothing: a write transaction has the file for itself."""

    def compact(self, tables: Sequence[str]) -> None:  # noqa: ARG002 - VACUUM takes all of them
        """Write the file anew; while another process reads, its share of the WAL stays until later."""
        self._check_process()
        with translated(self._explained), self._writes.taken(self._check_usable):
            writer = self._open_writer()
            writer.execute("VACUUM")
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._is_file:
                self._watch.reopened()

    def backup(self, path: str) -> None:
        """Copy everything to a new file at *path*."""
        if os.path.lexists(path):
            raise StoreError(f"{path}: there is a file already: choose another path for the backup")
        partial = create_private(f"{path}.partial")
        with self.reading() as session, contextlib.closing(sqlite3.connect(partial)) as target:
            assert isinstance(session, _Session)  # noqa: S101 - for the type checker
            session.connection.backup(target)
        Path(partial).replace(path)

    def close(self) -> None:
        """Close both connections; does nothing when they are closed."""
        if self._refusal is None:
            self._refusal = StoreClosedError("the store was closed")
        if self._process != os.getpid():
            return  # not ours to close: the parent uses the file
        with self._writes.taken(), self._reads.taken():
            self._close_connections(close_unwritten if self._is_damaged else sqlite3.Connection.close)

    # Forks

    def before_fork(self) -> None:
        """Take the locks, and close the file unless the thread that forks is inside a block."""
        self._writes.enter()
        self._reads.enter()
        if self._is_file and self._writes.depth == self._reads.depth == 1:
            self._close_connections(sqlite3.Connection.close)

    def after_fork_in_parent(self) -> None:
        """Give the locks back; the next call opens the file again."""
        self._reads.leave()
        self._writes.leave()

    def after_fork_in_child(self) -> None:
        """Go on with new locks if the file was closed; else stay refused (rule 4)."""
        self._make_locks()
        if self._writer is None and self._reader is None:
            self._process = os.getpid()

    def holds_open(self, identity: tuple[int, int]) -> bool:
        """Return True if this process inherited the file open."""
        return self._is_file and self._process != os.getpid() and self._watch.identity == identity

    # Connections

    def _make_locks(self) -> None:
        self._writes = Turn()
        self._reads = Turn() if self._is_file else self._writes

    def _check_usable(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _begin(self, writer: sqlite3.Connection) -> int | None:
        """Begin a write (rule 1); a file that is not ours any more is closed without a checkpoint."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                writer.execute("BEGIN IMMEDIATE")
                return self._watch.count(writer) if self._is_file else None
            except sqlite3.DatabaseError as exc:
                if not self._is_file or _code(exc) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise
                self._refusal = self._watch.overwritten()
            except UnexplainedError as error:
                if time.monotonic() < deadline:
                    writer.execute("ROLLBACK")
                    time.sleep(0.005)
                    continue
                self._refusal = error
            except StoreError as error:
                self._refusal = error
            with self._reads.taken():
                self._close_connections(close_unwritten)
            raise self._refusal

    def _close_connections(self, close: Callable[[sqlite3.Connection], None]) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                close(connection)
        self._writer = self._reader = None

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            self._watch.reopened()
            self._writer = self._connect()
        return self._writer

    def _session(self, connection: sqlite3.Connection | None) -> Session:
        assert connection is not None  # noqa: S101 - for the type checker
        return _Session(connection, self._clock)

    def _connect(self) -> sqlite3.Connection:
        # isolation_level None: this class alone begins and ends transactions.
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            _claim(connection, self.where)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")  # rule 3: survives a power failure too
            self._use_wal(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as exc:
                # Here alone SQLite does not wait by itself while another process opens the same new file.
                if not _is_busy(exc) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
            else:
                return

    def _check_process(self) -> None:
        if self._process == os.getpid():
            return
        if not self._is_file:
            raise StoreError(
                "the store in memory was made before this process was forked, and cannot be shared: "
                "use a SQLiteStore in a file"
            )
        raise StoreError(
            f"{self.where}: the file was open when this process was forked, and could not be closed before: "
            "close the store before forking, or start the process with the method 'spawn'"
        )

    def _explained(self, exc: Exception) -> StoreError | None:
        if not isinstance(exc, sqlite3.Error):
            return None
        if _is_busy(exc):
            reason = f"another process was writing for more than {self._busy_timeout_s:g} seconds: try again"
        elif _code(exc) == sqlite3.SQLITE_NOTADB:
            reason = "not a SQLite file: choose another path"
        elif _code(exc) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            reason = f"{exc}: choose a file and folder that this process may write"
        elif _code(exc) == sqlite3.SQLITE_CORRUPT:
            reason = "the file is damaged, or was overwritten while the store was open: restore a backup"
        elif _code(exc) == sqlite3.SQLITE_FULL:
            reason = "the disk is full: make room and try again"
        else:
            # Only the name: what SQLite says may quote a value.
            reason = f"SQLite failed with {getattr(exc, 'sqlite_errorname', type(exc).__name__)}"
        return StoreError(f"{self.where}: {reason}")


def _claim(connection: sqlite3.Connection, path: str) -> None:
    """Mark an empty file as a store of pyade.

    Raises:
        StoreError: It belongs to another program.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id == APPLICATION_ID:
        return
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id or objects:
        raise StoreError(f"{path}: this SQLite file belongs to another program: choose another path")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _plain(values: Sequence[Value]) -> Sequence[Value]:
    check_texts(values)
    return [
        value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value
        for value in values
    ]


def _lenient(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _is_busy(exc: sqlite3.Error) -> bool:
    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(exc: sqlite3.Error) -> int:
    code: int = getattr(exc, "sqlite_errorcode", 0)  # absent where Python, not SQLite, found the fault
    return code & 0xFF
