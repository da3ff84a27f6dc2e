"""The SQLite store beyond the contract: its file, its locks, its schema."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from pyade.builders import documents
from pyade.core.fleet.device import Device
from pyade.core.fleet.records import Source, SyncState
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import StoreError
from pyade.storage import SQLiteStore
from pyade.storage.sqlite import SQLiteDatabase
from pyade.storage.sqlite_file import APPLICATION_ID, FairLock
from pyade.testing.store_examples import (
    NOW,
    commit,
    example_token,
    fleet_of,
    serials_of,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ade.db"


def raw(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def open_database(path: Path) -> SQLiteDatabase:
    return SQLiteDatabase(str(path), busy_timeout_s=30, clock=lambda: NOW)


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# The file


@pytest.mark.skipif(os.name != "posix", reason="POSIX file modes")
def test_new_file_is_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        with SQLiteStore(path) as store:
            store.add_token(example_token())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"ade.db": 0o600, "ade.db-wal": 0o600, "ade.db-shm": 0o600}


def test_existing_file_keeps_its_mode(path: Path) -> None:
    SQLiteStore(path).close()
    path.chmod(0o640)
    SQLiteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_path_may_be_a_string(path: Path) -> None:
    with SQLiteStore(str(path)) as store:
        assert repr(store) == f"SQLiteStore({str(path)!r})"
    assert path.exists()


def test_missing_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing.ade\.db.*folder that exists"):
        SQLiteStore(tmp_path / "missing" / "ade.db")


def test_folder_instead_of_a_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"unable to open.*may write"):
        SQLiteStore(tmp_path)


def test_other_file_type_is_refused_and_unchanged(path: Path) -> None:
    path.write_text("not a database " * 100)
    with pytest.raises(StoreError, match="not a SQLite file"):
        SQLiteStore(path)
    assert path.read_text() == "not a database " * 100


def test_database_of_another_program_is_refused_and_unchanged(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match=r"ade\.db: .*another program"):
        SQLiteStore(path)
    connection = raw(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    connection.close()


def test_store_uses_wal_and_survives_power_failures(path: Path) -> None:
    with SQLiteStore(path):
        database = open_database(path)
        for lend in (database.reading, database.writing):
            with lend() as session:
                names = ("journal_mode", "synchronous", "foreign_keys")
                assert [session.rows(f"PRAGMA {name}") for name in names] == [[("wal",)], [(2,)], [(1,)]]
        database.close()
    assert [file.name for file in path.parent.iterdir()] == ["ade.db"], "closing leaves one file"


def test_stores_in_memory_are_separate() -> None:
    with SQLiteStore(":memory:") as one, SQLiteStore(":memory:") as other:
        one.add_token(example_token())
        assert other.tokens() == ()


def test_error_of_a_damaged_document_hides_its_content(path: Path) -> None:
    with SQLiteStore(path) as store:
        store.add_token(example_token())
        commit(store, *fleet_of(1))
        connection = raw(path)
        connection.execute("UPDATE device SET document = '{\"token_name\": 5}'")
        connection.execute('UPDATE token SET secrets = \'{"access_secret": ["hush"]}\'')
        connection.close()
        with pytest.raises(StoreError, match="cannot be read"):
            store.device("hq", "C02000000")
        with pytest.raises(StoreError, match="cannot be read") as caught:
            store.token("hq")
        assert "hush" not in str(caught.value)


def test_value_without_json_form_is_explained_and_nothing_is_written(path: Path) -> None:
    with SQLiteStore(path) as store:
        store.add_token(example_token())
        devices = [Device(serial_number="A"), Device(serial_number="B", extra={"x": object()})]
        with pytest.raises(StoreError, match=r"cannot be written as JSON|not valid Unicode"):
            store.commit_page("hq", devices, source=Source.FETCH, state=SyncState(), now=NOW)
        with pytest.raises(StoreError, match=r"cannot be written as JSON|not valid Unicode"):
            store.commit_page(
                "hq", [Device(serial_number="\ud800")], source=Source.FETCH, state=SyncState(), now=NOW
            )
        assert serials_of(store) == []
        assert store.sync_state("hq") == SyncState()


def test_serial_numbers_with_unusual_characters_stay_distinct(path: Path) -> None:
    odd = ["a", "a'b", "a%", "A", "é", "e\u0301", " a"]
    with SQLiteStore(path) as store:
        store.add_token(example_token())
        commit(store, *(Device(serial_number=serial) for serial in odd))
        assert sorted(serials_of(store)) == sorted(odd)
        assert serials_of(store, serials=odd) == sorted(odd)


def test_new_file_is_marked_as_a_store(path: Path) -> None:
    SQLiteStore(path).close()
    connection = raw(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


# Locks


def test_reading_continues_while_another_process_writes(path: Path) -> None:
    with SQLiteStore(path, busy_timeout_s=0.01) as store:
        store.add_token(example_token())
        commit(store, *fleet_of(2))
        connection = raw(path)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM device")
        assert serials_of(store) == ["C02000000", "C02000001"]
        with pytest.raises(StoreError, match=r"another process was writing for more than 0\.01 seconds"):
            commit(store, *fleet_of(3))
        connection.execute("ROLLBACK")
        connection.close()
        commit(store, *fleet_of(3))
        assert len(serials_of(store)) == 3


@pytest.fixture
def reader_of_unconverted_file(path: Path) -> Iterator[sqlite3.Connection]:
    """A process reads a file that is not in WAL mode yet, so that no other process can convert it."""
    SQLiteStore(path).close()
    connection = raw(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM token").fetchone()
    yield connection
    connection.close()


def test_opening_waits_for_other_processes_that_open(
    path: Path, reader_of_unconverted_file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    monkeypatch.setattr("time.sleep", lambda _: reader_of_unconverted_file.close())
    with SQLiteStore(path, busy_timeout_s=0.01) as store:
        assert store.tokens() == ()


def test_opening_ends_after_its_timeout(path: Path, reader_of_unconverted_file: sqlite3.Connection) -> None:
    with pytest.raises(StoreError, match="another process"):
        SQLiteStore(path, busy_timeout_s=0)


def test_iteration_holds_no_lock_and_no_snapshot(path: Path) -> None:
    with SQLiteStore(path) as store:
        store.add_token(example_token())
        commit(store, *fleet_of(1200))
        iteration = store.devices("hq")
        next(iteration)
        connection = raw(path)
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.close()
        assert busy == 0, "a checkpoint needs that no other connection reads"
        assert sum(1 for _ in iteration) == 1199


def test_interrupted_write_is_rolled_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(device: Device) -> str:
        if device.serial_number == "C02000001":
            raise KeyboardInterrupt
        return encode(device)

    encode = documents.encode_device
    with SQLiteStore(path) as store:
        store.add_token(example_token())
        monkeypatch.setattr(documents, "encode_device", interrupted)
        with pytest.raises(KeyboardInterrupt):
            commit(store, *fleet_of(2), cursor="next")
        monkeypatch.undo()
        assert store.sync_state("hq") == SyncState()
        assert serials_of(store) == []
        commit(store, *fleet_of(2))


def test_failed_opening_leaves_nothing_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SQLiteStore(path).close()

    def fail(database: object) -> None:
        raise StoreError("injected")

    monkeypatch.setattr("pyade.storage.tables.migrate", fail)
    with pytest.raises(StoreError, match="injected"):
        SQLiteStore(path)
    assert [file.name for file in path.parent.iterdir()] == ["ade.db"]


# Memory

MEASURE = """
import resource, sys
import attrs
from pyade.core.fleet.records import Source, SyncState
from pyade.storage import SQLiteStore
from pyade.testing.store_examples import NOW, example_device, example_token

