"""Leases: one worker per token, lost leases, and taking over the work of a dead worker."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pyade.apple import AsyncClient
from pyade.assignment import AsyncAssigner
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.sync_policy import SyncAction
from pyade.core.token import Token
from pyade.errors import LeaseHeldError, StoreClosedError, StoreError
from pyade.flow import AsyncRunner, Runner
from pyade.storage import MemoryStore
from pyade.sync import AsyncDeviceActions, AsyncSyncer, Syncer, SyncOutcome
from pyade.sync.leases import acquire_and_hold_async, hold_lease, hold_lease_async, worker_name
from pyade.testing import FrozenClock

if TYPE_CHECKING:
    from tests.worlds import World


class WatchedStore(MemoryStore):
    """Signals each renewal of a lease; the first one may fail."""

    def __init__(self, clock: FrozenClock, token: Token, failure: StoreError | None = None) -> None:
        super().__init__(clock=clock)
        self.add_token(token)
        self.failure = failure
        self.renewals = 0
        self.renewed = threading.Event()

    def renew_lease(self, lease: Lease, *, seconds: float = 60) -> Lease:
        self.renewals += 1
        if self.failure is not None and self.renewals == 1:
            raise self.failure
        renewed = super().renew_lease(lease, seconds=seconds)
        if renewed.expires_at > lease.expires_at:
            self.renewed.set()
        return renewed


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.mark.parametrize("failure", [None, StoreError("the database is busy")])
def test_lease_is_renewed_during_work_and_released_after_it(
    new_world: Callable[[], World], clock: FrozenClock, failure: StoreError | None
) -> None:
    """A failed renewal is retried."""
    store = WatchedStore(clock, new_world().token, failure)
    with hold_lease(store, store.acquire_lease("hq", "one"), interval=0.001) as lease:
        clock.advance(seconds=40)
        assert store.renewed.wait(10)
        clock.advance(seconds=40)
        with pytest.raises(LeaseHeldError):
            store.acquire_lease("hq", "two")
    assert store.acquire_lease("hq", "two").fence > lease.fence


def test_lost_lease_ends_the_renewals_without_affecting_its_new_holder(
    new_world: Callable[[], World], clock: FrozenClock
) -> None:
    store = WatchedStore(clock, new_world().token)
    lease = store.acquire_lease("hq", "one")
    clock.advance(seconds=61)
    theirs = store.acquire_lease("hq", "two")
    with hold_lease(store, lease, interval=0.001):
        for thread in threading.enumerate():
            if thread.name == "lease of hq":
                thread.join(10)
                assert not thread.is_alive()
    with pytest.raises(LeaseHeldError):
        store.acquire_lease("hq", "three")
    store.renew_lease(theirs)


def test_error_of_the_work_is_raised_although_the_store_was_closed(
    new_world: Callable[[], World], clock: FrozenClock
) -> None:
    store = WatchedStore(clock, new_world().token)

    def work() -> None:
        with hold_lease(store, store.acquire_lease("hq", "one")):
            store.close()
            raise LookupError

    with pytest.raises(LookupError):
        work()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_lease_is_renewed_and_released(
    new_world: Callable[[], World], clock: FrozenClock, backend: str
) -> None:
    """A cancelled block releases the lease, too."""
    store = WatchedStore(clock, new_world().token)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with hold_lease_async(store, store.acquire_lease("hq", "one"), interval=0.001):
                clock.advance(seconds=40)
                assert await anyio.to_thread.run_sync(store.renewed.wait, 10)
                scope.cancel()
                await anyio.sleep_forever()
        store.acquire_lease("hq", "two")

    anyio.run(main, backend=backend)


def renewing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lease of hq"]


def check_all_end(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        # A thread whose start was interrupted may still be about to run.
        assert threading.Event.wait(thread._started, 10)  # type: ignore[attr-defined]
        thread.join(10)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("runs", [False, True])
def test_ctrl_c_while_the_renewal_thread_starts_ends_the_thread(
    new_world: Callable[[], World],
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    runs: bool,
    is_async: bool,
) -> None:
    """It arrives while ``start`` waits for the thread, before or after the thread runs."""
    store = WatchedStore(clock, new_world().token)
    lease = store.acquire_lease("hq", "one")
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name != "lease of hq":
            start(thread)
            return
        if not runs:
            thread._started.wait = lambda: None  # type: ignore[attr-defined]
        start(thread)
        raise KeyboardInterrupt

    def work() -> None:
        with hold_lease(store, lease, interval=0.001):
            raise AssertionError

    async def async_work() -> None:
        async with hold_lease_async(store, lease, interval=0.001):
            raise AssertionError

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        anyio.run(async_work) if is_async else work()
    assert check_all_end(renewing())
    assert store.acquire_lease("hq", "two").fence > lease.fence


def test_lease_is_released_if_the_renewal_thread_cannot_start(
    new_world: Callable[[], World], clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = WatchedStore(clock, new_world().token)

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="new thread"), hold_lease(store, store.acquire_lease("hq", "one")):
        raise AssertionError
    store.acquire_lease("hq", "two")


def test_ctrl_c_between_any_two_lines_leaves_no_renewal_thread(
    new_world: Callable[[], World], clock: FrozenClock
) -> None:
    """The n-th line of ``leases.py`` that the main thread runs is interrupted, for each n."""
    store = WatchedStore(clock, new_world().token)
    places: set[int] = set()
    for number in itertools.count(1):
        lines = 0

        def trace(frame: FrameType, event: str, _: object, number: int = number) -> Any:
            nonlocal lines
            if not frame.f_code.co_filename.endswith("sync/leases.py"):
                return None
            if event == "line":
                lines += 1
                if lines == number:
                    places.add(frame.f_lineno)
                    raise KeyboardInterrupt
            return trace

        lease = store.acquire_lease("hq", f"worker {number}")
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with hold_lease(store, lease, interval=0.001):
                pass
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            sys.settrace(before)
        assert check_all_end(renewing()), f"line {max(places)}"
        clock.advance(seconds=61)
    assert len(places) > 10


class SlowStore(MemoryStore):
    """Acquires a lease only when the test allows, and signals the acquisition and the release."""

    def __init__(self, clock: FrozenClock, token: Token) -> None:
        super().__init__(clock=clock)
        self.add_token(token)
        self.is_asked, self.go_on, self.is_given, self.is_back = (threading.Event() for _ in range(4))

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = 60) -> Lease:
        self.is_asked.set()
        assert self.go_on.wait(10)
        lease = super().acquire_lease(token_name, owner, seconds=seconds)
        self.is_given.set()
        return lease

    def release_lease(self, lease: Lease) -> None:
        super().release_lease(lease)
        self.is_back.set()


WORK: dict[str, Callable[[AsyncClient, SlowStore], Coroutine[Any, Any, object]]] = {
    "sync": lambda client, store: AsyncSyncer(client, store).sync(),
    "assign": lambda client, store: AsyncAssigner(client, store).run(),
    "refresh": lambda client, store: AsyncDeviceActions(client, store).refresh(["X"]),
}


@pytest.mark.parametrize("work", WORK)
def test_lease_acquired_after_the_task_was_cancelled_is_released(
    new_world: Callable[[], World], clock: FrozenClock, work: str
) -> None:
    """``task.cancel`` of asyncio ends the wait immediately, while the store's thread goes on."""
    world = new_world()
    store = SlowStore(clock, world.token)

    async def main() -> None:
        async with AsyncClient(world.token, transport=world.apple.transport(), clock=clock) as client:
            task = asyncio.create_task(WORK[work](client, store))
            await anyio.to_thread.run_sync(store.is_asked.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        store.go_on.set()
        assert await anyio.to_thread.run_sync(store.is_back.wait, 10)

    asyncio.run(main())
    store.acquire_lease("hq", "another")
    assert world.apple.requests == ()


@pytest.mark.parametrize("way", ["timeout", "late"])
def test_lease_acquired_during_the_cancellation_is_released(
    new_world: Callable[[], World], clock: FrozenClock, way: str
) -> None:
    """The timeout hits while the thread waits, or when it has the lease and the task does not know yet."""
    store = SlowStore(clock, new_world().token)

    async def work() -> None:
        async with acquire_and_hold_async(AsyncRunner(), store, "hq"):
            raise AssertionError

    async def timeout() -> None:
        async with asyncio.timeout(None) as limit:
            task = asyncio.current_task()
            assert task is not None

            async def run_out() -> None:
                await anyio.to_thread.run_sync(store.is_asked.wait, 10)
                limit.reschedule(0)

            running_out = asyncio.create_task(run_out())
            try:
                await work()
            finally:
                store.go_on.set()
                await running_out

    async def late() -> None:
        task = asyncio.create_task(work())
        await anyio.to_thread.run_sync(store.is_asked.wait, 10)
        store.go_on.set()
        # The event loop is blocked meanwhile, so that the task sees both at the same time.
        assert store.is_given.wait(10)
        task.cancel()
        await task

    async def main() -> None:
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await (timeout() if way == "timeout" else late())
        assert await anyio.to_thread.run_sync(store.is_back.wait, 10)

    asyncio.run(main())
    store.acquire_lease("hq", "another")


def test_task_cancelled_twice_ends_its_renewals(new_world: Callable[[], World], clock: FrozenClock) -> None:
    """The second cancellation comes while the first one is handled."""
    store = WatchedStore(clock, new_world().token)

    async def work(is_held: asyncio.Event) -> None:
        async with hold_lease_async(store, store.acquire_lease("hq", "one"), interval=0.001):
            is_held.set()
            await asyncio.Event().wait()

    async def main() -> None:
        is_held = asyncio.Event()
        task = asyncio.create_task(work(is_held))
        await is_held.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert check_all_end(renewing())
    store.acquire_lease("hq", "two")


def test_each_run_has_its_own_lease_owner() -> None:
    runner = Runner()
    assert runner.run(worker_name()) != runner.run(worker_name())


@pytest.mark.lesson(12)
def test_second_worker_learns_who_holds_the_token(world: World) -> None:
    lease = world.store.acquire_lease("hq", "worker 7")
    report = world.sync()
    assert (report.action, report.outcome) == (SyncAction.RUNNING, SyncOutcome.NOT_STARTED)
    assert (report.holder, report.allowed_at) == ("worker 7", lease.expires_at)
    with pytest.raises(LeaseHeldError):
        world.restore("X")
    assert world.apple.requests == ()
    assert world.later(seconds=60).sync().is_complete


def test_lease_is_free_after_each_run_with_or_without_error(world: World) -> None:
    assert world.sync().is_complete
    world.store.release_lease(world.store.acquire_lease("hq", "another"))

    def fail() -> None:
        raise LookupError

    world.on_page = fail
    with pytest.raises(LookupError):
        world.later(minutes=15).sync()
    world.store.acquire_lease("hq", "another")


@pytest.mark.parametrize("is_taken", [False, True])
def test_worker_that_lost_its_lease_writes_nothing(world: World, is_taken: bool) -> None:
    """It slept for longer than the lease lasts; whether another worker took over makes no difference."""
    world.page_size(10)
    world.apple.add_devices(25, server="hq")

    def sleep() -> None:
        world.store_clock.advance(seconds=60)
        if is_taken:
            world.store.acquire_lease("hq", "another")

    world.on_page = sleep
    report = world.sync()
    assert (report.outcome, report.pages, report.is_complete) == (SyncOutcome.OVERTAKEN, 1, False)
    assert "nothing was written" in report.notes[0]
    assert len(world.listed()) == 10
    assert world.state.running_since == report.started_at
    world.on_page = lambda: None
    taken_over = world.later(seconds=60).sync()
    assert (taken_over.action, taken_over.is_complete) == (SyncAction.RESUME_FULL, True)
    assert world.listed() == world.at_apple()


def leave_dead_run(world: World) -> None:
    """Leave a run behind that stored one page and was killed."""
    world.page_size(10)
    world.apple.add_devices(35, server="hq")
    world.on_page = lambda: world.store_clock.advance(seconds=60)
    assert world.sync().outcome is SyncOutcome.OVERTAKEN
    world.clock.advance(seconds=60)
    world.on_page = lambda: None


def test_dead_run_is_continued_as_the_same_run(world: World) -> None:
    """It keeps its start, so that neither the cooldown nor the time limit begins again."""
    started_at = world.clock()
    leave_dead_run(world)
    report = world.later(seconds=61).sync(automatic=True)
    assert (report.action, report.reason) == (SyncAction.RESUME_FULL, "takes over a run that died")
    assert (report.pages, report.is_complete) == (4, True)
    assert (world.state.run_at, world.state.running_since) == (started_at, None)
    assert world.sync().allowed_at == started_at + timedelta(minutes=15)


def test_taken_over_run_keeps_its_time_limit(world: World) -> None:
    leave_dead_run(world)
    world.on_page = lambda: world.clock.advance(minutes=1)
    report = world.later(minutes=13).sync()
    assert (report.outcome, report.pages) == (SyncOutcome.TIME_LIMIT, 1)
    assert world.sync().is_complete


def test_run_that_died_long_ago_is_followed_by_a_new_run(world: World) -> None:
    leave_dead_run(world)
    report = world.later(minutes=15).sync()
    assert (report.action, report.reason) == (SyncAction.RESUME_FULL, "a full list was cut short")
    assert world.state.run_at == world.clock()


def test_closed_store_is_reported_before_any_request(world: World) -> None:
    world.store.close()
    with pytest.raises(StoreClosedError):
        world.sync()
    assert world.apple.requests == ()


@pytest.mark.parametrize("minutes", [-5, -1, 1, 5])
def test_workers_with_clocks_five_minutes_apart_share_the_limits(
    new_world: Callable[[], World], minutes: int
) -> None:
    """Leases and limits use the store's clock."""
    world = new_world()
    world.apple.add_devices(3, server="hq")
    other = FrozenClock(world.clock() + timedelta(minutes=minutes))
    lease = world.store.acquire_lease("hq", "one")
    with world.client() as client:
        syncer = Syncer(client, world.store, clock=other)
        report = syncer.sync()
        assert (report.action, report.holder) == (SyncAction.RUNNING, "one")
        world.store.release_lease(lease)
        began = world.clock()
        assert world.sync().action is SyncAction.FULL
        for passed, expected in ((10, SyncAction.WAIT), (4.9, SyncAction.WAIT), (0.1, SyncAction.DELTA)):
            other.advance(minutes=passed)
            world.later(minutes=passed)
            report = syncer.sync()
            assert (report.action, report.next_allowed_at - began) == (
                expected, timedelta(minutes=15 if expected is SyncAction.WAIT else 30),
            )  # fmt: skip
    assert world.state.run_at == world.clock()
    assert world.listed() == world.at_apple()


def test_hanging_work_loses_its_lease_at_its_limit(
    new_world: Callable[[], World], clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Renewed three times and not again; then another worker may have the token."""
    store = WatchedStore(clock, new_world().token)
    lost = threading.Event()

    def watch(record: logging.LogRecord) -> bool:
        if "takes too long" in record.msg:
            lost.set()
        return True

    caplog.handler.addFilter(watch)
    limit = timedelta(milliseconds=3)
    with hold_lease(store, store.acquire_lease("hq", "one"), interval=0.001, longest=limit):
        assert lost.wait(10)
        assert store.renewals == 3
        clock.advance(seconds=61)
        assert store.acquire_lease("hq", "two").owner == "two"
    with pytest.raises(LeaseHeldError):
        store.acquire_lease("hq", "three")
