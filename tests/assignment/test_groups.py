"""Groups of devices give the same result as reading each record; the old code is here, to compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from pyade.assignment import risks
from pyade.assignment.failures import has_stopped, risk_problem
from pyade.assignment.plan import AssignmentPlan, Planner, picked_for, plan_all, why_nothing_is_sent
from pyade.assignment.risk import NO_RULES, count_at_risk
from pyade.assignment.rules import AssignmentPolicy, Rule
from pyade.assignment.same_names import names_beside, names_in_use
from pyade.assignment.selection import (
    BY_HAND,
    DefinedProfiles,
    ProfileSelection,
    ProfileSelector,
    select_by_hand,
)
from pyade.builders.dep_profile import digest
from pyade.core.fleet.assignment import Risk, is_without_profile, risk_of
from pyade.core.fleet.device import Device, DeviceFamily, DeviceResult, ProfileStatus
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import DeviceRecord, owner_of
from pyade.core.profile.profile import DefinedProfile, EnrollmentProfile
from pyade.errors import PolicyError
from pyade.operations import doctor, migration_deadlines, overview
from pyade.storage import MemoryStore, Store
from pyade.testing.store_examples import example_token

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TOKENS = ("hq", "lab")
SERIALS = tuple("ABCDEF")

STANDARD = EnrollmentProfile(name="Standard", url="https://mdm.contoso.example/enroll")
SPECIAL = attrs.evolve(STANDARD, name="Special", department="Special")
NAMESAKE = attrs.evolve(SPECIAL, department="Other")
LOCKED = attrs.evolve(STANDARD, name="Locked", locked=True, department="Locked")
DEFINED = (
    ("P1", STANDARD, False),
    ("p2", SPECIAL, True),
    ("P3", SPECIAL, True),  # the newest of the same content
    ("P4", NAMESAKE, True),
    ("P5", LOCKED, False),
)
UUIDS = ("P1", "p1", "p1", "P2", "p2", "P3", "p4", "P5", "unknown")


RULES = (
    Rule(name="minis", profile=LOCKED, model="mac m*"),
    Rule(name="macs", profile=STANDARD, family="Mac"),
    Rule(name="tag", profile=SPECIAL, asset_tag="T1"),
    Rule(name="tagged minis", profile=STANDARD, model="Mac mini", asset_tag="T*"),
    Rule(name="memory", profile=LOCKED, description="*16GB*"),
    Rule(name="order", profile=LOCKED, order="O-1"),
    Rule(name="own", profile=STANDARD, predicate=lambda device: device.color == "GOLD"),
)


def policy_of(rules: list[Rule]) -> AssignmentPolicy | None:
    """Return the policy of *rules*; None where one of them can never decide."""
    try:
        return AssignmentPolicy(rules, order_numbers={"A": "O-1", "B": "O-2"})
    except PolicyError:
        return None


policies = (
    st.lists(st.sampled_from(RULES), max_size=3, unique_by=id)
    .map(policy_of)
    .filter(lambda policy: policy is not None)
)
times = st.none() | st.sampled_from([NOW - 9 * DAY, NOW - 5 * DAY, NOW - DAY, NOW + DAY])
devices = st.builds(
    Device,
    serial_number=st.sampled_from(SERIALS),
    model=st.sampled_from([None, "Mac mini", "iMac"]),
    device_family=st.sampled_from([None, DeviceFamily.MAC, DeviceFamily.MAC, DeviceFamily("iPad")]),
    os=st.sampled_from([None, "OSX", "iOS"]),
    description=st.sampled_from([None, "x 16GB x"]),
    color=st.sampled_from([None, "GOLD"]),
    asset_tag=st.sampled_from([None, "T1", "T2"]),
    profile_status=st.none() | st.sampled_from([*ProfileStatus, ProfileStatus("levitating")]),
    profile_uuid=st.none() | st.sampled_from(("", *UUIDS)),
    profile_assign_time=times,
    device_assigned_date=times,
    mdm_migration_deadline=times,
    is_replacement_device=st.sampled_from([None, False, True]),
)
attempts = st.builds(
    Attempt,
    profile_uuid=st.sampled_from(("", *UUIDS)),
    result=st.sampled_from([DeviceResult.SUCCESS] * 5 + [*DeviceResult]),
    attempted_at=st.sampled_from([NOW - 3 * DAY, NOW - DAY]),
    not_before=times,
    contradicted=st.sampled_from([(), (NOW - DAY,)]),
    is_unread=st.booleans(),
)
records = st.builds(
    DeviceRecord,
    token_name=st.sampled_from(TOKENS),
    device=devices,
    first_seen_at=st.just(NOW - 9 * DAY),
    updated_at=st.sampled_from([NOW - 9 * DAY, NOW - 2 * DAY]),
    op_date=times,
    released_at=st.sampled_from([None, None, None, NOW - DAY]),
    deleted_at=st.sampled_from([None, None, None, NOW - DAY]),
    attempt=st.none() | attempts,
    op_date_sent=st.sampled_from([None, None, NOW + 999 * DAY]),
)
fleets = st.lists(records, max_size=12, unique_by=lambda record: (record.token_name, record.serial_number))


def store_of(
    fleet: list[DeviceRecord], *, default: EnrollmentProfile | None, is_stopped: bool
) -> MemoryStore:
    """Return a store that holds exactly these records."""
    store = MemoryStore()
    fill(store, fleet, default=default, is_stopped=is_stopped)
    return store


def fill(
    store: MemoryStore, fleet: list[DeviceRecord], *, default: EnrollmentProfile | None, is_stopped: bool
) -> None:
    for name in TOKENS:
        store.add_token(example_token(name))
        store.set_default_profile(name, default)
        for number, (uuid, profile, individual) in enumerate(DEFINED):
            defined = DefinedProfile(
                profile_uuid=uuid,
                profile=profile,
                digest=digest(profile),
                defined_at=NOW - (9 - number) * DAY,
                individual=individual,
            )
            store.save_profile(name, defined)
        state = store.sync_state(name)
        if is_stopped:
            store.save_sync_state(name, attrs.evolve(state, assigning_since=NOW - DAY))
        with store._writing(name) as locked:
            locked.save_devices([record for record in fleet if record.token_name == name], {})


def listed_with_owner(store: Store, token_name: str) -> Iterator[tuple[DeviceRecord, bool]]:
    """Yield each listed record, with False if the device belongs to another token."""
    for record in store.devices(token_name):
        owner = owner_of(store.records_of([record.serial_number]))
        yield record, owner is None or owner.token_name == token_name


def plan_by_records(store: Store, token_name: str, selector: ProfileSelector) -> AssignmentPlan:
    planner = Planner(selector.defined, NOW)
    picked: dict[str, ProfileSelection] = {}
    for record, is_ours in listed_with_owner(store, token_name):
        selection = selector.select(record) if is_ours and record.device.is_mac else None
        planner.sort(record, selection, is_ours=is_ours)
        if selection is not None and selection.chosen_by == BY_HAND:
            picked[selection.profile_uuid] = selection
    names = names_in_use([*selector.configured_selections(), *(picked[uuid] for uuid in sorted(picked))])
    plan = planner.plan()
    nothing = why_nothing_is_sent(store.sync_state(token_name), selector, plan)
    return attrs.evolve(plan, warnings=(*plan.warnings, *names, *nothing))


def risks_by_records(store: Store, token_name: str, policy: AssignmentPolicy) -> dict[str, Risk]:
    is_stopped = has_stopped(store.sync_state(token_name))
    has_default = store.default_profile(token_name) is not None
    found: dict[str, Risk] = {}
    for record, is_ours in listed_with_owner(store, token_name):
        is_chosen = has_default or policy.choose(record.device) is not None
        risk = risk_of(record, is_chosen=is_chosen, is_stopped=is_stopped)
        if is_ours and is_without_profile(record) and risk is not None:
            found[record.serial_number] = risk
    return found


def normalize(plan: AssignmentPlan) -> Mapping[str, Any]:
    """Return all of a plan, with unordered parts sorted."""
    found = attrs.asdict(plan, recurse=False)
    found["groups"] = {
        (group.selection.profile_uuid, group.selection.chosen_by, group.reason): sorted(group.serials)
        for group in plan.groups
    }
    assert len(found["groups"]) == len(plan.groups)
    found["unread"] = sorted(plan.unread)
    found["warnings"] = sorted(map(str, plan.warnings))
    return found


def check_lists(store: Store, name: str) -> None:
    """Check each list of a token's devices against its definition."""
    listed = list(store.devices(name))
    moving = [record for record in listed if record.device.mdm_migration_deadline is not None]
    for until in (None, NOW):
        found = migration_deadlines(store, name, until=until)
        deadlines = [record.device.mdm_migration_deadline for record in found]
        assert deadlines == sorted(filter(None, deadlines))
        assert {record.serial_number for record in found} == {
            record.serial_number
            for record in moving
            if until is None or (record.device.mdm_migration_deadline or NOW) <= until
        }
    defined = DefinedProfiles(store.profiles(name))
    selector = ProfileSelector(defined, NO_RULES, None)
    selections = {record.serial_number: selector.select(record) for record in listed}
    for profile in (SPECIAL, NAMESAKE):
        wanted = defined.find_individual(profile)
        assert wanted is not None
        assert sorted(picked_for(store, name, profile)) == sorted(
            serial
            for serial, selection in selections.items()
            if selection is not None and selection.profile_uuid == wanted.profile_uuid
        )
        others = [
            selection
            for serial, selection in selections.items()
            if selection is not None and serial not in "AB"
        ]
        beside = [
            select_by_hand(wanted),
            *(selection for selection in others if selection.profile is not None),
        ]
        default = store.default_profile(name)
        assert default is None or default.name != profile.name
        assert names_beside(store, name, NO_RULES, select_by_hand(wanted), ["A", "B"]) == names_in_use(beside)


