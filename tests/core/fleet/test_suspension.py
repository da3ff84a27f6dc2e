"""When a token waits for an administrator, and that one event says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import attrs
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade import errors
from pyade.core.fleet.events import EventKind
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.suspension import (
    SUSPENDING_ERRORS,
    remind,
    resume,
    suspend,
    suspended_reason,
    was_renewed,
)
from pyade.core.token import REMINDER_DAYS, Token

T0 = datetime(2025, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TOKEN = Token(
    name="hq",
    consumer_key="ck",
    consumer_secret="cs",
    access_token="at",
    access_secret="as",
    access_token_expiry=T0 + 60 * DAY,
    apple_id="it@contoso.com",
    consented_at=T0,
)
RENEWED = attrs.evolve(TOKEN, access_secret="another")
TERMS = errors.TermsError("sync devices", 403, "T_C_NOT_SIGNED")
SUPERSEDED = errors.TokenSupersededError("open a session", 401)
RESET = errors.TransportError("sync devices", "connection reset")


@each("error", SUSPENDING_ERRORS)
def test_an_error_for_an_administrator_suspends_the_token_and_says_why(error: type) -> None:
    state, (event,) = suspend(SyncState(), TOKEN, error("sync devices", 403))
    assert state.suspended.startswith(f"{error.__name__}: sync devices")
    assert suspended_reason(TOKEN, state) == state.suspended
    assert (event.kind, event.serials) == (EventKind.TOKEN_SUSPENDED, (None,))
    assert event.details == {"reason": state.suspended}


def test_it_makes_one_event_until_the_error_is_another_one() -> None:
    state, _ = suspend(SyncState(), TOKEN, TERMS)
    assert suspend(state, TOKEN, TERMS) == (state, ())
    assert suspend(state, TOKEN, RESET) == (state, ())
    state, (event,) = suspend(state, TOKEN, SUPERSEDED)
    assert "TokenSupersededError" in event.details["reason"]
    state, (event,) = resume(state)
    assert event.kind is EventKind.TOKEN_RESUMED
    assert (state, resume(state)) == (SyncState(), (state, ()))


def test_other_errors_suspend_no_token() -> None:
    assert suspend(SyncState(), TOKEN, RESET) == (SyncState(), ())


def test_a_renewed_token_has_other_secrets_and_is_not_suspended() -> None:
    state, _ = suspend(SyncState(), TOKEN, SUPERSEDED)
    assert not was_renewed(attrs.evolve(TOKEN, scope_tags={"new"}), state)
    assert was_renewed(RENEWED, state)
    assert suspended_reason(RENEWED, state) == ""
    again, events = suspend(state, RENEWED, SUPERSEDED)
    assert (events, suspended_reason(RENEWED, again)) == ((), state.suspended)
    assert not was_renewed(TOKEN, SyncState())


def test_a_fingerprint_holds_no_secret() -> None:
    assert TOKEN.fingerprint != RENEWED.fingerprint
    secrets = (TOKEN.consumer_secret, TOKEN.access_token)
    assert all(secret.reveal() not in TOKEN.fingerprint for secret in secrets)


def test_a_reminder_names_the_apple_id_and_what_to_do() -> None:
    now = T0 + 50 * DAY
    _, (event,) = remind(SyncState(), TOKEN, now)
    assert event.kind is EventKind.TOKEN_EXPIRING
    assert event.details["days"] == 14
    assert event.details["apple_id"] == "it@contoso.com"
    assert event.details["expires_at"] == (T0 + 60 * DAY).isoformat()
    assert "it@contoso.com" in event.details["next_step"]


def test_a_token_without_an_expiry_and_an_expired_one_make_no_reminder() -> None:
    assert remind(SyncState(), attrs.evolve(TOKEN, access_token_expiry=None), T0) == (SyncState(), ())
    assert remind(SyncState(), TOKEN, T0 + 60 * DAY) == (SyncState(), ())
    assert remind(SyncState(), TOKEN, T0 + 29 * DAY) == (SyncState(), ())


def _reminders(checks: list[timedelta]) -> list[tuple[timedelta, int]]:
    state, sent = SyncState(), []
    for check in checks:
        state, groups = remind(state, TOKEN, T0 + check)
        sent += [(check, group.details["days"]) for group in groups]
    return sent


def test_frequent_checks_remind_at_each_of_the_days() -> None:
    checks = [timedelta(hours=hour) for hour in range(60 * 24)]
    assert _reminders(checks) == [(30 * DAY, 30), (46 * DAY, 14), (53 * DAY, 7), (59 * DAY, 1)]


@given(st.lists(st.timedeltas(timedelta(0), 61 * DAY), max_size=30).map(sorted))
def test_each_reminder_is_sent_once_and_none_that_is_past(checks: list[timedelta]) -> None:
    sent = _reminders(checks)
    assert all(a > b for (_, a), (_, b) in pairwise(sent))
    for check, days in sent:
        left = 60 * DAY - check
        assert timedelta(0) < left <= days * DAY
        assert not [nearer for nearer in REMINDER_DAYS if nearer < days and left <= nearer * DAY]


def test_a_renewed_token_gets_reminders_again() -> None:
    state, _ = remind(SyncState(), TOKEN, T0 + 59.5 * DAY)
    renewed = attrs.evolve(RENEWED, access_token_expiry=T0 + 400 * DAY)
    assert remind(state, renewed, T0 + 59.6 * DAY) == (state, ())
    _, (event,) = remind(state, renewed, T0 + 371 * DAY)
    assert event.details["days"] == 30
