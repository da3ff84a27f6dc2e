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
from typing import Protocol

from pyade.errors import StoreError

HINT = "close the store before forking, or start the process with the method 'spawn'"


class Turn:
    """A lock that its owner may take again, and that a busy thread does not keep from the others."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.depth = 0

    @contextmanager
    def taken(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the lock during a block, if *check* raises nothing."""
        try:
            with self.lock:
                check()
                self.depth += 1
                try:
                    yield
                finally:
                    self.depth -= 1
        finally:
            time.sleep(0)  # a thread that asks again at once would get it before those who wait wake up


class Forkable(Protocol):
    """A database that takes part in forks."""

    def before_fork(self) -> None:
        """Take the locks, and close the file if no block is open."""
        ...

    def after_fork(self, *, is_child: bool) -> None:
        """Give the locks back, or make new ones in the child."""
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
        raise StoreError(f"{path}: the file was open when this process was forked: {HINT}")


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
