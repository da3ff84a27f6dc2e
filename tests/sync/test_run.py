"""Runs that are killed at any step, overtaken by another worker, or stopped by an error not from Apple."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy, Trigger
from pyade.errors import StoreClosedError
from pyade.flow import Now, Step, StoreCall, drive
from pyade.sync import AsyncSyncer, Syncer, SyncOutcome
from pyade.sync.run import SyncRun
from pyade.sync.runners import runner_of
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

    from pyade.apple.client import AsyncClient, Client
    from pyade.sync import SyncReport


class KilledError(BaseException):
    """The process is gone: nothing runs after this, not even cleanup."""


def run_of(world: World, *, full: bool = False) -> SyncRun:
    return SyncRun("hq", world.policy, trigger=Trigger.REQUESTED, full=full)


def kill_at(world: World, number: int, *, after_effect: bool, full: bool) -> bool:
    """Run until step *number* and kill the run there; return False if it ended before."""
    steps = 0
    lease = world.store.acquire_lease("hq", "killed")
    with world.client() as client:
        perform = runner_of(client, world.store, world.clock, None)

        def until(step: Step[Any]) -> Any:
            nonlocal steps
            steps += 1
            if steps == number and not after_effect:
                raise KilledError
            answer = perform(step)
            if steps == number:
                raise KilledError
            return answer

        try:
            drive(run_of(world, full=full).steps(lease), until)
        except KilledError:
            return True
    world.store.release_lease(lease)
    return False


@pytest.mark.parametrize("after_effect", [False, True])
def test_killed_run_loses_nothing_at_any_step(new_world: Callable[[], World], after_effect: bool) -> None:
    """A full list with devices to release, and changes meanwhile, killed at each step in turn."""
    number, killed = 0, True
    while killed:
        number += 1
        world = new_world()
        world.page_size(2)
        first, *_ = world.apple.add_devices(5, server="hq")
        world.sync()
        world.later(days=7)
        world.apple.unassign([first], announce=False)
        killed = kill_at(world, number, after_effect=after_effect, full=True)
        world.apple.add_devices(1, server="hq")
        if killed:
            assert world.sync().holder == "killed"
        # A dead run is taken over when its lease ends; a run that did not begin, or that ended, is not.
        wait = {"minutes": 15} if world.state.running_since is None else {"seconds": 60}
        assert world.later(**wait).sync().is_complete
        assert world.listed() == world.at_apple()
        assert world.record(first).is_released is (world.state.full_sync == 2)
    assert number > 15


@pytest.mark.lesson(3)
def test_cursor_is_never_stored_before_its_page(new_world: Callable[[], World]) -> None:
    """At every step all devices before the stored cursor are stored."""
    world = new_world()
    world.page_size(2)
    world.apple.add_devices(7, server="hq")
    pages: list[int] = []
    world.on_page = lambda: pages.append(len(world.listed()))
    with world.client() as client:
        perform = runner_of(client, world.store, world.clock, world._progress)

        def watched(step: Step[Any]) -> Any:
            before = world.state.cursor, len(world.listed())
            answer = perform(step)
            after = world.state.cursor, len(world.listed())
            if isinstance(step, StoreCall) and after[0] != before[0]:
                assert after[1] > before[1] or after[1] == 7
            else:
                assert after == before
            return answer

        drive(run_of(world).steps(), watched)
    assert pages == [2, 4, 6, 7, 7]


def test_overtaken_worker_stops_without_writing(world: World) -> None:
    world.page_size(10)
    world.apple.add_devices(25, server="hq")

    def other_worker() -> None:
        world.on_page = lambda: None
        state = world.state
        world.store.save_sync_state("hq", attrs.evolve(state, running_since=world.clock(), cursor="theirs"))

    world.on_page = other_worker
    report = world.sync()
    assert (report.outcome, report.pages) == (SyncOutcome.OVERTAKEN, 1)
    assert not report.is_complete
    assert world.state.cursor == "theirs"
    assert world.state.running_since is not None
    assert len(world.listed()) == 10


def test_one_of_two_workers_that_start_together_runs(new_world: Callable[[], World]) -> None:
    """Both read the same state; the second to write gets the name of the first, and sends nothing."""
    world = new_world()
    flow = run_of(world).steps()
    assert isinstance(next(flow), Now)
    read = flow.send(world.clock())
    assert isinstance(read, StoreCall)
    write = flow.send(read.work(world.store))
    assert isinstance(write, StoreCall)
    started_at = world.clock()
    state = attrs.evolve(world.state, running_since=started_at, run_at=started_at)
    world.store.save_sync_state("hq", state)
    with pytest.raises(Exception, match="another worker") as conflict:
        write.work(world.store)
    read_again = flow.throw(conflict.value)
    assert isinstance(read_again, StoreCall)
    with pytest.raises(StopIteration) as stop:
        flow.send(read_again.work(world.store))
    report: SyncReport = stop.value.value
    assert (report.action, report.running_since) == (SyncAction.RUNNING, started_at)
    assert world.apple.requests == ()


def interrupted(world: World) -> None:
    """Start a sync and interrupt it after its first page: Ctrl-C, or cancellation."""

    def work(client: Client) -> None:
        def press_ctrl_c(_: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Syncer(client, world.store, clock=world.clock, progress=press_ctrl_c).sync()

    async def async_work(client: AsyncClient) -> None:
        with anyio.CancelScope() as scope:
            await AsyncSyncer(
                client, world.store, clock=world.clock, progress=lambda _: scope.cancel()
            ).sync()
        assert scope.cancelled_caught

    world.do(work, async_work)


def test_interrupted_run_ends_immediately(world: World) -> None:
    """The next run need not wait until this one is presumed dead; the cooldown still applies."""
    world.page_size(10)
    world.apple.add_devices(25, server="hq")
    interrupted(world)
    assert world.state.running_since is None
    assert len(world.listed()) == 10
    assert world.sync().action is SyncAction.WAIT
    report = world.later(minutes=15).sync(automatic=True)
    assert (report.action, report.is_complete) == (SyncAction.RESUME_FULL, True)
    assert world.listed() == world.at_apple()


def test_interruption_does_not_end_the_run_of_another_worker(new_world: Callable[[], World]) -> None:
    world = new_world()
    run = run_of(world)
    with world.client() as client:
        perform = runner_of(client, world.store, world.clock, None)
        drive(run.abandon(), perform)
        assert world.state.revision == 0
        assert drive(run.steps(), perform).is_complete
        theirs = world.store.save_sync_state(
            "hq", attrs.evolve(world.state, running_since=world.later(hours=1).clock())
        )
        drive(run.abandon(), perform)
    assert world.state == theirs


def test_error_of_a_callback_ends_the_run(world: World) -> None:
    """It is raised unchanged; its text, which may contain anything, is not stored."""
    world.apple.add_devices(1, server="hq")

    def fail() -> None:
        raise LookupError("the password is hunter2")

    world.on_page = fail
    with pytest.raises(LookupError):
        world.sync()
    assert (world.state.last_error, world.state.running_since) == ("LookupError", None)
    assert len(world.listed()) == 1


def test_failing_store_raises_a_store_error(new_world: Callable[[], World]) -> None:
    world = new_world()
    world.apple.add_devices(1, server="hq")
    world.on_page = world.store.close
    with pytest.raises(StoreClosedError) as failure:
        world.sync()
    assert failure.value.__notes__ == [
        "hq: 1 page committed before the error",
        "the end of the run could not be stored: the store was closed",
    ]


def test_failed_cleanup_does_not_hide_the_interruption(new_world: Callable[[], World]) -> None:
    world = new_world()
    world.apple.add_devices(1, server="hq")

    def close_and_interrupt() -> None:
        world.store.close()
        raise KeyboardInterrupt

    world.on_page = close_and_interrupt
    with pytest.raises(KeyboardInterrupt):
        world.sync()


def test_cursor_seen_earlier_in_the_run_is_a_repetition(new_world: Callable[[], World]) -> None:
    """A server that alternates between two cursors does not make the client loop either."""
    world = new_world()
    world.policy = SyncPolicy(max_pages_per_run=50)
    world.sync()
    pages = [
        Fault.answered(json={"devices": [], "cursor": cursor, "more_to_follow": True})
        for cursor in ("a", "b", "a", "b", "a", "b")
    ]
    world.apple.script("POST /devices/sync", *pages)
    report = world.later(minutes=15).sync()
    assert (report.outcome, report.pages) == (SyncOutcome.REPEATED_CURSOR, 3)
