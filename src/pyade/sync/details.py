"""What a device's details settle: two operations in one second, and a device to bring back.

Apple's operations have a resolution of one second. Of two that share it, the one that arrives later wins;
the details endpoint, read after both, says what holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pyade.core.device import Device, DeviceResult, OpType
from pyade.core.inventory import Change, DeviceRecord, Source, SyncState, merge
from pyade.core.lease import Lease
from pyade.flow import Flow
from pyade.storage.protocol import Store
from pyade.sync.refresh import refresh_flow, result_of
from pyade.sync.steps import in_store

_DIFFERENT = (Change.MODIFIED, Change.RELEASED, Change.RETURNED)


def ties_of(
    records: Iterable[DeviceRecord],
    devices: Iterable[Device],
    *,
    token_name: str,
    state: SyncState,
    now: datetime,
) -> dict[str, bool]:
    """Return which serials have different operations in one second; True where one of them is a deletion.

    Args:
        records: What the store holds of the devices before the page.
        devices: A page of changes, in its order.
        token_name: The token.
        state: The state that is committed with the page.
        now: UTC.
    """
    known = {record.serial_number: record for record in records}
    ties: dict[str, bool] = {}
    for device in devices:
        serial = device.serial_number
        before = known.get(serial)
        after, change = merge(before, device, token_name=token_name, source=Source.SYNC, state=state, now=now)
        is_same_second = (
            before is not None and before.op_date is not None and before.op_date == device.op_date
        )
        if is_same_second and change in _DIFFERENT:
            ties[serial] = ties.get(serial, False) or change is not Change.MODIFIED
        if after is not None:
            known[serial] = after
    return ties


def read_ties(
    store: Store, token_name: str, devices: Sequence[Device], state: SyncState, now: datetime
) -> dict[str, bool]:
    """Return the ties of a page of changes with what *store* holds; see ``ties_of``."""
    if not devices:
        return {}
    serials = tuple({device.serial_number for device in devices})
    known = store.devices(token_name, serials=serials, released=None)
    return ties_of(known, devices, token_name=token_name, state=state, now=now)


def settled(
    details: Mapping[str, Device], ties: Mapping[str, bool], records: Mapping[str, DeviceRecord]
) -> tuple[list[Device], list[Device]]:
    """Return the details to store, and the deletions that they confirm, as Apple's operations.

    A device that the details do not show is believed to be gone only where a deletion is one of the two
    operations. What is not in *records* was deleted here, and stays so.
    """
    present = [
        details[serial]
        for serial in ties
        if serial in records and result_of(details[serial]) == DeviceResult.SUCCESS
    ]
    gone = [
        Device(serial_number=serial, op_type=OpType.DELETED, op_date=records[serial].op_date)
        for serial, has_deletion in ties.items()
        if has_deletion
        and details[serial].response_status == DeviceResult.NOT_ACCESSIBLE
        and serial in records
        and not records[serial].is_released
    ]
    return present, gone


def restore_flow(token_name: str, serial_number: str, lease: Lease) -> Flow[DeviceRecord | None]:
    """Return the device as Apple's details show it, stored; None if Apple does not show it to this token."""
    report = yield from refresh_flow(token_name, [serial_number], lease)
    if not report.is_complete:
        return None
    return (yield from in_store(lambda store: store.device(token_name, serial_number)))
