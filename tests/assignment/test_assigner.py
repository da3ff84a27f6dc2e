"""Assignment with the fake service, through every driver: nothing is sent twice, no device is forgotten."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pyade.assignment import AssignReport
from pyade.core.fleet.assignment import Reason
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.events import EventKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import AccessDeniedError, InvalidRequestError, NotFoundError, RateLimitError, TermsError
from pyade.sync import ProgressPhase
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

DEFINE, ASSIGN, REMOVE = "POST /profile", "POST /profile/devices", "DELETE /profile/devices"
DETAILS = "POST /devices"
KIOSK = EnrollmentProfile(name="Kiosk", url="https://mdm.contoso.example/kiosk")


def check_totals(report: AssignReport, total: int) -> bool:
    return report.total == total


def chunks(world: World) -> list[int]:
    return [len(record.body["devices"]) for record in world.apple.requests if record.endpoint == ASSIGN]


def test_default_is_assigned_to_each_mac_once(world: World, profile: EnrollmentProfile) -> None:
    """2,500 Macs in chunks of 1,000, other devices counted, and nothing left to send afterwards."""
    macs = world.fleet(2_500)
    world.fleet(5, family="iPad")
    report = world.run(profile)
    (uuid,) = report.defined
    assert report.counts == {DeviceResult.SUCCESS: 2_500}
    assert (report.plan.not_macs, report.plan.reasons) == (5, {Reason.NO_PROFILE: 2_500})
    assert check_totals(report, 2_505)
    assert report.is_complete
    assert report.next_due_at is None
    assert chunks(world) == [1_000, 1_000, 500]
    listed = world.listed()
    assert listed == world.at_apple()
    assert {listed[serial] for serial in macs} == {("assigned", uuid)}
    progress = [(p.phase, p.devices, p.total) for p in world.seen if p.phase is ProgressPhase.ASSIGN]
    assert progress == [(ProgressPhase.ASSIGN, done, 2_500) for done in (1_000, 2_000, 2_500)]
    world.apple.clear_requests()
    again = world.run()
    assert (again.plan.satisfied, again.results, again.defined) == (2_500, {}, ())
    assert check_totals(again, 2_505)
    assert world.later(minutes=15).sync().is_complete
    assert world.run(profile).plan.satisfied == 2_500
    assert (world.requests(ASSIGN), world.requests(DEFINE)) == (0, 0)


def test_without_a_default_nothing_is_sent(world: World) -> None:
    world.fleet(2)
    report = world.run()
    assert (report.plan.without_profile, report.results) == (2, {})
    assert check_totals(report, 2)
    assert world.requests(DEFINE) == 0


def test_profile_is_defined_only_when_a_device_needs_it(world: World, profile: EnrollmentProfile) -> None:
    assert world.run(profile).defined == ()
    assert world.store.default_profile("hq") == profile
    world.fleet(1)
    assert len(world.run().defined) == 1


def test_devices_move_to_the_default_when_its_content_changes(
    world: World, profile: EnrollmentProfile
) -> None:
    world.fleet(2)
    (before,) = world.run(profile).defined
    report = world.later(minutes=1).run(attrs.evolve(profile, department="Sales"))
    (after,) = report.defined
    assert after != before
    assert report.plan.reasons == {Reason.OTHER_PROFILE: 2}
    assert set(world.listed().values()) == {("assigned", after)}
    back = world.later(minutes=1).run(profile)
    assert back.defined == ()
    assert set(world.listed().values()) == {("assigned", before)}


def test_change_that_apple_does_not_see_defines_no_new_profile(
    world: World, profile: EnrollmentProfile
) -> None:
    """The store keeps the new description; Macs would get the same."""
    world.fleet(1)
    world.run(profile)
    described = attrs.evolve(profile, description="for everybody")
    report = world.run(described)
    assert (report.defined, report.results) == ((), {})
    (defined,) = world.store.profiles("hq")
    assert defined.profile == described


def test_picked_profile_is_kept(world: World, profile: EnrollmentProfile) -> None:
    """Neither the default nor its change overwrites it, also after syncs have read Apple's records."""
    kiosk, *others = world.fleet(3)
    report = world.assign(KIOSK, [kiosk])
    (uuid,) = report.defined
    assert check_totals(report, 1)
    for default in (profile, attrs.evolve(profile, department="Sales")):
        world.run(default)
        assert world.listed()[kiosk] == ("assigned", uuid)
        world.later(minutes=15).sync()
        world.run(default)
        assert world.listed()[kiosk] == ("assigned", uuid)
    assert all(world.listed()[serial] != ("assigned", uuid) for serial in others)
    again = world.assign(KIOSK, [kiosk])
    assert (again.plan.satisfied, again.results, again.defined) == (1, {}, ())


