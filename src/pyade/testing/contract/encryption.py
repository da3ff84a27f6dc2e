"""The pytest suite that a store with encryption must pass in addition to ``StoreContract``."""
# ruff: noqa: S101, S105, S106 - a test suite; its secrets are made up

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import pytest

from pyade.core.profile.accounts import AdministratorAccount
from pyade.core.secret import Secret
from pyade.crypto.secret_box import SecretBox
from pyade.errors import DamagedRecordError, StoreError
from pyade.storage.protocol import EnrollmentStore
from pyade.testing.contract.enrollments import example_enrollment, one_time
from pyade.testing.store_examples import (
    NOW,
    commit,
    defined_profile,
    example_profile,
    example_token,
    fleet_of,
    serials_of,
)


class EncryptedStore(EnrollmentStore, Protocol):
    """A store that encrypts secrets."""

    def rotate_keys(self) -> None:
        """Encrypt every secret with the first key, plain ones too."""
        ...

    def unreadable_secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that none of the keys decrypts."""
        ...


class OpenStore(Protocol):
    """A function that opens the same store with given keys."""

    def __call__(
        self, keys: Sequence[str | bytes] | None, *, allow_unreadable_secrets: bool = False
    ) -> EncryptedStore:
        """Open the store with *keys*."""
        ...


OLD, NEW = SecretBox.generate_key().reveal(), SecretBox.generate_key().reveal()
TOKEN = attrs.evolve(
    example_token(),
    consumer_secret="plain-consumer-secret",
    access_token="plain-access-token",
    access_secret="plain-access-secret",
)

HASH = b"plain-hash-of-the-administrator's-password"
PROFILE = attrs.evolve(
    example_profile(),
    administrator=AdministratorAccount("localadmin", password_hash=HASH),
)
DEFINED = attrs.evolve(defined_profile("A"), profile=PROFILE)
SECRETS = (
    *(one.reveal() for one in (TOKEN.consumer_secret, TOKEN.access_token, TOKEN.access_secret)),
    *("plain-session", "plain-private-key", "plain-challenge"),
    HASH.decode(),
)
"""Every secret that ``store_secrets`` stores."""


def store_secrets(store: EnrollmentStore) -> None:
    """Store a secret of each kind."""
    store.add_token(TOKEN)
    store.save_session("key", "plain-session")
    store.save_secret("key pair", "plain-private-key")
    store.save_profile("hq", DEFINED)
    store.set_default_profile("hq", PROFILE)
    store.save_enrollment(example_enrollment(), credential=one_time("plain-challenge"), is_new=True)


def check_secrets(store: EnrollmentStore) -> None:
    """Check that every secret is read back."""
    assert store.tokens() == (store.token("hq"),) == (TOKEN,)
    assert store.load_session("key") == Secret("plain-session")
    assert store.secret("key pair") == Secret("plain-private-key")
    assert store.profiles("hq") == (store.defined_profile("hq", DEFINED.profile_uuid),) == (DEFINED,)
    assert store.default_profile("hq") == PROFILE


def find_secrets(raw: bytes) -> list[str]:
    """Return the secrets in *raw*: plain, in Base64 at any offset, or in Base64 of Base64."""
    return [secret for secret in SECRETS if any(form in raw for form in _forms(secret.encode()))]


def _forms(secret: bytes, depth: int = 2) -> list[bytes]:
    # The first and last characters depend on the bytes around the secret.
    encoded = [base64.b64encode(b"\0" * offset + secret)[4:-4] for offset in range(3)]
    deeper = [form for one in encoded for form in _forms(one, depth - 1)] if depth else []
    return [secret, *deeper]


class EncryptionContract:
    """Subclass it, override both fixtures, and name the subclass ``Test...``."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Return a function that opens the same store with given keys."""
        raise NotImplementedError("override the fixture open_store")

    @pytest.fixture
    def raw(self) -> Callable[[], bytes]:
        """Return a function that returns all stored bytes: the files or the rows."""
        raise NotImplementedError("override the fixture raw")

    def test_raw_data_contains_no_secret(self, open_store: OpenStore, raw: Callable[[], bytes]) -> None:
        """The stored bytes contain no secret."""
        with open_store([OLD]) as store:
            store_secrets(store)
            check_secrets(store)
            assert b"it@contoso.com" in raw()
            assert find_secrets(raw()) == []
        assert find_secrets(raw()) == []
        with open_store([OLD]) as store:
            check_secrets(store)

    def test_unencrypted_secret_is_found_in_the_raw_data(
        self, open_store: OpenStore, raw: Callable[[], bytes]
    ) -> None:
        """Without keys the stored bytes contain each secret except those stored only as a hash."""
        with open_store(None) as store:
            store_secrets(store)
            assert find_secrets(raw()) == [secret for secret in SECRETS if secret != "plain-challenge"]

    def test_replaced_token_is_encrypted(self, open_store: OpenStore, raw: Callable[[], bytes]) -> None:
        """Replacing a token encrypts its secrets too."""
        with open_store([OLD]) as store:
            store.add_token(TOKEN)
            renewed = attrs.evolve(TOKEN, scope_tags=())
            store.replace_token(renewed)
            assert store.token("hq") == renewed
            assert find_secrets(raw()) == []

    @pytest.mark.parametrize("store_secret", [0, 1, 2], ids=["token", "session", "secret"])
    @pytest.mark.parametrize("keys", [None, (), (NEW,)], ids=["none", "empty", "wrong"])
    def test_without_the_right_key_the_store_does_not_open(
        self, open_store: OpenStore, keys: Sequence[str] | None, store_secret: int
    ) -> None:
        """The error says what to do, and contains no key."""
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
        """After a rotation the old key is neither needed nor sufficient."""
        with open_store([OLD]) as store:
            store_secrets(store)
        with open_store([NEW, OLD]) as store:
            check_secrets(store)
            store.rotate_keys()
            check_secrets(store)
        with open_store([NEW]) as store:
            check_secrets(store)
        with pytest.raises(StoreError, match="keys="):
            open_store([OLD])

    def test_rotation_encrypts_an_older_plain_store(
        self, open_store: OpenStore, raw: Callable[[], bytes]
    ) -> None:
        """A plain store can be read with keys, and the raw data contains no secret after a rotation."""
        with open_store(None) as store:
            store_secrets(store)
            assert find_secrets(raw())
        with open_store([NEW]) as store:
            check_secrets(store)
            store.rotate_keys()
            check_secrets(store)
            assert find_secrets(raw()) == []
        assert find_secrets(raw()) == []

    def test_secret_that_a_late_process_wrote_with_the_old_key_is_named(self, open_store: OpenStore) -> None:
        """The store still opens with the new key: other secrets work, and this one can be replaced."""
        with open_store([OLD]) as late:
            store_secrets(late)
            late.add_token(attrs.evolve(TOKEN, name="other"))
            with open_store([NEW, OLD]) as store:
                store.rotate_keys()
            late.replace_token(attrs.evolve(TOKEN, access_secret="plain-late"))
            late.save_session("key", "plain-late")
            late.save_secret("key pair", "plain-late")
        with open_store([NEW]) as store:
            assert store.unreadable_secrets() == ("the secrets of token 'hq'", "secret 'key pair'")
            assert store.load_session("key") is None, "a new session is requested"
            assert store.token("other").access_secret == TOKEN.access_secret
            with pytest.raises(DamagedRecordError, match="'hq'") as caught:
                store.token("hq")
            assert caught.value.token_name == "hq"
            with pytest.raises(DamagedRecordError, match="key pair"):
                store.secret("key pair")
            with pytest.raises(StoreError, match=r"'hq'.*key pair"):
                store.rotate_keys()
            store.replace_token(TOKEN)
            store.save_secret("key pair", "plain-private-key")
            store.rotate_keys()
            assert store.unreadable_secrets() == ()
            store.save_session("key", "plain-session")
            store.remove_token("other", now=NOW)
            check_secrets(store)

    def test_store_without_its_key_keeps_all_other_data(self, open_store: OpenStore) -> None:
        """Without the key the store opens on request; tokens can be replaced, and no other data is lost."""
        with open_store([OLD]) as store:
            store_secrets(store)
            commit(store, *fleet_of(3), cursor="kept")
        with pytest.raises(StoreError, match="keys="):
            open_store([NEW])
        with open_store([NEW], allow_unreadable_secrets=True) as store:
            assert serials_of(store) == [device.serial_number for device in fleet_of(3)]
            assert store.sync_state("hq").cursor == "kept"
            with pytest.raises(DamagedRecordError):
                store.tokens()
            damaged: list[DamagedRecordError] = []
            assert store.tokens(damaged=damaged.append) == ()
            assert [error.token_name for error in damaged] == ["hq"]
            store.replace_token(TOKEN)
            store.save_session("key", "plain-session")
            store.save_secret("key pair", "plain-private-key")
            store.save_profile("hq", DEFINED)
            store.set_default_profile("hq", PROFILE)
        with open_store([NEW]) as store:
            check_secrets(store)
            assert serials_of(store) == [device.serial_number for device in fleet_of(3)]

    def test_rotation_without_keys_is_refused(self, open_store: OpenStore) -> None:
        """Without keys a rotation would encrypt nothing, so it is refused."""
        with open_store(None) as store:
            store_secrets(store)
            with pytest.raises(StoreError, match="keys="):
                store.rotate_keys()
            check_secrets(store)
