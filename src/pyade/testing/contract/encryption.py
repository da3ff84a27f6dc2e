"""The promises of a store that encrypts secrets, as a pytest suite beside ``StoreContract``."""
# ruff: noqa: S101, S106 - a test suite; its secrets are made up

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import attrs
import pytest

from pyade.errors import StoreError
from pyade.storage.protocol import Store
from pyade.storage.secrets import SecretBox
from pyade.testing.contract.examples import example_token


class EncryptedStore(Store, Protocol):
    """A store with ``rotate_keys``."""

    def rotate_keys(self) -> None:
        """Encrypt every secret with the first key, plain ones too."""
        ...


OpenStore: TypeAlias = Callable[[Sequence[str | bytes] | None], EncryptedStore]

OLD, NEW = SecretBox.generate_key(), SecretBox.generate_key()
TOKEN = attrs.evolve(
    example_token(),
    consumer_secret="plain-consumer-secret",
    access_token="plain-access-token",
    access_secret="plain-access-secret",
)


def fill(store: Store) -> None:
    """Store a secret of each sort."""
    store.add_token(TOKEN)
    store.save_session("key", "plain-session")
    store.save_secret("key pair", "plain-private-key")


def check(store: Store) -> None:
    """Check that every secret comes back."""
    assert store.tokens() == (store.token("hq"),) == (TOKEN,)
    assert store.load_session("key") == "plain-session"
    assert store.secret("key pair") == "plain-private-key"


class EncryptionContract:
    """Subclass it, override both fixtures, and name the subclass ``Test...``."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Return a function that opens the same store with the keys it is given."""
        raise NotImplementedError("override the fixture open_store")

    @pytest.fixture
    def raw(self) -> Callable[[], bytes]:
        """Return a function that returns all that lies on the disk, or all rows."""
        raise NotImplementedError("override the fixture raw")

    def test_secrets_come_back_and_cannot_be_read_in_the_raw_data(
        self, open_store: OpenStore, raw: Callable[[], bytes]
    ) -> None:
        """Whoever has the file or the tables alone has no secret."""
        with open_store([OLD]) as store:
            fill(store)
            check(store)
            assert b"it@contoso.com" in raw()
            assert b"plain-" not in raw()
        with open_store([OLD]) as store:
            check(store)

    def test_replaced_token_is_encrypted(self, open_store: OpenStore, raw: Callable[[], bytes]) -> None:
        """A renewal is no way round."""
        with open_store([OLD]) as store:
            store.add_token(TOKEN)
            renewed = attrs.evolve(TOKEN, access_secret="plain-renewed")
            store.replace_token(renewed)
            assert store.token("hq") == renewed
            assert b"plain-" not in raw()

    @pytest.mark.parametrize("store_secret", [0, 1, 2], ids=["token", "session", "secret"])
    @pytest.mark.parametrize("keys", [None, (), (NEW,)], ids=["none", "empty", "wrong"])
    def test_without_the_right_key_the_store_does_not_open(
        self, open_store: OpenStore, keys: Sequence[str] | None, store_secret: int
    ) -> None:
        """The error says what to do, and shows no key."""
        with open_store([OLD]) as store:
            (
                lambda: store.add_token(TOKEN),
                lambda: store.save_session("key", "plain-session"),
                lambda: store.save_secret("key pair", "plain-private-key"),
            )[store_secret]()
        with pytest.raises(StoreError, match="keys=") as caught:
            open_store(keys)
        assert NEW not in str(caught.value)
        with open_store([OLD]):
            pass

    def test_rotation_replaces_the_key(self, open_store: OpenStore) -> None:
        """After it the old key is not needed, and no longer enough."""
        with open_store([OLD]) as store:
            fill(store)
        with open_store([NEW, OLD]) as store:
            check(store)
            store.rotate_keys()
            check(store)
        with open_store([NEW]) as store:
            check(store)
        with pytest.raises(StoreError, match="keys="):
            open_store([OLD])

    def test_rotation_encrypts_an_older_plain_store(
        self, open_store: OpenStore, raw: Callable[[], bytes]
    ) -> None:
        """A plain store is read with keys, and its secrets are gone from the raw data after rotation."""
        with open_store(None) as store:
            fill(store)
            assert b"plain-" in raw()
        with open_store([NEW]) as store:
            check(store)
            store.rotate_keys()
            check(store)
            assert b"plain-" not in raw()
        assert b"plain-" not in raw()

    def test_rotation_without_keys_is_refused(self, open_store: OpenStore) -> None:
        """Nothing would be encrypted."""
        with open_store(None) as store:
            fill(store)
            with pytest.raises(StoreError, match="keys="):
                store.rotate_keys()
            check(store)