def test_default_picked_for_a_mac_is_separate_from_the_default(
    world: World, profile: EnrollmentProfile
) -> None:
    """Equal content is defined separately, so that a change of the default does not affect the picked Mac."""
    picked, other = world.fleet(2)
    world.run(profile)
    (uuid,) = world.assign(profile, [picked]).defined
    world.later(minutes=1).run(attrs.evolve(profile, department="Sales"))
    assert world.listed()[picked] == ("assigned", uuid)
    assert world.listed()[other] != ("assigned", uuid)


@pytest.mark.lesson(16)
def test_profile_removed_in_the_portal_is_assigned_again(world: World, profile: EnrollmentProfile) -> None:
    """Assigning to the same server again removes the profile and keeps its id: each Mac gets its own back."""
    picked, other = world.fleet(2)
    world.assign(KIOSK, [picked])
    world.run(profile)
    before = world.listed()
    world.later(minutes=30)
    world.apple.assign("hq", [picked, other])
    world.sync()
    assert {status for status, _ in world.listed().values()} == {"removed"}
    report = world.run()
    assert report.plan.reasons == {Reason.REMOVED: 2}
    assert world.listed() == before


@pytest.mark.lesson(17)
def test_returned_device_starts_without_its_old_choice(world: World, profile: EnrollmentProfile) -> None:
    (serial,) = world.fleet(1)
    world.assign(KIOSK, [serial])
    world.later(minutes=30)
    world.apple.unassign([serial])
    world.sync()
    assert check_totals(world.run(profile), 0)
    world.later(minutes=30)
    world.apple.assign("hq", [serial])
    world.sync()
    (uuid,) = world.run().defined
    assert world.listed()[serial] == ("assigned", uuid)


WAIT = {
    "FAILED": (None, timedelta(hours=24)),
    "QUARANTINED": (None, timedelta(hours=24)),
    "THROTTLED": (None, timedelta(hours=24)),
    "missing": ("left out", timedelta(0)),
}


@pytest.mark.parametrize("word", WAIT)
@pytest.mark.lesson(26, 30)
def test_failed_device_is_retried_at_its_time(world: World, profile: EnrollmentProfile, word: str) -> None:
    """A success with failures inside is a failure; earlier runs do not send the device."""
    good, bad = world.fleet(2)
    how, wait = WAIT[word]
    world.apple.faults.device_result([bad], None if how else word)
    report = world.run(profile)
    assert report.counts == {DeviceResult.SUCCESS: 1, word: 1}
    assert not report.is_complete
    assert report.next_due_at == world.clock() + wait
    assert world.listed()[good] == ("assigned", *report.defined)
    world.apple.clear_requests()
    if wait:
        world.later(hours=24, seconds=-1)
        waiting = world.run()
        assert (waiting.plan.waiting, waiting.results) == (1, {})
        assert waiting.next_due_at == world.clock() + timedelta(seconds=1)
        assert not waiting.is_complete
        assert check_totals(waiting, 2)
        assert world.requests(ASSIGN) == 0
        world.later(seconds=1)
    again = world.run()
    assert again.results == {bad: DeviceResult.SUCCESS}
    assert again.plan.reasons == {Reason.RETRY: 1}
    assert again.is_complete


def test_throttled_device_waits_as_long_as_apple_says(world: World, profile: EnrollmentProfile) -> None:
    (serial,) = world.fleet(1)
    until = world.clock() + timedelta(hours=2)
    world.apple.faults.throttle([serial], until)
    world.apple.settings.throttle_extends = False
    assert world.run(profile).next_due_at == until
    world.later(hours=1)
    world.apple.edit_device(serial, asset_tag="A-1")
    world.sync()
    assert world.run().plan.waiting == 1
    assert world.later(hours=1).run().is_complete


@pytest.mark.lesson(21)
def test_inaccessible_device_is_not_retried(world: World, profile: EnrollmentProfile) -> None:
    """It is not sent until Apple lists it again."""
    (serial,) = world.fleet(1)
    world.apple.unassign([serial], announce=False)
    report = world.run(profile)
    assert report.results == {serial: DeviceResult.NOT_ACCESSIBLE}
    assert report.next_due_at is None
    again = world.later(days=3).run()
    assert (again.plan.unreachable, again.results) == (1, {})
    assert check_totals(again, 1)
    world.later(minutes=5)
    world.apple.assign("hq", [serial])
    world.later(minutes=5).sync()
    assert world.run().results == {serial: DeviceResult.SUCCESS}


