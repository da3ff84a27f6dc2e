"""The default store, in one SQLite file, and the store in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from pyade.core.kinds import checks_kinds
from pyade.core.secret import Secret
from pyade.crypto.secret_box import SecretBox, masked_keys
from pyade.storage.sql import SQLStore
from pyade.storage.sqlite_database import IN_MEMORY, SQLiteDatabase


def utc_now() -> datetime:
    """Return the time of this machine, UTC."""
    return datetime.now(UTC)


@checks_kinds(but=("keys",))
class SQLiteStore(SQLStore):
    """A ``Store`` in one SQLite file; safe for several threads, several processes and forks.

    A new file can be read by its owner only (mode 0600), since it holds secrets.
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
            keys: Encrypt secrets with the first of them, and decrypt with any; see ``crypto.secret_box``.
            busy_timeout_s: Seconds to wait while another process writes.
            clock: Times the leases; all processes that share the file have the same.
            allow_unreadable_secrets: Open the store although none of the keys opens its secrets.

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
        """Copy the store to a new file, as it is at one moment, while others go on reading and writing.

        Args:
            path: Where nothing is yet; the file gets mode 0600, and appears there once it is complete.

        Raises:
            StoreError: There is a file already, or it cannot be written.
        """
        self._database.backup(os.fspath(path))


@checks_kinds(but=("keys",))
class MemoryStore(SQLStore):
    """A ``Store`` that forgets everything when it is closed; safe for several threads, not for processes."""

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Make an empty store whose leases *clock* times."""
        super().__init__(SQLiteDatabase(IN_MEMORY, busy_timeout_s=0.0, clock=clock))

    def __repr__(self) -> str:
        return "MemoryStore()"
