"""A call ends at its deadline and soon after a stop, however slowly bytes come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from tests.cases import each
from tests.network import SlowServer

from pyade import errors
from pyade.apple import AsyncClient, Client
from pyade.apple.http import deadlines as limits
from pyade.apple.http.deadlines import Limit, StopWorkError, pause, stop_when_set
from pyade.business import ApiAccount, AsyncBusinessClient, BusinessClient
from pyade.core.token import Token
from pyade.operations import AsyncScheduler, Scheduler
from pyade.storage import MemoryStore
from pyade.testing import FakeApple, FakeBusiness, FrozenClock

SLOW = {
    "nothing": (b"", b""),
    "a status line, byte by byte": (b"HTTP/1.1 200 ", b"O"),
    "headers without end": (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
    "interim answers without end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body, byte by byte": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{", b" "),
    "a chunk, byte by byte": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n", b" "),
    "a refusal, byte by byte": (b"HTTP/1.1 503 X\r\nContent-Length: 99999\r\n\r\n", b" "),
}
DEADLINE = 0.3
SLACK = 5.0
"""What a machine with more to do may need; without a deadline none of these would end."""


@pytest.fixture
def account() -> ApiAccount:
    return FakeBusiness(FakeApple()).add_account()


def devices(kind: str, url: str, token: Token, account: ApiAccount) -> object:
    """Fetch a page of devices with the client of that *kind*."""
    options: dict[str, Any] = {"base_url": url, "deadline_s": DEADLINE, "retries": 2, "random": lambda: 0.0}
    business = {**options, "token_url": f"{url}/auth/oauth2/token"}
    if kind == "sync":
        with Client(token, clock=FrozenClock(), **options) as client:
            return client.fetch_devices()
    if kind == "sync business":
        with BusinessClient(account, clock=FrozenClock(), **business) as api:
            return api.list_devices()

    async def run() -> object:
        if kind.endswith("business"):
            async with AsyncBusinessClient(account, clock=FrozenClock(), **business) as async_api:
                return await async_api.list_devices()
        async with AsyncClient(token, clock=FrozenClock(), **options) as async_client:
            return await async_client.fetch_devices()

    return anyio.run(run, backend=kind.partition(" ")[0])


KINDS = ("sync", "asyncio", "trio", "sync business", "asyncio business", "trio business")


@pytest.mark.parametrize("kind", KINDS)
@each("name", SLOW)
def test_the_deadline_is_for_the_whole_call_with_its_body(
    name: str, kind: str, token: Token, account: ApiAccount
) -> None:
    with SlowServer(*SLOW[name]) as server:
        began = time.monotonic()
        with pytest.raises(errors.DeadlineError, match=r"no complete response within 0\.3 seconds") as caught:
            devices(kind, server.url, token, account)
        assert DEADLINE <= time.monotonic() - began < DEADLINE + SLACK
        assert caught.value.effect_unknown


def test_the_time_that_another_call_needs_for_the_session_counts_too(token: Token) -> None:
    """With a transport of the caller, which cannot be interrupted."""
    asked, go_on = threading.Event(), threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.set()
        go_on.wait(10)
        return httpx.Response(200, json={"auth_session_token": "S"})

    client = Client(token, transport=httpx.MockTransport(answer), deadline_s=DEADLINE, clock=FrozenClock())

    def hold() -> None:
        with pytest.raises(errors.PyadeError):
            client.account()

    holder = threading.Thread(target=hold)
    holder.start()
    assert asked.wait(10)
    with pytest.raises(errors.DeadlineError, match=r"no session within 0\.3 seconds") as caught:
        client.account()
    assert not caught.value.effect_unknown
    go_on.set()
    holder.join()


class Ticks:
    """A clock that shows what the test wants."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_limit_counts_down_and_a_stop_leaves_it_four_seconds() -> None:
    ticks, stop = Ticks(), threading.Event()
    limit = Limit(10.0, ticks)
    with stop_when_set(stop):
        assert (limit.remaining, limit.is_stopped) == (10.0, False)
        ticks.now = 2.0
        assert (limit.within(None), limit.within(3.0), limit.within(60.0)) == (8.0, 3.0, 8.0)
        stop.set()
        assert (limit.remaining, limit.is_stopped) == (4.0, False)
        ticks.now = 6.0
        assert (limit.remaining, limit.is_stopped) == (0.0, True)
    ticks.now = 11.0
    late = Limit(0.5, ticks)
    ticks.now = 12.0
    assert (late.remaining, late.is_stopped, late.within(7.0)) == (-0.5, False, 0.001)


def test_waiting_ends_with_a_stop() -> None:
    stop = threading.Event()
    pause(0.0)
    with stop_when_set(stop):
        pause(0.0)
        stop.set()
        with pytest.raises(StopWorkError):
            pause(3600.0)


def test_nothing_is_sent_after_a_stop(token: Token) -> None:
    stop, apple = threading.Event(), FakeApple()
    with Client(token, transport=apple.transport()) as client, stop_when_set(stop):
        stop.set()
        with pytest.raises(StopWorkError):
            client.account()
    assert not apple.requests


@pytest.mark.parametrize("kind", ["sync", "asyncio", "trio"])
@each("name", ["nothing", "a body, byte by byte", "headers without end"])
def test_a_scheduler_ends_soon_after_its_stop_although_apple_sends_a_byte_now_and_then(
    name: str, kind: str, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STOP_SECONDS", 0.2)
    monkeypatch.setattr("pyade.operations.scheduler.STOP_SECONDS", 0.2)
    store = MemoryStore()
    store.add_token(token)
    with SlowServer(*SLOW[name]) as server:
        began = time.monotonic()
        RUNS[kind](store, server, token)
        assert time.monotonic() - began < SLACK
    (state,) = store.sync_states().values()
    assert state.phase.name == "FETCH", "what was begun goes on next time"
    assert store.acquire_lease("hq", "another node").owner == "another node"


def run_in_threads(store: MemoryStore, server: SlowServer, token: Token) -> None:
    stop = threading.Event()
    scheduler = Scheduler(store, lambda token: Client(token, base_url=server.url, deadline_s=600))

    def watch() -> None:
        server.began.wait(10)
        stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    scheduler.run(stop)
    watcher.join()


def run_in_loop(backend: str) -> Callable[[MemoryStore, SlowServer, Token], None]:
    async def main(store: MemoryStore, server: SlowServer) -> None:
        stop = anyio.Event()

        async def watch() -> None:
            await anyio.to_thread.run_sync(server.began.wait, 10)
            stop.set()

        scheduler = AsyncScheduler(
            store, lambda token: AsyncClient(token, base_url=server.url, deadline_s=600)
        )
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await scheduler.run(stop)

    return lambda store, server, token: anyio.run(main, store, server, backend=backend)


RUNS: dict[str, Callable[[MemoryStore, SlowServer, Token], None]] = {
    "sync": run_in_threads,
    "asyncio": run_in_loop("asyncio"),
    "trio": run_in_loop("trio"),
}


def test_a_retry_that_is_waited_for_ends_with_the_stop(token: Token) -> None:
    stop, apple = threading.Event(), FakeApple()
    server = apple.add_server("hq")
    real = apple.token(server)

    def answer(request: httpx.Request) -> httpx.Response:
        stop.set()
        return httpx.Response(503, headers={"Retry-After": "3000"})

    with (
        Client(real, transport=httpx.MockTransport(answer), deadline_s=9000) as client,
        stop_when_set(stop),
        pytest.raises(StopWorkError),
    ):
        client.account()
