"""The store in PostgreSQL, for many workers on many nodes, and its database.

The rules of this file:

1. A write starts by locking its token's row (``FOR UPDATE``): workers of one token write one after the other,
   workers of different tokens do not wait for each other, readers never wait.
2. Many rows are written in one statement: new ones by COPY, others as arrays.
3. Transactions commit in another order than that of their numbers. So an event is read only after every
   transaction with a smaller number has ended, and events are read in the order of these numbers: no event
   can appear later before one that was read.
4. Errors repeat messages of the server only if they cannot contain a stored value.
"""

# pyright: reportMissingImports=false
# psycopg is an optional dependency; types are checked with it and without it.

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret, masked
from pyade.crypto.secret_box import SecretBox, masked_keys
from pyade.errors import StoreClosedError, StoreError
from pyade.loading import missing_extra
from pyade.storage.database import Clock, Dialect, Session, Table, Value, check_rows, check_texts, translated
from pyade.storage.sql import SQLStore

try:
    import psycopg
    import psycopg_pool
    from psycopg import conninfo, errors, sql
    from psycopg.types.string import TextBinaryLoader
except ImportError as _missing:
    raise missing_extra("PostgresStore", "postgres", _missing) from _missing

DIALECT = Dialect(
    prefix="",  # the schema, see PostgresDatabase
    id="bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY",
    integer="bigint",
    text='text COLLATE "C"',
    json="json",
    time="timestamptz",
    flag="boolean",
    one_of="= ANY(?)",
    for_update="FOR UPDATE",  # rule 1
    transaction="(pg_current_xact_id()::text::bigint)",
    # rule 3
    settled="transaction_number < pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
)
_TYPES = attrs.asdict(attrs.evolve(DIALECT, text="text"))  # the type of an array has no collation

_LOCK = 0x50414445
"""``PADE``: number of the advisory lock for migrations."""

_MAX_IDENTIFIER = 63
"""Most bytes of a name in PostgreSQL, which truncates longer names."""

_SAFE_CLASSES = ("08", "25", "28", "3D", "40", "42", "53", "54", "55", "57", "58")
"""Classes of SQLSTATE whose message names objects, roles and limits, never a value (rule 4)."""


