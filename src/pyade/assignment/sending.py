"""Send profiles to devices, request by request, and store the outcome for each device.

The rules of this file:

1. The outcome of each request is stored before the next one is sent, together with the details that Apple
   then returns.
2. Apple's details settle what a response left open, and override the response.
3. After a lost response, or if an earlier attempt has no known outcome, the details are read first and only
   the difference is sent.
4. A request that fails does not end the run. At the end, if another request succeeded, the devices of the
   failed one are halved until the device that makes it fail is alone; that one waits for a day, and again
   after each failure. If no request succeeded, a few halves show whether a device or an outage is the cause.
5. Additional requests are bounded; the devices that remain are due again in the next run.

Source: Apple, device assignment, "Assign a profile". Rule 4 is observed: one serial number made Apple refuse
the whole request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from pyade.apple import calls
from pyade.apple.batches import chunks
from pyade.apple.http.calls import Call, SendCall, may_have_acted
from pyade.assignment.defined_profiles import ProfileDefiner
from pyade.assignment.failures import (
    REMOVAL_NAME,
    Failure,
    RequestError,
    concerns_token,
    is_temporary,
    most_serious_first,
)
from pyade.assignment.selection import ProfileSelection
from pyade.core.fleet.assignment import COOLDOWN, NO_PROFILE, RECHECK, confirmed, outcome
from pyade.core.fleet.device import Device, DeviceDetails, DeviceResult, profile_fields
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.outcomes import Attempt, DeviceResults, group_by_attempt
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import AppleError, NotFoundError, TransportError
from pyade.flow import Flow, ReportProgress, ask
from pyade.storage.protocol import Store
from pyade.sync.leases import StoreTime
from pyade.sync.runners import Progress, ProgressPhase, in_store

MAX_EXTRA_REQUESTS: Final = 40
"""Requests of one run in addition to the ordinary ones: an assignment and its details for each chunk."""

MAX_PROBES: Final = 6
"""Parts that are tried while no request has succeeded."""

_NO_OUTCOME: Final = (DeviceResult.REQUEST_FAILED, DeviceResult.NOT_SENT)


class Outcomes:
    """The outcomes of one run, device by device.

    Attributes:
        results: The result for each device that was sent, or was to be sent.
        contradicted: Devices whose details contradict Apple's response.
        notes: What else happened, as text.
        total: The number of devices to send, for the progress reports.
        settled: The number of devices with a known outcome; kept up to date, since each progress report
            contains it.
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
        """When the first device may be tried again, UTC; None if there is none."""
        return min(self._due.values(), default=None)

    def store_attempts(
        self, uuid: str, attempts: Mapping[str, Attempt], details: Sequence[Device]
    ) -> Flow[None]:
        """Store *attempts* to assign *uuid*, and *details* read after them; report the progress."""
        yield from self.record(attempts, details)
        self._requests += 1
        for attempt, serials in group_by_attempt(attempts):
            self.set_result(serials, attempt.result, _due_at(attempt))
        progress = Progress(
            token_name=self._token_name,
            phase=ProgressPhase.REMOVE if uuid == NO_PROFILE else ProgressPhase.ASSIGN,
            pages=self._requests,
            devices=self.settled,
            total=self.total,
        )
        yield from ask(ReportProgress(progress))

    def store_confirmed(self, uuid: str, attempts: Mapping[str, Attempt]) -> Flow[None]:
        """Read the details now, and store *attempts* as the details confirm or contradict them."""
        details = yield from self.read_back(tuple(attempts))
        yield from self.store_attempts(uuid, (yield from self.confirm(attempts, details)), details)

    def store_proven(self, uuid: str, details: DeviceDetails, attempted_at: datetime) -> Flow[set[str]]:
        """Store the outcomes that *details* alone prove, and return their serial numbers."""
        wanted = Attempt(profile_uuid=uuid, result=DeviceResult.SUCCESS, attempted_at=attempted_at)
        found: dict[str, Attempt] = {}
        for serial, device in details.items():
            if device.response_status == DeviceResult.NOT_ACCESSIBLE:
                found[serial] = attempt_at(attempted_at, uuid, DeviceResult.NOT_ACCESSIBLE)
            elif wanted.agrees_with(device):
                found[serial] = attempt_at(attempted_at, uuid, DeviceResult.SUCCESS)
        if found:
            yield from self.store_attempts(uuid, found, details.of(tuple(found)))
        return set(found)

    def confirm_earlier(self, serials: Sequence[str]) -> Flow[None]:
        """Read the details of devices for which they could not be read after an earlier response."""
        for chunk in chunks(serials):
            details = yield from self.read_back(chunk)
            before = yield from self._attempts_of([device.serial_number for device in details])
            if before:
                yield from self.record((yield from self.confirm(before, details)), details)

    def refresh_details(self, serials: Sequence[str]) -> Flow[None]:
        """Read and store the details of devices, before anything is sent to them."""
        for chunk in chunks(serials):
            details = yield from self.read_back(chunk)
            if details:
                yield from self.record({}, details)

    def read_back(self, serials: Sequence[str]) -> Flow[Sequence[Device]]:
        """Return the details of *serials* now; empty if the request fails: a sync brings them later."""
        try:
            details = yield from ask(SendCall(calls.device_details(serials)))
        except (AppleError, TransportError) as error:
            self.notes.append(f"the outcome could not be read back: {error}")
            return ()
        return details.of(serials)

    def confirm(
        self, attempts: Mapping[str, Attempt], details: Sequence[Device]
    ) -> Flow[Mapping[str, Attempt]]:
        """Return *attempts* as *details*, read after them, confirm or contradict them."""
        now = yield from self._time.now()
        by_serial = {device.serial_number: device for device in details}
        after: dict[str, Attempt] = {}
        made: dict[Any, Attempt] = {}
        for serial, attempt in attempts.items():
            device = by_serial.get(serial)
            # The key is everything that ``confirmed`` depends on: it is equal for most devices of a request.
            key = (id(attempt), None if device is None else profile_fields(device))
            one = made.get(key)
            if one is None:
                one = made[key] = confirmed(attempt, device, None, now)
            after[serial] = one
        if any(one.result == DeviceResult.NOT_CONFIRMED for one in made.values()):
            contradicted = [
                serial for serial, one in after.items() if one.result == DeviceResult.NOT_CONFIRMED
            ]
            before = yield from self._attempts_of(contradicted)
            for serial in contradicted:
                after[serial] = confirmed(attempts[serial], by_serial[serial], before.get(serial), now)
            self.contradicted += contradicted
        return after  # rule 2

    def set_result(self, serials: Collection[str], result: DeviceResult, due_at: datetime | None) -> None:
        """Set the result of devices, and when they are due again; None for never."""
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
            lambda store: store.record_attempts(  # rule 1
                self._token_name, attempts, details=details, now=now, lease=self._lease
            )
        )

    def _attempts_of(self, serials: Sequence[str]) -> Flow[dict[str, Attempt]]:
        return (yield from in_store(lambda store: _attempts(store, self._token_name, serials)))


