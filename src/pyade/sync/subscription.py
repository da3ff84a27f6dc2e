"""Hand a store's committed events to whoever wants them, at least once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pyade.core.arguments import check_arguments
from pyade.core.fleet.events import Event
from pyade.errors import DamagedRecordError
from pyade.text import logger

_log = logger(__name__)

_BATCH = 100
"""Events between two saved positions: how many may come again after a crash."""


class EventSource(Protocol):
    """The part of a ``Store`` that a subscription reads."""

    def events(
        self,
        after: str | None = None,
        *,
        limit: int = 1000,
        damaged: Callable[[DamagedRecordError], None] | None = None,
    ) -> Sequence[Event]:
        """Return committed events in the order of the commits; *damaged* hears of those left out."""
        ...

    def position(self, subscriber: str) -> str | None:
        """Return how far *subscriber* has come."""
        ...

    def save_position(self, subscriber: str, after: str) -> None:
        """Remember how far *subscriber* has come."""
        ...


@check_arguments
class Subscription:
    """One reader of the events, known to the store by its name.

    Every committed event reaches the handler, in the order of the commits. A handler that raises gets the
    same event first the next time. After a crash up to 100 events come again, with the same ids. Two
    processes that deliver under one name at the same time both get the events. Events that are stored and
    cannot be read are left out, with a warning in the log.

    Args:
        store: Where the events are.
        name: Under this name the store remembers the position; a new name begins with the oldest event kept.
        handler: Called with each event.
    """

    def __init__(self, store: EventSource, name: str, handler: Callable[[Event], object]) -> None:
        self._store = store
        self._name = name
        self._handler = handler
        self._damage: set[str] = set()

    def deliver(self) -> int:
        """Hand over what was committed since the last time and return how many events that was.

        Raises:
            StoreError: The store failed.
            Exception: Whatever the handler raised; events before it count as delivered.
        """
        delivered = 0
        position = self._store.position(self._name)
        if position is None:
            # From now on the store keeps for this subscriber what it has not seen.
            self._store.save_position(self._name, "")
        while events := self._store.events(position or None, limit=_BATCH, damaged=self._note):
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

    def _note(self, error: DamagedRecordError) -> None:
        """Log that events are left out, once."""
        if error.reason not in self._damage:
            self._damage.add(error.reason)
            _log.warning("%s: left out: %s", self._name, error)

    def __repr__(self) -> str:
        return f"Subscription({self._name!r})"