@attrs.frozen
class _Session:
    connection: psycopg.Connection[Any]
    dialect: Dialect
    schema: str
    clock: Clock | None

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        check_texts(values)
        cursor = self._execute(self.dialect.translate(statement, "%s"), values)
        return cursor.fetchall() if cursor.description is not None else []

    def insert(self, table: Table, rows: Sequence[Sequence[Value]]) -> bool:
        try:
            with self.connection.transaction():  # a savepoint
                self._copy(table, rows)  # rule 2
        except errors.UniqueViolation:
            return False
        return True

    def _copy(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        check_rows(table, rows)
        statement: Any = f"COPY {{}}{table.name} ({', '.join(table.columns)}) FROM STDIN (FORMAT BINARY)"
        statement = self.dialect.translate(statement).replace("%%", "%")  # it takes no values
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            # A document is sent as text; for the type json psycopg would encode the text again.
            copy.set_types(["text" if one == "json" else _TYPES[one] for one in table.columns.values()])
            for row in rows:
                copy.write_row(row)

    def update(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        check_rows(table, rows)
        *others, key = table.columns
        arrays = ", ".join(f"%b::{_TYPES[one]}[]" for one in table.columns.values())
        statement = (
            f"UPDATE {{}}{table.name} AS old SET {', '.join(f'{name} = new.{name}' for name in others)} "  # noqa: S608 - rule 2; all of it is ours
            f"FROM unnest({arrays}) AS new ({', '.join(table.columns)}) WHERE old.{key} = new.{key}"
        )
        self._execute(self.dialect.translate(statement), [list(column) for column in zip(*rows, strict=True)])

    def has_table(self, name: str) -> bool:
        query = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = ? AND tablename = ?"
        return bool(self.rows(query, (self.schema, name)))

    def now(self) -> datetime:
        if self.clock is not None:
            return self.clock()
        found: datetime = self.rows("SELECT clock_timestamp()")[0][0]
        return found.astimezone(UTC)

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        # psycopg's types ask for literal strings, to prevent values in statements; all of these are ours.
        query: Any = statement
        cursor: psycopg.Cursor[tuple[Any, ...]] = self.connection.execute(query, values, binary=True)
        return cursor


class PostgresDatabase:
    """A small pool of connections to one schema, opened when needed and replaced if the server drops them."""

    def __init__(
        self, dsn: str, *, schema: str, max_connections: int, timeout_s: float, clock: Clock | None
    ) -> None:
        """Connect once, so that a wrong DSN raises here.

        Raises:
            StoreError: *dsn* or *schema* is invalid, or the server cannot be reached or refuses.
        """
        dsn = masked(dsn)
        if not schema or "\0" in schema or len(schema.encode(errors="replace")) > _MAX_IDENTIFIER:
            raise StoreError(
                f"schema {schema!r}: a name of 1 to {_MAX_IDENTIFIER} bytes without NUL is allowed"
            )
        self.schema: str = schema
        self._quoted = sql.Identifier(schema).as_string(None).replace("%", "%%")
        parts = _parts(dsn)
        host, name = parts.get("host", "the default host"), parts.get("dbname", "the default database")
        self.where: str = f"{host}/{name}"
        # Not search_path: behind a pooler such as PgBouncer a setting of the session would be lost.
        self._dialect = attrs.evolve(DIALECT, prefix=f"{self._quoted}.")
        self._password = Secret(str(parts.pop("password", None) or ""))
        self._timeout_s = timeout_s
        self.clock: Clock | None = clock
        self._process = os.getpid()
        options: dict[str, Any] = {
            "autocommit": True,
            "prepare_threshold": None,  # prepared statements would be lost behind a pooler, too
            "connect_timeout": max(2, math.ceil(timeout_s)),
        }
        self._pool = psycopg_pool.ConnectionPool(
            dsn,
            kwargs=options,
            min_size=0,
            max_size=max_connections,
            timeout=timeout_s,
            check=self._check,
            configure=_configure,
            open=False,
        )
        with translated(self._explained):
            with psycopg.connect(dsn, **options) as connection:
                encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise StoreError(
                    f"{self.where}: the database has the encoding {encoding}: create one with UTF8"
                )
            self._pool.open()

    @contextmanager
    def reading(self) -> Iterator[_Session]:
        """Lend a connection for reading, in autocommit mode."""
        if self._process != os.getpid():
            raise StoreError(
                "the store was opened before this process was forked: open one store in each process"
            )
        with translated(self._explained), self._pool.connection() as connection:
            yield _Session(connection, self._dialect, self.schema, self.clock)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Lend a connection inside a transaction, which an error rolls back."""
        with self.reading() as session, session.connection.transaction():
            # A stalled worker loses its transaction before the workers that wait for it time out.
            session.connection.execute(
                "SELECT set_config('lock_timeout', %s, true),"
                " set_config('idle_in_transaction_session_timeout', %s, true)",
                (f"{self._timeout_s * 1000:.0f}ms", f"{self._timeout_s * 500:.0f}ms"),
            )
            yield session

    def take_turns(self, session: Session) -> None:
        """Lock out other nodes that migrate, and create the schema if there is none."""
        # Not "IF NOT EXISTS": PostgreSQL wants the right to create even where that has nothing to do.
        session.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        if not session.rows("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ?", (self.schema,)):
            session.rows(f"CREATE SCHEMA {self._quoted}")

    def compact(self, tables: Sequence[str]) -> None:
        """Rewrite *tables*; the server's write-ahead log and its backups keep the old content."""
        with self.reading() as session:
            for table in tables:
                session.rows(f"VACUUM FULL {{}}{table}")

    def close(self) -> None:
        """Close all connections; does nothing if they are closed, or belong to the parent process."""
        if self._process == os.getpid():
            self._pool.close()

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        try:
            psycopg_pool.ConnectionPool.check_connection(connection)
        except psycopg.Error:
            # After a restart of the server all connections are dead: checking one after the other takes long.
            self._pool.drain()
            raise

    def _explained(self, exc: Exception) -> StoreError | None:
        if isinstance(exc, psycopg_pool.PoolClosed):
            return StoreClosedError("the store was closed")
        if not isinstance(exc, psycopg.Error):
            return None
        return StoreError(f"{self.where}: {self._explanation(exc)}")

    def _explanation(self, exc: psycopg.Error) -> str:
        if isinstance(exc, errors.LockNotAvailable):
            return f"another worker was writing for more than {self._timeout_s:g} seconds: try again"
        if isinstance(exc, psycopg_pool.PoolTimeout):
            return (
                f"no connection within {self._timeout_s:g} seconds: the server is down, or all connections "
                "of this store are in use"
            )
        message = exc.diag.message_primary or ""
        if isinstance(exc, errors.InsufficientPrivilege):
            return f"{message}: grant it, or choose a schema of this user's own"
        if exc.sqlstate is None and isinstance(exc, psycopg.OperationalError):
            message = str(exc).strip().partition("\n")[0]  # libpq's own message about a connection
        elif (exc.sqlstate or "")[:2] not in _SAFE_CLASSES:  # rule 4
            names = (exc.diag.table_name, exc.diag.column_name, exc.diag.constraint_name)
            message = f"PostgreSQL refused the write ({', '.join(filter(None, names)) or 'no details'})"
        if self._password:
            message = message.replace(self._password.reveal(), "***")
        return f"{exc.sqlstate or type(exc).__name__}: {message}"


def _configure(connection: psycopg.Connection[Any]) -> None:
    # After waiting for the row lock, the commit of its holder must be visible, whatever the default level is.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.adapters.register_loader("json", TextBinaryLoader)  # documents are decoded elsewhere


def _parts(dsn: str) -> dict[str, Any]:
    # Neither the DSN nor libpq's message about it is repeated: both may contain a password.
    dsn, problem = masked(dsn), "cannot be read"
    with suppress(psycopg.Error, UnicodeEncodeError):
        parts: dict[str, Any] = {
            name: masked(value) if name == "password" else value
            for name, value in conninfo.conninfo_to_dict(dsn).items()
        }
        if any("@" in str(parts.get(name, "")) for name in ("host", "dbname")):
            problem = "has an @ in its host or database"
        elif not str(parts.get("port", "0")).replace(",", "").isdecimal():
            problem = "has a port that is no number"
        else:
            return parts
    raise StoreError(
        f"the DSN {problem}: give one such as "
        "postgresql://user:password@host/database; percent-encode special characters of the password"
    )


@check_arguments(but=("keys",))
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
            keys: Encrypt secrets with the first key, and decrypt with any; see ``crypto.secret_box``. None
                stores secrets as plain text.
            clock: Clock of the leases; None for the server's, which is the same for all nodes.
            schema: Schema of the tables; stores with different schemas share nothing.
            max_connections: Most connections of this store; further threads wait for one.
            timeout_s: Seconds to wait for a connection to the server, for a free connection, or while another
                worker writes the same token. A worker that is idle for half of it inside a transaction loses
                the transaction.
            allow_unreadable_secrets: Open the store even if no key decrypts its secrets.

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
