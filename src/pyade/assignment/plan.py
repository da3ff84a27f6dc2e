"""What is to be sent so that each device has what it should, and why: read from the store, nothing sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import attrs

from pyade.assignment.risk import owned_elsewhere, with_owner
from pyade.assignment.rules import AssignmentPolicy
from pyade.assignment.same_names import names_in_use
from pyade.assignment.selection import BY_HAND, DefinedProfiles, ProfileSelection, ProfileSelector
from pyade.core.fleet.assignment import (
    NO_PROFILE,
    Reason,
    has_profile,
    is_reachable,
    needs_profile,
    outcome,
    profile_of,
    spoiled_its_request,
    waits_until,
)
from pyade.core.fleet.device import DeviceResult, ProfileStatus
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import DeviceRecord
from pyade.core.problems import Problem, Severity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.storage.protocol import Store
from pyade.sync.report import format_utc
from pyade.text import Printed

_SLICE = 1_000


@attrs.frozen(kw_only=True)
class PlannedGroup(Printed):
    """Devices that are to be sent for the same reason.

    Attributes:
        choice: What they should have, and who says so.
        reason: Why that needs a request.
        serials: Their serial numbers.
    """

    choice: ProfileSelection
    reason: Reason
    serials: Sequence[str] = attrs.field(repr=False, hash=False)

    def _words(self) -> str:
        profile = self.choice.profile
        what = "lose their profile" if profile is None else f"get {profile.name!r}"
        return f"{len(self.serials):,} {what} ({self.choice.chosen_by}): they {self.reason}"


@attrs.frozen(kw_only=True)
class PlannedDevice:
    """One device that is to be sent.

    Attributes:
        serial_number: Which one.
        choice: What it should have, and who says so.
        reason: Why that needs a request.
    """

    serial_number: str
    choice: ProfileSelection
    reason: Reason


@attrs.frozen(kw_only=True)
class AssignmentPlan(Printed):
    """What is to be sent, and where every other device of the whole went; ``print`` shows the counts.

    Attributes:
        groups: What is to be sent and why.
        satisfied: Devices that have what they should have.
        waiting: Devices that must be left alone until their time has come.
        unreachable: Devices that this server cannot reach, until Apple lists them again.
        owned_elsewhere: Devices that were assigned to the server of another stored token since.
        without_profile: Macs that have no profile, and for which none is wanted: no rule matches, there is
            no default, and none was picked.
        left_alone: Macs that have a profile, although none is wanted for them any more.
        not_macs: Devices that are no Macs.
        released: Devices that Apple no longer lists, if they were named.
        next_due_at: When the first of the waiting ones may be tried, UTC.
        warnings: What the change does not do.
        unsettled: Ids of the profiles for which devices wait, or that devices cannot be given.
        unread: Serial numbers whose details could not be read, or said nothing, after Apple's answer.
        spoiling: Serial numbers to send that spoiled their request when they were sent alone.
        spoiled: Ids of the profiles that such devices should have got, where they wait now.
    """

    groups: tuple[PlannedGroup, ...] = ()
    satisfied: int = 0
    waiting: int = 0
    unreachable: int = 0
    owned_elsewhere: int = 0
    without_profile: int = 0
    left_alone: int = 0
    not_macs: int = 0
    released: int = 0
    next_due_at: datetime | None = None
    warnings: tuple[Problem, ...] = ()
    unsettled: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    unread: tuple[str, ...] = attrs.field(default=(), repr=False)
    spoiling: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    spoiled: frozenset[str] = attrs.field(default=frozenset(), repr=False)

    @property
    def due(self) -> int:
        """How many devices are to be sent."""
        return sum(len(group.serials) for group in self.groups)

    @property
    def kept(self) -> int:
        """How many devices are left as they are."""
        return sum(count for count, _ in self._kept())

    @property
    def total(self) -> int:
        """How many devices were looked at: what is to be sent and what is left as it is add up to it."""
        return self.due + self.kept

    @property
    def reasons(self) -> Mapping[Reason, int]:
        """How many devices are to be sent for which reason."""
        reasons: Counter[Reason] = Counter()
        for group in self.groups:
            reasons[group.reason] += len(group.serials)
        return reasons

    def devices(self) -> Iterator[PlannedDevice]:
        """Iterate over the devices that are to be sent, each with its reason."""
        for group in self.groups:
            for serial in group.serials:
                yield PlannedDevice(serial_number=serial, choice=group.choice, reason=group.reason)

    @property
    def uncertain(self) -> frozenset[str]:
        """Serial numbers of devices that may have what they should have: their details are read first."""
        groups = (group for group in self.groups if group.reason is Reason.UNCERTAIN)
        return frozenset(serial for group in groups for serial in group.serials)

    def batches(self) -> Iterator[tuple[ProfileSelection, Sequence[str]]]:
        """Iterate over the profiles to assign, each once with all serial numbers; defined ones come first."""
        batches: dict[str, tuple[ProfileSelection, list[str]]] = {}
        for group in sorted(self.groups, key=lambda group: not group.choice.is_defined):
            batches.setdefault(group.choice.profile_uuid, (group.choice, []))[1].extend(group.serials)
        yield from batches.values()

    def lines(self) -> Iterator[str]:
        """Iterate over what is left as it is, in words, and the warnings."""
        yield from (f"{count:,} {text}" for count, text in self._kept() if count)
        yield from (f"warning: {warning}" for warning in self.warnings)

    def _kept(self) -> tuple[tuple[int, str], ...]:
        return (
            (self.satisfied, "have it already"),
            (self.waiting, "wait"),
            (self.unreachable, "are not accessible"),
            (self.owned_elsewhere, "were assigned to the server of another token since"),
            (self.without_profile, "have no profile to get"),
            (self.left_alone, "keep the profile that they have, although nothing asks for it"),
            (self.not_macs, "are no Macs"),
            (self.released, "are released"),
        )

    def _words(self) -> list[str]:
        lines = [f"{self.total:,} devices, {self.due:,} to send"]
        lines.extend(f"  {line}" for line in (*map(str, self.groups), *self.lines()))
        if self.next_due_at is not None:
            lines.append(f"  next: from {format_utc(self.next_due_at)}")
        return lines


class Planner:
    """Sorts records, one by one, into what is to be sent and what is not."""

    def __init__(self, definitions: DefinedProfiles, now: datetime) -> None:
        self._definitions = definitions
        self._now = now
        self._groups: dict[tuple[str, str, Reason], tuple[ProfileSelection, list[str]]] = {}
        self._due: dict[tuple[str, str, Reason], tuple[ProfileSelection, list[DeviceGroup]]] = {}
        self._counts: Counter[str] = Counter()
        self._replaced: dict[tuple[str, str], tuple[ProfileSelection, Counter[bool]]] = {}
        self._next_due_at: datetime | None = None
        self._unsettled: set[str] = set()
        self._unread: list[str] = []
        self._spoiling: set[str] = set()
        self._spoiled: set[str] = set()

    def send(self, serial_number: str, choice: ProfileSelection, reason: Reason) -> None:
        """Put a device among those to send."""
        # Not by the choice itself: hashing a whole profile for each device takes seconds for a fleet.
        key = (choice.profile_uuid, choice.chosen_by, reason)
        self._groups.setdefault(key, (choice, []))[1].append(serial_number)

    def leave(self, kind: str, count: int = 1) -> None:
        """Count devices that are left as they are, by the plan's attribute."""
        self._counts[kind] += count

    def send_group(self, group: DeviceGroup, choice: ProfileSelection, count: int) -> None:
        """Put the *count* Macs of *group* among those to send; no attempt of theirs is open."""
        key = (choice.profile_uuid, choice.chosen_by, group.why_not(choice.profile_uuid))
        self._due.setdefault(key, (choice, []))[1].append(group)
        is_fetched = group.profile_status == ProfileStatus.PUSHED
        self._note_replaced(group.given, choice, count, is_fetched=is_fetched)

    def name_groups(self, store: Store, token_name: str) -> None:
        """Find the serial numbers of the groups to send, in the store's order, in which they lie together."""
        for key, (choice, groups) in self._due.items():
            self._groups.setdefault(key, (choice, []))[1].extend(store.serials_in(token_name, groups))

    def leave_group(self, group: DeviceGroup, choice: ProfileSelection | None, count: int) -> bool:
        """Count *count* Macs of *group* if they are left as they are; False if they are to be sent.

        Args:
            group: What they have in common; no attempt of theirs is open.
            choice: What they should have; None if nothing asks for a profile.
            count: How many there are, without those that belong to another stored token.
        """
        if choice is None:
            self.leave(_left_without_choice(group.given), count)
        elif group.has_profile(choice.profile_uuid):
            self.leave("satisfied", count)
        else:
            return False
        return True

    def sort(
        self, record: DeviceRecord, choice: ProfileSelection | None, *, is_ours: bool, asked: bool = False
    ) -> bool:
        """Put *record* where it belongs; True if it is due, or will be when its time has come.

        Args:
            record: What the store knows.
            choice: What the device should have; None if nothing asks for a profile.
            is_ours: False if it belongs to another stored token.
            asked: True if a person named it: it is then tried although it was not accessible.
        """
        if is_ours and record.attempt is not None and record.attempt.is_unread:
            self._unread.append(record.serial_number)
        if record.is_released or not record.device.is_mac:
            self.leave("released" if record.is_released else "not_macs")
        elif not is_ours:
            self.leave("owned_elsewhere")
        elif choice is None:
            self.leave(_left_without_choice(profile_of(record)))
        elif has_profile(record, choice.profile_uuid):
            self.leave("satisfied")
        elif not (asked or is_reachable(record)):
            self.leave("unreachable")
            self._unsettled.add(choice.profile_uuid)
        elif (reason := needs_profile(record, choice.profile_uuid, self._now, asked=asked)) is not None:
            self.send(record.serial_number, choice, reason)
            if record.attempt is not None and spoiled_its_request(record.attempt):
                self._spoiling.add(record.serial_number)
            is_fetched = record.device.profile_status == ProfileStatus.PUSHED
            self._note_replaced(profile_of(record), choice, 1, is_fetched=is_fetched)
            return True
        else:
            self.leave("waiting")
            self._unsettled.add(choice.profile_uuid)
            if record.attempt is not None and spoiled_its_request(record.attempt):
                self._spoiled.add(record.attempt.profile_uuid)
            self._next_due_at = earliest(self._next_due_at, waits_until(record, self._now))
            return True
        return False

    def plan(self) -> AssignmentPlan:
        """Return what was sorted so far."""
        return AssignmentPlan(
            groups=tuple(
                PlannedGroup(choice=choice, reason=reason, serials=serials)
                for (_, _, reason), (choice, serials) in self._groups.items()
            ),
            next_due_at=self._next_due_at,
            warnings=tuple(self._warnings()),
            unsettled=frozenset(self._unsettled),
            unread=tuple(self._unread),
            spoiling=frozenset(self._spoiling),
            spoiled=frozenset(self._spoiled),
            **self._counts,
        )

    def _note_replaced(self, before: str, choice: ProfileSelection, count: int, *, is_fetched: bool) -> None:
        if before != NO_PROFILE and choice.profile is not None:
            key = (before, choice.profile_uuid)
            self._replaced.setdefault(key, (choice, Counter()))[1][is_fetched] += count

    def _warnings(self) -> Iterator[Problem]:
        for (uuid, _), (choice, counts) in self._replaced.items():
            before = self._definitions.by_uuid(uuid)
            if before is not None and choice.profile is not None and counts[True]:
                yield from _locked_change(before.profile, choice.profile, fetched=counts[True])


