"""Plan which profiles to send to which devices, and why. Reads the store and sends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Final

import attrs

from pyade.assignment.risk import owned_elsewhere, with_owner
from pyade.assignment.rules import AssignmentPolicy
from pyade.assignment.same_names import names_in_use
from pyade.assignment.selection import BY_HAND, DefinedProfiles, ProfileSelection, ProfileSelector
from pyade.core.exports import Exportable
from pyade.core.fleet.assignment import (
    NO_PROFILE,
    Reason,
    failed_alone,
    has_profile,
    is_reachable,
    needs_profile,
    outcome,
    profile_of,
    waits_until,
)
from pyade.core.fleet.device import DeviceResult, ProfileStatus
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import DeviceRecord, SyncState
from pyade.core.problems import Problem, Severity, problem_tables
from pyade.core.profile.profile import EnrollmentProfile
from pyade.storage.protocol import Store
from pyade.text import Printed, Table, abbreviate, format_utc, pluralize, short_repr

_BATCH_SIZE = 1_000
_SELECTION: Final = "profile=selection.profile.name selection.profile_uuid selection.chosen_by"


@attrs.frozen(kw_only=True)
class PlannedGroup(Exportable, Printed):
    """Devices to send a profile to for the same reason.

    Attributes:
        selection: The profile that they should have, and who selected it.
        reason: Why that needs a request.
        serials: Their serial numbers.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    selection: ProfileSelection
    reason: Reason
    serials: Sequence[str] = attrs.field(repr=False, hash=False)

    _EXPORTED: ClassVar[str] = f"{_SELECTION} reason serials"

    def _words(self) -> str:
        profile = self.selection.profile
        count = len(self.serials)
        who, many = ("it", "s") if count == 1 else ("they", "")
        what = f"lose{many} the profile" if profile is None else f"get{many} {profile.name!r}"
        return f"{count:,} {what} ({self.selection.chosen_by}): {who} {self.reason.of(count)}"


@attrs.frozen(kw_only=True)
class PlannedDevice(Exportable):
    """One device to send a profile to.

    Attributes:
        serial_number: Its serial number.
        selection: The profile that it should have, and who selected it.
        reason: Why that needs a request.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    serial_number: str
    selection: ProfileSelection
    reason: Reason

    _EXPORTED: ClassVar[str] = f"serial_number {_SELECTION} reason"


@attrs.frozen(kw_only=True, repr=False)
class AssignmentPlan(Exportable, Printed):
    """What to send, and how many other devices are left as they are and why; ``print`` shows the counts.

    Attributes:
        groups: What to send and why.
        satisfied: Devices that have the profile that they should have.
        waiting: Devices that must not be sent before their retry time.
        unreachable: Devices that this server cannot reach, until Apple lists them again.
        owned_elsewhere: Devices that have moved to the server of another stored token.
        without_profile: Macs that have no profile and need none: no rule matches, there is no default, and
            none was picked.
        left_alone: Macs that have a profile that is no longer selected for them.
        not_macs: Devices that are not Macs.
        released: Devices that Apple no longer lists, if the caller named them.
        next_due_at: When the first of the waiting devices may be tried, UTC.
        warnings: What the change does not do.
        unsettled: Ids of the profiles that waiting or unreachable devices should have.
        unread: Serial numbers whose details could not be read, or were empty, after Apple's response.
        spoiling: Serial numbers to send that made their request fail when they were sent alone.
        spoiled: Ids of the profiles that such devices should have, if they wait now.
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

    _EXPORTED: ClassVar[str] = (
        "total due satisfied waiting unreachable owned_elsewhere without_profile left_alone not_macs "
        "released next_due_at reasons groups warnings"
    )

    @property
    def due(self) -> int:
        """The number of devices to send."""
        return sum(len(group.serials) for group in self.groups)

    @property
    def kept(self) -> int:
        """The number of devices that are left as they are."""
        return sum(count for count, _ in self._kept_counts())

    @property
    def total(self) -> int:
        """The number of devices that were examined: ``due`` plus ``kept``."""
        return self.due + self.kept

    @property
    def reasons(self) -> Mapping[Reason, int]:
        """The number of devices to send, by reason."""
        reasons: Counter[Reason] = Counter()
        for group in self.groups:
            reasons[group.reason] += len(group.serials)
        return reasons

    def devices(self) -> Iterator[PlannedDevice]:
        """Iterate over the devices to send, each with its reason."""
        for group in self.groups:
            for serial in group.serials:
                yield PlannedDevice(serial_number=serial, selection=group.selection, reason=group.reason)

    @property
    def uncertain(self) -> frozenset[str]:
        """Serial numbers of devices that may have the profile already: their details are read first."""
        groups = (group for group in self.groups if group.reason is Reason.UNCERTAIN)
        return frozenset(serial for group in groups for serial in group.serials)

    def batches(self) -> Iterator[tuple[ProfileSelection, Sequence[str]]]:
        """Iterate over the profiles to assign, each with its serial numbers; defined ones come first."""
        batches: dict[str, tuple[ProfileSelection, list[str]]] = {}
        for group in sorted(self.groups, key=lambda group: not group.selection.is_defined):
            batches.setdefault(group.selection.profile_uuid, (group.selection, []))[1].extend(group.serials)
        yield from batches.values()

    def lines(self) -> Iterator[str]:
        """Iterate over lines of text: the devices that are left as they are, and the warnings."""
        yield from (f"{count:,} {text}" for count, text in self._kept_counts() if count)
        yield from (f"warning: {warning}" for warning in self.warnings)

    def _kept_counts(self) -> tuple[tuple[int, str], ...]:
        return (
            (self.satisfied, "have it already"),
            (self.waiting, "wait"),
            (self.unreachable, "are not accessible"),
            (self.owned_elsewhere, "have moved to the server of another token"),
            (self.without_profile, "have no profile, and none is selected for them"),
            (self.left_alone, "keep the profile that they have, although none is selected for them"),
            (self.not_macs, "are not Macs"),
            (self.released, "are released"),
        )

    def _words(self) -> list[str]:
        lines = [f"{pluralize(self.total, 'device')}, {self.due:,} to send"]
        lines.extend(f"  {line}" for line in (*map(str, self.groups), *self.lines()))
        if self.next_due_at is not None:
            lines.append(f"  next: from {format_utc(self.next_due_at)}")
        return lines

    def _tables(self) -> Iterator[Table]:
        title = f"{pluralize(self.total, 'device')}, {self.due:,} to send"
        heads = ("devices", "profile", "selected by", "because they", "serial numbers")
        groups = [
            (
                f"{len(group.serials):,}",
                "none: it is removed" if group.selection.profile is None else group.selection.profile.name,
                group.selection.chosen_by,
                group.reason.value,
                abbreviate(group.serials),
            )
            for group in self.groups
        ]
        yield Table(title, heads if groups else (), groups)
        if kept := [(f"{count:,}", text) for count, text in self._kept_counts() if count]:
            yield Table("Left as they are", (), kept)
        yield from problem_tables(self.warnings)


