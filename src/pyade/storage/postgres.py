"""The store in PostgreSQL, for many workers on many nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from pyade.core.kinds import checks_kinds
from pyade.core.secret import Secret, masked
from pyade.crypto.secret_box import SecretBox, masked_keys
from pyade.storage.postgres_database import PostgresDatabase
from pyade.storage.sql import SQLStore


@checks_kinds(but=("keys",))
class PostgresStore(SQLStore):
    """A ``Store`` in one schema of a PostgreSQL database; safe for threads, processes and nodes.

    Needs the extra ``postgres`` and PostgreSQL 15 or later, in a database with the encoding UTF8. Each
    process opens a store of its own: one that was opened before a fork refuses to work in the child.
    """

    _database: PostgresDatabase

    def __init__(
        self,
        dsn: str,
        *,
        keys: Iterable[str | bytes | Secret] | None = None,
        clock: Callable[[], datetime] | None = None,
        schema: str = "pyade",
        max_connections: int = 8,
        timeout_s: float = 30.0,
        allow_unreadable_secrets: bool = False,
    ) -> None:
        """Connect, create the schema if there is none, and migrate an older one.

        Args:
            dsn: A connection string or URL of PostgreSQL, such as ``postgresql://user:password@host/database``.
            keys: Encrypt secrets with the first of them, and decrypt with any; see ``crypto.secret_box``.
            clock: Times the leases; None for the server's own, which is the same for all nodes.
            schema: Where the tables are; stores with different schemas share nothing.
            max_connections: Connections of this store at most; threads beyond wait for one.
            timeout_s: Seconds to wait for the server to answer, for a connection, or while another worker
                writes the same token. A worker that stands still for half of it inside a transaction loses
                the transaction.
            allow_unreadable_secrets: Open the store although none of the keys opens its secrets.

        Raises:
            StoreVersionError: The schema was written by a newer pyade.
            StoreError: The server cannot be reached or refuses, or secrets were encrypted with another key.
        """
        dsn, keys = masked(dsn), masked_keys(keys)
        box = SecretBox(keys)  # before a connection is made
        database = PostgresDatabase(
            dsn, schema=schema, max_connections=max_connections, timeout_s=timeout_s, clock=clock
        )
        super().__init__(database, keys=box, allow_unreadable_secrets=allow_unreadable_secrets)

    def __repr__(self) -> str:
        if "_database" not in vars(self):
            return super().__repr__()
        return f"PostgresStore({self._database.where!r}, schema={self._database.schema!r})"
