"""One bad profile or serial number does not stop the others; each failure is stored and reported."""

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
from tests.sync.interceptor import Answer, Interceptor, failing_definition_of, failing_for, server_error

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


def error_of(run: Callable[[], AssignReport]) -> AppleError:
    with pytest.raises(AppleError) as caught:
        run()
    return caught.value


def first_only(serial: str, profile: EnrollmentProfile = BAD) -> AssignmentPolicy:
    return AssignmentPolicy([Rule(profile=profile, predicate=lambda device: device.serial_number == serial)])


def problems_of(world: World) -> list[str]:
    """Return the problems of the doctor, except those that each test world has."""
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
def test_profile_that_cannot_be_defined_does_not_stop_the_others(
    world: World, profile: EnrollmentProfile, answer: Callable[[], httpx.Response], kind: type[PyadeError]
) -> None:
    """The others are assigned, the error is raised at the end, and the Mac counts as at risk."""
    bad, *good = world.fleet(3)
    interceptor = Interceptor(world, failing_definition_of("Bad", answer))
    error = error_of(lambda: interceptor.run(policy=first_only(bad), default=profile))
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
    assert any("Bad" in text for text in problems_of(world))


def test_report_contains_the_other_errors(world: World, profile: EnrollmentProfile) -> None:
    """The most serious error is the one that an administrator must fix."""
    first, second, third = world.fleet(3)
    worse = attrs.evolve(BAD, name="Worse")
    policy = AssignmentPolicy(
        [
            Rule(profile=attrs.evolve(BAD, name="Slow"), predicate=lambda one: one.serial_number == first),
            Rule(profile=worse, predicate=lambda one: one.serial_number == second),
        ]
    )

    def answer(request: httpx.Request, body: Any) -> httpx.Response | None:
        return failing_definition_of("Slow", server_error)(request, body) or failing_definition_of(
            "Worse", lambda: httpx.Response(400, text="LOCALE_INVALID")
        )(request, body)

    error = error_of(lambda: Interceptor(world, answer).run(policy=policy, default=profile))
    assert isinstance(error, InvalidRequestError)
    assert [type(one) for one in error.report.errors] == [ServerError]
    assert [problem.setting for problem in error.report.problems] == ["profile Worse", "profile Slow"]
    assert world.listed()[third][0] == "assigned"


def test_error_is_reported_once_and_stored_until_the_profile_is_assigned(
    world: World, profile: EnrollmentProfile
) -> None:
    bad, *_ = world.fleet(2)
    broken = Interceptor(world, failing_definition_of("Bad", server_error))
    for _ in range(3):
        error_of(lambda: broken.run(policy=first_only(bad), default=profile))
        world.later(hours=1)
    reported = [event for event in world.store.events() if event.kind == EventKind.ASSIGNMENT_ERROR]
    assert [event.details["profile"] for event in reported] == ["Bad"]
    (kept,) = world.store.sync_state("hq").assignment_errors.values()
    assert (kept.profile, kept.devices) == ("Bad", 1)
    assert "500" in kept.error
    whole = Interceptor(world, lambda request, body: None)
    assert whole.run(policy=first_only(bad)).is_complete
    assert world.store.sync_state("hq").assignment_errors == {}
    assert world.store.sync_state("hq").assigning_since is None


def test_unused_profile_has_no_error(world: World, profile: EnrollmentProfile) -> None:
    (bad,) = world.fleet(1)
    broken = Interceptor(world, failing_definition_of("Bad", server_error))
    error_of(lambda: broken.run(policy=first_only(bad), default=profile))
    assert broken.run().is_complete
    assert world.store.sync_state("hq").assignment_errors == {}


def test_error_of_the_whole_token_stops_the_run_immediately(world: World, profile: EnrollmentProfile) -> None:
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