def attempt_at(at: datetime, uuid: str, result: DeviceResult) -> Attempt:
    """Return an attempt that was made and answered at the same time."""
    return outcome(result, profile_uuid=uuid, attempted_at=at, answered_at=at)


def _due_at(attempt: Attempt) -> datetime | None:
    """Return when the device of *attempt* is due again; None if it is not."""
    if attempt.is_unread:
        return attempt.attempted_at + RECHECK
    is_done = attempt.result in (DeviceResult.SUCCESS, DeviceResult.NOT_ACCESSIBLE)
    return None if is_done else attempt.not_before


def _attempts(store: Store, token_name: str, serials: Sequence[str]) -> dict[str, Attempt]:
    records = store.devices(token_name, serials=serials)
    return {record.serial_number: record.attempt for record in records if record.attempt is not None}


@attrs.frozen
class _FailedBatch:
    """The devices of one failed request."""

    profile_uuid: str
    name: str
    serials: Sequence[str]
    error: RequestError


class Sending:
    """Sends all requests of one run.

    Attributes:
        outcomes: The outcomes, device by device.
        got_through: True if a request for devices succeeded.
    """

    def __init__(self, lease: Lease, time: StoreTime, profiles: ProfileDefiner) -> None:
        self.outcomes: Outcomes = Outcomes(lease, time)
        self.got_through: bool = False
        self._time = time
        self._definer = profiles
        self._failed: list[_FailedBatch] = []
        self._undefined: list[_FailedBatch] = []
        self._unread: dict[str, dict[str, Attempt]] = {}
        self._answered: set[str] = set()
        self._replacements: dict[str, str] = {}
        self._extra_requests = 0

    @property
    def failures(self) -> list[Failure]:
        """The failures, one per profile, the most serious first."""
        groups: dict[str, list[_FailedBatch]] = {}
        for batch in (*self._undefined, *self._failed):
            groups.setdefault(batch.profile_uuid, []).append(batch)
        return most_serious_first(
            Failure(
                profile_uuid=uuid,
                profile=batches[0].name,
                error=min((batch.error for batch in batches), key=is_temporary),
                devices=sum(len(batch.serials) for batch in batches),
            )
            for uuid, batches in groups.items()
        )

    @property
    def only_refused(self) -> bool:
        """True if the only failures are profiles that Apple refused, which does not change by waiting."""
        return not self._failed and not any(is_temporary(batch.error) for batch in self._undefined)

    @property
    def succeeded(self) -> set[str]:
        """The profiles of which every request was answered."""
        return self._answered - {batch.profile_uuid for batch in self._failed}

    def send(
        self, uuid: str, profile: EnrollmentProfile | None, serials: Sequence[str], uncertain: Collection[str]
    ) -> Flow[None]:
        """Assign a profile, or remove it for ``NO_PROFILE``; failed requests are kept for ``isolate``.

        Args:
            uuid: The id of the profile.
            profile: Its content; None for a removal.
            serials: The devices.
            uncertain: Devices for which an earlier attempt may have worked.

        Raises:
            AppleError: Every other request of the token would fail, too.
            TransportError: Apple cannot be reached.
        """
        name = _profile_name(profile)
        for chunk in chunks(serials):
            check = [serial for serial in chunk if serial in uncertain]  # rule 3
            uuid, error = yield from self._send_with_replacement(uuid, chunk, check)
            if error is not None and may_have_acted(error) and self._has_budget(2):
                self._extra_requests += 2
                error = yield from self._send_request(uuid, chunk, chunk, lost=error)
            if error is not None:
                self._failed.append(_FailedBatch(uuid, name, chunk, error))

    def isolate(self, known: Collection[str] = ()) -> Flow[None]:
        """Halve failed requests until the devices that make them fail are alone, within the request bound.

        Args:
            known: Devices that failed alone before: they wait again even if no other request succeeded.
        """
        broken, untried = self._failed, list[_FailedBatch]()
        self._failed = []
        if broken and not self.got_through:
            broken, untried = yield from self._probe(broken)
        while self.got_through and (untried or broken) and self._has_budget(1):
            if not untried:
                # Largest first: if the bound ends the loop, as few devices as possible remain.
                broken.sort(key=lambda batch: len(batch.serials))
                batch = broken.pop()
                untried = _halve(batch)  # rule 4
                self._failed += [] if untried else [batch]
                continue
            error = yield from self._send_part(untried.pop())
            broken += [] if error is None else [error]
        self._failed += [*broken, *untried]
        yield from self._confirm_unread()
        yield from self._delay_devices(
            batch
            for batch in self._failed
            if (self.got_through and len(batch.serials) == 1) or all(one in known for one in batch.serials)
        )

    def _probe(self, broken: Sequence[_FailedBatch]) -> Flow[tuple[list[_FailedBatch], list[_FailedBatch]]]:
        """Search a failed request for a part that succeeds: then a device caused the failure, not an outage.

        Each part is half as large as the one before, and shares no device with it.

        Returns:
            The parts that failed, and the parts that were not tried.
        """
        first, *failed = broken
        untried = _halve(first)
        if not untried:
            return list(broken), []
        for _ in range(MAX_PROBES):
            if self.got_through or not untried:
                break
            error = yield from self._send_part(untried.pop())
            failed += [] if error is None else [error]
            if len(untried) == 1:
                untried = _halve(untried[0]) or untried
        return failed, untried

    def _send_part(self, batch: _FailedBatch) -> Flow[_FailedBatch | None]:
        """Send a part of a failed request; return it with its error if it fails, too."""
        self._extra_requests += 1
        uuid, error = yield from self._send_with_replacement(
            batch.profile_uuid, batch.serials, reads_back=False
        )
        return None if error is None else attrs.evolve(batch, profile_uuid=uuid, error=error)

    def skip_undefined(
        self, selection: ProfileSelection, serials: Sequence[str], new: Iterable[str], error: RequestError
    ) -> Flow[None]:
        """Store that devices are not sent because their profile could not be defined.

        Args:
            selection: The profile.
            serials: The devices.
            new: The devices for which that is not stored yet.
            error: The error of the definition.
        """
        uuid = selection.profile_uuid
        now = yield from self._time.now()
        self._undefined.append(_FailedBatch(uuid, _profile_name(selection.profile), serials, error))
        unsent = attempt_at(now, uuid, DeviceResult.NOT_SENT)
        for chunk in chunks(new):
            yield from self.outcomes.record(dict.fromkeys(chunk, unsent), ())
        # A refusal lasts until an administrator changes the profile: the next ordinary run is soon enough.
        self.outcomes.set_result(serials, DeviceResult.NOT_SENT, now if is_temporary(error) else None)

    def _has_budget(self, requests: int) -> bool:
        return self._extra_requests + requests <= MAX_EXTRA_REQUESTS  # rule 5

    def _send_with_replacement(
        self, uuid: str, serials: Sequence[str], check: Sequence[str] = (), *, reads_back: bool = True
    ) -> Flow[tuple[str, RequestError | None]]:
        """Call ``_send_request``; if Apple lost the profile, repeat it with a replacement.

        Returns:
            The id of the profile that was sent last, and the error of the request.
        """
        wanted = uuid
        uuid = self._replacements.get(wanted, wanted)
        error = yield from self._send_request(uuid, serials, check, reads_back=reads_back)
        while isinstance(error, NotFoundError) and self._definer.may_be_lost(uuid) and self._has_budget(3):
            self._extra_requests += 3
            other = yield from self._definer.find_replacement(uuid)
            if other is None:
                break
            self._replacements[wanted] = uuid = other
            error = yield from self._send_request(uuid, serials, reads_back=reads_back)
        return uuid, error

    def _send_request(
        self,
        uuid: str,
        serials: Sequence[str],
        check: Sequence[str] = (),
        *,
        lost: RequestError | None = None,
        reads_back: bool = True,
    ) -> Flow[RequestError | None]:
        """Send one request and store its outcome; return its error if it failed as a whole.

        Args:
            uuid: The profile.
            serials: The devices.
            check: Devices whose details are read first.
            lost: The error of the same request before, whose outcome is unknown.
            reads_back: False to read the details later, in ``_confirm_unread``.
        """
        attempted_at = yield from self._time.now()
        if check:
            done = yield from self._read_outcomes(uuid, check, attempted_at, lost)
            if done is None:
                return lost
            serials = [serial for serial in serials if serial not in done]
            if not serials:
                return None
        try:
            results = yield from ask(SendCall(_build_call(uuid, serials)))
        except (AppleError, TransportError) as error:
            failed = attempt_at(attempted_at, uuid, DeviceResult.REQUEST_FAILED)
            yield from self.outcomes.store_attempts(uuid, dict.fromkeys(serials, failed), ())
            if concerns_token(error):
                raise
            return error
        answered_at = yield from self._time.now()
        answered = [results.results.get(serial, DeviceResult.MISSING) for serial in serials]
        made = {
            result: outcome(
                result,
                profile_uuid=uuid,
                attempted_at=attempted_at,
                answered_at=answered_at,
                retry_after_s=results.retry_after_s,
            )
            for result in set(answered)
        }
        attempts = {serial: made[result] for serial, result in zip(serials, answered, strict=True)}
        self.got_through = True
        self._answered.add(uuid)
        if reads_back:
            yield from self.outcomes.store_confirmed(uuid, attempts)
        else:
            unread = yield from self.outcomes.confirm(attempts, ())
            yield from self.outcomes.store_attempts(uuid, unread, ())
            self._unread.setdefault(uuid, {}).update(unread)
        if DeviceResult.SUCCESS in made:
            yield from self._definer.confirm_worked(uuid)
        return None

    def _read_outcomes(
        self, uuid: str, serials: Sequence[str], attempted_at: datetime, lost: RequestError | None
    ) -> Flow[set[str] | None]:
        """Read details, store the outcomes that they prove, and return the serial numbers of these devices.

        Returns None if a response was lost and the details cannot be read: nothing may be sent again then.
        """
        try:
            details = yield from ask(SendCall(calls.device_details(serials)))
        except (AppleError, TransportError) as error:
            if lost is not None and isinstance(error, TransportError):
                raise lost from error
            if concerns_token(error):
                raise
            return set() if lost is None else None
        found = yield from self.outcomes.store_proven(uuid, details, attempted_at)
        if found:
            self.got_through = True
            self._answered.add(uuid)
        return found

    def _confirm_unread(self) -> Flow[None]:
        """Read the details of all parts that were sent, in as few requests as for whole chunks."""
        for uuid, attempts in self._unread.items():
            for chunk in chunks(attempts):
                part = {serial: attempts[serial] for serial in chunk}
                yield from self.outcomes.store_confirmed(uuid, part)

    def _delay_devices(self, spoiling: Iterable[_FailedBatch]) -> Flow[None]:
        now = yield from self._time.now()
        for batch in spoiling:
            waiting = attrs.evolve(
                attempt_at(now, batch.profile_uuid, DeviceResult.REQUEST_FAILED), not_before=now + COOLDOWN
            )
            yield from self.outcomes.store_attempts(
                batch.profile_uuid, dict.fromkeys(batch.serials, waiting), ()
            )


def _build_call(uuid: str, serials: Sequence[str]) -> Call[DeviceResults]:
    return calls.remove_profile(serials) if uuid == NO_PROFILE else calls.assign_profile(uuid, serials)


def _profile_name(profile: EnrollmentProfile | None) -> str:
    return REMOVAL_NAME if profile is None else profile.name


def _halve(batch: _FailedBatch) -> list[_FailedBatch]:
    """Return the halves of *batch*, the second one first; empty if it has only one device."""
    middle = len(batch.serials) // 2
    parts = (batch.serials[middle:], batch.serials[:middle]) if middle else ()
    return [attrs.evolve(batch, serials=part) for part in parts]
