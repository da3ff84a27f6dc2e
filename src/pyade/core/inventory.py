"""What the store remembers about a device and about a token's sync, and how Apple's records change it.

The rules of this file, all pure:

1. Per serial the newest ``op_date`` wins, across pages and runs; on a tie the record that arrives later wins.
2. A fetch lists what is assigned at the start of the fetch and carries no operation: it never overwrites a
   newer event and never changes the stored operation date.
3. What Apple no longer lists is released, not deleted, and only after the last page of a full sync.
4. A newer event from Apple supersedes what pyade believes about its own assignment.
"""

from __future__ import annotations

import enum
from datetime import datetime

import attrs

from pyade.core.device import Device, DeviceResult, OpType


class Source(enum.StrEnum):
    """Where a device record came from; it decides what the record may change."""

    FETCH = "fetch"
    SYNC = "sync"
    DETAILS = "details"


@attrs.frozen(kw_only=True)
class Attempt:
    """The newest attempt to assign a profile to a device.

    Attributes:
        profile_uuid: The profile that was sent.
        result: What Apple did.
        attempted_at: When, UTC.
        not_before: No further attempt before this time, UTC; None if the next run may try.
    """

    profile_uuid: str
    result: DeviceResult
    attempted_at: datetime
    not_before: datetime | None = None


@attrs.frozen(kw_only=True)
class DeviceRecord:
    """A device as the store knows it.

    Attributes:
        token_name: The token through which the device is known.
        device: Apple's newest word.
        first_seen_at: When the store first heard of it, UTC.
        updated_at: When the store last changed it, UTC.
        op_date: Time of the newest operation that was applied, Apple's clock; None before the first one.
        released_at: Since when Apple no longer lists it, UTC; None while it is assigned to this server.
        full_sync: Number of the newest full sync that listed it; 0 if only events did.
        attempt: The newest attempt to assign a profile, until a newer event supersedes it.
    """

    token_name: str
    device: Device
    first_seen_at: datetime
    updated_at: datetime
    op_date: datetime | None = None
    released_at: datetime | None = None
    full_sync: int = 0
    attempt: Attempt | None = None

    @property
    def serial_number(self) -> str:
        """Apple's serial number."""
        return self.device.serial_number

    @property
    def is_released(self) -> bool:
        """True if Apple no longer lists the device for this server."""
        return self.released_at is not None


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
    """How many device records did what; ``UNCHANGED`` and ``STALE`` ones wrote nothing."""

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


class SyncPhase(enum.StrEnum):
    """What the cursor is for: a full list is being fetched (or is needed), or changes are followed."""

    FETCH = "fetch"
    SYNC = "sync"


@attrs.frozen(kw_only=True)
class SyncState:
    """Where a token's sync stands; committed together with each page.

    Attributes:
        revision: Counts the writes; a write of an older revision is refused.
        phase: What ``cursor`` is for.
        cursor: Apple's opaque position; None before the first page of a full list.
        full_sync: Number of the newest full sync or recovery fetch, finished or not.
        full_sync_at: Start of the newest full sync that counts toward the 7 days, UTC.
        recovery_at: Start of the newest recovery fetch (a full list because the cursor was lost), UTC.
        listing_since: Start of the full list under way, UTC; None when none is.
        run_at: Start of the last run that sent Apple a request, UTC.
        running_since: Start of the run under way, UTC; None between runs.
        continues: The last run ended at its time limit: the next may start at once.
        succeeded_at: End of the last run that reached the end of Apple's list, UTC.
        last_error: Text of the error that ended the last run; "" if none did.
    """

    revision: int = 0
    phase: SyncPhase = SyncPhase.FETCH
    cursor: str | None = None
    full_sync: int = 0
    full_sync_at: datetime | None = None
    recovery_at: datetime | None = None
    listing_since: datetime | None = None
    run_at: datetime | None = None
    running_since: datetime | None = None
    continues: bool = False
    succeeded_at: datetime | None = None
    last_error: str = ""


