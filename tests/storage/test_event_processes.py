"""Events over several processes: writers race, a writer and a subscriber are killed, and no event is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from pyade.core.fleet.events import Event
from pyade.storage import SQLiteStore, Store
from pyade.testing.store_examples import commit, example_token, fleet_of

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

pytestmark = pytest.mark.slow

PREAMBLE = """
import os
import sys

def open_store():
    place, schema = sys.argv[1:3]
    if schema:
        from pyade.storage import PostgresStore
        return PostgresStore(place, schema=schema)
    from pyade.storage import SQLiteStore
    return SQLiteStore(place)
"""

WRITER = """
from pyade.core.fleet.device import Device
from pyade.testing.store_examples import commit

writer = sys.argv[3]
with open_store() as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for page in range(10):
        commit(store, *(Device(serial_number=f"{page}-{number}") for number in range(7)), name=writer)
"""

KILLED_WRITER = """
from pyade.builders import documents
from pyade.testing.store_examples import commit, fleet_of

documents.encode_state = lambda state: os._exit(9)
commit(open_store(), *fleet_of(900), cursor="after")
"""

# Dies in the handler, after a number of events, before the position is stored.
SUBSCRIBER = """
from pyade.sync import Subscription

left = int(sys.argv[3])

def handle(event):
    global left
    print(event.id, flush=True)
    left -= 1
    if not left:
        os._exit(9)

Subscription(open_store(), "audit", handle).deliver()
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
    from pyade.storage import PostgresStore

    there: PostgresSchema = request.getfixturevalue("postgres")
    return Place((there.dsn, there.schema), lambda: PostgresStore(there.dsn, schema=there.schema))


def command(program: str, place: Place, *arguments: str) -> list[str]:
    return [sys.executable, "-c", PREAMBLE + program, *place.arguments, *arguments]


def test_reader_beside_racing_writers_sees_each_commit_once_in_order(place: Place) -> None:
    names = [f"token-{number}" for number in range(3)]
    with place.open() as store:
        for name in names:
            store.add_token(example_token(name))
        writers = [
            subprocess.Popen(
                command(WRITER, place, name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for name in names
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        seen: list[Event] = []
        while True:
            over = all(writer.poll() is not None for writer in writers)
            while found := store.events(seen[-1].id if seen else None, limit=5):
                seen.extend(found)
            if over:
                break
        for writer in writers:
            writer.communicate()
            assert writer.returncode == 0
        assert seen == list(store.events())
        for name in names:
            own = [happened.serial_number for happened in seen if happened.token_name == name]
            assert own == [f"{page}-{number}" for page in range(10) for number in range(7)]


def test_writer_that_dies_before_its_commit_leaves_no_event(place: Place) -> None:
    with place.open() as store:
        store.add_token(example_token())
        commit(store, *fleet_of(3))
        before = store.events()
        assert subprocess.run(command(KILLED_WRITER, place), check=False).returncode == 9
        assert store.events() == before


def test_subscriber_that_dies_repeatedly_loses_no_event(place: Place) -> None:
    with place.open() as store:
        store.add_token(example_token())
        for start in range(0, 300, 60):
            commit(store, *fleet_of(300)[start : start + 60])
        expected = [happened.id for happened in store.events()]
    arrived: list[str] = []
    for deadline in ("110", "150", "0"):
        child = subprocess.run(
            command(SUBSCRIBER, place, deadline), check=False, capture_output=True, text=True
        )
        arrived += child.stdout.split()
        assert child.returncode == (0 if deadline == "0" else 9), child.stderr
    assert list(dict.fromkeys(arrived)) == expected