def _left_without_choice(given: str) -> str:
    """Return the plan's attribute for Macs that have the profile *given*, and for which none is wanted."""
    return "without_profile" if given == NO_PROFILE else "left_alone"


def _locked_change(before: EnrollmentProfile, after: EnrollmentProfile, *, fetched: int) -> Iterator[Problem]:
    """Tell what a change does not do to Macs that enrolled with a locked profile.

    Source: specification, "Create an Apple enrollment profile", Locked enrollment: after a device enrolled,
    it cannot be changed without wiping the device.
    """
    if not (before.locked or after.locked):
        return
    if settings := ", ".join(change.setting for change in before.diff(after).never_received):
        one = fetched == 1
        yield Problem(
            "locked",
            before.name,
            f"Macs that enrolled with it keep it until they are wiped, so these changes of {after.name!r} do "
            f"not reach them: {settings}; {fetched:,} of them {'has' if one else 'have'} fetched it",
            "wipe the Macs that must have the change",
            Severity.WARNING,
        )


def plan_all(store: Store, token_name: str, selector: ProfileSelector, now: datetime) -> AssignmentPlan:
    """Return what to send so that every Mac has what it should have.

    Only devices of which something may have to be sent are read; all others are counted by their groups.
    """
    planner = Planner(selector.definitions, now)
    picked: dict[str, ProfileSelection] = {}

    def note(choice: ProfileSelection | None) -> None:
        if choice is not None and choice.chosen_by == BY_HAND:
            picked[choice.profile_uuid] = choice

    elsewhere = owned_elsewhere(store, token_name)
    lost = Counter(elsewhere.values())
    open_groups: list[DeviceGroup] = []
    for group, count in store.device_groups(token_name).items():
        if not group.is_listed:
            continue
        selections = selector.candidates(group) if group.is_mac else (None,)
        ours = count - lost[group]
        if group.is_open or len(selections) > 1:
            open_groups.append(group)
        elif not group.is_mac:
            planner.leave("not_macs", count)
        elif ours <= 0 or planner.leave_group(group, selections[0], ours):
            planner.leave("owned_elsewhere", lost[group])
            note(selections[0] if ours > 0 else None)
        elif (choice := selections[0]) is None or lost[group]:
            open_groups.append(group)
        else:
            planner.send_group(group, choice, count)
            note(choice)
    planner.name_groups(store, token_name)
    for record in store.devices(token_name, groups=open_groups):
        is_ours = record.serial_number not in elsewhere
        choice = selector.choose(record) if is_ours and record.device.is_mac else None
        planner.sort(record, choice, is_ours=is_ours)
        note(choice)
    names = names_in_use([*selector.standing(), *(picked[uuid] for uuid in sorted(picked))])
    return attrs.evolve(plan := planner.plan(), warnings=(*plan.warnings, *names))


