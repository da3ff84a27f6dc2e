"""A table of devices, for a notebook and for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.fleet.assignment import Risk
from pyade.core.fleet.records import DeviceRecord
from pyade.text import MAX_ROWS, Printed, Table, cut, pluralize

_HEADS = ("serial number", "model", "asset tag", "profile", "profile id", "state", "at risk because")


@attrs.frozen(kw_only=True, repr=False)
class DeviceTable(Printed):
    """The first devices of a list; a table as text and in a notebook. ``device_table`` makes it.

    Attributes:
        heads: The names of the columns; columns without a value are left out.
        rows: The first devices, each with a text for each column.
        total: How many devices the whole list has.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int

    def _words(self) -> list[str]:
        table = (self.heads, *self.rows) if self.rows else ()
        widths = [max(len(cut(row[at], 30)) for row in table) for at in range(len(self.heads))]
        lines = [pluralize(self.total, "device")]
        for row in table:
            cells = (f"{cut(cell, 30):<{width}}" for cell, width in zip(row, widths, strict=True))
            lines.append(cut("  ".join(cells).rstrip(), 110))
        if more := self.total - len(self.rows):
            lines.append(f"and {more:,} more")
        return lines

    def _tables(self) -> Iterator[Table]:
        yield Table(pluralize(self.total, "device"), self.heads, self.rows, self.total)


@check_arguments
def device_table(devices: Iterable[DeviceRecord | tuple[DeviceRecord, Risk]]) -> DeviceTable:
    """Return a table of the first 50 of *devices*, for people to look at.

    Args:
        devices: What ``Store.devices`` and ``Assigner.devices_at_risk`` return, or pairs of a record and a
            risk, as ``risks`` returns them. All are read, to count them, and the first ones kept.

    Returns:
        The table; it prints, and a notebook shows it.
    """
    found = iter(devices)
    rows = [_row(one) for one in islice(found, MAX_ROWS)]
    total = len(rows) + sum(1 for _ in found)
    used = [at for at in range(len(_HEADS)) if not at or any(row[at] for row in rows)]
    return DeviceTable(
        heads=tuple(_HEADS[at] for at in used) if rows else (),
        rows=tuple(tuple(row[at] for at in used) for row in rows),
        total=total,
    )


def _row(one: DeviceRecord | tuple[DeviceRecord, Risk]) -> tuple[str, ...]:
    record, risk = (one, "") if isinstance(one, DeviceRecord) else one
    device = record.device
    state = "hidden" if record.is_hidden else "released" if record.is_released else ""
    return (
        device.serial_number,
        device.model or "",
        device.asset_tag or "",
        str(device.profile_status or ""),
        device.profile_uuid or "",
        state,
        str(risk),
    )
