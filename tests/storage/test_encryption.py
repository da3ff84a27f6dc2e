"""Secrets in SQLite and PostgreSQL are encrypted with the caller's keys, which can be rotated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyade.crypto.secret_box import SecretBox
from pyade.errors import StoreError
from pyade.storage import SQLiteStore
from pyade.testing.contract.encryption import EncryptionContract, OpenStore
from pyade.testing.store_examples import example_token

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema


class TestSQLiteStore(EncryptionContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda keys, **options: SQLiteStore(tmp_path / "ade.db", keys=keys, **options)

    @pytest.fixture
    def raw(self, tmp_path: Path) -> Callable[[], bytes]:
        return lambda: b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_error_names_the_file_and_not_the_key(tmp_path: Path) -> None:
    key = SecretBox.generate_key()
    with SQLiteStore(tmp_path / "ade.db", keys=[key]) as store:
        store.add_token(example_token())
        assert key.reveal() not in repr(store)
    with pytest.raises(StoreError, match=r"ade\.db: the secrets in this store are encrypted"):
        SQLiteStore(tmp_path / "ade.db")


@pytest.mark.parametrize("keys", [["secret"], "", b"", []])
def test_invalid_key_is_refused_before_a_file_is_created(tmp_path: Path, keys: Sequence[str | bytes]) -> None:
    with pytest.raises(StoreError, match="key"):
        SQLiteStore(tmp_path / "ade.db", keys=keys)
    assert list(tmp_path.iterdir()) == []


def test_process_with_the_old_key_gets_an_error_after_a_rotation(tmp_path: Path) -> None:
    old, new = SecretBox.generate_key(), SecretBox.generate_key()
    with SQLiteStore(tmp_path / "ade.db", keys=[old]) as late:
        late.add_token(example_token())
        with SQLiteStore(tmp_path / "ade.db", keys=[new, old]) as store:
            store.rotate_keys()
        with pytest.raises(StoreError, match="none of the keys"):
            late.token("hq")


def test_store_in_memory_can_rotate_keys() -> None:
    with SQLiteStore(":memory:", keys=[SecretBox.generate_key()]) as store:
        store.add_token(example_token())
        store.rotate_keys()
        assert store.token("hq") == example_token()


class TestPostgresStore(EncryptionContract):
    @pytest.fixture
    def open_store(self, postgres: PostgresSchema) -> OpenStore:
        from pyade.storage import PostgresStore

        return lambda keys, **options: PostgresStore(
            postgres.dsn, schema=postgres.schema, keys=keys, **options
        )

    @pytest.fixture
    def raw(self, postgres: PostgresSchema) -> Callable[[], bytes]:
        import psycopg

        def read() -> bytes:
            # The files of the tables themselves, including overwritten rows and long values.
            with psycopg.connect(postgres.dsn, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
                tables = connection.execute(
                    "SELECT oid, reltoastrelid FROM pg_class"
                    " WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'i')",
                    (postgres.schema,),
                ).fetchall()
                return b"".join(
                    bytes(content)
                    for table in {oid for row in tables for oid in row if oid}
                    for (content,) in connection.execute(
                        "SELECT pg_read_binary_file(pg_relation_filepath(%s::oid::regclass))", (table,)
                    )
                )

        return read
