"""Rules, previews and warnings against the fake service, through every driver."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyade.apple.client import AsyncClient, Client
from pyade.assignment import Assigner, AssignmentPlan, AssignReport, AsyncAssigner
from pyade.assignment.rules import AssignmentPolicy, Rule
from pyade.core.fleet.assignment import Reason
from pyade.core.fleet.device import DeviceResult
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import PyadeError, RateLimitError
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

DEFINE, ASSIGN = "POST /profile", "POST /profile/devices"
URL = "https://mdm.contoso.example/enroll"
KIOSK = EnrollmentProfile(name="Kiosk", url=URL)
LAB = EnrollmentProfile(name="Lab", url=URL, department="Lab")
LAB_RULE = Rule(profile=LAB, asset_tag="LAB-*")
POLICY = AssignmentPolicy([LAB_RULE, Rule(profile=KIOSK, name="minis", model="Mac mini")])


def run(
    world: World, default: EnrollmentProfile | None = None, policy: AssignmentPolicy = POLICY
) -> AssignReport:
    def work(client: Client) -> AssignReport:
        return Assigner(client, world.store, policy=policy, clock=world.clock).run(default)

    async def async_work(client: AsyncClient) -> AssignReport:
        return await AsyncAssigner(client, world.store, policy=policy, clock=world.clock).run(default)

    return world.do(work, async_work)


def preview(
    world: World, default: EnrollmentProfile | None = None, policy: AssignmentPolicy = POLICY
) -> AssignmentPlan:
    def work(client: Client) -> AssignmentPlan:
        return Assigner(client, world.store, policy=policy, clock=world.clock).preview(default)

    async def async_work(client: AsyncClient) -> AssignmentPlan:
        return await AsyncAssigner(client, world.store, policy=policy, clock=world.clock).preview(default)

    return world.do(work, async_work)


def names(world: World) -> dict[str, str]:
    """Return the name of the profile that Apple has for each device."""
    profiles = world.apple.server("hq").profiles
    return {
        serial: profiles[uuid]["profile_name"] if status == "assigned" and uuid else ""
        for serial, (status, uuid) in world.at_apple().items()
    }


def test_macs_get_the_profile_of_their_rule_or_the_default(world: World, profile: EnrollmentProfile) -> None:
    (tagged,) = world.fleet(1, asset_tag="LAB-1", model="Mac mini")
    (mini,) = world.fleet(1, model="Mac mini")
    (other,) = world.fleet(1, model="iMac")
    world.fleet(1, asset_tag="LAB-2", family="iPad")
    report = run(world, profile)
    assert names(world) == {**names(world), tagged: "Lab", mini: "Kiosk", other: profile.name}
    assert (len(report.defined), report.total, report.plan.not_macs) == (3, 4, 1)
    again = run(world)
    assert (again.plan.satisfied, again.results, again.defined) == (3, {}, ())
    assert world.later(minutes=15).sync().is_complete
    assert run(world).plan.satisfied == 3


def test_rules_work_without_a_default(world: World) -> None:
    (tagged,) = world.fleet(1, asset_tag="LAB-1")
    world.fleet(1, model="iMac")
    report = run(world)
    assert report.results == {tagged: DeviceResult.SUCCESS}
    assert (report.plan.without_profile, report.total) == (1, 2)


def test_picked_profile_overrides_the_rules(world: World, profile: EnrollmentProfile) -> None:
    """Also if its content equals the rule's; after it is removed, the rule applies."""
    first, second = world.fleet(2, asset_tag="LAB-1")
    world.assign(KIOSK, [first])
    world.assign(LAB, [second])
    changed = AssignmentPolicy([attrs.evolve(LAB_RULE, profile=attrs.evolve(LAB, department="New"))])
    assert run(world, profile, changed).plan.satisfied == 2
    assert names(world) == {first: "Kiosk", second: "Lab"}
    world.unassign([first])
    world.later(minutes=15).sync()
    assert run(world, policy=changed).results == {first: DeviceResult.SUCCESS}
    assert names(world)[first] == "Lab"


def test_device_that_matches_another_rule_gets_its_profile(world: World, profile: EnrollmentProfile) -> None:
    (serial,) = world.fleet(1, asset_tag="HQ-1", model="iMac")
    run(world, profile)
    world.apple.edit_device(serial, asset_tag="LAB-1")
    world.later(minutes=15).sync()
    assert run(world).plan.reasons == {Reason.OTHER_PROFILE: 1}
    assert names(world) == {serial: "Lab"}


