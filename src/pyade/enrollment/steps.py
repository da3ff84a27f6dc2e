"""What the flows of this room share: their access to the store, and another try after a conflict."""

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
"""How often a change of what is stored of a Mac is made before a conflict comes back to the caller."""


def in_store(work: Callable[[EnrollmentStore], T]) -> Flow[T]:
    """Return what *work* returns for the store: one transaction of its own per call of the store."""
    return ask(StoreCall(work))


def audit(events: EventBatch) -> Flow[None]:
    """Write *events*, as ``write_audit`` does."""
    return in_store(lambda store: write_audit(store, events))


def write_audit(store: EnrollmentStore, events: EventBatch) -> None:
    """Write *events*, also if their token was removed meanwhile."""
    try:
        store.add_audit(events)
    except UnknownTokenError:
        store.add_audit(attrs.evolve(events, token_name=""))


def retried(attempt: Callable[[], Flow[T]], attempts: int = ATTEMPTS) -> Flow[T]:
    """Run *attempt*; again, from its first step, if somebody else changed what it read before its commit.

    Raises:
        StoreConflictError: That happened to all of the *attempts*.
    """
    for _ in range(attempts - 1):
        try:
            return (yield from attempt())
        except StoreConflictError:
            continue
    return (yield from attempt())
