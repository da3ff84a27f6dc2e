"""What a sync returns."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from pyade.core.fleet.records import ChangeCounts
from pyade.core.fleet.sync_policy import SyncAction
from pyade.core.problems import Problem, Severity
from pyade.text import Printed

SHOWN: Final = 10


class SyncOutcome(enum.StrEnum):
    """Why a run ended.

    Attributes:
        CAUGHT_UP: Apple has nothing more.
        TIME_LIMIT: The time was up; the next run may continue at once.
        PAGE_LIMIT: The bound on pages was reached; the next run goes on.
        REPEATED_CURSOR: Apple returned a cursor that it had been sent, with more to follow.
        NO_CURSOR: The cursor is lost, and a full list is not allowed yet.
        RELEASE_HELD: Apple has nothing more, but its complete list would release more devices than the policy
            allows: nothing was released, and ``sync(force=True)`` does it.
        OVERTAKEN: Another worker moved the state on, or holds the token by now.
        NOT_STARTED: The policy, or another worker, said no.
    """

    CAUGHT_UP = "caught up with Apple"
    TIME_LIMIT = "the time was up: run again at once to continue"
    PAGE_LIMIT = "the bound on pages was reached"
    REPEATED_CURSOR = "Apple returned a cursor that it had been sent, with more to follow"
    NO_CURSOR = "Apple does not accept the cursor any more, and a full list is not allowed yet"
    RELEASE_HELD = "Apple's list would release too many devices: run with force=True if it is right"
    OVERTAKEN = "another worker took over"
    NOT_STARTED = "nothing was sent"


@attrs.frozen(kw_only=True)
class SyncReport(Printed):
    """What one run did; ``print`` shows it in a few lines.

    Attributes:
        token_name: The token that was synced.
        action: What the run did; ``WAIT`` and ``RUNNING`` mean that nothing was sent to Apple. A run that
            lost its cursor and fetched the full list for that is ``RECOVERY``, or ``FULL`` if one was due.
        reason: Why that action.
        outcome: Why the run ended.
        pages: Pages of Apple that were stored.
        devices: Device records in them; one device may come several times.
        changes: What they changed in the store.
        started_at: UTC.
        finished_at: UTC.
        allowed_at: For ``WAIT`` from when the same call is allowed, for ``RUNNING`` when the other worker's
            lease ends unless it is renewed, UTC; None where something was sent.
        next_allowed_at: From when a request is allowed, UTC.
        next_automatic_at: From when an automatic run is due, UTC.
        running_since: For ``RUNNING`` the start of the run under way, UTC.
        holder: For ``RUNNING`` which worker holds the token; "" if the store does not say.
        held_back: How many devices the newest list did not show and would have released: as long as their
            release is held back, and where records of the list could not be read.
        unreadable: Records of Apple's that could not be read, or have no serial number, and were left out.
        purged: Records of devices that Apple released 30 days ago or earlier, removed from the store.
        problems: What is wrong with what Apple sent, or with the token; ``doctor`` shows what lasts.
        notes: What else happened, in words.
    """

    token_name: str
    action: SyncAction
    reason: str
    outcome: SyncOutcome
    pages: int = 0
    devices: int = 0
    changes: ChangeCounts = attrs.field(factory=ChangeCounts)
    started_at: datetime
    finished_at: datetime
    allowed_at: datetime | None = None
    next_allowed_at: datetime
    next_automatic_at: datetime
    running_since: datetime | None = None
    holder: str = ""
    held_back: int = 0
    unreadable: int = 0
    purged: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def continues(self) -> bool:
        """True if the run ended at its time limit, so that the next may start at once."""
        return self.outcome is SyncOutcome.TIME_LIMIT

    @property
    def is_complete(self) -> bool:
        """True if the store holds all that Apple had to say, but for what ``unreadable`` counts."""
        return self.outcome is SyncOutcome.CAUGHT_UP

    def _words(self) -> list[str]:
        lines = [f"{self.token_name}: {self.action.label} ({self.reason})"]
        if self.action.sends_requests:
            seconds = (self.finished_at - self.started_at).total_seconds()
            changed = [f"{count:,} {name}" for name, count in attrs.asdict(self.changes).items() if count]
            done = (
                f"{pluralize(self.pages, 'page')} with {pluralize(self.devices, 'record')} in {seconds:.1f} s"
            )
            lines.append(f"  {done}: {', '.join(changed) or 'nothing new'}")
        else:
            lines = [f"{self.token_name}: not synced ({self.reason})"]
            if self.allowed_at is not None and self.allowed_at != self.next_allowed_at:
                lines.append(f"  allowed from {format_utc(self.allowed_at)}")
        if self.purged:
            lines.append(f"  {pluralize(self.purged, 'device')} released 30 days ago or earlier: forgotten")
        lines.append(f"  {self.outcome}")
        lines.extend(f"  problem: {problem}" for problem in self.problems)
        lines.extend(f"  note: {note}" for note in self.notes)
        allowed, automatic = format_utc(self.next_allowed_at), format_utc(self.next_automatic_at)
        lines.append(f"  next: on request from {allowed}, automatically from {automatic}")
        return lines


def wild_date_problem(dates: Mapping[str, datetime]) -> Problem:
    """Return the problem that Apple dated changes of devices so that it cannot be right.

    Args:
        dates: What Apple sent, UTC, by serial number; at least one.
    """
    wild = ", ".join(sorted({format_utc(date) for date in dates.values()})[:SHOWN])
    text = f"the change of {pluralize(len(dates), 'device')} is dated {wild}, which cannot be right"
    fix = "nothing to do: the time of arrival counts, and the details were read; tell Apple if it comes again"
    return Problem("op_date", abbreviate(sorted(dates)), text, fix, Severity.WARNING)


def abbreviate(serials: Sequence[str]) -> str:
    """Return the first ``SHOWN`` of *serials*, joined by commas; a final ellipsis stands for the rest."""
    first = ", ".join(serials[:SHOWN])
    return f"{first}, …" if len(serials) > SHOWN else first


def format_utc(value: datetime) -> str:
    """Return *value*, which is UTC, as text: ``2026-01-31 08:15:00 UTC``."""
    return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")


def pluralize(number: int, noun: str) -> str:
    """Return *number* with its noun: ``1 page``, ``2,500 pages``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