def test_profile_with_changed_content_is_defined_and_assigned_again(
    world: World, profile: EnrollmentProfile
) -> None:
    tagged = world.fleet(2, asset_tag="LAB-1")
    world.fleet(1, model="iMac")
    run(world, profile)
    world.apple.clear_requests()
    changed = AssignmentPolicy([attrs.evolve(LAB_RULE, profile=attrs.evolve(LAB, department="Research"))])
    report = run(world, policy=changed)
    (uuid,) = report.defined
    assert set(report.results) == set(tagged)
    assert {world.at_apple()[serial] for serial in tagged} == {("assigned", uuid)}
    assert (world.requests(DEFINE), world.requests(ASSIGN)) == (1, 1)
    described = AssignmentPolicy([attrs.evolve(LAB_RULE, profile=attrs.evolve(LAB, description="for all"))])
    assert run(world, policy=described).defined == ()
    assert run(world, policy=described).results == {}


def test_equal_content_of_a_rule_and_the_default_is_defined_once(world: World) -> None:
    """They may differ in what Apple does not see; the first one in the order is stored and kept."""
    world.fleet(1, asset_tag="LAB-1")
    world.fleet(1, model="iMac")
    default = attrs.evolve(LAB, description="the same for Macs")
    assert len(run(world, default).defined) == 1
    assert len(run(world, default).plan.groups) == 0
    (stored,) = world.store.profiles("hq")
    assert stored.profile == LAB


def test_preview_shows_what_would_be_sent_and_why(world: World, profile: EnrollmentProfile) -> None:
    (tagged,) = world.fleet(1, asset_tag="LAB-1")
    minis = world.fleet(2, model="Mac mini")
    other, picked = world.fleet(2, model="iMac")
    world.assign(KIOSK, [picked])
    world.apple.assign("hq", [picked])
    world.later(minutes=15).sync()
    world.apple.clear_requests()
    plan = preview(world, profile)
    assert {one.serial_number: (one.selection.chosen_by, one.reason) for one in plan.devices()} == {
        tagged: ("rule 'asset tag LAB-*'", Reason.NO_PROFILE),
        minis[0]: ("rule 'minis'", Reason.NO_PROFILE),
        minis[1]: ("rule 'minis'", Reason.NO_PROFILE),
        other: ("the token's default", Reason.NO_PROFILE),
        picked: ("picked by hand", Reason.REMOVED),
    }
    assert (plan.due, plan.total) == (5, 5)
    assert sorted(str(plan).splitlines()[1:]) == [
        "  1 gets 'Kiosk' (picked by hand): it had lost the profile",
        "  1 gets 'Lab' (rule 'asset tag LAB-*'): it had no profile",
        f"  1 gets {profile.name!r} (the token's default): it had no profile",
        "  2 get 'Kiosk' (rule 'minis'): they had no profile",
    ]
    assert world.apple.requests == ()


def test_preview_changes_nothing_and_the_run_matches_it(world: World, profile: EnrollmentProfile) -> None:
    world.fleet(2, asset_tag="LAB-1")
    world.fleet(2, model="iMac")
    before = list(world.store.devices("hq"))
    plan = preview(world, profile)
    assert list(world.store.devices("hq")) == before
    assert (world.store.default_profile("hq"), world.store.profiles("hq")) == (None, ())
    assert all(not group.selection.is_defined for group in plan.groups)
    report = run(world, profile)
    assert set(report.results) == {one.serial_number for one in plan.devices()}
    assert report.plan == plan
    after = preview(world)
    assert str(after) == "4 devices, 0 to send\n  4 have it already"


def test_preview_shows_removals_and_waiting_devices(world: World) -> None:
    gone, waiting, _ = world.fleet(3)
    none = AssignmentPolicy()
    world.assign(KIOSK, [gone])
    world.apple.faults.device_result([gone], "FAILED")
    world.unassign([gone])
    world.later(hours=23, minutes=45)
    world.apple.faults.device_result([waiting], "FAILED")
    world.assign(KIOSK, [waiting])
    world.later(minutes=15)
    due_at = world.clock() + timedelta(hours=23, minutes=45)
    plan = preview(world, policy=none)
    assert str(plan).splitlines() == [
        "3 devices, 1 to send",
        "  1 loses the profile (picked by hand): it should have none",
        "  1 wait",
        "  1 have no profile, and none is selected for them",
        f"  next: from {due_at:%Y-%m-%d %H:%M:%S} UTC",
    ]


@pytest.mark.parametrize("locked", [True, False])
def test_change_of_a_locked_profile_warns(world: World, profile: EnrollmentProfile, locked: bool) -> None:
    """Enrolled Macs keep theirs until they are wiped; the warning counts the Macs that fetched it."""
    before = attrs.evolve(profile, locked=locked)
    serials = world.fleet(3, model="iMac")
    run(world, before)
    for serial in serials[:2]:
        assert world.apple.activate(serial) is not None
    world.later(minutes=15).sync()
    after = attrs.evolve(before, department="Sales")
    expected = preview(world, after).warnings
    report = run(world, after)
    assert report.is_complete
    assert report.warnings == expected
    if not locked:
        assert report.warnings == ()
        return
    (warning,) = report.warnings
    assert "until they are wiped" in str(warning)
    assert "department; 2 of them have fetched it" in str(warning)
    assert f"  warning: {warning}" in str(report).splitlines()
    assert run(world).warnings == ()


