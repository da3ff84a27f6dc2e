"""The file of a SQLite store: made for its owner alone, and watched, since SQLite trusts what lies there.

SQLite takes a file that was replaced, or overwritten by a backup, for the one that it opened, and a ``-wal``
file for a part of whatever lies beside it; both end in lost or mixed pages. So the table ``pyade_store``
counts the changes of a store (``changes``), and each change notes how many of them the file itself held by
then (``checkpointed``); the rest stands in the WAL. From that follows:

1. Each write looks whether the path still names the file that was opened.
2. If the file changed since the last look, a checkpoint must have done it: the file holds this store, with as
   many changes as were noted, or with all that were committed. A worker notes its checkpoint right after it.
3. A WAL that is found at the start belongs to the file only if the file holds at least the changes that the
   WAL builds on.
4. After a mismatch nothing is written, also not by SQLite's checkpoint when it closes.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import attrs

from pyade.errors import StoreError
from pyade.loading import modules_when_asked
from pyade.storage.sqlite_forks import check_not_inherited

if TYPE_CHECKING:
    import sqlite3
else:
    modules_when_asked(globals(), sqlite3="sqlite3")

APPLICATION_ID = 0x50414445
"""``PADE``: tells a store of pyade from any other SQLite file."""

_creation = Lock()

_READ = "SELECT store_id, changes, checkpointed FROM pyade_store"
_COUNT = "UPDATE pyade_store SET changes = changes + 1 RETURNING store_id, changes, checkpointed"
_NOTE = "UPDATE pyade_store SET checkpointed = ?"


class UnexplainedError(StoreError):
    """The file holds a number of changes that nobody noted yet: ask again."""


@attrs.frozen
class _Contents:
    """What a file or a connection says about its store."""

    store_id: str
    changes: int
    checkpointed: int


class Watch:
    """Notices that the file of a store was removed, replaced or overwritten.

    Attributes:
        identity: Device and inode of the file.
    """

    def __init__(self, path: str) -> None:
        """Watch the file at *path*, which exists and is about to be opened.

        Raises:
            StoreError: A ``-wal`` file beside it belongs to other contents (rule 3), or this process
                inherited the file open.
        """
        self._path = path
        self.identity: tuple[int, int] = _identity(Path(path).stat())
        check_not_inherited(path, self.identity)
        self._looked: tuple[int, int] | None = None
        self._store_id: str | None = None
        self._held = 0  # changes that the file held at the last look
        self._changes = 0
        self._check_wal()

    def check_place(self) -> tuple[int, int]:
        """Check that the path still names the file that was opened (rule 1), and return when it changed.

        Raises:
            StoreError: It does not.
        """
        try:
            found = os.stat(self._path)  # noqa: PTH116 - before each read and write: a Path takes twice as long
        except OSError:
            found = None
        if found is None or _identity(found) != self.identity:
            what = "is gone" if found is None else "was replaced by another file"
            raise StoreError(
                f"{self._path}: the file {what} while the store was open: nothing more is written, "
                "open the store again"
            )
        return found.st_mtime_ns, found.st_size

    def count(self, connection: sqlite3.Connection) -> int | None:
        """Count a change inside the write transaction of *connection*; None while there are no tables yet.

        Returns:
            The number of changes, for ``committed``.

        Raises:
            StoreError: The file is not what it was at the last change (rules 1 and 2).
            UnexplainedError: Perhaps.
        """
        looked = self.check_place()
        try:
            ((store_id, changes, noted),) = connection.execute(_COUNT).fetchall()
        except sqlite3.OperationalError:
            if self._store_id is None:
                return None
            raise self.overwritten() from None
        self._held = max(self._held, noted)
        if looked != self._looked and (contents := _contents(self._path)) is not None:
            if contents.store_id != store_id or contents.changes < self._held:
                raise self.overwritten()
            if self._looked is not None and contents.changes not in (self._held, changes - 1):
                raise UnexplainedError(self.overwritten().reason)
            connection.execute(_NOTE, (contents.changes,))
            self._held, self._looked = contents.changes, looked
        if self._store_id not in (None, store_id) or changes <= self._changes:
            raise self.overwritten()
        self._store_id = store_id
        return int(changes)

    def committed(self, connection: sqlite3.Connection, changes: int) -> None:
        """Remember what ``count`` returned, now that it is committed, and note a checkpoint that followed."""
        self._changes = changes
        looked = self.check_place()
        if looked == self._looked:
            return
        if self._looked is None:  # a new file: let it hold the tables, so that rule 2 has what to compare
            connection.execute("PRAGMA wal_checkpoint").fetchall()
        contents = _contents(self._path)
        if contents is not None and contents.store_id == self._store_id and contents.changes > self._held:
            connection.execute(_NOTE, (contents.changes,))  # in the WAL at once, for rules 2 and 3
            self._held, self._looked = contents.changes, self.check_place()

    def knows(self, connection: sqlite3.Connection) -> bool:
        """Return True if a checkpoint explains the file, so that SQLite may write another one (rule 4)."""
        try:
            if self.check_place() == self._looked:
                return True
            ((store_id, changes, noted),) = connection.execute(_READ).fetchall()
        except (StoreError, ValueError, sqlite3.Error):
            return False
        file = _contents(self._path)
        return file is not None and file.store_id == store_id and file.changes in (self._held, noted, changes)

    def reopened(self) -> None:
        """Look anew: SQLite wrote a checkpoint when the last connection was closed."""
        self._looked = None
        self._check_wal()

    def overwritten(self) -> StoreError:
        """Return the error for a file that is not what it was."""
        return StoreError(
            f"{self._path}: the file was overwritten while the store was open, as by a backup: nothing more "
            f"is written; close all stores, remove {self._path}-wal and {self._path}-shm, restore it again"
        )

    def _check_wal(self) -> None:
        wal = Path(f"{self._path}-wal")
        try:
            if not wal.stat().st_size:
                return
        except FileNotFoundError:
            return
        except OSError as exc:
            raise StoreError(f"{wal}: {exc.strerror}: choose another path") from None
        both = _contents(self._path, "mode=ro")  # cannot write a checkpoint when it closes (rule 4)
        file = _contents(self._path)
        if file is None:
            return  # a new store, whose tables are in the WAL alone
        if both is None or both.store_id != file.store_id or file.changes < both.checkpointed:
            raise StoreError(
                f"{self._path}: {wal.name} belongs to a newer state of this store, or to another one, as "
                f"after a backup was put in place: remove {wal} and {self._path}-shm to use the file as it is"
            )


def create_private(path: str) -> str:
    """Create the file of a store with mode 0600 unless it exists, and return its path without links.

    Raises:
        StoreError: The file cannot be created.
    """
    # A link to nowhere would let SQLite create the file with the mode of any other.
    if "\0" in path:
        raise StoreError(f"{path!r}: a path has no NUL character: choose another one")
    real = os.path.realpath(path)
    # Never open a file that exists: closing it would drop the locks of this process's connections to it.
    with _creation:
        try:
            os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            pass
        except OSError as exc:
            raise StoreError(
                f"{path}: {exc.strerror}: choose a path in a folder that exists and is writable"
            ) from exc
    return real


def connect(path: str, where: str, *, timeout_s: float) -> sqlite3.Connection:
    """Return a connection in autocommit mode, for any thread, whose commits survive a power failure.

    Raises:
        StoreError: The file belongs to another program.
    """
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        _claim(connection, where)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        # Serial numbers are random: a page of devices touches a page of their index each, and a checkpoint
        # after each commit would write the whole index again and again. 32 MiB of WAL collect a dozen.
        connection.execute("PRAGMA wal_autocheckpoint = 8000")
        _use_wal(connection, timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def close_unwritten(connection: sqlite3.Connection) -> None:
    """Close *connection* without the checkpoint that SQLite makes of a WAL when it closes (rule 4)."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    connection.interrupt()
    connection.close()