def check_overview(store: Store) -> None:
    """Check the counts of ``overview`` and the problems of ``doctor`` for each token."""
    at_risk: dict[str, dict[str, Risk]] = {name: risks_by_records(store, name, NO_RULES) for name in TOKENS}
    problems = doctor(store, expected_serials=SERIALS, clock=lambda: NOW).problems
    for one in overview(store, now=NOW):
        known = list(store.devices(one.name, released=None))
        statuses = Counter(
            "released" if record.is_released else record.device.profile_status or "" for record in known
        )
        assert one.released == statuses.pop("released", 0)
        assert one.devices == statuses
        assert one.risks == Counter(at_risk[one.name].values())
        ends = [record.device.mdm_migration_deadline for record in known if not record.is_released]
        deadlines = [end for end in ends if end is not None]
        assert one.migrations == len(deadlines)
        assert one.next_deadline == min((end for end in deadlines if end > NOW), default=None)
        reported = {
            (problem.value, problem.allowed)
            for problem in problems
            if problem.setting == f"token {one.name}" and "would fail to enroll" in problem.allowed
        }
        named: dict[Risk, list[str]] = {}
        for serial, risk in at_risk[one.name].items():
            named.setdefault(risk, []).append(serial)
        of_risks = [risk_problem("", risk, len(serials), serials) for risk, serials in named.items()]
        assert reported == {(problem.value, problem.allowed) for problem in of_risks}
        wild = sorted(record.serial_number for record in known if record.op_date_sent is not None)
        dated = [problem.value for problem in problems if problem.setting == f"token {one.name}.op_date"]
        assert dated == ([", ".join(wild)] if wild else [])
    owners = {serial: owner_of(store.records_of([serial])) for serial in SERIALS}
    missing = sorted(serial for serial, owner in owners.items() if owner is None)
    expected = sorted(
        serial for serial, owner in owners.items() if owner and serial in at_risk[owner.token_name]
    )
    told_of = {one.allowed.partition("the purchase ")[2]: one.value for one in problems}
    assert told_of.get("on no MDM server in this store", "") == ", ".join(missing)
    assert told_of.get("without a profile", "") == ", ".join(expected)


