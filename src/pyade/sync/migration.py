"""Which Macs must have moved to this server by when.

Source: Apple, device assignment, ``Device`` (``mdm_migration_deadline``, protocol version 8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from pyade.core.device_groups import DeviceGroup
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

    deadlines = deadlines_of(store.device_groups(token_name))
    groups = [group for group, ends in deadlines.items() if until is None or ends <= until]
    return tuple(sorted(store.devices(token_name, groups=groups), key=deadline))


def deadlines_of(groups: Iterable[DeviceGroup]) -> Mapping[DeviceGroup, datetime]:
    """Return the deadline, UTC, of each of *groups* that Apple lists and that has one."""
    return {
        group: group.migration_deadline
        for group in groups
        if group.is_listed and group.migration_deadline is not None
    }
