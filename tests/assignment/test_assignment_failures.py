"""One bad profile or one bad serial number holds up nobody else; what failed is remembered and shown."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import msgspec
import pytest
from tests.sync.front import Answer, Front, refusing, server_error, spoiled_by

from pyade import doctor
from pyade.apple.client import Client
from pyade.assignment import AssignmentPolicy, AssignReport, Rule, risks
from pyade.core.fleet.assignment import Reason, Risk
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.events import EventKind
from pyade.core.fleet.sync_policy import SyncAction
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import (
    AppleError,
    InvalidRequestError,
    NotFoundError,
    PyadeError,
    RateLimitError,
    ServerError,
)
from pyade.operations import Scheduler, assign_token, overview
from pyade.sync import DeviceActions
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

DEFINE, ASSIGN, REMOVE = "POST /profile", "POST /profile/devices", "DELETE /profile/devices"
DETAILS, READ = "POST /devices", "GET /profile"
KIOSK = EnrollmentProfile(name="Kiosk", url="https://mdm.contoso.example/kiosk")
BAD = EnrollmentProfile(name="Bad", url="https://mdm.contoso.example/enroll", language="xx", region="ZZ")
DAY = timedelta(hours=24)


def failing(run: Callable[[], AssignReport]) -> AppleError:
    with pytest.raises(AppleError) as caught:
        run()
    return caught.value


def first_only(serial: str, profile: EnrollmentProfile = BAD) -> AssignmentPolicy:
    return AssignmentPolicy([Rule(profile=profile, predicate=lambda device: device.serial_number == serial)])


def healthy(world: World) -> list[str]:
    """Return the problems of the doctor, but for those that a test world always has."""
    return [str(problem) for problem in doctor(world.store, clock=world.clock).problems]


# Profiles


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: httpx.Response(400, text="LOCALE_INVALID"), InvalidRequestError),
        (server_error, ServerError),
        (lambda: httpx.Response(404, html="<html>not found</html>"), NotFoundError),
    ],
    ids=["a refusal", "a lasting 500", "the page of a gateway"],
)
def test_a_profile_that_cannot_be_defined_holds_up_no_other(
    world: World, profile: EnrollmentProfile, answer: Callable[[], httpx.Response], kind: type[PyadeError]
) -> None:
    """The rest gets its own, the error comes at the end, and the Mac counts as at risk."""
    bad, *good = world.fleet(3)
    front = Front(world, refusing("Bad", answer))
    error = failing(lambda: front.run(policy=first_only(bad), default=profile))
    assert isinstance(error, kind)
    listed = world.listed()
    assert [listed[serial][0] for serial in (bad, *good)] == ["empty", "assigned", "assigned"]
    report = error.report
    assert report.results == {
        bad: DeviceResult.NOT_SENT,
        **dict.fromkeys(good, DeviceResult.SUCCESS),
    }
    assert report.errors == ()
    assert report.total == 3
    assert not report.is_complete
    assert "profile Bad" in str(report)
    assert "3 devices, 2 sent" in str(report)
    assert [record.serial_number for record, _ in risks(world.store, "hq")] == [bad]
    (shown,) = overview(world.store, now=world.clock())
    assert (shown.at_risk, shown.risks) == (1, {Risk.REQUEST_FAILED: 1})
    assert "Bad, 1 device" in shown.assignment_errors[0]
    assert "Bad" in str(shown)
    assert any("Bad" in text for text in healthy(world))


def test_the_other_errors_are_in_the_report(world: World, profile: EnrollmentProfile) -> None:
    """What a person must change is the most serious."""
    first, second, third = world.fleet(3)
    worse = attrs.evolve(BAD, name="Worse")
    policy = AssignmentPolicy(
        [
            Rule(profile=attrs.evolve(BAD, name="Slow"), predicate=lambda one: one.serial_number == first),
            Rule(profile=worse, predicate=lambda one: one.serial_number == second),
        ]
    )

    def answer(request: httpx.Request, body: Any) -> httpx.Response | None:
        return refusing("Slow", server_error)(request, body) or refusing(
            "Worse", lambda: httpx.Response(400, text="LOCALE_INVALID")
        )(request, body)

    error = failing(lambda: Front(world, answer).run(policy=policy, default=profile))
    assert isinstance(error, InvalidRequestError)
    assert [type(one) for one in error.report.errors] == [ServerError]
    assert [problem.setting for problem in error.report.problems] == ["profile Worse", "profile Slow"]
    assert world.listed()[third][0] == "assigned"


def test_an_error_is_told_once_and_kept_until_the_profile_is_given(
    world: World, profile: EnrollmentProfile
) -> None:
    bad, *_ = world.fleet(2)
    broken = Front(world, refusing("Bad", server_error))
    for _ in range(3):
        failing(lambda: broken.run(policy=first_only(bad), default=profile))
        world.later(hours=1)
    told = [event for event in world.store.events() if event.kind == EventKind.ASSIGNMENT_ERROR]
    assert [event.details["profile"] for event in told] == ["Bad"]
    (kept,) = world.store.sync_state("hq").assignment_errors.values()
    assert (kept.profile, kept.devices) == ("Bad", 1)
    assert "500" in kept.error
    whole = Front(world, lambda request, body: None)
    assert whole.run(policy=first_only(bad)).is_complete
    assert world.store.sync_state("hq").assignment_errors == {}
    assert world.store.sync_state("hq").assigning_since is None


def test_a_profile_that_nobody_wants_any_more_has_no_error(world: World, profile: EnrollmentProfile) -> None:
    (bad,) = world.fleet(1)
    broken = Front(world, refusing("Bad", server_error))
    failing(lambda: broken.run(policy=first_only(bad), default=profile))
    assert broken.run().is_complete
    assert world.store.sync_state("hq").assignment_errors == {}


def test_what_concerns_the_whole_token_stops_at_once(world: World, profile: EnrollmentProfile) -> None:
    world.fleet(2_500)
    for fault in (Fault.refused("T_C_NOT_SIGNED"), Fault.rate_limited(86_400), Fault.unreachable()):
        world.apple.clear_requests()
        world.apple.script(ASSIGN, fault, forever=True)
        with pytest.raises(PyadeError) as caught:
            world.run(profile)
        sent = {msgspec.json.encode(one.body) for one in world.apple.requests if one.endpoint == ASSIGN}
        assert len(sent) <= 1
        assert not caught.value.report.is_partial
    world.apple.script(ASSIGN)
    (kept,) = overview(world.store, now=world.clock())[0].assignment_errors
    assert kept.startswith("(any), 2,500 devices")
    assert world.run().is_complete
    assert overview(world.store, now=world.clock())[0].assignment_errors == ()


def test_when_apple_wants_a_rest_a_sync_leaves_it_alone_too(world: World, profile: EnrollmentProfile) -> None:
    world.fleet(1)
    world.apple.script(ASSIGN, Fault.rate_limited(7_200), forever=True)
    with pytest.raises(RateLimitError):
        world.run(profile)
    report = world.later(hours=1).sync()
    assert (report.action, report.allowed_at) == (SyncAction.WAIT, world.clock() + timedelta(hours=1))
    assert world.later(hours=1).sync().is_complete


# Serial numbers


@pytest.mark.parametrize(
    "count",
    [pytest.param(2_500, id="three requests", marks=pytest.mark.slow), pytest.param(900, id="one request")],
)
@pytest.mark.parametrize(
    "answer",
    [
        server_error,
        lambda: httpx.Response(400, text="NOT_FOUND"),
        lambda: httpx.Response(403, html="<p>no</p>"),
    ],
    ids=["500", "NOT_FOUND", "the page of a gateway"],
)
def test_a_serial_that_spoils_its_request_is_found(
    new_world: Callable[[], World],
    profile: EnrollmentProfile,
    count: int,
    answer: Callable[[], httpx.Response],
) -> None:
    """At most 40 requests beyond the ordinary ones; the one alone waits for a day and is at risk."""
    world = new_world()
    serials = world.fleet(count)
    bad = serials[count // 3]
    front = Front(world, spoiled_by([bad], answer))
    error = failing(lambda: front.run(default=profile))
    chunks = -(-count // 1_000)
    extra = front.count(ASSIGN) + front.count(DETAILS) + front.count(READ) - 2 * chunks
    assert 0 < extra <= 40
    statuses = {serial: status for serial, (status, _) in world.listed().items()}
    assert [serial for serial, status in statuses.items() if status != "assigned"] == [bad]
    assert error.report.is_partial
    assert error.report.results[bad] == DeviceResult.REQUEST_FAILED
    assert error.report.next_due_at == world.clock() + DAY
    assert [(r.serial_number, risk) for r, risk in risks(world.store, "hq")] == [(bad, Risk.REQUEST_FAILED)]
    waiting = front.run()
    assert (waiting.plan.waiting, waiting.results) == (1, {})
    assert overview(world.store, now=world.clock())[0].assignment_errors != ()
    world.later(hours=24)
    front.answer = lambda request, body: None
    assert front.run().results == {bad: DeviceResult.SUCCESS}
    assert overview(world.store, now=world.clock())[0].assignment_errors == ()


@pytest.mark.slow
def test_many_bad_serials_are_found_run_by_run(
    new_world: Callable[[], World], profile: EnrollmentProfile
) -> None:
    world = new_world()
    serials = world.fleet(2_500)
    bad = set(serials[::250])
    front = Front(world, spoiled_by(bad, server_error))
    for _ in range(12):
        front.bodies.clear()
        error = failing(lambda: front.run(default=profile))
        due = sum(len(group.serials) for group in error.report.plan.groups)
        ordinary = 2 * -(-due // 1_000)
        extra = front.count(ASSIGN) + front.count(DETAILS) - ordinary
        assert extra <= 40 + ordinary, "after an unknown outcome the details come first"
        world.later(minutes=15)
        if {serial for serial, (status, _) in world.listed().items() if status != "assigned"} == bad:
            break
    assert {serial for serial, (status, _) in world.listed().items() if status != "assigned"} == bad


@pytest.mark.slow
def test_the_bound_on_requests_leaves_few_devices(
    new_world: Callable[[], World], profile: EnrollmentProfile
) -> None:
    """One bad serial number in each of five requests: the largest parts are halved first."""
    world = new_world()
    serials = world.fleet(5_000)
    front = Front(world, spoiled_by(serials[333::1_007], server_error))
    report = failing(lambda: front.run(default=profile)).report
    assert report.counts[DeviceResult.SUCCESS] > 4_000
    for _ in range(3):
        world.later(minutes=15)
        failing(front.run)
    assert [status for status, _ in world.listed().values()].count("assigned") == 4_995


@pytest.mark.parametrize(
    "answer", [server_error, lambda: httpx.Response(400, text="DEVICE_ID_REQUIRED")], ids=["500", "400"]
)
def test_an_outage_is_not_halved_to_the_end(
    new_world: Callable[[], World], profile: EnrollmentProfile, answer: Callable[[], httpx.Response]
) -> None:
    """Nor tried again at the pace of a partial failure."""
    world = new_world()
    world.fleet(1_000)
    front = Front(world, lambda request, body: answer() if request.url.path == "/profile/devices" else None)
    error = failing(lambda: front.run(default=profile))
    assert front.count(ASSIGN) <= 7
    assert not error.report.is_partial
    assert {risk for _, risk in risks(world.store, "hq")} == {Risk.REQUEST_FAILED}
    assert front.world.run().is_complete


@pytest.mark.parametrize(
    "answer", [server_error, lambda: httpx.Response(400, text="NOT_FOUND")], ids=["500", "NOT_FOUND"]
)
def test_a_serial_that_goes_on_spoiling_its_request_is_tried_once_a_day(
    new_world: Callable[[], World], profile: EnrollmentProfile, answer: Callable[[], httpx.Response]
) -> None:
    """From the second day it is alone in its request, and nothing else tells a device from an outage."""
    world = new_world()
    bad = world.fleet(20)[3]
    front = Front(world, spoiled_by([bad], answer))
    failing(lambda: front.run(default=profile))
    for _ in range(3):
        world.later(hours=25)
        report = failing(front.run).report
        assert report.results == {bad: DeviceResult.REQUEST_FAILED}
        assert report.next_due_at == world.clock() + DAY
        assert front.run().plan.waiting == 1
        assert [risk for _, risk in risks(world.store, "hq")] == [Risk.REQUEST_FAILED]
    (new,) = world.fleet(1)
    world.later(hours=25)
    failing(front.run)
    assert world.listed()[new][0] == "assigned"


@pytest.mark.parametrize("count", range(2, 6))
def test_a_serial_that_spoils_a_small_request_is_found(
    new_world: Callable[[], World], profile: EnrollmentProfile, count: int
) -> None:
    """Wherever it stands, also in a request of two, where only the other shows that it is no outage."""
    for place in range(count):
        world = new_world()
        serials = world.fleet(count)
        front = Front(world, spoiled_by([serials[place]], server_error))
        failing(partial(front.run, default=profile))
        left = [serial for serial, (status, _) in world.listed().items() if status != "assigned"]
        assert left == [serials[place]]


def test_a_removal_goes_on_past_a_bad_serial(world: World) -> None:
    serials = world.fleet(5)
    world.assign(KIOSK, serials)
    front = Front(world, spoiled_by([serials[1]], server_error))
    error = failing(lambda: front.do("unassign", (serials,), {}, None))
    assert "removal of profiles: not removed from 1 device" in str(error.report.problems[0])
    assert any("hq.removal of profiles: not removed from 1 device" in text for text in healthy(world))
    statuses = [world.listed()[serial][0] for serial in serials]
    assert statuses == ["removed", "assigned", "removed", "removed", "removed"]


def test_a_picked_profile_that_cannot_be_defined_is_reported(world: World) -> None:
    """The error says of each device that it was not sent, and nothing is left under way."""
    serials = world.fleet(2)
    front = Front(world, refusing("Bad", lambda: httpx.Response(400, text="LOCALE_INVALID")))
    report = failing(lambda: front.assign(BAD, serials)).report
    assert report.results == dict.fromkeys(serials, DeviceResult.NOT_SENT)
    assert "profile Bad: not assigned to 2 devices" in str(report)
    assert not report.is_complete
    assert world.state.assigning_since is None


def test_picked_devices_go_on_past_a_bad_serial(world: World, profile: EnrollmentProfile) -> None:
    """What was picked for the bad one is not forgotten."""
    serials = world.fleet(5)
    front = Front(world, spoiled_by([serials[4]], server_error))
    failing(lambda: front.assign(KIOSK, serials))
    assert [world.listed()[serial][0] for serial in serials] == ["assigned"] * 4 + ["empty"]
    world.later(hours=24).run(profile)
    assert len(set(world.listed().values())) == 1


def test_a_scheduler_keeps_its_pace_after_a_partial_failure(
    new_world: Callable[[], World], profile: EnrollmentProfile, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither suspends the token nor doubles the wait, and its status says what is wrong."""
    world = new_world()
    serials = world.fleet(3)
    world.store.set_default_profile("hq", profile)
    front = Front(world, spoiled_by([serials[0]], server_error))
    inner = world.apple.transport()

    def handle(request: httpx.Request) -> httpx.Response:
        return front._first(request) or inner.handle_request(request)

    reports: list[Any] = []

    def client_for(token: Any) -> Client:
        return Client(
            token, transport=httpx.MockTransport(handle), clock=world.clock, sleep=world.clock.sleep
        )

    scheduler = Scheduler(
        world.store, client_for, clock=world.clock, random=lambda: 0.0, on_report=reports.append
    )
    (job,), _ = scheduler._queue.take(1)
    stop = threading.Event()
    scheduler._queue.finish(job, scheduler._work(job, stop))
    (status,) = scheduler.status()
    assert status.stage == "waiting"
    assert "Standard Mac, 1 device" in status.reason
    assert status.next_at >= world.clock() + DAY
    assert reports[-1].is_partial
    assert "hq: assign failed: ServerError" in caplog.text
    assert assign_token(world.store, client_for, "hq", clock=world.clock) == world.clock() + DAY


