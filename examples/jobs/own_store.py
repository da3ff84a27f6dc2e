"""A store over a driver of your choice, such as ``sqlcipher3``, and its tests.

Run it: ``pytest examples/jobs/own_store.py``.
"""

import sqlite3

import pytest

from pyade.storage import DbApiDatabase, SQLStore
from pyade.testing.contract import StoreContract


def open_store(path, **options):
    """Open the store; your settings of the connection belong here."""

    def connect():
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.executescript("PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL")
        return connection

    return SQLStore(DbApiDatabase(connect, sqlite3, where=path.name, **options))


class TestOwnStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path, clock):
        return lambda: open_store(tmp_path / "own.db", clock=clock)
