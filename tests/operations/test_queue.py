"""Procrastinate jobs: another worker does the jobs of a dead one, and due work does not wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest

from pyade.apple.client import Client
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.operations import register_tasks
from pyade.storage import MemoryStore
from pyade.testing import FakeApple, FrozenClock

procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
DAY = timedelta(days=1)
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")


@attrs.define
class QueueWorld:
    """An app with a token of two devices, and Apple."""

    app: Any
    clock: FrozenClock
    apple: FakeApple
    store: MemoryStore
    tick: Any
    sync: Any
    assign: Any

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def run_scenario() -> None:
            async with self.app.open_async():
                if isinstance(self.app.connector, procrastinate.PsycopgConnector):
                    await self.app.schema_manager.apply_schema_async()
                await scenario()

        anyio.run(run_scenario)

    async def work(self) -> None:
        """Let a worker tick, and do its jobs."""
        await self.tick.defer_async(timestamp=0)
        await self.app.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)

    async def let_worker_die(self, task: Any) -> int:
        """Let a worker take the waiting job and die; return the job's id."""
        manager = self.app.job_manager
        worker = await manager.register_worker()
        job = await manager.fetch_job(queues=None, worker_id=worker)
        assert job.task_name == task.name
        await manager.prune_stalled_workers(-1)
        return int(job.id)

    async def jobs(self, task: Any, *, status: str) -> list[Any]:
        return list(await self.app.job_manager.list_jobs_async(task=task.name, status=status))

    def lock(self, task: Any) -> dict[str, str]:
        return dict.fromkeys(("lock", "queueing_lock"), f"{task.name}:hq")

    def statuses(self) -> list[str]:
        return [record.device.profile_status or "" for record in self.store.devices("hq")]


@pytest.fixture(params=["memory", "postgres"])
def world(request: pytest.FixtureRequest) -> Iterator[QueueWorld]:
    if request.param == "memory":
        connector = pytest.importorskip("procrastinate.testing").InMemoryConnector()
    else:
        place = request.getfixturevalue("postgres")
        import psycopg
        from psycopg import sql

        with psycopg.connect(place.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(place.schema)))
        options = {"options": f"-c search_path={place.schema}"}
        connector = procrastinate.PsycopgConnector(conninfo=place.dsn, kwargs=options)
    # A queue has its own clock, which is the real one.
    clock = FrozenClock(datetime.now(UTC))
    apple, store = FakeApple(clock=clock), MemoryStore(clock=clock)
    apple.add_devices(2, server=apple.add_server("hq"))
    store.add_token(apple.token("hq", name="hq"))
    store.set_default_profile("hq", PROFILE)

    def client_for(token: Token) -> Client:
        return Client(token, transport=apple.transport(), clock=clock, sleep=clock.sleep)

    app = procrastinate.App(connector=connector)
    with ExitStack() as stack:
        stack.callback(store.close)
        yield QueueWorld(app, clock, apple, store, *register_tasks(app, store, client_for, clock=clock))


def test_sync_of_a_dead_worker_is_done_by_another(
    world: QueueWorld, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await world.sync.configure(**world.lock(world.sync)).defer_async(token_name="hq")
        dead = await world.let_worker_die(world.sync)
        await world.work()
        assert [job.id for job in await world.jobs(world.sync, status="failed")] == [dead]

    world.run(scenario)
    assert world.statuses() == ["assigned"] * 2
    assert "hq: the worker of a pyade.sync job died" in caplog.text


@pytest.mark.parametrize("waits", [False, True])
def test_job_stays_with_its_worker_while_the_token_is_leased(world: QueueWorld, waits: bool) -> None:
    async def scenario() -> None:
        await world.work()
        done = await world.jobs(world.assign, status="succeeded")
        options = world.lock(world.assign)
        await world.assign.configure(**options).defer_async(token_name="hq")
        slow = await world.let_worker_die(world.assign)
        if waits:
            # Unchanged: a retry of the first job would conflict with this one.
            await world.assign.configure(**options).defer_async(token_name="hq")
        lease = world.store.acquire_lease("hq", "slow")
        await world.work()
        assert [job.id for job in await world.jobs(world.assign, status="doing")] == [slow]
        assert await world.jobs(world.assign, status="succeeded") == done
        world.store.release_lease(lease)
        await world.work()
        assert await world.jobs(world.assign, status="doing") == []
        assert [job.id for job in await world.jobs(world.assign, status="failed")] == [slow]
        assert len(await world.jobs(world.assign, status="succeeded")) > len(done)

    world.run(scenario)


def test_job_of_a_removed_token_and_a_stalled_tick_are_ended(world: QueueWorld) -> None:
    async def scenario() -> None:
        await world.sync.configure(**world.lock(world.sync)).defer_async(token_name="hq")
        await world.let_worker_die(world.sync)
        await world.tick.defer_async(timestamp=0)
        await world.let_worker_die(world.tick)
        world.store.remove_token("hq", now=world.clock())
        await world.work()
        assert len(await world.jobs(world.sync, status="failed")) == 1
        assert len(await world.jobs(world.tick, status="failed")) == 1
        assert await world.app.job_manager.list_jobs_async(status="doing") == []

    world.run(scenario)


def test_due_work_does_not_wait_for_a_job_scheduled_tomorrow(world: QueueWorld) -> None:
    async def scenario() -> None:
        for task in (world.sync, world.assign):
            later = {**world.lock(task), "schedule_at": world.clock() + DAY}
            await task.configure(**later).defer_async(token_name="hq")
        await world.work()
        (waiting,) = await world.jobs(world.sync, status="todo")
        assert waiting.scheduled_at == world.clock() + DAY

    world.run(scenario)
    assert world.statuses() == ["assigned"] * 2


def test_waiting_job_is_not_postponed(world: QueueWorld) -> None:
    async def scenario() -> None:
        soon = world.clock() + timedelta(minutes=5)
        await world.work()
        for job in await world.jobs(world.sync, status="todo"):
            await world.app.job_manager.cancel_job_by_id_async(job.id, delete_job=True)
        await world.sync.configure(**world.lock(world.sync), schedule_at=soon).defer_async(token_name="hq")
        await world.sync.defer_async(token_name="hq")
        await world.work()
        assert [job.scheduled_at for job in await world.jobs(world.sync, status="todo")] == [soon]

    world.run(scenario)