def test_a_worker_comes_back_when_apple_asked_for(
    new_world: Callable[[], World], profile: EnrollmentProfile
) -> None:
    """A 429 with a time counts for an assignment as it does for a sync."""
    world = new_world()
    world.fleet(1)
    world.store.set_default_profile("hq", profile)
    world.apple.script(ASSIGN, Fault.rate_limited(7_200), forever=True)
    again_at = assign_token(world.store, lambda _: world.client(), "hq", clock=world.clock)
    assert again_at == world.clock() + timedelta(hours=2)


# Profiles that Apple does not find


def test_a_not_found_that_is_no_lost_profile_defines_nothing(
    world: World, profile: EnrollmentProfile
) -> None:
    """Apple is asked for the profile first, and the fleet is left where it is."""
    world.fleet(3)
    world.run(profile)
    (new,) = world.fleet(1)
    for answer in (
        lambda: httpx.Response(400, text="NOT_FOUND"),
        lambda: httpx.Response(404, text="PROFILE_NOT_FOUND"),
        lambda: httpx.Response(404, html="<html>404</html>"),
        lambda: httpx.Response(404),
    ):
        front = Front(world, spoiled_by([new], answer))
        for _ in range(5):
            failing(front.run)
            world.later(hours=25)
        assert front.count(DEFINE) == 0
        assert all(body["devices"] == [new] for name, body in front.bodies if name == ASSIGN)


