"""The report of a sync run, and helpers that format values in reports."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import ClassVar

import attrs

from pyade.core.exports import Exportable
from pyade.core.fleet.records import EXPORTED_CHANGES, ChangeCounts
from pyade.core.fleet.sync_policy import SyncAction
from pyade.core.problems import Problem, Severity, problem_tables
from pyade.text import MAX_LISTED, Printed, Table, abbreviate, format_utc, pluralize


class SyncOutcome(enum.StrEnum):
    """Why a run ended.

    Attributes:
        CAUGHT_UP: Apple has no more changes.
        TIME_LIMIT: The time limit was reached; the next run may continue immediately.
        PAGE_LIMIT: The limit of pages was reached; the next run continues.
        REPEATED_CURSOR: Apple announced another page with a cursor that was already used.
        NO_CURSOR: The cursor is lost, and a full list is not allowed yet.
        RELEASE_HELD: Apple has no more changes, but its complete list would release more devices than the
            policy allows: none was released; ``sync(force=True)`` releases them.
        OVERTAKEN: Another worker changed the sync state, or holds the lease now.
        NOT_STARTED: The policy forbids a run now, or another worker holds the lease.
    """

    CAUGHT_UP = "caught up with Apple"
    TIME_LIMIT = "the time limit was reached: run again to continue"
    PAGE_LIMIT = "the limit of pages was reached: the next run continues"
    REPEATED_CURSOR = "Apple announced another page with a cursor that was already used"
    NO_CURSOR = "Apple does not accept the cursor any more, and a full list is not allowed yet"
    RELEASE_HELD = "Apple's list would release too many devices: run with force=True if it is right"
    OVERTAKEN = "another worker took over"
    NOT_STARTED = "nothing was sent"


@attrs.frozen(kw_only=True, repr=False)
class SyncReport(Exportable, Printed):
    """What one run did; ``print`` shows it in a few lines.

    Attributes:
        token_name: The token that was synced.
        action: What the run did; ``WAIT`` and ``RUNNING`` mean that nothing was sent to Apple. A run that
            lost its cursor and therefore fetched the full list is ``RECOVERY``, or ``FULL`` if one was due.
        reason: Why the run took that action.
        outcome: Why the run ended.
        pages: Number of Apple's pages that were stored.
        devices: Number of device records in these pages; a device may occur several times.
        changes: Changes of the store.
        started_at: UTC.
        finished_at: UTC.
        allowed_at: For ``WAIT`` the time from which the same call is allowed, for ``RUNNING`` the time at
            which the other worker's lease ends unless it is renewed, UTC; None if something was sent.
        next_allowed_at: Time from which a requested run is allowed, UTC.
        next_automatic_at: Time from which an automatic run is due, UTC.
        running_since: For ``RUNNING`` the start of the run under way, UTC.
        holder: For ``RUNNING`` the worker that holds the lease; "" if unknown.
        held_back: Number of devices that the newest list did not show and that were not released: too many
            for the policy, or the list had records that could not be read.
        unreadable: Number of Apple's records that could not be read, or have no serial number, and were left
            out.
        purged: Number of records that were removed from the store, since Apple released the device 30 days
            ago or earlier.
        problems: Problems of Apple's data or of the token; ``doctor`` shows those that last.
        notes: Other events of the run, as text.
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

    _EXPORTED: ClassVar[str] = (
        "token_name action reason outcome is_complete started_at finished_at pages devices "
        f"{EXPORTED_CHANGES} held_back unreadable purged "
        "allowed_at next_allowed_at next_automatic_at running_since holder problems notes"
    )

    @property
    def continues(self) -> bool:
        """True if the run ended at its time limit, so that the next may start immediately."""
        return self.outcome is SyncOutcome.TIME_LIMIT

    @property
    def is_complete(self) -> bool:
        """True if the store holds everything that Apple reported, except ``unreadable`` records."""
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
            lines.append(f"  {pluralize(self.purged, 'device')} released 30 days ago or earlier: purged")
        lines.append(f"  {self.outcome}")
        lines.extend(f"  problem: {problem}" for problem in self.problems)
        lines.extend(f"  note: {note}" for note in self.notes)
        allowed, automatic = format_utc(self.next_allowed_at), format_utc(self.next_automatic_at)
        lines.append(f"  next: on request from {allowed}, automatically from {automatic}")
        return lines

    def _tables(self) -> Iterator[Table]:
        sent = self.action.sends_requests
        rows: list[tuple[str, object]] = [
            ("Action", self.action.label if sent else "not synced"),
            ("Reason", self.reason),
            ("Outcome", self.outcome.value),
        ]
        if sent:
            rows += [("Pages", f"{self.pages:,}"), ("Records", f"{self.devices:,}")]
            changed = {name: count for name, count in attrs.asdict(self.changes).items() if count}
            rows += [(name.capitalize(), f"{count:,}") for name, count in changed.items()]
        rows += [
            ("Next on request", f"from {format_utc(self.next_allowed_at)}"),
            ("Next automatic run", f"from {format_utc(self.next_automatic_at)}"),
            *(("Note", note) for note in self.notes),
        ]
        yield Table(self.token_name, (), rows)
        yield from problem_tables(self.problems)


def implausible_date_problem(dates: Mapping[str, datetime]) -> Problem:
    """Return the problem of changes that Apple dated implausibly.

    Args:
        dates: The dates from Apple, UTC, by serial number; at least one.
    """
    wild = ", ".join(sorted({format_utc(date) for date in dates.values()})[:MAX_LISTED])
    text = f"the change of {pluralize(len(dates), 'device')} is dated {wild}, which cannot be right"
    fix = "nothing to do: the time of arrival counts, and the details were read; tell Apple if it comes again"
    return Problem("op_date", abbreviate(sorted(dates)), text, fix, Severity.WARNING)
