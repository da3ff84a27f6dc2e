"""The store of the page "Your own store" passes the contract suite, and its errors quote no stored data."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from pyade.errors import StoreError
from pyade.storage import SQLStore
from pyade.testing import FrozenClock
from pyade.testing.contract import StoreContract
from pyade.testing.contract.encryption import EncryptionContract, OpenStore
from pyade.testing.contract.enrollments import EnrollmentContract
from pyade.testing.store_examples import example_token

apsw = pytest.importorskip("apsw")

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_store.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_store", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


own_store = _load()


def _open(folder: Path, *, keys: Any = None, unreadable: bool = False, **options: Any) -> SQLStore:
    database = own_store.ApswDatabase(str(folder / "own.db"), **options)
    return SQLStore(database, keys=keys, allow_unreadable_secrets=unreadable)


class TestStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path, clock: FrozenClock) -> Callable[[], SQLStore]:
        return lambda: _open(tmp_path, clock=clock)


class TestEnrollments(EnrollmentContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], SQLStore]:
        return lambda: _open(tmp_path)


class TestEncryption(EncryptionContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda keys, *, allow_unreadable_secrets=False: _open(
            tmp_path, keys=keys, unreadable=allow_unreadable_secrets
        )

    @pytest.fixture
    def raw(self, tmp_path: Path) -> Callable[[], bytes]:
        return lambda: b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_the_example_is_short_enough_to_read() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 165


def test_the_example_syncs_a_fleet(capsys: pytest.CaptureFixture[str]) -> None:
    own_store.main()
    assert "3 added" in capsys.readouterr().out


def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    with _open(tmp_path):
        assert (tmp_path / "own.db").stat().st_mode & 0o777 == 0o600


def test_custom_connection_is_used(tmp_path: Path) -> None:
    class Shifted(apsw.VFS):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__("shifted", base="")

    vfs, names = Shifted(), []

    def connect(path: str) -> Any:
        connection = apsw.Connection(path, vfs="shifted")
        names.append(connection.open_vfs)
        return connection

    with _open(tmp_path, connect=connect) as store:
        store.add_token(example_token())
        assert store.tokens() == (example_token(),)
    assert names == ["shifted"]
    vfs.unregister()


@pytest.mark.parametrize("path", ["missing/own.db", "."], ids=["no folder", "a folder"])
def test_a_path_that_cannot_be_opened_is_explained(tmp_path: Path, path: str) -> None:
    with pytest.raises(StoreError, match="Error"):
        own_store.ApswDatabase(str(tmp_path / path))


def test_error_of_the_driver_does_not_quote_stored_data(tmp_path: Path) -> None:
    with _open(tmp_path) as store:
        store.add_token(attrs.evolve(example_token(), access_secret="top-secret"))
    damage = apsw.Connection(str(tmp_path / "own.db"))
    damage.execute("UPDATE token SET secrets = CAST(CAST(secrets AS BLOB) || x'ff' AS TEXT)")
    damage.close()
    with pytest.raises(StoreError, match="UnicodeDecodeError") as caught:
        _open(tmp_path)
    assert "top-secret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_store_that_was_open_before_a_fork_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _open(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            with pytest.raises(StoreError, match="spawn"):
                store.tokens()
            store.close()
        assert store.tokens() == ()
