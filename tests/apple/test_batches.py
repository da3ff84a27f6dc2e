"""Batches: chunks, lost answers, and an outcome for every serial number."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyade import errors
from pyade.apple import batches, calls
from pyade.apple.http.calls import Call, SendCall
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.outcomes import DeviceResults
from pyade.flow import Step, drive

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple

MANY = [f"C02{number:05}" for number in range(2500)]
WRITES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "assign_profile": (("P",), {}),
    "remove_profile": ((), {}),
    "disown_devices": ((), {"confirm": True}),
}


def serials_of(request: httpx.Request) -> list[str]:
    devices: list[str] = msgspec.json.decode(request.content)["devices"]
    return devices


def all_done(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"devices": dict.fromkeys(serials_of(request), "SUCCESS")})


def details(**records: Any) -> httpx.Response:
    return httpx.Response(
        200,
        json={"devices": {key: {"response_status": "SUCCESS", **value} for key, value in records.items()}},
    )


LOST = [httpx.ReadTimeout("slow"), httpx.Response(502), httpx.Response(200, text="<html>")]
GONE = {"response_status": "NOT_ACCESSIBLE"}


def call_of(step: Step[Any]) -> Call[Any]:
    assert isinstance(step, SendCall)
    return step.call


TWICE = pytest.mark.parametrize("method", ["assign_profile", "remove_profile"])


@pytest.mark.parametrize("method", WRITES)
class TestEveryBatch:
    def test_goes_in_chunks_of_a_thousand_without_duplicates(
        self, method: str, client: Driver, apple: ScriptedApple
    ) -> None:
        args, options = WRITES[method]
        apple.script = [all_done] * 3
        results = getattr(client, method)(*args, [*MANY, *MANY[:10]], **options)
        assert [len(serials_of(request)) for request in apple.calls] == [1000, 1000, 500]
        assert list(results.results) == MANY
        assert results.is_complete

    def test_keeps_the_outcome_of_earlier_chunks(
        self, method: str, client: Driver, apple: ScriptedApple
    ) -> None:
        args, options = WRITES[method]
        apple.script = [all_done, httpx.Response(403, text="T_C_NOT_SIGNED")]
        with pytest.raises(errors.BatchError) as caught:
            getattr(client, method)(*args, MANY, **options)
        outcome = caught.value.outcome
        assert list(outcome.results) == MANY
        assert outcome.succeeded == tuple(MANY[:1000])
        assert outcome.serials(DeviceResult.REQUEST_FAILED) == tuple(MANY[1000:2000])
        assert outcome.serials(DeviceResult.NOT_SENT) == tuple(MANY[2000:])
        assert isinstance(caught.value.__cause__, errors.TermsError)
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value)
        assert "1000 SUCCESS" in str(again)

    def test_raises_the_first_chunks_own_error(
        self, method: str, client: Driver, apple: ScriptedApple
    ) -> None:
        args, options = WRITES[method]
        apple.script = [httpx.Response(403, text="ACCESS_DENIED")]
        with pytest.raises(errors.AccessDeniedError):
            getattr(client, method)(*args, MANY, **options)
        assert len(apple.calls) == 1

    def test_sends_nothing_for_no_devices(self, method: str, client: Driver, apple: ScriptedApple) -> None:
        args, options = WRITES[method]
        results = getattr(client, method)(*args, [], **options)
        assert dict(results.results) == {}
        assert not apple.requests

    def test_refuses_a_lone_serial_number(self, method: str, client: Driver, apple: ScriptedApple) -> None:
        args, options = WRITES[method]
        with pytest.raises(errors.InvalidRequestError, match=r"pass \['C02A'\]"):
            getattr(client, method)(*args, "C02A", **options)
        assert not apple.requests

    def test_reports_a_serial_that_the_answer_left_out(
        self, method: str, client: Driver, apple: ScriptedApple
    ) -> None:
        args, options = WRITES[method]
        apple.script = [httpx.Response(200, json={"devices": {"A": "SUCCESS", "C": "NEW_RESULT"}})]
        results = getattr(client, method)(*args, ["A", "B", "C"], **options)
        assert dict(results.results) == {"A": "SUCCESS", "B": DeviceResult.MISSING, "C": "NEW_RESULT"}

    def test_does_not_read_back_what_was_never_sent(
        self, method: str, make_client: Callable[..., Driver], apple: ScriptedApple
    ) -> None:
        args, options = WRITES[method]
        client = make_client(retries=0)
        apple.session_script = [httpx.Response(500)]
        with pytest.raises(errors.ServerError):
            getattr(client, method)(*args, ["A"], **options)
        apple.script = [httpx.ConnectError("refused")]
        with pytest.raises(errors.TransportError):
            getattr(client, method)(*args, ["A"], **options)
        assert len(apple.calls) == 1


@TWICE
class TestEveryBatchThatMayBeSentTwice:
    @pytest.mark.parametrize("lost", LOST)
    def test_reads_back_after_a_lost_answer_before_anything_is_sent_again(
        self, method: str, client: Driver, apple: ScriptedApple, lost: Any
    ) -> None:
        args, options = WRITES[method]
        untouched = {"profile_status": "assigned", "profile_uuid": "OTHER"}
        apple.script = [lost, details(A=GONE, B=untouched), all_done]
        results = getattr(client, method)(*args, ["A", "B"], **options)
        assert apple.sent[1] == "POST /devices"
        assert apple.sent[0] == apple.sent[2]
        assert [serials_of(request) for request in apple.calls] == [["A", "B"], ["A", "B"], ["B"]]
        assert dict(results.results) == {"A": DeviceResult.NOT_ACCESSIBLE, "B": DeviceResult.SUCCESS}

    @pytest.mark.parametrize("lost", LOST)
    def test_raises_the_lost_answer_if_it_cannot_be_read_back(
        self, method: str, make_client: Callable[..., Driver], apple: ScriptedApple, lost: Any
    ) -> None:
        args, options = WRITES[method]
        apple.script = [lost, httpx.ConnectError("down")]
        with pytest.raises((errors.TransportError, errors.ServerError, errors.ResponseError)) as caught:
            getattr(make_client(retries=0), method)(*args, ["A"], **options)
        assert getattr(caught.value, "effect_unknown", True)
        assert len(apple.calls) == 2

    def test_sends_the_difference_at_most_once(
        self, method: str, client: Driver, apple: ScriptedApple
    ) -> None:
        args, options = WRITES[method]
        apple.script = [httpx.Response(500), details(A=GONE, B={}), httpx.Response(500)]
        with pytest.raises(errors.BatchError) as caught:
            getattr(client, method)(*args, ["A", "B"], **options)
        assert dict(caught.value.outcome.results) == {
            "A": DeviceResult.NOT_ACCESSIBLE,
            "B": DeviceResult.REQUEST_FAILED,
        }
        assert len(apple.calls) == 3

    def test_raises_the_second_loss_itself_if_nothing_is_known(
        self, method: str, client: Driver, apple: ScriptedApple
    ) -> None:
        args, options = WRITES[method]
        apple.script = [httpx.Response(500), details(A={}), httpx.Response(500)]
        with pytest.raises(errors.ServerError):
            getattr(client, method)(*args, ["A"], **options)


class TestDisowning:
    """It is for ever, so nothing is ever sent twice."""

    @pytest.mark.parametrize("lost", LOST)
    def test_reads_back_after_a_lost_answer_and_leaves_the_rest_to_a_person(
        self, client: Driver, apple: ScriptedApple, lost: Any
    ) -> None:
        apple.script = [lost, details(A=GONE, B={"profile_status": "assigned"})]
        with pytest.raises(
            errors.BatchError, match=f"unknown for B, {MANY[0]}.*: read device_details"
        ) as caught:
            client.disown_devices(["A", "B", *MANY], confirm=True)
        assert apple.sent == ["POST /devices/disown", "POST /devices"]
        outcome = caught.value.outcome
        assert outcome.serials(DeviceResult.NOT_ACCESSIBLE) == ("A",)
        assert outcome.results["B"] == DeviceResult.REQUEST_FAILED
        assert outcome.serials(DeviceResult.NOT_SENT) == tuple(MANY[998:])

    @pytest.mark.parametrize("lost", LOST)
    def test_names_every_device_if_it_cannot_be_read_back(
        self, make_client: Callable[..., Driver], apple: ScriptedApple, lost: Any
    ) -> None:
        apple.script = [lost, httpx.ConnectError("down")]
        with pytest.raises(errors.BatchError) as caught:
            make_client(retries=0).disown_devices(MANY[:12], confirm=True)
        assert dict(caught.value.outcome.results) == dict.fromkeys(MANY[:12], DeviceResult.REQUEST_FAILED)
        assert f"{MANY[9]} and 2 more:" in str(caught.value)
        assert isinstance(caught.value.__cause__, errors.PyadeError)
        assert len(apple.calls) == 2

    def test_goes_on_where_everything_of_a_lost_answer_is_gone(
        self, client: Driver, apple: ScriptedApple
    ) -> None:
        apple.script = [httpx.Response(500), details(**dict.fromkeys(MANY[:1000], GONE)), all_done]
        results = client.disown_devices(MANY[:1001], confirm=True)
        assert results.serials(DeviceResult.NOT_ACCESSIBLE) == tuple(MANY[:1000])
        assert results.succeeded == (MANY[1000],)

    def test_a_later_chunk_that_was_refused_is_not_called_unknown(
        self, client: Driver, apple: ScriptedApple
    ) -> None:
        apple.script = [all_done, httpx.Response(403, text="ACCESS_DENIED")]
        with pytest.raises(errors.BatchError) as caught:
            client.disown_devices(MANY, confirm=True)
        assert "the result is unknown" not in str(caught.value)


class TestReadingBack:
    def test_what_was_assigned_is_not_assigned_again(self, client: Driver, apple: ScriptedApple) -> None:
        states = details(
            A={"profile_status": "assigned", "profile_uuid": "abc"},
            B={"profile_status": "pushed", "profile_uuid": "ABC"},
            C={"profile_status": "removed", "profile_uuid": "ABC"},
            D={"profile_status": "assigned", "profile_uuid": "OTHER"},
            E={"profile_status": "empty"},
        )
        apple.script = [httpx.ReadError("reset"), states, all_done]
        results = client.assign_profile("ABC", ["A", "B", "C", "D", "E"])
        assert serials_of(apple.calls[2]) == ["C", "D", "E"]
        assert list(results.results) == ["A", "B", "C", "D", "E"]
        assert results.is_complete
        assert results.profile_uuid == "ABC"

    def test_nothing_is_sent_if_everything_was_done(self, client: Driver, apple: ScriptedApple) -> None:
        done = {"profile_status": "assigned", "profile_uuid": "P"}
        apple.script = [httpx.Response(503), details(A=done, B=done)]
        assert client.assign_profile("P", ["A", "B"]).is_complete
        assert len(apple.calls) == 2

    def test_what_was_removed_is_not_removed_again(self, client: Driver, apple: ScriptedApple) -> None:
        states = details(
            A={"profile_status": "removed"}, B={"profile_status": "empty"}, C={"profile_status": "assigned"}
        )
        apple.script = [httpx.ReadError("reset"), states, all_done]
        assert client.remove_profile(["A", "B", "C"]).is_complete
        assert serials_of(apple.calls[2]) == ["C"]

    def test_a_wait_for_throttled_devices_is_kept(self, client: Driver, apple: ScriptedApple) -> None:
        answer = {"devices": {"A": "THROTTLED"}, "retry_after_seconds": 3600}
        apple.script = [httpx.ReadError("reset"), details(A={}), httpx.Response(200, json=answer)]
        results = client.assign_profile("P", ["A"])
        assert results.retry_after_s == 3600.0
        assert results.results["A"] is DeviceResult.THROTTLED


def test_details_go_in_chunks_and_keep_their_order(client: Driver, apple: ScriptedApple) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        found = {serial: {"response_status": "SUCCESS"} for serial in reversed(serials_of(request))}
        return httpx.Response(200, json={"devices": found})

    apple.script = [answer] * 3
    assert list(client.device_details(iter(MANY))) == MANY
    assert [len(serials_of(request)) for request in apple.calls] == [1000, 1000, 500]


@pytest.mark.parametrize("confirm", [False, "yes", 1])
def test_disowning_needs_a_confirmation(client: Driver, apple: ScriptedApple, confirm: Any) -> None:
    with pytest.raises(errors.InvalidRequestError, match="confirm=True"):
        client.disown_devices(["A"], confirm=confirm)
    assert not apple.requests


@pytest.mark.parametrize("escrow_key", ["ff", "3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA4", "g" * 64, "f" * 65])
def test_a_lock_is_not_sent_with_something_else_than_a_hash(
    client: Driver, apple: ScriptedApple, escrow_key: str
) -> None:
    with pytest.raises(errors.InvalidRequestError, match=r"BypassCode\.escrow_key") as caught:
        client.activation_lock("A", escrow_key=escrow_key)
    assert escrow_key not in str(caught.value)
    assert not apple.requests


def test_a_client_performs_nothing_but_calls(client: Driver, apple: ScriptedApple) -> None:
    class Other(Step[None]):
        pass

    def flow() -> Any:
        yield Other()

    with pytest.raises(TypeError, match="not Other"):
        client.drive(flow())
    with pytest.raises(TypeError, match="not Other"):
        client._runner(Other())


@given(
    serials=st.lists(st.text("ABC", min_size=1, max_size=3), max_size=30),
    had=st.frozensets(st.text("ABC", min_size=1, max_size=3)),
    lost=st.booleans(),
    acted=st.booleans(),
)
def test_whatever_is_lost_every_serial_has_one_outcome_and_ends_assigned(
    serials: list[str], had: frozenset[str], lost: bool, acted: bool
) -> None:
    """A model of Apple that loses the first answer, before or after it acted."""
    assigned: set[str] = set(had)
    pending = [lost]

    def perform(step: Step[Any]) -> Any:
        call: Call[Any] = call_of(step)
        named = list((call.json or {})["devices"])
        if call.path == "/devices":
            state = {"profile_uuid": "P", "profile_status": "assigned"}
            body = {
                serial: {"response_status": "SUCCESS", **(state if serial in assigned else {})}
                for serial in named
            }
            return call.decode(msgspec.json.encode({"devices": body}))
        is_lost = pending.pop() if pending else False
        if not is_lost or acted:
            assigned.update(named)
        if is_lost:
            raise errors.TransportError(call.operation, "cut")
        return call.decode(msgspec.json.encode({"devices": dict.fromkeys(named, "SUCCESS")}))

    results: DeviceResults = drive(batches.assign_flow("P", serials), perform)
    assert list(results.results) == list(dict.fromkeys(serials))
    assert results.is_complete
    assert set(serials) <= assigned


def test_the_steps_of_equal_calls_are_equal() -> None:
    assert SendCall(calls.sync_devices("c", 5)) == SendCall(calls.sync_devices("c", 5))
