"""Limit the records of responses without a profile: a few rows and log lines a minute, the rest is counted.

Any client can send thousands of bad requests a second. A row for each would fill the disk and hide what
matters.

The rules of this file:

1. Unknown senders: write the first 20 different records a minute; two are the same if reason and serial
   number are. A sender is unknown if its signature is not valid or no stored token has its serial number.
2. A known Mac: write its first 20 records a minute. They are limited too, since its serial number and the key
   of any Mac are enough to send requests in its name.
3. Count all others by reason. Their counts are written as one event with the first request after that minute,
   or when the worker ends.
4. Before counting, strip what a sender can choose from a reason: numbers and quoted texts. So the number of
   reasons, and the memory for them, is bounded.
5. Each worker counts separately. A worker that crashes loses the counts of up to a minute.
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
_MAX_REASONS: Final = 100
_MAX_SERIALS: Final = 10
_MAX_REASON: Final = 200
_SENDER_TEXT: Final = re.compile(r"""[0-9][0-9.]*|'.*'|".*["]""")
_OTHER_REASONS: Final = "other reasons"


@attrs.frozen
class Refusals(Printed):
    """The responses that were counted in one minute.

    Attributes:
        since: Time of the first one, UTC.
        counts: Number of responses by reason; numbers and quoted texts in a reason are replaced.
        serials: Up to 10 serial numbers for each reason, as clients sent them: they are not verified.
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
        """Return the counts as an event of the store."""
        refused = [
            {"reason": reason, "count": count, "serials": self.serials.get(reason, [])}
            for reason, count in self.counts.items()
        ]
        details = {"since": self.since.isoformat(), "refused": refused}
        return EventBatch("", now, (EventGroup(EventKind.REQUESTS_REFUSED, (None,), details),))


class RefusalTally:
    """Decides whether a response without a profile is recorded or only counted; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # rule 5: in memory only
        self._since: datetime | None = None
        self._seen: Counter[tuple[str, str]] = Counter()
        self._unknown_records = 0
        self._counts: dict[str, int] = {}
        self._serials: dict[str, list[str]] = {}

    def is_recorded(self, decision: EnrollmentDecision, *, is_known: bool) -> bool:
        """Return True if *decision* is to be written; otherwise count it and return False.

        Args:
            decision: The record of a response without a profile.
            is_known: True if a stored token has its serial number.
        """
        reason = _SENDER_TEXT.sub("…", decision.reason[:_MAX_REASON])  # rule 4
        serial = decision.serial_number[:40]
        with self._lock:
            self._since = self._since or decision.at
            if is_known:
                self._seen["", serial] += 1
                if self._seen["", serial] <= RECORDS:  # rule 2
                    return True
            elif self._unknown_records < RECORDS and (reason, serial) not in self._seen:  # rule 1
                self._unknown_records += 1
                self._seen[reason, serial] = 1
                return True
            if reason not in self._counts and len(self._counts) >= _MAX_REASONS:
                reason = _OTHER_REASONS
            self._counts[reason] = self._counts.get(reason, 0) + 1  # rule 3
            serials = self._serials.setdefault(reason, [])
            if serial and serial not in serials and len(serials) < _MAX_SERIALS:
                serials.append(serial)
            return False

    def take(self, now: datetime, *, force: bool = False) -> Refusals | None:
        """Return the counts of a minute that is over and start a new one; None if nothing was counted.

        Args:
            now: UTC.
            force: True ends the minute now, as when a worker ends.
        """
        with self._lock:
            since = self._since
            if since is None or not (force or now - since >= WINDOW or now < since):
                return None
            counted = Refusals(since, self._counts, self._serials) if self._counts else None
            self._since, self._unknown_records = None, 0
            self._seen, self._counts, self._serials = Counter(), {}, {}
            return counted