def test_late_lock_warns(world: World, profile: EnrollmentProfile) -> None:
    (serial,) = world.fleet(1, model="iMac")
    run(world, profile)
    world.apple.activate(serial)
    world.later(minutes=15).sync()
    (warning,) = run(world, attrs.evolve(profile, locked=True)).warnings
    assert "locked; 1 of them has fetched it" in str(warning)


def test_change_that_no_mac_sees_does_not_warn(world: World, profile: EnrollmentProfile) -> None:
    world.fleet(1, model="iMac")
    run(world, attrs.evolve(profile, locked=True))
    assert run(world, attrs.evolve(profile, locked=True, name="Renamed")).warnings == ()


def test_picking_another_profile_after_a_locked_one_warns(world: World) -> None:
    (serial,) = world.fleet(1)
    world.assign(attrs.evolve(LAB, locked=True), [serial])
    assert world.assign(attrs.evolve(LAB, locked=True, department="New"), [serial]).warnings == ()
    world.apple.activate(serial)
    world.later(minutes=15).sync()
    (warning,) = world.assign(attrs.evolve(LAB, locked=True, department="Newer"), [serial]).warnings
    assert "1 of them has fetched it" in str(warning)


@pytest.mark.twins
def test_change_of_a_picked_profile_reaches_all_its_devices(world: World, profile: EnrollmentProfile) -> None:
    """Also a device that was not sent yet; and no other device, even if the default has the same content."""
    first, waiting, other, follower = world.fleet(4)
    world.assign(LAB, [first])
    world.apple.activate(first)
    world.later(minutes=15).sync()
    world.apple.faults.device_result([waiting], "FAILED")
    world.assign(LAB, [waiting])
    world.assign(KIOSK, [other])
    run(world, LAB, AssignmentPolicy())
    after = attrs.evolve(LAB, name="New lab", locked=True)

    def replace(before: EnrollmentProfile) -> AssignReport:
        def work(client: Client) -> AssignReport:
            return Assigner(client, world.store, clock=world.clock).replace(before, after)

        async def async_work(client: AsyncClient) -> AssignReport:
            return await AsyncAssigner(client, world.store, clock=world.clock).replace(before, after)

        return world.do(work, async_work)

    report = replace(LAB)
    assert (report.results, report.plan.waiting) == ({first: DeviceResult.SUCCESS}, 1)
    assert len(report.warnings) == 1
    world.later(days=1)
    run(world, policy=AssignmentPolicy())
    assert names(world) == {first: "New lab", waiting: "New lab", other: "Kiosk", follower: "Lab"}
    assert replace(profile).total == 0


def test_rule_that_fails_in_the_middle_leaves_the_rest_due(world: World, profile: EnrollmentProfile) -> None:
    """The rule's Macs were sent, the default's were not: the next run sends exactly those."""
    tagged = world.fleet(2, asset_tag="LAB-1")
    others = world.fleet(2, model="iMac")
    world.apple.script(ASSIGN, None, *[Fault.rate_limited(7_200)] * 20)
    with pytest.raises(RateLimitError):
        run(world, profile)
    world.apple.script(ASSIGN)
    report = run(world)
    assert (set(report.results), report.plan.satisfied, report.total) == (set(others), 2, 4)
    assert {names(world)[serial] for serial in tagged} == {"Lab"}


def test_mac_matched_by_a_rule_is_not_at_risk(world: World) -> None:
    world.fleet(1, asset_tag="LAB-1")
    (other,) = world.fleet(1, model="iMac")

    def work(client: Client) -> list[str]:
        assigner = Assigner(client, world.store, policy=POLICY, clock=world.clock)
        return [record.serial_number for record in assigner.devices_at_risk()]

    async def async_work(client: AsyncClient) -> list[str]:
        assigner = AsyncAssigner(client, world.store, policy=POLICY, clock=world.clock)
        return [record.serial_number async for record in assigner.devices_at_risk()]

    assert world.do(work, async_work) == [other]


