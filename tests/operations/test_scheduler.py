"""Schedulers over days: a simulated clock, a fake Apple, both classes on threads, asyncio and trio."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from pyade.apple.client import AsyncClient, Client
from pyade.assignment import Assigner, AssignReport, AsyncAssigner
from pyade.assignment.rules import AssignmentPolicy, Rule
from pyade.core.fleet.events import Event, EventKind
from pyade.core.fleet.schedule import Pace, Work
from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.errors import PolicyError, StoreError
from pyade.operations import AsyncScheduler, Scheduler, Stage, TokenState
from pyade.operations.due_queue import Report
from pyade.storage import MemoryStore, SQLiteStore
from pyade.storage.protocol import Store
from pyade.sync import Progress, SyncReport
from pyade.testing import FakeApple, Fault, FrozenClock

DAY = timedelta(days=1)
PACE = Pace(look_every=timedelta(minutes=10))
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")


@attrs.define(kw_only=True)
class SchedulerWorld:
    """A scheduler's world; ``kind`` says which scheduler runs, ``diary`` what happens at which time."""

    kind: str
    store: Store
    clock: FrozenClock = attrs.Factory(FrozenClock)
    apple: FakeApple = attrs.field(init=False)
    reports: list[Report] = attrs.Factory(list)
    diary: list[tuple[datetime, Callable[[], object]]] = attrs.Factory(list)
    on_page: Callable[[], object] = lambda: None
    on_client: Callable[[Token], object] = lambda token: None
    statuses: tuple[TokenState, ...] = ()
    chance: Random = attrs.Factory(lambda: Random(7))
    until: datetime = attrs.field(init=False)
    stop: Any = None

    def __attrs_post_init__(self) -> None:
        self.apple = FakeApple(clock=self.clock)
        self.apple.settings.throttle_changes = None
        self.until = self.clock()

    def add(self, *names: str, devices: int = 3) -> None:
        for name in names:
            server = self.apple.add_server(name)
            self.apple.add_devices(devices, server=server)
            self.store.add_token(self.apple.token(server, name=name))

    def after(self, delay: timedelta, act: Callable[[], object]) -> None:
        self.diary.append((self.clock() + delay, act))

    def run(self, *, days: float, **options: Any) -> None:
        """Let a scheduler run for *days* simulated days."""
        self.until = self.clock() + timedelta(days=days)
        options = {"pace": PACE, "clock": self.clock, "random": self.chance.random, **options}
        options |= {"on_report": self.reports.append, "progress": self._progress}
        if self.kind == "threads":
            self._run_threads(options)
        else:
            anyio.run(self._run_async, options, backend=self.kind)

    def _run_threads(self, options: dict[str, Any]) -> None:
        self.stop = threading.Event()
        scheduler = Scheduler(self.store, self.client, wait=self._wait, **options)
        scheduler.run(self.stop)
        self.statuses = scheduler.status()

    async def _run_async(self, options: dict[str, Any]) -> None:
        self.stop = anyio.Event()

        async def wait(seconds: float) -> None:
            self._wait(seconds)

        scheduler = AsyncScheduler(self.store, self.async_client, wait=wait, **options)
        await scheduler.run(self.stop)
        self.statuses = await scheduler.status()

    def client(self, token: Token) -> Client:
        self.on_client(token)
        return Client(
            token,
            transport=self.apple.transport(),
            clock=self.clock,
            sleep=self.clock.sleep,
            random=lambda: 0.5,
        )

    def async_client(self, token: Token) -> AsyncClient:
        self.on_client(token)
        return AsyncClient(
            token,
            transport=self.apple.transport(),
            clock=self.clock,
            sleep=self.clock.sleep_async,
            random=lambda: 0.5,
        )

    def _wait(self, seconds: float) -> None:
        assert seconds > 0
        self.clock.advance(seconds)
        for entry in sorted(self.diary, key=lambda entry: entry[0]):
            if entry[0] <= self.clock():
                self.diary.remove(entry)
                entry[1]()
        if self.clock() >= self.until:
            self.stop.set()

    def _progress(self, progress: Progress) -> None:
        self.on_page()

    def syncs(self, name: str) -> list[SyncReport]:
        return [r for r in self.reports if isinstance(r, SyncReport) and r.token_name == name]

    def listed(self, name: str) -> dict[str, str | None]:
        return {r.serial_number: r.device.profile_status for r in self.store.devices(name)}

    def at_apple(self, name: str) -> dict[str, str | None]:
        devices = self.apple.server(name).devices
        return {serial: found.record["profile_status"] for serial, found in devices.items()}

    def starts(self, name: str) -> list[datetime]:
        """Return when Apple was asked for a page of a server after at least five minutes of silence."""
        pages = [
            request.at
            for request in self.apple.requests
            if request.server == name and request.path in ("/server/devices", "/devices/sync")
        ]
        return pages[:1] + [b for a, b in pairwise(pages) if b - a > timedelta(minutes=5)]

    def token_events(self) -> list[Event]:
        return [event for event in self.store.events(limit=10_000) if event.serial_number is None]

    def token_state(self, name: str) -> TokenState:
        return next(one for one in self.statuses if one.token_name == name)


