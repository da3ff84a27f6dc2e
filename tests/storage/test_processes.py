"""Several processes write one SQLite file or PostgreSQL schema together, and one is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from pyade.core.fleet.records import SyncState
from pyade.storage import SQLiteStore, Store
from pyade.testing.store_examples import commit, example_token, fleet_of, serials_of

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

pytestmark = pytest.mark.slow

PREAMBLE = """
import sys

def open_store():
    place, schema = sys.argv[1:3]
    if schema:
        from pyade.storage import PostgresStore
        return PostgresStore(place, schema=schema)
    from pyade.storage import SQLiteStore
    return SQLiteStore(place)
"""

# The first process creates the tables; each one writes its pages independently of the others.
WRITER = """
from pyade.core.fleet.device import Device
from pyade.core.fleet.records import Source
from pyade.errors import DuplicateTokenError, StoreConflictError
from pyade.testing.store_examples import NOW, example_token

writer = sys.argv[3]
sys.stdin.readline()
with open_store() as store:
    try:
        store.add_token(example_token())
    except DuplicateTokenError:
        pass
    for number in range(5):
        page = [Device(serial_number=f"{writer}-{number}-{device}") for device in range(30)]
        while True:
            state = store.sync_state("hq")
            try:
                store.commit_page("hq", page, source=Source.SYNC, state=state, now=NOW)
            except StoreConflictError:
                continue
            break
"""

KILLED = """
import os
from pyade.builders import documents
from pyade.testing.store_examples import commit, fleet_of

documents.encode_state = lambda state: os._exit(9)
commit(open_store(), *fleet_of(900), cursor="after")
"""


@attrs.frozen
class Place:
    """Where the store is, as arguments of a process, and how to open it here."""

    arguments: tuple[str, str]
    open: Callable[[], Store]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        path = tmp_path / "ade.db"
        return Place((str(path), ""), lambda: SQLiteStore(path))
    server: PostgresSchema = request.getfixturevalue("postgres")
    from pyade.storage import PostgresStore

    return Place((server.dsn, server.schema), lambda: PostgresStore(server.dsn, schema=server.schema))


def test_processes_lose_no_page(place: Place) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + WRITER, *place.arguments, str(number)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for writer in writers:  # all are started before the first may go
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    errors = [writer.communicate(timeout=60)[1] for writer in writers]
    assert errors == [""] * 3
    with place.open() as store:
        assert store.sync_state("hq").revision == 3 * 5
        assert len(serials_of(store)) == 3 * 5 * 30


def test_process_that_dies_in_a_commit_leaves_neither_page_nor_cursor(place: Place) -> None:
    with place.open() as store:
        store.add_token(example_token())
        commit(store, *fleet_of(1), cursor="before")
        done = subprocess.run(
            [sys.executable, "-c", PREAMBLE + KILLED, *place.arguments], timeout=60, check=False
        )
        assert done.returncode == 9
        assert store.sync_state("hq") == SyncState(cursor="before", revision=1)
        assert serials_of(store) == ["C02000000"]
        commit(store, *fleet_of(3), cursor="goes on")
    with place.open() as store:
        assert len(serials_of(store)) == 3
