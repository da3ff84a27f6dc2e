"""Error responses: JSON:API errors with all their members, pages of gateways, anything else."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.business.conftest import NOW, answering

from pyade import errors
from pyade.apple.http.calls import Call
from pyade.business.error_codes import api_error, token_error
from pyade.core.problems import ErrorObject
from pyade.flow import Step, ask
from pyade.testing import FakeBusiness, Fault

if TYPE_CHECKING:
    from tests.apple.conftest import Driver

SEVERAL = {
    "errors": [
        {
            "id": "e1",
            "status": "409",
            "code": "ENTITY_ERROR.ATTRIBUTE.INVALID",
            "title": "Invalid",
            "detail": "the deadline\nis too late",
            "source": {"pointer": "/data/attributes/activityTypeMetadata"},
            "meta": {"a": 1},
        },
        {"status": 422, "code": "X", "title": "only a title", "source": {"jsonPointer": {"pointer": "/b"}}},
        {"status": "400", "code": "Y", "detail": "", "source": {"parameter": {"parameter": "limit"}}},
        "nonsense",
    ]
}


def test_every_error_is_kept_with_its_place(make_client: Callable[..., Driver]) -> None:
    answer = httpx.Response(409, json=SEVERAL, headers={"X-Apple-Request-Uuid": "r1"})
    with pytest.raises(errors.ConflictError) as caught:
        make_client(transport=answering(answer)).device("C1")
    error = caught.value
    assert error.errors == (
        ErrorObject(
            status="409",
            code="ENTITY_ERROR.ATTRIBUTE.INVALID",
            title="Invalid",
            detail="the deadline is too late",
            pointer="/data/attributes/activityTypeMetadata",
            id="e1",
        ),
        ErrorObject(status="422", code="X", title="only a title", pointer="/b"),
        ErrorObject(status="400", code="Y", parameter="limit"),
    )
    assert (error.status, error.code, error.request_id) == (409, "ENTITY_ERROR.ATTRIBUTE.INVALID", "r1")
    assert "'the deadline is too late' at '/data/attributes/activityTypeMetadata'" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.errors) == (str(error), error.errors)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (403, errors.AccessDeniedError),
        (404, errors.NotFoundError),
        (406, errors.InvalidRequestError),
        (409, errors.ConflictError),
        (422, errors.InvalidRequestError),
        (429, errors.RateLimitError),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (302, errors.AppleError),
        (418, errors.AppleError),
    ],
)
def test_each_status_has_its_class(
    make_client: Callable[..., Driver], status: int, kind: type[errors.AppleError]
) -> None:
    page = httpx.Response(status, html="<html>gateway</html>", headers={"Location": "https://evil.example"})
    with pytest.raises(errors.AppleError) as caught:
        make_client(transport=answering(page), retries=0).device("C1")
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert "an HTML page instead of" in str(caught.value)
    assert caught.value.next_step


def test_a_call_of_ones_own_cannot_name_a_host(client: Driver, business: FakeBusiness) -> None:
    for path in ("https://evil.example/", "evil", ""):
        call = Call(operation="look", method="GET", path=path, decode=bytes, repeatable=True)
        with pytest.raises(errors.InvalidRequestError, match="leading slash"):
            client.call(call)
    call = Call(operation="look", method="GET", path="//evil.example/x", decode=bytes, repeatable=True)
    with pytest.raises(errors.NotFoundError):
        client.call(call)
    hosts = {record.headers["host"] for record in business.requests}
    assert hosts == {"account.apple.com", "api-business.apple.com"}


def test_a_step_without_a_handler_is_refused(client: Driver) -> None:
    class Unknown(Step[None]):
        pass

    with pytest.raises(TypeError, match="not Unknown"):
        client.drive(ask(Unknown()))


def test_what_cannot_be_sent_at_all_is_not(client: Driver, business: FakeBusiness) -> None:
    with pytest.raises(errors.InvalidRequestError, match="cannot be sent"):
        client.list_devices(fields=["half a character \ud800"])
    assert not [record for record in business.requests if record.path.startswith("/v1/")]


class TestSizes:
    def test_a_success_that_never_ends_is_an_error(self, make_client: Callable[..., Driver]) -> None:
        endless = httpx.Response(200, content=b"x" * (2**20 + 1))
        with pytest.raises(errors.ResponseError, match=r"read a device.*longer than 1,024 KiB"):
            make_client(transport=answering(endless)).device("C1")

    def test_what_few_bytes_unpack_to_is_bounded_too(self, make_client: Callable[..., Driver]) -> None:
        bomb = gzip.compress(b" " * 2**21)
        for coding, content in (("gzip", bomb), ("gzip, gzip", gzip.compress(bomb))):
            headers = {"Content-Encoding": coding}
            packed = httpx.Response(200, headers=headers, stream=httpx.ByteStream(content))
            with pytest.raises(errors.ResponseError, match=r"longer than|has the encoding 'gzip, gzip'"):
                make_client(transport=answering(packed)).device("C1")

    def test_a_long_refusal_is_cut(self, make_client: Callable[..., Driver]) -> None:
        with pytest.raises(errors.NotFoundError) as caught:
            make_client(transport=answering(httpx.Response(404, content=b"x" * 10_000_000))).device("C1")
        assert len(str(caught.value)) < 1500

    def test_a_long_list_of_errors_is_cut(self) -> None:
        many = {"errors": [{"code": "A" * 5000, "detail": "d" * 5000}] * 100}
        error = api_error("x", 400, httpx.Response(400, json=many).content, {}, now=NOW)
        assert len(error.errors) == 20
        assert len(str(error)) < 2500


class TestTransport:
    def test_a_connection_that_fails_is_a_transport_error(
        self, client: Driver, business: FakeBusiness
    ) -> None:
        business.script("*", Fault.unreachable(), forever=True)
        with pytest.raises(errors.TransportError) as caught:
            client.device("C1")
        assert "account.apple.com: ConnectError" in str(caught.value)
        assert not caught.value.effect_unknown

    @pytest.mark.parametrize(
        "change",
        [{"base_url": "ftp://x"}, {"token_url": "x"}, {"base_url": "https://user:top-secret@x"}],
    )
    def test_an_address_that_cannot_be_used_is_named(
        self, make_client: Callable[..., Driver], change: dict[str, Any]
    ) -> None:
        with pytest.raises(errors.InvalidRequestError, match=next(iter(change))) as caught:
            make_client(**change)
        assert "top-secret" not in str(caught.value)

    def test_the_user_agent_is_the_callers_everywhere(
        self, make_client: Callable[..., Driver], business: FakeBusiness
    ) -> None:
        make_client(user_agent="contoso/1").iter_devices()
        assert {record.headers["user-agent"] for record in business.requests} == {"contoso/1"}
        with pytest.raises(errors.UserAgentError):
            make_client(user_agent="")


@given(st.binary(max_size=300), st.integers(100, 599), st.booleans())
def test_no_answer_breaks_the_reading_of_a_refusal(content: bytes, status: int, token: bool) -> None:
    if token:
        error = token_error(status, content, {"Date": "never"}, now=NOW, about="x")
    else:
        error = api_error("x", status, content, {}, now=NOW, secrets=("abc",))
    assert isinstance(error, errors.AppleError)
    assert str(error).isprintable()
    assert pickle.loads(pickle.dumps(error)).detail == error.detail


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["errors", "source", "pointer", "code", "detail"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(st.lists(json, max_size=4))
def test_no_json_breaks_it_either(entries: list[Any]) -> None:
    content = httpx.Response(400, json={"errors": entries}).content
    assert len(api_error("x", 400, content, {}, now=NOW).errors) <= 4


def test_the_clock_is_blamed_only_where_apples_date_proves_it() -> None:
    body = b'{"error":"invalid_client"}'
    near = {"Date": "Tue, 01 Sep 2026 12:01:30 GMT"}
    assert type(token_error(400, body, near, now=NOW, about="x")) is errors.CredentialError
    assert type(token_error(400, body, {}, now=NOW, about="x")) is errors.CredentialError
    late = NOW + timedelta(minutes=10)
    assert type(token_error(400, body, near, now=late, about="x")) is errors.ClockError
