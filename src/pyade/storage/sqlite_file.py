"""The file of a SQLite store: made for its owner alone, and watched, since SQLite trusts what lies there.

SQLite takes a file that was replaced, or overwritten by a backup, for the one that it opened, and a ``-wal``
file for a part of whatever lies beside it; both end in lost or mixed pages. So the table ``pyade_store``
counts the changes of a store (``changes``), and each change notes how many of them the file itself held by
then (``checkpointed``); the rest stands in the WAL. From that follows:

1. Each write looks whether the path still names the file that was opened.
2. If the file changed since the last look, it must hold this store, with no fewer changes than before and no
   more than were committed.
3. A WAL that is found at the start belongs to the file only if the file holds at least the changes that the
   WAL builds on.
4. After a mismatch nothing is written, also not by SQLite's checkpoint when it closes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from threading import Lock

import attrs

from pyade.errors import StoreError

_creation = Lock()

_READ = "SELECT store_id, changes, checkpointed FROM pyade_store"
_COUNT = "UPDATE pyade_store SET changes = changes + 1, checkpointed = ? RETURNING store_id, changes"
_CHECKPOINTED = "UPDATE pyade_store SET checkpointed = ?"


@attrs.frozen
class _Contents:
    """What a file or a connection says about its store."""

    store_id: str
    changes: int
    checkpointed: int


class Watch:
    """Notices that the file of a store was removed, replaced or overwritten."""

    def __init__(self, path: str) -> None:
        """Watch the file at *path*, which exists and is about to be opened.

        Raises:
            StoreError: A ``-wal`` file lies beside it that belongs to other contents (rule 3).
        """
        self._path = path
        self._file = _identity(Path(path).stat())
        self._looked: tuple[int, int] | None = None
        self._store_id: str | None = None
        self._held = 0  # changes that the file held at the last look
        self._changes = 0
        self._check_wal()

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the file."""
        return self._file

    def check_place(self) -> os.stat_result:
        """Check that the path still names the file that was opened (rule 1).

        Raises:
            StoreError: It does not.
        """
        try:
            found = Path(self._path).stat()
        except OSError:
            found = None
        if found is None or _identity(found) != self._file:
            what = "is gone" if found is None else "was replaced by another file"
            raise StoreError(
                f"{self._path}: the file {what} while the store was open: nothing more is written, "
                "open the store again"
            )
        return found

    def count(self, connection: sqlite3.Connection) -> int | None:
        """Count a change inside the write transaction of *connection*; None while there are no tables yet.

        Returns:
            The number of changes, for ``committed``.

        Raises:
            StoreError: The file is not what it was at the last change (rules 1 and 2).
        """
        found = self.check_place()
        try:
            ((store_id, changes),) = connection.execute(_COUNT, (self._held,)).fetchall()
        except sqlite3.OperationalError:
            return None
        looked = (found.st_mtime_ns, found.st_size)
        if looked != self._looked and (contents := _contents(self._path)) is not None:
            if contents.store_id != store_id or not self._held <= contents.changes < changes:
                raise self._overwritten()
            self._held, self._looked = contents.changes, looked
            connection.execute(_CHECKPOINTED, (self._held,))
        if self._store_id not in (None, store_id) or changes <= self._changes:
            raise self._overwritten()
        self._store_id = store_id
        return int(changes)

    def committed(self, changes: int) -> bool:
        """Remember what ``count`` returned, now that it is committed; True if the file holds no table yet."""
        self._changes = changes
        return self._looked is None

    def _overwritten(self) -> StoreError:
        return StoreError(
            f"{self._path}: the file was overwritten while the store was open, as by a backup: nothing more "
            f"is written; close all stores, remove {self._path}-wal and {self._path}-shm, restore it again"
        )

    def _check_wal(self) -> None:
        wal = Path(f"{self._path}-wal")
        if not wal.exists() or not wal.stat().st_size:
            return
        both = _contents(self._path, "mode=ro")  # cannot write a checkpoint when it closes (rule 4)
        file = _contents(self._path)
        if both is None or file is None:
            return
        if both.store_id != file.store_id or file.changes < both.checkpointed:
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


def close_unwritten(connection: sqlite3.Connection) -> None:
    """Close *connection* without the checkpoint that SQLite makes of a WAL when it closes (rule 4)."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    connection.interrupt()
    connection.close()


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _contents(path: str, mode: str = "immutable=1") -> _Contents | None:
    """Return what the file alone says, or with ``mode=ro`` file and WAL; None if it cannot tell."""
    uri = f"{Path(path).as_uri()}?{mode}"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        rows = connection.execute(_READ).fetchall()
        return _Contents(*rows[0]) if rows else None
    return None