@pytest.fixture(params=["threads", "asyncio", "trio"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SchedulerWorld]:
    """A world without tokens: on threads with SQLite, otherwise with a store in memory."""
    with SQLiteStore(tmp_path / "ade.db") if request.param == "threads" else MemoryStore() as store:
        yield SchedulerWorld(kind=request.param, store=store)


def test_every_token_is_kept_up_to_date_for_ten_days(world: SchedulerWorld) -> None:
    world.add("a", "b", "c", "d", "e", "f")
    for name in "abcdef":
        world.store.set_default_profile(name, PROFILE)
    world.after(timedelta(days=2.3), lambda: world.apple.add_devices(2, server="a"))
    world.after(timedelta(days=4.1), lambda: world.apple.unassign([next(iter(world.at_apple("b")))]))
    world.run(days=10, max_concurrent=2)
    for name in "abcdef":
        assert world.listed(name) == world.at_apple(name)
        assert set(world.listed(name).values()) == {"assigned"}
        starts = world.starts(name)
        gaps = [b - a for a, b in pairwise(starts)]
        assert all(DAY <= gap <= DAY + PACE.jitter + PACE.look_every for gap in gaps)
        assert len(starts) in (10, 11)
        fulls = [r for r in world.syncs(name) if r.action is SyncAction.FULL]
        assert len(fulls) == 2
        token_state = world.token_state(name)
        assert (token_state.stage, token_state.work, token_state.reason) == (Stage.WAITING, Work.SYNC, "")
        assert world.clock() < token_state.next_at <= world.clock() + DAY + PACE.jitter
    assert len({start for name in "abcdef" for start in world.starts(name)[1:]}) > 30, "jitter spreads them"


def test_stored_limits_hold_after_a_restart(world: SchedulerWorld) -> None:
    world.add("a")
    for _ in range(5):
        world.run(days=0.25)
    assert [r.action for r in world.syncs("a")] == [SyncAction.FULL, SyncAction.DELTA]
    assert len(world.starts("a")) == 2


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (lambda world: world.apple.faults.change_terms(), "TermsError"),
        (lambda world: world.apple.faults.revoke_token("a"), "TokenRejectedError"),
        (lambda world: world.apple.faults.remove_token_owner("a"), "TokenOwnerError"),
        (lambda world: world.apple.generate_token("a"), "TokenSupersededError"),
    ],
)
def test_token_that_needs_an_administrator_is_suspended_without_affecting_others(
    world: SchedulerWorld, break_it: Callable[[SchedulerWorld], object], error: str
) -> None:
    world.add("a")
    other = world.apple.add_organization("Fabrikam")
    world.apple.add_server("b", organization=other)
    world.store.add_token(world.apple.token("b", name="b"))
    world.after(timedelta(hours=1), lambda: break_it(world))
    world.after(timedelta(hours=1), lambda: world.apple.faults.accept_terms("Fabrikam"))
    world.run(days=5)
    assert len(world.syncs("b")) >= 5
    assert len(world.syncs("a")) == 1
    suspended = world.token_state("a")
    assert suspended.stage is Stage.SUSPENDED
    assert error in suspended.reason
    (event,) = world.token_events()
    assert (event.kind, event.token_name) == (EventKind.TOKEN_SUSPENDED, "a")
    assert error in event.details["reason"]
    assert error in str(suspended)
    sessions = [r.at for r in world.apple.requests if r.status in (401, 403)]
    days = {at.date() for at in sessions}
    assert 3 <= len(days) <= 5, "tried again at the normal interval"
    assert len(sessions) <= 2 * len(days)