def test_the_page_of_a_proxy_never_means_that_a_profile_is_lost(
    world: World, profile: EnrollmentProfile
) -> None:
    """Even where it stands before everything that concerns profiles."""
    world.fleet(1)
    world.run(profile)
    world.fleet(1)
    page = httpx.Response(404, html="<html>404</html>")
    front = Front(world, lambda request, body: page if request.url.path.startswith("/profile") else None)
    failing(front.run)
    assert front.count(DEFINE) == 0


def test_an_answer_in_apples_words_about_every_profile_defines_one_profile_a_run(
    world: World, profile: EnrollmentProfile
) -> None:
    """What was defined a moment ago cannot be lost: the answer is no reason to define it once more."""
    old = world.fleet(2)
    world.run(profile)
    world.fleet(1)
    lost = httpx.Response(404, text="PROFILE_NOT_FOUND")

    def answer(request: httpx.Request, body: Any) -> httpx.Response | None:
        is_definition = (request.method, request.url.path) == ("POST", "/profile")
        return None if is_definition or not request.url.path.startswith("/profile") else lost

    front = Front(world, answer)
    before = {serial: world.listed()[serial] for serial in old}
    report = failing(front.run).report
    assert len(report.defined) == 1
    assert {serial: world.listed()[serial] for serial in old} == before
    world.later(minutes=15).run()
    assert all(status == "assigned" for status, _ in world.listed().values())


