"""How Apple's records change what the store remembers of a device.

The rules of this file, all pure:

1. Per serial the newest record wins, across pages and runs (``fleet.order``). On a tie the record that
   arrives later wins, and the device's details decide later: ties are part of the state that is stored with
   their page.
2. A fetch lists what is assigned at the start of the fetch and carries no operation: it never overwrites a
   newer event and never changes the stored operation date. An event from before it changes nothing any more.
3. A device that Apple no longer lists is released, not deleted, and only after the last page of a full sync
   of which every record could be read.
4. A newer event from Apple supersedes what pyade stored about its own assignment, but not a cooldown.
5. A device's details are its state at the time of reading, if Apple gave any: they win over what was stored
   before the reading, pyade's own attempts included, never over what was stored after it. An attempt that
   Apple's newer record contradicts is kept as not confirmed and due: only it holds what was wanted.
6. A stored local timestamp in the future (the clock was set back) is never treated as newer.
7. A device that was deleted here while Apple lists it is hidden, not removed, so that the next ``modified``
   does not bring it back. A new ``added`` does, and so does a full list that began after the deletion.
8. Two tokens may know one device: it belongs to the one with the newest assignment, in whatever order they
   were synced (``records.owner_of``).

Stores load the stored records, call ``merge_page``, ``release`` or ``merge_attempts``, and write the result.

Source: Apple, device assignment, "Sync the list of devices" and "Get a list of devices"; that duplicates and
late events cross pages and runs, and that a tie within a second happens, is observed. Microsoft Intune, "Sync
managed devices", for deletion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from pyade.core.durations import CLOCK_TOLERANCE
from pyade.core.fleet.device import Device, DeviceResult, OpType, after_deletion, without_operation
from pyade.core.fleet.order import event_time, is_older_event, list_tie, sent_date, tie
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import Change, ChangeCounts, DeviceRecord, Source, SyncState


def merge(
    record: DeviceRecord | None,
    device: Device,
    *,
    token_name: str,
    source: Source,
    state: SyncState,
    now: datetime,
) -> tuple[DeviceRecord | None, Change]:
    """Return *record* as *device* changes it, and which change that is.

    Args:
        record: What the store holds; None if the serial is new to it.
        device: What Apple sent.
        token_name: The token whose server listed it.
        source: A page of a full list, a page of changes, or the details endpoint.
        state: The sync state that is committed with it: number and start of the full list.
        now: UTC.

    Returns:
        The record to store and the change; the same record (or None) if nothing is to be stored.
    """
    is_refused = source is Source.DETAILS and device.details_result != DeviceResult.SUCCESS
    if is_refused and not _is_deletion(device, source):
        return record, Change.UNCHANGED
    merged, change = _merge(record, device, token_name=token_name, source=source, state=state, now=now)
    if record is None or not record.is_hidden:  # rule 7
        return merged, change
    is_late = change is Change.STALE and source is Source.SYNC
    brings_back = not is_late and _brings_back(record, device, source=source, state=state, now=now)
    if brings_back and not merged.is_released:
        return attrs.evolve(merged, deleted_at=None, updated_at=now), Change.RETURNED
    return merged, Change.STALE if change is Change.STALE else Change.UNCHANGED


def _merge(
    record: DeviceRecord | None,
    device: Device,
    *,
    token_name: str,
    source: Source,
    state: SyncState,
    now: datetime,
) -> tuple[DeviceRecord, Change]:
    """Return what ``merge`` does for a device that was not deleted here."""
    deleted = _is_deletion(device, source)
    event_at = _event_time(record, device, source, now)
    # A device that its details show need not be in the newest list, if that was complete before.
    is_listed = source is Source.FETCH or (
        source is Source.DETAILS and not deleted and state.listing_since is None
    )
    if record is None:
        # A deletion of an unknown serial is kept: an older "added" that comes later must not bring it back.
        first = DeviceRecord(
            token_name=token_name,
            device=after_deletion(device, device) if deleted else without_operation(device),
            first_seen_at=now,
            updated_at=now,
            op_date=event_at,
            released_at=now if deleted else None,
            full_sync=state.full_sync if is_listed else 0,
            op_date_sent=_date_sent(None, device, source, now),
        )
        return first, Change.RELEASED if deleted else Change.ADDED
    listed = state.full_sync if is_listed else record.full_sync
    if _is_older(record, device, source=source, state=state, now=now):  # rules 1 and 2
        return _with(record, full_sync=listed), Change.STALE
    news = after_deletion(record.device, device) if deleted else without_operation(device)
    op_date = _latest(record.op_date, event_at)
    sent = _date_sent(record, device, source, now)
    attempt = _attempt_after(record.attempt, device, deleted=deleted, source=source, state=state, now=now)
    if op_date == record.op_date and deleted == record.is_released and news == record.device:
        # The same event again contains nothing new. A list that began after an attempt, or details, do, even
        # if they are equal.
        kept = record.attempt if source is Source.SYNC else attempt
        return _with(record, full_sync=listed, attempt=kept, op_date_sent=sent), Change.UNCHANGED
    merged = DeviceRecord(
        token_name=record.token_name,
        device=news,
        first_seen_at=record.first_seen_at,
        updated_at=now,
        op_date=op_date,
        released_at=(record.released_at or now) if deleted else None,
        full_sync=listed,
        attempt=attempt,
        deleted_at=record.deleted_at,
        op_date_sent=sent,
    )
    if merged.is_released != record.is_released:
        return merged, Change.RELEASED if deleted else Change.RETURNED
    return merged, Change.MODIFIED


def merge_page(
    records: Mapping[str, DeviceRecord],
    devices: Iterable[Device],
    *,
    token_name: str,
    source: Source,
    state: SyncState,
    now: datetime,
    changes: list[tuple[str, str]] | None = None,
    ties: dict[str, bool] | None = None,
) -> tuple[dict[str, DeviceRecord], ChangeCounts]:
    """Return *records* as *devices* change them, in their order.

    Args:
        records: What the store holds, by serial number, without serials that are new to it.
        devices: What Apple sent; one serial may occur several times.
        token_name: As for ``merge``.
        source: As for ``merge``.
        state: As for ``merge``.
        now: UTC.
        changes: Takes each change and its serial number, for ``fleet.events.change_groups``.
        ties: Takes the serial numbers whose order is in doubt, for ``fleet.order.state_after_page``.

    Returns:
        The records to write, by serial number, and the number of each change.
    """
    changed: dict[str, DeviceRecord] = {}
    counts: Counter[str] = Counter()
    for device in devices:
        serial = device.serial_number
        known = changed.get(serial) or records.get(serial)
        record, change = merge(known, device, token_name=token_name, source=source, state=state, now=now)
        counts[change.value] += 1
        if changes is not None:
            restored = change is Change.RETURNED and known is not None and known.is_hidden
            changes.append(("restored" if restored else change, serial))
        if ties is not None and (found := _tie(known, device, source, state, now)) is not None:  # rule 1
            ties[serial] = ties.get(serial, False) or found
        if record is not None and record is not known:
            changed[serial] = record
    return changed, ChangeCounts(**counts)


def release(record: DeviceRecord, now: datetime) -> DeviceRecord:
    """Return *record* after a complete full list without the device: as after a ``deleted`` event."""
    gone = after_deletion(record.device, Device(serial_number=record.serial_number))
    return attrs.evolve(record, device=gone, released_at=now, updated_at=now, attempt=None)  # rule 3


def delete(record: DeviceRecord, now: datetime) -> DeviceRecord | None:
    """Return *record* after it was deleted here: None if it is to be removed immediately."""
    if record.is_released:
        return None
    return record if record.is_hidden else attrs.evolve(record, deleted_at=now)  # rule 7


def merge_attempts(
    records: Mapping[str, DeviceRecord],
    attempts: Mapping[str, Attempt],
    details: Iterable[Device],
    *,
    token_name: str,
    state: SyncState,
    now: datetime,
) -> dict[str, DeviceRecord]:
    """Return *records* as attempts to assign, and the details that were read after them, change them.

    If a record from Apple was stored after the attempt was made, it is newer than both: the details are
    dropped, and of the attempt only a cooldown stays.

    Args:
        records: What the store holds, by serial number, without serials that are new to it.
        attempts: The attempts by serial number; those of unknown serials are ignored.
        details: What the details endpoint returned after them; a serial that only it knows becomes known.
        token_name: The token that was used.
        state: The stored sync state.
        now: UTC.

    Returns:
        The records to write, by serial number.
    """
    changed = dict(records)
    superseded = set()
    for serial, attempt in attempts.items():
        record = records.get(serial)
        # Rules 5 and 6: a time in the future was stored before the clock was set back, and is not newer.
        if record is not None and attempt.attempted_at < record.updated_at <= now + CLOCK_TOLERANCE:
            superseded.add(serial)
    for device in details:
        serial = device.serial_number
        if serial not in superseded:
            known = changed.get(serial)
            record, _ = merge(
                known, device, token_name=token_name, source=Source.DETAILS, state=state, now=now
            )
            if record is not None:
                # Only a request to restore it does so with a device that was deleted meanwhile.
                changed[serial] = _with(record, deleted_at=known.deleted_at if known else None)
    for serial, attempt in attempts.items():
        if serial in changed and (serial not in superseded or attempt.not_before is not None):
            before = records[serial].attempt if serial in records else None
            changed[serial] = _with(changed[serial], attempt=attempt.after(before))
    return {serial: record for serial, record in changed.items() if record is not records.get(serial)}


def _is_deletion(device: Device, source: Source) -> bool:
    """Return True if Apple reports that the device is gone; details do so after a deletion was announced."""
    is_confirmed = source is not Source.DETAILS or device.response_status == DeviceResult.NOT_ACCESSIBLE
    return device.op_type == OpType.DELETED and is_confirmed


def _event_time(
    record: DeviceRecord | None, device: Device, source: Source, now: datetime
) -> datetime | None:
    if source is Source.SYNC:
        return event_time(record, device, now)
    at = device.profile_assign_time if source is Source.DETAILS else None
    return None if at is None or at > now + CLOCK_TOLERANCE else at


def _date_sent(record: DeviceRecord | None, device: Device, source: Source, now: datetime) -> datetime | None:
    if source is Source.SYNC:
        return sent_date(record, device, now)
    # A list that is newer than the operation replaces it.
    return None if record is None or source is Source.FETCH else record.op_date_sent


def _is_older(
    record: DeviceRecord, device: Device, *, source: Source, state: SyncState, now: datetime
) -> bool:
    if source is Source.SYNC:
        return is_older_event(record, device, state, now)
    if record.op_date is None or source is Source.DETAILS:  # rule 5
        return False
    return state.listing_since is not None and record.op_date > state.listing_since  # rule 2


def _tie(
    record: DeviceRecord | None, device: Device, source: Source, state: SyncState, now: datetime
) -> bool | None:
    if source is Source.SYNC:
        return tie(record, device, state, now)
    return list_tie(record, device, state) if source is Source.FETCH else None


def _brings_back(
    record: DeviceRecord, device: Device, *, source: Source, state: SyncState, now: datetime
) -> bool:
    if source is Source.DETAILS:
        return True
    deleted_at = record.deleted_at
    if source is Source.FETCH:
        return (
            deleted_at is not None
            and state.listing_since is not None
            and (state.listing_since > deleted_at or deleted_at > now + CLOCK_TOLERANCE)  # rule 6
        )
    if device.op_type != OpType.ADDED:
        return False
    # The event that the store knew before the deletion may come again: it contains nothing new.
    known_at, event_at = record.op_date, event_time(record, device, now)
    return record.is_released or known_at is None or event_at is None or event_at > known_at


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)


def _with(record: DeviceRecord, **changes: Any) -> DeviceRecord:
    """Return *record* with *changes*; the same object if nothing differs, so that nothing is written."""
    if all(getattr(record, name) == value for name, value in changes.items()):
        return record
    return attrs.evolve(record, **changes)


def _attempt_after(
    attempt: Attempt | None,
    device: Device,
    *,
    deleted: bool,
    source: Source,
    state: SyncState,
    now: datetime,
) -> Attempt | None:
    if attempt is None or deleted:
        return None
    if source is Source.DETAILS:
        return attempt.not_confirmed() if attempt.is_contradicted_by(device) else attempt  # rule 5
    # Rule 6: an attempt in the future was made before the clock was set back, and is older than the list.
    if source is Source.FETCH and (
        state.listing_since is None or state.listing_since <= attempt.attempted_at <= now + CLOCK_TOLERANCE
    ):
        return attempt
    # Rule 4: Apple's newer record decides, but a cooldown stays: trying earlier would extend it.
    if attempt.not_before is not None:
        return attempt
    return None if attempt.agrees_with(device) else attempt.not_confirmed()