def test_rate_limit_of_an_assignment_delays_the_sync_too(world: World, profile: EnrollmentProfile) -> None:
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
def test_serial_that_fails_its_request_is_isolated(
    new_world: Callable[[], World],
    profile: EnrollmentProfile,
    count: int,
    answer: Callable[[], httpx.Response],
) -> None:
    """With at most 40 extra requests; then that serial number waits for a day and is at risk."""
    world = new_world()
    serials = world.fleet(count)
    bad = serials[count // 3]
    interceptor = Interceptor(world, failing_for([bad], answer))
    error = error_of(lambda: interceptor.run(default=profile))
    chunks = -(-count // 1_000)
    extra = interceptor.count(ASSIGN) + interceptor.count(DETAILS) + interceptor.count(READ) - 2 * chunks
    assert 0 < extra <= 40
    statuses = {serial: status for serial, (status, _) in world.listed().items()}
    assert [serial for serial, status in statuses.items() if status != "assigned"] == [bad]
    assert error.report.is_partial
    assert error.report.results[bad] == DeviceResult.REQUEST_FAILED
    assert error.report.next_due_at == world.clock() + DAY
    assert [(r.serial_number, risk) for r, risk in risks(world.store, "hq")] == [(bad, Risk.REQUEST_FAILED)]
    waiting = interceptor.run()
    assert (waiting.plan.waiting, waiting.results) == (1, {})
    assert overview(world.store, now=world.clock())[0].assignment_errors != ()
    world.later(hours=24)
    interceptor.answer = lambda request, body: None
    assert interceptor.run().results == {bad: DeviceResult.SUCCESS}
    assert overview(world.store, now=world.clock())[0].assignment_errors == ()


@pytest.mark.slow
def test_many_bad_serials_are_isolated_run_by_run(
    new_world: Callable[[], World], profile: EnrollmentProfile
) -> None:
    world = new_world()
    serials = world.fleet(2_500)
    bad = set(serials[::250])
    interceptor = Interceptor(world, failing_for(bad, server_error))
    for _ in range(12):
        interceptor.bodies.clear()
        error = error_of(lambda: interceptor.run(default=profile))
        due = sum(len(group.serials) for group in error.report.plan.groups)
        ordinary = 2 * -(-due // 1_000)
        extra = interceptor.count(ASSIGN) + interceptor.count(DETAILS) - ordinary
        assert extra <= 40 + ordinary, "after an unknown outcome the details come first"
        world.later(minutes=15)
        if {serial for serial, (status, _) in world.listed().items() if status != "assigned"} == bad:
            break
    assert {serial for serial, (status, _) in world.listed().items() if status != "assigned"} == bad


@pytest.mark.slow
def test_bound_on_requests_leaves_few_devices_unassigned(
    new_world: Callable[[], World], profile: EnrollmentProfile
) -> None:
    """One bad serial number in each of five requests: the largest parts are halved first."""
    world = new_world()
    serials = world.fleet(5_000)
    interceptor = Interceptor(world, failing_for(serials[333::1_007], server_error))
    report = error_of(lambda: interceptor.run(default=profile)).report
    assert report.counts[DeviceResult.SUCCESS] > 4_000
    for _ in range(3):
        world.later(minutes=15)
        error_of(interceptor.run)
    assert [status for status, _ in world.listed().values()].count("assigned") == 4_995


@pytest.mark.parametrize(
    "answer", [server_error, lambda: httpx.Response(400, text="DEVICE_ID_REQUIRED")], ids=["500", "400"]
)
def test_outage_is_not_halved_to_single_serials(
    new_world: Callable[[], World], profile: EnrollmentProfile, answer: Callable[[], httpx.Response]
) -> None:
    """Nor is it retried at the pace of a partial failure."""
    world = new_world()
    world.fleet(1_000)
    interceptor = Interceptor(
        world, lambda request, body: answer() if request.url.path == "/profile/devices" else None
    )
    error = error_of(lambda: interceptor.run(default=profile))
    assert interceptor.count(ASSIGN) <= 7
    assert not error.report.is_partial
    assert {risk for _, risk in risks(world.store, "hq")} == {Risk.REQUEST_FAILED}
    assert interceptor.world.run().is_complete


@pytest.mark.parametrize(
    "answer", [server_error, lambda: httpx.Response(400, text="NOT_FOUND")], ids=["500", "NOT_FOUND"]
)
def test_serial_that_keeps_failing_its_request_is_retried_once_a_day(
    new_world: Callable[[], World], profile: EnrollmentProfile, answer: Callable[[], httpx.Response]
) -> None:
    """From the second day it is alone in its request, which cannot be distinguished from an outage."""
    world = new_world()
    bad = world.fleet(20)[3]
    interceptor = Interceptor(world, failing_for([bad], answer))
    error_of(lambda: interceptor.run(default=profile))
    for _ in range(3):
        world.later(hours=25)
        report = error_of(interceptor.run).report
        assert report.results == {bad: DeviceResult.REQUEST_FAILED}
        assert report.next_due_at == world.clock() + DAY
        assert interceptor.run().plan.waiting == 1
        assert [risk for _, risk in risks(world.store, "hq")] == [Risk.REQUEST_FAILED]
    (new,) = world.fleet(1)
    world.later(hours=25)
    error_of(interceptor.run)
    assert world.listed()[new][0] == "assigned"


@pytest.mark.parametrize("count", range(2, 6))
def test_serial_that_fails_a_small_request_is_isolated(
    new_world: Callable[[], World], profile: EnrollmentProfile, count: int
) -> None:
    """At any position, also in a request of two, where only the other device disproves an outage."""
    for place in range(count):
        world = new_world()
        serials = world.fleet(count)
        interceptor = Interceptor(world, failing_for([serials[place]], server_error))
        error_of(partial(interceptor.run, default=profile))
        left = [serial for serial, (status, _) in world.listed().items() if status != "assigned"]
        assert left == [serials[place]]


def test_removal_continues_past_a_bad_serial(world: World) -> None:
    serials = world.fleet(5)
    world.assign(KIOSK, serials)
    interceptor = Interceptor(world, failing_for([serials[1]], server_error))
    error = error_of(lambda: interceptor.do("unassign", (serials,), {}, None))
    assert "removal of profiles: not removed from 1 device" in str(error.report.problems[0])
    assert any("hq.removal of profiles: not removed from 1 device" in text for text in problems_of(world))
    statuses = [world.listed()[serial][0] for serial in serials]
    assert statuses == ["removed", "assigned", "removed", "removed", "removed"]


def test_picked_profile_that_cannot_be_defined_is_reported(world: World) -> None:
    """The error reports each device as not sent, and no attempt stays pending."""
    serials = world.fleet(2)
    interceptor = Interceptor(
        world, failing_definition_of("Bad", lambda: httpx.Response(400, text="LOCALE_INVALID"))
    )
    report = error_of(lambda: interceptor.assign(BAD, serials)).report
    assert report.results == dict.fromkeys(serials, DeviceResult.NOT_SENT)
    assert "profile Bad: not assigned to 2 devices" in str(report)
    assert not report.is_complete
    assert world.state.assigning_since is None


def test_picked_devices_are_assigned_past_a_bad_serial(world: World, profile: EnrollmentProfile) -> None:
    """The choice for the bad serial number is kept."""
    serials = world.fleet(5)
    interceptor = Interceptor(world, failing_for([serials[4]], server_error))
    error_of(lambda: interceptor.assign(KIOSK, serials))
    assert [world.listed()[serial][0] for serial in serials] == ["assigned"] * 4 + ["empty"]
    world.later(hours=24).run(profile)
    assert len(set(world.listed().values())) == 1


def test_scheduler_keeps_its_pace_after_a_partial_failure(
    new_world: Callable[[], World], profile: EnrollmentProfile, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither suspends the token nor doubles the wait, and its status names the problem."""
    world = new_world()
    serials = world.fleet(3)
    world.store.set_default_profile("hq", profile)
    interceptor = Interceptor(world, failing_for([serials[0]], server_error))
    inner = world.apple.transport()

    def handle(request: httpx.Request) -> httpx.Response:
        return interceptor._intercept(request) or inner.handle_request(request)

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


def test_worker_retries_at_the_time_apple_asked_for(
    new_world: Callable[[], World], profile: EnrollmentProfile
) -> None:
    """A 429 with a time delays an assignment as it delays a sync."""
    world = new_world()
    world.fleet(1)
    world.store.set_default_profile("hq", profile)
    world.apple.script(ASSIGN, Fault.rate_limited(7_200), forever=True)
    again_at = assign_token(world.store, lambda _: world.client(), "hq", clock=world.clock)
    assert again_at == world.clock() + timedelta(hours=2)


# Profiles that Apple does not find


def test_not_found_without_a_lost_profile_defines_nothing(world: World, profile: EnrollmentProfile) -> None:
    """The profile is read first, and the fleet keeps it."""
    world.fleet(3)
    world.run(profile)
    (new,) = world.fleet(1)
    for answer in (
        lambda: httpx.Response(400, text="NOT_FOUND"),
        lambda: httpx.Response(404, text="PROFILE_NOT_FOUND"),
        lambda: httpx.Response(404, html="<html>404</html>"),
        lambda: httpx.Response(404),
    ):
        interceptor = Interceptor(world, failing_for([new], answer))
        for _ in range(5):
            error_of(interceptor.run)
            world.later(hours=25)
        assert interceptor.count(DEFINE) == 0
        assert all(body["devices"] == [new] for name, body in interceptor.bodies if name == ASSIGN)


def test_page_of_a_proxy_never_means_that_a_profile_is_lost(world: World, profile: EnrollmentProfile) -> None:
    """Even if the proxy answers every request about profiles."""
    world.fleet(1)
    world.run(profile)
    world.fleet(1)
    page = httpx.Response(404, html="<html>404</html>")
    interceptor = Interceptor(
        world, lambda request, body: page if request.url.path.startswith("/profile") else None
    )
    error_of(interceptor.run)
    assert interceptor.count(DEFINE) == 0


def test_not_found_for_every_profile_defines_one_profile_per_run(
    world: World, profile: EnrollmentProfile
) -> None:
    """A profile that was just defined cannot be lost: the response does not define it again."""
    old = world.fleet(2)
    world.run(profile)
    world.fleet(1)
    lost = httpx.Response(404, text="PROFILE_NOT_FOUND")

    def answer(request: httpx.Request, body: Any) -> httpx.Response | None:
        is_definition = (request.method, request.url.path) == ("POST", "/profile")
        return None if is_definition or not request.url.path.startswith("/profile") else lost

    interceptor = Interceptor(world, answer)
    before = {serial: world.listed()[serial] for serial in old}
    report = error_of(interceptor.run).report
    assert len(report.defined) == 1
    assert {serial: world.listed()[serial] for serial in old} == before
    world.later(minutes=15).run()
    assert all(status == "assigned" for status, _ in world.listed().values())


def test_replacement_profile_is_the_newest_only_after_it_worked(
    world: World, profile: EnrollmentProfile
) -> None:
    """Five runs with a replacement that never works define one profile, and move no device."""
    old = world.fleet(2)
    (lost,) = world.run(profile).defined
    world.apple.server("hq").profiles.clear()
    (new,) = world.fleet(1)
    spoiled = failing_for([new], server_error)

    def answer(request: httpx.Request, body: Any) -> httpx.Response | None:
        return None if body and body.get("profile_uuid") == lost else spoiled(request, body)

    interceptor = Interceptor(world, answer)
    for _ in range(5):
        error_of(interceptor.run)
        world.later(hours=25)
    assert interceptor.count(DEFINE) == 1
    assert {world.listed()[serial][1] for serial in old} == {lost}
    interceptor.answer = lambda request, body: None
    interceptor.run()
    interceptor.run()
    assert len({uuid for _, uuid in world.listed().values()}) == 1
    assert interceptor.count(DEFINE) == 1


@pytest.mark.parametrize("place", [0, 2, 5])
def test_lost_profile_is_replaced_although_a_serial_fails_the_request(
    new_world: Callable[[], World], profile: EnrollmentProfile, place: int
) -> None:
    """Only the parts of the request show that the profile is lost."""
    world = new_world()
    world.fleet(2)
    world.run(profile)
    world.apple.server("hq").profiles.clear()
    serials = world.fleet(6)
    interceptor = Interceptor(world, failing_for([serials[place]], server_error))
    report = error_of(interceptor.run).report
    assert len(report.defined) == 1
    left = [serial for serial in serials if world.listed()[serial][0] != "assigned"]
    assert left == [serials[place]]
    assert interceptor.run().plan.waiting == 1
    assert overview(world.store, now=world.clock())[0].assignment_errors


def test_error_of_a_waiting_device_survives_a_change_of_its_profile(
    world: World, profile: EnrollmentProfile
) -> None:
    serials = world.fleet(4)
    interceptor = Interceptor(world, failing_for(serials[1:2], server_error))
    error_of(lambda: interceptor.run(default=profile))
    assert interceptor.run(default=attrs.evolve(profile, department="Sales")).plan.waiting == 1
    assert overview(world.store, now=world.clock())[0].assignment_errors
    world.later(hours=25).run()
    world.run()
    assert overview(world.store, now=world.clock())[0].assignment_errors == ()


# Details read after a response


def test_later_details_override_a_success(world: World, profile: EnrollmentProfile) -> None:
    """Reassigned to its server in the portal, the device lost its profile: a refresh shows that."""
    serials = world.fleet(2)
    world.run(profile)
    world.later(minutes=30)
    world.apple.assign("hq", serials[:1])
    with world.client() as client:
        DeviceActions(client, world.store, clock=world.clock).refresh(serials)
    report = world.run()
    assert report.plan.reasons == {Reason.REMOVED: 1}
    assert report.results == {serials[0]: DeviceResult.SUCCESS}


def test_picked_profile_survives_contradicting_details(world: World, profile: EnrollmentProfile) -> None:
    """Moved away and back unannounced, the device shows no id: only the attempt knows the picked profile."""
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


def ignoring(answer: str = "SUCCESS") -> Answer:
    """Return a handler that answers an assignment without any effect."""

    def handle(request: httpx.Request, body: Any) -> httpx.Response | None:
        if (request.method, request.url.path) != ("POST", "/profile/devices"):
            return None
        results = dict.fromkeys(body["devices"], answer)
        return httpx.Response(200, json={"profile_uuid": body["profile_uuid"], "devices": results})

    return handle


@pytest.mark.parametrize("answer", ["SUCCESS", "NOT_ACCESSIBLE"])
def test_contradicted_success_is_retried_three_times_a_day(
    world: World, profile: EnrollmentProfile, answer: str
) -> None:
    (serial,) = world.fleet(1)
    interceptor = Interceptor(world, ignoring(answer))
    report = interceptor.run(default=profile)
    assert report.results == {serial: DeviceResult.NOT_CONFIRMED}
    assert report.next_due_at == world.clock() + timedelta(minutes=10)
    assert not report.is_complete
    assert "1 device without a profile" in str(report.problems[0])
    assert [risk for _, risk in risks(world.store, "hq")] == [Risk.NOT_CONFIRMED]
    assert any(serial in text for text in problems_of(world))
    assert interceptor.run().plan.waiting == 1
    for minutes in (*[10] * 5, *[60] * 23):
        world.later(minutes=minutes)
        interceptor.run()
    assert interceptor.count(ASSIGN) == 1, "the same body again and again"
    assert sum(name == ASSIGN for name, _ in interceptor.bodies) == 3
    interceptor.answer = lambda request, body: None
    world.later(minutes=10)
    assert interceptor.run().results == {serial: DeviceResult.SUCCESS}
    assert problems_of(world) == [text for text in problems_of(world) if serial not in text]


def test_success_that_could_not_be_read_back_is_read_in_the_next_run(
    world: World, profile: EnrollmentProfile
) -> None:
    """Once: it finds a success without effect, although Apple never announces a change."""
    first, second = world.fleet(2)
    interceptor = Interceptor(world, ignoring())
    world.apple.script(DETAILS, Fault.refused("ACCESS_DENIED"))
    report = interceptor.run(default=profile)
    assert report.results == dict.fromkeys((first, second), DeviceResult.SUCCESS)
    assert report.next_due_at == world.clock() + timedelta(minutes=10)
    interceptor.answer = lambda request, body: None
    again = interceptor.run()
    assert again.plan.waiting == 2
    assert interceptor.count(ASSIGN) == 1
    world.later(minutes=10)
    assert interceptor.run().is_complete
    world.apple.clear_requests()
    assert interceptor.run().plan.satisfied == 2
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
def test_details_without_a_device_are_read_once_more(
    new_world: Callable[[], World], profile: EnrollmentProfile, entry: dict[str, str] | None
) -> None:
    """The second read finds a success without effect; if the device is missing again, the success counts."""
    for goes_on, result in ((False, DeviceResult.NOT_CONFIRMED), (True, DeviceResult.SUCCESS)):
        world = new_world()
        (serial,) = world.fleet(1)
        ignore, said = ignoring(), {} if entry is None else {serial: entry}

        def omit_device(
            request: httpx.Request, body: Any, ignore: Answer = ignore, said: dict[str, Any] = said
        ) -> httpx.Response | None:
            is_details = request.url.path == "/devices"
            return httpx.Response(200, json={"devices": said}) if is_details else ignore(request, body)

        interceptor = Interceptor(world, omit_device)
        assert interceptor.run(default=profile).next_due_at == world.clock() + timedelta(minutes=10)
        interceptor.answer = omit_device if goes_on else lambda request, body: None
        for _ in range(3):
            interceptor.run()
        attempt = world.record(serial).attempt
        assert attempt is not None
        assert attempt.result == result
        assert [name for name, _ in interceptor.bodies].count(DETAILS) == 2


def test_contradicted_removal_is_retried(world: World) -> None:
    (serial,) = world.fleet(1)
    world.assign(KIOSK, [serial])

    def ignore(request: httpx.Request, body: Any) -> httpx.Response | None:
        if request.method != "DELETE":
            return None
        return httpx.Response(200, json={"devices": dict.fromkeys(body["devices"], "SUCCESS")})

    report = Interceptor(world, ignore).do("unassign", ([serial],), {}, None)
    assert report.results == {serial: DeviceResult.NOT_CONFIRMED}
    world.later(minutes=10).run()
    assert world.listed()[serial][0] == "removed"


def test_after_a_worker_died_only_the_difference_is_sent(world: World, profile: EnrollmentProfile) -> None:
    """It died between the response and its commit: the details are read before anything is sent again."""
    serials = world.fleet(3)
    state = world.store.sync_state("hq")
    (uuid,) = world.assign(KIOSK, serials[:1]).defined
    lost = Interceptor(world, lambda request, body: None)
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
    after = Interceptor(world, lambda request, body: None)
    report = after.run()
    assert report.is_complete
    assert [body["devices"] for name, body in after.bodies if name == ASSIGN] == [[new]]
    assert world.store.sync_state("hq").assigning_since is None
    assert world.listed()[serials[0]] == ("assigned", uuid)


def test_unknown_outcome_is_read_before_sending_again(world: World, profile: EnrollmentProfile) -> None:
    """The response and the details after it were lost: the next run sends only what Apple does not show."""
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


def test_device_shown_by_apple_is_accessible_again(world: World, profile: EnrollmentProfile) -> None:
    """The response and the details after it do not change that; only a refresh does."""
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


def test_explicit_assignment_is_sent_to_an_inaccessible_device(
    world: World, profile: EnrollmentProfile
) -> None:
    (serial,) = world.fleet(1)
    world.apple.unassign([serial], announce=False)
    world.run(profile)
    world.apple.assign("hq", [serial])
    assert world.assign(KIOSK, [serial]).results == {serial: DeviceResult.SUCCESS}


@pytest.mark.parametrize("work", ["assign", "unassign"])
def test_explicit_request_uses_apples_state_and_not_the_stored_one(
    world: World, profile: EnrollmentProfile, work: str
) -> None:
    """An administrator may know of a change in the portal that no sync has read yet."""
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


# Texts of reports


def test_texts_of_reports(world: World, profile: EnrollmentProfile) -> None:
    """Unknown serial numbers, Macs that keep an unneeded profile, and locked profiles that no Mac fetched."""
    (mac,) = world.fleet(1)
    report = world.assign(attrs.evolve(KIOSK, locked=True), [mac, "TYPO"])
    assert report.plan.reasons == {Reason.NO_PROFILE: 1, Reason.UNKNOWN: 1}
    assert "1 is not known to the store" in str(report)
    report = world.assign(attrs.evolve(KIOSK, locked=True, department="Sales"), [mac])
    assert report.warnings == (), "no Mac has fetched it"
    (other,) = world.fleet(1)
    world.run(profile)
    world.store.set_default_profile("hq", None)
    report = world.run()
    assert (report.plan.without_profile, report.plan.left_alone) == (0, 1)
    assert other in world.listed()
    assert "keep the profile that they have" in str(report)


# Overview and doctor


def lost_profile(world: World) -> Answer:
    world.apple.server("hq").profiles.clear()
    return failing_definition_of("Standard Mac", server_error)


def unreachable(world: World) -> Answer:
    (serial,) = (serial for serial, (status, _) in world.at_apple().items() if status == "empty")
    world.apple.unassign([serial], announce=False)
    return lambda request, body: None


FAULTS: dict[str, tuple[Callable[[World], Answer], str]] = {
    "a refused profile": (
        lambda world: failing_definition_of("Next", lambda: httpx.Response(400, text="LOCALE_INVALID")),
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
    "a success without effect": (lambda world: ignoring(), "Apple answered otherwise"),
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
        Interceptor(world, make(world)).run(default=following)
    (shown,) = overview(world.store, now=world.clock())
    assert word in str(shown)
    assert any(word in text for text in problems_of(world))