def merge(
    record: DeviceRecord | None,
    device: Device,
    *,
    token_name: str,
    source: Source,
    state: SyncState,
    now: datetime,
) -> tuple[DeviceRecord | None, Change]:
    """Return what *device* makes of *record*, and which change that is.

    Args:
        record: What the store holds; None if it has never heard of the serial.
        device: What Apple sent.
        token_name: The token whose server listed it.
        source: A page of a full list, a page of changes, or the details endpoint.
        state: The sync state that is committed with it: number and start of the full list.
        now: UTC.

    Returns:
        The record to store and the change; the same record (or None) where nothing is to be stored.
    """
    deleted = device.op_type == OpType.DELETED and source is not Source.DETAILS
    event_at = {Source.FETCH: None, Source.SYNC: device.op_date, Source.DETAILS: device.profile_assign_time}[source]
    if record is None:
        return _first_record(
            device, deleted=deleted, event_at=event_at, token_name=token_name, source=source, state=state, now=now
        )
    listed = state.full_sync if source is Source.FETCH else record.full_sync
    if _is_older(record, event_at, source=source, state=state):
        return (record if listed == record.full_sync else attrs.evolve(record, full_sync=listed)), Change.STALE
    news = _after_deletion(record.device, device) if deleted else _without_operation(device)
    if news == record.device and deleted == record.is_released and event_at in (None, record.op_date):
        return (record if listed == record.full_sync else attrs.evolve(record, full_sync=listed)), Change.UNCHANGED
    merged = attrs.evolve(
        record,
        device=news,
        op_date=max(filter(None, (record.op_date, event_at)), default=None),
        released_at=(record.released_at or now) if deleted else None,
        full_sync=listed,
        attempt=_attempt_after(record.attempt, deleted=deleted, source=source, state=state),
        updated_at=now,
    )
    if merged.is_released != record.is_released:
        return merged, Change.RELEASED if deleted else Change.RETURNED
    return merged, Change.MODIFIED


def is_unlisted(record: DeviceRecord, state: SyncState) -> bool:
    """Return True if a full list that is complete now has shown that *record* is no longer assigned.

    An event that is newer than the start of the list knows better than the list.
    """
    newer = record.op_date is not None and state.listing_since is not None and record.op_date > state.listing_since
    return not record.is_released and record.full_sync != state.full_sync and not newer


def _is_older(record: DeviceRecord, event_at: datetime | None, *, source: Source, state: SyncState) -> bool:
    if record.op_date is None or source is Source.DETAILS:
        return False
    if source is Source.FETCH:
        return state.listing_since is not None and record.op_date > state.listing_since
    return event_at is not None and event_at < record.op_date


def _first_record(
    device: Device,
    *,
    deleted: bool,
    event_at: datetime | None,
    token_name: str,
    source: Source,
    state: SyncState,
    now: datetime,
) -> tuple[DeviceRecord, Change]:
    # A deletion of an unknown serial is kept: an older "added" that comes later must not bring it back.
    record = DeviceRecord(
        token_name=token_name,
        device=_without_operation(device),
        first_seen_at=now,
        updated_at=now,
        op_date=event_at,
        released_at=now if deleted else None,
        full_sync=state.full_sync if source is Source.FETCH else 0,
    )
    return record, Change.RELEASED if deleted else Change.ADDED


def _without_operation(device: Device) -> Device:
    return attrs.evolve(device, op_type=None, op_date=None, response_status=None)


def _after_deletion(known: Device, deleted: Device) -> Device:
    """Keep what describes the hardware; a deletion ends everything that concerned the profile."""
    news = {
        name: value for name in _DESCRIPTIVE if (value := getattr(deleted, name)) is not None
    }
    return attrs.evolve(
        known,
        **news,
        profile_status=None,
        profile_uuid=None,
        profile_assign_time=None,
        profile_push_time=None,
        extra={**known.extra, **deleted.extra},
    )


def _attempt_after(
    attempt: Attempt | None, *, deleted: bool, source: Source, state: SyncState
) -> Attempt | None:
    if attempt is None or deleted:
        return None
    if source is Source.DETAILS:
        return attempt
    if source is Source.FETCH and (state.listing_since is None or attempt.attempted_at >= state.listing_since):
        return attempt
    # Apple's newer word decides, but a cooldown outlives it: trying earlier would extend it.
    return attempt if attempt.not_before is not None else None


_PROFILE_KEYS = {"profile_status", "profile_uuid", "profile_assign_time", "profile_push_time"}
_DESCRIPTIVE = tuple(
    field.name
    for field in attrs.fields(Device)
    if field.name not in {*_PROFILE_KEYS, "serial_number", "op_type", "op_date", "response_status", "extra"}
)
