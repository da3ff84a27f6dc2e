"""What a store keeps of tokens beside them: their key pairs, and new ones that are not stored yet.

All of it are secrets of the store, encrypted if it has keys, so that any process can list it and go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

import attrs
import msgspec

from pyade.core.inventory import SyncState
from pyade.core.parking import error_kind, parked_reason
from pyade.core.portal_steps import TokenSetup, setup_of
from pyade.core.secret import Secret
from pyade.core.token import Token, TokenStatus
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import (
    DamagedRecordError,
    SigningError,
    TokenError,
    TokenExpiredError,
    TokenOwnerError,
    TokenRejectedError,
    TokenSupersededError,
    UnknownTokenError,
)
from pyade.storage.protocol import Damaged, Store
from pyade.sync.damage import belonging_to

_ENDED: Final = frozenset(
    kind.__name__ for kind in (TokenExpiredError, TokenOwnerError, TokenRejectedError, TokenSupersededError)
)
"""The errors after which only another file of the portal helps."""

KEYPAIR: Final = "key pair of {}"
NEXT_KEYPAIR: Final = "next key pair of {}"
SETUP: Final = "setup of {}"
KINDS: Final = (KEYPAIR, NEXT_KEYPAIR, SETUP)
"""The names of the secrets, each with the name of a token in it."""


def under_way(store: Store, now: datetime, damaged: Damaged | None) -> Iterator[TokenSetup]:
    """Yield what was begun and is not finished, by name; *damaged* as in ``Store.tokens``."""
    begun = {
        name.removeprefix(start)
        for start in (SETUP.format(""), NEXT_KEYPAIR.format(""))
        for name in store.secret_names(start)
    }
    states = store.sync_states(damaged=damaged)
    for name in sorted(begun | {name for name, state in states.items() if state.succeeded_at is None}):
        try:
            found = find_setup(store, name, now)
        except DamagedRecordError as error:
            if damaged is None:
                raise
            damaged(error)
        else:
            if found is not None and found.is_under_way:
                yield found


def find_setup(store: Store, name: str, now: datetime) -> TokenSetup | None:
    """Return what a person does next about a token; None if it is neither stored nor under way."""
    token: Token | None = None
    with suppress(UnknownTokenError):
        token = store.token(name)
    if token is None:
        return kept_setup(store, name)
    kept, waiting = secret_in(store, KEYPAIR, name), secret_in(store, NEXT_KEYPAIR, name)
    state = SyncState(succeeded_at=now)
    with suppress(DamagedRecordError, UnknownTokenError):  # such a token is renewed like any other
        state = store.sync_state(name)
    return setup_of(
        token,
        has_keypair=kept is not None,
        has_new_keypair=waiting is not None and waiting != kept,
        is_new=state.succeeded_at is None and not _needs_another_file(token, state, now),
        last_error=parked_reason(token, state) or state.last_error,
    )


def _needs_another_file(token: Token, state: SyncState, now: datetime) -> bool:
    """Return True if only another file of the portal makes *token* work."""
    kind = error_kind(parked_reason(token, state))
    return kind in _ENDED or token.health(now).status is TokenStatus.EXPIRED


def kept_setup(store: Store, name: str) -> TokenSetup | None:
    """Return what is kept of a new token that is not stored yet; None if nothing is.

    Raises:
        DamagedRecordError: It cannot be read.
    """
    text = secret_in(store, SETUP, name)
    if text is None:
        return None
    with suppress(msgspec.MsgspecError, TokenError):
        setup = msgspec.json.decode(text.reveal(), type=TokenSetup)
        # The decoder runs no converters, and what is kept is about a token that is not stored.
        if setup.name == name and not setup.is_renewal and not setup.is_stored:
            return attrs.evolve(setup)
    # Outside the block above: what the decoder says may quote what is stored.
    raise DamagedRecordError(
        f"what was begun of token {name!r} is stored, but cannot be read: restore a backup, or begin again"
        " with delete() and create()",
        token_name=name,
    )


def is_kept(store: Store, kind: str, name: str) -> bool:
    """Return True if something is kept, also if it cannot be read."""
    return kind.format(name) in store.secret_names(kind.format(name))


def secret_in(store: Store, kind: str, name: str) -> Secret | None:
    """Return what is kept; an error names the token."""
    with belonging_to(name):
        return store.secret(kind.format(name))


def read_keypair(name: str, pem: Secret) -> TokenKeypair:
    """Return the key pair of a PEM that ``written`` made.

    Raises:
        SigningError: It cannot be read.
    """
    try:
        return TokenKeypair.from_pem(pem.reveal().encode())
    except SigningError as error:
        reason = f"a key pair of token {name!r} is kept, and cannot be used: {error}"
    raise SigningError(f"{reason}; restore a backup, or hand it in with TokenService.add()")


def written(keypair: TokenKeypair) -> Secret:
    """Return *keypair* as it is kept."""
    return Secret(keypair.to_pem().decode())