def test_a_replacement_is_the_newest_only_when_it_worked(world: World, profile: EnrollmentProfile) -> None:
    """Five runs with a replacement that never works define one profile, and move nobody."""
    old = world.fleet(2)
    (lost,) = world.run(profile).defined
    world.apple.server("hq").profiles.clear()
    (new,) = world.fleet(1)
    spoiled = spoiled_by([new], server_error)

    def answer(request: httpx.Request, body: Any) -> httpx.Response | None:
        return None if body and body.get("profile_uuid") == lost else spoiled(request, body)

    front = Front(world, answer)
    for _ in range(5):
        failing(front.run)
        world.later(hours=25)
    assert front.count(DEFINE) == 1
    assert {world.listed()[serial][1] for serial in old} == {lost}
    front.answer = lambda request, body: None
    front.run()
    front.run()
    assert len({uuid for _, uuid in world.listed().values()}) == 1
    assert front.count(DEFINE) == 1


@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_lost_profile_is_replaced_although_a_serial_spoils_the_request(
    new_world: Callable[[], World], profile: EnrollmentProfile, place: int
) -> None:
    """Only the parts of the request tell that the profile is lost."""
    world = new_world()
    world.fleet(2)
    world.run(profile)
    world.apple.server("hq").profiles.clear()
    serials = world.fleet(6)
    front = Front(world, spoiled_by([serials[place]], server_error))
    report = failing(front.run).report
    assert len(report.defined) == 1
    left = [serial for serial in serials if world.listed()[serial][0] != "assigned"]
    assert left == [serials[place]]
    assert front.run().plan.waiting == 1
    assert overview(world.store, now=world.clock())[0].assignment_errors


