"""Access tokens: made once, shared by threads and tasks, renewed once, and never shown."""

from __future__ import annotations

import logging
import pickle
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.business.conftest import TOKEN, answering
from tests.cases import each
from tests.keys import RSA_KEYS

from pyade import errors
from pyade.business import AUDIENCE, TOKEN_URL, ApiAccount, AsyncBusinessClient, BusinessClient
from pyade.testing import FakeApple, FakeBusiness, Fault, FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver

DEVICES = "GET /v1/orgDevices"


class TestAccount:
    def test_the_portals_key_file_is_read(self, business: FakeBusiness, account: ApiAccount) -> None:
        data = business.key_file(account)
        assert data.startswith(b"-----BEGIN EC PRIVATE KEY-----")
        read = ApiAccount.from_pem(data, client_id=account.client_id, key_id=account.key_id)
        assert read == account
        assert read.private_key.private_numbers() == account.private_key.private_numbers()

    def test_the_client_id_says_which_kind_of_organization_it_is(self, account: ApiAccount) -> None:
        school = ApiAccount("SCHOOLAPI.1", "k", account.private_key)
        assert (account.base_url, account.scope) == ("https://api-business.apple.com", "business.api")
        assert (school.base_url, school.scope) == ("https://api-school.apple.com", "school.api")

    @each("key", [RSA_KEYS[0], ec.generate_private_key(ec.SECP521R1()), b"pem"])
    def test_another_kind_of_key_is_refused_before_any_network_use(self, key: Any) -> None:
        with pytest.raises(errors.SigningError, match="P-256 is needed"):
            ApiAccount("BUSINESSAPI.1", "k", key)

    @pytest.mark.parametrize("text", ["", " x", "x\n", None])
    def test_an_id_that_was_copied_badly_is_refused(self, account: ApiAccount, text: Any) -> None:
        for client_id, key_id in ((text, "k"), ("c", text)):
            with pytest.raises(errors.SigningError, match="without blanks"):
                ApiAccount(client_id, key_id, account.private_key)

    def test_the_key_does_not_show(self, account: ApiAccount) -> None:
        assert "PrivateKey" not in repr(account)
        assert account.key_id in repr(account)


