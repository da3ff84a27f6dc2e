"""Steps that the flows of this package share: calls of the store, and the retry after a conflict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

from pyade.core.fleet.events import EventBatch
from pyade.errors import StoreConflictError, UnknownTokenError
from pyade.flow import Flow, StoreCall, ask
from pyade.storage.protocol import EnrollmentStore

T = TypeVar("T")

ATTEMPTS = 8
"""How often a change to a Mac's stored state is tried before the caller gets the ``StoreConflictError``."""


def in_store(work: Callable[[EnrollmentStore], T]) -> Flow[T]:
    """Run *work* with the store and return its result; each call of the store is its own transaction."""
    return ask(StoreCall(work))


def audit(events: EventBatch) -> Flow[None]:
    """Write *events* as ``write_audit`` does, as a flow."""
    return in_store(lambda store: write_audit(store, events))


def write_audit(store: EnrollmentStore, events: EventBatch) -> None:
    """Write *events*, without their token if it was removed meanwhile."""
    try:
        store.add_audit(events)
    except UnknownTokenError:
        store.add_audit(attrs.evolve(events, token_name=""))


def retried(attempt: Callable[[], Flow[T]], attempts: int = ATTEMPTS) -> Flow[T]:
    """Run *attempt*; repeat it from its first step if another worker changed what it read before its commit.

    Raises:
        StoreConflictError: Each of the *attempts* had a conflict.
    """
    for _ in range(attempts - 1):
        try:
            return (yield from attempt())
        except StoreConflictError:
            continue
    return (yield from attempt())
