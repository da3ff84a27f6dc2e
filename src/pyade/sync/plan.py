"""Which device gets which profile, and what is to be sent for that: read from the store, nothing sent.

Who chose a profile for a device is told by the ``profile_uuid`` alone: profiles for hand-picked devices are
defined apart (``DefinedProfile.individual``). So the choice survives as long as Apple shows the id, and until
then as long as the attempt is remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from pyade.builders.dep_profile import digest
from pyade.core.assignment import (
    NO_PROFILE,
    Reason,
    has_profile,
    is_reachable,
    needs_profile,
    outcome,
    waits_until,
)
from pyade.core.device import DeviceResult
from pyade.core.inventory import Attempt, DeviceRecord
from pyade.core.profile import EnrollmentProfile
from pyade.storage.protocol import DefinedProfile, Store

_SLICE = 1_000

UNDEFINED = "(not defined at Apple yet)"
"""In the place of the default's ``profile_uuid`` until it has one; equal to no id of Apple's."""


@attrs.frozen(kw_only=True)
class AssignmentPlan:
    """What is to be sent, and where every other device of the whole went.

    Attributes:
        groups: Serial numbers to send, by the ``profile_uuid`` to assign; ``NO_PROFILE`` for a removal.
        reasons: How many of them for which reason.
        satisfied: Devices that have what they should have.
        waiting: Devices that must be left alone until their time has come.
        unreachable: Devices that this server cannot reach, until Apple lists them again.
        without_profile: Macs for which no profile is wanted: there is no default, and none was picked.
        not_macs: Devices that are no Macs.
        released: Devices that Apple no longer lists, if they were named.
        next_due_at: When the first of the waiting ones may be tried, UTC.
    """

    groups: Mapping[str, Sequence[str]]
    reasons: Mapping[Reason, int] = attrs.field(factory=dict)
    satisfied: int = 0
    waiting: int = 0
    unreachable: int = 0
    without_profile: int = 0
    not_macs: int = 0
    released: int = 0
    next_due_at: datetime | None = None

    @property
    def due(self) -> int:
        """How many devices are to be sent."""
        return sum(map(len, self.groups.values()))


class Planner:
    """Sorts records, one by one, into what is to be sent and what is not."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._groups: dict[str, list[str]] = {}
        self._reasons: Counter[Reason] = Counter()
        self._counts: Counter[str] = Counter()
        self._next_due_at: datetime | None = None

    def send(self, serial_number: str, wanted_uuid: str, reason: Reason) -> None:
        """Put a device into the group of *wanted_uuid*."""
        self._groups.setdefault(wanted_uuid, []).append(serial_number)
        self._reasons[reason] += 1

    def sort(self, record: DeviceRecord, wanted_uuid: str | None) -> bool:
        """Put *record* where it belongs; True if it is due, or will be when its time has come."""
        if record.is_released or not record.device.is_mac:
            self._counts["released" if record.is_released else "not_macs"] += 1
        elif wanted_uuid is None:
            self._counts["without_profile"] += 1
        elif has_profile(record, wanted_uuid):
            self._counts["satisfied"] += 1
        elif not is_reachable(record):
            self._counts["unreachable"] += 1
        elif (reason := needs_profile(record, wanted_uuid, self._now)) is not None:
            self.send(record.serial_number, wanted_uuid, reason)
            return True
        else:
            self._counts["waiting"] += 1
            self._next_due_at = earliest(self._next_due_at, waits_until(record, self._now))
            return True
        return False

    def plan(self) -> AssignmentPlan:
        """Return what was sorted so far."""
        return AssignmentPlan(
            groups=self._groups, reasons=self._reasons, next_due_at=self._next_due_at, **self._counts
        )


