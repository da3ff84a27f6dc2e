"""Schedulers over days: a simulated clock, a fake Apple, both kinds on threads, asyncio and trio."""

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
class House:
    """A scheduler's world; ``kind`` says which scheduler works, ``diary`` what happens at which time."""

    kind: str
    store: Store
    clock: FrozenClock = attrs.Factory(FrozenClock)
    apple: FakeApple = attrs.field(init=False)
    reports: list[Report] = attrs.Factory(list)
    diary: list[tuple[datetime, Callable[[], object]]] = attrs.Factory(list)
    on_page: Callable[[], object] = lambda: None
    on_client: Callable[[Token], object] = lambda token: None
    look: tuple[TokenState, ...] = ()
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
        """Let a scheduler work for so many simulated days."""
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
        self.look = scheduler.status()

    async def _run_async(self, options: dict[str, Any]) -> None:
        self.stop = anyio.Event()

        async def wait(seconds: float) -> None:
            self._wait(seconds)

        scheduler = AsyncScheduler(self.store, self.async_client, wait=wait, **options)
        await scheduler.run(self.stop)
        self.look = await scheduler.status()

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
        """When Apple was asked for a page of a server after at least five minutes of silence."""
        pages = [
            request.at
            for request in self.apple.requests
            if request.server == name and request.path in ("/server/devices", "/devices/sync")
        ]
        return pages[:1] + [b for a, b in pairwise(pages) if b - a > timedelta(minutes=5)]

    def token_events(self) -> list[Event]:
        return [event for event in self.store.events(limit=10_000) if event.serial_number is None]

    def token_state(self, name: str) -> TokenState:
        return next(one for one in self.look if one.token_name == name)