class Planner:
    """Sorts device records, one by one, into those to send and those to leave as they are."""

    def __init__(self, defined: DefinedProfiles, now: datetime) -> None:
        self._defined = defined
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

    def send(self, serial_number: str, selection: ProfileSelection, reason: Reason) -> None:
        """Add a device to those to send."""
        # The key omits the selection: hashing a whole profile for each device takes seconds for a fleet.
        key = (selection.profile_uuid, selection.chosen_by, reason)
        self._groups.setdefault(key, (selection, []))[1].append(serial_number)

    def leave(self, attribute: str, count: int = 1) -> None:
        """Count devices that are left as they are, in that *attribute* of the plan."""
        self._counts[attribute] += count

    def send_group(self, group: DeviceGroup, selection: ProfileSelection, count: int) -> None:
        """Add the *count* Macs of *group*, which have no open attempt, to those to send."""
        key = (selection.profile_uuid, selection.chosen_by, group.why_not(selection.profile_uuid))
        self._due.setdefault(key, (selection, []))[1].append(group)
        is_fetched = group.profile_status == ProfileStatus.PUSHED
        self._note_replaced(group.given, selection, count, is_fetched=is_fetched)

    def name_groups(self, store: Store, token_name: str) -> None:
        """Read the serial numbers of the groups to send, in store order, which keeps groups together."""
        for key, (selection, groups) in self._due.items():
            self._groups.setdefault(key, (selection, []))[1].extend(store.serials_in(token_name, groups))

    def leave_group(self, group: DeviceGroup, selection: ProfileSelection | None, count: int) -> bool:
        """Count the *count* Macs of *group* if they are left as they are; return False if they must be sent.

        Args:
            group: Their common fields; they have no open attempt.
            selection: What they should have; None if no profile is selected for them.
            count: Their number, without those that belong to another stored token.
        """
        if selection is None:
            self.leave(_attribute_without_selection(group.given), count)
        elif group.has_profile(selection.profile_uuid):
            self.leave("satisfied", count)
        else:
            return False
        return True

    def sort(
        self, record: DeviceRecord, selection: ProfileSelection | None, *, is_ours: bool, asked: bool = False
    ) -> bool:
        """Add *record* to the devices to send or to leave; return True if it is due now or at a later time.

        Args:
            record: The stored record.
            selection: What the device should have; None if no profile is selected for it.
            is_ours: False if it belongs to another stored token.
            asked: True if the caller named it: it is then tried although it was not accessible.
        """
        if is_ours and record.attempt is not None and record.attempt.is_unread:
            self._unread.append(record.serial_number)
        if record.is_released or not record.device.is_mac:
            self.leave("released" if record.is_released else "not_macs")
        elif not is_ours:
            self.leave("owned_elsewhere")
        elif selection is None:
            self.leave(_attribute_without_selection(profile_of(record)))
        elif has_profile(record, selection.profile_uuid):
            self.leave("satisfied")
        elif not (asked or is_reachable(record)):
            self.leave("unreachable")
            self._unsettled.add(selection.profile_uuid)
        elif (reason := needs_profile(record, selection.profile_uuid, self._now, asked=asked)) is not None:
            self.send(record.serial_number, selection, reason)
            if record.attempt is not None and failed_alone(record.attempt):
                self._spoiling.add(record.serial_number)
            is_fetched = record.device.profile_status == ProfileStatus.PUSHED
            self._note_replaced(profile_of(record), selection, 1, is_fetched=is_fetched)
            return True
        else:
            self.leave("waiting")
            self._unsettled.add(selection.profile_uuid)
            if record.attempt is not None and failed_alone(record.attempt):
                self._spoiled.add(record.attempt.profile_uuid)
            self._next_due_at = earlier_of(self._next_due_at, waits_until(record, self._now))
            return True
        return False

    def plan(self) -> AssignmentPlan:
        """Return the plan for all devices that were added so far."""
        return AssignmentPlan(
            groups=tuple(
                PlannedGroup(selection=selection, reason=reason, serials=serials)
                for (_, _, reason), (selection, serials) in self._groups.items()
            ),
            next_due_at=self._next_due_at,
            warnings=tuple(self._warnings()),
            unsettled=frozenset(self._unsettled),
            unread=tuple(self._unread),
            spoiling=frozenset(self._spoiling),
            spoiled=frozenset(self._spoiled),
            **self._counts,
        )

    def _note_replaced(
        self, before: str, selection: ProfileSelection, count: int, *, is_fetched: bool
    ) -> None:
        if before != NO_PROFILE and selection.profile is not None:
            key = (before, selection.profile_uuid)
            self._replaced.setdefault(key, (selection, Counter()))[1][is_fetched] += count

    def _warnings(self) -> Iterator[Problem]:
        for (uuid, _), (selection, counts) in self._replaced.items():
            before = self._defined.by_uuid(uuid)
            if before is not None and selection.profile is not None and counts[True]:
                yield from _locked_change(before.profile, selection.profile, fetched=counts[True])


