"""One worker at a time: who holds a token, who lost it, and who takes over what died."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import pytest

from pyade.core.lease import Lease
from pyade.core.policy import SyncAction
from pyade.core.token import Token
from pyade.errors import LeaseHeldError, StoreClosedError, StoreError
from pyade.storage import MemoryStore
from pyade.sync import Ending, Syncer
from pyade.sync.leases import keeping, keeping_async, worker_name
from pyade.testing import FrozenClock

if TYPE_CHECKING:
    from tests.sync.conftest import World


class Watched(MemoryStore):
    """Says when a renewal made a lease last longer; the first one may fail."""

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
def test_a_lease_is_renewed_while_the_work_lasts_and_given_back_after_it(
    new_world: Callable[[], World], clock: FrozenClock, failure: StoreError | None
) -> None:
    """A renewal that fails is tried again."""
    store = Watched(clock, new_world().token, failure)
    with keeping(store, store.acquire_lease("hq", "one"), interval=0.001) as lease:
        clock.advance(seconds=40)
        assert store.renewed.wait(10)
        clock.advance(seconds=40)
        with pytest.raises(LeaseHeldError):
            store.acquire_lease("hq", "two")
    assert store.acquire_lease("hq", "two").fence > lease.fence


def test_a_lost_lease_ends_the_renewals_and_disturbs_nobody(
    new_world: Callable[[], World], clock: FrozenClock
) -> None:
    store = Watched(clock, new_world().token)
    lease = store.acquire_lease("hq", "one")
    clock.advance(seconds=61)
    theirs = store.acquire_lease("hq", "two")
    with keeping(store, lease, interval=0.001):
        for thread in threading.enumerate():
            if thread.name == "lease of hq":
                thread.join(10)
                assert not thread.is_alive()
    with pytest.raises(LeaseHeldError):
        store.acquire_lease("hq", "three")
    store.renew_lease(theirs)


def test_an_error_in_the_work_outlives_a_store_that_was_closed(
    new_world: Callable[[], World], clock: FrozenClock
) -> None:
    store = Watched(clock, new_world().token)

    def work() -> None:
        with keeping(store, store.acquire_lease("hq", "one")):
            store.close()
            raise LookupError

    with pytest.raises(LookupError):
        work()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_asynchronous_kind_does_the_same(
    new_world: Callable[[], World], clock: FrozenClock, backend: str
) -> None:
    """A block that is cancelled gives the lease back, too."""
    store = Watched(clock, new_world().token)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with keeping_async(store, store.acquire_lease("hq", "one"), interval=0.001):
                clock.advance(seconds=40)
                assert await anyio.to_thread.run_sync(store.renewed.wait, 10)
                scope.cancel()
                await anyio.sleep_forever()
        store.acquire_lease("hq", "two")

    anyio.run(main, backend=backend)


def test_every_piece_of_work_has_a_name_of_its_own() -> None:
    assert worker_name() != worker_name()


@pytest.mark.lesson(12)
def test_a_second_worker_is_told_who_holds_the_token(world: World) -> None:
    lease = world.store.acquire_lease("hq", "worker 7")
    report = world.sync()
    assert (report.action, report.ending) == (SyncAction.RUNNING, Ending.NOT_STARTED)
    assert (report.holder, report.allowed_at) == ("worker 7", lease.expires_at)
    with pytest.raises(LeaseHeldError):
        world.restore("X")
    assert world.apple.requests == ()
    assert world.later(seconds=60).sync().is_complete


def test_the_lease_is_free_after_a_run_however_it_ended(world: World) -> None:
    assert world.sync().is_complete
    world.store.release_lease(world.store.acquire_lease("hq", "another"))

    def fail() -> None:
        raise LookupError

    world.on_page = fail
    with pytest.raises(LookupError):
        world.later(minutes=15).sync()
    world.store.acquire_lease("hq", "another")


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_worker_that_lost_its_lease_writes_nothing_more(world: World, is_taken: bool) -> None:
    """It slept for longer than the lease lasts; whether another one came meanwhile makes no difference."""
    world.page_size(10)
    world.apple.add_devices(25, server="hq")

    def sleep() -> None:
        world.store_clock.advance(seconds=60)
        if is_taken:
            world.store.acquire_lease("hq", "another")

    world.on_page = sleep
    report = world.sync()
    assert (report.ending, report.pages, report.is_complete) == (Ending.OVERTAKEN, 1, False)
    assert "nothing was written" in report.notes[0]
    assert len(world.listed()) == 10
    assert world.state.running_since == report.started_at
    world.on_page = lambda: None
    taken_over = world.later(seconds=60).sync()
    assert (taken_over.action, taken_over.is_complete) == (SyncAction.RESUME_FULL, True)
    assert world.listed() == world.at_apple()


def died(world: World) -> None:
    """Leave a run behind that stored one page and was killed."""
    world.page_size(10)
    world.apple.add_devices(35, server="hq")
    world.on_page = lambda: world.store_clock.advance(seconds=60)
    assert world.sync().ending is Ending.OVERTAKEN
    world.clock.advance(seconds=60)
    world.on_page = lambda: None


def test_a_run_that_died_is_continued_as_the_same_run(world: World) -> None:
    """Its start stays, so that neither the cooldown nor the time limit begins anew."""
    started_at = world.clock()
    died(world)
    report = world.later(seconds=61).sync(automatic=True)
    assert (report.action, report.reason) == (SyncAction.RESUME_FULL, "takes over a run that died")
    assert (report.pages, report.is_complete) == (4, True)
    assert (world.state.run_at, world.state.running_since) == (started_at, None)
    assert world.sync().allowed_at == started_at + timedelta(minutes=15)


def test_a_run_that_was_taken_over_keeps_its_time_limit(world: World) -> None:
    died(world)
    world.on_page = lambda: world.clock.advance(minutes=1)
    report = world.later(minutes=13).sync()
    assert (report.ending, report.pages) == (Ending.TIME_LIMIT, 1)
    assert world.sync().is_complete


def test_a_run_that_died_long_ago_is_followed_by_a_new_one(world: World) -> None:
    died(world)
    report = world.later(minutes=15).sync()
    assert (report.action, report.reason) == (SyncAction.RESUME_FULL, "a full list was cut short")
    assert world.state.run_at == world.clock()


def test_a_closed_store_is_reported_before_anything_is_sent(world: World) -> None:
    world.store.close()
    with pytest.raises(StoreClosedError):
        world.sync()
    assert world.apple.requests == ()


@pytest.mark.parametrize("minutes", [-5, -1, 1, 5])
def test_workers_whose_clocks_are_five_minutes_apart_keep_the_limits_together(
    new_world: Callable[[], World], minutes: int
) -> None:
    """Leases and limits go by the store's clock."""
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
