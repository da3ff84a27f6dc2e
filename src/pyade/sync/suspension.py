"""Suspend tokens that need an administrator, and remind of those that must be renewed soon, with events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from pyade.core.arguments import check_arguments
from pyade.core.fleet.events import EventBatch
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.suspension import SUSPENDING_ERRORS, remind, suspend
from pyade.core.token import Token
from pyade.errors import (
    DamagedRecordError,
    LeaseHeldError,
    LeaseLostError,
    StoreConflictError,
    StoreError,
    UnknownTokenError,
)
from pyade.flow import Flow, Now, Runner, ask
from pyade.storage.protocol import Store
from pyade.sync.damage import DamageLog, Fleet, read_fleet
from pyade.sync.leases import worker_name
from pyade.sync.runners import in_store
from pyade.text import logger, pluralize, printable

R = TypeVar("R")

_log = logger(__name__)


def suspend_on_error(flow: Flow[R], lease: Lease) -> Flow[R]:
    """Run *flow*, and suspend the token of *lease* if it ends with an error that needs an administrator.

    For work that stores no sync state of its own.
    """
    try:
        return (yield from flow)
    except SUSPENDING_ERRORS as error:
        now = yield from ask(Now())
        failure = error  # Python deletes the name of the clause at its end
        try:
            suspended = yield from in_store(lambda store: _suspend(store, failure, now, lease))
            _log.warning("%s: suspended, an administrator must act: %s", lease.token_name, suspended)
        except StoreError as another:
            error.add_note(printable(f"the suspension of the token could not be stored: {another}"))
        raise


@check_arguments
def send_reminders(store: Store, *, now: datetime) -> None:
    """Write an event for each token that must be renewed soon, once per day of ``REMINDER_DAYS``.

    A token that cannot be read is suspended, with its event, if its sync state can be read. ``Scheduler`` and
    the workers do both themselves. A token whose lease another worker holds is left for the next call.

    Args:
        store: Where the tokens are.
        now: UTC.

    Raises:
        StoreError: The store failed.

    Source: specification, "Renew enrollment program token".
    """
    send_reminders_for(store, read_fleet(store), now, DamageLog())


def send_reminders_for(store: Store, fleet: Fleet, now: datetime, damage: DamageLog) -> None:
    """Do the work of ``send_reminders`` for *fleet*, which was read before; *damage* avoids repetitions."""
    for token, state in fleet.readable():
        if remind(state, token, now)[1]:
            _with_lease(store, token.name, partial(_remind, store, token, now))
    for name in fleet.damaged:
        if name in fleet.states and damage.is_to_suspend(name, fleet.states[name]):
            suspend_damaged(store, name, now=now)


def suspend_damaged(store: Store, token_name: str, *, now: datetime) -> None:
    """Suspend a token that cannot be read, unless it can be read now or another worker holds its lease."""
    _with_lease(store, token_name, partial(_suspend_damaged, store, now))


def suspend_refused(store: Store, token_name: str, error: Exception, *, now: datetime) -> None:
    """Suspend a token if *error* needs an administrator, unless another worker holds its lease."""
    _with_lease(store, token_name, lambda lease: _suspend(store, error, now, lease))


def _with_lease(store: Store, token_name: str, work: Callable[[Lease], object]) -> None:
    # What is not done now is done at the next call, or by the worker that holds the lease.
    with contextlib.suppress(
        LeaseHeldError, LeaseLostError, StoreConflictError, UnknownTokenError, DamagedRecordError
    ):
        lease = store.acquire_lease(token_name, Runner().run(worker_name()))
        try:
            work(lease)
        finally:
            store.release_lease(lease)


def _suspend_damaged(store: Store, now: datetime, lease: Lease) -> None:
    try:
        store.token(lease.token_name)
    except DamagedRecordError as error:
        _suspend(store, error, now, lease)


def _suspend(store: Store, error: Exception, now: datetime, lease: Lease) -> str:
    """Suspend a token and return the reason."""
    name = lease.token_name
    before = store.sync_state(name)
    state, groups = suspend(before, _token_or_none(store, name), error)
    if state != before:
        store.save_sync_state(name, state, events=EventBatch(name, now, groups), lease=lease)
    return state.suspended


def _token_or_none(store: Store, name: str) -> Token | None:
    try:
        return store.token(name)
    except DamagedRecordError:
        return None


def _remind(store: Store, token: Token, now: datetime, lease: Lease) -> None:
    # Read again under the lease: another node may have been faster.
    state, groups = remind(store.sync_state(token.name), token, now)
    if groups:
        store.save_sync_state(token.name, state, events=EventBatch(token.name, now, groups), lease=lease)
        days = pluralize(state.reminded_days, "day")
        _log.warning("%s: the server token expires in %s or less", token.name, days)
