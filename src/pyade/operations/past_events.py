"""Read the stored events of one token, for pictures of the past; and the span of days that they cover."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Final

import attrs

from pyade.core.fleet.events import Event
from pyade.errors import DamagedRecordError, PolicyError
from pyade.storage.protocol import Store
from pyade.text import pluralize

LONGEST: Final = 366
"""How many days a picture of the past shows at most."""

_PAGE: Final = 5_000


@attrs.define(kw_only=True)
class PastEvents:
    """The stored events of one token, and what is known about those that are not there.

    Attributes:
        store: Where they are.
        token_name: The token.
        known_from: The time of the oldest stored event of any token, UTC; None if there is none. Older ones
            were pruned, or there never were any.
        damaged: The number of stored rows of events that cannot be read.
    """

    store: Store
    token_name: str
    known_from: datetime | None = None
    damaged: int = 0

    def read(self) -> Iterator[Event]:
        """Yield the events in the order of their commits; the attributes are complete at the end."""

        def count(_: DamagedRecordError) -> None:
            self.damaged += 1

        after: str | None = None
        while page := self.store.events(after, limit=_PAGE, damaged=count):
            if self.known_from is None:
                self.known_from = page[0].at
            yield from (event for event in page if event.token_name == self.token_name)
            after = page[-1].id


def damage_notes(damaged: int) -> list[str]:
    """Return what a picture says about *damaged* rows of events; nothing if there are none."""
    if not damaged:
        return []
    return [f"{pluralize(damaged, 'row')} of events cannot be read, and are missing here"]


@attrs.frozen
class Days:
    """A span of whole days that ends today, in UTC.

    Attributes:
        start: Where the first day begins.
        count: How many days there are.
    """

    start: datetime
    count: int

    @classmethod
    def until(cls, now: datetime, count: int, *, function: str) -> Days:
        """Return the last *count* days, with the one of *now* as the last.

        Raises:
            PolicyError: *count* is not from 1 to ``LONGEST``; *function* was given it.
        """
        if not 1 <= count <= LONGEST:
            raise PolicyError(f"{function}: days is {count}: it must be from 1 to {LONGEST}")
        today = datetime.combine(now.astimezone(UTC), time(), UTC)
        return cls(today - timedelta(days=count - 1), count)

    def index_of(self, at: datetime) -> int:
        """Return on which day *at* is, from 0; -1 for all days before the first; the last for later ones."""
        return max(-1, min((at - self.start).days, self.count - 1))

    def day(self, index: int) -> str:
        """Return a day as text: ``2026-03-01``."""
        return (self.start + timedelta(days=index)).date().isoformat()
