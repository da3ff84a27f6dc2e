"""Connections to one PostgreSQL schema that several threads, processes and nodes share safely."""

# pyright: reportMissingImports=false
# psycopg is an optional dependency; types are checked with it and without it.

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import attrs

from pyade.errors import StoreClosedError, StoreError

try:
    import psycopg
    import psycopg_pool
    from psycopg import conninfo, errors, sql
except ImportError as _missing:
    raise ImportError(
        "PostgresStore needs the extra 'postgres': install 'pyade-apple[postgres]'", name="psycopg"
    ) from _missing

_MAX_IDENTIFIER = 63
"""Bytes that PostgreSQL keeps of a name; it would cut off the rest."""


@attrs.frozen
class Session:
    """A connection on loan, whose statements find the schema under ``{schema}``.

    Attributes:
        connection: The connection.
        schema: Name of the schema, unquoted.
    """

    connection: psycopg.Connection[Any]
    schema: str

    def execute(
        self, query: LiteralString, parameters: Sequence[object] = ()
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement; every name of a table in it starts with ``{schema}.``."""
        # Not by search_path: behind a pooler such as PgBouncer a setting of the session would be lost.
        statement = sql.SQL(query).format(schema=sql.Identifier(self.schema))
        cursor: psycopg.Cursor[tuple[Any, ...]] = self.connection.execute(statement, parameters, binary=True)
        return cursor

    def one(self, query: LiteralString, parameters: Sequence[object] = ()) -> tuple[Any, ...]:
        """Run a statement that returns one row, and return it."""
        row: tuple[Any, ...] | None = self.execute(query, parameters).fetchone()
        if row is None:
            raise StoreError("a row that was there a moment ago is gone: somebody else writes these tables")
        return row


class Pool:
    """A few connections in autocommit mode, opened when needed and replaced when the server dropped them."""

    def __init__(self, dsn: str, *, schema: str, max_connections: int, timeout_s: float) -> None:
        """Check *dsn* and *schema*; ``open`` connects.

        Raises:
            StoreError: *dsn* or *schema* cannot be one.
        """
        self.schema: str = _checked_schema(schema)
        parts = _parts(dsn)
        self.where: str = (
            f"{parts.get('host', 'the default host')}/{parts.get('dbname', 'the default database')}"
        )
        self._password = str(parts.get("password") or "")
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._process = os.getpid()
        # prepare_threshold: prepared statements would be lost behind a pooler, too.
        self._pool = psycopg_pool.ConnectionPool(
            dsn,
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=0,
            max_size=max_connections,
            timeout=timeout_s,
            check=psycopg_pool.ConnectionPool.check_connection,
            configure=_configure,
            open=False,
        )

    def open(self) -> None:
        """Connect once, so that a wrong DSN is told here and now, and let the pool make the next ones.

        Raises:
            StoreError: The server cannot be reached or refuses.
        """
        with self._explained():
            psycopg.connect(self._dsn).close()
            self._pool.open()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Lend a connection for reading, each statement on its own.

        Raises:
            StoreClosedError: The store was closed.
            StoreError: PostgreSQL failed.
        """
        with self._explained():
            self._check_process()
            with self._pool.connection() as connection:
                yield Session(connection, self.schema)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Lend a connection inside a transaction, which an error rolls back.

        Raises:
            StoreClosedError: The store was closed.
            StoreError: PostgreSQL failed, or another worker wrote for too long.
        """
        with self.reading() as session, session.connection.transaction():
            # A worker that stands still half-way loses its transaction before those who wait for it give up.
            session.execute(
                "SELECT set_config('lock_timeout', %s, true),"
                " set_config('idle_in_transaction_session_timeout', %s, true)",
                (f"{self._timeout_s * 1000:.0f}ms", f"{self._timeout_s * 500:.0f}ms"),
            )
            yield session

    def close(self) -> None:
        """Close all connections; harmless when they are closed."""
        if self._process == os.getpid():
            self._pool.close()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise StoreError(
                "the store was opened before this process was forked: open one store in each process"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        # "from None": the details of some errors of PostgreSQL quote whole rows, secrets included.
        try:
            yield
        except psycopg_pool.PoolClosed:
            raise StoreClosedError("the store was closed") from None
        except psycopg.Error as exc:
            raise StoreError(f"{self.where}: {self._explanation(exc)}") from None
        except UnicodeEncodeError:
            raise StoreError(f"{self.where}: a text to store is not valid Unicode") from None

    def _explanation(self, exc: psycopg.Error) -> str:
        if isinstance(exc, errors.LockNotAvailable):
            return f"another worker was writing for more than {self._timeout_s:g} seconds: try again"
        if isinstance(exc, psycopg_pool.PoolTimeout):
            return (
                f"no connection within {self._timeout_s:g} seconds: the server is down, or all connections "
                "of this store are in use"
            )
        if isinstance(exc, errors.InsufficientPrivilege):
            return f"{exc.diag.message_primary}: grant it, or choose a schema of this user's own"
        text = exc.diag.message_primary or str(exc).strip().partition("\n")[0]
        if self._password:
            text = text.replace(self._password, "***")
        return f"{exc.sqlstate or type(exc).__name__}: {text}"


def _configure(connection: psycopg.Connection[Any]) -> None:
    # What the row lock waited for must be seen afterwards, whatever the database's default says.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED


def _checked_schema(schema: str) -> str:
    if not schema or "\0" in schema or len(schema.encode(errors="replace")) > _MAX_IDENTIFIER:
        raise StoreError(f"schema {schema!r}: a name of 1 to {_MAX_IDENTIFIER} bytes without NUL is allowed")
    return schema


def _parts(dsn: str) -> dict[str, Any]:
    # Neither what was given nor what libpq says about it is repeated: a password may be part of both.
    hint = "postgresql://user:password@host/database; percent-encode special characters of the password"
    try:
        parts = dict(conninfo.conninfo_to_dict(dsn))
    except (psycopg.Error, UnicodeEncodeError):
        raise StoreError(f"the DSN cannot be read: give one such as {hint}") from None
    if any("@" in str(parts.get(name, "")) for name in ("host", "dbname")):
        raise StoreError(f"the DSN has an @ in its host or database: give one such as {hint}")
    if not str(parts.get("port", "0")).replace(",", "").isdecimal():
        raise StoreError(f"the DSN has a port that is no number: give one such as {hint}")
    return parts
