"""Which calls are repeated, how long a client waits, and when it gives up."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pyade import errors
from pyade.testing.clock import FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple

PROFILE = {"profile_name": "Standard"}
DEFINED = {"profile_uuid": "P"}


def ok(body: Any = None) -> httpx.Response:
    return httpx.Response(200, json={} if body is None else body)


def busy(status: int, wait: str = "") -> httpx.Response:
    return httpx.Response(status, headers={"Retry-After": wait} if wait else {})


def test_reads_are_repeated_with_growing_jittered_waits(
    client: Driver, apple: ScriptedApple, clock: FrozenClock
) -> None:
    apple.script = [busy(500), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut"), ok()]
    client.account()
    assert clock.sleeps == [0.5, 1.0, 2.0]
    assert apple.sessions == 1


def test_the_jitter_is_full(
    make_client: Callable[..., Driver], apple: ScriptedApple, clock: FrozenClock
) -> None:
    numbers = iter([0.0, 0.999, 0.25])
    client = make_client(random=lambda: next(numbers))
    apple.script = [busy(503), busy(503), busy(503), ok()]
    client.account()
    assert clock.sleeps == [0.0, pytest.approx(1.998), 1.0]


def test_the_number_of_tries_is_bounded(
    make_client: Callable[..., Driver], apple: ScriptedApple, clock: FrozenClock
) -> None:
    apple.script = [httpx.ReadError("reset")] * 10
    with pytest.raises(errors.TransportError, match="ReadError: reset") as caught:
        make_client(retries=2).account()
    assert len(apple.calls) == 3
    assert caught.value.effect_unknown
    # What httpx raised holds the request with its session.
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("failure", [busy(500), busy(503), busy(503, "1"), httpx.ReadTimeout("slow")])
@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("define_profile", (PROFILE,)),
        ("activation_lock", ("A",)),
        ("set_account_driven_enrollment_profile", ("https://x",)),
        ("remove_account_driven_enrollment_profile", ()),
    ],
)
def test_a_write_that_may_have_happened_is_not_repeated(
    client: Driver, apple: ScriptedApple, clock: FrozenClock, failure: Any, method: str, args: tuple[Any, ...]
) -> None:
    apple.script = [failure, ok(DEFINED)]
    with pytest.raises((errors.ServerError, errors.TransportError)):
        getattr(client, method)(*args)
    assert len(apple.calls) == 1
    assert clock.sleeps == []


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.PoolTimeout("full"),
        httpx.ProxyError("refused"),
        httpx.UnsupportedProtocol("what"),
        busy(429),
        busy(429, "0"),
    ],
)
def test_a_write_that_cannot_have_happened_is_repeated(
    client: Driver, apple: ScriptedApple, failure: Any
) -> None:
    apple.script = [failure, ok(DEFINED)]
    assert client.define_profile(PROFILE).profile_uuid == "P"
    assert len(apple.calls) == 2


def test_a_refused_connection_says_that_nothing_happened(
    make_client: Callable[..., Driver], apple: ScriptedApple
) -> None:
    apple.script = [httpx.ConnectError("refused")]
    with pytest.raises(errors.TransportError) as caught:
        make_client(retries=0).define_profile(PROFILE)
    assert not caught.value.effect_unknown
    assert caught.value.operation == "define a profile"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["17", "Sun, 01 Mar 2026 12:00:17 GMT"])
def test_retry_after_is_honoured_as_seconds_and_as_date(
    client: Driver, apple: ScriptedApple, clock: FrozenClock, status: int, value: str
) -> None:
    apple.script = [busy(status, value), ok()]
    client.account()
    assert clock.sleeps == [17.0]


def test_a_wait_beyond_the_deadline_is_not_begun(
    client: Driver, apple: ScriptedApple, clock: FrozenClock
) -> None:
    apple.script = [busy(429, "40"), busy(429, "40")]
    with pytest.raises(errors.RateLimitError) as caught:
        client.account()
    assert clock.sleeps == [40.0]
    assert caught.value.retry_after_s == 40.0


def test_the_deadline_counts_from_the_start_of_the_call(
    make_client: Callable[..., Driver], apple: ScriptedApple, clock: FrozenClock
) -> None:
    def slow(_request: httpx.Request) -> httpx.Response:
        clock.advance(9.8)
        return busy(500)

    apple.script = [slow, ok()]
    with pytest.raises(errors.ServerError):
        make_client(deadline_s=10.0).account()
    apple.script = [slow, ok()]
    make_client(deadline_s=10.4).account()


@pytest.mark.parametrize("status", [400, 404])
def test_what_apple_refused_for_good_is_not_repeated(
    client: Driver, apple: ScriptedApple, clock: FrozenClock, status: int
) -> None:
    apple.script = [busy(status, "1"), ok()]
    with pytest.raises(errors.AppleError):
        client.account()
    assert clock.sleeps == []


def test_a_local_protocol_error_does_not_quote_the_header(
    make_client: Callable[..., Driver], apple: ScriptedApple
) -> None:
    apple.script = [httpx.LocalProtocolError("Illegal header value b'SESSION-top-secret'")]
    with pytest.raises(errors.TransportError) as caught:
        make_client(retries=0).account()
    assert caught.value.reason == "mdmenrollment.apple.com: LocalProtocolError: Illegal header value"
    assert "top-secret" not in "".join(traceback.format_exception(caught.value))


def test_a_body_that_breaks_off_is_a_transport_error(
    make_client: Callable[..., Driver], apple: ScriptedApple
) -> None:
    broken = {"Content-Encoding": "gzip"}
    apple.script = [
        lambda _request: httpx.Response(200, headers=broken, stream=httpx.ByteStream(b"not gzip"))
    ]
    with pytest.raises(errors.TransportError, match="DecodingError"):
        make_client(retries=0).account()


class TestMethodFallback:
    def test_assign_turns_to_put_on_405_and_remembers(self, client: Driver, apple: ScriptedApple) -> None:
        done = {"devices": {"A": "SUCCESS"}}
        apple.script = [httpx.Response(405), ok(done), ok(done)]
        assert client.assign_profile("P", ["A"]).is_complete
        assert client.assign_profile("P", ["A"]).is_complete
        assert apple.sent == [f"{method} /profile/devices" for method in ("POST", "PUT", "PUT")]
        assert apple.calls[0].content == apple.calls[1].content

    def test_it_is_remembered_only_if_it_worked(self, client: Driver, apple: ScriptedApple) -> None:
        apple.script = [httpx.Response(405), httpx.Response(405)] * 2
        for _ in range(2):
            with pytest.raises(errors.AppleError, match="405"):
                client.assign_profile("P", ["A"])
        assert [request.method for request in apple.calls] == ["POST", "PUT"] * 2

    def test_remove_is_not_touched_by_it(self, client: Driver, apple: ScriptedApple) -> None:
        done = {"devices": {"A": "SUCCESS"}}
        apple.script = [httpx.Response(405), ok(done), ok(done)]
        client.assign_profile("P", ["A"])
        client.remove_profile(["A"])
        assert apple.calls[-1].method == "DELETE"

    def test_other_calls_do_not_turn(self, client: Driver, apple: ScriptedApple) -> None:
        apple.script = [httpx.Response(405)]
        with pytest.raises(errors.AppleError):
            client.account()
        assert len(apple.calls) == 1
