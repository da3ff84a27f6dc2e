"""The file of a SQLite store: creation for its owner only, detection of a replaced file, and forks.

SQLite does not notice that a file was replaced, or overwritten by a backup, and applies any ``-wal`` file
beside it; both end in lost or mixed pages. So the table ``pyade_store`` counts the changes of a store
(``changes``), and each change records how many of them the file itself contained at that time
(``checkpointed``); the others are in the WAL.

SQLite keeps the locks of a file in a table of the process. A forked child inherits this table without the
locks, assumes that it holds them, and loses what it commits.

The rules of this file:

1. Each write checks that the path still names the file that was opened.
2. If the file changed since the last check, a checkpoint must be the reason: the file contains this store,
   with as many changes as were recorded, or with all that were committed. A worker records its checkpoint
   right after it.
3. A WAL that exists at the start belongs to the file only if the file contains at least the changes on which
   the WAL builds.
4. After a mismatch nothing is written, not even by SQLite's checkpoint when it closes.
5. Before each fork all files are closed under their locks, which also waits for writes under way; parent and
   child open them again at their next call.
6. A store that cannot be closed, since the forking thread is inside one of its blocks, is refused in the
   child; so is a store in memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import attrs

from pyade.errors import StoreError
from pyade.loading import lazy_modules

if TYPE_CHECKING:
    import sqlite3
else:
    lazy_modules(globals(), sqlite3="sqlite3")


class FairLock:
    """A reentrant lock that a busy thread cannot keep from waiting threads."""

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.depth: int = 0
        self._waiting: set[int] = set()

    @contextmanager
    def held(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the lock during a block, if *check* raises nothing."""
        thread = threading.get_ident()
        self._waiting.add(thread)
        try:
            with self.lock:
                self._waiting.discard(thread)
                check()
                self.depth += 1
                try:
                    yield
                finally:
                    self.depth -= 1
        finally:
            self._waiting.discard(thread)  # also if Ctrl-C ended the wait
            if self._waiting:
                # Without it, a thread that locks again would win before waiting threads wake up.
                time.sleep(0)


class Forkable:
    """A writing and a reading connection, each behind a lock, which are closed and reopened at forks."""

    def __init__(self, where: str, *, is_file: bool) -> None:
        """Open nothing yet; *where* names the database in errors; in memory one connection does both."""
        self.where: str = where
        self._is_file = is_file
        self._identity: tuple[int, int] | None = None  # device and inode; None until they are known
        self._process = os.getpid()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._make_locks()

    def before_fork(self) -> None:
        """Take the locks, and close the file unless the forking thread is inside a block (rules 5 and 6)."""
        self._writes.lock.acquire()
        self._reads.lock.acquire()
        if self._is_file and not self._writes.depth and not self._reads.depth:
            self._close_safely()

    def after_fork(self, *, is_child: bool) -> None:
        """Release the locks, or create new ones in a child, which continues only if the file was closed."""
        if not is_child:
            self._reads.lock.release()
            self._writes.lock.release()
            return
        self._make_locks()
        if self._writer is None and self._reader is None:
            self._process = os.getpid()

    def holds_open(self, identity: tuple[int, int]) -> bool:
        """Return True if this process inherited the file with this device and inode open."""
        return self._process != os.getpid() and self._identity == identity

    def _make_locks(self) -> None:
        self._writes = FairLock()
        self._reads = FairLock() if self._is_file else self._writes

    def _check_process(self) -> None:
        if self._process == os.getpid():
            return
        if self._is_file:
            raise _inherited(self.where)  # rule 6
        raise StoreError(
            "the store in memory was made before this process was forked, and cannot be shared: "
            "use a SQLiteStore in a file"
        )

    def _close_safely(self) -> None:
        raise NotImplementedError

    def _close_connections(self, close: Callable[[sqlite3.Connection], None]) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                close(connection)
        self._writer = self._reader = None


_databases: weakref.WeakSet[Forkable] = weakref.WeakSet()
_locked_for_fork: list[Forkable] = []


def register(database: Forkable) -> None:
    """Prepare *database* for every fork from now on."""
    _databases.add(database)


def check_not_inherited(path: str, identity: tuple[int, int]) -> None:
    """Check that this process did not inherit the file open.

    Raises:
        StoreError: It did, and SQLite would lose what is committed here.
    """
    if any(database.holds_open(identity) for database in list(_databases)):
        raise _inherited(path)


def _inherited(path: str) -> StoreError:
    return StoreError(
        f"{path}: the file was open when this process was forked: "
        "close the store before forking, or start the process with the method 'spawn'"
    )


def _before_fork() -> None:
    # In one order, so that two forking threads do not deadlock.
    for database in sorted(_databases, key=id):
        database.before_fork()  # rule 5
        _locked_for_fork.append(database)


def _after_fork(*, is_child: bool) -> None:
    while _locked_for_fork:
        _locked_for_fork.pop().after_fork(is_child=is_child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(is_child=False),
        after_in_child=lambda: _after_fork(is_child=True),
    )


APPLICATION_ID = 0x50414445
"""``PADE``: distinguishes a store of pyade from other SQLite files."""

_creation = Lock()

_READ = "SELECT store_id, changes, checkpointed FROM pyade_store"
_COUNT = "UPDATE pyade_store SET changes = changes + 1 RETURNING store_id, changes, checkpointed"
_RECORD_CHECKPOINT = "UPDATE pyade_store SET checkpointed = ?"


class UnexplainedError(StoreError):
    """The file contains a number of changes that no worker has recorded yet: try again."""


@attrs.frozen
class _Contents:
    """The row of ``pyade_store`` in a file or connection."""

    store_id: str
    changes: int
    checkpointed: int


