"""To which token of the store each device belongs, where two of them know it.

Devices that no other token claims are not looked at: a store of many tokens names the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice

from pyade.core.device_groups import DeviceGroup, group_of
from pyade.core.inventory import DeviceRecord, owner_of
from pyade.storage.protocol import Store
from pyade.sync.damage import readable_records

_SLICE = 1_000


def owned_elsewhere(store: Store, token_name: str) -> Mapping[str, DeviceGroup]:
    """Return the devices that the token lists and that belong to another stored token now.

    Returns:
        The group of each in this token, by serial number.
    """
    serials = store.shared_serials(token_name)
    slices = (serials[start : start + _SLICE] for start in range(0, len(serials), _SLICE))
    return {
        record.serial_number: group_of(record)
        for part in slices
        for record in _lost_records(store, token_name, part)
    }


def with_owner(
    store: Store, token_name: str, records: Iterable[DeviceRecord]
) -> Iterator[tuple[DeviceRecord, bool]]:
    """Iterate lazily over *records* of the token, each with False if another token owns it now."""
    remaining = iter(records)
    while batch := list(islice(remaining, _SLICE)):
        serials = store.shared_serials(token_name, serials=[record.serial_number for record in batch])
        lost = {record.serial_number for record in _lost_records(store, token_name, serials)}
        yield from ((record, record.serial_number not in lost) for record in batch)


def _lost_records(store: Store, token_name: str, serials: Sequence[str]) -> Iterator[DeviceRecord]:
    """Yield the token's records of those *serials* that belong to another token."""
    claims = readable_records(store, serials) if serials else []
    for _, found in groupby(claims, key=lambda one: one.serial_number):
        known = tuple(found)
        owner = owner_of(known)
        if owner is not None and owner.token_name != token_name:
            yield from (record for record in known if record.token_name == token_name)
