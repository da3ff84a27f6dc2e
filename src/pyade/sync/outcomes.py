"""Store what came of requests for devices, device by device, with what Apple's details say afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pyade.apple import calls
from pyade.apple.flows import chunks
from pyade.apple.http.calls import SendCall
from pyade.core.assignment import NO_PROFILE, RECHECK, confirmed, outcome
from pyade.core.attempt import Attempt, together
from pyade.core.device import Device, DeviceResult
from pyade.core.device_details import DeviceDetails, said_of_profile
from pyade.core.lease import Lease
from pyade.errors import AppleError, TransportError
from pyade.flow import Flow, ReportProgress, ask
from pyade.storage.protocol import Store
from pyade.sync.leases import StoreTime
from pyade.sync.steps import Progress, ProgressPhase, in_store

_UNSENT: Final = DeviceResult.NOT_SENT
_NO_OUTCOME: Final = (DeviceResult.REQUEST_FAILED, _UNSENT)


class Outcomes:
    """The outcomes of one piece of work.

    Attributes:
        results: The outcome for each device that was sent, or was to be sent.
        contradicted: Devices whose details contradict Apple's answer.
        notes: What else happened, in words.
        total: How many devices are to be sent, for the progress.
        settled: How many devices have an outcome; counted as they come, since each chunk tells it.
    """

    def __init__(self, lease: Lease, time: StoreTime) -> None:
        self.results: dict[str, DeviceResult] = {}
        self.contradicted: list[str] = []
        self.notes: list[str] = []
        self.total = 0
        self.settled: int = 0
        self._token_name = lease.token_name
        self._lease = lease
        self._time = time
        self._due: dict[str, datetime] = {}
        self._requests = 0

    @property
    def next_due_at(self) -> datetime | None:
        """When the first device that is to be tried again may be, UTC; None if there is none."""
        return min(self._due.values(), default=None)

    def store(self, uuid: str, attempts: Mapping[str, Attempt], details: Sequence[Device]) -> Flow[None]:
        """Store *attempts* to give the profile *uuid*, and *details* read after them; tell the progress."""
        yield from self.record(attempts, details)
        self._requests += 1
        for attempt, serials in together(attempts):
            self.note(serials, attempt.result, _due_at(attempt))
        progress = Progress(
            token_name=self._token_name,
            phase=ProgressPhase.REMOVE if uuid == NO_PROFILE else ProgressPhase.ASSIGN,
            pages=self._requests,
            devices=self.settled,
            total=self.total,
        )
        yield from ask(ReportProgress(progress))

    def store_confirmed(self, uuid: str, attempts: Mapping[str, Attempt]) -> Flow[None]:
        """Store *attempts* as the details, which are read now, leave them."""
        details = yield from self.read_back(tuple(attempts))
        yield from self.store(uuid, (yield from self.confirm(attempts, details)), details)

    def settle(self, uuid: str, details: DeviceDetails, attempted_at: datetime) -> Flow[set[str]]:
        """Store the outcomes that *details* prove by themselves, and return of which devices."""
        wanted = Attempt(profile_uuid=uuid, result=DeviceResult.SUCCESS, attempted_at=attempted_at)
        found: dict[str, Attempt] = {}
        for serial, device in details.items():
            if device.response_status == DeviceResult.NOT_ACCESSIBLE:
                found[serial] = attempt_at(attempted_at, uuid, DeviceResult.NOT_ACCESSIBLE)
            elif wanted.agrees_with(device):
                found[serial] = attempt_at(attempted_at, uuid, DeviceResult.SUCCESS)
        if found:
            yield from self.store(uuid, found, details.of(tuple(found)))
        return set(found)

    def read(self, serials: Sequence[str]) -> Flow[None]:
        """Read the details of devices of which Apple's answer could not be confirmed before."""
        for chunk in chunks(serials):
            details = yield from self.read_back(chunk)
            before = yield from self._attempts_of([device.serial_number for device in details])
            if before:
                yield from self.record((yield from self.confirm(before, details)), details)

    def refresh(self, serials: Sequence[str]) -> Flow[None]:
        """Store what Apple's details say of devices now, before anything is sent to them."""
        for chunk in chunks(serials):
            details = yield from self.read_back(chunk)
            if details:
                yield from self.record({}, details)

    def read_back(self, serials: Sequence[str]) -> Flow[Sequence[Device]]:
        """Return what Apple says about *serials* now; nothing if it does not answer: a sync will tell."""
        try:
            details = yield from ask(SendCall(calls.device_details(serials)))
        except (AppleError, TransportError) as error:
            self.notes.append(f"the outcome could not be read back: {error}")
            return ()
        return details.of(serials)

    def confirm(
        self, attempts: Mapping[str, Attempt], details: Sequence[Device]
    ) -> Flow[Mapping[str, Attempt]]:
        """Return *attempts* as *details*, read after them, leave them."""
        now = yield from self._time.now()
        shown = {device.serial_number: device for device in details}
        after: dict[str, Attempt] = {}
        made: dict[Any, Attempt] = {}
        for serial, attempt in attempts.items():
            device = shown.get(serial)
            # All that ``confirmed`` looks at: most devices of a request are alike in it.
            alike = (id(attempt), None if device is None else said_of_profile(device))
            one = made.get(alike)
            if one is None:
                one = made[alike] = confirmed(attempt, device, None, now)
            after[serial] = one
        if any(one.result == DeviceResult.NOT_CONFIRMED for one in made.values()):
            contradicted = [
                serial for serial, one in after.items() if one.result == DeviceResult.NOT_CONFIRMED
            ]
            before = yield from self._attempts_of(contradicted)
            for serial in contradicted:
                after[serial] = confirmed(attempts[serial], shown[serial], before.get(serial), now)
            self.contradicted += contradicted
        return after

    def note(self, serials: Collection[str], result: DeviceResult, due_at: datetime | None) -> None:
        """Take note of the result of devices, and of when there is something to do about it."""
        before = [self.results[serial] for serial in serials if serial in self.results]
        self.settled -= sum(one not in _NO_OUTCOME for one in before)
        self.settled += len(serials) if result not in _NO_OUTCOME else 0
        self.results.update(dict.fromkeys(serials, result))
        if due_at is not None:
            self._due.update(dict.fromkeys(serials, due_at))
        elif self._due:
            for serial in serials:
                self._due.pop(serial, None)

    def record(self, attempts: Mapping[str, Attempt], details: Sequence[Device]) -> Flow[None]:
        """Store *attempts*, and *details* read after them."""
        now = yield from self._time.now()
        yield from in_store(
            lambda store: store.record_attempts(
                self._token_name, attempts, details=details, now=now, lease=self._lease
            )
        )

    def _attempts_of(self, serials: Sequence[str]) -> Flow[dict[str, Attempt]]:
        return (yield from in_store(lambda store: _attempts(store, self._token_name, serials)))


def attempt_at(at: datetime, uuid: str, result: DeviceResult) -> Attempt:
    """Return an attempt that was made, and answered, at one time."""
    return outcome(result, profile_uuid=uuid, attempted_at=at, answered_at=at)


def _due_at(attempt: Attempt) -> datetime | None:
    """Return when there is something to do about *attempt*; None if there is nothing."""
    if attempt.is_unread:
        return attempt.attempted_at + RECHECK
    is_done = attempt.result in (DeviceResult.SUCCESS, DeviceResult.NOT_ACCESSIBLE)
    return None if is_done else attempt.not_before


def _attempts(store: Store, token_name: str, serials: Sequence[str]) -> dict[str, Attempt]:
    records = store.devices(token_name, serials=serials)
    return {record.serial_number: record.attempt for record in records if record.attempt is not None}
