"""A failing store shows no secret, not even in tracebacks with locals."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from tests.leaks import leaks

from pyade.builders.documents import profile_from_document
from pyade.core.profile.accounts import AdministratorAccount
from pyade.core.profile.profile import DefinedProfile
from pyade.core.secret import Secret
from pyade.crypto.secret_box import SecretBox
from pyade.errors import ProfileError, PyadeError, StoreError
from pyade.storage import MemoryStore, SQLiteStore
from pyade.testing.store_examples import defined_profile, example_profile, example_token

if TYPE_CHECKING:
    from pyade.storage import SQLStore

SECRET = "hunter2"
TOKEN = attrs.evolve(
    example_token(), consumer_secret=f"{SECRET} a", access_token=f"{SECRET} b", access_secret=f"{SECRET} c"
)
PROFILE = attrs.evolve(
    example_profile(), administrator=AdministratorAccount("admin", password_hash=SECRET.encode())
)
DEFINED = attrs.evolve(defined_profile("A"), profile=PROFILE)
HASH = "aHVudGVyM"  # how SECRET begins in Base64, as a document has it


def without_json(profile: DefinedProfile) -> DefinedProfile:
    broken = copy.copy(profile.profile)
    object.__setattr__(broken, "extra", {"odd": object()})
    return attrs.evolve(profile, profile=broken)


WRITES: dict[str, Callable[[SQLStore], object]] = {
    "add_token": lambda store: store.add_token(attrs.evolve(TOKEN, name="new")),
    "replace_token": lambda store: store.replace_token(TOKEN),
    "save_profile": lambda store: store.save_profile("hq", DEFINED),
    "set_default_profile": lambda store: store.set_default_profile("hq", PROFILE),
    "save_session": lambda store: store.save_session("key", SECRET),
    "save_secret": lambda store: store.save_secret("key pair", SECRET),
    "a secret that is not Unicode": lambda store: store.save_secret("key pair", f"{SECRET} \ud800"),
    "a secret with a NUL character": lambda store: store.save_secret("key pair", f"{SECRET} \0"),
    "a profile without a JSON form": lambda store: store.save_profile("hq", without_json(DEFINED)),
}


@pytest.mark.parametrize("keys", [None, [SecretBox.generate_key()]], ids=["plain", "sealed"])
@pytest.mark.parametrize("write", WRITES)
def test_failed_write_shows_no_secret(tmp_path: Path, write: str, keys: list[Secret] | None) -> None:
    path = tmp_path / "ade.db"
    with SQLiteStore(path, keys=keys, busy_timeout_s=0) as store:
        store.add_token(TOKEN)
        with sqlite3.connect(path) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError) as caught:
                WRITES[write](store)
            other.rollback()
        other.close()
    assert not leaks(caught.value, SECRET, HASH)


@pytest.mark.parametrize(
    "write", ["add_token", "save_secret", "save_profile", "a secret with a NUL character"]
)
def test_closed_store_shows_no_secret(write: str) -> None:
    store = MemoryStore()
    store.close()
    with pytest.raises(StoreError) as caught:
        WRITES[write](store)
    assert not leaks(caught.value, SECRET, HASH)


def fill(store: SQLStore) -> None:
    store.add_token(TOKEN)
    store.save_profile("hq", DEFINED)
    store.set_default_profile("hq", PROFILE)
    store.save_secret("key pair", SECRET)


READS: dict[str, Callable[[SQLStore], object]] = {
    "token": lambda store: store.token("hq"),
    "tokens": lambda store: store.tokens(),
    "profiles": lambda store: store.profiles("hq"),
    "defined_profile": lambda store: store.defined_profile("hq", "A"),
    "default_profile": lambda store: store.default_profile("hq"),
}
SEALED: dict[str, Callable[[SQLStore], object]] = {**READS, "secret": lambda store: store.secret("key pair")}


@pytest.mark.parametrize("read", READS)
def test_damaged_plain_secret_is_not_shown(tmp_path: Path, read: str) -> None:
    path = tmp_path / "ade.db"
    with SQLiteStore(path) as store:
        fill(store)
        connection = sqlite3.connect(path)
        connection.execute("UPDATE token SET secrets = substr(secrets, 1, length(secrets) - 3)")
        connection.execute("UPDATE token SET default_profile_secrets = default_profile_secrets || '!'")
        connection.execute("UPDATE profile SET secrets = secrets || '!'")
        connection.commit()
        connection.close()
        with pytest.raises(StoreError, match="cannot be read") as caught:
            READS[read](store)
    assert not leaks(caught.value, SECRET, HASH)


@pytest.mark.parametrize("read", SEALED)
def test_encrypted_secret_that_cannot_be_decrypted_is_not_shown(tmp_path: Path, read: str) -> None:
    key, other = SecretBox.generate_key(), SecretBox.generate_key()
    with SQLiteStore(tmp_path / "ade.db", keys=[key]) as store:
        fill(store)
    with (
        SQLiteStore(tmp_path / "ade.db", keys=[other], allow_unreadable_secrets=True) as store,
        pytest.raises(StoreError, match="none of the keys") as caught,
    ):
        SEALED[read](store)
    assert not leaks(caught.value, SECRET, HASH, key.reveal(), other.reveal())


def test_store_that_does_not_open_shows_no_keys_and_no_secrets(tmp_path: Path) -> None:
    key, other = SecretBox.generate_key().reveal(), SecretBox.generate_key().reveal()
    path = tmp_path / "ade.db"
    with SQLiteStore(path) as store:
        store.save_secret("in clear", SECRET)
    with SQLiteStore(path, keys=[key]) as store:
        store.add_token(TOKEN)
    opened: list[Callable[[], object]] = [
        lambda: SQLiteStore(path),
        lambda: SQLiteStore(path, keys=[other]),
        lambda: SQLiteStore(path, keys=[key, "no key"]),
        lambda: SQLiteStore(path, keys=other),
        lambda: SQLiteStore(tmp_path / "no folder" / "ade.db", keys=[key]),
    ]
    for call in opened:
        with pytest.raises(StoreError) as caught:
            call()
        assert not leaks(caught.value, SECRET, key, other)
    with (
        SQLiteStore(path, keys=[other], allow_unreadable_secrets=True) as store,
        pytest.raises(StoreError, match="none of the keys") as caught,
    ):
        store.rotate_keys()
    assert not leaks(caught.value, SECRET, key, other)


def test_invalid_profile_document_is_not_shown_by_chained_errors() -> None:
    document = {"version": 1, "name": "a", "administrator": {"password_hash": f"{SECRET}!", "odd": 1}}
    with pytest.raises(ProfileError) as caught:
        profile_from_document(document)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_refused_dsn_is_not_shown() -> None:
    pytest.importorskip("psycopg")
    from pyade.storage import PostgresStore

    key = SecretBox.generate_key()
    for dsn in (
        f"postgresql://user:{SECRET}@host:port/db",
        f"postgresql://user:{SECRET}@host@x/db",
        f"host=/nowhere password={SECRET} connect_timeout=1",
        f"password={SECRET} \ud800",
    ):
        with pytest.raises(PyadeError) as caught:
            PostgresStore(dsn, keys=[key], timeout_s=1)
        assert not leaks(caught.value, SECRET, key.reveal())


def test_stored_bytes_are_unchanged() -> None:
    """Hiding a secret in memory changes no byte of a store without keys."""
    with MemoryStore() as store:
        fill(store)
        with store._database.reading() as session:
            secrets = session.rows("SELECT secrets FROM {}token")[0][0]
            kept = session.rows("SELECT value FROM {}secret")[0][0]
    assert secrets == json.dumps(
        {"consumer_secret": "hunter2 a", "access_token": "hunter2 b", "access_secret": "hunter2 c"},
        separators=(",", ":"),
    )
    assert kept == SECRET
