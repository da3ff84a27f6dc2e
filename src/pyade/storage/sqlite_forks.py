"""Open SQLite databases and ``fork``.

SQLite keeps the locks of a file in a table of the process. A forked child inherits that table without the
locks, believes that it has them, and loses what it commits. So before each fork all files are closed under
their locks, which also waits for writes that are under way; parent and child open them again at their next
call. What cannot be closed, since the thread that forks is inside one of its blocks, is refused in the child;
so is what is in memory.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyade.errors import StoreError

if TYPE_CHECKING:
    import sqlite3


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
