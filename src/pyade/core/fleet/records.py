"""What the store remembers about a device and about a token's sync.

``merging`` has the rules by which Apple's records change it.

Source: Apple, device assignment, "Sync the list of devices" and "Get a list of devices". Microsoft Intune,
"Sync managed devices", for deletion: a deleted device comes back with the full sync, a released one is
removed after 30 days.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

import attrs

from pyade.core.exports import Exportable, field_names
from pyade.core.fleet.device import OF_RESPONSE, Device
from pyade.core.fleet.outcomes import AssignmentFailure, Attempt
from pyade.errors import StoreConflictError, StoreError
from pyade.text import short_repr

PURGE_AFTER = timedelta(days=30)
"""How long a released device is kept."""

OLDEST_CHANGE = timedelta(days=30)
"""No change is older than this when it arrives: a cursor is valid for 7 days."""


class Source(enum.StrEnum):
    """Where a device record came from; it decides what the record may change.

    ``DETAILS`` also restores a device that was deleted here.
    """

    FETCH = "fetch"
    SYNC = "sync"
    DETAILS = "details"


@attrs.frozen(kw_only=True)
class DeviceRecord(Exportable):
    """A device as the store knows it.

    Attributes:
        token_name: The token through which the device is known.
        device: What Apple last reported.
        first_seen_at: When the store first received a record of it, UTC.
        updated_at: When a record from Apple last changed it, UTC; an attempt does not.
        op_date: Time of the newest operation that was applied, by Apple's clock, at most five minutes after
            it arrived; None before the first one.
        released_at: Since when Apple no longer lists it, UTC; None while it is assigned to this server.
        full_sync: Number of the newest full sync that listed it; 0 if only events did.
        attempt: The newest attempt to assign a profile, until a newer event supersedes it.
        deleted_at: When it was deleted here although Apple still listed it, UTC; hidden since then.
        op_date_sent: The date of that operation as Apple sent it, if it cannot be right; else None.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    token_name: str
    device: Device
    first_seen_at: datetime
    updated_at: datetime
    op_date: datetime | None = None
    released_at: datetime | None = None
    full_sync: int = 0
    attempt: Attempt | None = None
    deleted_at: datetime | None = None
    op_date_sent: datetime | None = None

    _EXPORTED: ClassVar[str] = (
        f"token_name {' '.join(f'device.{name}' for name in field_names(Device) if name not in OF_RESPONSE)} "
        "device.is_mac op_date op_date_sent first_seen_at updated_at released_at deleted_at full_sync "
        "attempt.attempted_at attempt_result=attempt.result attempt_profile_uuid=attempt.profile_uuid "
        "attempt_not_before=attempt.not_before"
    )

    @property
    def serial_number(self) -> str:
        """Apple's serial number."""
        return self.device.serial_number

    @property
    def is_released(self) -> bool:
        """True if Apple no longer lists the device for this server."""
        return self.released_at is not None

    @property
    def is_hidden(self) -> bool:
        """True if the device was deleted here and not restored since."""
        return self.deleted_at is not None


class Change(enum.StrEnum):
    """What a record from Apple did to the store."""

    ADDED = "added"
    MODIFIED = "modified"
    RELEASED = "released"
    RETURNED = "returned"
    UNCHANGED = "unchanged"
    STALE = "stale"


@attrs.frozen(kw_only=True)
class ChangeCounts:
    """How many records from Apple did what to the store; a device that changed twice counts twice.

    Attributes:
        added: The device was new to the store.
        modified: Something about it differs.
        released: Apple no longer lists it for this server.
        returned: It had been released, or hidden here, and is listed again.
        unchanged: The record contained nothing new, or concerned a device that stays hidden here.
        stale: The record was older than what the store knew, and was ignored.
    """

    added: int = 0
    modified: int = 0
    released: int = 0
    returned: int = 0
    unchanged: int = 0
    stale: int = 0

    def __add__(self, other: ChangeCounts) -> ChangeCounts:
        mine, theirs = attrs.astuple(self), attrs.astuple(other)
        names = (field.name for field in attrs.fields(ChangeCounts))
        return ChangeCounts(**{name: a + b for name, a, b in zip(names, mine, theirs, strict=True)})


EXPORTED_CHANGES: Final = " ".join(f"changes.{name}" for name in field_names(ChangeCounts))
"""The counts as columns of a report that has them as ``changes``."""


class SyncPhase(enum.StrEnum):
    """What the cursor is for: a full list is being fetched (or is needed), or changes are followed."""

    FETCH = "fetch"
    SYNC = "sync"