def test_the_error_of_a_device_that_waits_outlives_a_change_of_its_profile(
    world: World, profile: EnrollmentProfile
) -> None:
    serials = world.fleet(4)
    front = Front(world, spoiled_by(serials[1:2], server_error))
    failing(lambda: front.run(default=profile))
    assert front.run(default=attrs.evolve(profile, department="Sales")).plan.waiting == 1
    assert overview(world.store, now=world.clock())[0].assignment_errors
    world.later(hours=25).run()
    world.run()
    assert overview(world.store, now=world.clock())[0].assignment_errors == ()


# What Apple says after its own answer


def test_details_that_are_read_later_outweigh_our_success(world: World, profile: EnrollmentProfile) -> None:
    """Assigned to the server again in the portal, the profile is gone: a refresh tells, and the run acts."""
    serials = world.fleet(2)
    world.run(profile)
    world.later(minutes=30)
    world.apple.assign("hq", serials[:1])
    with world.client() as client:
        DeviceActions(client, world.store, clock=world.clock).refresh(serials)
    report = world.run()
    assert report.plan.reasons == {Reason.REMOVED: 1}
    assert report.results == {serials[0]: DeviceResult.SUCCESS}


def test_a_picked_profile_survives_what_the_details_say(world: World, profile: EnrollmentProfile) -> None:
    """Moved away and back unannounced, Apple shows no id any more: only the attempt knows what was picked."""
    (serial,) = world.fleet(1)
    world.assign(KIOSK, [serial])
    world.later(minutes=30)
    world.apple.unassign([serial], announce=False)
    world.apple.assign("hq", [serial])
    with world.client() as client:
        DeviceActions(client, world.store, clock=world.clock).refresh([serial])
    world.run(profile)
    (kiosk,) = [one.profile_uuid for one in world.store.profiles("hq") if one.individual]
    assert world.listed()[serial] == ("assigned", kiosk)


