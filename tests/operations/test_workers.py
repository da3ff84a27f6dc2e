"""The tasks for a queue: what each call does and when it wants to be called again."""

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
from pyade.operations.workers import assign_token, due_tokens, register_tasks, sync_token
from pyade.storage import MemoryStore
from pyade.sync.suspension import send_reminders
from pyade.testing import FakeApple, Fault, FrozenClock

DAY, MINUTES_15 = timedelta(days=1), timedelta(minutes=15)
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")


@attrs.define
class Shop:
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
def shop() -> Shop:
    # A queue has its own clock, which is the real one.
    clock = FrozenClock(datetime.now(UTC))
    shop = Shop(clock, FakeApple(clock=clock), MemoryStore(clock=clock))
    for name in "ab":
        shop.apple.add_devices(2, server=shop.apple.add_server(name))
        shop.store.add_token(shop.apple.token(name, name=name))
        shop.store.set_default_profile(name, PROFILE)
    return shop


def test_a_call_syncs_what_is_due_and_says_when_to_call_again(shop: Shop) -> None:
    assert shop.due() == ("a", "b")
    assert shop.sync() == shop.clock() + DAY
    assert shop.due() == ("b",)
    assert len(list(shop.store.devices("a"))) == 2
    before = len(shop.apple.requests)
    assert shop.sync() == shop.clock() + DAY
    assert len(shop.apple.requests) == before
    shop.clock.advance(days=1)
    assert shop.due() == ("a", "b")


def test_an_assignment_comes_again_when_a_device_waits(shop: Shop) -> None:
    shop.sync()
    (serial, _) = (record.serial_number for record in shop.store.devices("a"))
    shop.apple.faults.throttle([serial], shop.clock() + timedelta(hours=5))
    again_at = shop.assign()
    assert again_at is not None
    assert timedelta(hours=5) <= again_at - shop.clock() <= timedelta(hours=24)
    shop.clock.advance(days=2)
    assert shop.assign() is None
    assert {record.device.profile_status for record in shop.store.devices("a")} == {"assigned"}


