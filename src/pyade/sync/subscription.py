"""Deliver a store's committed events to a handler, each at least once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pyade.core.arguments import check_arguments
from pyade.core.fleet.events import Event
from pyade.errors import DamagedRecordError
from pyade.text import logger

_log = logger(__name__)

_BATCH = 100
"""Events between two saved positions: at most so many are delivered again after a crash."""


class EventSource(Protocol):
    """The part of a ``Store`` that a subscription reads."""

    def events(
        self,
        after: str | None = None,
        *,
        limit: int = 1000,
        damaged: Callable[[DamagedRecordError], None] | None = None,
    ) -> Sequence[Event]:
        """Return committed events in the order of the commits; call *damaged* for each left out."""
        ...

    def position(self, subscriber: str) -> str | None:
        """Return the saved position of *subscriber*; None if there is none."""
        ...

    def save_position(self, subscriber: str, after: str) -> None:
        """Save *after* as the position of *subscriber*."""
        ...


@check_arguments
class Subscription:
    """A named reader of the events, whose position the store saves.

    Every committed event is passed to the handler, in the order of the commits. If the handler raises, the
    next delivery starts with the same event. After a crash up to 100 events are delivered again, with the
    same ids. Two processes that deliver under one name at the same time both get the events. Stored events
    that cannot be read are left out, with a warning in the log.

    Args:
        store: Where the events are.
        name: Name under which the store saves the position; a new name starts with the oldest stored event.
        handler: Called with each event.
    """

    def __init__(self, store: EventSource, name: str, handler: Callable[[Event], object]) -> None:
        self._store = store
        self._name = name
        self._handler = handler
        self._damage: set[str] = set()

    def deliver(self) -> int:
        """Deliver the events committed since the last delivery, and return their number.

        Raises:
            StoreError: The store failed.
            Exception: Any error of the handler; events before it count as delivered.
        """
        delivered = 0
        position = self._store.position(self._name)
        if position is None:
            # From now on the store does not prune events that this subscriber has not seen.
            self._store.save_position(self._name, "")
        while events := self._store.events(position or None, limit=_BATCH, damaged=self._log_once):
            handled = position
            try:
                for event in events:
                    self._handler(event)
                    handled = event.id
                    delivered += 1
            finally:
                if handled is not None and handled != position:
                    self._store.save_position(self._name, handled)
            position = handled
        return delivered

    def _log_once(self, error: DamagedRecordError) -> None:
        """Log that events are left out, once per reason."""
        if error.reason not in self._damage:
            self._damage.add(error.reason)
            _log.warning("%s: left out: %s", self._name, error)

    def __repr__(self) -> str:
        return f"Subscription({self._name!r})"