@pytest.mark.lesson(25)
def test_error_in_the_middle_leaves_the_rest_due(world: World, profile: EnrollmentProfile) -> None:
    """The first chunk is stored, the second unknown, the third never sent: the next run sends both."""
    world.fleet(2_500)
    world.apple.script(ASSIGN, None, *[Fault.rate_limited(7_200)] * 20)
    with pytest.raises(RateLimitError) as failure:
        world.run(profile)
    assert "hq: 1000 of 2500 devices were settled" in failure.value.__notes__
    results = Counter(failure.value.report.results.values())
    assert results == {"SUCCESS": 1_000, "request_failed": 1_000, "not_sent": 500}
    assert not failure.value.report.is_partial
    attempts = [record.attempt for record in world.store.devices("hq")]
    assert sum(a is not None and a.result == DeviceResult.SUCCESS for a in attempts) == 1_000
    assert sum(a is not None and a.result == DeviceResult.REQUEST_FAILED for a in attempts) == 1_000
    world.apple.script(ASSIGN)
    report = world.run()
    assert (report.plan.satisfied, len(report.results), report.is_complete) == (1_000, 1_500, True)
    assert check_totals(report, 2_500)
    assert world.listed() == world.at_apple()


def test_picked_profiles_survive_an_error(world: World, profile: EnrollmentProfile) -> None:
    """Unaccepted terms stop the request; the next run gives each Mac its picked profile."""
    picked, other = world.fleet(2)
    world.apple.script(ASSIGN, Fault.refused("T_C_NOT_SIGNED"))
    with pytest.raises(TermsError):
        world.assign(KIOSK, [picked])
    assert "TermsError" in world.store.sync_state("hq").suspended
    world.later(minutes=5)
    world.apple.edit_device(picked, asset_tag="A-1")
    world.later(minutes=15).sync()
    kinds = [event.kind for event in world.store.events() if event.serial_number is None]
    assert kinds == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]
    report = world.run(profile)
    kiosk = next(one for one in world.store.profiles("hq") if one.individual)
    assert world.listed()[picked] == ("assigned", kiosk.profile_uuid)
    assert world.listed()[other] == ("assigned", *report.defined)


def test_profile_picked_during_a_cooldown_waits_for_its_end(world: World, profile: EnrollmentProfile) -> None:
    """An explicit request does not extend the throttling; the newest choice counts when it is over."""
    (serial,) = world.fleet(1)
    world.apple.faults.device_result([serial], "FAILED")
    world.run(profile)
    world.apple.clear_requests()
    report = world.assign(KIOSK, [serial])
    assert (report.plan.waiting, report.results) == (1, {})
    assert report.next_due_at == world.clock() + timedelta(hours=24)
    assert world.later(hours=23).run().plan.waiting == 1
    assert world.requests(ASSIGN) == 0
    world.later(hours=1).run()
    assert world.listed()[serial] == ("assigned", *report.defined)


def test_newest_choice_counts_while_apple_still_shows_another(world: World) -> None:
    (serial,) = world.fleet(1)
    world.assign(KIOSK, [serial])
    other = attrs.evolve(KIOSK, name="Lobby")
    world.apple.script(ASSIGN, Fault.refused("ACCESS_DENIED"))
    with pytest.raises(AccessDeniedError):
        world.later(minutes=1).assign(other, [serial])
    world.later(minutes=15).sync()
    assert world.run().results == {serial: DeviceResult.SUCCESS}
    (lobby,) = [one.profile_uuid for one in world.store.profiles("hq") if one.profile == other]
    assert world.listed()[serial] == ("assigned", lobby)


def test_wait_begins_with_the_response(world: World, profile: EnrollmentProfile) -> None:
    """Apple counts from its answer, and a request can take minutes."""
    (serial,) = world.fleet(1)
    world.apple.faults.device_result([serial], "FAILED")
    world.apple.script(ASSIGN, Fault.slow(20))
    began_at = world.clock()
    assert world.run(profile).next_due_at == began_at + timedelta(hours=24, seconds=20)


def test_lost_response_is_replaced_by_reading_the_details(world: World, profile: EnrollmentProfile) -> None:
    world.fleet(3)
    world.apple.script(ASSIGN, Fault.dropped(effect=True))
    report = world.run(profile)
    assert report.is_complete
    assert world.requests(ASSIGN) == 1
    assert world.listed() == world.at_apple()


