"""Each store passes the contract suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyade.storage import EnrollmentStore, MemoryStore, SQLiteStore, Store
from pyade.testing import FrozenClock
from pyade.testing.contract import StoreContract
from pyade.testing.contract.enrollments import EnrollmentContract

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema


class TestMemoryStore(StoreContract):
    durable = False
    shared = False

    @pytest.fixture
    def make_store(self, clock: FrozenClock) -> Callable[[], Store]:
        return lambda: MemoryStore(clock=clock)


class TestSQLiteStoreInAFile(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path, clock: FrozenClock) -> Callable[[], Store]:
        return lambda: SQLiteStore(tmp_path / "ade.db", clock=clock)


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def make_store(self, empty_postgres: PostgresSchema, clock: FrozenClock) -> Callable[[], Store]:
        from pyade.storage import PostgresStore

        return lambda: PostgresStore(empty_postgres.dsn, schema=empty_postgres.schema, clock=clock)


class TestMemoryEnrollments(EnrollmentContract):
    durable = False

    @pytest.fixture
    def make_store(self) -> Callable[[], EnrollmentStore]:
        return MemoryStore


class TestSQLiteEnrollments(EnrollmentContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], EnrollmentStore]:
        return lambda: SQLiteStore(tmp_path / "ade.db")


class TestPostgresEnrollments(EnrollmentContract):
    @pytest.fixture
    def make_store(self, empty_postgres: PostgresSchema) -> Callable[[], EnrollmentStore]:
        from pyade.storage import PostgresStore

        return lambda: PostgresStore(empty_postgres.dsn, schema=empty_postgres.schema)
