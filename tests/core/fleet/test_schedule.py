"""What is due when: a table of cases, and ten simulated days in which no limit is broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade import errors
from pyade.core.fleet.records import SyncPhase, SyncState
from pyade.core.fleet.schedule import Due, Pace, RetryState, Work, next_due
from pyade.core.fleet.suspension import SUSPENDING_ERRORS, suspend
from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy, Trigger
from pyade.core.token import Token

T0 = datetime(2025, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLICY, PACE = SyncPolicy(), Pace()
IDLE = SyncState(
    phase=SyncPhase.SYNC, cursor="c", full_sync=1, full_sync_at=T0, run_at=T0, succeeded_at=T0 + MINUTE
)
TERMS = errors.TermsError("sync devices", 403, "T_C_NOT_SIGNED")
TOKEN = Token(
    name="hq",
    consumer_key="ck",
    consumer_secret="cs",
    access_token="at",
    access_secret="as",
    access_token_expiry=None,
    apple_id="it@contoso.com",
    consented_at=T0,
)
FAILED = attrs.evolve(IDLE, succeeded_at=None, last_error="ServerError: 500", failures=1)
SUSPENDED, _ = suspend(FAILED, TOKEN, TERMS)
RESET = errors.TransportError("sync devices", "connection reset")

CASES: dict[str, tuple[SyncState, RetryState, timedelta, Work, timedelta]] = {
    "a new token is synced immediately, without jitter": (
        SyncState(), RetryState(jitter=1.0), timedelta(0), Work.SYNC, timedelta(0),
    ),
    "also before an assignment that is due at the same time": (
        SyncState(), RetryState(assign_at=T0), timedelta(0), Work.SYNC, timedelta(0),
    ),
    "the next one is due after a day": (
        IDLE, RetryState(), HOUR, Work.SYNC, DAY,
    ),
    "and the jitter": (
        IDLE, RetryState(jitter=0.5), HOUR, Work.SYNC, DAY + 7.5 * MINUTE,
    ),
    "also when it is asked for within the jitter after the start of the run": (
        IDLE, RetryState(jitter=0.5), MINUTE, Work.SYNC, DAY + 7.5 * MINUTE,
    ),
    "also when it is asked for within the jitter before its time": (
        IDLE, RetryState(jitter=1.0), DAY + MINUTE, Work.SYNC, DAY + 15 * MINUTE,
    ),
    "what is overdue is due now": (
        IDLE, RetryState(jitter=1.0), 9 * DAY, Work.SYNC, 9 * DAY,
    ),
    "a run that reached its time limit is continued immediately": (
        attrs.evolve(IDLE, succeeded_at=None, continues=True),
        RetryState(jitter=1.0), 15 * MINUTE, Work.SYNC, 15 * MINUTE,
    ),
    "a run under way may have died, so that its lease is tried": (
        attrs.evolve(IDLE, succeeded_at=None, running_since=T0),
        RetryState(), MINUTE, Work.SYNC, MINUTE,
    ),
    "but not before the lease that was held ends": (
        attrs.evolve(IDLE, succeeded_at=None, running_since=T0),
        RetryState(not_before=T0 + 2 * MINUTE), MINUTE, Work.SYNC, 2 * MINUTE,
    ),
    "after a failure the run is repeated after the distance of a request": (
        FAILED, RetryState(), MINUTE, Work.SYNC, 15 * MINUTE,
    ),
    "which doubles with each further failure": (
        attrs.evolve(FAILED, failures=4), RetryState(), MINUTE, Work.SYNC, 2 * HOUR,
    ),
    "up to the automatic interval": (
        attrs.evolve(FAILED, failures=400), RetryState(), MINUTE, Work.SYNC, DAY,
    ),
    "when Apple asked for a pause, that holds": (
        attrs.evolve(FAILED, not_before=T0 + 7 * HOUR), RetryState(), MINUTE, Work.SYNC, 7 * HOUR,
    ),
    "but not for longer than a day": (
        attrs.evolve(FAILED, not_before=T0 + 7 * DAY), RetryState(), MINUTE, Work.SYNC, DAY,
    ),
    "of two back-offs the longer one holds": (
        FAILED, RetryState(failures=2, not_before=T0 + 30 * MINUTE), MINUTE, Work.SYNC, 30 * MINUTE,
    ),
    "a back-off that is longer than the policy's time holds": (
        SyncState(), RetryState(failures=3, not_before=T0 + HOUR), MINUTE, Work.SYNC, HOUR,
    ),
    "a back-off from before a clock was moved back ends after the longest one": (
        SyncState(), RetryState(failures=3, not_before=T0 + 99 * DAY), MINUTE, Work.SYNC, DAY + MINUTE,
    ),
    "an assignment has a time of its own": (
        IDLE, RetryState(jitter=1.0, assign_at=T0 + 2 * HOUR), HOUR, Work.ASSIGN, 2 * HOUR,
    ),
    "and waits for the back-off, too": (
        IDLE, RetryState(assign_at=T0, not_before=T0 + 3 * HOUR), HOUR, Work.ASSIGN, 3 * HOUR,
    ),
    "an assignment that is due after the next sync comes with it": (
        IDLE, RetryState(assign_at=T0 + 25 * HOUR), HOUR, Work.SYNC, DAY,
    ),
    "a suspended token is tried again after a day": (
        SUSPENDED, RetryState(), HOUR, Work.SYNC, DAY,
    ),
    "and never with an assignment alone": (
        SUSPENDED, RetryState(assign_at=T0), HOUR, Work.SYNC, DAY,
    ),
    "unless it was renewed, whichever worker suspended it": (
        attrs.evolve(SUSPENDED, suspended_with="others"), RetryState(jitter=1.0),
        MINUTE, Work.SYNC, 15 * MINUTE,
    ),
    "a renewed token keeps the distance of a request only": (
        SUSPENDED, RetryState(renewed=True, jitter=1.0), MINUTE, Work.SYNC, 15 * MINUTE,
    ),
}  # fmt: skip


@each("case", CASES)
def test_what_is_due_and_when(case: str) -> None:
    state, retry_state, asked_after, work, due_after = CASES[case]
    due = _due(state, retry_state, T0 + asked_after)
    assert (due.work, due.at - T0) == (work, due_after)
    assert due.automatic is not (retry_state.renewed or state.suspended_with == "others")


def _due(state: SyncState, retry_state: RetryState, now: datetime) -> Due:
    return next_due(TOKEN, state, retry_state, policy=POLICY, pace=PACE, now=now)


@each("error", SUSPENDING_ERRORS)
def test_a_suspended_token_is_tried_at_the_normal_interval(error: type) -> None:
    state, _ = suspend(FAILED, TOKEN, error("sync", 403))
    retry_state = RetryState(renewed=True).failed(error("sync", 403), Work.SYNC, T0, PACE)
    assert _due(state, retry_state, T0 + MINUTE) == Due(work=Work.SYNC, at=T0 + DAY)


def test_a_back_off_doubles_up_to_its_bound() -> None:
    retry_state, waits = RetryState(), []
    for _ in range(100):
        retry_state = retry_state.failed(RESET, Work.SYNC, T0, PACE)
        assert retry_state.not_before is not None
        waits.append(retry_state.not_before - T0)
    assert waits[:4] == [15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR]
    assert set(waits[7:]) == {DAY}


def test_a_failed_assignment_does_not_put_off_the_next_sync() -> None:
    retry_state = RetryState(failures=6).failed(RESET, Work.ASSIGN, T0 + 20 * HOUR, PACE)
    due = _due(IDLE, retry_state, T0 + 20 * HOUR)
    assert (due.work, due.at) == (Work.SYNC, T0 + DAY)
    assert retry_state.assign_at == T0 + 36 * HOUR


def test_a_success_ends_the_back_off_and_so_does_a_renewal() -> None:
    failed = RetryState(jitter=0.1, renewed=True).failed(RESET, Work.SYNC, T0, PACE)
    assert failed.renewed
    assigned = failed.succeeded(synced=False, jitter=0.9, assign_at=None)
    assert assigned == RetryState(jitter=0.1, renewed=True)
    assert assigned.succeeded(synced=True, jitter=0.9, assign_at=T0) == RetryState(jitter=0.9, assign_at=T0)
    assert failed.replaced(assigns=False, now=T0) == RetryState(jitter=0.1, renewed=True)
    assert failed.replaced(assigns=True, now=T0).assign_at == T0


@each("wrong", [{"jitter": -MINUTE}, {"first_backoff": timedelta(0)}, {"look_every": timedelta(0)}])
def test_a_pace_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.PolicyError, match=next(iter(wrong))):
        Pace(**wrong)


class _Days:
    """Ten days of one token: what is due is done, with any outcome, and nothing else happens."""

    def __init__(self) -> None:
        self.now, self.state, self.retry_state = T0, SyncState(), RetryState(jitter=1.0)
        self.starts: list[datetime] = []
        self.fulls: list[datetime] = []

    def step(self, outcome: str, jitter: float) -> None:
        due = _due(self.state, self.retry_state, self.now)
        assert due.at >= self.now
        self.now = due.at
        if due.work is Work.SYNC:
            trigger = Trigger.AUTOMATIC if due.automatic else Trigger.REQUESTED
            decision = POLICY.decide(self.state, self.now, trigger=trigger)
            assert decision.action.sends_requests, "what is due is allowed"
            self._run(decision.action, outcome)
        if outcome in ("reset", "terms"):
            error = TERMS if outcome == "terms" else RESET
            self.retry_state = self.retry_state.failed(error, due.work, self.now, PACE)
            self.state, _ = suspend(self.state, TOKEN, error)
        else:
            at = self.now + HOUR if outcome == "assign later" else None
            self.retry_state = self.retry_state.succeeded(
                synced=due.work is Work.SYNC, jitter=jitter, assign_at=at
            )

    def _run(self, action: SyncAction, outcome: str) -> None:
        self.starts.append(self.now)
        began: dict[str, Any] = {"run_at": self.now, "continues": False, "last_error": ""}
        if action is SyncAction.FULL:
            self.fulls.append(self.now)
            began |= {"full_sync_at": self.now, "listing_since": self.now, "cursor": None}
            began["phase"] = SyncPhase.FETCH
        self.now += MINUTE * (15 if outcome == "time limit" else 1)
        ended: dict[str, Any] = {"cursor": "c"}
        if outcome == "time limit":
            ended["continues"] = True
        elif outcome in ("reset", "terms"):
            ended |= {"last_error": "failed", "failures": self.state.failures + 1}
        elif outcome != "killed":
            ended |= {"succeeded_at": self.now, "listing_since": None, "phase": SyncPhase.SYNC}
            ended |= {"failures": 0, "suspended": ""}
        self.state = attrs.evolve(self.state, **{**began, **ended})


ENDINGS = st.sampled_from(["good", "good", "good", "assign later", "reset", "terms", "time limit", "killed"])


@given(st.lists(st.tuples(ENDINGS, st.floats(0, 1)), min_size=40, max_size=40))
def test_ten_days_of_any_outcomes_break_no_limit_and_skip_no_token(script: list[tuple[str, float]]) -> None:
    days = _Days()
    for outcome, jitter in script:
        if days.now - T0 > 10 * DAY:
            break
        days.step(outcome, jitter)
    assert all(b - a >= POLICY.request_cooldown for a, b in pairwise(days.starts))
    assert all(b - a >= POLICY.full_interval for a, b in pairwise(days.fulls))
    # Also after failures: only a run's own length may come on top.
    longest = POLICY.automatic_interval + PACE.jitter + POLICY.time_limit
    assert all(b - a <= longest for a, b in pairwise([T0, *days.starts]))
