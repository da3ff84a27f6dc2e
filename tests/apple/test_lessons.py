"""Lessons L33 to L46 from the field: each test would have caught what went wrong elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from pyade import errors
from pyade.apple import Client, SessionCache
from pyade.core.token import Token
from pyade.crypto.keypair import TokenKeypair
from pyade.testing import FakeApple, Fault, FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple

OK = httpx.Response(200, json={"server_name": "dev"})


def refused(status: int, text: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(status, text=text, headers=headers)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.lesson(33)
def test_a_permanent_refusal_ends_after_one_replay(client: Driver, apple: ScriptedApple, status: int) -> None:
    apple.script = [refused(status, "FORBIDDEN")] * 50
    with pytest.raises(errors.SessionError):
        client.account()
    assert (apple.sessions, len(apple.calls)) == (2, 2)


@pytest.mark.parametrize("code", ["ACCESS_DENIED", "T_C_NOT_SIGNED"])
@pytest.mark.lesson(33)
def test_what_a_person_must_settle_is_not_replayed(client: Driver, apple: ScriptedApple, code: str) -> None:
    apple.script = [refused(403, code)] * 50
    with pytest.raises(errors.AppleError):
        client.account()
    assert (apple.sessions, len(apple.calls)) == (1, 1)


@pytest.mark.parametrize("at_session", [True, False])
@pytest.mark.lesson(34)
def test_terms_name_the_organization_and_the_portal_user(
    client: Driver, apple: ScriptedApple, at_session: bool
) -> None:
    (apple.session_script if at_session else apple.script).append(refused(403, "T_C_NOT_SIGNED"))
    with pytest.raises(errors.TermsError) as caught:
        client.account()
    for part in ("Contoso", "it@contoso.com", "the token is good", "administrator"):
        assert part in str(caught.value)


@pytest.mark.lesson(34)
def test_terms_name_the_organization_of_the_account_that_was_read(
    make_client: Callable[..., Driver], apple: ScriptedApple
) -> None:
    client = make_client()
    names = {"org_name": "Contoso Europe", "admin_id": "new-admin@contoso.com"}
    apple.script = [httpx.Response(200, json=names), refused(403, "T_C_NOT_SIGNED"), refused(401)]
    client.account()
    for _ in range(2):
        with pytest.raises(errors.TermsError, match=r"Contoso Europe .*new-admin@contoso\.com"):
            client.account()
        apple.session_script = [refused(403, "T_C_NOT_SIGNED")]


@pytest.mark.lesson(34)
def test_expiry_is_not_mistaken_for_terms(
    make_client: Callable[..., Driver], apple: ScriptedApple, expired_token: Token
) -> None:
    apple.session_script = [refused(401, "token_expiredUnauthorized")]
    with pytest.raises(errors.TokenExpiredError):
        make_client().account()
    with pytest.raises(errors.TokenExpiredError):
        make_client(token=expired_token).account()


@pytest.mark.lesson(35)
def test_the_next_call_after_acceptance_works_with_the_same_session(
    client: Driver, apple: ScriptedApple
) -> None:
    apple.script = [OK, refused(403, "T_C_NOT_SIGNED"), refused(403, "T_C_NOT_SIGNED"), OK]
    client.account()
    for _ in range(2):
        with pytest.raises(errors.TermsError):
            client.account()
    assert client.account().server_name == "dev"
    assert apple.used_sessions == ["SESSION-top-secret-1"] * 4


@pytest.mark.lesson(36)
def test_one_organizations_terms_do_not_stop_another(
    make_client: Callable[..., Driver], clock: FrozenClock
) -> None:
    fake = FakeApple(clock=clock)
    one = fake.add_server("one", organization=fake.add_organization("One"))
    two = fake.add_server("two", organization=fake.add_organization("Two"))
    sessions = SessionCache()
    first, second = (
        make_client(token=fake.token(server, name=server.name), transport=fake.transport(), sessions=sessions)
        for server in (one, two)
    )
    fake.script("GET /session", Fault.refused("T_C_NOT_SIGNED"))
    with pytest.raises(errors.TermsError):
        first.account()
    assert second.account().server_name == "two"


@pytest.mark.lesson(37)
def test_a_removed_portal_user_is_a_typed_error_and_the_token_stays_usable_offline(
    client: Driver, apple: ScriptedApple
) -> None:
    apple.session_script = [refused(403, "FORBIDDEN")]
    with pytest.raises(errors.TokenOwnerError, match="deleted, lost the role") as caught:
        client.account()
    assert "downloads a new server token" in caught.value.next_step
    assert client.token_name == "hq"


@pytest.mark.lesson(38)
def test_superseded_and_revoked_tokens_are_told_apart(client: Driver, apple: ScriptedApple) -> None:
    apple.session_script = [
        refused(401, "signature_invalidUnauthorized"),
        refused(401, "token_rejectedUnauthorized"),
    ]
    with pytest.raises(errors.TokenSupersededError, match="a newer token was generated"):
        client.account()
    with pytest.raises(errors.TokenRejectedError, match="revoked"):
        client.account()


@pytest.mark.lesson(39)
def test_a_malformed_oauth_request_is_an_error_of_the_configuration(
    client: Driver, apple: ScriptedApple
) -> None:
    apple.session_script = [refused(400, "oauth_problem_adviceBad Request")]
    with pytest.raises(errors.OAuthRequestError, match="check the token file") as caught:
        client.account()
    assert (caught.value.status, caught.value.code) == (400, "oauth_problem_advice")


@pytest.mark.lesson(40)
def test_a_new_token_is_used_without_a_restart(
    make_client: Callable[..., Driver], clock: FrozenClock
) -> None:
    fake = FakeApple(clock=clock)
    fake.add_server("hq")
    current = [fake.token()]
    client = make_client(token=lambda: current[0], transport=fake.transport())
    client.account()
    fake.generate_token()
    current[0] = fake.token()
    clock.advance(minutes=10)
    assert client.account().server_name == "hq"


@pytest.mark.lesson(41)
def test_concurrent_callers_do_not_race_for_sessions(clock: FrozenClock) -> None:
    fake = FakeApple(clock=clock)
    fake.add_server("hq")
    fake.settings.single_session = True
    with (
        Client(fake.token(), transport=fake.transport(), clock=clock) as client,
        ThreadPoolExecutor(20) as pool,
    ):
        names = list(pool.map(lambda _number: client.account().server_name, range(20)))
    assert names == ["hq"] * 20
    assert fake.counts["GET /session"] == 1


@pytest.mark.lesson(42)
def test_a_refused_user_agent_says_what_to_do(make_client: Callable[..., Driver], clock: FrozenClock) -> None:
    fake = FakeApple(clock=clock)
    fake.add_devices(1, server=fake.add_server("hq"))
    bad = make_client(token=fake.token(), transport=fake.transport(), user_agent="python-httpx/0.28")
    with pytest.raises(errors.UserAgentError, match="set user_agent="):
        bad.fetch_devices()
    ours = make_client(token=fake.token(), transport=fake.transport())
    assert len(ours.fetch_devices().devices) == 1


@pytest.mark.lesson(43)
def test_a_replay_sends_the_same_body(client: Driver, apple: ScriptedApple) -> None:
    done = {"devices": {"A": "SUCCESS"}}
    apple.script = [refused(401), httpx.Response(200, json=done)]
    client.assign_profile("P", ["A"])
    first, second = apple.calls
    assert first.content == second.content == msgspec.json.encode({"profile_uuid": "P", "devices": ["A"]})
    assert first.headers["Content-Length"] == second.headers["Content-Length"] == str(len(first.content))


@pytest.mark.parametrize("value", ["30", "Sun, 01 Mar 2026 12:00:30 GMT"])
@pytest.mark.lesson(44)
def test_a_rate_limit_is_waited_for_raised_and_forgotten(
    make_client: Callable[..., Driver], apple: ScriptedApple, clock: FrozenClock, value: str
) -> None:
    limited = refused(429, "TOO_MANY_REQUESTS", **{"Retry-After": value})
    apple.script = [limited, OK]
    assert make_client().account().server_name == "dev"
    assert clock.sleeps == [30.0]
    apple.script = [refused(429, "TOO_MANY_REQUESTS", **{"Retry-After": "3600"}), OK]
    client = make_client()
    with pytest.raises(errors.RateLimitError) as caught:
        client.account()
    assert caught.value.retry_after_s == 3600.0
    assert client.account().server_name == "dev"


@pytest.mark.parametrize("form", [{}, {"wrap_json_at": 1}, {"wrap_json_at": 7}, {"markers": False}])
@pytest.mark.lesson(45)
def test_markers_around_the_token_go_and_nothing_else(clock: FrozenClock, form: dict[str, Any]) -> None:
    fake = FakeApple(clock=clock)
    fake.add_server("hq")
    keypair = TokenKeypair.generate("Contoso MDM", now=clock())
    data = fake.issue_token("hq", keypair.certificate_pem, **form)
    token = Token.from_p7m(data, keypair, name="hq", apple_id="it@contoso.com", consented_at=clock())
    expected = fake.token("hq")
    for name in ("consumer_key", "consumer_secret", "access_token", "access_secret", "access_token_expiry"):
        assert getattr(token, name) == getattr(expected, name)
    with Client(token, transport=fake.transport(), clock=clock) as client:
        assert client.account().server_name == "hq"


@pytest.mark.lesson(46)
def test_an_expired_token_fails_locally_with_its_date(
    make_client: Callable[..., Driver], apple: ScriptedApple, expired_token: Token
) -> None:
    client = make_client(token=expired_token)
    with pytest.raises(errors.TokenExpiredError, match=r"expired at 2026-02-01T00:00:00\+00:00") as caught:
        client.account()
    assert caught.value.status == 0
    assert not apple.requests


@pytest.mark.lesson(46)
def test_a_token_expires_in_its_very_second(
    make_client: Callable[..., Driver], apple: ScriptedApple, clock: FrozenClock, token: Token
) -> None:
    assert token.access_token_expiry == datetime(2026, 12, 1, tzinfo=UTC)
    almost = (datetime(2026, 12, 1, tzinfo=UTC) - clock()).total_seconds() - 1
    clock.advance(almost)
    client = make_client()
    apple.script = [OK]
    client.account()
    clock.advance(1)
    with pytest.raises(errors.TokenExpiredError):
        client.account()
