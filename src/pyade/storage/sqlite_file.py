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

Open SQLite databases and ``fork``.

SQLite keeps the locks of a file in a table of the process. A forked child inherits that table without the
locks, believes that it has them, and loses what it commits. So before each fork all files are closed under
their locks, which also waits for writes that are under way; parent and child open them again at their next
call. What cannot be closed, since the thread that forks is inside one of its blocks, is refused in the child;
so is what is in memory.
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
from pyade.loading import modules_when_asked

if TYPE_CHECKING:
    import sqlite3
else:
    modules_when_asked(globals(), sqlite3="sqlite3")


class Turn:
    """A lock that its owner may take again, and that a busy thread does not keep from the others."""

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.depth: int = 0
        self._waiting: set[int] = set()

    @contextmanager
    def taken(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
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
            self._waiting.discard(thread)  # also where Ctrl-C ended the waiting
            if self._waiting:
                time.sleep(0)  # a thread that asks again at once would get it before those who wait wake up


class Forkable:
    """Two connections to what errors call *where*, each behind a lock, which take part in forks."""

    def __init__(self, where: str, *, is_file: bool) -> None:
        """Nothing is open yet; in memory one connection does both."""
        self.where: str = where
        self._is_file = is_file
        self._identity: tuple[int, int] | None = None  # device and inode; None until they are known
        self._process = os.getpid()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._make_locks()

    def before_fork(self) -> None:
        """Take the locks, and close the file unless the thread that forks is inside a block."""
        self._writes.lock.acquire()
        self._reads.lock.acquire()
        if self._is_file and not self._writes.depth and not self._reads.depth:
            self._close_safely()

    def after_fork(self, *, is_child: bool) -> None:
        """Give the locks back, or make new ones; a child goes on only if the file was closed."""
        if not is_child:
            self._reads.lock.release()
            self._writes.lock.release()
            return
        self._make_locks()
        if self._writer is None and self._reader is None:
            self._process = os.getpid()

    def holds_open(self, identity: tuple[int, int]) -> bool:
        """Return True if this process inherited that file open."""
        return self._process != os.getpid() and self._identity == identity

    def _make_locks(self) -> None:
        self._writes = Turn()
        self._reads = Turn() if self._is_file else self._writes

    def _check_process(self) -> None:
        if self._process == os.getpid():
            return
        if self._is_file:
            raise _inherited(self.where)
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


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()
_locked: list[Forkable] = []


def register(database: Forkable) -> None:
    """Let *database* take part in every fork from now on."""
    _known.add(database)


def check_not_inherited(path: str, identity: tuple[int, int]) -> None:
    """Check that this process did not inherit the file open.

    Raises:
        StoreError: It did, so that SQLite would lose what is committed here.
    """
    if any(database.holds_open(identity) for database in list(_known)):
        raise _inherited(path)


def _inherited(path: str) -> StoreError:
    return StoreError(
        f"{path}: the file was open when this process was forked: "
        "close the store before forking, or start the process with the method 'spawn'"
    )


def _before() -> None:
    # In one order, so that two threads which fork do not wait for each other.
    for database in sorted(_known, key=id):
        database.before_fork()
        _locked.append(database)


def _after(*, is_child: bool) -> None:
    while _locked:
        _locked.pop().after_fork(is_child=is_child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(is_child=False),
        after_in_child=lambda: _after(is_child=True),
    )


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