def is_damage(exc: sqlite3.Error) -> bool:
    """Return True if SQLite does not find its own file."""
    return _code(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def explanation(exc: sqlite3.Error, *, timeout_s: float) -> str:
    """Return what is wrong and what to do, without what SQLite says: it may quote a value."""
    if _is_busy(exc):
        return f"another process was writing for more than {timeout_s:g} seconds: try again"
    known = {
        sqlite3.SQLITE_NOTADB: "not a SQLite file: choose another path",
        sqlite3.SQLITE_CANTOPEN: "unable to open it: choose a file and folder that this process may write",
        sqlite3.SQLITE_READONLY: "it is read-only: choose a file and folder that this process may write",
        sqlite3.SQLITE_CORRUPT: "it is damaged, or was overwritten while it was open: restore a backup",
        sqlite3.SQLITE_FULL: "the disk is full: make room and try again",
    }
    name = getattr(exc, "sqlite_errorname", type(exc).__name__)
    return known.get(_code(exc), f"SQLite failed with {name}")


def _claim(connection: sqlite3.Connection, where: str) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id == APPLICATION_ID:
        return
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id or objects:
        raise StoreError(f"{where}: this SQLite file belongs to another program: choose another path")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _use_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
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


def _is_busy(exc: sqlite3.Error) -> bool:
    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(exc: sqlite3.Error) -> int:
    code: int = getattr(exc, "sqlite_errorcode", 0)  # absent where Python, not SQLite, found the fault
    return code & 0xFF


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _contents(path: str, mode: str = "immutable=1") -> _Contents | None:
    """Return what the file alone says, or with ``mode=ro`` file and WAL; None if it cannot tell."""
    uri = f"{Path(path).as_uri()}?{mode}"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        rows = connection.execute(_READ).fetchall()
        return _Contents(*rows[0]) if rows else None
    return None