def picked_for(store: Store, token_name: str, profile: EnrollmentProfile) -> tuple[str, ...]:
    """Return the serial numbers of the devices for which exactly *profile* was picked by hand."""
    definitions = DefinedProfiles(store.profiles(token_name))
    wanted = definitions.individual(profile)
    if wanted is None:
        return ()
    selector = ProfileSelector(definitions, AssignmentPolicy(), None)
    groups = [
        group
        for group in store.device_groups(token_name)
        if group.is_listed
        and (choice := selector.picked(group)) is not None
        and choice.profile_uuid == wanted.profile_uuid
    ]
    return tuple(store.serials_in(token_name, groups))


def believed(
    store: Store, token_name: str, choice: ProfileSelection, serials: Sequence[str]
) -> tuple[str, ...]:
    """Return which of *serials* have what was chosen for them, as far as is known."""
    slices = (serials[start : start + _SLICE] for start in range(0, len(serials), _SLICE))
    named = (record for part in slices for record in store.devices(token_name, serials=part))
    return tuple(record.serial_number for record in named if has_profile(record, choice.profile_uuid))


def plan_by_hand(
    store: Store, choice: ProfileSelection, serials: Sequence[str], now: datetime, lease: Lease
) -> AssignmentPlan:
    """Return what to send so that hand-picked devices have what was chosen for them.

    What is wanted is stored first, so that the next run goes on where this one may be cut short.
    """
    token_name = lease.token_name
    planner = Planner(DefinedProfiles(store.profiles(token_name)), now)
    uuid = choice.profile_uuid
    intents: dict[str, Attempt] = {}
    unknown = dict.fromkeys(serials)
    for start in range(0, len(serials), _SLICE):
        named = store.devices(token_name, serials=serials[start : start + _SLICE], released=None)
        for record, is_ours in with_owner(store, token_name, named):
            del unknown[record.serial_number]
            is_due = planner.sort(record, choice, is_ours=is_ours, asked=True)
            # Also a device without a profile may have one coming; that ends here.
            has_one_coming = uuid == NO_PROFILE and bool(record.attempt or record.device.profile_uuid)
            if is_due or (has_one_coming and is_ours and not record.is_released and record.device.is_mac):
                intents[record.serial_number] = _intent(record.attempt, uuid, now, is_due=is_due)
    for serial in unknown:
        planner.send(serial, choice, Reason.UNKNOWN)
    if intents:
        store.record_attempts(token_name, intents, now=now, lease=lease)
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
