"""A page of Apple's records, merged into the rows of a token.

The rules of this file:

1. What a page does is what ``core.inventory.merge_page`` says. Two kinds of records of a full list, which are
   nearly all of them, are told without making objects: a device that the store has never heard of, and one of
   which Apple sends the very bytes that are stored, where nothing else can have changed.
2. Where a record says exactly what is stored of the device, the store keeps its own bytes. Where only the
   bytes differ the newer ones are stored, so that the next list finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any, TypeAlias

import attrs

from pyade.builders import stored as documents
from pyade.core.device import Device
from pyade.core.device_groups import GROUPED_BY, group_of
from pyade.core.device_list import DeviceList
from pyade.core.events import EventGroup, EventKind
from pyade.core.inventory import Change, ChangeCounts, DeviceRecord, Source, SyncState, merge_page
from pyade.core.order import state_after_page
from pyade.storage.rows import LockedToken
from pyade.storage.schema import NEW_DEVICES

Rows: TypeAlias = Mapping[str, tuple[Any, ...]]
"""What ``TokenRow.rows_of`` yields, by serial number."""


def save_page(
    locked: LockedToken, devices: Sequence[Device], *, source: Source, state: SyncState, now: datetime
) -> tuple[SyncState, ChangeCounts]:
    """Store *devices* and *state* in the transaction of *locked*; returns what ``Store.commit_page`` does."""
    page = _Page(devices, devices.texts() if isinstance(devices, DeviceList) else [None] * len(devices))
    serials = [device.serial_number for device in devices]
    is_plain = source is Source.FETCH and len(set(serials)) == len(serials)
    known: Rows = {}
    if is_plain and state.full_sync == 1 and _is_stored_as_new(locked, page, state, now):
        sorts = _Sorts(new=range(len(serials)))
    else:
        known = {row[1]: row for row in locked.rows_of(dict.fromkeys(serials))}
        sorts = _sort(locked, page, known, state) if is_plain else _Sorts(rest=range(len(serials)))
        locked.mark_listed([known[serials[index]][0] for index in sorts.listed], state.full_sync)
        locked.add_rows(_new_rows(locked, page, sorts.new, state, now), NEW_DEVICES)
    merged: list[tuple[str, str]] = []
    ties: dict[str, bool] = {}
    records = {
        serial: documents.decode_record(locked.name, known[serial][1:])
        for serial in dict.fromkeys(serials[index] for index in sorts.rest)
        if serial in known
    }
    changed, counts = merge_page(
        records,
        [devices[index] for index in sorts.rest],
        token_name=locked.name,
        source=source,
        state=state,
        now=now,
        changes=merged,
        ties=ties,
    )
    texts = _own_texts(page, sorts.rest, known, records, changed) if source is Source.FETCH else {}
    locked.save_devices(changed.values(), known, texts)
    following = state_after_page(state, ties, is_list=source is Source.FETCH)
    locked.save_state(following)
    added = [serials[index] for index in sorts.new]
    if sorts.rest:
        pairs = zip(sorts.new, zip(repeat(Change.ADDED), added), strict=True)
        in_order = sorted([*pairs, *zip(sorts.rest, merged, strict=True)])
        locked.emit_changes(now, [change for _, change in in_order])
    elif added:
        locked.emit(now, (EventGroup(EventKind.ADDED, tuple(added)),))
    return following, counts + ChangeCounts(added=len(sorts.new), unchanged=sorts.unchanged)


@attrs.frozen
class _Page:
    devices: Sequence[Device]
    texts: Sequence[str | None]


@attrs.frozen(kw_only=True)
class _Sorts:
    """The records of a page by their index: what each of them takes.

    Attributes:
        new: Devices that the store has never heard of.
        listed: Devices of which nothing is new but that this list shows them.
        rest: What is merged.
        unchanged: How many are neither new nor merged.
    """

    new: Sequence[int] = ()
    listed: Sequence[int] = ()
    rest: Sequence[int] = ()
    unchanged: int = 0


def _may_be_new(page: _Page) -> bool:
    """Return True if each record of a page is told by its bytes where the store does not know the device."""
    return None not in page.texts and not any(map(_has_operation, page.devices))


def _is_stored_as_new(locked: LockedToken, page: _Page, state: SyncState, now: datetime) -> bool:
    """Store a page as new devices if all of them are, as in a first list, without asking what is stored."""
    if not page.devices or not _may_be_new(page):
        return False
    rows = _new_rows(locked, page, range(len(page.devices)), state, now)
    return locked.session.insert(NEW_DEVICES, rows)


def _sort(locked: LockedToken, page: _Page, known: Rows, state: SyncState) -> _Sorts:
    """Sort the records of a full list, each of another device (rule 1)."""
    if not known and _may_be_new(page):
        return _Sorts(new=range(len(page.devices)))
    new: list[int] = []
    listed: list[int] = []
    rest: list[int] = []
    since = state.listing_since
    for index, (device, text) in enumerate(zip(page.devices, page.texts, strict=True)):
        row = known.get(device.serial_number)
        if row is None:
            (rest if text is None or _has_operation(device) else new).append(index)
            continue
        _, _, _, full_sync, document, _, op_date, sent, released_at, deleted_at, attempt = row
        if (
            released_at is deleted_at is attempt is sent is None
            and document == text
            and (op_date is None or since is None or documents.operation_date(locked.name, op_date) <= since)
        ):
            if full_sync != state.full_sync:
                listed.append(index)
        else:
            rest.append(index)
    unchanged = len(page.devices) - len(new) - len(rest)
    return _Sorts(new=new, listed=listed, rest=rest, unchanged=unchanged)


def _has_operation(device: Device) -> bool:
    return device.op_type is not None or device.op_date is not None or device.response_status is not None


def _new_rows(
    locked: LockedToken, page: _Page, new: Sequence[int], state: SyncState, now: datetime
) -> list[tuple[Any, ...]]:
    """Return the rows of devices that a full list shows for the first time, as ``merge`` makes them."""
    devices = [page.devices[index] for index in new]
    kinds = list(map(GROUPED_BY, devices))
    groups = {
        kind: group_of(DeviceRecord(token_name=locked.name, device=device, first_seen_at=now, updated_at=now))
        for kind, device in dict(zip(kinds, devices, strict=True)).items()
    }
    ids = locked.group_ids(groups.values())
    by_kind = {kind: ids[group] for kind, group in groups.items()}
    return list(
        zip(
            repeat(locked.id),
            map(by_kind.__getitem__, kinds),
            (device.serial_number for device in devices),
            repeat(now),
            repeat(state.full_sync),
            (page.texts[index] for index in new),
            locked.new_ids(),
            strict=False,
        )
    )


def _own_texts(
    page: _Page,
    rest: Sequence[int],
    known: Rows,
    records: Mapping[str, DeviceRecord],
    changed: dict[str, DeviceRecord],
) -> dict[str, str]:
    """Return the own bytes of what was merged; add to *changed* where only they differ (rule 2)."""
    texts: dict[str, str] = {}
    for index in rest:
        device, text = page.devices[index], page.texts[index]
        serial = device.serial_number
        record = changed.get(serial) or records.get(serial)
        if text is None or record is None or _has_operation(device) or record.device != device:
            continue
        texts[serial] = text
        if serial not in changed and known[serial][4] != text:
            changed[serial] = record
    return texts
