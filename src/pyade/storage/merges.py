"""Merge a page of Apple's records, or the outcomes of an assignment, into the rows of a token.

The rules of this file:

1. The result of a page is that of ``core.fleet.merging.merge_page``. Two kinds of records of a full list,
   which are nearly all of them, are recognized without creating objects: a device that is not stored, and one
   for which Apple sends exactly the stored bytes, if nothing else can have changed.
2. Apple's own bytes of a record are stored, if they decode to exactly the stored device. If only the bytes
   differ, the newer ones are stored, so that the next list recognizes them.
3. The result of attempts and details is that of ``core.fleet.merging.merge_attempts``. Devices that are equal
   in everything it reads, and for which the details contain something new, are merged once for all of them:
   one request changes a thousand devices in the same way.
4. Apple's own bytes of the details are stored, if they do not mention the request. If the details change
   nothing, the stored bytes stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any, TypeAlias

import attrs

from pyade.builders import documents
from pyade.core.fleet.device import Device, DeviceList, profile_fields, without_operation
from pyade.core.fleet.events import EventGroup, EventKind, attempt_groups
from pyade.core.fleet.groups import GROUPED_BY, group_of
from pyade.core.fleet.merging import merge_attempts, merge_page
from pyade.core.fleet.order import state_after_page
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import Change, ChangeCounts, DeviceRecord, Source, SyncState
from pyade.storage import tables
from pyade.storage.rows import LockedToken, batches
from pyade.storage.tables import ASSIGNED_DEVICES, NEW_DEVICES

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
        found = _SortedPage(new=range(len(serials)))
    else:
        known = {row[1]: row for row in locked.rows_of(dict.fromkeys(serials))}
        found = _sort_page(locked, page, known, state) if is_plain else _SortedPage(rest=range(len(serials)))
        locked.mark_listed([known[serials[index]][0] for index in found.listed], state.full_sync)
        locked.add_rows(_new_rows(locked, page, found.new, state, now), NEW_DEVICES)
    merged: list[tuple[str, str]] = []
    ties: dict[str, bool] = {}
    records = {
        serial: documents.decode_record(locked.name, known[serial][1:])
        for serial in dict.fromkeys(serials[index] for index in found.rest)
        if serial in known
    }
    changed, counts = merge_page(  # rule 1
        records,
        [devices[index] for index in found.rest],
        token_name=locked.name,
        source=source,
        state=state,
        now=now,
        changes=merged,
        ties=ties,
    )
    texts = _original_texts(page, found.rest, known, records, changed) if source is Source.FETCH else {}
    locked.save_devices(changed.values(), known, texts)
    following = state_after_page(state, ties, is_list=source is Source.FETCH)
    locked.save_state(following)
    added = [serials[index] for index in found.new]
    if found.rest:
        pairs = zip(found.new, zip(repeat(Change.ADDED), added), strict=True)
        in_order = sorted([*pairs, *zip(found.rest, merged, strict=True)])
        locked.emit_changes(now, [change for _, change in in_order])
    elif added:
        locked.emit(now, (EventGroup(EventKind.ADDED, tuple(added)),))
    return following, counts + ChangeCounts(added=len(found.new), unchanged=found.unchanged)


@attrs.frozen
class _Page:
    devices: Sequence[Device]
    texts: Sequence[str | None]


@attrs.frozen(kw_only=True)
class _SortedPage:
    """The records of a page, by index, sorted by how they are stored.

    Attributes:
        new: Devices that are not stored yet.
        listed: Devices without a change, except that this list shows them.
        rest: Records to merge.
        unchanged: How many are neither new nor merged.
    """

    new: Sequence[int] = ()
    listed: Sequence[int] = ()
    rest: Sequence[int] = ()
    unchanged: int = 0


def _may_be_new(page: _Page) -> bool:
    """Return True if each record of a page can be stored by its bytes, if the device is not stored."""
    return None not in page.texts and not any(map(_has_operation, page.devices))


def _is_stored_as_new(locked: LockedToken, page: _Page, state: SyncState, now: datetime) -> bool:
    """Store a page as new devices if all are new, as in a first list, without reading the table first."""
    if not page.devices or not _may_be_new(page):
        return False
    rows = _new_rows(locked, page, range(len(page.devices)), state, now)
    return locked.session.insert(NEW_DEVICES, rows)


def _sort_page(locked: LockedToken, page: _Page, known: Rows, state: SyncState) -> _SortedPage:
    """Sort the records of a full list, in which each device occurs once (rule 1)."""
    if not known and _may_be_new(page):
        return _SortedPage(new=range(len(page.devices)))
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
            and document == text  # rule 1
            and (op_date is None or since is None or documents.operation_date(locked.name, op_date) <= since)
        ):
            if full_sync != state.full_sync:
                listed.append(index)
        else:
            rest.append(index)
    unchanged = len(page.devices) - len(new) - len(rest)
    return _SortedPage(new=new, listed=listed, rest=rest, unchanged=unchanged)


def _has_operation(device: Device) -> bool:
    return device.op_type is not None or device.op_date is not None or device.response_status is not None


def _new_rows(
    locked: LockedToken, page: _Page, new: Sequence[int], state: SyncState, now: datetime
) -> list[tuple[Any, ...]]:
    """Return the rows of devices that are new in a full list, equal to those that ``merge_page`` makes."""
    devices = [page.devices[index] for index in new]
    keys = list(map(GROUPED_BY, devices))
    groups = {
        key: group_of(DeviceRecord(token_name=locked.name, device=device, first_seen_at=now, updated_at=now))
        for key, device in dict(zip(keys, devices, strict=True)).items()
    }
    ids = locked.group_ids(groups.values())
    id_of = {key: ids[group] for key, group in groups.items()}
    return list(
        zip(
            repeat(locked.id),
            map(id_of.__getitem__, keys),
            (device.serial_number for device in devices),
            repeat(now),
            repeat(state.full_sync),
            (page.texts[index] for index in new),
            locked.new_ids(),
            strict=False,
        )
    )


def _original_texts(
    page: _Page,
    rest: Sequence[int],
    known: Rows,
    records: Mapping[str, DeviceRecord],
    changed: dict[str, DeviceRecord],
) -> dict[str, str]:
    """Return Apple's bytes of merged records; add records to *changed* of which only they differ (rule 2)."""
    texts: dict[str, str] = {}
    for index in rest:
        device, text = page.devices[index], page.texts[index]
        serial = device.serial_number
        record = changed.get(serial) or records.get(serial)
        if text is None or record is None or _has_operation(device) or record.device != device:
            continue
        texts[serial] = text
        if serial not in changed and known[serial][4] != text:  # rule 2
            changed[serial] = record
    return texts


