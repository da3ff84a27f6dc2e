"""Connections to one SQLite file that several threads and processes share safely."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyade.errors import StoreClosedError, StoreError
from pyade.storage.schema import migrate

IN_MEMORY = ":memory:"

_creation = threading.Lock()


class Connections:
    """One connection for writing and one for reading, each behind a lock.

    WAL lets readers of this and other processes go on while one writes. A database in memory has one
    connection only, since a second one would be another database.
    """

    def __init__(self, path: str, *, busy_timeout_s: float) -> None:
        """Open *path*, create it if there is no such file, and migrate an older one.

        Raises:
            StoreVersionError: The file was written by a newer pyade.
            StoreError: The file cannot be opened, or belongs to another program.
        """
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._process = os.getpid()
        self._closed = False
        self._write_lock = self._read_lock = threading.Lock()
        with self._explained():
            if path != IN_MEMORY:
                _create_private(path)
            self._writer = self._reader = self._connect()
            try:
                migrate(self._writer)
                self._prepare(self._writer)
                if path != IN_MEMORY:
                    self._read_lock = threading.Lock()
                    self._reader = self._connect()
                    self._prepare(self._reader)
            except BaseException:
                self.close()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for reading, outside a transaction.

        Raises:
            StoreClosedError: The store was closed.
            StoreError: SQLite failed.
        """
        with self._explained(), self._read_lock:
            self._check_usable()
            yield self._reader

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for writing inside a transaction, which an error rolls back.

        Raises:
            StoreClosedError: The store was closed.
            StoreError: SQLite failed, or another process wrote for too long.
        """
        with self._explained(), self._write_lock:
            self._check_usable()
            try:
                # Takes the write lock at once: one that reads first and writes later could fail half-way.
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def rewrite(self) -> None:
        """Write the file anew, so that nothing of what was overwritten or deleted is left in it.

        While another process reads, its share of the WAL stays until a later checkpoint.

        Raises:
            StoreClosedError: The store was closed.
            StoreError: SQLite failed, or another process wrote for too long.
        """
        with self._explained(), self._write_lock:
            self._check_usable()
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close both connections; harmless when they are closed."""
        with self._write_lock:
            self._closed = True
            self._writer.close()
        with self._read_lock:
            self._reader.close()

    def _connect(self) -> sqlite3.Connection:
        # isolation_level None: this class alone begins and ends transactions.
        return sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")  # what was committed survives a power failure too
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

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreClosedError("the store was closed")
        if self._process != os.getpid():
            raise StoreError(
                "the store was opened before this process was forked: open one store in each process"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise StoreError(f"{self.path}: {self._explanation(exc)}") from exc
        except UnicodeEncodeError:
            raise StoreError(f"{self.path}: a text to store is not valid Unicode") from None

    def _explanation(self, exc: sqlite3.Error) -> str:
        if _is_busy(exc):
            return f"another process was writing for more than {self._busy_timeout_s:g} seconds: try again"
        if _primary_code(exc) == sqlite3.SQLITE_NOTADB:
            return "not a SQLite file: choose another path"
        if _primary_code(exc) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return f"{exc}: choose a file and folder that this process may write"
        return f"{getattr(exc, 'sqlite_errorname', type(exc).__name__)}: {exc}"


def _is_busy(exc: sqlite3.Error) -> bool:
    return _primary_code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary_code(exc: sqlite3.Error) -> int:
    code: int = getattr(exc, "sqlite_errorcode", 0)  # absent where Python, not SQLite, found the fault
    return code & 0xFF


def _create_private(path: str) -> None:
    # Never open a file that exists: closing it would drop the locks of this process's connections to it.
    with _creation:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return
        except OSError as exc:
            raise StoreError(
                f"{path}: {exc.strerror}: choose a path in a folder that exists and is writable"
            ) from exc
