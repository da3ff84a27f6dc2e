"""Several processes write one SQLite file at once, and one is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pyade.core.inventory import SyncState
from pyade.storage import SQLiteStore
from pyade.testing.contract.examples import commit, example_token, fleet_of, serials_of

# Each process makes the file if it is the first, and writes its pages whatever the others do.
WRITER = """
import sys
from pyade.core.device import Device
from pyade.core.inventory import Source
from pyade.errors import DuplicateTokenError, StoreConflictError
from pyade.storage import SQLiteStore
from pyade.testing.contract.examples import NOW, example_token

path, writer = sys.argv[1:]
sys.stdin.readline()
with SQLiteStore(path) as store:
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
import os, sys
from pyade.storage import SQLiteStore, documents
from pyade.testing.contract.examples import commit, fleet_of

documents.encode_state = lambda state: os._exit(9)
commit(SQLiteStore(sys.argv[1]), *fleet_of(900), cursor="after")
"""


def test_processes_lose_no_page(tmp_path: Path) -> None:
    path = tmp_path / "ade.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for writer in writers:  # all are started before the first may go
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    errors = [writer.communicate(timeout=60)[1] for writer in writers]
    assert errors == [""] * 4
    with SQLiteStore(path) as store:
        assert store.sync_state("hq").revision == 4 * 5
        assert len(serials_of(store)) == 4 * 5 * 30


def test_process_that_dies_in_a_commit_leaves_neither_page_nor_cursor(tmp_path: Path) -> None:
    path = tmp_path / "ade.db"
    with SQLiteStore(path) as store:
        store.add_token(example_token())
        commit(store, *fleet_of(1), cursor="before")
        done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60, check=False)
        assert done.returncode == 9
        assert store.sync_state("hq") == SyncState(cursor="before", revision=1)
        assert serials_of(store) == ["C02000000"]
        commit(store, *fleet_of(3), cursor="goes on")
    with SQLiteStore(path) as store:
        assert len(serials_of(store)) == 3
