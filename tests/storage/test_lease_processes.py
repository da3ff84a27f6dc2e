"""Leases between processes: several want one, one process is stopped past its lease, one is killed.

The processes read the time from a file, so that the test decides when a minute passes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs
import pytest

from pyade.core.fleet.records import Source
from pyade.errors import LeaseHeldError
from pyade.storage import SQLiteStore, Store
from pyade.testing.store_examples import NOW, example_token, fleet_of, serials_of

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process"),
]

PREAMBLE = """
import os, sys
from datetime import datetime
from pathlib import Path
from pyade.core.fleet.device import Device
from pyade.core.fleet.records import Source
from pyade.errors import LeaseHeldError, LeaseLostError
from pyade.builders import documents
from pyade.storage import PostgresStore, SQLiteStore
from pyade.testing.store_examples import NOW, fleet_of

folder, place, schema, worker = sys.argv[1:]

def clock():
    return datetime.fromisoformat(Path(folder, "clock").read_text())

def wait(word):
    print(word, flush=True)
    sys.stdin.readline()

store = PostgresStore(place, schema=schema, clock=clock) if schema else SQLiteStore(place, clock=clock)
"""

ONE_AFTER_THE_OTHER = """
wait("ready")
for turn in range(4):
    while True:
        try:
            lease = store.acquire_lease("hq", worker)
        except LeaseHeldError:
            continue
        break
    os.close(os.open(Path(folder, "working"), os.O_CREAT | os.O_EXCL))
    page = [Device(serial_number=f"{worker}-{turn}-{number}") for number in range(10)]
    state = store.sync_state("hq")
    store.commit_page("hq", page, source=Source.SYNC, state=state, now=NOW, lease=lease)
    os.unlink(Path(folder, "working"))
    store.release_lease(lease)
"""

COMMIT_WHEN_TOLD = """
lease = store.acquire_lease("hq", worker, seconds=60)
state = store.sync_state("hq")
{before}
try:
    store.commit_page("hq", fleet_of(5), source=Source.SYNC, state=state, now=NOW, lease=lease)
except LeaseLostError:
    print("lost")
else:
    print("committed")
"""
STOPPED_BEFORE = COMMIT_WHEN_TOLD.format(before='wait("ready")')
STOPPED_INSIDE = COMMIT_WHEN_TOLD.format(
    before="""
encode = documents.encode_state
documents.encode_state = lambda state: (wait("ready"), encode(state))[1]
"""
)


@attrs.frozen
class Place:
    """Where the store is, and how to open it; ``schema`` is empty for SQLite."""

    folder: Path
    place: str
    schema: str
    open: Callable[[Callable[[], datetime]], Store]

    def set_clock(self, *, seconds: float) -> None:
        new = self.folder / "new"
        new.write_text((NOW + timedelta(seconds=seconds)).isoformat())
        new.replace(self.folder / "clock")

    def clock(self) -> datetime:
        return datetime.fromisoformat((self.folder / "clock").read_text())

    def start(self, script: str, worker: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PREAMBLE + script, str(self.folder), self.place, self.schema, worker]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        path = tmp_path / "ade.db"
        found = Place(tmp_path, str(path), "", lambda clock: SQLiteStore(path, clock=clock))
    else:
        server: PostgresSchema = request.getfixturevalue("postgres")
        from pyade.storage import PostgresStore

        found = Place(
            tmp_path,
            server.dsn,
            server.schema,
            lambda clock: PostgresStore(server.dsn, schema=server.schema, clock=clock),
        )
    found.set_clock(seconds=0)
    with found.open(found.clock) as store:
        store.add_token(example_token())
    return found


def test_processes_hold_a_lease_one_after_the_other(place: Place) -> None:
    workers = [place.start(ONE_AFTER_THE_OTHER, f"worker-{number}") for number in range(3)]
    for worker in workers:
        _await_ready(worker)
    for worker in workers:
        _signal_start(worker)
    assert [worker.communicate(timeout=60)[1] for worker in workers] == [""] * 3
    with place.open(place.clock) as store:
        assert store.sync_state("hq").revision == 3 * 4
        assert len(serials_of(store)) == 3 * 4 * 10


def test_worker_stopped_past_its_lease_commits_nothing(place: Place) -> None:
    worker = place.start(STOPPED_BEFORE, "stopped")
    _await_ready(worker)
    _stop(worker)
    _signal_start(worker)
    with place.open(place.clock) as store:
        with pytest.raises(LeaseHeldError):
            store.acquire_lease("hq", "next")
        place.set_clock(seconds=60)
        lease = store.acquire_lease("hq", "next")
        worker.send_signal(signal.SIGCONT)
        assert worker.communicate(timeout=60) == ("lost\n", "")
        assert serials_of(store) == []
        state = store.sync_state("hq")
        store.commit_page("hq", fleet_of(1), source=Source.SYNC, state=state, now=NOW, lease=lease)
        assert serials_of(store) == ["C02000000"]


def test_worker_stopped_past_its_lease_commits_nothing_even_if_the_lease_is_free(place: Place) -> None:
    worker = place.start(STOPPED_BEFORE, "stopped")
    _await_ready(worker)
    _stop(worker)
    _signal_start(worker)
    place.set_clock(seconds=60)
    worker.send_signal(signal.SIGCONT)
    assert worker.communicate(timeout=60) == ("lost\n", "")


def test_worker_stopped_inside_its_commit_blocks_others(place: Place) -> None:
    worker = place.start(STOPPED_INSIDE, "stopped")
    _await_ready(worker)
    _stop(worker)
    place.set_clock(seconds=60)
    with place.open(place.clock) as store, ThreadPoolExecutor(1) as pool:
        following = pool.submit(store.acquire_lease, "hq", "next")
        try:
            with pytest.raises(TimeoutError):
                following.result(timeout=0.2)
        finally:
            worker.send_signal(signal.SIGCONT)
            _signal_start(worker)
        assert worker.communicate(timeout=60) == ("committed\n", "")
        assert following.result(timeout=60).owner == "next"
        assert len(serials_of(store)) == 5


def test_killed_worker_blocks_until_its_lease_ends(place: Place) -> None:
    worker = place.start(STOPPED_BEFORE, "killed")
    _await_ready(worker)
    worker.kill()
    worker.communicate(timeout=60)
    with place.open(place.clock) as store:
        place.set_clock(seconds=59)
        with pytest.raises(LeaseHeldError) as caught:
            store.acquire_lease("hq", "next")
        assert caught.value.owner == "killed"
        place.set_clock(seconds=60)
        assert store.acquire_lease("hq", "next").owner == "next"


def _await_ready(worker: subprocess.Popen[str]) -> None:
    said = _pipe(worker.stdout).readline()
    assert said == "ready\n", _pipe(worker.stderr).read()


def _signal_start(worker: subprocess.Popen[str]) -> None:
    pipe = _pipe(worker.stdin)
    pipe.write("go\n")
    pipe.flush()


def _stop(worker: subprocess.Popen[str]) -> None:
    worker.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(worker.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