@pytest.fixture(params=["threads", "asyncio", "trio"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A house without tokens: on threads with SQLite, else with a store in memory."""
    with SQLiteStore(tmp_path / "ade.db") if request.param == "threads" else MemoryStore() as store:
        yield House(kind=request.param, store=store)


def test_every_token_is_kept_in_step_for_ten_days(house: House) -> None:
    house.add("a", "b", "c", "d", "e", "f")
    for name in "abcdef":
        house.store.set_default_profile(name, PROFILE)
    house.after(timedelta(days=2.3), lambda: house.apple.add_devices(2, server="a"))
    house.after(timedelta(days=4.1), lambda: house.apple.unassign([next(iter(house.at_apple("b")))]))
    house.run(days=10, max_concurrent=2)
    for name in "abcdef":
        assert house.listed(name) == house.at_apple(name)
        assert set(house.listed(name).values()) == {"assigned"}
        starts = house.starts(name)
        gaps = [b - a for a, b in pairwise(starts)]
        assert all(DAY <= gap <= DAY + PACE.jitter + PACE.look_every for gap in gaps)
        assert len(starts) in (10, 11)
        fulls = [r for r in house.syncs(name) if r.action is SyncAction.FULL]
        assert len(fulls) == 2
        token_state = house.token_state(name)
        assert (token_state.stage, token_state.work, token_state.reason) == (Stage.WAITING, Work.SYNC, "")
        assert house.clock() < token_state.next_at <= house.clock() + DAY + PACE.jitter
    assert len({start for name in "abcdef" for start in house.starts(name)[1:]}) > 30, "jitter spreads them"


def test_after_a_restart_the_limits_of_the_store_hold(house: House) -> None:
    house.add("a")
    for _ in range(5):
        house.run(days=0.25)
    assert [r.action for r in house.syncs("a")] == [SyncAction.FULL, SyncAction.DELTA]
    assert len(house.starts("a")) == 2


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (lambda house: house.apple.faults.change_terms(), "TermsError"),
        (lambda house: house.apple.faults.revoke_token("a"), "TokenRejectedError"),
        (lambda house: house.apple.faults.remove_token_owner("a"), "TokenOwnerError"),
        (lambda house: house.apple.generate_token("a"), "TokenSupersededError"),
    ],
)
def test_a_token_that_needs_a_person_is_parked_and_does_not_disturb_others(
    house: House, break_it: Callable[[House], object], error: str
) -> None:
    house.add("a")
    other = house.apple.add_organization("Fabrikam")
    house.apple.add_server("b", organization=other)
    house.store.add_token(house.apple.token("b", name="b"))
    house.after(timedelta(hours=1), lambda: break_it(house))
    house.after(timedelta(hours=1), lambda: house.apple.faults.accept_terms("Fabrikam"))
    house.run(days=5)
    assert len(house.syncs("b")) >= 5
    assert len(house.syncs("a")) == 1
    suspended = house.token_state("a")
    assert suspended.stage is Stage.SUSPENDED
    assert error in suspended.reason
    (event,) = house.token_events()
    assert (event.kind, event.token_name) == (EventKind.TOKEN_SUSPENDED, "a")
    assert error in event.details["reason"]
    assert error in str(suspended)
    sessions = [r.at for r in house.apple.requests if r.status in (401, 403)]
    days = {at.date() for at in sessions}
    assert 3 <= len(days) <= 5, "tried again at the normal interval"
    assert len(sessions) <= 2 * len(days)


def test_an_expired_token_is_parked_and_a_renewed_one_goes_on_within_minutes(house: House) -> None:
    house.add("a")
    expired = attrs.evolve(house.store.token("a"), access_token_expiry=house.clock() + DAY / 2)
    house.store.replace_token(expired)
    house.run(days=2)
    assert house.token_state("a").stage is Stage.SUSPENDED
    assert "TokenExpiredError" in house.token_state("a").reason
    before = len(house.syncs("a"))
    renewed_at = house.clock() + timedelta(hours=1)
    house.after(
        timedelta(hours=1), lambda: house.store.replace_token(attrs.evolve(house.apple.token("a", name="a")))
    )
    house.apple.generate_token("a")
    house.run(days=0.3)
    assert len(house.syncs("a")) == before + 1
    assert house.starts("a")[-1] - renewed_at <= PACE.look_every
    assert house.token_state("a").stage is Stage.WAITING
    kinds = [event.kind for event in house.token_events()]
    assert kinds == [EventKind.TOKEN_EXPIRING, EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]


def test_a_person_is_reminded_of_the_renewal_of_each_token_in_time(house: House) -> None:
    house.add("a", "b")
    soon = attrs.evolve(house.store.token("a"), access_token_expiry=house.clock() + 15.5 * DAY)
    house.store.replace_token(soon)
    house.run(days=16)
    told = [event for event in house.token_events() if event.kind is EventKind.TOKEN_EXPIRING]
    assert [(event.token_name, event.details["days"]) for event in told] == [
        ("a", 30), ("a", 14), ("a", 7), ("a", 1),
    ]  # fmt: skip
    assert all(event.details["apple_id"] == soon.apple_id for event in told)
    left = [soon.access_token_expiry - event.at for event in told[1:] if soon.access_token_expiry]
    late = [days * DAY - remaining for days, remaining in zip((14, 7, 1), left, strict=True)]
    assert all(timedelta(0) <= one <= PACE.look_every for one in late)


def test_another_process_goes_on_with_what_one_found_out(house: House) -> None:
    """Suspended, told and resumed once, although each scheduler knows only its own runs."""
    house.add("a")
    house.apple.faults.change_terms()
    for _ in range(3):
        house.run(days=1.1)
    house.apple.faults.accept_terms()
    for _ in range(3):
        house.run(days=1.1)
    kinds = [event.kind for event in house.token_events()]
    assert kinds == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]
    assert house.listed("a") == house.at_apple("a")


def test_a_token_renewed_while_nothing_ran_is_tried_at_once(house: House) -> None:
    house.add("a")
    house.apple.generate_token("a")
    house.run(days=0.1)
    assert house.token_state("a").stage is Stage.SUSPENDED
    house.store.replace_token(house.apple.token("a", name="a"))
    house.run(days=0.1)
    assert [report.action for report in house.syncs("a")] == [SyncAction.RESUME_FULL]


@pytest.mark.twins
def test_tokens_may_come_and_go_while_it_works(house: House) -> None:
    house.add("a")
    house.after(timedelta(hours=5), lambda: house.add("b"))
    house.after(timedelta(hours=30), lambda: house.store.remove_token("a", now=house.clock()))
    house.run(days=3)
    assert house.starts("b")[0] - house.reports[0].started_at <= timedelta(hours=5) + PACE.look_every
    assert len(house.starts("a")) == 2
    assert [one.token_name for one in house.look] == ["b"]


@pytest.mark.lesson(9)
def test_a_failing_server_delays_its_token_only_and_within_the_limits(house: House) -> None:
    house.add("a", "b")
    house.after(
        timedelta(hours=1),
        lambda: house.apple.script("POST /devices/sync", *[Fault.server_error(503)] * 24),
    )
    house.run(days=4)
    assert [house.store.sync_state(name).last_error for name in "ab"] == ["", ""]
    for name in "ab":
        assert house.listed(name) == house.at_apple(name)
        starts = house.starts(name)
        assert len(starts) == 4, "what failed is made up for on the same day"
        assert starts[1] - starts[0] <= DAY + timedelta(hours=3)
    failed = [request.at for request in house.apple.requests if request.status == 503]
    runs = [a for a, b in pairwise([*failed, house.until]) if b - a > timedelta(minutes=5)]
    assert len(runs) == 6
    # Of each token the second run comes 15 minutes after the first, and the third 30 after that.
    assert timedelta(minutes=45) <= runs[-1] - runs[0] <= timedelta(minutes=90)


def test_when_apple_asks_to_be_left_alone_nobody_asks_it(house: House) -> None:
    house.add("a")
    house.run(days=0.1)
    house.apple.script("POST /devices/sync", *[Fault.rate_limited(7 * 3600)] * 2)
    house.run(days=2)
    refused = next(request.at for request in house.apple.requests if request.status == 429)
    later = [request.at for request in house.apple.requests if request.at > refused]
    assert later[0] - refused >= timedelta(hours=7)
    assert house.store.sync_state("a").not_before is None


def test_a_client_that_cannot_be_made_backs_off_up_to_a_bound(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.add("a", "b")
    tries: list[datetime] = []

    def fail(token: Token) -> None:
        if token.name == "a":
            tries.append(house.clock())
            raise RuntimeError("the secret is 12345")

    house.on_client = fail
    with caplog.at_level(logging.DEBUG):
        house.run(days=6, pace=attrs.evolve(PACE, longest_backoff=timedelta(hours=6)))
    gaps = [(b - a) / timedelta(minutes=15) for a, b in pairwise(tries)]
    assert [round(gap) for gap in gaps[:5]] == [1, 2, 4, 8, 16]
    assert {round(gap) for gap in gaps[5:]} == {24}
    assert len(house.starts("b")) == 6
    assert "12345" not in caplog.text
    assert "a: sync failed: RuntimeError" in caplog.text


@pytest.mark.twins
def test_throttled_devices_get_their_profile_when_their_time_has_come(house: House) -> None:
    house.add("a")
    house.store.set_default_profile("a", PROFILE)
    serials = tuple(house.at_apple("a"))
    house.apple.faults.throttle(serials[:1], house.clock() + timedelta(hours=7))
    house.apple.settings.throttle_extends = False
    house.run(days=0.5)
    assert set(house.listed("a").values()) == {"assigned"}
    assert len(house.starts("a")) == 1
    done = next(r for r in house.reports if isinstance(r, AssignReport) and r.is_complete)
    waited = done.started_at - house.reports[0].started_at
    assert timedelta(hours=7) <= waited <= timedelta(hours=7, minutes=20)


def test_without_assignment_nothing_is_assigned(house: House) -> None:
    house.add("a")
    house.store.set_default_profile("a", PROFILE)
    house.run(days=2, assign=False)
    assert set(house.listed("a").values()) == {"empty"}
    assert all(isinstance(report, SyncReport) for report in house.reports)


@pytest.mark.twins
def test_an_assigner_of_ones_own_does_the_work(house: House) -> None:
    house.add("a")
    made: list[str] = []

    def factory(client: Any, progress: Callable[[Progress], None]) -> Any:
        made.append(client.token_name)
        kind = Assigner if house.kind == "threads" else AsyncAssigner
        return kind(client, house.store, clock=house.clock, progress=progress)

    house.run(days=0.1, assign=factory)
    assert made == ["a"]


def test_rules_choose_the_profile(house: House) -> None:
    house.add("a")
    house.store.set_default_profile("a", PROFILE)
    (tower,) = house.apple.add_devices(1, server="a", model="Mac Pro")
    heavy = attrs.evolve(PROFILE, name="Heavy Mac")
    house.run(days=0.1, assign=AssignmentPolicy([Rule(profile=heavy, model="Mac Pro")]))
    defined = {one.profile_uuid: one.profile.name for one in house.store.profiles("a")}
    given = {r.serial_number: defined[r.device.profile_uuid or ""] for r in house.store.devices("a")}
    assert given.pop(tower) == "Heavy Mac"
    assert set(given.values()) == {"Standard Mac"}


@pytest.mark.twins
def test_a_stop_ends_within_a_page_and_the_next_start_goes_on_there(house: House) -> None:
    house.add("a", devices=20)
    house.apple.settings.page_maximum = house.apple.settings.page_default = 2
    house.on_page = lambda: house.stop.set()  # noqa: PLW0108 - each run makes its own
    house.run(days=1)
    assert house.apple.counts["POST /server/devices"] == 1
    assert len(house.listed("a")) == 2
    assert house.store.sync_state("a").running_since is None
    house.on_page = lambda: None
    house.run(days=0.1)
    assert house.listed("a") == house.at_apple("a")
    assert house.apple.counts["POST /server/devices"] == 10
    assert [r.action for r in house.syncs("a")] == [SyncAction.RESUME_FULL]


@pytest.mark.twins
def test_what_reached_its_time_limit_goes_on_at_once(house: House) -> None:
    house.add("a", devices=12)
    house.apple.settings.page_maximum = house.apple.settings.page_default = 2
    house.on_page = lambda: house.clock.advance(minutes=6)
    house.run(days=0.3, assign=False)
    assert house.listed("a") == house.at_apple("a")
    assert len(house.syncs("a")) == 3
    assert len(house.starts("a")) > 2


@pytest.mark.twins
def test_a_run_that_another_worker_has_under_way_is_left_alone(house: House) -> None:
    house.add("a")
    state = attrs.evolve(house.store.sync_state("a"), run_at=house.clock(), running_since=house.clock())
    house.store.save_sync_state("a", state)
    house.run(days=0.2)
    assert [r.action for r in house.syncs("a")] == [SyncAction.FULL]
    assert house.starts("a")[0] - (house.until - 0.2 * DAY) >= SyncPolicy().time_limit


def test_two_schedulers_on_one_store_break_no_limit(tmp_path: Path) -> None:
    clock = FrozenClock()
    with SQLiteStore(tmp_path / "ade.db") as store:
        one = House(kind="threads", store=store, clock=clock)
        one.add("a", "b")
        other = House(kind="threads", store=store, clock=clock, chance=Random(8))
        other.apple = one.apple
        for _ in range(24):
            one.run(days=0.1)
            other.run(days=0.1)
        for name in "ab":
            assert one.listed(name) == one.at_apple(name)
            assert all(b - a >= DAY for a, b in pairwise(one.starts(name)))
            assert len(one.starts(name)) in (4, 5)


def test_released_devices_are_purged_also_for_parked_tokens(house: House) -> None:
    house.add("a")
    serials = tuple(house.at_apple("a"))
    house.after(timedelta(hours=1), lambda: house.apple.unassign(serials[:1]))
    house.after(timedelta(days=2), lambda: house.apple.faults.revoke_token("a"))
    house.run(days=29)
    assert house.token_state("a").stage is Stage.SUSPENDED
    assert [r.serial_number for r in house.store.devices("a", released=True)] == [serials[0]]
    house.run(days=5)
    assert not list(house.store.devices("a", released=True))
    assert len(list(house.store.devices("a"))) == 2


def test_a_store_that_fails_for_a_while_ends_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.add("a")
    works = house.store.tokens
    broken = iter([True] * 3)

    def tokens(**options: Any) -> tuple[Token, ...]:
        if next(broken, False):
            raise StoreError("the disk is full")
        return works(**options)

    house.store.tokens = tokens  # type: ignore[method-assign]
    house.run(days=0.1)
    assert house.listed("a") == house.at_apple("a")
    assert caplog.text.count("the disk is full") == 3


def test_at_least_one_place_is_needed() -> None:
    for kind in (Scheduler, AsyncScheduler):
        with pytest.raises(PolicyError, match="max_concurrent is 0"):
            kind(MemoryStore(), print, max_concurrent=0)  # type: ignore[arg-type]


@pytest.mark.twins
def test_without_a_wait_of_ones_own_a_stop_ends_the_waiting(house: House) -> None:
    house.add("a")
    far = Pace(look_every=timedelta(days=9))

    if house.kind == "threads":
        stop = threading.Event()
        scheduler = Scheduler(
            house.store, house.client, pace=far, clock=house.clock, on_report=house.reports.append
        )
        worker = threading.Thread(target=scheduler.run, args=(stop,))
        worker.start()
        stop.set()
        worker.join(timeout=30)
        assert not worker.is_alive()
        return

    async def main() -> None:
        stop = anyio.Event()
        scheduler = AsyncScheduler(house.store, house.async_client, pace=far, clock=house.clock)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(scheduler.run, stop)
                await anyio.lowlevel.checkpoint()
                stop.set()

    anyio.run(main, backend=house.kind)
