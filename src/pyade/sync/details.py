"""Read what Apple knows about named devices now, and store it: refresh, restore, and resolve ties.

A tie is a device with two records whose order is in doubt (``core.fleet.order``). The details, read after
both, say which one is true.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import islice
from typing import ClassVar

import attrs

from pyade.apple import calls
from pyade.apple.batches import chunks, distinct
from pyade.apple.http.calls import SendCall
from pyade.core.exports import Exportable
from pyade.core.fleet.device import Device, DeviceResult, OpType
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.outcomes import DeviceResults
from pyade.core.fleet.records import EXPORTED_CHANGES, ChangeCounts, DeviceRecord, Source, SyncState
from pyade.flow import Flow, Now, ask
from pyade.storage.protocol import Store
from pyade.sync.leases import StoreTime
from pyade.sync.runners import in_store
from pyade.text import Printed


@attrs.frozen(kw_only=True, repr=False)
class RefreshReport(Exportable, Printed):
    """Outcome of refreshing devices.

    Attributes:
        token_name: The token.
        results: Per device. ``SUCCESS``: stored as Apple shows it now. ``NOT_ACCESSIBLE``: not, or no longer,
            assigned to this server; the record stays as it was, since only Apple's lists release a device.
        changes: Changes of the store.
    """

    token_name: str
    results: DeviceResults
    changes: ChangeCounts

    _EXPORTED: ClassVar[str] = f"token_name is_complete {EXPORTED_CHANGES} results.results"

    @property
    def is_complete(self) -> bool:
        """True if Apple showed every device."""
        return self.results.is_complete

    def _words(self) -> str:
        counts = attrs.asdict(self.changes)
        changed = [f"{counts[word]:,} {word}" for word in ("added", "modified", "returned") if counts[word]]
        return f"{self.token_name}: {self.results.summary()}; {', '.join(changed) or 'nothing changed'}"


def refresh_flow(token_name: str, serials: Iterable[str], lease: Lease) -> Flow[RefreshReport]:
    """Store the details of each of *serials*, one request and one commit per chunk.

    A device that was deleted here comes back, and an unknown one is added.
    """
    results: dict[str, DeviceResult] = {}
    changes = ChangeCounts()
    for chunk in chunks(distinct("read device details", serials)):
        details = yield from ask(SendCall(calls.device_details(chunk)))
        found = [details[serial] for serial in chunk]
        results.update((device.serial_number, device.details_result) for device in found)
        shown = [device for device in found if device.details_result == DeviceResult.SUCCESS]
        if shown:
            changes += yield from _commit_shown(token_name, shown, lease)
    return RefreshReport(token_name=token_name, results=DeviceResults(results=results), changes=changes)


def _commit_shown(token_name: str, devices: list[Device], lease: Lease) -> Flow[ChangeCounts]:
    now = yield from ask(Now())
    state = yield from in_store(lambda store: store.sync_state(token_name))
    _, changes = yield from in_store(
        lambda store: store.commit_page(
            token_name, devices, source=Source.DETAILS, state=state, now=now, lease=lease
        )
    )
    return changes


def resolved_ties(
    details: Mapping[str, Device], ties: Mapping[str, bool], known: Collection[str]
) -> list[Device]:
    """Return the records to store for *ties*: the details, or a deletion that the details confirm.

    A device that the details do not show counts as deleted only if one of its two records says so. A device
    that is not *known* was deleted here, and stays deleted.
    """
    found = []
    for serial, has_deletion in ties.items():
        if serial not in known:
            continue
        device = details[serial]
        if device.details_result == DeviceResult.SUCCESS:
            found.append(device)
        elif has_deletion and device.response_status == DeviceResult.NOT_ACCESSIBLE:
            found.append(
                Device(serial_number=serial, op_type=OpType.DELETED, response_status=device.response_status)
            )
    return found


def resolve_ties_flow(
    token_name: str, state: SyncState, lease: Lease | None, time: StoreTime
) -> Flow[tuple[SyncState, ChangeCounts]]:
    """Read and store the details of the ties of *state*, one request and one commit per chunk.

    Returns:
        The stored state, without ties, and the changes of the store.
    """
    changes = ChangeCounts()
    while state.ties:
        chunk = dict(islice(state.ties.items(), calls.CHUNK))
        details = yield from ask(SendCall(calls.device_details(tuple(chunk))))
        now = yield from time.now()
        left = {serial: flag for serial, flag in state.ties.items() if serial not in chunk}
        commit = partial(
            _commit, token_name, details, chunk, state=attrs.evolve(state, ties=left), now=now, lease=lease
        )
        state, changed = yield from in_store(commit)
        changes += changed
    return state, changes


def _commit(
    token_name: str,
    details: Mapping[str, Device],
    ties: Mapping[str, bool],
    store: Store,
    *,
    state: SyncState,
    now: datetime,
    lease: Lease | None,
) -> tuple[SyncState, ChangeCounts]:
    known = store.devices(token_name, serials=tuple(ties), released=None)
    found = resolved_ties(details, ties, {record.serial_number for record in known})
    return store.commit_page(token_name, found, source=Source.DETAILS, state=state, now=now, lease=lease)


def restore_flow(token_name: str, serial_number: str, lease: Lease) -> Flow[DeviceRecord | None]:
    """Store a device as Apple's details show it, and return it; None if Apple does not show it."""
    report = yield from refresh_flow(token_name, [serial_number], lease)
    if not report.is_complete:
        return None
    return (yield from in_store(lambda store: store.device(token_name, serial_number)))
