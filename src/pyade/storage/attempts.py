"""Outcomes of requests for devices, merged into the rows of a token.

The rules of this file:

1. What attempts and details do is what ``core.inventory.merge_attempts`` says. Devices that are alike in all
   that it looks at, and of which the details say something new, are merged once for all of them: one request
   changes a thousand devices in the same way.
2. The store keeps Apple's own bytes of the details where they have no word on the request. Where the details
   change nothing it keeps those that it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from pyade.builders import stored as documents
from pyade.core.attempt import Attempt
from pyade.core.device import Device, without_operation
from pyade.core.device_details import said_of_profile
from pyade.core.device_groups import GROUPED_BY, group_of
from pyade.core.device_list import DeviceList
from pyade.core.events import attempt_groups
from pyade.core.inventory import DeviceRecord, SyncState, merge_attempts
from pyade.storage import statements as sql
from pyade.storage.rows import LockedToken, batches
from pyade.storage.schema import ASSIGNED_DEVICES

_UNTOUCHED = ("full_sync", "op_date_sent", "released_at", "deleted_at")
"""What ``ASSIGNED_DEVICES`` leaves out."""


def save_attempts(
    locked: LockedToken, attempts: Mapping[str, Attempt], details: Sequence[Device], now: datetime
) -> None:
    """Store *attempts*, and *details* read after them, in the transaction of *locked*, with their events."""
    texts = details.texts() if isinstance(details, DeviceList) else [None] * len(details)
    own = [
        text if device is found or text is None else documents.encode_read(found)
        for device, found, text in zip(details, map(without_operation, details), texts, strict=True)
    ]
    work = _Work(locked, attempts, details, own, locked.state(), now)
    work.merge_each(work.merge_alike())
    locked.emit(now, attempt_groups(work.before, work.after, attempts))


@attrs.define
class _Work:
    """One call of ``save_attempts``.

    Attributes:
        locked: Of the token.
        attempts: By serial number.
        details: Read after them.
        texts: What to keep of each of the details; None where one was not read strictly.
        state: The stored sync state.
        now: UTC.
        before: The records as they were, by serial number; devices that were merged together share one.
        after: The records that were written, likewise.
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
        """Store what can be merged together; return the other serials with the places of their details."""
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
        """Return the devices that may be merged together: serial number, id, and place of the details."""
        kinds: dict[Any, list[tuple[str, int, int]]] = {}
        for batch in batches([serial for serial, indexes in places.items() if len(indexes) == 1]):
            for row in self.locked.run(sql.SELECT_WITHOUT_DOCUMENT, (self.locked.id, list(batch))):
                serial, id_ = row[:2]
                (index,) = places[serial]
                attempt, device = self.attempts.get(serial), self.details[index]
                if attempt is None or self.texts[index] is None:
                    continue
                kind = row[2:], id(attempt), said_of_profile(device), GROUPED_BY(device)
                kinds.setdefault(kind, []).append((serial, id_, index))
        return kinds.values()

    def _merged(self, row: tuple[Any, ...], index: int) -> DeviceRecord | None:
        """Return what becomes of one of several devices that are alike; None if it may not of the others.

        That the details say something new is certain of all of them where their common group says otherwise.
        """
        before, device = documents.decode_record(self.locked.name, row[1:]), self.details[index]
        serial = before.serial_number
        after = self._merge({serial: before}, [serial], [device]).get(serial)
        stored = before.device
        if (
            after is None
            or (stored.profile_status, stored.profile_uuid) == (device.profile_status, device.profile_uuid)
            or after.device != without_operation(device)
            or any(getattr(after, name) != getattr(before, name) for name in _UNTOUCHED)
        ):
            return None
        self.before[serial] = before
        return after

    def merge_each(self, places: Mapping[str, Sequence[int]]) -> None:
        """Store what is merged device by device."""
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