_UNCHANGED_FIELDS = ("full_sync", "op_date_sent", "released_at", "deleted_at")
"""The columns that ``ASSIGNED_DEVICES`` leaves out."""


def save_attempts(
    locked: LockedToken, attempts: Mapping[str, Attempt], details: Sequence[Device], now: datetime
) -> None:
    """Store *attempts*, and *details* read after them, in the transaction of *locked*, with their events."""
    texts = details.texts() if isinstance(details, DeviceList) else [None] * len(details)
    own = [
        text if device is found or text is None else documents.encode_read(found)  # rule 4
        for device, found, text in zip(details, map(without_operation, details), texts, strict=True)
    ]
    merging = _AttemptMerge(locked, attempts, details, own, locked.state(), now)
    merging.merge_each(merging.merge_alike())  # rule 3
    locked.emit(now, attempt_groups(merging.before, merging.after, attempts))


@attrs.define
class _AttemptMerge:
    """One call of ``save_attempts``.

    Attributes:
        locked: Row of the token.
        attempts: By serial number.
        details: Devices read after the attempts.
        texts: JSON to store for each of the details; None for one that was not read strictly.
        state: The stored sync state.
        now: UTC.
        before: The records before, by serial number; devices that were merged together share one.
        after: The records that were written, by serial number; shared in the same way.
    """

    locked: LockedToken
    attempts: Mapping[str, Attempt]
    details: Sequence[Device]
    texts: Sequence[str | None]
    state: SyncState
    now: datetime
    before: dict[str, DeviceRecord] = attrs.field(factory=dict)
    after: dict[str, DeviceRecord] = attrs.field(factory=dict)

    def merge_alike(self) -> dict[str, list[int]]:
        """Store what can be merged together; return the other serials with the indexes of their details."""
        rest: dict[str, list[int]] = {serial: [] for serial in self.attempts}
        for index, device in enumerate(self.details):
            rest.setdefault(device.serial_number, []).append(index)
        alike = [members for members in self._alike(rest) if len(members) > 1]
        firsts = {row[1]: row for row in self.locked.rows_of(serial for (serial, *_), *_ in alike)}
        merged = [
            (record, members)
            for members in alike
            if (record := self._merged(firsts[members[0][0]], members[0][2])) is not None
        ]
        ids = self.locked.group_ids({group_of(record) for record, _ in merged})
        rows: list[tuple[Any, ...]] = []
        for record, members in merged:
            group_id, before = ids[group_of(record)], self.before[record.serial_number]
            _, _, _, _, updated_at, op_date, *_, attempt = documents.record_row(record, "")
            texts = self.texts
            rows += [(group_id, texts[index], updated_at, op_date, attempt, id_) for _, id_, index in members]
            serials = [serial for serial, *_ in members]
            self.before |= dict.fromkeys(serials, before)
            self.after |= dict.fromkeys(serials, record)
        if rows:
            self.locked.session.update(ASSIGNED_DEVICES, rows)
        return {serial: places for serial, places in rest.items() if serial not in self.after}

    def _alike(self, places: Mapping[str, Sequence[int]]) -> Iterable[list[tuple[str, int, int]]]:
        """Return lists of devices that may be merged together: serial number, id, index of the details."""
        found: dict[Any, list[tuple[str, int, int]]] = {}
        for batch in batches([serial for serial, indexes in places.items() if len(indexes) == 1]):
            for row in self.locked.run(tables.SELECT_WITHOUT_DOCUMENT, (self.locked.id, list(batch))):
                serial, id_ = row[:2]
                (index,) = places[serial]
                attempt, device = self.attempts.get(serial), self.details[index]
                if attempt is None or self.texts[index] is None:
                    continue
                key = row[2:], id(attempt), profile_fields(device), GROUPED_BY(device)
                found.setdefault(key, []).append((serial, id_, index))
        return found.values()

    def _merged(self, row: tuple[Any, ...], index: int) -> DeviceRecord | None:
        """Return the merged record of one of several equal devices; None if it does not apply to the others.

        The details are new for all of them only if they differ from the group that the devices share.
        """
        before, device = documents.decode_record(self.locked.name, row[1:]), self.details[index]
        serial = before.serial_number
        after = self._merge({serial: before}, [serial], [device]).get(serial)
        stored = before.device
        if (
            after is None
            or (stored.profile_status, stored.profile_uuid) == (device.profile_status, device.profile_uuid)
            or after.device != without_operation(device)
            or any(getattr(after, name) != getattr(before, name) for name in _UNCHANGED_FIELDS)
        ):
            return None
        self.before[serial] = before
        return after

    def merge_each(self, places: Mapping[str, Sequence[int]]) -> None:
        """Merge and store each device on its own."""
        if not places:
            return
        known = {row[1]: row for row in self.locked.rows_of(places)}
        before = {serial: documents.decode_record(self.locked.name, row[1:]) for serial, row in known.items()}
        indexes = sorted(index for found in places.values() for index in found)
        after = self._merge(before, places, [self.details[index] for index in indexes])
        texts = {
            serial: known[serial][4]
            for serial, record in after.items()
            if serial in before and record.device is before[serial].device
        }
        for index in indexes:
            device, text = self.details[index], self.texts[index]
            serial = device.serial_number
            if text is not None and serial in after and after[serial].device == without_operation(device):
                texts[serial] = text
        self.locked.save_devices(after.values(), known, texts)
        self.before |= before
        self.after |= after

    def _merge(
        self, before: Mapping[str, DeviceRecord], serials: Iterable[str], details: Sequence[Device]
    ) -> dict[str, DeviceRecord]:
        attempts = {serial: self.attempts[serial] for serial in serials if serial in self.attempts}
        return merge_attempts(
            before, attempts, details, token_name=self.locked.name, state=self.state, now=self.now
        )
