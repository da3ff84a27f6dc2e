"""The tasks for a queue: what each call does and when it must be called again."""

from __future__ import annotations

import contextlib
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest

from pyade.apple.client import Client
from pyade.assignment import Assigner
from pyade.core.fleet.events import EventKind
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.errors import UnknownTokenError
from pyade.operations.workers import assign_token, due_tokens, register_tasks, sync_token
from pyade.storage import MemoryStore
from pyade.sync.suspension import send_reminders
from pyade.testing import FakeApple, Fault, FrozenClock

DAY, MINUTES_15 = timedelta(days=1), timedelta(minutes=15)
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")


@attrs.define
class QueueWorld:
    clock: FrozenClock
    apple: FakeApple
    store: MemoryStore
    broken: bool = False

    def client_for(self, token: Token) -> Client:
        if self.broken:
            raise RuntimeError("the secret is 12345")
        return Client(token, transport=self.apple.transport(), clock=self.clock, sleep=self.clock.sleep)

    def sync(self, name: str = "a") -> datetime | None:
        return sync_token(self.store, self.client_for, name, clock=self.clock)

    def assign(self, name: str = "a", **options: Any) -> datetime | None:
        return assign_token(self.store, self.client_for, name, clock=self.clock, **options)

    def due(self) -> tuple[str, ...]:
        return due_tokens(self.store, now=self.clock())


@pytest.fixture
def world() -> QueueWorld:
    # A queue has its own clock, which is the real one.
    clock = FrozenClock(datetime.now(UTC))
    world = QueueWorld(clock, FakeApple(clock=clock), MemoryStore(clock=clock))
    for name in "ab":
        world.apple.add_devices(2, server=world.apple.add_server(name))
        world.store.add_token(world.apple.token(name, name=name))
        world.store.set_default_profile(name, PROFILE)
    return world


def test_call_syncs_due_tokens_and_returns_the_next_time(world: QueueWorld) -> None:
    assert world.due() == ("a", "b")
    assert world.sync() == world.clock() + DAY
    assert world.due() == ("b",)
    assert len(list(world.store.devices("a"))) == 2
    before = len(world.apple.requests)
    assert world.sync() == world.clock() + DAY
    assert len(world.apple.requests) == before
    world.clock.advance(days=1)
    assert world.due() == ("a", "b")


def test_assignment_is_called_again_when_a_device_waits(world: QueueWorld) -> None:
    world.sync()
    (serial, _) = (record.serial_number for record in world.store.devices("a"))
    world.apple.faults.throttle([serial], world.clock() + timedelta(hours=5))
    again_at = world.assign()
    assert again_at is not None
    assert timedelta(hours=5) <= again_at - world.clock() <= timedelta(hours=24)
    world.clock.advance(days=2)
    assert world.assign() is None
    assert {record.device.profile_status for record in world.store.devices("a")} == {"assigned"}


def test_failure_returns_a_later_time(world: QueueWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.broken = True
    assert world.sync() == world.clock() + MINUTES_15
    assert world.assign() == world.clock() + MINUTES_15
    assert "12345" not in caplog.text
    world.broken = False
    world.apple.script("*", *[Fault.refused("ACCESS_DENIED")] * 3)
    start = world.clock()
    for failures in range(3):
        assert world.sync() == world.clock() + MINUTES_15 * 2**failures
        world.clock.advance(hours=1)
    assert world.clock() - start == timedelta(hours=3)


def test_suspended_token_costs_one_call_a_day(world: QueueWorld) -> None:
    world.apple.faults.revoke_token("a")
    assert world.sync() == world.clock() + DAY
    before = len(world.apple.requests)
    assert world.assign() is None
    assert len(world.apple.requests) == before
    assert world.due() == ("b",)
    world.sync("b")
    world.apple.faults.revoke_token("b")
    world.apple.faults.expire_sessions()
    assert world.assign("b") is None


def test_token_leased_by_another_worker_is_tried_again(world: QueueWorld) -> None:
    lease = world.store.acquire_lease("a", "another")
    for again_at in (world.sync(), world.assign()):
        assert again_at is not None
        assert world.clock() < again_at <= world.clock() + SyncPolicy().time_limit
    assert not world.apple.requests
    world.store.release_lease(lease)
    assert world.sync() == world.clock() + DAY


def test_an_unknown_token_is_named_with_those_that_are_stored(world: QueueWorld) -> None:
    world.store.remove_token("a", now=world.clock())
    for work in (world.sync, world.assign):
        with pytest.raises(UnknownTokenError, match="no token 'a' is stored, only 'b': check the name, or "):
            work()


def test_custom_assigner_is_used(world: QueueWorld) -> None:
    world.sync()
    made: list[str] = []

    def factory(client: Client, progress: Any) -> Assigner:
        made.append(client.token_name)
        return Assigner(client, world.store, clock=world.clock, progress=progress)

    assert world.assign(assigner=factory) is None
    assert made == ["a"]
    assert {record.device.profile_status for record in world.store.devices("a")} == {"assigned"}


def _run(app: Any) -> None:
    # In its own thread: a worker creates an event loop.
    thread = threading.Thread(
        target=lambda: app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)
    )
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_tasks_of_an_app_keep_every_token_up_to_date(
    world: QueueWorld, caplog: pytest.LogCaptureFixture
) -> None:
    procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    testing = pytest.importorskip("procrastinate.testing")
    caplog.set_level(logging.CRITICAL)
    connector = testing.InMemoryConnector()
    app = procrastinate.App(connector=connector)
    tick, *_ = register_tasks(app, world.store, world.client_for, clock=world.clock)
    with app.open():
        tick.defer(timestamp=0)
        _run(app)
        tick.defer(timestamp=60)
        _run(app)
    for name in "ab":
        statuses = [record.device.profile_status for record in world.store.devices(name)]
        assert statuses == ["assigned", "assigned"]
    assert world.apple.counts["POST /server/devices"] == 2
    done = [job["task_name"] for job in connector.jobs.values() if job["status"] == "succeeded"]
    # A worker also ticks by itself each minute, and may find a due token that is already in work.
    assert min(done.count(f"pyade.{name}") for name in ("sync", "assign")) >= 2
    waiting = [
        job for job in connector.jobs.values() if job["status"] == "todo" and job["task_name"] != "pyade.tick"
    ]
    assert {job["args"]["token_name"] for job in waiting} == {"a", "b"}
    assert all(job["scheduled_at"] == world.clock() + DAY for job in waiting)
    assert len(waiting) == 2