def swallowing(answer: str = "SUCCESS") -> Answer:
    """Answer an assignment, and do nothing."""

    def handle(request: httpx.Request, body: Any) -> httpx.Response | None:
        if (request.method, request.url.path) != ("POST", "/profile/devices"):
            return None
        results = dict.fromkeys(body["devices"], answer)
        return httpx.Response(200, json={"profile_uuid": body["profile_uuid"], "devices": results})

    return handle


@pytest.mark.parametrize("answer", ["SUCCESS", "NOT_ACCESSIBLE"])
def test_an_answer_that_the_details_contradict_is_tried_again_three_times_a_day(
    world: World, profile: EnrollmentProfile, answer: str
) -> None:
    (serial,) = world.fleet(1)
    front = Front(world, swallowing(answer))
    report = front.run(default=profile)
    assert report.results == {serial: DeviceResult.NOT_CONFIRMED}
    assert report.next_due_at == world.clock() + timedelta(minutes=10)
    assert not report.is_complete
    assert "1 device without a profile" in str(report.problems[0])
    assert [risk for _, risk in risks(world.store, "hq")] == [Risk.NOT_CONFIRMED]
    assert any(serial in text for text in healthy(world))
    assert front.run().plan.waiting == 1
    for minutes in (*[10] * 5, *[60] * 23):
        world.later(minutes=minutes)
        front.run()
    assert front.count(ASSIGN) == 1, "the same body again and again"
    assert sum(name == ASSIGN for name, _ in front.bodies) == 3
    front.answer = lambda request, body: None
    world.later(minutes=10)
    assert front.run().results == {serial: DeviceResult.SUCCESS}
    assert healthy(world) == [text for text in healthy(world) if serial not in text]


def test_an_answer_that_could_not_be_read_back_is_read_in_the_next_run(
    world: World, profile: EnrollmentProfile
) -> None:
    """Once: a success without effect is found then, although no change of Apple's ever tells of it."""
    first, second = world.fleet(2)
    front = Front(world, swallowing())
    world.apple.script(DETAILS, Fault.refused("ACCESS_DENIED"))
    report = front.run(default=profile)
    assert report.results == dict.fromkeys((first, second), DeviceResult.SUCCESS)
    assert report.next_due_at == world.clock() + timedelta(minutes=10)
    front.answer = lambda request, body: None
    again = front.run()
    assert again.plan.waiting == 2
    assert front.count(ASSIGN) == 1
    world.later(minutes=10)
    assert front.run().is_complete
    world.apple.clear_requests()
    assert front.run().plan.satisfied == 2
    assert world.apple.requests == ()


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {"response_status": "FAILED"},
        {"response_status": "NOT_ACCESSIBLE"},
        {"response_status": "SUCCESS"},
    ],
    ids=["left out", "failed", "not accessible", "no status of a profile"],
)
def test_details_that_say_nothing_about_a_device_are_asked_for_once_more(
    new_world: Callable[[], World], profile: EnrollmentProfile, entry: dict[str, str] | None
) -> None:
    """A success without effect is found then; what Apple goes on saying nothing about is believed."""
    for goes_on, result in ((False, DeviceResult.NOT_CONFIRMED), (True, DeviceResult.SUCCESS)):
        world = new_world()
        (serial,) = world.fleet(1)
        swallow, said = swallowing(), {} if entry is None else {serial: entry}

        def silent(
            request: httpx.Request, body: Any, swallow: Answer = swallow, said: dict[str, Any] = said
        ) -> httpx.Response | None:
            is_details = request.url.path == "/devices"
            return httpx.Response(200, json={"devices": said}) if is_details else swallow(request, body)

        front = Front(world, silent)
        assert front.run(default=profile).next_due_at == world.clock() + timedelta(minutes=10)
        front.answer = silent if goes_on else lambda request, body: None
        for _ in range(3):
            front.run()
        attempt = world.record(serial).attempt
        assert attempt is not None
        assert attempt.result == result
        assert [name for name, _ in front.bodies].count(DETAILS) == 2


