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
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final

import attrs

from pyade.apple import calls
from pyade.apple.flows import chunks
from pyade.apple.http.calls import Call, SendCall, may_have_acted
from pyade.core.assignment import COOLDOWN, NO_PROFILE, DeviceResults, outcome
from pyade.core.attempt import Attempt
from pyade.core.device import DeviceResult
from pyade.core.lease import Lease
from pyade.core.profile import EnrollmentProfile
from pyade.errors import AppleError, NotFoundError, TransportError
from pyade.flow import Flow, ask
from pyade.sync.choices import Choice
from pyade.sync.failures import (
    REMOVAL_NAME,
    Failure,
    RequestError,
    concerns_token,
    may_pass,
    most_serious_first,
)
from pyade.sync.leases import StoreTime
from pyade.sync.outcomes import Outcomes, attempt_at
from pyade.sync.profiles import Profiles

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
        self, choice: Choice, serials: Sequence[str], new: Iterable[str], error: RequestError
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
