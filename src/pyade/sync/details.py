"""What a device's details settle: words of Apple's whose order is in doubt, and a device to bring back.

``core.order`` says which these are. The details endpoint, read after both words, says what holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyade.core.device import Device, DeviceResult, OpType
from pyade.core.inventory import DeviceRecord
from pyade.core.lease import Lease
from pyade.flow import Flow
from pyade.sync.refresh import refresh_flow, result_of
from pyade.sync.steps import in_store


def settled(
    details: Mapping[str, Device], ties: Mapping[str, bool], records: Mapping[str, DeviceRecord]
) -> list[Device]:
    """Return the details to store, those of a device that is gone as a deletion that they confirm.

    A device that the details do not show is believed to be gone only where one of the two words says so. What
    is not in *records* was deleted here, and stays so.
    """
    found = []
    for serial, has_deletion in ties.items():
        if serial not in records:
            continue
        device = details[serial]
        if result_of(device) == DeviceResult.SUCCESS:
            found.append(device)
        elif has_deletion and device.response_status == DeviceResult.NOT_ACCESSIBLE:
            found.append(
                Device(serial_number=serial, op_type=OpType.DELETED, response_status=device.response_status)
            )
    return found


def restore_flow(token_name: str, serial_number: str, lease: Lease) -> Flow[DeviceRecord | None]:
    """Return the device as Apple's details show it, stored; None if Apple does not show it to this token."""
    report = yield from refresh_flow(token_name, [serial_number], lease)
    if not report.is_complete:
        return None
    return (yield from in_store(lambda store: store.device(token_name, serial_number)))
