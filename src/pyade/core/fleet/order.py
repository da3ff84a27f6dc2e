"""Decide which of two records of a device from Apple is newer, and when that is in doubt.

The rules of this file:

1. An event has Apple's own date. A full list is as old as its start, by our clock: what it shows, and that a
   device is missing from it, is newer than an event from before.
2. A device was assigned to this server at its ``device_assigned_date``: an event from before is older.
3. A date more than five minutes in the future, or older than any change that a cursor can return, cannot be
   right. The date is then compared as the time of arrival plus five minutes at most; Apple's own date is kept
   beside it.
4. A record that differs from the stored one, and whose order is in doubt, is a *tie*: the device's details
   must be read. The order is in doubt with dates of the same second, with a list that started within the
   tolerance of two clocks, with a date that cannot be right, and without a date.

Source: Apple, device assignment, "Sync the list of devices", for the date that decides, and for cursors that
are valid for 7 days; that records come again in later syncs, that seconds are equal, and that wrong dates
occur, is observed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import attrs

from pyade.core.durations import CLOCK_TOLERANCE
from pyade.core.fleet.device import Device, OpType, without_operation
from pyade.core.fleet.records import OLDEST_CHANGE, DeviceRecord, SyncState

MAX_TIES = 10_000
"""The most ties that are kept; the next full list settles the rest."""


def is_implausible(at: datetime, now: datetime) -> bool:
    """Return True if a change that arrives *now* cannot have happened *at* that time."""
    return at > now + CLOCK_TOLERANCE or at < now - OLDEST_CHANGE


def implausible_dates(devices: Iterable[Device], now: datetime) -> dict[str, datetime]:
    """Return the dates in a page of changes that cannot be right, by serial number; it arrived at *now*."""
    return {
        device.serial_number: device.op_date
        for device in devices
        if device.op_date is not None and is_implausible(device.op_date, now)
    }


def event_time(record: DeviceRecord | None, device: Device, now: datetime) -> datetime | None:
    """Return the time by which an event is compared; None if Apple gave it none.

    The same wrong date means the same event, whenever it arrives again.
    """
    if device.op_date is None:
        return None
    if record is not None and record.op_date_sent == device.op_date:
        return record.op_date
    return min(device.op_date, now + CLOCK_TOLERANCE)  # rule 3


def sent_date(record: DeviceRecord | None, device: Device, now: datetime) -> datetime | None:
    """Return ``op_date_sent`` of *record* after an event that was applied."""
    if device.op_date is None:
        return None if record is None else record.op_date_sent
    return device.op_date if is_implausible(device.op_date, now) else None  # rule 3


def is_older_event(record: DeviceRecord, device: Device, state: SyncState, now: datetime) -> bool:
    """Return True if an event of *device* is older than *record*."""
    at = event_time(record, device, now)
    if at is None:
        return False
    known = (record.op_date, _list_start(record, state), _assigned(record, now))  # rules 1 and 2
    return any(one is not None and at < one for one in known)


def tie(record: DeviceRecord | None, device: Device, state: SyncState, now: datetime) -> bool | None:
    """Return whether *record* and *device* are a tie (rule 4); None if it is certain which one is newer.

    Args:
        record: As it was before the event; None if the serial was unknown.
        device: The event, as Apple sent it.
        state: The sync state with which it is stored.
        now: When it arrived, UTC.

    Returns:
        For a tie, True if one of the two says that the device is gone, False if neither does.
    """
    at = event_time(record, device, now)
    has_wrong_date = device.op_date is not None and is_implausible(device.op_date, now)
    if record is None:
        # Rule 1: a device that is missing from a list newer than the event is gone.
        start = _newest_list(state)
        is_before_list = at is not None and start is not None and at <= start + CLOCK_TOLERANCE
        return True if not _is_deletion(device) and (has_wrong_date or is_before_list) else None
    if record.is_hidden or not _differs(record, device):
        return None
    is_certain = (  # rule 4
        at is not None
        and not has_wrong_date
        and (_is_older_than_operation(record, at) or not _is_near(record, at, state, now))
    )
    return None if is_certain else _is_deletion(device) != record.is_released


def list_tie(record: DeviceRecord | None, device: Device, state: SyncState) -> bool | None:
    """Return for the record of a full list what ``tie`` returns for an event."""
    start = state.listing_since
    if record is None or record.is_hidden or record.op_date is None or start is None:
        return None
    if not _differs(record, device) or abs(record.op_date - start) > CLOCK_TOLERANCE:
        return None
    return _is_deletion(device) != record.is_released


def state_after_page(state: SyncState, ties: Mapping[str, bool], *, is_list: bool) -> SyncState:
    """Return *state* as it is stored with a page.

    Args:
        state: The state after the page.
        ties: Serial numbers of the page whose order is in doubt, as ``fleet.merging.merge_page`` found them.
        is_list: True for a page of a full list, whose start is remembered.
    """
    if is_list and state.listing_since not in (None, state.listed_at):
        state = attrs.evolve(state, listed_at=state.listing_since)
    known = dict(state.ties)
    for serial, has_deletion in ties.items():
        if serial in known or len(known) < MAX_TIES:
            known[serial] = has_deletion or known.get(serial, False)
    return state if known == state.ties else attrs.evolve(state, ties=known)


def _is_deletion(device: Device) -> bool:
    return device.op_type == OpType.DELETED


def _differs(record: DeviceRecord, device: Device) -> bool:
    deleted = _is_deletion(device)
    return deleted != record.is_released or (not deleted and without_operation(device) != record.device)


def _is_older_than_operation(record: DeviceRecord, at: datetime) -> bool:
    return record.op_date is not None and record.op_date_sent is None and at < record.op_date


def _newest_list(state: SyncState) -> datetime | None:
    return state.listing_since or state.listed_at


def _list_start(record: DeviceRecord, state: SyncState) -> datetime | None:
    """Return the start of the newest list if that decides on *record*, in whole seconds as Apple's dates."""
    start = _newest_list(state)
    if start is None or not (_is_listed(record, state) or record.is_released):
        return None
    return start.replace(microsecond=0)


def _is_listed(record: DeviceRecord, state: SyncState) -> bool:
    return 0 < record.full_sync == state.full_sync


def _is_near(record: DeviceRecord, at: datetime, state: SyncState, now: datetime) -> bool:
    """Return True if an event at that time may be older or newer than *record*: rule 4."""
    if at in (record.op_date, _assigned(record, now)):
        return True
    if record.op_date_sent is not None and record.op_date is not None and at < record.op_date:
        return True
    start = _newest_list(state)
    if start is None:
        return False
    # The device is missing from a list that may not have been complete: every earlier event is in doubt.
    oldest = start - CLOCK_TOLERANCE if _is_listed(record, state) else at
    return oldest <= at <= start + CLOCK_TOLERANCE


def _assigned(record: DeviceRecord, now: datetime) -> datetime | None:
    at = record.device.device_assigned_date
    return None if at is None or at > now + CLOCK_TOLERANCE else at  # rule 3
