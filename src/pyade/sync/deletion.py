"""Delete single devices here; nothing changes at Apple.

Source: specification, "Sync restrictions": a device that is deleted without being unassigned comes back with
the next full sync, and released devices may be deleted one by one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import attrs

from pyade.apple.flows import distinct
from pyade.errors import DamagedRecordError
from pyade.flow import Flow, Now, ask
from pyade.storage.protocol import Store
from pyade.sync.report import counted, some
from pyade.sync.steps import in_store
from pyade.text import Printed

_SLICE: Final = 100


class Deletion(enum.StrEnum):
    """What became of a device that was to be deleted.

    Attributes:
        HIDDEN: Apple still lists it, so it is kept out of sight here until the next full sync, or until its
            details are asked for.
        PURGED: It was released, or its record could not be read: it is removed.
        UNKNOWN: The token has no such device; nothing was done.
    """

    HIDDEN = "hidden"
    PURGED = "purged"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class DeletionReport(Printed):
    """What a deletion did; ``print`` shows it.

    Attributes:
        token_name: The token.
        results: What became of each device, in the order in which they were named.
    """

    token_name: str
    results: Mapping[str, Deletion] = attrs.field(hash=False)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The serial numbers that the token has no device of."""
        return self.serials(Deletion.UNKNOWN)

    @property
    def is_complete(self) -> bool:
        """True if every device that was named is deleted."""
        return not self.unknown

    def serials(self, *wanted: Deletion) -> tuple[str, ...]:
        """Return the serial numbers with one of these results."""
        return tuple(serial for serial, result in self.results.items() if result in wanted)

    def _words(self) -> list[str]:
        hidden, purged = len(self.serials(Deletion.HIDDEN)), len(self.serials(Deletion.PURGED))
        lines = [f"{self.token_name}: {counted(hidden + purged, 'device')} deleted here"]
        if hidden:
            lines.append(f"  {hidden:,} hidden until the next full sync, as Apple still lists them")
        if purged:
            lines.append(f"  {purged:,} purged")
        if self.unknown:
            lines.append(
                f"  {len(self.unknown):,} unknown: {some([repr(serial) for serial in self.unknown])}"
            )
        return lines


def delete_flow(token_name: str, serials: Iterable[str]) -> Flow[DeletionReport]:
    """Delete each of *serials*, and say what became of it."""
    wanted = distinct("delete devices", serials)
    results: dict[str, Deletion] = {}
    now = yield from ask(Now())
    for start in range(0, max(len(wanted), 1), _SLICE):
        some = wanted[start : start + _SLICE]
        results |= yield from in_store(partial(_delete, token_name=token_name, serials=some, now=now))
    return DeletionReport(token_name=token_name, results=results)


def _delete(store: Store, token_name: str, serials: Sequence[str], now: datetime) -> dict[str, Deletion]:
    store.sync_state(token_name)  # also without devices a token that is not stored is told
    found: dict[str, Deletion] = {}
    for serial in serials:
        found[serial] = _fate(store, token_name, serial)
        if found[serial] is not Deletion.UNKNOWN:
            store.delete_device(token_name, serial, now=now)
    return found


def _fate(store: Store, token_name: str, serial: str) -> Deletion:
    try:
        record = store.device(token_name, serial)
    except DamagedRecordError:
        return Deletion.PURGED  # to delete it is the way to get it anew from Apple
    if record is None:
        return Deletion.UNKNOWN
    return Deletion.PURGED if record.is_released else Deletion.HIDDEN
