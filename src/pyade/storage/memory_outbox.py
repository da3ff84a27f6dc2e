"""The part of the store in memory that belongs to no token: events, positions, sessions and secrets."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pyade.core.events import Event, EventBatch, EventGroup, EventKind, encode_groups
from pyade.errors import StoreClosedError, UnknownTokenError
from pyade.storage.outbox import position_number, read


class MemoryOutbox:
    """Base of ``MemoryStore``; the rows of the outbox are numbered 1, 2, 3 in the order of the commits."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._rows: dict[int, EventBatch] = {}
        self._last_row = 0
        self._positions: dict[str, str] = {}
        self._kept: dict[tuple[str, str], str] = {}

    def events(self, after: str | None = None, *, limit: int = 1000) -> Sequence[Event]:
        """Return committed events in the order of the commits."""
        position = position_number(after)
        with self._lock:
            self._check_open()
            rows = [(row, batch) for row, batch in self._rows.items() if row >= position[0]]
        return read(rows, position, limit)

    def add_event(
        self, token_name: str, kind: EventKind, *, now: datetime, details: Mapping[str, Any] | None = None
    ) -> None:
        """Add an event that concerns a token as a whole."""
        group = EventGroup(kind, details=dict(details or {}))
        encode_groups((group,))  # what a database could not keep is refused here, too
        with self._lock:
            self._check_open()
            if not self._has_token(token_name):
                raise UnknownTokenError(f"no token {token_name!r} is stored: add it first")
            self._emit(token_name, now, (group,))

    def position(self, subscriber: str) -> str | None:
        """Return how far *subscriber* has come."""
        with self._lock:
            self._check_open()
            return self._positions.get(subscriber)

    def save_position(self, subscriber: str, after: str | None) -> None:
        """Remember how far *subscriber* has come; None forgets it."""
        position_number(after)
        with self._lock:
            self._check_open()
            if after is None:
                self._positions.pop(subscriber, None)
            else:
                self._positions[subscriber] = after

    def prune_events(self, before: datetime) -> None:
        """Remove events from before that time that every subscriber has seen."""
        with self._lock:
            self._check_open()
            seen = [position_number(after)[0] for after in self._positions.values()]
            end = min(seen, default=self._last_row + 1)
            self._rows = {row: batch for row, batch in self._rows.items() if row >= end or batch.at >= before}

    def load_session(self, key: str) -> str | None:
        """Return the session kept under *key*."""
        return self._load("session", key)

    def save_session(self, key: str, session: str) -> None:
        """Keep *session* under *key*."""
        self._save("session", key, session)

    def secret(self, name: str) -> str | None:
        """Return the secret kept under *name*."""
        return self._load("secret", name)

    def save_secret(self, name: str, secret: str | None) -> None:
        """Keep *secret* under *name*; None removes it."""
        self._save("secret", name, secret)

    def _has_token(self, token_name: str) -> bool:
        raise NotImplementedError

    def _emit(self, token_name: str, at: datetime, groups: tuple[EventGroup, ...]) -> None:
        if groups:
            self._last_row += 1
            self._rows[self._last_row] = EventBatch(token_name, at, groups)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError("the store was closed")

    def _load(self, kind: str, name: str) -> str | None:
        with self._lock:
            self._check_open()
            return self._kept.get((kind, name))

    def _save(self, kind: str, name: str, value: str | None) -> None:
        with self._lock:
            self._check_open()
            if value is None:
                self._kept.pop((kind, name), None)
            else:
                self._kept[kind, name] = value