def test_effect_of_a_lost_response_is_known_per_device(world: World, profile: EnrollmentProfile) -> None:
    """One Mac was assigned before the response was lost, the other was not, and the second attempt failed."""
    good, bad = world.fleet(2)
    world.apple.faults.device_result([bad], "FAILED")
    world.apple.script(ASSIGN, Fault.dropped(effect=True), Fault.refused("ACCESS_DENIED"))
    with pytest.raises(AccessDeniedError):
        world.run(profile)
    assert [world.record(serial).attempt for serial in (good, bad)] != [None, None]
    report = world.run()
    assert (report.plan.satisfied, report.results) == (1, {bad: DeviceResult.SUCCESS})


def test_earliest_of_several_waits_is_reported(world: World, profile: EnrollmentProfile) -> None:
    first, second = world.fleet(2)
    for serial in (first, second):
        world.later(hours=1)
        world.apple.faults.device_result([serial], "FAILED")
        assert world.assign(profile, [serial]).counts == {DeviceResult.FAILED: 1}
    waiting = world.run()
    assert waiting.plan.waiting == 2
    assert waiting.next_due_at == world.clock() + timedelta(hours=23)


def test_success_that_cannot_be_read_back_is_not_sent_again(world: World, profile: EnrollmentProfile) -> None:
    """Apple's success counts until Apple next reports the device."""
    (serial,) = world.fleet(1)
    world.apple.script(DETAILS, Fault.refused("ACCESS_DENIED"))
    report = world.run(profile)
    assert report.notes[0].startswith("the outcome could not be read back")
    assert "note: the outcome" in str(report)
    assert world.listed()[serial] == ("empty", None)
    assert world.run().plan.satisfied == 1
    world.later(minutes=15).sync()
    assert world.listed() == world.at_apple()
    assert world.run().plan.satisfied == 1


def test_profile_that_apple_lost_is_defined_once_more(world: World, profile: EnrollmentProfile) -> None:
    first, *_ = world.fleet(1)
    (lost,) = world.run(profile).defined
    world.apple.server("hq").profiles.clear()
    second, *_ = world.fleet(1)
    report = world.run()
    (again,) = report.defined
    assert report.notes == (f"Apple does not have profile {lost}: defined again",)
    assert world.listed()[second] == ("assigned", again)
    world.later(minutes=1).run()
    assert world.listed()[first] == ("assigned", again)


def test_redefined_profile_is_the_newest_even_if_the_clock_was_set_back(
    world: World, profile: EnrollmentProfile
) -> None:
    """Otherwise the next run would return to the lost profile, and move the fleet each time."""
    world.fleet(1)
    world.run(profile)
    world.apple.server("hq").profiles.clear()
    world.fleet(1)
    world.clock.advance(days=-2)
    (again,) = world.run().defined
    report = world.run()
    assert (report.defined, report.notes) == ((), ())
    assert {uuid for _, uuid in world.listed().values()} == {again}
    assert world.run().plan.satisfied == 2


def test_nothing_is_sent_twice_after_the_clock_was_set_back(world: World, profile: EnrollmentProfile) -> None:
    world.fleet(3)
    world.clock.advance(days=-2)
    assert world.run(profile).counts == {DeviceResult.SUCCESS: 3}
    assert world.run().plan.satisfied == 3
    assert chunks(world) == [3]


def test_picked_profile_that_apple_lost_remains_picked(world: World) -> None:
    first, second = world.fleet(2)
    (lost,) = world.assign(KIOSK, [first]).defined
    world.apple.server("hq").profiles.clear()
    (again,) = world.later(minutes=1).assign(KIOSK, [second]).defined
    report = world.later(minutes=1).run()
    assert again != lost
    assert report.results == {first: DeviceResult.SUCCESS}
    assert set(world.listed().values()) == {("assigned", again)}


def test_profile_that_apple_never_accepts_is_an_error(world: World, profile: EnrollmentProfile) -> None:
    world.fleet(1)
    world.apple.script(ASSIGN, Fault.refused("PROFILE_NOT_FOUND"), forever=True)
    with pytest.raises(NotFoundError):
        world.run(profile)
    assert world.requests(DEFINE) == 1


