"""A store over a driver of Python's database API: SQLite and PostgreSQL pass the suites for stores."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pyade.errors import ArgumentError, StoreClosedError, StoreError
from pyade.storage import DbApiDatabase, SQLStore
from pyade.storage import postgres as postgres_store
from pyade.testing import FrozenClock
from pyade.testing.contract import StoreContract
from pyade.testing.contract.encryption import EncryptionContract, OpenStore
from pyade.testing.contract.enrollments import EnrollmentContract
from pyade.testing.store_examples import example_token

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

psycopg = pytest.importorskip("psycopg")


def open_sqlite(folder: Path, *, keys: Any = None, unreadable: bool = False, **options: Any) -> SQLStore:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(folder / "own.db", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    database = DbApiDatabase(connect, sqlite3, where="own.db", **options)
    return SQLStore(database, keys=keys, allow_unreadable_secrets=unreadable)


class TestStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path, clock: FrozenClock) -> Callable[[], SQLStore]:
        return lambda: open_sqlite(tmp_path, clock=clock)


class TestEnrollments(EnrollmentContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], SQLStore]:
        return lambda: open_sqlite(tmp_path)


class TestEncryption(EncryptionContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda keys, *, allow_unreadable_secrets=False: open_sqlite(
            tmp_path, keys=keys, unreadable=allow_unreadable_secrets
        )

    @pytest.fixture
    def raw(self, tmp_path: Path) -> Callable[[], bytes]:
        return lambda: b"".join(path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.slow
class TestPostgres(StoreContract):
    @pytest.fixture
    def make_store(self, postgres: PostgresSchema, clock: FrozenClock) -> Callable[[], SQLStore]:
        options = f"-c search_path={postgres.schema}"
        with psycopg.connect(postgres.dsn) as connection:
            connection.execute(f"CREATE SCHEMA {postgres.schema}")
        return lambda: SQLStore(
            DbApiDatabase(
                lambda: psycopg.connect(postgres.dsn, autocommit=True, options=options),
                psycopg,
                dialect=attrs.evolve(postgres_store.DIALECT, json="text"),  # psycopg would decode it
                begin="BEGIN",
                find_table="SELECT 1 FROM pg_tables WHERE schemaname = current_schema AND tablename = ?",
                lock_tables="SELECT pg_advisory_xact_lock(1)",
                clock=clock,
            )
        )


def test_an_error_names_its_type_and_quotes_no_value(tmp_path: Path) -> None:
    with open_sqlite(tmp_path) as store:
        connection = store._database._connection  # type: ignore[attr-defined]
        connection.execute("ALTER TABLE token RENAME TO other")
        with pytest.raises(StoreError, match=r"^own.db: OperationalError$") as caught:
            store.add_token(example_token())
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_ctrl_c_in_a_write_leaves_no_transaction_to_the_next_one(tmp_path: Path) -> None:
    interrupts: list[str] = []

    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, values: Any = ()) -> Cursor:
            super().execute(statement, values)
            if statement in interrupts:
                interrupts.remove(statement)
                raise KeyboardInterrupt
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, *_: Any) -> Any:
            return super().cursor(Cursor)

    def connect() -> sqlite3.Connection:
        path = tmp_path / "own.db"
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Connection)

    with SQLStore(DbApiDatabase(connect, sqlite3)) as store:
        interrupts.append("BEGIN IMMEDIATE")
        with pytest.raises(KeyboardInterrupt):
            store.add_token(example_token())
        store.add_token(example_token())
        assert len(store.tokens()) == 1


def test_a_closed_store_and_a_driver_with_other_parameters_raise(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        store.tokens()
    named: Any = SimpleNamespace(paramstyle="named", Error=Exception)
    with pytest.raises(StoreError, match="qmark"):
        DbApiDatabase(lambda: None, named)


def test_a_store_that_was_open_before_a_fork_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_sqlite(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        with pytest.raises(StoreError, match="fork"):
            store.tokens()
        store.close()
    assert store.tokens() == ()
    store.close()


def test_a_path_instead_of_a_function_is_refused() -> None:
    with pytest.raises(ArgumentError, match="connect"):
        DbApiDatabase("own.db", sqlite3)  # type: ignore[arg-type]