def test_a_failure_is_a_later_call(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.broken = True
    assert shop.sync() == shop.clock() + MINUTES_15
    assert shop.assign() == shop.clock() + MINUTES_15
    assert "12345" not in caplog.text
    shop.broken = False
    shop.apple.script("*", *[Fault.refused("ACCESS_DENIED")] * 3)
    start = shop.clock()
    for failures in range(3):
        assert shop.sync() == shop.clock() + MINUTES_15 * 2**failures
        shop.clock.advance(hours=1)
    assert shop.clock() - start == timedelta(hours=3)


def test_a_parked_token_costs_one_call_a_day(shop: Shop) -> None:
    shop.apple.faults.revoke_token("a")
    assert shop.sync() == shop.clock() + DAY
    before = len(shop.apple.requests)
    assert shop.assign() is None
    assert len(shop.apple.requests) == before
    assert shop.due() == ("b",)
    shop.sync("b")
    shop.apple.faults.revoke_token("b")
    shop.apple.faults.expire_sessions()
    assert shop.assign("b") is None


def test_a_token_that_another_worker_holds_is_looked_at_again(shop: Shop) -> None:
    lease = shop.store.acquire_lease("a", "another")
    for again_at in (shop.sync(), shop.assign()):
        assert again_at is not None
        assert shop.clock() < again_at <= shop.clock() + SyncPolicy().time_limit
    assert not shop.apple.requests
    shop.store.release_lease(lease)
    assert shop.sync() == shop.clock() + DAY


def test_a_token_that_is_gone_ends_its_tasks(shop: Shop) -> None:
    shop.store.remove_token("a", now=shop.clock())
    assert shop.sync() is None
    assert shop.assign() is None


def test_an_assigner_of_ones_own_does_the_work(shop: Shop) -> None:
    shop.sync()
    made: list[str] = []

    def factory(client: Client, progress: Any) -> Assigner:
        made.append(client.token_name)
        return Assigner(client, shop.store, clock=shop.clock, progress=progress)

    assert shop.assign(assigner=factory) is None
    assert made == ["a"]
    assert {record.device.profile_status for record in shop.store.devices("a")} == {"assigned"}


def _run(app: Any) -> None:
    # In a thread of its own: a worker makes an event loop.
    thread = threading.Thread(
        target=lambda: app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)
    )
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_the_tasks_of_an_app_keep_every_token_in_step(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    testing = pytest.importorskip("procrastinate.testing")
    caplog.set_level(logging.CRITICAL)
    connector = testing.InMemoryConnector()
    app = procrastinate.App(connector=connector)
    tick, *_ = register_tasks(app, shop.store, shop.client_for, clock=shop.clock)
    with app.open():
        tick.defer(timestamp=0)
        _run(app)
        tick.defer(timestamp=60)
        _run(app)
    for name in "ab":
        statuses = [record.device.profile_status for record in shop.store.devices(name)]
        assert statuses == ["assigned", "assigned"]
    assert shop.apple.counts["POST /server/devices"] == 2
    done = [job["task_name"] for job in connector.jobs.values() if job["status"] == "succeeded"]
    # A worker also ticks by itself when its minute begins, and may find a token due that is worked on.
    assert min(done.count(f"pyade.{name}") for name in ("sync", "assign")) >= 2
    waiting = [
        job for job in connector.jobs.values() if job["status"] == "todo" and job["task_name"] != "pyade.tick"
    ]
    assert {job["args"]["token_name"] for job in waiting} == {"a", "b"}
    assert all(job["scheduled_at"] == shop.clock() + DAY for job in waiting)
    assert len(waiting) == 2


def test_an_app_may_leave_assignments_to_others(shop: Shop) -> None:
    procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    connector = pytest.importorskip("procrastinate.testing").InMemoryConnector()
    app = procrastinate.App(connector=connector)
    _, sync, _ = register_tasks(app, shop.store, shop.client_for, assign=False, clock=shop.clock)
    with app.open():
        for name in ("a", "gone"):
            sync.defer(token_name=name)
        _run(app)
    assert "pyade.assign" not in {job["task_name"] for job in connector.jobs.values()}
    waiting = {job["args"].get("token_name") for job in connector.jobs.values() if job["status"] == "todo"}
    assert "a" in waiting
    assert "gone" not in waiting


def test_a_real_worker_over_postgresql_keeps_every_token_in_step(
    shop: Shop, postgres: Any, caplog: pytest.LogCaptureFixture
) -> None:
    procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    storage = pytest.importorskip("pyade.storage.postgres")
    caplog.set_level(logging.CRITICAL)
    with storage.PostgresStore(postgres.dsn, schema=postgres.schema, clock=shop.clock) as store:
        for token in shop.store.tokens():
            store.add_token(token)
            store.set_default_profile(token.name, PROFILE)
        options = {"options": f"-c search_path={postgres.schema}"}
        connector = procrastinate.PsycopgConnector(conninfo=postgres.dsn, kwargs=options)
        app = procrastinate.App(connector=connector)
        tick, *_ = register_tasks(app, store, shop.client_for, clock=shop.clock)

        async def work() -> None:
            async with app.open_async():
                await app.schema_manager.apply_schema_async()
                for timestamp in (0, 60):
                    # A worker also ticks by itself when its minute begins, and may have done so just now.
                    with contextlib.suppress(procrastinate.exceptions.AlreadyEnqueued):
                        await tick.defer_async(timestamp=timestamp)
                    await app.run_worker_async(
                        wait=False, install_signal_handlers=False, listen_notify=False, concurrency=2
                    )
                jobs = list(await app.job_manager.list_jobs_async())
            done = [job.task_name for job in jobs if job.status == "succeeded"]
            assert min(done.count(f"pyade.{name}") for name in ("sync", "assign")) >= 2
            waiting = [job for job in jobs if job.status == "todo" and job.task_name == "pyade.sync"]
            assert [job.scheduled_at for job in waiting] == [shop.clock() + DAY] * 2

        anyio.run(work)
        for name in "ab":
            statuses = [record.device.profile_status for record in store.devices(name)]
            assert statuses == ["assigned", "assigned"]
    assert shop.apple.counts["POST /server/devices"] == 2


def test_every_engine_can_remind_of_a_renewal_once(shop: Shop) -> None:
    soon = attrs.evolve(shop.store.token("a"), access_token_expiry=shop.clock() + 6 * DAY)
    shop.store.replace_token(soon)
    lease = shop.store.acquire_lease("a", "another")
    send_reminders(shop.store, now=shop.clock())
    assert not shop.store.events()
    shop.store.release_lease(lease)
    for _ in range(2):
        send_reminders(shop.store, now=shop.clock())
    (event,) = shop.store.events()
    assert (event.kind, event.token_name, event.details["days"]) == (EventKind.TOKEN_EXPIRING, "a", 7)
    shop.sync()
    assert shop.store.sync_state("a").reminded_days == 7
