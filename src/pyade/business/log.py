"""The log of an activity: a CSV file with a preamble, one row per device.

What stands before the row with ``serial_number`` is skipped. Rows have different lengths, cells have blanks
around them, and columns come in any order.

Source: observed; Apple documents that there is a log and not what is in it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from pyade.core.activity import DeviceOutcome, OperationStatus

MAX_LOG_BYTES = 4 * 1024 * 1024
"""How long a log may be; one of 1,000 devices has some hundred kilobytes."""

MAX_DEVICES = 10_000
"""Devices of one activity at most; Apple takes 1,000."""

_SERIAL, _STATUS, _SUB_STATUS = "serial_number", "operation_status", "operation_substatus"


def read_log(content: bytes, activity_id: str | None = None) -> Mapping[str, DeviceOutcome] | None:
    """Return what the log says about each serial number; None if it is not such a log, or cannot be read.

    It is read whole or not at all: a device whose row cannot be read must not look as if it were not
    mentioned. Of several rows of one device the worst counts.

    Args:
        content: The file, at most 4 MiB and 10,000 devices.
        activity_id: What the log is of.
    """
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", errors="replace", newline="")
        rows = csv.reader(text)
        columns: dict[str, int] | None = None
        found: dict[str, DeviceOutcome] = {}
        for row in rows:
            cells = [cell.strip() for cell in row]
            if columns is None:
                names = [cell.lower() for cell in cells]
                if _SERIAL in names and _STATUS in names:
                    columns = {name: index for index, name in enumerate(names)}
                continue
            serial, status, sub_status = (
                _cell(cells, columns, name) for name in (_SERIAL, _STATUS, _SUB_STATUS)
            )
            before = found.get(serial)
            if serial and (before is None or before.is_done):
                result = OperationStatus(status or OperationStatus.MISSING)
                found[serial] = DeviceOutcome(result, sub_status, activity_id)
                if len(found) > MAX_DEVICES:
                    return None
    except csv.Error:
        return None
    return None if columns is None else found


def _cell(cells: list[str], columns: Mapping[str, int], name: str) -> str:
    index = columns.get(name, len(cells))
    return cells[index] if index < len(cells) else ""