def test_unassigned_devices_follow_the_default_again(world: World, profile: EnrollmentProfile) -> None:
    """Without a default they stay without a profile, even if Apple still shows an id."""
    picked, other = world.fleet(2)
    world.assign(KIOSK, [picked])
    report = world.unassign([picked, other, picked])
    assert (report.results, report.plan.satisfied) == ({picked: DeviceResult.SUCCESS}, 1)
    assert check_totals(report, 2)
    assert world.listed()[picked][0] == "removed"
    assert world.requests(REMOVE) == 1
    assert [p.phase for p in world.seen][-1] is ProgressPhase.REMOVE
    world.later(minutes=15).sync()
    assert world.run().plan.without_profile == 2
    (uuid,) = world.run(profile).defined
    assert set(world.listed().values()) == {("assigned", uuid)}


def test_unassigning_cancels_pending_assignments(world: World) -> None:
    """It ends a choice that failed, or a removed profile that would be assigned again."""
    failed, removed = world.fleet(2)
    world.assign(KIOSK, [removed])
    world.apple.faults.device_result([failed], "FAILED")
    world.assign(KIOSK, [failed])
    world.later(minutes=30)
    world.apple.assign("hq", [removed])
    world.sync()
    world.apple.clear_requests()
    assert world.unassign([failed, removed]).plan.satisfied == 2
    assert world.later(days=2).run().results == {}
    assert (world.requests(ASSIGN), world.requests(REMOVE)) == (0, 0)


def test_failed_removal_is_retried(world: World) -> None:
    (serial,) = world.fleet(1)
    world.assign(KIOSK, [serial])
    world.apple.faults.device_result([serial], "FAILED")
    assert world.unassign([serial]).next_due_at == world.clock() + timedelta(hours=24)
    report = world.later(hours=24).run()
    assert (report.results, report.plan.reasons) == ({serial: DeviceResult.SUCCESS}, {Reason.UNWANTED: 1})
    assert world.listed()[serial][0] == "removed"


def test_unknown_serials_are_sent_and_reported(world: World, profile: EnrollmentProfile) -> None:
    """Apple may know them; the store gets their records with the next sync."""
    mac = world.fleet(1)[0]
    gone = world.fleet(1)[0]
    ipad = world.fleet(1, family="iPad")[0]
    world.apple.unassign([gone])
    world.later(minutes=15).sync()
    world.apple.add_devices(server="hq", serials=["NEW"])
    report = world.assign(KIOSK, [mac, "NEW", "TYPO", mac, gone, ipad])
    assert report.results == {
        mac: DeviceResult.SUCCESS,
        "NEW": DeviceResult.SUCCESS,
        "TYPO": DeviceResult.NOT_ACCESSIBLE,
    }
    assert (report.plan.released, report.plan.not_macs) == (1, 1)
    assert check_totals(report, 5)
    world.later(minutes=15).sync()
    world.run(profile)
    assert world.listed()["NEW"] == ("assigned", *report.defined)


def test_empty_list_of_serials_sends_nothing(world: World) -> None:
    for report in (world.assign(KIOSK, []), world.unassign([])):
        assert check_totals(report, 0)
    assert world.apple.requests == ()


@pytest.mark.parametrize("work", ["assign", "unassign"])
def test_string_instead_of_a_list_of_serials_is_refused(world: World, work: str) -> None:
    arguments: list[Any] = ["S1"] if work == "unassign" else [KIOSK, "S1"]
    with pytest.raises(InvalidRequestError, match="a list of serial numbers is allowed"):
        getattr(world, work)(*arguments)


@pytest.mark.twins
def test_macs_without_a_profile_are_at_risk_without_a_default(
    world: World, profile: EnrollmentProfile
) -> None:
    with_one, without = world.fleet(2)
    world.fleet(1, family="iPad")
    world.assign(KIOSK, [with_one])
    assert world.at_risk() == ([without], 1)
    world.store.set_default_profile("hq", profile)
    assert world.at_risk() == ([], 0)


def test_text_of_a_report(world: World, profile: EnrollmentProfile) -> None:
    _, bad = world.fleet(2)
    world.fleet(1, family="iPad")
    world.apple.faults.device_result([bad], "FAILED")
    report = world.run(profile)
    due = world.clock() + timedelta(hours=24)
    assert str(report).splitlines() == [
        "hq: 3 devices, 2 sent: 1 SUCCESS, 1 FAILED",
        "  because 2 had no profile",
        "  1 are not Macs",
        f"  defined at Apple: {report.defined[0]}",
        f"  next: from {due:%Y-%m-%d %H:%M:%S} UTC",
    ]
    assert str(world.run()).splitlines()[0] == "hq: 3 devices, 0 sent"