class Watch:
    """Detects that the file of a store was removed, replaced or overwritten.

    Attributes:
        identity: Device and inode of the file.
    """

    def __init__(self, path: str) -> None:
        """Watch the file at *path*, which exists and is about to be opened.

        Raises:
            StoreError: A ``-wal`` file beside it belongs to another state (rule 3), or this process inherited
                the file open.
        """
        self._path = path
        self.identity: tuple[int, int] = _identity(Path(path).stat())
        check_not_inherited(path, self.identity)
        self._last_stamp: tuple[int, int] | None = None
        self._store_id: str | None = None
        self._in_file = 0  # changes in the file at the last check
        self._changes = 0
        self._check_wal()

    def check_path(self) -> tuple[int, int]:
        """Check that the path still names the file that was opened (rule 1).

        Returns:
            Modification time in nanoseconds and size, which change with each checkpoint.

        Raises:
            StoreError: It names no file, or another one.
        """
        try:
            found = os.stat(self._path)  # noqa: PTH116 - before each read and write: a Path takes twice as long
        except OSError:
            found = None
        if found is None or _identity(found) != self.identity:  # rule 1
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
            StoreError: The file was replaced or overwritten since the last change (rules 1 and 2).
            UnexplainedError: The same, unless another worker is about to record its checkpoint.
        """
        stamp = self.check_path()
        try:
            ((store_id, changes, noted),) = connection.execute(_COUNT).fetchall()
        except sqlite3.OperationalError:
            if self._store_id is None:
                return None
            raise self.overwritten() from None
        self._in_file = max(self._in_file, noted)
        if stamp != self._last_stamp and (contents := _contents(self._path)) is not None:
            if contents.store_id != store_id or contents.changes < self._in_file:
                raise self.overwritten()
            if self._last_stamp is not None and contents.changes not in (self._in_file, changes - 1):
                raise UnexplainedError(self.overwritten().reason)
            connection.execute(_RECORD_CHECKPOINT, (contents.changes,))
            self._in_file, self._last_stamp = contents.changes, stamp
        if self._store_id not in (None, store_id) or changes <= self._changes:
            raise self.overwritten()
        self._store_id = store_id
        return int(changes)

    def committed(self, connection: sqlite3.Connection, changes: int) -> None:
        """Remember the committed number of *changes*, and record a checkpoint that followed."""
        self._changes = changes
        stamp = self.check_path()
        if stamp == self._last_stamp:
            return
        if self._last_stamp is None:  # a new file: write the tables into it, for the comparison of rule 2
            connection.execute("PRAGMA wal_checkpoint").fetchall()
        contents = _contents(self._path)
        if contents is not None and contents.store_id == self._store_id and contents.changes > self._in_file:
            connection.execute(_RECORD_CHECKPOINT, (contents.changes,))  # rules 2 and 3
            self._in_file, self._last_stamp = contents.changes, self.check_path()

    def knows(self, connection: sqlite3.Connection) -> bool:
        """Return True if a checkpoint explains the file, so that SQLite may write another one (rule 4)."""
        try:
            if self.check_path() == self._last_stamp:
                return True
            ((store_id, changes, noted),) = connection.execute(_READ).fetchall()
        except (StoreError, ValueError, sqlite3.Error):
            return False
        file = _contents(self._path)
        return (
            file is not None and file.store_id == store_id and file.changes in (self._in_file, noted, changes)
        )

    def reopened(self) -> None:
        """Check again from scratch: SQLite wrote a checkpoint when the last connection was closed."""
        self._last_stamp = None
        self._check_wal()

    def overwritten(self) -> StoreError:
        """Return the error for a file that was overwritten."""
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
        both = _contents(self._path, "mode=ro")  # read-only: closing writes no checkpoint (rule 4)
        file = _contents(self._path)
        if file is None:
            return  # a new store, whose tables are in the WAL alone
        # rule 3
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
    # Through a dangling link SQLite would create the file with the default mode.
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
        # Serial numbers are random: each device of a commit changes another page of their index, and frequent
        # checkpoints would write the whole index again and again. 32 MiB of WAL collect a dozen commits.
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
    """Return True if SQLite reports a damaged file, or one that is no SQLite file."""
    return _code(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def explanation(exc: sqlite3.Error, *, timeout_s: float) -> str:
    """Return what is wrong and what to do, without SQLite's own message, which may quote a value."""
    if _is_busy(exc):
        return f"another process was writing for more than {timeout_s:g} seconds: try again"
    known = {
        sqlite3.SQLITE_NOTADB: "not a SQLite file: choose another path",
        sqlite3.SQLITE_CANTOPEN: "unable to open it: choose a file and folder that this process may write",
        sqlite3.SQLITE_READONLY: "it is read-only: choose a file and folder that this process may write",
        sqlite3.SQLITE_CORRUPT: "it is damaged, or was overwritten while it was open: restore a backup",
        sqlite3.SQLITE_FULL: "the disk is full: free some space and try again",
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
            # SQLite's busy timeout does not apply here, while another process opens the same new file.
            if not _is_busy(exc) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _is_busy(exc: sqlite3.Error) -> bool:
    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(exc: sqlite3.Error) -> int:
    code: int = getattr(exc, "sqlite_errorcode", 0)  # absent if Python, not SQLite, raised it
    return code & 0xFF


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _contents(path: str, mode: str = "immutable=1") -> _Contents | None:
    """Return the row in the file alone, or with ``mode=ro`` in file and WAL; None if it cannot be read."""
    uri = f"{Path(path).as_uri()}?{mode}"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        rows = connection.execute(_READ).fetchall()
        return _Contents(*rows[0]) if rows else None
    return None