TAGS = ("LAB-1", "HQ-1", None)
RULES = (
    LAB_RULE,
    Rule(profile=KIOSK, name="minis", model="Mac mini"),
    Rule(profile=attrs.evolve(LAB, locked=True), name="locked", asset_tag="HQ-*"),
    Rule(profile=KIOSK, name="odd", predicate=lambda device: ord(device.serial_number[-1]) % 2),
)
WORDS = ("FAILED", "THROTTLED", "NEW", "NOT_ACCESSIBLE", None)
STEPS = st.one_of(
    st.tuples(st.just("tag"), st.integers(0, 7), st.sampled_from(TAGS)),
    st.tuples(st.just("result"), st.integers(0, 7), st.sampled_from(WORDS)),
    st.tuples(st.sampled_from(["leave", "come", "activate", "pick", "unpick"]), st.integers(0, 7)),
    st.tuples(st.just("fault"), st.integers(0, 1)),
    st.tuples(st.just("later"), st.sampled_from([900, 86_400])),
    st.tuples(st.just("assign_all"), st.integers(0, 2), st.lists(st.sampled_from(RULES), unique=True)),
)


class History:
    """Carries out a script, and checks each plan and report on the way."""

    def __init__(self, world: World, default: EnrollmentProfile) -> None:
        self.world = world
        self.defaults = (None, default, attrs.evolve(default, department="Sales", locked=True))
        self.serials = world.apple.add_devices(7, server="hq", model="Mac mini")
        self.serials += world.apple.add_devices(1, server="hq", family="iPad")

    def tag(self, number: int, value: str | None) -> None:
        self.world.apple.edit_device(self.serials[number], asset_tag=value)

    def result(self, number: int, word: str | None) -> None:
        self.world.apple.faults.device_result([self.serials[number]], word)

    def leave(self, number: int) -> None:
        if self.serials[number] in self.world.at_apple():
            self.world.apple.unassign([self.serials[number]])

    def come(self, number: int) -> None:
        self.world.apple.assign("hq", [self.serials[number]])

    def activate(self, number: int) -> None:
        self.world.apple.activate(self.serials[number])

    def pick(self, number: int) -> None:
        assert self.world.assign(KIOSK, [self.serials[number]]).total == 1

    def unpick(self, number: int) -> None:
        assert self.world.unassign([self.serials[number]]).total == 1

    def fault(self, number: int) -> None:
        self.world.apple.script((DEFINE, ASSIGN)[number], *[Fault.server_error()] * 10)

    def later(self, seconds: int) -> None:
        self.world.later(seconds=seconds).sync()

    def assign_all(self, number: int, rules: list[Rule]) -> None:
        self.run(self.defaults[number], AssignmentPolicy(rules))

    def run(self, default: EnrollmentProfile | None, policy: AssignmentPolicy) -> None:
        planned = preview(self.world, default, policy)
        listed = self.world.listed()
        sent = [one.serial_number for one in planned.devices()]
        assert len(sent) == len(set(sent)) == planned.due
        assert planned.total == len(listed)
        report = run(self.world, default, policy)
        assert report.plan == planned
        assert set(report.results) == set(sent)
        assert report.total == len(listed) == sum(report.counts.values()) + report.plan.kept
        for serial, result in report.results.items():
            attempt = self.world.record(serial).attempt
            assert attempt is not None
            assert attempt.result == result


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(STEPS, max_size=25), rules=st.lists(st.sampled_from(RULES), unique=True))
@example(script=[("result", n, word) for n, word in enumerate(WORDS)] + [("assign_all", 1, [])] * 2, rules=[])
@pytest.mark.lesson(29)
def test_any_history_has_matching_counts_and_ends_with_each_mac_assigned(
    new_world: Callable[[], World],
    profile: EnrollmentProfile,
    script: list[tuple[Any, ...]],
    rules: list[Rule],
) -> None:
    """After each run every outcome is stored; after the faults, each Mac has its profile."""
    world = new_world()
    with world.store:
        history = History(world, profile)
        world.later(minutes=15).sync()
        for name, *arguments in script:
            try:
                getattr(history, name)(*arguments)
            except PyadeError:
                assert len(world.store.profiles("hq")) <= len(world.apple.server("hq").profiles)
        for endpoint in (DEFINE, ASSIGN):
            world.apple.script(endpoint)
        world.apple.faults.device_result(history.serials, None, times=0)
        world.later(days=8).sync(full=True)
        policy = AssignmentPolicy(rules)
        run(world, profile, policy)
        world.later(days=2).sync(full=True)
        final = run(world, profile, policy)
        assert final.results == {}
        assert final.is_complete
        individual = {one.profile_uuid for one in world.store.profiles("hq") if one.individual}
        for record in world.store.devices("hq"):
            if record.device.is_mac and record.device.profile_uuid not in individual:
                rule = policy.choose(record.device)
                shown = world.apple.server("hq").profiles[record.device.profile_uuid or ""]
                assert shown["profile_name"] == (rule.profile if rule else profile).name
