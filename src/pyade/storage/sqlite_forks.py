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
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from pyade.errors import StoreError


class Turn:
    """A lock that threads get in the order in which they ask, and that its owner may take again.

    A plain lock goes back to a thread that releases it and asks at once, before any other wakes up: one busy
    thread would keep all others out.
    """

    def __init__(self) -> None:
        self.depth = 0
        self._owner = 0
        self._lock = threading.Lock()
        self._gate = threading.Lock()

    def enter(self) -> None:
        """Take the lock, or take it once more."""
        if self._owner != threading.get_ident():
            with self._gate:
                self._lock.acquire()
            self._owner = threading.get_ident()
        self.depth += 1

    def leave(self) -> None:
        """Release it as often as it was taken."""
        self.depth -= 1
        if not self.depth:
            self._owner = 0
            self._lock.release()

    @contextmanager
    def taken(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the lock during a block, if *check* raises nothing."""
        self.enter()
        try:
            check()
            yield
        finally:
            self.leave()


class Forkable(Protocol):
    """A database that takes part."""

    def before_fork(self) -> None:
        """Take the locks, and close the file if no block is open."""
        ...

    def after_fork_in_parent(self) -> None:
        """Give the locks back."""
        ...

    def after_fork_in_child(self) -> None:
        """Make new locks: those of the parent's threads are never given back here."""
        ...

    def holds_open(self, identity: tuple[int, int]) -> bool:
        """Return True if this process inherited that file open, by device and inode."""
        ...


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
        raise StoreError(
            f"{path}: the file was open when this process was forked, and could not be closed before: "
            "close the store before forking, or start the process with the method 'spawn'"
        )


def _before() -> None:
    # In one order, so that two threads which fork do not wait for each other.
    for database in sorted(_known, key=id):
        database.before_fork()
        _locked.append(database)


def _in_parent() -> None:
    while _locked:
        _locked.pop().after_fork_in_parent()


def _in_child() -> None:
    while _locked:
        _locked.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
