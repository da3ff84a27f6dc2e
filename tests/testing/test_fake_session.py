"""Sessions and headers, accepted as by Apple's service."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from pyade.testing import Credentials, FakeApple, FrozenClock, Server
from pyade.testing.apple.sessions import _signature
from pyade.testing.http.wire import WireRequest

Send = Callable[..., httpx.Response]


@pytest.mark.parametrize(
    "habit",
    [
        {},
        {"realm": None},
        {"realm": "anything, with = and commas"},
        {"oauth_version": None},
        {"reverse": True},
        {"realm": None, "oauth_version": None, "reverse": True},
        {"oauth_nonce": "odd ~ / + nonce"},
    ],
)
def test_signature_is_verified_with_any_order_and_optional_parts(
    apple: FakeApple, server: Server, get_session: Send, habit: dict[str, object]
) -> None:
    assert get_session(apple.token(server), **habit).status_code == 200


def test_the_signature_covers_scheme_host_and_path(
    apple: FakeApple, server: Server, http: httpx.Client, sign: Callable[..., str]
) -> None:
    token = apple.token(server)
    for url in (
        "http://127.0.0.1:8080/session",
        "https://mdm.example:8443/session",
        "http://mdm.example/session",
    ):
        assert http.get(url, headers={"Authorization": sign(token, url=url)}).status_code == 200
        other = sign(token, url=url.replace("//", "//x"))
        assert http.get(url, headers={"Authorization": other}).text == "signature_invalidUnauthorized"
    with_default_port = {
        "Authorization": sign(token, url="https://mdm.example/session"),
        "Host": "MDM.example:443",
    }
    assert http.get("https://mdm.example/session", headers=with_default_port).status_code == 200


def test_the_published_test_vector_is_accepted() -> None:
    """The vector of RFC 5849 as two independent implementations computed it."""
    apple = FakeApple(clock=FrozenClock())
    credentials = Credentials(
        server=apple.add_server(),
        consumer_key="CK_1",
        consumer_secret="CS_1",
        access_token="AT_1",
        access_secret="AS_1",
        expires_at=apple.clock() + timedelta(days=1),
    )
    request = WireRequest(
        method="GET", scheme="https", host="mdmenrollment.apple.com", target="/session", headers={}
    )
    parameters = {
        "oauth_consumer_key": "CK_1",
        "oauth_nonce": "00112233445566778899aabbccddeeff",
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": "1700000000",
        "oauth_token": "AT_1",
        "oauth_version": "1.0",
    }
    assert _signature(request, parameters, credentials) == b"Wl1MFd88BBe9uBsu4aS0nROPcOQ="


@pytest.mark.parametrize(
    "change",
    [
        {"oauth_nonce": None},
        {"oauth_token": None},
        {"oauth_consumer_key": ""},
        {"oauth_signature_method": "HMAC-SHA256"},
        {"oauth_signature_method": "PLAINTEXT"},
        {"oauth_version": "2.0"},
        {"oauth_timestamp": "yesterday"},
        {"oauth_callback": "oob"},
    ],
)
def test_a_malformed_oauth_request_gets_400(
    apple: FakeApple, server: Server, get_session: Send, change: dict[str, str | None]
) -> None:
    answer = get_session(apple.token(server), **change)
    assert (answer.status_code, answer.text) == (400, "oauth_problem_adviceBad Request")


@pytest.mark.parametrize(
    "header", [None, "Basic YTpi", "OAuth", 'OAuth oauth_nonce="1", oauth_nonce="2"', "OAuth x=y"]
)
def test_headers_of_another_form_and_duplicates_get_400(
    server: Server, http: httpx.Client, header: str | None
) -> None:
    answer = http.get("/session", headers={} if header is None else {"Authorization": header})
    assert (answer.status_code, answer.text) == (400, "oauth_problem_adviceBad Request")


def test_one_duplicate_in_a_good_header_gets_400(
    apple: FakeApple, server: Server, http: httpx.Client, sign: Callable[..., str]
) -> None:
    twice = {"Authorization": sign(apple.token(server)) + ', oauth_version="1.0"'}
    assert http.get("/session", headers=twice).text == "oauth_problem_adviceBad Request"


def test_a_query_is_signed_too(
    apple: FakeApple, server: Server, http: httpx.Client, sign: Callable[..., str]
) -> None:
    fields = {"Authorization": sign(apple.token(server), x="a b").replace(', x="a%20b"', "")}
    assert http.get("/session", headers=fields, params={"x": "a c"}).text == "signature_invalidUnauthorized"
    assert http.get("/session", headers=fields, params={"x": "a b"}).status_code == 200


@pytest.mark.parametrize("change", [{"oauth_consumer_key": "CK_other"}, {"oauth_token": "AT_other"}])
def test_unknown_keys_are_rejected(
    apple: FakeApple, server: Server, get_session: Send, change: dict[str, str]
) -> None:
    answer = get_session(apple.token(server), **change)
    assert (answer.status_code, answer.text) == (401, "token_rejectedUnauthorized")


def test_a_revoked_token_is_rejected_and_its_sessions_end(
    apple: FakeApple, server: Server, get_session: Send, call: Send, open_session: Callable[..., str]
) -> None:
    session = open_session()
    apple.faults.revoke_token()
    assert get_session(apple.token(server)).text == "token_rejectedUnauthorized"
    assert call("GET", "/account", session=session).status_code == 403
    apple.generate_token(server)
    assert get_session(apple.token(server)).status_code == 200


@pytest.mark.parametrize(
    "change", [{"consumer_secret": "CS_wrong"}, {"oauth_signature": "AAAA"}, {"oauth_signature": "é"}]
)
def test_wrong_signature_has_its_own_error(
    apple: FakeApple, server: Server, get_session: Send, change: dict[str, str]
) -> None:
    answer = get_session(apple.token(server), **change)
    assert (answer.status_code, answer.text) == (401, "signature_invalidUnauthorized")


def test_a_token_expires_by_the_clock_of_the_fake(
    apple: FakeApple, server: Server, get_session: Send, clock: FrozenClock
) -> None:
    token = apple.token(server)
    clock.advance(days=364)
    assert get_session(token).status_code == 200
    clock.advance(days=1)
    answer = get_session(token)
    assert (answer.status_code, answer.text) == (401, "token_expiredUnauthorized")


def test_nonce_is_accepted_once_per_timestamp(
    apple: FakeApple, server: Server, get_session: Send, clock: FrozenClock
) -> None:
    token = apple.token(server)
    assert get_session(token, oauth_nonce="same").status_code == 200
    assert get_session(token, oauth_nonce="same").status_code == 401
    clock.advance(1)
    assert get_session(token, oauth_nonce="same").status_code == 200


@pytest.mark.parametrize(("offset", "status"), [(-300, 200), (300, 200), (-301, 401), (301, 401)])
def test_timestamp_must_be_close_to_the_clock(
    apple: FakeApple, server: Server, get_session: Send, clock: FrozenClock, offset: int, status: int
) -> None:
    text = str(int(clock().timestamp()) + offset)
    assert get_session(apple.token(server), oauth_timestamp=text).status_code == status


@pytest.mark.parametrize(
    ("switch", "code"), [("remove_token_owner", "FORBIDDEN"), ("deny_access", "ACCESS_DENIED")]
)
def test_the_token_may_lose_its_rights(
    apple: FakeApple, server: Server, get_session: Send, switch: str, code: str
) -> None:
    getattr(apple.faults, switch)(server)
    answer = get_session(apple.token(server))
    assert (answer.status_code, answer.text) == (403, code)
    apple.faults.restore_access(server)
    assert get_session(apple.token(server)).status_code == 200


def test_terms_are_checked_after_the_token(apple: FakeApple, server: Server, get_session: Send) -> None:
    apple.faults.change_terms()
    assert get_session(apple.token(server), consumer_secret="wrong").text == "signature_invalidUnauthorized"
    answer = get_session(apple.token(server))
    assert (answer.status_code, answer.text) == (403, "T_C_NOT_SIGNED")
    apple.faults.accept_terms()
    assert get_session(apple.token(server)).status_code == 200


def test_terms_concern_one_organization(apple: FakeApple, get_session: Send) -> None:
    for name in ("Contoso", "Fabrikam"):
        apple.add_server(f"{name} server", organization=apple.add_organization(name))
    apple.faults.change_terms("Fabrikam")
    assert get_session(apple.token("Contoso server")).status_code == 200
    assert get_session(apple.token("Fabrikam server")).text == "T_C_NOT_SIGNED"


def test_each_session_is_new_and_older_ones_stay_valid(
    apple: FakeApple, server: Server, open_session: Callable[..., str], call: Send
) -> None:
    first, second = open_session(), open_session()
    assert first != second
    assert re.fullmatch("[0-9A-F]{128}", first)
    assert call("GET", "/account", session=first).status_code == 200
    apple.settings.single_session = True
    third = open_session()
    assert [call("GET", "/account", session=value).status_code for value in (first, second, third)] == [
        403,
        403,
        200,
    ]


def test_every_call_needs_a_session(call: Send, server: Server) -> None:
    answer = call("GET", "/account", session="")
    assert (answer.status_code, answer.text) == (401, "UNAUTHORIZED")


def test_a_session_ends_and_an_unknown_one_is_forbidden(
    apple: FakeApple, server: Server, call: Send, clock: FrozenClock, open_session: Callable[..., str]
) -> None:
    session = open_session()
    clock.advance(minutes=3)
    answer = call("GET", "/account", session=session)
    assert (answer.status_code, answer.text) == (401, "UNAUTHORIZED")
    answer = call("GET", "/account", session="0" * 128)
    assert (answer.status_code, answer.text) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("switch", "code"), [("forget_sessions", "FORBIDDEN"), ("expire_sessions", "UNAUTHORIZED")]
)
def test_sessions_can_be_lost_on_purpose(
    apple: FakeApple, call: Send, open_session: Callable[..., str], switch: str, code: str
) -> None:
    apple.add_server("hq")
    apple.add_server("branch")
    lost, kept = open_session("hq"), open_session("branch")
    getattr(apple.faults, switch)("hq")
    assert call("GET", "/account", session=lost).text == code
    assert call("GET", "/account", session=kept).status_code == 200


def test_a_session_of_another_token_is_forbidden(
    apple: FakeApple, server: Server, call: Send, open_session: Callable[..., str]
) -> None:
    session = open_session()
    apple.generate_token(server)
    answer = call("GET", "/account", session=session)
    assert (answer.status_code, answer.text) == (403, "FORBIDDEN")


def test_session_belongs_to_its_server(
    apple: FakeApple, call: Send, open_session: Callable[..., str]
) -> None:
    apple.add_server("hq")
    apple.add_server("branch")
    assert call("GET", "/account", session=open_session("branch")).json()["server_name"] == "branch"


def test_a_success_may_carry_a_new_session(
    apple: FakeApple, server: Server, call: Send, open_session: Callable[..., str]
) -> None:
    old = open_session()
    apple.faults.rotate_session()
    new = call("GET", "/account", session=old).headers["X-ADM-Auth-Session"]
    assert new != old
    assert [call("GET", "/account", session=value).status_code for value in (old, old, new, new)] == [
        200,
        401,
        200,
        200,
    ]
    assert "X-ADM-Auth-Session" not in call("GET", "/account", session=new).headers


def test_an_error_may_carry_a_new_session_and_the_old_one_may_have_a_grace_time(
    apple: FakeApple, server: Server, call: Send, open_session: Callable[..., str], clock: FrozenClock
) -> None:
    old = open_session()
    apple.faults.rotate_session(None, grace_seconds=10)
    answer = call("POST", "/devices/sync", {}, session=old)
    assert answer.status_code == 400
    assert call("GET", "/account", session=answer.headers["X-ADM-Auth-Session"]).status_code == 200
    apple.faults.rotate_session(0)
    clock.advance(9)
    assert call("GET", "/account", session=old).status_code == 200
    clock.advance(1)
    assert call("GET", "/account", session=old).status_code == 401


@pytest.mark.parametrize(("session_blocked", "calls_blocked"), [(False, True), (True, False)])
def test_terms_may_change_for_calls_or_for_new_sessions_only(
    apple: FakeApple,
    server: Server,
    call: Send,
    get_session: Send,
    open_session: Callable[..., str],
    session_blocked: bool,
    calls_blocked: bool,
) -> None:
    session = open_session()
    apple.faults.change_terms(server.organization, session=session_blocked, calls=calls_blocked)
    ordinary, new = call("GET", "/account", session=session), get_session(apple.token(server))
    assert (ordinary.status_code, new.status_code) == (
        403 if calls_blocked else 200,
        403 if session_blocked else 200,
    )
    assert "T_C_NOT_SIGNED" in (ordinary.text, new.text)


def test_an_agent_is_required_on_device_calls(server: Server, call: Send) -> None:
    for agent in ("", "  "):
        answer = call("POST", "/server/devices", {}, headers={"User-Agent": agent})
        assert (answer.status_code, answer.text) == (400, "USER_AGENT_MISSING")
        assert call("GET", "/account", headers={"User-Agent": agent}).status_code == 200


def test_the_agents_of_http_libraries_are_refused_from_a_version_on(
    apple: FakeApple, server: Server, call: Send
) -> None:
    agent = {"User-Agent": "python-HTTPX/0.28"}
    assert call("POST", "/server/devices", {}, headers=agent, version=3).status_code == 200
    answer = call("POST", "/server/devices", {}, headers=agent, version=10)
    assert (answer.status_code, answer.text) == (400, "USER_AGENT_INVALID")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_production_has_bare_codes_and_assigns_with_both_methods(
    apple: FakeApple, server: Server, call: Send, define: Callable[..., str], method: str
) -> None:
    serials = apple.add_devices(1, server=server)
    body = {"profile_uuid": define(), "devices": serials}
    assert call(method, "/profile/devices", body).json()["devices"] == {serials[0]: "SUCCESS"}
    assert call("POST", "/devices/sync", {}).content == b"CURSOR_REQUIRED"


def test_a_success_has_the_literal_content_type(server: Server, call: Send) -> None:
    answer = call("GET", "/account")
    assert answer.headers["Content-Type"] == "application/json;charset=UTF8"
    assert answer.headers["Date"] == "Wed, 01 Jan 2025 00:00:00 GMT"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/devices/sync", 405),
        ("PATCH", "/profile/devices", 405),
        ("POST", "/session", 405),
        ("HEAD", "/account", 405),
        ("GET", "/", 404),
        ("GET", "/sessions", 404),
        ("POST", "/devices/disowned", 404),
    ],
)
def test_wrong_methods_and_unknown_paths_have_different_errors(
    apple: FakeApple, server: Server, call: Send, method: str, path: str, status: int
) -> None:
    assert call(method, path).status_code == status
    assert apple.requests[-1].endpoint == f"{method} {path}"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b"\xff", b'{"a": "\xff"}', b"{'a': 1}", b"[" * 100_000]
)
def test_a_body_that_is_no_json_object_is_malformed(server: Server, call: Send, body: bytes) -> None:
    answer = call("POST", "/devices/sync", content=body)
    assert (answer.status_code, answer.text) == (400, "MALFORMED_REQUEST_BODY")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/server/devices", {"limit": "100"}),
        ("/server/devices", {"limit": True}),
        ("/server/devices", {"cursor": 1}),
        ("/devices", {"devices": "SERIAL"}),
        ("/devices", {"devices": [1]}),
        ("/profile/devices", {"profile_uuid": 1, "devices": ["X"]}),
        ("/profile", {"profile_name": 1, "url": "https://x.example"}),
        ("/profile", {"profile_name": "x", "url": "https://x.example", "is_supervised": "yes"}),
        ("/profile", {"profile_name": "x", "url": "https://x.example", "skip_setup_items": ["Siri", 1]}),
    ],
)
def test_a_value_of_the_wrong_type_is_malformed(
    server: Server, call: Send, path: str, body: dict[str, object]
) -> None:
    assert call("POST", path, body).text == "MALFORMED_REQUEST_BODY"


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        (None, False),
        ("text/plain", False),
        ("application/json-seq", False),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json;charset=UTF8", True),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/devices", 200),
        ("POST", "/server/devices", 200),
        ("PUT", "/profile/devices", 404),
        ("DELETE", "/profile/devices", 200),
    ],
)
def test_bodies_without_a_json_content_type_can_be_refused(
    apple: FakeApple,
    server: Server,
    call: Send,
    content_type: str | None,
    is_json: bool,
    method: str,
    path: str,
    allowed: int,
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = b'{"devices": ["A"], "profile_uuid": "B"}'
    assert call(method, path, content=body, headers=headers).status_code == allowed
    apple.settings.requires_json_type = True
    answer = call(method, path, content=body, headers=headers)
    assert answer.status_code == (allowed if is_json else 415)
    assert call("GET", "/account").status_code == 200, "no body, no type"
