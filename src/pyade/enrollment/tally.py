"""Answers without a profile, counted: whatever comes, a minute costs a few rows and a few lines of the log.

Anybody can send garbage, thousands of times a second. A row for each fills a disk, and hides what matters.

The rules of this file:

1. Of strangers, 20 different records a minute are written as they are: reason and serial number. A stranger
   is who is not known to the store: no good signature, or a serial number that is none of ours.
2. Of a Mac of ours, 20 records a minute are: its serial number and the key of any Mac are enough to ask in
   its name as often.
3. All others are counted by reason, and written as one event with the first request after that minute, or at
   the end of the worker.
4. Reasons are counted without what senders put into them: numbers, and texts in quotes. So there are few, and
   what is kept in memory is bounded.
5. Each worker counts for itself. What is lost when it dies is what it counted in a minute.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

import attrs

from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.enrollment.decision import EnrollmentDecision
from pyade.text import Printed

WINDOW: Final = timedelta(minutes=1)
RECORDS: Final = 20
_REASONS: Final = 100
_EXAMPLES: Final = 10
_LONGEST: Final = 200
_FOREIGN: Final = re.compile(r"""[0-9][0-9.]*|'.*'|".*["]""")
_OTHERS: Final = "other reasons"


@attrs.frozen
class Refusals(Printed):
    """What was counted in one minute.

    Attributes:
        since: When the first one came, UTC.
        counts: How many there were, by reason; numbers and quoted texts in it are left out.
        serials: Serial numbers that were named with a reason, up to 10; nothing vouches for them.
    """

    since: datetime
    counts: dict[str, int]
    serials: dict[str, list[str]]

    def _words(self) -> str:
        reasons = ", ".join(f"{count} because {reason}" for reason, count in self.counts.items())
        return (
            f"{sum(self.counts.values())} more requests got no profile since {self.since:%H:%M:%S}: {reasons}"
        )

    def events(self, now: datetime) -> EventBatch:
        """Return the record as an event of the store."""
        refused = [
            {"reason": reason, "count": count, "serials": self.serials.get(reason, [])}
            for reason, count in self.counts.items()
        ]
        details = {"since": self.since.isoformat(), "refused": refused}
        return EventBatch("", now, (EventGroup(EventKind.REQUESTS_REFUSED, (None,), details),))


class RefusalTally:
    """Decides of which answers a record is written; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: datetime | None = None
        self._seen: Counter[tuple[str, str]] = Counter()
        self._strangers = 0
        self._counts: dict[str, int] = {}
        self._serials: dict[str, list[str]] = {}

    def is_recorded(self, decision: EnrollmentDecision, *, is_ours: bool) -> bool:
        """Return True if the record of an answer without a profile is to be written, else count it.

        Args:
            decision: The answer.
            is_ours: True if the store knows its serial number.
        """
        reason = _FOREIGN.sub("…", decision.reason[:_LONGEST])
        serial = decision.serial_number[:40]
        with self._lock:
            self._since = self._since or decision.at
            if is_ours:
                self._seen["", serial] += 1
                if self._seen["", serial] <= RECORDS:
                    return True
            elif self._strangers < RECORDS and (reason, serial) not in self._seen:
                self._strangers += 1
                self._seen[reason, serial] = 1
                return True
            if reason not in self._counts and len(self._counts) >= _REASONS:
                reason = _OTHERS
            self._counts[reason] = self._counts.get(reason, 0) + 1
            named = self._serials.setdefault(reason, [])
            if serial and serial not in named and len(named) < _EXAMPLES:
                named.append(serial)
            return False

    def take(self, now: datetime, *, at_once: bool = False) -> Refusals | None:
        """Return what was counted in a minute that is over, and begin a new one; None if there is nothing.

        Args:
            now: UTC.
            at_once: True takes what was counted until now, as at the end of a worker.
        """
        with self._lock:
            since = self._since
            if since is None or not (at_once or now - since >= WINDOW or now < since):
                return None
            counted = Refusals(since, self._counts, self._serials) if self._counts else None
            self._since, self._strangers = None, 0
            self._seen, self._counts, self._serials = Counter(), {}, {}
            return counted