@given(
    fleet=fleets,
    policy=policies,
    default=st.sampled_from([None, STANDARD, LOCKED]),
    is_stopped=st.booleans(),
)
def test_groups_and_records_give_the_same_result(
    fleet: list[DeviceRecord],
    policy: AssignmentPolicy,
    default: EnrollmentProfile | None,
    is_stopped: bool,
) -> None:
    with store_of(fleet, default=default, is_stopped=is_stopped) as store:
        for name in TOKENS:
            defined = DefinedProfiles(store.profiles(name))
            by_groups = plan_all(store, name, ProfileSelector(defined, policy, default), NOW)
            by_records = plan_by_records(store, name, ProfileSelector(defined, policy, default))
            assert normalize(by_groups) == normalize(by_records)
            for rules in (policy, NO_RULES):
                expected = risks_by_records(store, name, rules)
                found = list(risks(store, name, rules))
                assert {record.serial_number: risk for record, risk in found} == expected
                assert len(found) == len(expected)
                assert count_at_risk(store, name, rules) == len(expected)
            check_lists(store, name)
        check_overview(store)


class RecordingStore(MemoryStore):
    """Records which records are read, and how often groups are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []
        self.counted: list[str] = []

    def devices(
        self,
        token_name: str,
        *,
        serials: Sequence[str] | None = None,
        groups: Collection[DeviceGroup] | None = None,
        released: bool | None = False,
    ) -> Iterator[DeviceRecord]:
        for record in super().devices(token_name, serials=serials, groups=groups, released=released):
            self.read.append(record.serial_number)
            yield record

    def records_of(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        for record in super().records_of(serials):
            self.read.append(record.serial_number)
            yield record

    def device_groups(self, token_name: str) -> Mapping[DeviceGroup, int]:
        self.counted.append(token_name)
        return super().device_groups(token_name)


def test_only_due_or_named_records_are_read() -> None:
    """Devices with their profile, or that only follow the default, are counted; each count is made once."""
    given = Device(
        serial_number="given", model="Mac mini", profile_status=ProfileStatus.ASSIGNED, profile_uuid="P1"
    )
    tagged = given.changed(serial_number="tagged", model="iMac", asset_tag="T1")
    bare = Device(serial_number="bare", model="Mac Pro", profile_status=ProfileStatus.EMPTY)
    fleet = [
        DeviceRecord(token_name="hq", device=device, first_seen_at=NOW, updated_at=NOW)
        for device in (given, tagged, bare)
    ]
    policy = AssignmentPolicy([Rule(profile=SPECIAL, model="iMac", asset_tag="T1")])
    with RecordingStore() as store:
        fill(store, fleet, default=STANDARD, is_stopped=False)
        plan = plan_all(
            store, "hq", ProfileSelector(DefinedProfiles(store.profiles("hq")), NO_RULES, STANDARD), NOW
        )
        assert (plan.due, plan.satisfied, store.read) == (1, 2, [])
        plan = plan_all(
            store, "hq", ProfileSelector(DefinedProfiles(store.profiles("hq")), policy, STANDARD), NOW
        )
        assert (plan.due, plan.satisfied, store.read) == (2, 1, ["tagged"])
        store.read.clear()
        store.counted.clear()
        assert [one.at_risk for one in overview(store, now=NOW)] == [0, 0]
        assert (store.read, store.counted) == ([], ["hq", "lab"])
        doctor(store, expected_serials=["bare"], clock=lambda: NOW)
        assert (store.read, store.counted[2:]) == (["bare"], ["hq", "lab"])
        store.read.clear()
        store.set_default_profile("hq", None)
        assert count_at_risk(store, "hq") == 1
        assert [one.at_risk for one in overview(store, now=NOW)] == [1, 0]
        assert store.read == []
        doctor(store, clock=lambda: NOW)
        assert store.read == ["bare"]
