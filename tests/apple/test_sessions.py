"""Sessions: made once, shared, renewed once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest

from pyade import errors
from pyade.apple import AsyncClient, Client, SessionCache
from pyade.apple.http.sessions import Session
from pyade.core.secret import Secret
from pyade.core.token import Token
from pyade.crypto.oauth1 import authorization_header
from pyade.testing.clock import FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple

OK = {"server_name": "dev"}
BASE = httpx.URL("https://mdmenrollment.apple.com/session")


def ok(**headers: str) -> httpx.Response:
    return httpx.Response(200, json=OK, headers=headers)


def refused(status: int = 401, text: str = "", session: str = "") -> httpx.Response:
    headers = {"X-ADM-Auth-Session": session} if session else {}
    return httpx.Response(status, text=text, headers=headers)


def kept(cache: SessionCache, token: Token, base_url: str = "https://mdmenrollment.apple.com/") -> Session:
    """Return where *cache* keeps the session of *token*."""
    return cache.session(base_url, token.consumer_key, Secret(token.access_token))


class TestSession:
    def test_it_is_made_with_the_documented_headers(
        self, client: Driver, apple: ScriptedApple, token: Token, clock: FrozenClock
    ) -> None:
        apple.script = [ok()]
        client.account()
        request = apple.requests[0]
        assert (request.method, request.url) == ("GET", BASE)
        headers = request.headers
        assert headers["Content-Type"] == headers["Accept"] == "application/json;charset=UTF8"
        assert headers["X-Server-Protocol-Version"] == "10"
        assert headers["User-Agent"].startswith("pyade/")
        assert request.content == b""
        assert "X-ADM-Auth-Session" not in headers
        nonce = headers["Authorization"].split('oauth_nonce="')[1].split('"')[0]
        timestamp = int(clock().timestamp())
        expected = authorization_header(token, "GET", str(BASE), timestamp=timestamp, nonce=nonce)
        assert headers["Authorization"] == expected.reveal()

    def test_it_has_the_timeouts_of_the_call(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        apple.script = [ok()]
        make_client(deadline_s=600).account()
        timeouts = [request.extensions["timeout"] for request in apple.requests]
        assert timeouts == [{"connect": 10.0, "read": 60.0, "write": 60.0, "pool": 60.0}] * 2

    def test_it_is_used_for_every_later_call(self, client: Driver, apple: ScriptedApple) -> None:
        apple.script = [ok(), ok(), ok()]
        for _ in range(3):
            client.account()
        assert apple.sessions == 1
        assert apple.used_sessions == ["SESSION-top-secret-1"] * 3

    @pytest.mark.parametrize("status", [200, 400, 403, 503])
    def test_the_newest_one_of_any_response_is_used(
        self, make_client: Callable[..., Driver], apple: ScriptedApple, status: int
    ) -> None:
        client = make_client(retries=0)
        rotated = httpx.Response(status, json=OK, headers={"x-adm-auth-session": "NEW"})
        if status == 403:
            rotated = refused(403, "T_C_NOT_SIGNED", "NEW")
        apple.script = [rotated, ok()]
        if status == 200:
            client.account()
        else:
            with pytest.raises(errors.AppleError):
                client.account()
        client.account()
        assert apple.used_sessions == ["SESSION-top-secret-1", "NEW"]
        assert apple.sessions == 1

    def test_the_last_one_of_a_response_with_several_is_used(
        self, client: Driver, apple: ScriptedApple
    ) -> None:
        fields = [("X-ADM-Auth-Session", "NEW"), ("x-adm-auth-session", "NEWEST")]
        apple.script = [httpx.Response(200, json=OK, headers=fields), ok()]
        client.account()
        client.account()
        assert apple.used_sessions == ["SESSION-top-secret-1", "NEWEST"]

    @pytest.mark.parametrize("unusable", ["", "two words", "x" * 9000])
    def test_an_unusable_one_in_a_header_is_ignored(
        self, client: Driver, apple: ScriptedApple, unusable: str
    ) -> None:
        apple.script = [ok(**{"X-ADM-Auth-Session": unusable}), ok()]
        client.account()
        client.account()
        assert apple.used_sessions == ["SESSION-top-secret-1"] * 2

    @pytest.mark.parametrize(
        ("status", "text"), [(401, "UNAUTHORIZED"), (401, ""), (403, "FORBIDDEN"), (403, "NEVER_HEARD_OF")]
    )
    def test_a_lost_one_is_renewed_once_and_the_call_replayed(
        self, client: Driver, apple: ScriptedApple, status: int, text: str
    ) -> None:
        apple.script = [ok(), refused(status, text), ok()]
        client.account()
        assert client.account().server_name == "dev"
        assert apple.used_sessions == [f"SESSION-top-secret-{number}" for number in (1, 1, 2)]

    def test_a_refusal_that_brings_a_new_one_needs_no_request_for_another(
        self, client: Driver, apple: ScriptedApple
    ) -> None:
        apple.script = [refused(session="NEW"), ok()]
        client.account()
        assert apple.used_sessions == ["SESSION-top-secret-1", "NEW"]
        assert apple.sessions == 1

    def test_after_two_refusals_it_is_not_tried_again_by_the_next_call(
        self, client: Driver, apple: ScriptedApple
    ) -> None:
        apple.script = [refused(), refused(), ok()]
        with pytest.raises(errors.SessionError):
            client.account()
        client.account()
        assert apple.used_sessions == [f"SESSION-top-secret-{number}" for number in (1, 2, 3)]

    def test_a_late_answer_does_not_bring_an_older_one_back(
        self, apple: ScriptedApple, token: Token, clock: FrozenClock
    ) -> None:
        """The first answer arrives after another call has renewed the session."""
        cache = SessionCache()

        def client() -> Client:
            return Client(token, transport=apple.transport(), sessions=cache, clock=clock)

        def late(request: httpx.Request) -> httpx.Response:
            apple.script = [refused(), ok()]
            with client() as other:
                other.account()
            apple.script = [ok()]
            return ok(**{"X-ADM-Auth-Session": "OLD"})

        apple.script = [late]
        with client() as first:
            first.account()
            first.account()
        assert apple.used_sessions[-1] == "SESSION-top-secret-2"

    def test_a_late_refusal_of_an_older_one_keeps_the_newer(
        self, apple: ScriptedApple, token: Token, clock: FrozenClock
    ) -> None:
        """The second refusal arrives after another call has renewed the session once more."""
        cache = SessionCache()

        def client() -> Client:
            return Client(token, transport=apple.transport(), sessions=cache, clock=clock)

        def late(request: httpx.Request) -> httpx.Response:
            apple.script = [refused(), ok()]
            with client() as other:
                other.account()
            return refused()

        apple.script = [refused(), late]
        with client() as first:
            with pytest.raises(errors.SessionError):
                first.account()
            apple.script = [ok()]
            assert first.account().server_name == "dev"
        assert apple.used_sessions == [f"SESSION-top-secret-{number}" for number in (1, 2, 2, 3, 3)]
        assert apple.sessions == 3

    def test_a_retry_of_the_session_request_has_a_fresh_nonce(
        self, client: Driver, apple: ScriptedApple
    ) -> None:
        apple.session_script = [refused(text="nonce_usedUnauthorized")]
        apple.script = [ok()]
        client.account()
        first, second = (request.headers["Authorization"] for request in apple.requests[:2])
        assert first.split("oauth_nonce=")[1][:34] != second.split("oauth_nonce=")[1][:34]
        assert apple.sessions == 2

    def test_no_timeout_is_longer_than_the_deadline(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        apple.script = [ok()]
        make_client(deadline_s=5, timeout=None).account()
        for request in apple.requests:
            assert all(0 < seconds <= 5 for seconds in request.extensions["timeout"].values())

    def test_its_connection_errors_are_repeated_even_for_a_write(
        self, client: Driver, apple: ScriptedApple
    ) -> None:
        apple.session_script = [httpx.ReadTimeout("slow"), refused(503), refused(429)]
        apple.script = [httpx.Response(200, json={"profile_uuid": "P", "devices": {}})]
        assert client.define_profile({"profile_name": "x"}).profile_uuid == "P"
        assert len(apple.calls) == 1

    def test_its_connection_errors_say_that_nothing_happened(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        apple.session_script = [httpx.ReadTimeout("slow")]
        with pytest.raises(errors.TransportError) as caught:
            make_client(retries=0).define_profile({"profile_name": "x"})
        assert caught.value.operation == "open a session"
        assert not caught.value.effect_unknown


class TestToken:
    def test_a_provider_is_asked_at_each_new_session(
        self, make_client: Callable[..., Driver], apple: ScriptedApple, token: Token
    ) -> None:
        tokens = [token, attrs.evolve(token, access_token="AT-new")]
        asked: list[Token] = []

        def provider() -> Token:
            asked.append(tokens[len(asked)])
            return asked[-1]

        client = make_client(token=provider)
        apple.script = [ok(), ok(), refused(), ok()]
        for _ in range(3):
            client.account()
        assert asked == tokens
        assert 'oauth_token="AT-new"' in apple.requests[-2].headers["Authorization"]

    def test_a_provider_does_not_hold_up_an_event_loop(
        self, make_client: Callable[..., Driver], apple: ScriptedApple, token: Token, backend: str
    ) -> None:
        threads: list[int] = []

        def provider() -> Token:
            threads.append(threading.get_ident())
            return token

        apple.script = [ok()]
        make_client(token=provider).account()
        assert (threads == [threading.get_ident()]) == (backend == "sync")

    def test_an_expired_one_is_replaced_by_the_provider(
        self, make_client: Callable[..., Driver], apple: ScriptedApple, token: Token, clock: FrozenClock
    ) -> None:
        renewed = attrs.evolve(token, access_token="AT-new", access_token_expiry=None)
        tokens = [token, renewed]
        client = make_client(token=lambda: tokens.pop(0))
        apple.script = [ok(), ok()]
        client.account()
        clock.advance(days=365)
        client.account()
        assert apple.sessions == 2

    def test_an_expired_one_stops_a_running_session(
        self, client: Driver, apple: ScriptedApple, clock: FrozenClock
    ) -> None:
        apple.script = [ok()]
        client.account()
        clock.advance(days=365)
        with pytest.raises(errors.TokenExpiredError, match="2026-12-01"):
            client.account()
        assert len(apple.requests) == 2

    def test_its_name_is_known_before_the_first_call(
        self, make_client: Callable[..., Driver], token: Token
    ) -> None:
        assert make_client().token_name == "hq"
        assert make_client(token=lambda: token).token_name == "hq"

    def test_a_failure_of_the_provider_is_the_callers(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        def provider() -> Token:
            raise errors.UnknownTokenError("no token 'hq' is stored")

        with pytest.raises(errors.UnknownTokenError):
            make_client(token=provider).account()
        assert not apple.requests

    def test_what_the_provider_returns_must_be_a_token(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        wrong = "what token returned is a text: a Token is allowed"
        with pytest.raises(errors.ArgumentError, match=wrong):
            make_client(token=lambda: "hq").account()
        assert not apple.requests

    def test_a_connection_error_of_the_provider_says_that_nothing_happened(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        def provider() -> Token:
            raise httpx.ConnectError("the vault is down")

        with pytest.raises(errors.TransportError, match="the vault is down") as caught:
            make_client(token=provider, retries=0).define_profile({})
        assert caught.value.operation == "open a session"
        assert not caught.value.effect_unknown
        assert not apple.requests


class TestSharing:
    def test_clients_with_one_cache_use_one_session(
        self, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        cache = SessionCache()
        apple.script = [ok(), ok()]
        make_client(sessions=cache).account()
        make_client(sessions=cache).account()
        assert apple.sessions == 1

    def test_the_cache_tells_tokens_and_services_apart(
        self, make_client: Callable[..., Driver], apple: ScriptedApple, token: Token
    ) -> None:
        cache = SessionCache()
        renewed = attrs.evolve(token, access_token="AT-new")
        apple.script = [ok(), ok(), ok()]
        make_client(sessions=cache).account()
        make_client(sessions=cache, token=renewed).account()
        make_client(sessions=cache, base_url="https://proxy.example").account()
        assert apple.sessions == 3

    def test_nothing_shows_a_secret(
        self, client: Driver, apple: ScriptedApple, no_secret: Callable[[object], None], token: Token
    ) -> None:
        apple.script = [ok()]
        client.account()
        cache = SessionCache()
        session = kept(cache, token, "https://x/")
        session.replace(Secret("SESSION-top-secret-1"))
        service = client.client._service
        for value in (client.client, cache, session, session.secret, service, client.client._sessions):
            no_secret(value)


class SlowSession:
    """Holds the first ``/session`` until every other caller had time to come."""

    def __init__(self, answer: Callable[[], httpx.Response]) -> None:
        self.answer = answer
        self.sessions = 0

    def count(self, request: httpx.Request) -> bool:
        is_session = request.url.path.endswith("/session")
        self.sessions += is_session
        return is_session


class SlowTransport(SlowSession, httpx.BaseTransport):
    def __init__(self, answer: Callable[[], httpx.Response], asked: threading.Semaphore) -> None:
        super().__init__(answer)
        self.asked = asked

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.count(request):
            return ok()
        if self.sessions == 1:  # a further one is the failure of the test, and needs no waiting
            # Whoever asked for the token waits for the lock or is about to.
            for _ in range(20):
                self.asked.acquire(timeout=10)
            threading.Event().wait(0.05)
        return self.answer()


class SlowAsyncTransport(SlowSession, httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.count(request):
            return ok()
        await anyio.sleep(0.05)
        return self.answer()


def session() -> httpx.Response:
    return httpx.Response(200, json={"auth_session_token": "S"})


def rejected() -> httpx.Response:
    return httpx.Response(401, text="token_rejectedUnauthorized")


def unreachable() -> httpx.Response:
    raise httpx.ConnectTimeout("slow")


class TestSingleFlight:
    @pytest.mark.parametrize(("answer", "good"), [(session, 20), (rejected, 0), (unreachable, 0)])
    def test_twenty_threads_make_one_session_request(
        self, token: Token, clock: FrozenClock, answer: Callable[[], httpx.Response], good: int
    ) -> None:
        asked = threading.Semaphore(0)
        transport = SlowTransport(answer, asked)

        def provider() -> Token:
            asked.release()
            return token

        with Client(provider, transport=transport, clock=clock, retries=0) as client:

            def work(_number: int) -> bool:
                try:
                    client.account()
                except errors.TransportError as error:
                    return error.effect_unknown
                except errors.TokenRejectedError:
                    return False
                return True

            with ThreadPoolExecutor(20) as pool:
                results = list(pool.map(work, range(20)))
        assert results.count(True) == good
        assert transport.sessions == 1

    @pytest.mark.parametrize("backend_name", ["asyncio", "trio"])
    @pytest.mark.parametrize(("answer", "good"), [(session, 20), (rejected, 0), (unreachable, 0)])
    def test_twenty_tasks_make_one_session_request(
        self,
        token: Token,
        clock: FrozenClock,
        backend_name: str,
        answer: Callable[[], httpx.Response],
        good: int,
    ) -> None:
        transport = SlowAsyncTransport(answer)
        results: list[bool] = []

        async def work(client: AsyncClient) -> None:
            try:
                await client.account()
            except (errors.TokenRejectedError, errors.TransportError):
                results.append(False)
            else:
                results.append(True)

        async def main() -> None:
            client = AsyncClient(token, transport=transport, clock=clock, retries=0)
            async with client, anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(work, client)

        anyio.run(main, backend=backend_name)
        assert results.count(True) == good
        assert len(results) == 20
        assert transport.sessions == 1

    def test_threads_and_loops_share_one_session_request(self, token: Token, clock: FrozenClock) -> None:
        cache = SessionCache()
        barrier = threading.Barrier(4)
        blocking, waiting = SlowTransport(session, threading.Semaphore(20)), SlowAsyncTransport(session)

        def by_thread() -> None:
            with Client(token, transport=blocking, sessions=cache, clock=clock) as client:
                barrier.wait()
                client.account()

        async def use() -> None:
            async with AsyncClient(token, transport=waiting, sessions=cache, clock=clock) as client:
                barrier.wait()
                await client.account()

        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(by_thread),
                pool.submit(by_thread),
                pool.submit(anyio.run, use),
                pool.submit(lambda: anyio.run(use, backend="trio")),
            ]
            for job in jobs:
                job.result(timeout=10)
        assert blocking.sessions + waiting.sessions == 1

    def test_twenty_refused_calls_renew_the_session_once(self, token: Token, clock: FrozenClock) -> None:
        valid = "S0"
        sessions = 0
        barrier = threading.Barrier(20)

        def answer(request: httpx.Request) -> httpx.Response:
            nonlocal valid, sessions
            if request.url.path.endswith("/session"):
                sessions += 1
                valid = f"S{sessions}"
                return httpx.Response(200, json={"auth_session_token": valid})
            return ok() if request.headers["X-ADM-Auth-Session"] == valid else refused()

        with Client(token, transport=httpx.MockTransport(answer), clock=clock) as client:
            client.account()
            valid = "nobody has it"

            def work(_number: int) -> None:
                barrier.wait()
                client.account()

            with ThreadPoolExecutor(20) as pool:
                list(pool.map(work, range(20)))
        assert sessions == 2

    @pytest.mark.parametrize("backend_name", ["asyncio", "trio"])
    def test_two_hundred_refused_tasks_renew_the_session_once(
        self, token: Token, clock: FrozenClock, backend_name: str
    ) -> None:
        valid = "S0"
        sessions = 0

        async def answer(request: httpx.Request) -> httpx.Response:
            nonlocal valid, sessions
            await anyio.lowlevel.checkpoint()
            if request.url.path.endswith("/session"):
                sessions += 1
                valid = f"S{sessions}"
                return httpx.Response(200, json={"auth_session_token": valid})
            return ok() if request.headers["X-ADM-Auth-Session"] == valid else refused()

        async def main() -> None:
            nonlocal valid
            async with AsyncClient(token, transport=httpx.MockTransport(answer), clock=clock) as client:
                await client.account()
                valid = "nobody has it"
                async with anyio.create_task_group() as group:
                    for _ in range(200):
                        group.start_soon(client.account)

        anyio.run(main, backend=backend_name)
        assert sessions == 2


class TestInterruption:
    @pytest.mark.parametrize("phase", [1, 2, 3, 4])
    def test_ctrl_c_leaves_no_lock_held(self, token: Token, clock: FrozenClock, phase: int) -> None:
        """While the first session is asked, the call, the second session and the replay are under way."""
        seen = 0

        def answer(request: httpx.Request) -> httpx.Response:
            nonlocal seen
            seen += 1
            if seen == phase:
                raise KeyboardInterrupt
            if request.url.path.endswith("/session"):
                return session()
            return refused() if seen == 2 else ok()

        with Client(token, transport=httpx.MockTransport(answer), clock=clock) as client:
            with pytest.raises(KeyboardInterrupt):
                client.account()
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(client.account).result(timeout=5).server_name == "dev"

    def test_ctrl_c_in_the_provider_or_the_clock_leaves_no_lock_held(
        self, apple: ScriptedApple, token: Token, clock: FrozenClock
    ) -> None:
        strikes: list[str] = []

        def strike(name: str) -> None:
            if strikes and strikes[0] == name:
                raise KeyboardInterrupt(strikes.pop())

        def provider() -> Token:
            strike("provider")
            return token

        def time() -> datetime:
            if apple_waits.locked():
                strike("clock")
            return clock()

        cache = SessionCache()
        apple_waits = kept(cache, token).lock
        with Client(provider, transport=apple.transport(), sessions=cache, clock=time) as client:
            for name in ("provider", "clock"):
                strikes.append(name)
                with pytest.raises(KeyboardInterrupt, match=name):
                    client.account()
                assert not apple_waits.locked()
            apple.script = [ok()]
            assert client.account().server_name == "dev"

    def test_a_cancelled_call_does_not_take_the_waiting_ones_with_it(
        self, token: Token, clock: FrozenClock
    ) -> None:
        asked = 0

        async def answer(request: httpx.Request) -> httpx.Response:
            nonlocal asked
            if request.url.path.endswith("/session"):
                asked += 1
                if asked == 1:
                    await anyio.sleep_forever()
                return session()
            return ok()

        async def main() -> None:
            transport = httpx.MockTransport(answer)
            async with AsyncClient(
                token, transport=transport, clock=clock, sleep=clock.sleep_async
            ) as client:
                first = asyncio.create_task(client.account())
                await asyncio.sleep(0)
                second = asyncio.create_task(client.account())
                await asyncio.sleep(0.01)
                first.cancel()
                async with asyncio.timeout(5):
                    assert (await second).server_name == "dev"

        asyncio.run(main())
        assert asked == 2

    @pytest.mark.parametrize("backend_name", ["asyncio", "trio"])
    def test_cancellation_leaves_no_lock_held(
        self, token: Token, clock: FrozenClock, backend_name: str
    ) -> None:
        hang = True

        async def answer(request: httpx.Request) -> httpx.Response:
            if hang:
                await anyio.sleep_forever()
            return session() if request.url.path.endswith("/session") else ok()

        async def main() -> None:
            nonlocal hang
            async with AsyncClient(token, transport=httpx.MockTransport(answer), clock=clock) as client:
                # Both the task that holds the lock and the one that waits for it are cancelled.
                with anyio.move_on_after(0.05):
                    async with anyio.create_task_group() as group:
                        group.start_soon(client.account)
                        group.start_soon(client.account)
                hang = False
                with anyio.fail_after(5):
                    assert (await client.account()).server_name == "dev"

        anyio.run(main, backend=backend_name)

    def test_a_cancelled_asyncio_task_leaves_no_lock_held(self, token: Token, clock: FrozenClock) -> None:
        """A task that waits for a lock which another thread holds, cancelled the asyncio way."""
        cache = SessionCache()
        session_kept = kept(cache, token)
        transport = httpx.MockTransport(lambda r: session() if r.url.path.endswith("/session") else ok())

        async def main() -> None:
            async with AsyncClient(token, transport=transport, sessions=cache, clock=clock) as client:
                with session_kept.lock:
                    task = asyncio.create_task(client.account())
                    await asyncio.sleep(0.05)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                async with asyncio.timeout(5):
                    assert (await client.account()).server_name == "dev"

        asyncio.run(main())