def test_a_removal_that_the_details_contradict_is_tried_again(world: World) -> None:
    (serial,) = world.fleet(1)
    world.assign(KIOSK, [serial])

    def swallow(request: httpx.Request, body: Any) -> httpx.Response | None:
        if request.method != "DELETE":
            return None
        return httpx.Response(200, json={"devices": dict.fromkeys(body["devices"], "SUCCESS")})

    report = Front(world, swallow).do("unassign", ([serial],), {}, None)
    assert report.results == {serial: DeviceResult.NOT_CONFIRMED}
    world.later(minutes=10).run()
    assert world.listed()[serial][0] == "removed"


def test_after_the_death_of_a_worker_only_the_difference_is_sent(
    world: World, profile: EnrollmentProfile
) -> None:
    """It died between Apple's answer and its commit: the details are read before anything is sent again."""
    serials = world.fleet(3)
    state = world.store.sync_state("hq")
    (uuid,) = world.assign(KIOSK, serials[:1]).defined
    lost = Front(world, lambda request, body: None)
    record_attempts = type(world.store).record_attempts

    class DiedError(BaseException):
        pass

    def die(*arguments: Any, **named: Any) -> None:
        raise DiedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.store), "record_attempts", die)
        with pytest.raises((DiedError, BaseExceptionGroup)):
            lost.run(default=profile)
    assert type(world.store).record_attempts is record_attempts
    assert world.store.sync_state("hq").assigning_since is not None
    assert state.assigning_since is None
    assert {status for status, _ in world.at_apple().values()} == {"assigned"}
    (new,) = world.fleet(1)
    after = Front(world, lambda request, body: None)
    report = after.run()
    assert report.is_complete
    assert [body["devices"] for name, body in after.bodies if name == ASSIGN] == [[new]]
    assert world.store.sync_state("hq").assigning_since is None
    assert world.listed()[serials[0]] == ("assigned", uuid)


def test_an_unknown_outcome_is_read_before_it_is_sent_again(world: World, profile: EnrollmentProfile) -> None:
    """The answer and the details after it were lost: the next run sends only what Apple does not show."""
    world.fleet(3)
    lost = Fault.dropped(effect=True)
    world.apple.script(ASSIGN, *[lost] * 1)
    world.apple.script(DETAILS, *[Fault.dropped(effect=False)] * 20)
    with pytest.raises(PyadeError):
        world.run(profile)
    world.apple.script(DETAILS)
    world.apple.clear_requests()
    report = world.run()
    assert report.is_complete
    assert report.plan.reasons == {Reason.UNCERTAIN: 3}
    assert world.requests(ASSIGN) == 0


# Devices that are not accessible


def test_a_device_that_apple_shows_is_reachable_again(world: World, profile: EnrollmentProfile) -> None:
    """Not for the moment of the answer, nor for that of the details; a refresh tells that it is."""
    (serial,) = world.fleet(1)
    world.apple.unassign([serial], announce=False)
    assert world.run(profile).results == {serial: DeviceResult.NOT_ACCESSIBLE}
    assert [risk for _, risk in risks(world.store, "hq")] == [Risk.NOT_ACCESSIBLE]
    assert world.run().plan.unreachable == 1
    world.apple.assign("hq", [serial])
    with world.client() as client:
        DeviceActions(client, world.store, clock=world.clock).refresh([serial])
    assert world.run().results == {serial: DeviceResult.SUCCESS}
    assert world.at_risk() == ([], 0)