def test_expired_token_is_suspended_and_resumes_within_minutes_of_its_renewal(world: SchedulerWorld) -> None:
    world.add("a")
    expired = attrs.evolve(world.store.token("a"), access_token_expiry=world.clock() + DAY / 2)
    world.store.replace_token(expired)
    world.run(days=2)
    assert world.token_state("a").stage is Stage.SUSPENDED
    assert "TokenExpiredError" in world.token_state("a").reason
    before = len(world.syncs("a"))
    renewed_at = world.clock() + timedelta(hours=1)
    world.after(
        timedelta(hours=1), lambda: world.store.replace_token(attrs.evolve(world.apple.token("a", name="a")))
    )
    world.apple.generate_token("a")
    world.run(days=0.3)
    assert len(world.syncs("a")) == before + 1
    assert world.starts("a")[-1] - renewed_at <= PACE.look_every
    assert world.token_state("a").stage is Stage.WAITING
    kinds = [event.kind for event in world.token_events()]
    assert kinds == [EventKind.TOKEN_EXPIRING, EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]


def test_renewal_reminder_of_each_token_is_sent_in_time(world: SchedulerWorld) -> None:
    world.add("a", "b")
    soon = attrs.evolve(world.store.token("a"), access_token_expiry=world.clock() + 15.5 * DAY)
    world.store.replace_token(soon)
    world.run(days=16)
    reminders = [event for event in world.token_events() if event.kind is EventKind.TOKEN_EXPIRING]
    assert [(event.token_name, event.details["days"]) for event in reminders] == [
        ("a", 30), ("a", 14), ("a", 7), ("a", 1),
    ]  # fmt: skip
    assert all(event.details["apple_id"] == soon.apple_id for event in reminders)
    left = [soon.access_token_expiry - event.at for event in reminders[1:] if soon.access_token_expiry]
    late = [days * DAY - remaining for days, remaining in zip((14, 7, 1), left, strict=True)]
    assert all(timedelta(0) <= one <= PACE.look_every for one in late)


def test_suspension_is_shared_by_all_processes(world: SchedulerWorld) -> None:
    """Suspended, reported and resumed once, although each scheduler knows only its own runs."""
    world.add("a")
    world.apple.faults.change_terms()
    for _ in range(3):
        world.run(days=1.1)
    world.apple.faults.accept_terms()
    for _ in range(3):
        world.run(days=1.1)
    kinds = [event.kind for event in world.token_events()]
    assert kinds == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]
    assert world.listed("a") == world.at_apple("a")


def test_token_renewed_while_no_scheduler_ran_is_tried_immediately(world: SchedulerWorld) -> None:
    world.add("a")
    world.apple.generate_token("a")
    world.run(days=0.1)
    assert world.token_state("a").stage is Stage.SUSPENDED
    world.store.replace_token(world.apple.token("a", name="a"))
    world.run(days=0.1)
    assert [report.action for report in world.syncs("a")] == [SyncAction.RESUME_FULL]


@pytest.mark.twins
def test_tokens_can_be_added_and_removed_while_a_scheduler_runs(world: SchedulerWorld) -> None:
    world.add("a")
    world.after(timedelta(hours=5), lambda: world.add("b"))
    world.after(timedelta(hours=30), lambda: world.store.remove_token("a", now=world.clock()))
    world.run(days=3)
    assert world.starts("b")[0] - world.reports[0].started_at <= timedelta(hours=5) + PACE.look_every
    assert len(world.starts("a")) == 2
    assert [one.token_name for one in world.statuses] == ["b"]


@pytest.mark.lesson(9)
def test_failing_server_delays_only_its_token_within_the_limits(world: SchedulerWorld) -> None:
    world.add("a", "b")
    world.after(
        timedelta(hours=1),
        lambda: world.apple.script("POST /devices/sync", *[Fault.server_error(503)] * 24),
    )
    world.run(days=4)
    assert [world.store.sync_state(name).last_error for name in "ab"] == ["", ""]
    for name in "ab":
        assert world.listed(name) == world.at_apple(name)
        starts = world.starts(name)
        assert len(starts) == 4, "what failed is made up for on the same day"
        assert starts[1] - starts[0] <= DAY + timedelta(hours=3)
    failed = [request.at for request in world.apple.requests if request.status == 503]
    runs = [a for a, b in pairwise([*failed, world.until]) if b - a > timedelta(minutes=5)]
    assert len(runs) == 6
    # Of each token the second run comes 15 minutes after the first, and the third 30 after that.
    assert timedelta(minutes=45) <= runs[-1] - runs[0] <= timedelta(minutes=90)