def grow_to(count):
    state = store.sync_state("hq")
    for start in range(sum(store.count_devices("hq").values()), count, 1000):
        page = [full.changed(serial_number=f"C{number:09}") for number in range(start, start + 1000)]
        state, _ = store.commit_page("hq", page, source=Source.FETCH, state=state, now=NOW)
    assert sum(1 for _ in store.devices("hq", released=None)) == count
    state = attrs.evolve(state, full_sync=state.full_sync + 1, listing_since=NOW)
    store.finish_full_sync("hq", state=state, now=NOW)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

full = example_device()
with SQLiteStore(sys.argv[1]) as store:
    store.add_token(example_token())
    print(-grow_to(3_000) + grow_to(15_000))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory in Linux' unit")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_fleet(path: Path) -> None:
    done = run_python(MEASURE, path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4, "MiB"


def test_page_that_changes_nothing_writes_no_event(path: Path) -> None:
    with SQLiteStore(path) as store:
        store.add_token(example_token())
        for _ in range(3):
            commit(store, *fleet_of(2))
        connection = raw(path)
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
        connection.close()


def test_lock_is_yielded_only_if_another_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("pyade.storage.sqlite_file.time", SimpleNamespace(sleep=slept.append))
    turn = FairLock()

    def take() -> None:
        with turn.held(), turn.held():
            pass

    take()
    assert slept == []
    with turn.held():
        other = Thread(target=take)
        other.start()
        while not turn._waiting:
            pass
    other.join()
    assert slept == [0]
    assert not turn._waiting


def test_changing_mutable_values_of_a_profile_changes_nothing_stored(tmp_path: Path) -> None:
    """The same object is returned repeatedly, since decoding takes longer than checking it."""
    profile = EnrollmentProfile(name="Std", url="https://mdm.contoso.com/enroll", extra={"new_key": [1]})
    with SQLiteStore(tmp_path / "a.db") as store:
        store.add_token(example_token())
        store.set_default_profile("hq", profile)
        found = [store.default_profile("hq") for _ in range(2)]
        assert found[0] is found[1]
        shared: Any = found[0]
        shared.extra["new_key"].append(2)
        assert store.default_profile("hq") == profile
        shared.apple_spelling["name"] = "STD"
        assert store.default_profile("hq") == profile
