"""Note in the store that a token needs a person, or must be renewed soon, with the event that says so."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from pyade.core.events import EventBatch
from pyade.core.inventory import SyncState
from pyade.core.lease import Lease
from pyade.core.parking import PARKING_ERRORS, park, remind
from pyade.core.token import Token
from pyade.errors import LeaseHeldError, LeaseLostError, StoreConflictError, StoreError, UnknownTokenError
from pyade.flow import Flow, Now, Runner, ask
from pyade.storage.protocol import Store
from pyade.sync.leases import worker_name
from pyade.sync.report import counted
from pyade.sync.steps import in_store

R = TypeVar("R")

_log = logging.getLogger("pyade.sync")


def parking(flow: Flow[R], lease: Lease) -> Flow[R]:
    """Run *flow*, and park the token of *lease* where it ends with an error that needs a person.

    For work that keeps no sync state of its own.
    """
    try:
        return (yield from flow)
    except PARKING_ERRORS as error:
        now = yield from ask(Now())
        failure = error  # the name of the clause ends with it
        try:
            yield from in_store(lambda store: _park(store, failure, now, lease))
        except StoreError as another:
            error.add_note(f"that the token needs a person could not be stored: {another}")
        raise


def send_reminders(store: Store, *, now: datetime) -> None:
    """Write an event for each token that must be renewed soon, once per day of ``REMINDER_DAYS``.

    A scheduler and the tick of the workers do that by themselves. A token that somebody works on is left for
    the next call.

    Args:
        store: Where the tokens are.
        now: UTC.

    Raises:
        StoreError: The store failed.

    Source: specification, "Renew enrollment program token".
    """
    remind_of(store, {token.name: token for token in store.tokens()}, store.sync_states(), now)


def remind_of(
    store: Store, tokens: Mapping[str, Token], states: Mapping[str, SyncState], now: datetime
) -> None:
    """Do the work of ``send_reminders`` for *tokens* and their *states*, which were read before."""
    for name, token in tokens.items():
        if name in states and remind(states[name], token, now)[1]:
            with contextlib.suppress(LeaseHeldError, LeaseLostError, StoreConflictError, UnknownTokenError):
                lease = store.acquire_lease(name, Runner().run(worker_name()))
                try:
                    _remind(store, token, now, lease)
                finally:
                    store.release_lease(lease)


def _park(store: Store, error: Exception, now: datetime, lease: Lease) -> None:
    name = lease.token_name
    state, groups = park(store.sync_state(name), store.token(name), error)
    store.save_sync_state(name, state, events=EventBatch(name, now, groups), lease=lease)
    _log.warning("%s: parked, a person must act: %s", name, state.parked)


def _remind(store: Store, token: Token, now: datetime, lease: Lease) -> None:
    # Read again under the lease: another node may have been faster.
    state, groups = remind(store.sync_state(token.name), token, now)
    if groups:
        store.save_sync_state(token.name, state, events=EventBatch(token.name, now, groups), lease=lease)
        days = counted(state.reminded_days, "day")
        _log.warning("%s: the server token expires in %s or less", token.name, days)
