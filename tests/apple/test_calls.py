"""Every endpoint: what is sent, and what its answer is read as."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade import errors
from pyade.apple import calls
from pyade.apple.http.calls import Call
from pyade.apple.responses import (
    Account,
    AccountDrivenEnrollmentProfile,
    ActivationLockResponse,
    ActivationLockResult,
    BetaEnrollmentToken,
    BetaEnrollmentTokens,
    DevicePage,
    OrganizationType,
    ReplacementDetails,
    ServiceUrl,
    decode_details,
    decode_profile,
    decode_results,
)
from pyade.core.fleet.device import Device, DeviceResult, OpType
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Token

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple

PAGE = {"devices": [{"serial_number": "A"}], "cursor": "c", "more_to_follow": False}
RESULTS = {"devices": {"A": "SUCCESS"}}


@attrs.frozen
class Endpoint:
    """What a method of the client sends."""

    method: str
    args: tuple[Any, ...]
    sent: str
    body: Any
    answer: Any
    query: str = ""
    options: dict[str, Any] = attrs.field(factory=dict)


ENDPOINTS = [
    Endpoint("account", (), "GET /account", None, {}),
    Endpoint("fetch_devices", (), "POST /server/devices", {"limit": 1000}, PAGE),
    Endpoint("fetch_devices", ("c", 7), "POST /server/devices", {"cursor": "c", "limit": 7}, PAGE),
    Endpoint("sync_devices", ("c",), "POST /devices/sync", {"cursor": "c", "limit": 1000}, PAGE),
    Endpoint("device_details", (["A"],), "POST /devices", {"devices": ["A"]}, {"devices": {}}),
    Endpoint(
        "disown_devices",
        (["A"],),
        "POST /devices/disown",
        {"devices": ["A"]},
        RESULTS,
        options={"confirm": True},
    ),
    Endpoint(
        "define_profile",
        ({"profile_name": "x"},),
        "POST /profile",
        {"profile_name": "x"},
        {"profile_uuid": "P"},
    ),
    Endpoint("profile", ("P",), "GET /profile", None, {"profile_uuid": "P"}, query="profile_uuid=P"),
    Endpoint(
        "assign_profile",
        ("P", ["A"]),
        "POST /profile/devices",
        {"profile_uuid": "P", "devices": ["A"]},
        RESULTS,
    ),
    Endpoint("remove_profile", (["A"],), "DELETE /profile/devices", {"devices": ["A"]}, RESULTS),
    Endpoint(
        "activation_lock",
        ("A",),
        "POST /device/activationlock",
        {"device": "A"},
        {"response_status": "SUCCESS"},
    ),
    Endpoint(
        "activation_lock",
        ("A",),
        "POST /device/activationlock",
        {"device": "A", "escrow_key": "ff" * 32, "lost_message": "call"},
        {"response_status": "SUCCESS"},
        options={"escrow_key": "ff" * 32, "lost_message": "call"},
    ),
    Endpoint(
        "replacement_details",
        ("A",),
        "GET /device/replacementDetails",
        None,
        {"original_device_serial_number": "B"},
        query="device=A",
    ),
    Endpoint("beta_enrollment_tokens", (), "GET /os-beta-enrollment/tokens", None, {}),
    Endpoint(
        "set_account_driven_enrollment_profile",
        ("https://x",),
        "POST /account-driven-enrollment/profile",
        {"mdm_service_discovery_url": "https://x"},
        None,
    ),
    Endpoint(
        "get_account_driven_enrollment_profile",
        (),
        "GET /account-driven-enrollment/profile",
        None,
        {"mdm_service_discovery_url": "https://x"},
    ),
    Endpoint(
        "remove_account_driven_enrollment_profile",
        (),
        "DELETE /account-driven-enrollment/profile",
        None,
        None,
    ),
]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.method)
@pytest.mark.parametrize("prefix", ["", "/proxy/dep"])
@pytest.mark.twins
def test_each_endpoint_is_sent_as_documented(
    endpoint: Endpoint, prefix: str, make_client: Callable[..., Driver], apple: ScriptedApple
) -> None:
    client = make_client(base_url=f"https://mdmenrollment.apple.com{prefix}")
    answer = b"" if endpoint.answer is None else msgspec.json.encode(endpoint.answer)
    apple.script = [httpx.Response(200, content=answer)]
    getattr(client, endpoint.method)(*endpoint.args, **endpoint.options)
    request = apple.calls[0]
    method, path = endpoint.sent.split()
    assert (request.method, request.url.path) == (method, prefix + path)
    assert request.url.query.decode() == endpoint.query
    assert (msgspec.json.decode(request.content) if request.content else None) == endpoint.body
    assert apple.requests[0].url.path == f"{prefix}/session"
    assert request.headers["X-ADM-Auth-Session"] == "SESSION-top-secret-1"
    assert request.headers["X-Server-Protocol-Version"] == "10"
    assert request.headers["Content-Type"] == request.headers["Accept"] == "application/json;charset=UTF8"
    assert "Authorization" not in request.headers


def test_a_profile_object_is_sent_as_apples_json(client: Driver, apple: ScriptedApple) -> None:
    apple.script = [httpx.Response(200, json={"profile_uuid": "P", "devices": {}})]
    profile = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")
    assert client.define_profile(profile).profile_uuid == "P"
    sent = msgspec.json.decode(apple.calls[0].content)
    assert (sent["profile_name"], sent["url"]) == ("Standard Mac", "https://mdm.contoso.com/enroll")


def test_only_reads_are_repeatable() -> None:
    every: list[Call[Any]] = [
        calls.account(),
        calls.fetch_devices(),
        calls.sync_devices("c"),
        calls.device_details(["A"]),
        calls.profile("P"),
        calls.replacement_details("A"),
        calls.beta_enrollment_tokens(),
        calls.get_account_driven_enrollment_profile(),
        calls.define_profile({}),
        calls.assign_profile("P", ["A"]),
        calls.remove_profile(["A"]),
        calls.disown_devices(["A"]),
        calls.activation_lock("A"),
        calls.set_account_driven_enrollment_profile("https://x"),
        calls.remove_account_driven_enrollment_profile(),
    ]
    assert [call.repeatable for call in every] == [True] * 8 + [False] * 7


def test_a_call_hides_its_body_and_compares_by_what_is_sent() -> None:
    assert "ff" * 32 not in repr(calls.activation_lock("A", "ff" * 32))
    assert calls.assign_profile("P", ["A"]) == calls.assign_profile("P", ("A",))
    assert calls.assign_profile("P", ["A"]) != calls.assign_profile("P", ["B"])


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused_before_it_is_sent(limit: int) -> None:
    with pytest.raises(errors.InvalidRequestError, match=r"limit .* 1 or more"):
        calls.fetch_devices(limit=limit)


class TestAccount:
    def test_every_key_is_read_and_unknown_ones_are_kept(self) -> None:
        account = Account.decode(
            msgspec.json.encode(
                {
                    "server_name": "dev",
                    "server_uuid": "677cab70-fe18-11e2-b778-0800200c9a66",
                    "admin_id": "admin@contoso.com",
                    "facilitator_id": None,
                    "org_name": "Contoso",
                    "org_id": 1234,
                    "org_type": "org",
                    "org_version": "v2",
                    "org_email": {"odd": True},
                    "favourite_colour": "blue",
                    "urls": [
                        {
                            "uri": "/server/devices",
                            "http_method": ["POST"],
                            "limit": {"default": 1000, "maximum": 5000},
                        },
                        {"uri": "/account", "http_method": "GET"},
                        {
                            "uri": "/devices/sync",
                            "http_method": ["POST"],
                            "limit": {"default": 0, "maximum": "x"},
                        },
                        {"no": "uri"},
                        "odd",
                    ],
                }
            )
        )
        assert account.org_id == "1234"
        assert account.org_type is OrganizationType.BUSINESS
        assert account.facilitator_id is None
        assert account.extra == {"org_email": {"odd": True}, "favourite_colour": "blue"}
        assert account.url("/server/devices") == ServiceUrl(
            uri="/server/devices", http_methods=("POST",), default_limit=1000, maximum_limit=5000
        )
        assert account.url("/account") == ServiceUrl(uri="/account", http_methods=("GET",))
        assert account.url("/devices/sync") == ServiceUrl(uri="/devices/sync", http_methods=("POST",))
        assert account.url("/nowhere") is None

    def test_an_unknown_kind_of_organization_is_kept(self) -> None:
        account = Account.decode(b'{"org_type": "club", "urls": "none"}')
        assert account.org_type == "club"
        assert account.org_type is not None
        assert not account.org_type.is_known
        assert account.extra == {"urls": "none"}


class TestPage:
    def test_devices_keep_order_repeats_and_unknown_values(self) -> None:
        page = DevicePage.decode(
            msgspec.json.encode(
                {
                    "devices": [
                        {"serial_number": "A", "op_type": "ADDED", "new_key": 1},
                        {"serial_number": "B", "op_type": "teleported"},
                        {"serial_number": "A", "op_date": "2026-03-01T00:00:00Z"},
                    ],
                    "cursor": "x" * 1000,
                    "more_to_follow": True,
                    "fetched_until": "2026-03-01T00:00:00Z",
                    "another_key": {},
                }
            )
        )
        assert [device.serial_number for device in page.devices] == ["A", "B", "A"]
        assert page.devices[0].op_type is OpType.ADDED
        assert page.devices[0].extra == {"new_key": 1}
        assert page.devices[1].op_type == "teleported"
        assert page.cursor == "x" * 1000
        assert page.fetched_until == datetime(2026, 3, 1, tzinfo=UTC)

    @each("devices", [{}, {"devices": None}, {"devices": []}])
    def test_no_devices_are_an_empty_page(self, devices: dict[str, Any]) -> None:
        page = DevicePage.decode(msgspec.json.encode({"cursor": "c", "more_to_follow": False, **devices}))
        assert page.devices == ()

    @each("until", [None, "soon", 5])
    def test_fetched_until_is_only_informational(self, until: object) -> None:
        body = {"cursor": "c", "more_to_follow": False, "fetched_until": until}
        assert DevicePage.decode(msgspec.json.encode(body)).fetched_until is None

    def test_records_without_a_serial_number_are_counted_and_do_not_stop_the_rest(self) -> None:
        devices = [{"model": "Mac"}, "odd", {"serial_number": 5}, {"serial_number": "A"}]
        page = DevicePage.decode(
            msgspec.json.encode({"devices": devices, "cursor": "c", "more_to_follow": False})
        )
        assert [device.serial_number for device in page.devices] == ["A"]
        assert page.unreadable == 3

    @each(
        "body",
        [
            {"more_to_follow": False},
            {"cursor": "", "more_to_follow": False},
            {"cursor": None, "more_to_follow": False},
            {"cursor": "c"},
            {"cursor": "c", "more_to_follow": None},
            {"cursor": "c", "more_to_follow": False, "devices": {"A": {}}},
        ],
    )
    def test_what_would_lose_devices_cannot_be_read(self, body: dict[str, Any]) -> None:
        with pytest.raises(msgspec.ValidationError):
            DevicePage.decode(msgspec.json.encode(body))

    @given(st.binary(max_size=100))
    def test_no_body_breaks_more_than_the_decoder(self, content: bytes) -> None:
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            DevicePage.decode(content)


class TestResults:
    @pytest.mark.parametrize(
        "devices", [{"A": "SUCCESS", "B": "FAILED"}, [{"A": "SUCCESS"}, {"B": "FAILED"}, "odd"]]
    )
    def test_a_map_and_a_list_of_maps_are_read_alike(self, devices: object) -> None:
        results = decode_results(msgspec.json.encode({"devices": devices}), ["A", "B", "C"], "P")
        assert dict(results.results) == {
            "A": DeviceResult.SUCCESS,
            "B": DeviceResult.FAILED,
            "C": DeviceResult.MISSING,
        }
        assert results.profile_uuid == "P"
        assert not results.is_complete

    def test_results_are_in_the_order_of_the_request_and_others_come_last(self) -> None:
        body = {"devices": {"X": "SUCCESS", "B": "SUCCESS", "A": "SUCCESS"}, "profile_uuid": "P2"}
        results = decode_results(msgspec.json.encode(body), ["A", "B"], "P")
        assert list(results.results) == ["A", "B", "X"]
        assert results.profile_uuid == "P2"

    def test_unknown_results_are_kept(self) -> None:
        body = {"devices": {"A": "POSTPONED", "B": {"status": "odd"}}}
        results = decode_results(msgspec.json.encode(body), ["A", "B"]).results
        assert (results["A"], results["B"]) == ("POSTPONED", '{"status":"odd"}')

    @each(
        ("value", "seconds"),
        [
            (None, None),
            (3600, 3600.0),
            ("3600", 3600.0),
            (12.5, 12.5),
            (-1, None),
            (True, None),
            ("soon", None),
            (10**30, 365 * 86_400.0),
            ("9" * 400, 365 * 86_400.0),
        ],
    )
    def test_retry_after_seconds_is_a_number_in_any_form(self, value: object, seconds: float | None) -> None:
        content = (
            msgspec.json.encode({"devices": {}, "retry_after_seconds": value})
            if value != 10**30
            else (b'{"devices": {}, "retry_after_seconds": 1e30}')
        )
        assert decode_results(content, []).retry_after_s == seconds

    @each("body", [b"[]", b'{"devices": "all"}', b'{"devices": 5}'])
    def test_other_shapes_cannot_be_read(self, body: bytes) -> None:
        with pytest.raises(msgspec.ValidationError):
            decode_results(body, ["A"])


class TestOtherAnswers:
    def test_details_have_an_entry_for_each_serial(self) -> None:
        body = {
            "devices": {
                "B": {"serial_number": "B", "model": "Mac", "response_status": "SUCCESS"},
                "A": {"response_status": "NOT_ACCESSIBLE"},
                "C": "NOT_ACCESSIBLE",
            }
        }
        found = decode_details(msgspec.json.encode(body), ["A", "B", "C", "D"])
        assert list(found) == ["A", "B", "C", "D"]
        assert found["B"] == Device(serial_number="B", model="Mac", response_status=DeviceResult.SUCCESS)
        statuses = [found[serial].response_status for serial in "ACD"]
        assert statuses == [DeviceResult.NOT_ACCESSIBLE, DeviceResult.NOT_ACCESSIBLE, DeviceResult.MISSING]

    def test_a_profile_is_kept_as_it_came(self) -> None:
        body = {"profile_uuid": "P", "brand_new_key": [1, {"a": None}]}
        assert decode_profile(msgspec.json.encode(body)) == body
        with pytest.raises(msgspec.ValidationError):
            decode_profile(b"{}")

    def test_a_lock_has_results_of_its_own(self) -> None:
        answer = ActivationLockResponse.decode(
            b'{"serial_number": "A", "response_status": "DEVICE_ALREADY_LOCKED"}', "A"
        )
        assert answer.result is ActivationLockResult.DEVICE_ALREADY_LOCKED
        unknown = ActivationLockResponse.decode(b'{"response_status": "MAYBE"}', "A")
        assert (unknown.serial_number, unknown.result) == ("A", "MAYBE")

    @each(("day", "read"), [("2026-02-28", date(2026, 2, 28)), ("yesterday", None), (5, None), (None, None)])
    def test_the_day_of_a_replacement_is_optional(self, day: object, read: date | None) -> None:
        body = {"original_device_serial_number": "B", "replacement_date": day}
        assert ReplacementDetails.decode(msgspec.json.encode(body), "A") == ReplacementDetails(
            serial_number="A", original_device_serial_number="B", replacement_date=read
        )

    def test_beta_tokens_come_from_either_key_once_and_hide(self) -> None:
        entry = {"os": "OSX", "title": "Beta", "token": "beta-secret"}
        for key in ("betaEnrollmentTokens", "seedBuildTokens"):
            found = BetaEnrollmentTokens.decode(msgspec.json.encode({key: [entry, entry]}))
            assert found.tokens == (BetaEnrollmentToken(os="OSX", title="Beta", token="beta-secret"),)
            assert "beta-secret" not in repr(found)

    @pytest.mark.parametrize("status", [403, 200])
    def test_beta_access_that_is_off_is_a_result(
        self, client: Driver, apple: ScriptedApple, status: int
    ) -> None:
        apple.script = [httpx.Response(status, text="APPLE_SEED_FOR_IT_TURNED_OFF")]
        assert client.beta_enrollment_tokens() == BetaEnrollmentTokens(is_allowed=False)
        assert apple.sessions == 1

    def test_a_discovery_url_may_have_no_time(self) -> None:
        body = {"mdm_service_discovery_url": "https://x", "last_updated_timestamp": "2026-03-01T00:00:00Z"}
        assert AccountDrivenEnrollmentProfile.decode(
            msgspec.json.encode(body)
        ).last_updated_timestamp == datetime(2026, 3, 1, tzinfo=UTC)
        bare = AccountDrivenEnrollmentProfile.decode(b'{"mdm_service_discovery_url": "https://x"}')
        assert bare.last_updated_timestamp is None

    @pytest.mark.parametrize("body", ["", "{}", "OK then"])
    def test_an_undocumented_body_is_not_read(self, client: Driver, apple: ScriptedApple, body: str) -> None:
        apple.script = [httpx.Response(200, text=body), httpx.Response(204)]
        client.set_account_driven_enrollment_profile("https://x")
        client.remove_account_driven_enrollment_profile()

    def test_an_error_names_the_place_that_cannot_be_read(self, client: Driver, apple: ScriptedApple) -> None:
        apple.script = [httpx.Response(200, json={"cursor": 5, "more_to_follow": False})]
        with pytest.raises(errors.ResponseError, match=r"`\$\.cursor`"):
            client.fetch_devices()

    def test_an_error_does_not_quote_a_body_that_is_no_text(
        self, client: Driver, apple: ScriptedApple
    ) -> None:
        apple.script = [httpx.Response(200, content=b'{"a": "\xff secret"}')]
        with pytest.raises(errors.ResponseError) as caught:
            client.fetch_devices()
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_an_account_tells_a_token_whose_it_is(token: Token) -> None:
    account = Account.decode(b'{"server_uuid": "U", "org_id": "42", "org_name": "Contoso"}')
    identified = account.identify(token)
    assert (identified.server_uuid, identified.org_id, identified.org_name) == ("U", "42", "Contoso")
    assert Account.decode(b"{}").identify(identified) == identified
    blank = Account.decode(b'{"server_uuid": "", "org_id": " ", "org_name": null}')
    assert blank.identify(identified) == identified


def test_an_account_tells_a_token_who_downloaded_it_and_from_which_portal(token: Token) -> None:
    account = Account.decode(b'{"admin_id": "jo@contoso.com", "org_type": "EDU"}').identify(token)
    assert (account.admin_id, account.org_type) == ("jo@contoso.com", "edu")
    older = Account.decode(b'{"facilitator_id": "al@contoso.com", "org_type": "club"}').identify(token)
    assert (older.admin_id, older.org_type) == ("al@contoso.com", "club")
