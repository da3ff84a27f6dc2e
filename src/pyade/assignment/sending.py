"""Send devices their profile, request by request, so that one bad request holds up nobody else.

The rules of this file:

1. The outcome of each request is stored before the next one is sent, with what Apple's details then say.
2. What Apple's details show settles what an answer left open, and outweighs the answer.
3. After a lost answer, or where an earlier attempt has no known outcome, the details are read first and only
   the difference is sent.
4. A request that fails does not end the work. At the end, if another request got through, what failed is
   halved until the device that spoils it is alone; that one waits for a day, and for another one each time
   it fails again. If none got through, a few halves tell a device from an outage.
5. Requests beyond the ordinary ones are bounded; what they leave is due again in the next run.

Source: Apple, device assignment, "Assign a profile". Rule 4 is observed: one serial number made Apple refuse
the whole request.

Store what came of requests for devices, device by device, with what Apple's details say afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from pyade.apple import calls
from pyade.apple.batches import chunks
from pyade.apple.http.calls import Call, SendCall, may_have_acted
from pyade.assignment.defined_profiles import Profiles
from pyade.assignment.failures import (
    REMOVAL_NAME,
    Failure,
    RequestError,
    concerns_token,
    may_pass,
    most_serious_first,
)
from pyade.assignment.selection import ProfileSelection
from pyade.core.fleet.assignment import COOLDOWN, NO_PROFILE, RECHECK, confirmed, outcome
from pyade.core.fleet.device import Device, DeviceDetails, DeviceResult, said_of_profile
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.outcomes import Attempt, DeviceResults, together
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import AppleError, NotFoundError, TransportError
from pyade.flow import Flow, ReportProgress, ask
from pyade.storage.protocol import Store
from pyade.sync.leases import StoreTime
from pyade.sync.runners import Progress, ProgressPhase, in_store

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


MOST_EXTRA: Final = 40
"""Requests of one run beyond the ordinary ones: an assignment and its details for each chunk."""

MOST_PROBES: Final = 6
"""Parts that are tried while no request got through."""


@attrs.frozen
class _Piece:
    """Devices of one request that failed."""

    profile_uuid: str
    name: str
    serials: Sequence[str]
    error: RequestError


class Sending:
    """All requests of one piece of work.

    Attributes:
        outcomes: What came of them, device by device.
        got_through: True if Apple answered a request for devices.
    """

    def __init__(self, lease: Lease, time: StoreTime, profiles: Profiles) -> None:
        self.outcomes: Outcomes = Outcomes(lease, time)
        self.got_through: bool = False
        self._time = time
        self._profiles = profiles
        self._failed: list[_Piece] = []
        self._undefined: list[_Piece] = []
        self._unread: dict[str, dict[str, Attempt]] = {}
        self._answered: set[str] = set()
        self._instead: dict[str, str] = {}
        self._extra = 0

    @property
    def failures(self) -> list[Failure]:
        """What could not be sent, by profile, the most serious first."""
        groups: dict[str, list[_Piece]] = {}
        for piece in (*self._undefined, *self._failed):
            groups.setdefault(piece.profile_uuid, []).append(piece)
        return most_serious_first(
            Failure(
                profile_uuid=uuid,
                profile=pieces[0].name,
                error=min((piece.error for piece in pieces), key=may_pass),
                devices=sum(len(piece.serials) for piece in pieces),
            )
            for uuid, pieces in groups.items()
        )

    @property
    def only_refused(self) -> bool:
        """True if all that failed are profiles that Apple refused, which waiting does not change."""
        return not self._failed and not any(may_pass(piece.error) for piece in self._undefined)

    @property
    def succeeded(self) -> set[str]:
        """The profiles with which every request was answered."""
        return self._answered - {piece.profile_uuid for piece in self._failed}

    def send(
        self, uuid: str, profile: EnrollmentProfile | None, serials: Sequence[str], uncertain: Collection[str]
    ) -> Flow[None]:
        """Assign a profile, or remove it for ``NO_PROFILE``; what fails is kept for ``isolate``.

        Args:
            uuid: The profile.
            profile: Its content; None for a removal.
            serials: The devices.
            uncertain: Those of which an earlier attempt may have worked.

        Raises:
            AppleError: Of the kind after which the whole token can do nothing now.
            TransportError: Apple cannot be reached.
        """
        name = _name(profile)
        for chunk in chunks(serials):
            check = [serial for serial in chunk if serial in uncertain]
            uuid, error = yield from self._replacing(uuid, chunk, check)
            if error is not None and may_have_acted(error) and self._may_ask(2):
                self._extra += 2
                error = yield from self._piece(uuid, chunk, chunk, lost=error)
            if error is not None:
                self._failed.append(_Piece(uuid, name, chunk, error))

    def isolate(self, known: Collection[str] = ()) -> Flow[None]:
        """Halve what failed until the devices that spoil it are alone, within the bound on requests.

        Args:
            known: Devices that were found alone before: they wait again, although nothing else got through.
        """
        broken, untried = self._failed, list[_Piece]()
        self._failed = []
        if broken and not self.got_through:
            broken, untried = yield from self._probe(broken)
        while self.got_through and (untried or broken) and self._may_ask(1):
            if not untried:
                # The largest first: where the bound ends the work, as few as possible are left.
                broken.sort(key=lambda piece: len(piece.serials))
                piece = broken.pop()
                untried = _halves(piece)
                self._failed += [] if untried else [piece]
                continue
            error = yield from self._small(untried.pop())
            broken += [] if error is None else [error]
        self._failed += [*broken, *untried]
        yield from self._read_the_rest()
        yield from self._let_wait(
            piece
            for piece in self._failed
            if (self.got_through and len(piece.serials) == 1) or all(one in known for one in piece.serials)
        )

    def _probe(self, broken: Sequence[_Piece]) -> Flow[tuple[list[_Piece], list[_Piece]]]:
        """Look in one request that failed for a part that gets through: it was a device then, no outage.

        Each part is half as large as the one before, and has none of its devices.

        Returns:
            What failed, and what was not tried on its own.
        """
        first, *failed = broken
        untried = _halves(first)
        if not untried:
            return list(broken), []
        for _ in range(MOST_PROBES):
            if self.got_through or not untried:
                break
            error = yield from self._small(untried.pop())
            failed += [] if error is None else [error]
            if len(untried) == 1:
                untried = _halves(untried[0]) or untried
        return failed, untried

    def _small(self, piece: _Piece) -> Flow[_Piece | None]:
        """Send a part of a request that failed; return it with its error if it fails, too."""
        self._extra += 1
        uuid, error = yield from self._replacing(piece.profile_uuid, piece.serials, reads_back=False)
        return None if error is None else attrs.evolve(piece, profile_uuid=uuid, error=error)

    def leave(
        self, choice: ProfileSelection, serials: Sequence[str], new: Iterable[str], error: RequestError
    ) -> Flow[None]:
        """Take note that a profile could not be defined: its devices are not sent.

        Args:
            choice: The profile.
            serials: The devices.
            new: Those for which that is not stored yet.
            error: What Apple answered.
        """
        uuid = choice.profile_uuid
        now = yield from self._time.now()
        self._undefined.append(_Piece(uuid, _name(choice.profile), serials, error))
        unsent = attempt_at(now, uuid, DeviceResult.NOT_SENT)
        for chunk in chunks(new):
            yield from self.outcomes.record(dict.fromkeys(chunk, unsent), ())
        # A refusal lasts until a person changes the profile: the next ordinary run is soon enough.
        self.outcomes.note(serials, DeviceResult.NOT_SENT, now if may_pass(error) else None)

    def _may_ask(self, requests: int) -> bool:
        return self._extra + requests <= MOST_EXTRA

    def _replacing(
        self, uuid: str, serials: Sequence[str], check: Sequence[str] = (), *, reads_back: bool = True
    ) -> Flow[tuple[str, RequestError | None]]:
        """Send one request as ``_piece`` does, with another profile where Apple lost this one.

        Returns:
            The profile that was sent last, and the error.
        """
        wanted = uuid
        uuid = self._instead.get(wanted, wanted)
        error = yield from self._piece(uuid, serials, check, reads_back=reads_back)
        while isinstance(error, NotFoundError) and self._profiles.may_be_lost(uuid) and self._may_ask(3):
            self._extra += 3
            other = yield from self._profiles.replacement(uuid)
            if other is None:
                break
            self._instead[wanted] = uuid = other
            error = yield from self._piece(uuid, serials, reads_back=reads_back)
        return uuid, error

    def _piece(
        self,
        uuid: str,
        serials: Sequence[str],
        check: Sequence[str] = (),
        *,
        lost: RequestError | None = None,
        reads_back: bool = True,
    ) -> Flow[RequestError | None]:
        """Send one request and store what came of it; return its error, if it failed as a whole.

        Args:
            uuid: The profile.
            serials: The devices.
            check: Those whose details are read first.
            lost: The error that left the outcome of the same request open.
            reads_back: False leaves the details to ``_read_the_rest``.
        """
        attempted_at = yield from self._time.now()
        if check:
            done = yield from self._settle(uuid, check, attempted_at, lost)
            if done is None:
                return lost
            serials = [serial for serial in serials if serial not in done]
            if not serials:
                return None
        try:
            results = yield from ask(SendCall(_call(uuid, serials)))
        except (AppleError, TransportError) as error:
            failed = attempt_at(attempted_at, uuid, DeviceResult.REQUEST_FAILED)
            yield from self.outcomes.store(uuid, dict.fromkeys(serials, failed), ())
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
            yield from self.outcomes.store(uuid, unread, ())
            self._unread.setdefault(uuid, {}).update(unread)
        if DeviceResult.SUCCESS in made:
            yield from self._profiles.worked(uuid)
        return None

    def _settle(
        self, uuid: str, serials: Sequence[str], attempted_at: datetime, lost: RequestError | None
    ) -> Flow[set[str] | None]:
        """Return the devices of which the details show an outcome, after it was stored.

        None where an answer was lost and the details do not help, so that nothing may be sent again.
        """
        try:
            details = yield from ask(SendCall(calls.device_details(serials)))
        except (AppleError, TransportError) as error:
            if lost is not None and isinstance(error, TransportError):
                raise lost from error
            if concerns_token(error):
                raise
            return set() if lost is None else None
        found = yield from self.outcomes.settle(uuid, details, attempted_at)
        if found:
            self.got_through = True
            self._answered.add(uuid)
        return found

    def _read_the_rest(self) -> Flow[None]:
        """Read the details of the small pieces that were sent, in as few requests as the whole would take."""
        for uuid, attempts in self._unread.items():
            for chunk in chunks(attempts):
                part = {serial: attempts[serial] for serial in chunk}
                yield from self.outcomes.store_confirmed(uuid, part)

    def _let_wait(self, spoiling: Iterable[_Piece]) -> Flow[None]:
        now = yield from self._time.now()
        for piece in spoiling:
            waiting = attrs.evolve(
                attempt_at(now, piece.profile_uuid, DeviceResult.REQUEST_FAILED), not_before=now + COOLDOWN
            )
            yield from self.outcomes.store(piece.profile_uuid, dict.fromkeys(piece.serials, waiting), ())


def _call(uuid: str, serials: Sequence[str]) -> Call[DeviceResults]:
    return calls.remove_profile(serials) if uuid == NO_PROFILE else calls.assign_profile(uuid, serials)


def _name(profile: EnrollmentProfile | None) -> str:
    return REMOVAL_NAME if profile is None else profile.name


def _halves(piece: _Piece) -> list[_Piece]:
    """Return the halves of *piece*, the first one last; none if it is one device."""
    middle = len(piece.serials) // 2
    parts = (piece.serials[middle:], piece.serials[:middle]) if middle else ()
    return [attrs.evolve(piece, serials=part) for part in parts]
