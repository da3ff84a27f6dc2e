"""Work stopped by a failing store shows no bypass code and no private key, even in tracebacks with locals."""

from __future__ import annotations

from typing import Any

import pytest
from tests.keys import RSA_KEYS, keypair_of
from tests.leaks import leaks

from pyade.core.token import Portal
from pyade.crypto import BypassCode
from pyade.errors import BypassCodeError, SigningError, StoreError
from pyade.flow import Runner
from pyade.operations.token_flows import create_flow, keypair_flow
from pyade.storage import MemoryStore
from pyade.sync import bypass_code
from pyade.sync.actions import lock_flow
from pyade.testing.store_examples import NOW, example_token

CODE = BypassCode(b"0123456789abcdef")


class FullStore(MemoryStore):
    """Refuses each secret, and remembers it for the test."""

    def save_secret(self, name: str, secret: Any) -> None:
        self.asked = secret
        raise StoreError("the disk is full")


def runner(store: MemoryStore) -> Runner:
    return Runner(store=store, clock=lambda: NOW, chance=lambda size: CODE.raw[:size])


def test_code_that_cannot_be_stored_is_not_shown() -> None:
    with FullStore() as store:
        store.add_token(example_token())
        with pytest.raises(StoreError, match="full") as caught:
            runner(store).run(lock_flow("hq", "C02", None))
        assert store.asked.reveal() == CODE.text
    assert not leaks(caught.value, CODE.text, str(CODE.raw)[2:-1])


def test_stored_value_that_is_no_code_is_not_shown() -> None:
    with MemoryStore() as store:
        store.save_secret("bypass code of C02", "hunter2")
        with pytest.raises(BypassCodeError) as caught:
            bypass_code(store, "C02")
    assert not leaks(caught.value, "hunter2", "HUNTER2")


def test_private_key_that_cannot_be_stored_is_not_shown() -> None:
    with FullStore() as store:
        flow = create_flow("hq", consent=True, portal=Portal.BUSINESS, scope_tags=frozenset())
        with pytest.raises(StoreError, match="full") as caught:
            runner(store).run(flow)
        line = store.asked.reveal().splitlines()[5]
    assert not leaks(caught.value, line)


def test_stored_private_key_without_a_certificate_is_not_shown() -> None:
    pem = keypair_of(RSA_KEYS[0]).to_pem().decode().partition("-----BEGIN CERTIFICATE")[0]
    with MemoryStore() as store:
        store.save_secret("key pair of hq", pem)
        with pytest.raises(SigningError, match="no certificate") as caught:
            runner(store).run(keypair_flow("hq"))
    assert not leaks(caught.value, pem.splitlines()[5])