def _attribute_without_selection(given: str) -> str:
    """Return the plan's attribute for Macs that have the profile *given* and for which none is selected."""
    return "without_profile" if given == NO_PROFILE else "left_alone"


def _locked_change(before: EnrollmentProfile, after: EnrollmentProfile, *, fetched: int) -> Iterator[Problem]:
    """Yield a warning about changes that do not reach Macs that enrolled with a locked profile.

    Source: specification, "Create an Apple enrollment profile", Locked enrollment: after a device enrolled,
    it cannot be changed without wiping the device.
    """
    if not (before.locked or after.locked):
        return
    if settings := ", ".join(change.setting for change in before.diff(after).never_received):
        verb = "has" if fetched == 1 else "have"
        yield Problem(
            "locked",
            before.name,
            f"Macs that enrolled with it keep it until they are wiped, so these changes of {after.name!r} do "
            f"not reach them: {settings}; {fetched:,} of them {verb} fetched it",
            "wipe the Macs that must have the change",
            Severity.WARNING,
        )


def plan_all(store: Store, token_name: str, selector: ProfileSelector, now: datetime) -> AssignmentPlan:
    """Return what to send so that every Mac has what it should have.

    Reads only the devices that may have to be sent; all others are counted by their groups.
    """
    planner = Planner(selector.defined, now)
    picked: dict[str, ProfileSelection] = {}

    def collect_picked(selection: ProfileSelection | None) -> None:
        if selection is not None and selection.chosen_by == BY_HAND:
            picked[selection.profile_uuid] = selection

    elsewhere = owned_elsewhere(store, token_name)
    lost = Counter(elsewhere.values())
    open_groups: list[DeviceGroup] = []
    for group, count in store.device_groups(token_name).items():
        if not group.is_listed:
            continue
        selections = selector.possible_selections(group) if group.is_mac else (None,)
        ours = count - lost[group]
        if group.is_open or len(selections) > 1:
            open_groups.append(group)
        elif not group.is_mac:
            planner.leave("not_macs", count)
        elif ours <= 0 or planner.leave_group(group, selections[0], ours):
            planner.leave("owned_elsewhere", lost[group])
            collect_picked(selections[0] if ours > 0 else None)
        elif (selection := selections[0]) is None or lost[group]:
            open_groups.append(group)
        else:
            planner.send_group(group, selection, count)
            collect_picked(selection)
    planner.name_groups(store, token_name)
    for record in store.devices(token_name, groups=open_groups):
        is_ours = record.serial_number not in elsewhere
        selection = selector.select(record) if is_ours and record.device.is_mac else None
        planner.sort(record, selection, is_ours=is_ours)
        collect_picked(selection)
    names = names_in_use([*selector.configured_selections(), *(picked[uuid] for uuid in sorted(picked))])
    plan = planner.plan()
    nothing = why_nothing_is_sent(store.sync_state(token_name), selector, plan)
    return attrs.evolve(plan, warnings=(*plan.warnings, *names, *nothing))