class TestReuse:
    def test_one_access_token_serves_many_calls(self, client: Driver, business: FakeBusiness) -> None:
        for _ in range(5):
            client.iter_devices()
        assert business.counts[TOKEN] == 1

    def test_it_is_renewed_before_its_end(
        self, client: Driver, business: FakeBusiness, clock: FrozenClock
    ) -> None:
        client.iter_devices()
        clock.advance(minutes=47)
        client.iter_devices()
        assert business.counts[TOKEN] == 1
        clock.advance(minutes=2)
        client.iter_devices()
        assert business.counts[TOKEN] == 2
        assert {record.status for record in business.requests} == {200}

    def test_a_refused_one_is_renewed_once(self, client: Driver, business: FakeBusiness) -> None:
        client.iter_devices()
        business.end_access()
        assert client.iter_devices() == []
        assert [record.status for record in business.requests] == [200, 200, 401, 200, 200]

    def test_a_second_refusal_is_final_and_the_next_call_starts_anew(
        self, client: Driver, business: FakeBusiness
    ) -> None:
        business.script(DEVICES, Fault.refused("UNAUTHORIZED"), Fault.refused("UNAUTHORIZED"))
        with pytest.raises(errors.SessionError, match="a new access token was refused as well"):
            client.iter_devices()
        assert business.counts[TOKEN] == 2
        client.iter_devices()
        assert business.counts[TOKEN] == 3

    def test_threads_share_one(self, business: FakeBusiness, account: ApiAccount, clock: FrozenClock) -> None:
        with BusinessClient(account, transport=business.transport(), clock=clock) as client:
            barrier = threading.Barrier(8)

            def work() -> int:
                barrier.wait()
                return len(list(client.iter_devices()))

            with ThreadPoolExecutor(8) as pool:
                assert [job.result() for job in [pool.submit(work) for _ in range(8)]] == [0] * 8
            assert business.counts[TOKEN] == 1
            business.end_access()
            barrier.reset()
            with ThreadPoolExecutor(8) as pool:
                assert [job.result() for job in [pool.submit(work) for _ in range(8)]] == [0] * 8
        assert business.counts[TOKEN] == 2

    @pytest.mark.parametrize("loop", ["asyncio", "trio"])
    def test_tasks_share_one_and_its_failure(
        self, business: FakeBusiness, account: ApiAccount, clock: FrozenClock, loop: str
    ) -> None:
        waits: list[float] = []

        class Slow(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await anyio.lowlevel.checkpoint()
                return await business.transport().handle_async_request(request)

        async def run() -> None:
            async with AsyncBusinessClient(account, transport=Slow(), clock=clock) as client:

                async def work() -> None:
                    try:
                        await client.list_devices()
                    except errors.CredentialError:
                        waits.append(1)

                async with anyio.create_task_group() as group:
                    for _ in range(6):
                        group.start_soon(work)
                assert business.counts[TOKEN] == 1
                business.revoke_key(account)
                async with anyio.create_task_group() as group:
                    for _ in range(6):
                        group.start_soon(work)

        anyio.run(run, backend=loop)
        assert len(waits) == 6
        assert business.counts[TOKEN] == 2


class TestInterruption:
    def test_ctrl_c_while_a_token_is_asked_for_leaves_no_lock_held(
        self, business: FakeBusiness, account: ApiAccount, clock: FrozenClock
    ) -> None:
        attempts: list[str] = []

        class Interrupted(httpx.BaseTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                attempts.append(request.url.path)
                if len(attempts) == 1:
                    raise KeyboardInterrupt
                return business.transport().handle_request(request)

        with BusinessClient(account, transport=Interrupted(), clock=clock) as client:
            with pytest.raises(KeyboardInterrupt):
                client.list_devices()
            assert client.list_devices().items == ()

    @pytest.mark.parametrize("loop", ["asyncio", "trio"])
    def test_a_cancelled_task_leaves_no_lock_held(
        self, business: FakeBusiness, account: ApiAccount, clock: FrozenClock, loop: str
    ) -> None:
        async def run() -> None:
            with anyio.CancelScope() as scope:

                class Cancelling(httpx.AsyncBaseTransport):
                    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                        if not scope.cancel_called:
                            scope.cancel()
                            await anyio.sleep_forever()
                        return await business.transport().handle_async_request(request)

                client = AsyncBusinessClient(account, transport=Cancelling(), clock=clock)
                await client.list_devices()
            assert scope.cancelled_caught
            assert (await client.list_devices()).items == ()
            await client.aclose()

        anyio.run(run, backend=loop)


class TestRotation:
    def test_a_new_key_reaches_a_running_client(
        self, make_client: Callable[..., Driver], business: FakeBusiness, account: ApiAccount
    ) -> None:
        used = [account]
        client = make_client(account=lambda: used[0])
        client.iter_devices()
        new = business.new_key(account)
        business.revoke_key(account)
        with pytest.raises(errors.CredentialError, match=account.key_id):
            client.iter_devices()
        used[0] = new
        client.iter_devices()
        assert new.client_id == account.client_id
        assert new.key_id != account.key_id

    def test_what_a_provider_raises_comes_out_and_nothing_was_sent(
        self, make_client: Callable[..., Driver], business: FakeBusiness
    ) -> None:
        def broken() -> ApiAccount:
            raise errors.StoreError("the store is away")

        with pytest.raises(errors.StoreError, match="is away"):
            make_client(account=broken).iter_devices()
        assert not business.requests

    def test_the_provider_decides_about_business_or_school(
        self, make_client: Callable[..., Driver], clock: FrozenClock
    ) -> None:
        apple = FakeApple(clock=clock)
        school = FakeBusiness(apple, organization=apple.add_organization("School", org_type="edu"))
        account = school.add_account()
        assert account.is_school
        client = make_client(account=lambda: account, transport=school.transport())
        assert client.iter_devices() == []
        assert school.requests[-1].headers["host"] == "api-school.apple.com"


class TestRefusals:
    def test_a_revoked_key_is_named(
        self, client: Driver, business: FakeBusiness, account: ApiAccount
    ) -> None:
        business.revoke_key(account)
        with pytest.raises(errors.CredentialError) as caught:
            client.device("C1")
        error = caught.value
        assert (error.status, error.code) == (400, "invalid_client")
        assert account.key_id in str(error)
        assert account.client_id in str(error)
        assert "create a new key" in error.next_step
        assert business.counts[TOKEN] == 1

    def test_another_private_key_is_refused_too(
        self, make_client: Callable[..., Driver], account: ApiAccount
    ) -> None:
        other = ApiAccount(account.client_id, account.key_id, ec.generate_private_key(ec.SECP256R1()))
        with pytest.raises(errors.CredentialError, match="invalid_client"):
            make_client(account=other).device("C1")

    @pytest.mark.parametrize(("minutes", "way"), [(-10, "behind"), (10, "ahead of")])
    def test_a_clock_that_is_ten_minutes_off_is_blamed(
        self, make_client: Callable[..., Driver], clock: FrozenClock, minutes: int, way: str
    ) -> None:
        client = make_client(clock=lambda: clock() + timedelta(minutes=minutes))
        with pytest.raises(errors.ClockError, match=f"600 seconds {way} Apple's"):
            client.device("C1")

    def test_the_wrong_scope_is_told_apart(self, make_client: Callable[..., Driver]) -> None:
        with pytest.raises(errors.CredentialError, match="other kind of organization"):
            make_client(scope="school.api").device("C1")

    def test_a_busy_authorization_server_is_asked_again_even_for_what_must_not_be_repeated(
        self, client: Driver, business: FakeBusiness, apple: FakeApple, clock: FrozenClock
    ) -> None:
        (serial,) = apple.add_devices(1)
        faults = Fault.server_error(503), Fault.dropped(effect=True), Fault.rate_limited(7)
        business.script(TOKEN, *faults)
        outcome = client.assign_devices(apple.server().server_uuid, [serial])
        assert outcome.is_complete
        assert 7.0 in clock.sleeps
        assert len(business.activities) == 1
        # Nothing was lost: the request itself had not been sent, so its effect is not looked for.
        assert not [record for record in business.requests if "assignedServer" in record.path]

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault.html(403), errors.AccessDeniedError),
            (Fault.answered(400, json={"error": "invalid_request"}), errors.OAuthRequestError),
            (Fault.answered(404, body=b""), errors.OAuthRequestError),
            (Fault.answered(401, json={"error": "invalid_client"}), errors.CredentialError),
            (Fault.answered(401), errors.CredentialError),
            (Fault.answered(302, headers={"Location": "https://evil.example/"}), errors.AppleError),
            (Fault.answered(200, json={"token_type": "Bearer"}), errors.ResponseError),
            (Fault.answered(200, json={"access_token": "a\r\nX: y"}), errors.ResponseError),
            (Fault.answered(200, body=b"<html>"), errors.ResponseError),
            (Fault.answered(200, body=b"[" * 100_000), errors.ResponseError),
        ],
    )
    def test_any_other_answer_is_an_error_of_the_tree(
        self, client: Driver, business: FakeBusiness, fault: Fault, error: type[errors.AppleError]
    ) -> None:
        business.script(TOKEN, fault)
        with pytest.raises(error) as caught:
            client.device("C1")
        assert type(caught.value) is error
        assert caught.value.operation == "open a session"


