"""Which Macs must have moved to this server by when.

Source: Apple, device assignment, ``Device`` (``mdm_migration_deadline``, protocol version 8).
"""

from __future__ import annotations

from datetime import UTC, datetime

from pyade.core.inventory import DeviceRecord
from pyade.core.kinds import checks_kinds
from pyade.storage.protocol import Store


@checks_kinds
def migration_deadlines(
    store: Store, token_name: str, *, until: datetime | None = None
) -> tuple[DeviceRecord, ...]:
    """Return the devices that have a migration deadline, the most urgent first.

    A deadline that has passed is among them and proves nothing: only an enrollment here shows that the device
    moved. ``check_existing_mac`` says what a Mac still needs.

    Args:
        store: Where the devices are.
        token_name: The token.
        until: Only deadlines up to this time, UTC; None for all.
    """

    def deadline(record: DeviceRecord) -> datetime:
        return record.device.mdm_migration_deadline or datetime.max.replace(tzinfo=UTC)

    found = (r for r in store.devices(token_name) if r.device.mdm_migration_deadline is not None)
    return tuple(sorted((r for r in found if until is None or deadline(r) <= until), key=deadline))
