"""The file of an open SQLite store is removed, replaced, overwritten, linked or copied."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyade.errors import StoreClosedError, StoreError
from pyade.storage import MemoryStore, SecretBox, SQLiteStore
from pyade.testing.store_examples import NOW, commit, example_token, fleet_of, serials_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ade.db"


@pytest.fixture
def store(path: Path) -> SQLiteStore:
    """Return an open store with a token and three devices, some of which are only in the WAL."""
    store = SQLiteStore(path)
    store.add_token(example_token())
    commit(store, *fleet_of(3), cursor="first")
    return store


def beside(path: Path, outcome: str) -> Path:
    return path.with_name(f"{path.name}{outcome}")


def overwrite_with(source: Path, target: Path) -> None:
    """Overwrite *target* as ``cp`` does: the file stays the same, its contents change."""
    with target.open("r+b") as file:
        file.write(source.read_bytes())
        file.truncate()


# Removed, replaced, overwritten


WRITES: dict[str, Callable[[SQLiteStore], object]] = {
    "a page": lambda store: commit(store, *fleet_of(9)),
    "a token": lambda store: store.remove_token("hq", now=NOW),
    "a secret": lambda store: store.save_secret("name", "secret"),
    "a lease": lambda store: store.acquire_lease("hq", "worker"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_write_to_a_removed_file_is_refused(
    path: Path, store: SQLiteStore, write: Callable[[SQLiteStore], object]
) -> None:
    path.unlink()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"ade\.db: the file is gone.*open the store again"):
            write(store)
    store.close()
    assert not path.exists()


def test_read_of_a_removed_file_is_refused(path: Path, store: SQLiteStore) -> None:
    path.rename(beside(path, ".moved"))
    with pytest.raises(StoreError, match="gone"):
        store.tokens()
    store.close()
    with pytest.raises(StoreClosedError):
        store.tokens()


def test_replacing_file_is_unchanged(path: Path, store: SQLiteStore) -> None:
    backup = beside(path, ".backup")
    store.backup(backup)
    commit(store, *fleet_of(9), cursor="later")
    before = backup.read_bytes()
    backup.replace(path)
    with pytest.raises(StoreError, match="replaced by another file"):
        commit(store, *fleet_of(9))
    with pytest.raises(StoreError, match="replaced by another file"):
        serials_of(store)
    store.close()
    assert path.read_bytes() == before


def test_backup_copied_over_an_open_store_stays_intact(path: Path, store: SQLiteStore) -> None:
    backup = beside(path, ".backup")
    store.backup(backup)
    for number in range(3):
        commit(store, *fleet_of(number), cursor=f"later {number}")
        checkpoint(path, "TRUNCATE")
    commit(store, *fleet_of(9), cursor="latest")
    overwrite_with(backup, path)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"overwritten while the store was open.*restore it again"):
            commit(store, *fleet_of(9))
    store.close()
    assert path.read_bytes() == backup.read_bytes(), "closing writes no checkpoint into it"
    with pytest.raises(StoreError, match=r"ade\.db-wal belongs to a newer state.*remove"):
        SQLiteStore(path)
    assert path.read_bytes() == backup.read_bytes(), "neither does the attempt to open it"
    beside(path, "-wal").unlink()
    beside(path, "-shm").unlink()
    with SQLiteStore(path) as restored:
        assert serials_of(restored) == [device.serial_number for device in fleet_of(3)]
        assert restored.sync_state("hq").cursor == "first"
        commit(restored, *fleet_of(4))


def closed(store: SQLiteStore) -> None:
    store.close()


def read(store: SQLiteStore) -> None:
    with contextlib.suppress(StoreError):
        serials_of(store)
    store.close()


def forked(store: SQLiteStore) -> None:
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("end", [closed, read, forked])
def test_store_closed_without_a_write_does_not_damage_a_backup(
    path: Path, store: SQLiteStore, end: Callable[[SQLiteStore], None]
) -> None:
    store.backup(beside(path, ".backup"))
    commit(store, *fleet_of(2000), cursor="later")
    checkpoint(path, "RESTART")
    commit(store, *fleet_of(9), cursor="latest")
    overwrite_with(beside(path, ".backup"), path)
    end(store)
    assert path.read_bytes() == beside(path, ".backup").read_bytes()
    with pytest.raises(StoreError, match=r"ade\.db-wal belongs to a newer state"):
        SQLiteStore(path)
    store.close()
    assert path.read_bytes() == beside(path, ".backup").read_bytes()


@pytest.mark.parametrize("commits", [1, 2, 20])
def test_backup_from_after_the_last_checkpoint_is_noticed_and_not_mixed(
    path: Path, store: SQLiteStore, commits: int
) -> None:
    """All later commits are in the WAL: if it is not removed, the newest state wins, and is intact."""
    store.backup(beside(path, ".backup"))
    for number in range(commits):
        commit(store, *fleet_of(number + 4), cursor=f"later {number}")
    overwrite_with(beside(path, ".backup"), path)
    with pytest.raises(StoreError, match="overwritten while the store was open"):
        commit(store, *fleet_of(9))
    store.close()
    with SQLiteStore(path) as newest:
        assert newest.sync_state("hq").cursor == f"later {commits - 1}"
        assert len(serials_of(newest)) == commits + 3
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def checkpoint(path: Path, mode: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    connection.close()


def test_file_of_another_store_copied_over_is_noticed(path: Path, store: SQLiteStore) -> None:
    other = beside(path, ".other")
    with SQLiteStore(other) as another:
        for number in range(9):
            another.add_token(example_token(f"token-{number}"))
    overwrite_with(other, path)
    with pytest.raises(StoreError, match="overwritten while the store was open"):
        store.save_secret("name", "secret")
    store.close()
    assert path.read_bytes() == other.read_bytes(), "closing writes no checkpoint into it"
    with pytest.raises(StoreError, match="to another one"):
        SQLiteStore(path)


def test_reader_of_a_foreign_file_damages_nothing(path: Path, store: SQLiteStore) -> None:
    other = beside(path, ".other")
    with SQLiteStore(other) as another:
        for number in range(9):
            another.add_token(example_token(f"token-{number}"))
    overwrite_with(other, path)
    with contextlib.suppress(StoreError):
        serials_of(store)
    with contextlib.suppress(StoreError):
        store.tokens()
    with pytest.raises(StoreError, match="overwritten while the store was open"):
        store.save_secret("name", "secret")
    store.close()
    assert path.read_bytes() == other.read_bytes()


def test_wal_of_another_store_is_not_mixed_in(path: Path, store: SQLiteStore) -> None:
    other = beside(path, ".other")
    SQLiteStore(other).close()
    before = other.read_bytes()
    shutil.copy(beside(path, "-wal"), beside(other, "-wal"))
    with pytest.raises(StoreError, match="belongs to a newer state of this store, or to another one"):
        SQLiteStore(other)
    assert other.read_bytes() == before
    store.close()


def test_state_after_a_power_failure_opens_intact(path: Path, store: SQLiteStore) -> None:
    for number in range(20):
        commit(store, *fleet_of(100), cursor=f"page {number}")
    crashed = beside(path, ".crashed")
    shutil.copy(path, crashed)
    shutil.copy(beside(path, "-wal"), beside(crashed, "-wal"))
    store.close()
    with SQLiteStore(crashed) as recovered:
        assert recovered.sync_state("hq").cursor == "page 19"
        assert len(serials_of(recovered)) == 100
        commit(recovered, *fleet_of(3))


def test_several_stores_and_checkpoints_do_not_look_like_a_replacement(
    path: Path, store: SQLiteStore
) -> None:
    with SQLiteStore(path) as other:
        for number in range(30):
            writer, reader = (store, other) if number % 2 else (other, store)
            commit(writer, *fleet_of(50), cursor=f"page {number}")
            checkpoint(path, "TRUNCATE" if number % 3 == 0 else "PASSIVE")
            assert reader.sync_state("hq").cursor == f"page {number}"
    commit(store, *fleet_of(3))
    store.close()


# Permissions


@pytest.mark.skipif(os.name != "posix", reason="POSIX file modes")
@pytest.mark.parametrize("depth", [1, 2])
def test_dangling_link_creates_a_private_file(path: Path, tmp_path: Path, depth: int) -> None:
    target = tmp_path / "elsewhere.db"
    link = target
    for number in range(depth):
        (tmp_path / f"link-{number}").symlink_to(link)
        link = tmp_path / f"link-{number}"
    before = os.umask(0)
    try:
        with SQLiteStore(link) as store:
            store.add_token(example_token())
            files = [file for file in tmp_path.iterdir() if not file.is_symlink()]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)
    assert target.exists()
    with SQLiteStore(target) as store:
        assert store.tokens() == (example_token(),)


# Backups


def test_backup_is_the_store_at_one_moment(path: Path, store: SQLiteStore) -> None:
    backup = beside(path, ".backup")
    before = os.umask(0)
    try:
        store.backup(backup)
    finally:
        os.umask(before)
    commit(store, *fleet_of(9), cursor="later")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with SQLiteStore(backup) as copy:
        assert copy.tokens() == store.tokens()
        assert copy.sync_state("hq").cursor == "first"
        assert len(serials_of(copy)) == 3
    store.close()


def test_concurrent_backups_do_not_share_a_file(path: Path, store: SQLiteStore) -> None:
    beside(path, ".backup.partial").write_text("of another program")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: store.backup(beside(path, f".{number}")), range(8)))
    for number in range(8):
        with SQLiteStore(beside(path, f".{number}")) as copy:
            assert len(serials_of(copy)) == 3
    store.close()


@pytest.mark.parametrize("name", ["a\0b", "a" * 252, "a" * 300], ids=["NUL", "long with -wal", "long"])
def test_impossible_path_is_explained(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="choose"):
        SQLiteStore(f"{tmp_path}/{name}")


def test_backup_keeps_secrets_encrypted(path: Path) -> None:
    keys = [SecretBox.generate_key()]
    with SQLiteStore(path, keys=keys) as store:
        store.add_token(example_token())
        store.backup(beside(path, ".backup"))
    assert b"access-secret" not in beside(path, ".backup").read_bytes()
    with SQLiteStore(beside(path, ".backup"), keys=keys) as copy:
        assert copy.tokens() == (example_token(),)


def test_backup_overwrites_nothing(path: Path, store: SQLiteStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target in (path, tmp_path / "link", tmp_path):
        with pytest.raises(StoreError, match="there is a file already"):
            store.backup(target)
    with pytest.raises(StoreError, match="folder that exists"):
        store.backup(tmp_path / "missing" / "backup")
    assert len(serials_of(store)) == 3
    store.close()


def test_interrupted_backup_leaves_no_file(
    path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = beside(path, ".backup")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.backup(backup)
    monkeypatch.undo()
    assert not backup.exists()
    store.backup(backup)
    assert sorted(file.name for file in path.parent.iterdir() if "backup" in file.name) == ["ade.db.backup"]
    store.close()


def test_errors_do_not_chain_the_sqlite_error(path: Path, store: SQLiteStore) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON token BEGIN SELECT RAISE(ABORT, 'access-secret'); END"
        )
    connection.close()
    with pytest.raises(StoreError, match="SQLITE_CONSTRAINT_TRIGGER") as caught:
        store.add_token(example_token("other"))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    store.close()


def test_store_in_memory_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with MemoryStore() as store:
        store.add_token(example_token())
        assert list(tmp_path.iterdir()) == []
