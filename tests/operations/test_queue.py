"""The jobs of Procrastinate: what a dead worker leaves behind is done, and what is due does not wait."""

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
class Shop:
    """An app with a token of two devices, and Apple."""

    app: Any
    clock: FrozenClock
    apple: FakeApple
    store: MemoryStore
    tick: Any
    sync: Any
    assign: Any

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        async def play() -> None:
            async with self.app.open_async():
                if isinstance(self.app.connector, procrastinate.PsycopgConnector):
                    await self.app.schema_manager.apply_schema_async()
                await story()

        anyio.run(play)

    async def work(self) -> None:
        """Let a worker tick, and do what is there to do."""
        await self.tick.defer_async(timestamp=0)
        await self.app.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)

    async def die(self, task: Any) -> int:
        """Let a worker take the job that waits, and die of it."""
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
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
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
        yield Shop(app, clock, apple, store, *register_tasks(app, store, client_for, clock=clock))


def test_a_sync_whose_worker_died_is_done_by_another(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        await shop.sync.configure(**shop.lock(shop.sync)).defer_async(token_name="hq")
        dead = await shop.die(shop.sync)
        await shop.work()
        assert [job.id for job in await shop.jobs(shop.sync, status="failed")] == [dead]

    shop.run(story)
    assert shop.statuses() == ["assigned"] * 2
    assert "hq: the worker of a pyade.sync job died" in caplog.text


@pytest.mark.parametrize("waits", [False, True])
def test_a_job_is_left_to_its_worker_while_somebody_holds_the_token(shop: Shop, waits: bool) -> None:
    async def story() -> None:
        await shop.work()
        done = await shop.jobs(shop.assign, status="succeeded")
        options = shop.lock(shop.assign)
        await shop.assign.configure(**options).defer_async(token_name="hq")
        slow = await shop.die(shop.assign)
        if waits:
            # As it was: retrying the first would trip over this one.
            await shop.assign.configure(**options).defer_async(token_name="hq")
        lease = shop.store.acquire_lease("hq", "slow")
        await shop.work()
        assert [job.id for job in await shop.jobs(shop.assign, status="doing")] == [slow]
        assert await shop.jobs(shop.assign, status="succeeded") == done
        shop.store.release_lease(lease)
        await shop.work()
        assert await shop.jobs(shop.assign, status="doing") == []
        assert [job.id for job in await shop.jobs(shop.assign, status="failed")] == [slow]
        assert len(await shop.jobs(shop.assign, status="succeeded")) > len(done)

    shop.run(story)


def test_a_job_of_a_token_that_is_gone_and_a_tick_are_ended(shop: Shop) -> None:
    async def story() -> None:
        await shop.sync.configure(**shop.lock(shop.sync)).defer_async(token_name="hq")
        await shop.die(shop.sync)
        await shop.tick.defer_async(timestamp=0)
        await shop.die(shop.tick)
        shop.store.remove_token("hq", now=shop.clock())
        await shop.work()
        assert len(await shop.jobs(shop.sync, status="failed")) == 1
        assert len(await shop.jobs(shop.tick, status="failed")) == 1
        assert await shop.app.job_manager.list_jobs_async(status="doing") == []

    shop.run(story)


def test_what_is_due_now_does_not_wait_for_a_job_of_tomorrow(shop: Shop) -> None:
    async def story() -> None:
        for task in (shop.sync, shop.assign):
            later = {**shop.lock(task), "schedule_at": shop.clock() + DAY}
            await task.configure(**later).defer_async(token_name="hq")
        await shop.work()
        (waiting,) = await shop.jobs(shop.sync, status="todo")
        assert waiting.scheduled_at == shop.clock() + DAY

    shop.run(story)
    assert shop.statuses() == ["assigned"] * 2


def test_a_job_that_waits_is_not_put_off(shop: Shop) -> None:
    async def story() -> None:
        soon = shop.clock() + timedelta(minutes=5)
        await shop.work()
        for job in await shop.jobs(shop.sync, status="todo"):
            await shop.app.job_manager.cancel_job_by_id_async(job.id, delete_job=True)
        await shop.sync.configure(**shop.lock(shop.sync), schedule_at=soon).defer_async(token_name="hq")
        await shop.sync.defer_async(token_name="hq")
        await shop.work()
        assert [job.scheduled_at for job in await shop.jobs(shop.sync, status="todo")] == [soon]

    shop.run(story)