def test_rate_limit_stops_all_requests_until_its_end(world: SchedulerWorld) -> None:
    world.add("a")
    world.run(days=0.1)
    world.apple.script("POST /devices/sync", *[Fault.rate_limited(7 * 3600)] * 2)
    world.run(days=2)
    refused = next(request.at for request in world.apple.requests if request.status == 429)
    later = [request.at for request in world.apple.requests if request.at > refused]
    assert later[0] - refused >= timedelta(hours=7)
    assert world.store.sync_state("a").not_before is None


def test_failing_client_factory_backs_off_up_to_a_bound(
    world: SchedulerWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.add("a", "b")
    tries: list[datetime] = []

    def fail(token: Token) -> None:
        if token.name == "a":
            tries.append(world.clock())
            raise RuntimeError("the secret is 12345")

    world.on_client = fail
    with caplog.at_level(logging.DEBUG):
        world.run(days=6, pace=attrs.evolve(PACE, longest_backoff=timedelta(hours=6)))
    gaps = [(b - a) / timedelta(minutes=15) for a, b in pairwise(tries)]
    assert [round(gap) for gap in gaps[:5]] == [1, 2, 4, 8, 16]
    assert {round(gap) for gap in gaps[5:]} == {24}
    assert len(world.starts("b")) == 6
    assert "12345" not in caplog.text
    assert "a: sync failed: RuntimeError" in caplog.text


@pytest.mark.twins
def test_throttled_devices_get_their_profile_after_their_wait(world: SchedulerWorld) -> None:
    world.add("a")
    world.store.set_default_profile("a", PROFILE)
    serials = tuple(world.at_apple("a"))
    world.apple.faults.throttle(serials[:1], world.clock() + timedelta(hours=7))
    world.apple.settings.throttle_extends = False
    world.run(days=0.5)
    assert set(world.listed("a").values()) == {"assigned"}
    assert len(world.starts("a")) == 1
    done = next(r for r in world.reports if isinstance(r, AssignReport) and r.is_complete)
    waited = done.started_at - world.reports[0].started_at
    assert timedelta(hours=7) <= waited <= timedelta(hours=7, minutes=20)


def test_scheduler_without_assignment_assigns_nothing(world: SchedulerWorld) -> None:
    world.add("a")
    world.store.set_default_profile("a", PROFILE)
    world.run(days=2, assign=False)
    assert set(world.listed("a").values()) == {"empty"}
    assert all(isinstance(report, SyncReport) for report in world.reports)


@pytest.mark.twins
def test_custom_assigner_is_used(world: SchedulerWorld) -> None:
    world.add("a")
    made: list[str] = []

    def factory(client: Any, progress: Callable[[Progress], None]) -> Any:
        made.append(client.token_name)
        kind = Assigner if world.kind == "threads" else AsyncAssigner
        return kind(client, world.store, clock=world.clock, progress=progress)

    world.run(days=0.1, assign=factory)
    assert made == ["a"]


def test_rules_select_the_profile(world: SchedulerWorld) -> None:
    world.add("a")
    world.store.set_default_profile("a", PROFILE)
    (tower,) = world.apple.add_devices(1, server="a", model="Mac Pro")
    heavy = attrs.evolve(PROFILE, name="Heavy Mac")
    world.run(days=0.1, assign=AssignmentPolicy([Rule(profile=heavy, model="Mac Pro")]))
    defined = {one.profile_uuid: one.profile.name for one in world.store.profiles("a")}
    given = {r.serial_number: defined[r.device.profile_uuid or ""] for r in world.store.devices("a")}
    assert given.pop(tower) == "Heavy Mac"
    assert set(given.values()) == {"Standard Mac"}


@pytest.mark.twins
def test_stop_takes_effect_within_a_page_and_the_next_start_continues_there(world: SchedulerWorld) -> None:
    world.add("a", devices=20)
    world.apple.settings.page_maximum = world.apple.settings.page_default = 2
    world.on_page = lambda: world.stop.set()  # noqa: PLW0108 - each run creates its own event
    world.run(days=1)
    assert world.apple.counts["POST /server/devices"] == 1
    assert len(world.listed("a")) == 2
    assert world.store.sync_state("a").running_since is None
    world.on_page = lambda: None
    world.run(days=0.1)
    assert world.listed("a") == world.at_apple("a")
    assert world.apple.counts["POST /server/devices"] == 10
    assert [r.action for r in world.syncs("a")] == [SyncAction.RESUME_FULL]


@pytest.mark.twins
def test_run_that_reached_its_time_limit_is_continued_immediately(world: SchedulerWorld) -> None:
    world.add("a", devices=12)
    world.apple.settings.page_maximum = world.apple.settings.page_default = 2
    world.on_page = lambda: world.clock.advance(minutes=6)
    world.run(days=0.3, assign=False)
    assert world.listed("a") == world.at_apple("a")
    assert len(world.syncs("a")) == 3
    assert len(world.starts("a")) > 2


@pytest.mark.twins
def test_run_of_another_worker_is_not_disturbed(world: SchedulerWorld) -> None:
    world.add("a")
    state = attrs.evolve(world.store.sync_state("a"), run_at=world.clock(), running_since=world.clock())
    world.store.save_sync_state("a", state)
    world.run(days=0.2)
    assert [r.action for r in world.syncs("a")] == [SyncAction.FULL]
    assert world.starts("a")[0] - (world.until - 0.2 * DAY) >= SyncPolicy().time_limit


def test_two_schedulers_on_one_store_keep_the_limits(tmp_path: Path) -> None:
    clock = FrozenClock()
    with SQLiteStore(tmp_path / "ade.db") as store:
        one = SchedulerWorld(kind="threads", store=store, clock=clock)
        one.add("a", "b")
        other = SchedulerWorld(kind="threads", store=store, clock=clock, chance=Random(8))
        other.apple = one.apple
        for _ in range(24):
            one.run(days=0.1)
            other.run(days=0.1)
        for name in "ab":
            assert one.listed(name) == one.at_apple(name)
            assert all(b - a >= DAY for a, b in pairwise(one.starts(name)))
            assert len(one.starts(name)) in (4, 5)


def test_released_devices_of_suspended_tokens_are_purged_too(world: SchedulerWorld) -> None:
    world.add("a")
    serials = tuple(world.at_apple("a"))
    world.after(timedelta(hours=1), lambda: world.apple.unassign(serials[:1]))
    world.after(timedelta(days=2), lambda: world.apple.faults.revoke_token("a"))
    world.run(days=29)
    assert world.token_state("a").stage is Stage.SUSPENDED
    assert [r.serial_number for r in world.store.devices("a", released=True)] == [serials[0]]
    world.run(days=5)
    assert not list(world.store.devices("a", released=True))
    assert len(list(world.store.devices("a"))) == 2


def test_scheduler_survives_a_temporary_store_failure(
    world: SchedulerWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.add("a")
    works = world.store.tokens
    broken = iter([True] * 3)

    def tokens(**options: Any) -> tuple[Token, ...]:
        if next(broken, False):
            raise StoreError("the disk is full")
        return works(**options)

    world.store.tokens = tokens  # type: ignore[method-assign]
    world.run(days=0.1)
    assert world.listed("a") == world.at_apple("a")
    assert caplog.text.count("the disk is full") == 3


def test_concurrency_below_one_is_refused() -> None:
    for kind in (Scheduler, AsyncScheduler):
        with pytest.raises(PolicyError, match="max_concurrent is 0"):
            kind(MemoryStore(), print, max_concurrent=0)  # type: ignore[arg-type]


@pytest.mark.twins
def test_stop_ends_the_default_wait(world: SchedulerWorld) -> None:
    world.add("a")
    far = Pace(look_every=timedelta(days=9))

    if world.kind == "threads":
        stop = threading.Event()
        scheduler = Scheduler(
            world.store, world.client, pace=far, clock=world.clock, on_report=world.reports.append
        )
        worker = threading.Thread(target=scheduler.run, args=(stop,))
        worker.start()
        stop.set()
        worker.join(timeout=30)
        assert not worker.is_alive()
        return

    async def main() -> None:
        stop = anyio.Event()
        scheduler = AsyncScheduler(world.store, world.async_client, pace=far, clock=world.clock)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(scheduler.run, stop)
                await anyio.lowlevel.checkpoint()
                stop.set()

    anyio.run(main, backend=world.kind)