def test_an_explicit_assignment_is_sent_to_a_device_that_was_not_accessible(
    world: World, profile: EnrollmentProfile
) -> None:
    (serial,) = world.fleet(1)
    world.apple.unassign([serial], announce=False)
    world.run(profile)
    world.apple.assign("hq", [serial])
    assert world.assign(KIOSK, [serial]).results == {serial: DeviceResult.SUCCESS}


@pytest.mark.parametrize("work", ["assign", "unassign"])
def test_an_explicit_request_goes_by_what_apple_has_and_not_by_what_is_stored(
    world: World, profile: EnrollmentProfile, work: str
) -> None:
    """A person may know of a change in the portal that no sync has brought yet."""
    (serial,) = world.fleet(1)
    world.assign(KIOSK, [serial])
    if work == "unassign":
        world.unassign([serial])
    world.later(minutes=15).sync()
    world.later(minutes=1).apple.unassign([serial])
    world.later(minutes=1).apple.assign("hq", [serial])
    (uuid,) = (one.profile_uuid for one in world.store.profiles("hq"))
    if work == "assign":
        assert world.later(minutes=1).assign(KIOSK, [serial]).results == {serial: DeviceResult.SUCCESS}
    else:
        with world.client() as client:
            client.assign_profile(uuid, [serial])
        assert world.later(minutes=1).unassign([serial]).results == {serial: DeviceResult.SUCCESS}
    world.later(minutes=15).sync()
    world.run(profile)
    assert (world.listed()[serial][1] == uuid) is (work == "assign")


# Words


def test_reports_say_what_is_so(world: World, profile: EnrollmentProfile) -> None:
    """Unknown serial numbers, Macs that keep a profile nothing asks for, and locked ones nobody fetched."""
    (mac,) = world.fleet(1)
    report = world.assign(attrs.evolve(KIOSK, locked=True), [mac, "TYPO"])
    assert report.plan.reasons == {Reason.NO_PROFILE: 1, Reason.UNKNOWN: 1}
    assert "1 are not known to the store" in str(report)
    report = world.assign(attrs.evolve(KIOSK, locked=True, department="Sales"), [mac])
    assert report.warnings == (), "no Mac has fetched it"
    (other,) = world.fleet(1)
    world.run(profile)
    world.store.set_default_profile("hq", None)
    report = world.run()
    assert (report.plan.without_profile, report.plan.left_alone) == (0, 1)
    assert other in world.listed()
    assert "keep the profile that they have" in str(report)


# What a person sees


def lost_profile(world: World) -> Answer:
    world.apple.server("hq").profiles.clear()
    return refusing("Standard Mac", server_error)


def unreachable(world: World) -> Answer:
    (serial,) = (serial for serial, (status, _) in world.at_apple().items() if status == "empty")
    world.apple.unassign([serial], announce=False)
    return lambda request, body: None


FAULTS: dict[str, tuple[Callable[[World], Answer], str]] = {
    "a refused profile": (
        lambda world: refusing("Next", lambda: httpx.Response(400, text="LOCALE_INVALID")),
        "Next",
    ),
    "a serial number that spoils its request": (
        lambda world: (
            lambda request, body: (
                server_error() if (request.method, request.url.path) == ("POST", "/profile/devices") else None
            )
        ),
        "500",
    ),
    "a profile that Apple does not find": (
        lambda world: (
            lambda request, body: (
                httpx.Response(400, text="NOT_FOUND") if request.url.path == "/profile/devices" else None
            )
        ),
        "NOT_FOUND",
    ),
    "a profile that Apple lost": (lost_profile, "500"),
    "a success without effect": (lambda world: swallowing(), "Apple answered otherwise"),
    "a device that is not accessible": (unreachable, "no access"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_overview_and_doctor_name_each_fault_within_one_run(
    world: World, profile: EnrollmentProfile, name: str
) -> None:
    world.fleet(2)
    world.run(profile)
    world.fleet(1)
    make, word = FAULTS[name]
    following = attrs.evolve(profile, name="Next") if word == "Next" else None
    with contextlib.suppress(PyadeError):
        Front(world, make(world)).run(default=following)
    (shown,) = overview(world.store, now=world.clock())
    assert word in str(shown)
    assert any(word in text for text in healthy(world))