@attrs.frozen(kw_only=True)
class SyncState:
    """The progress of a token's sync; committed together with each page.

    Attributes:
        revision: Counts the writes; a write with an older revision is refused.
        phase: What ``cursor`` is for.
        cursor: Apple's opaque position; None before the first page of a full list.
        full_sync: Number of the newest full sync or recovery fetch, finished or not.
        full_sync_at: Start of the newest full sync that counts toward the 7 days, UTC.
        recovery_at: Start of the newest recovery fetch (a full list because the cursor was lost), UTC.
        listing_since: Start of the full list under way, UTC; None when none is.
        unreadable: Number of records of the full list under way that could not be read: a device that is
            missing from it may be one of them.
        run_at: Start of the last run that sent Apple a request, UTC.
        running_since: Start of the run under way, UTC; None between runs.
        continues: True if the last run ended at its time limit: the next may start immediately.
        succeeded_at: End of the last run that reached the end of Apple's list, UTC.
        last_error: Text of the error that ended the last run; "" if none did.
        failures: Consecutive runs that ended with an error.
        not_before: Time before which Apple asked for no request, UTC; None if it did not.
        suspended: Why the token waits for an administrator; "" if it does not.
        suspended_with: ``Token.fingerprint`` of the suspended token; a renewed one has another.
        reminded_of: The expiry of which an administrator was last reminded, UTC.
        reminded_days: The reminder that was sent last, in days before that expiry.
        same_names: Names that several profiles in use share, and what uses them, in words.
        repeats: Consecutive runs that ended because Apple returned a cursor that was sent, with more to
            follow.
        ties: Serial numbers of devices whose details must be read to decide which record is newer
            (``fleet.order``); True if one of the two records says that the device is gone.
        listed_at: Start of the newest full list of which a page arrived, UTC.
        held_back: Number of devices that were missing from the newest list and whose release was held back; 0
            if none is. The changes are followed meanwhile.
        account_problem: How Apple's account differs from the server and the organization of the token; "" if
            it does not.
        assigning_since: Start of the assignment under way, UTC; if its worker died, Apple may have assigned
            profiles that no record shows.
        assignment_errors: The newest error by ``profile_uuid``, until the profile is assigned or not wanted.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    revision: int = 0
    phase: SyncPhase = SyncPhase.FETCH
    cursor: str | None = None
    full_sync: int = 0
    full_sync_at: datetime | None = None
    recovery_at: datetime | None = None
    listing_since: datetime | None = None
    unreadable: int = 0
    run_at: datetime | None = None
    running_since: datetime | None = None
    continues: bool = False
    succeeded_at: datetime | None = None
    last_error: str = ""
    failures: int = 0
    not_before: datetime | None = None
    suspended: str = ""
    suspended_with: str = ""
    reminded_of: datetime | None = None
    reminded_days: int = 0
    same_names: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    repeats: int = 0
    ties: Mapping[str, bool] = attrs.field(factory=dict, hash=False)
    assigning_since: datetime | None = None
    assignment_errors: Mapping[str, AssignmentFailure] = attrs.field(factory=dict, hash=False)
    listed_at: datetime | None = None
    held_back: int = 0
    account_problem: str = ""


def is_unlisted(record: DeviceRecord, state: SyncState) -> bool:
    """Return True if the full list that is complete now shows that *record* is no longer assigned.

    An event that is newer than the start of the list takes precedence over the list.
    """
    newer = (  # rule 2 of merging
        record.op_date is not None
        and state.listing_since is not None
        and record.op_date > state.listing_since
    )
    return not record.is_released and record.full_sync < state.full_sync and not newer


def is_shown(record: DeviceRecord, released: bool | None) -> bool:
    """Return True if *record* is not hidden, and released as *released* says; None accepts both."""
    return not record.is_hidden and (released is None or record.is_released == released)


def owner_of(records: Iterable[DeviceRecord]) -> DeviceRecord | None:
    """Return the record of the token to which a device belongs now, in whatever order they were synced.

    The newest assignment to a server decides, then the newest operation. A device that was moved is listed by
    its new server immediately, and stays in the old server's inventory until that one is synced. Deleting a
    device here does not move it.

    Args:
        records: The records of one serial number, of all tokens.

    Returns:
        None if all have released it, or there are none.
    """
    listed = (record for record in records if not record.is_released)
    return max(listed, key=_newest_assignment, default=None)  # rule 8 of merging


def _newest_assignment(record: DeviceRecord) -> tuple[datetime, datetime, datetime, str]:
    never = datetime.min.replace(tzinfo=UTC)
    assigned = record.device.device_assigned_date or never
    return (
        # A wrong date in the future must not decide for years.
        record.updated_at if assigned > record.updated_at + OLDEST_CHANGE else assigned,
        record.op_date or never,
        record.first_seen_at,
        record.token_name,
    )


def next_state(token_name: str, stored_revision: int, state: SyncState) -> SyncState:
    """Return *state* with the revision that follows the stored one.

    Raises:
        StoreConflictError: Another worker wrote since *state* was read.
    """
    if state.revision != stored_revision:
        raise StoreConflictError(
            f"the sync state of {token_name!r} has revision {stored_revision}, not {state.revision}: "
            "another worker changed it, read it again"
        )
    return attrs.evolve(state, revision=stored_revision + 1)


def finished_state(token_name: str, stored_revision: int, state: SyncState) -> SyncState:
    """Return the state after *state* when its full list is complete.

    Raises:
        StoreConflictError: As for ``next_state``.
        StoreError: *state* has no list under way, so that no device is known to be missing from it.
    """
    if state.listing_since is None:
        raise StoreError(f"no full list of {token_name!r} is under way: listing_since is None")
    return attrs.evolve(next_state(token_name, stored_revision, state), listing_since=None, unreadable=0)