class TestSecrecy:
    def test_the_assertion_is_in_the_body_and_in_no_query(
        self, client: Driver, business: FakeBusiness, account: ApiAccount
    ) -> None:
        client.iter_devices()
        asked = business.requests[0]
        assert not asked.query
        assert asked.body["client_id"] == account.client_id
        assert asked.body["client_assertion"] == "(redacted)"
        assert "authorization" not in asked.headers
        assert asked.headers["content-type"] == "application/x-www-form-urlencoded"

    def test_token_url_and_audience_are_apart(
        self, make_client: Callable[..., Driver], business: FakeBusiness
    ) -> None:
        assert "v2" not in TOKEN_URL
        assert "v2" in AUDIENCE
        other = "https://account.apple.com/auth/oauth2/v2/token"
        make_client(token_url=other).iter_devices()
        assert business.requests[0].path == "/auth/oauth2/v2/token"
        with pytest.raises(errors.CredentialError):
            make_client(audience="https://account.apple.com").iter_devices()

    def test_an_echoed_access_token_does_not_show(
        self, make_client: Callable[..., Driver], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "pyade")
        echo = {"errors": [{"status": "403", "code": "X", "detail": "Bearer top-secret-access"}]}
        for answer in (httpx.Response(403, json=echo), httpx.Response(403, text="top-secret-access")):
            client = make_client(transport=answering(answer))
            with pytest.raises(errors.AccessDeniedError) as caught:
                client.device("C1")
            shown = "".join(traceback.format_exception(caught.value)) + repr(pickle.dumps(caught.value))
            assert "top-secret" not in shown + repr(client.client) + caplog.text
            assert "[removed]" in str(caught.value)
