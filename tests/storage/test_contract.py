"""Each store keeps every promise, and stores that break one are found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pyade.storage import MemoryStore, SQLiteStore, Store
from pyade.testing.contract import StoreContract


class TestMemoryStore(StoreContract):
    durable = False
    shared = False

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return MemoryStore


class TestSQLiteStoreInAFile(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: SQLiteStore(tmp_path / "ade.db")


class TestSQLiteStoreInMemory(StoreContract):
    durable = False
    shared = False

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return lambda: SQLiteStore(":memory:")