def why_nothing_is_sent(
    state: SyncState, selector: ProfileSelector, plan: AssignmentPlan
) -> Iterator[Problem]:
    """Yield what a caller forgot, if there is nothing to send."""
    if not plan.total and state.listed_at is None:
        text, fix = "nothing is synced yet, so no device is known", "call Syncer(apple, store).sync() first"
        yield Problem("devices", "", text, fix, Severity.WARNING)
    if plan.without_profile and not plan.due and not selector.configured_selections():
        text = f"{pluralize(plan.without_profile, 'Mac')} without a profile: no rule and no default gives one"
        fix = "call run(default=profile), or pass policy= with rules"
        yield Problem("default", "", text, fix, Severity.WARNING)


def picked_for(store: Store, token_name: str, profile: EnrollmentProfile) -> tuple[str, ...]:
    """Return the serial numbers of the devices for which exactly *profile* was picked by hand."""
    defined = DefinedProfiles(store.profiles(token_name))
    wanted = defined.find_individual(profile)
    if wanted is None:
        return ()
    selector = ProfileSelector(defined, AssignmentPolicy(), None)
    groups = [
        group
        for group in store.device_groups(token_name)
        if group.is_listed
        and (selection := selector.picked_selection(group)) is not None
        and selection.profile_uuid == wanted.profile_uuid
    ]
    return tuple(store.serials_in(token_name, groups))


def already_assigned(
    store: Store, token_name: str, selection: ProfileSelection, serials: Sequence[str]
) -> tuple[str, ...]:
    """Return which of *serials* have the selected profile according to the store."""
    slices = (serials[start : start + _BATCH_SIZE] for start in range(0, len(serials), _BATCH_SIZE))
    named = (record for part in slices for record in store.devices(token_name, serials=part))
    return tuple(record.serial_number for record in named if has_profile(record, selection.profile_uuid))


def plan_by_hand(
    store: Store, selection: ProfileSelection, serials: Sequence[str], now: datetime, lease: Lease
) -> AssignmentPlan:
    """Return what to send so that hand-picked devices have *selection*.

    Stores the intent first, so that the next run continues if this one is interrupted.
    """
    token_name = lease.token_name
    planner = Planner(DefinedProfiles(store.profiles(token_name)), now)
    uuid = selection.profile_uuid
    intents: dict[str, Attempt] = {}
    unknown = dict.fromkeys(serials)
    for start in range(0, len(serials), _BATCH_SIZE):
        named = store.devices(token_name, serials=serials[start : start + _BATCH_SIZE], released=None)
        for record, is_ours in with_owner(store, token_name, named):
            del unknown[record.serial_number]
            is_due = planner.sort(record, selection, is_ours=is_ours, asked=True)
            # A device without a profile may have one pending, which a removal cancels.
            has_pending = uuid == NO_PROFILE and bool(record.attempt or record.device.profile_uuid)
            if is_due or (has_pending and is_ours and not record.is_released and record.device.is_mac):
                intents[record.serial_number] = _intent(record.attempt, uuid, now, is_due=is_due)
    for serial in unknown:
        planner.send(serial, selection, Reason.UNKNOWN)
    if intents:
        store.record_attempts(token_name, intents, now=now, lease=lease)
    return planner.plan()


def _intent(attempt: Attempt | None, uuid: str, now: datetime, *, is_due: bool) -> Attempt:
    """Return an attempt that records the wanted profile; an unexpired retry time is kept."""
    if attempt is not None and attempt.not_before is not None and attempt.not_before > now:
        return attrs.evolve(attempt, profile_uuid=uuid)
    result = DeviceResult.NOT_SENT if is_due else DeviceResult.SUCCESS
    return outcome(result, profile_uuid=uuid, attempted_at=now, answered_at=now)


def earlier_of(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the earlier time; None counts as never."""
    if one is None or other is None:
        return one or other
    return min(one, other)
