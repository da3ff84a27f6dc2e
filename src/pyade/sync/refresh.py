"""Read what Apple knows about named devices now, and store it."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from pyade.apple import calls
from pyade.apple.flows import chunks, distinct
from pyade.apple.http.calls import SendCall
from pyade.core.assignment import DeviceResults
from pyade.core.device import Device, DeviceResult
from pyade.core.inventory import ChangeCounts, Source
from pyade.core.lease import Lease
from pyade.flow import Flow, Now, ask
from pyade.sync.steps import in_store
from pyade.text import Printed


@attrs.frozen(kw_only=True)
class RefreshReport(Printed):
    """What came of refreshing devices.

    Attributes:
        token_name: The token.
        results: Per device. ``SUCCESS`` is stored as Apple shows it now. ``NOT_ACCESSIBLE`` is not, or no
            longer, of this server; its record stays as it was, since only Apple's lists release a device.
        changes: What that changed in the store.
    """

    token_name: str
    results: DeviceResults
    changes: ChangeCounts

    @property
    def is_complete(self) -> bool:
        """True if Apple showed every device."""
        return self.results.is_complete

    def _words(self) -> str:
        counts = attrs.asdict(self.changes)
        changed = [f"{counts[word]:,} {word}" for word in ("added", "modified", "returned") if counts[word]]
        return f"{self.token_name}: {self.results.summary()}; {', '.join(changed) or 'nothing changed'}"


def refresh_flow(token_name: str, serials: Iterable[str], lease: Lease) -> Flow[RefreshReport]:
    """Store the details of each of *serials*, a request and a commit at a time.

    A device that was deleted here comes back, and one that the store never knew becomes known.
    """
    results: dict[str, DeviceResult] = {}
    changes = ChangeCounts()
    for chunk in chunks(distinct("read device details", serials)):
        details = yield from ask(SendCall(calls.device_details(chunk)))
        found = [details[serial] for serial in chunk]
        results.update((device.serial_number, device.details_result) for device in found)
        shown = [device for device in found if device.details_result == DeviceResult.SUCCESS]
        if shown:
            changes += yield from _commit(token_name, shown, lease)
    return RefreshReport(token_name=token_name, results=DeviceResults(results=results), changes=changes)


def _commit(token_name: str, devices: list[Device], lease: Lease) -> Flow[ChangeCounts]:
    now = yield from ask(Now())
    state = yield from in_store(lambda store: store.sync_state(token_name))
    _, changes = yield from in_store(
        lambda store: store.commit_page(
            token_name, devices, source=Source.DETAILS, state=state, now=now, lease=lease
        )
    )
    return changes