def test_app_may_leave_assignments_to_others(world: QueueWorld) -> None:
    procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    connector = pytest.importorskip("procrastinate.testing").InMemoryConnector()
    app = procrastinate.App(connector=connector)
    _, sync, _ = register_tasks(app, world.store, world.client_for, assign=False, clock=world.clock)
    with app.open():
        for name in ("a", "gone"):
            sync.defer(token_name=name)
        _run(app)
    assert "pyade.assign" not in {job["task_name"] for job in connector.jobs.values()}
    waiting = {job["args"].get("token_name") for job in connector.jobs.values() if job["status"] == "todo"}
    assert "a" in waiting
    assert "gone" not in waiting


def test_real_worker_over_postgresql_keeps_every_token_up_to_date(
    world: QueueWorld, postgres: Any, caplog: pytest.LogCaptureFixture
) -> None:
    procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    storage = pytest.importorskip("pyade.storage.postgres")
    caplog.set_level(logging.CRITICAL)
    with storage.PostgresStore(postgres.dsn, schema=postgres.schema, clock=world.clock) as store:
        for token in world.store.tokens():
            store.add_token(token)
            store.set_default_profile(token.name, PROFILE)
        options = {"options": f"-c search_path={postgres.schema}"}
        connector = procrastinate.PsycopgConnector(conninfo=postgres.dsn, kwargs=options)
        app = procrastinate.App(connector=connector)
        tick, *_ = register_tasks(app, store, world.client_for, clock=world.clock)

        async def work() -> None:
            async with app.open_async():
                await app.schema_manager.apply_schema_async()
                for timestamp in (0, 60):
                    # A worker also ticks by itself each minute, and may just have done so.
                    with contextlib.suppress(procrastinate.exceptions.AlreadyEnqueued):
                        await tick.defer_async(timestamp=timestamp)
                    await app.run_worker_async(
                        wait=False, install_signal_handlers=False, listen_notify=False, concurrency=2
                    )
                jobs = list(await app.job_manager.list_jobs_async())
            done = [job.task_name for job in jobs if job.status == "succeeded"]
            assert min(done.count(f"pyade.{name}") for name in ("sync", "assign")) >= 2
            waiting = [job for job in jobs if job.status == "todo" and job.task_name == "pyade.sync"]
            assert [job.scheduled_at for job in waiting] == [world.clock() + DAY] * 2

        anyio.run(work)
        for name in "ab":
            statuses = [record.device.profile_status for record in store.devices(name)]
            assert statuses == ["assigned", "assigned"]
    assert world.apple.counts["POST /server/devices"] == 2


def test_each_engine_sends_a_renewal_reminder_once(world: QueueWorld) -> None:
    soon = attrs.evolve(world.store.token("a"), access_token_expiry=world.clock() + 6 * DAY)
    world.store.replace_token(soon)
    lease = world.store.acquire_lease("a", "another")
    send_reminders(world.store, now=world.clock())
    assert not world.store.events()
    world.store.release_lease(lease)
    for _ in range(2):
        send_reminders(world.store, now=world.clock())
    (event,) = world.store.events()
    assert (event.kind, event.token_name, event.details["days"]) == (EventKind.TOKEN_EXPIRING, "a", 7)
    world.sync()
    assert world.store.sync_state("a").reminded_days == 7