class Definitions:
    """The profiles that were defined at Apple through one token."""

    def __init__(self, defined: Iterable[DefinedProfile]) -> None:
        self._newest_first = tuple(defined)[::-1]
        self._by_uuid = {one.profile_uuid.casefold(): one for one in self._newest_first}
        self._newest_uuids: dict[str, str] = {}

    def following(self, now: datetime) -> datetime:
        """Return *now*, or where a clock was moved back a later time: a new definition is the newest."""
        if not self._newest_first:
            return now
        return max(now, self._newest_first[0].defined_at + timedelta.resolution)

    def default(self, profile: EnrollmentProfile) -> DefinedProfile | None:
        """Return the newest definition with what Macs would get from *profile* as the default."""
        wanted = digest(profile)
        return next((one for one in self._newest_first if not one.individual and one.digest == wanted), None)

    def individual(self, profile: EnrollmentProfile) -> DefinedProfile | None:
        """Return the newest definition of exactly *profile* for hand-picked devices."""
        return next((one for one in self._newest_first if one.individual and one.profile == profile), None)

    def by_uuid(self, profile_uuid: str | None) -> DefinedProfile | None:
        """Return the definition with that id; None if it is none of ours."""
        return self._by_uuid.get((profile_uuid or "").casefold())

    def wanted(self, record: DeviceRecord, default_uuid: str | None) -> str | None:
        """Return which profile *record* should have; None if nobody wants one for it.

        The newest word counts: our last attempt, else what Apple shows, also for a profile that was removed
        there.
        """
        attempt = record.attempt
        if attempt is not None and attempt.profile_uuid == NO_PROFILE:
            is_done = attempt.result == DeviceResult.SUCCESS
            return default_uuid or (None if is_done else NO_PROFILE)
        chosen = self.by_uuid(attempt.profile_uuid) if attempt is not None else None
        chosen = chosen or self.by_uuid(record.device.profile_uuid)
        if chosen is None or not chosen.individual:
            return default_uuid
        return self._newest_uuid(chosen)

    def _newest_uuid(self, chosen: DefinedProfile) -> str:
        """Return the id of the newest definition with the content of *chosen*, looked up once for each id."""
        uuid = chosen.profile_uuid
        if uuid not in self._newest_uuids:
            self._newest_uuids[uuid] = (self.individual(chosen.profile) or chosen).profile_uuid
        return self._newest_uuids[uuid]


def plan_all(store: Store, token_name: str, default_uuid: str | None, now: datetime) -> AssignmentPlan:
    """Return what to send so that every Mac has its own profile, else the default."""
    definitions = Definitions(store.profiles(token_name))
    planner = Planner(now)
    for record in store.devices(token_name):
        planner.sort(record, definitions.wanted(record, default_uuid))
    return planner.plan()


def plan_by_hand(
    store: Store, token_name: str, wanted_uuid: str, serials: Sequence[str], now: datetime
) -> AssignmentPlan:
    """Return what to send so that hand-picked devices have the wanted profile, or none for ``NO_PROFILE``.

    What is wanted is stored first, so that the next run goes on where this one may be cut short.
    """
    planner = Planner(now)
    intents: dict[str, Attempt] = {}
    unknown = dict.fromkeys(serials)
    for start in range(0, len(serials), _SLICE):
        for record in store.devices(token_name, serials=serials[start : start + _SLICE], released=None):
            del unknown[record.serial_number]
            is_due = planner.sort(record, wanted_uuid)
            # Also a device without a profile may have one coming; that ends here.
            has_one_coming = wanted_uuid == NO_PROFILE and bool(record.attempt or record.device.profile_uuid)
            if is_due or (has_one_coming and not record.is_released and record.device.is_mac):
                intents[record.serial_number] = _intent(record.attempt, wanted_uuid, now, is_due=is_due)
    for serial in unknown:
        planner.send(serial, wanted_uuid, Reason.UNWANTED if wanted_uuid == NO_PROFILE else Reason.NO_PROFILE)
    if intents:
        store.record_attempts(token_name, intents, now=now)
    return planner.plan()


def _intent(attempt: Attempt | None, uuid: str, now: datetime, *, is_due: bool) -> Attempt:
    """Return an attempt that says what is wanted; a wait that is under way stays."""
    if attempt is not None and attempt.not_before is not None and attempt.not_before > now:
        return attrs.evolve(attempt, profile_uuid=uuid)
    result = DeviceResult.NOT_SENT if is_due else DeviceResult.SUCCESS
    return outcome(result, profile_uuid=uuid, attempted_at=now, answered_at=now)


def earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the earlier time; None counts as never."""
    if one is None or other is None:
        return one or other
    return min(one, other)
