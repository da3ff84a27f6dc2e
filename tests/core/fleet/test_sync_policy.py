"""The limits of a sync: every boundary to the second, and what no sequence of runs can break."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.fleet.records import SyncPhase, SyncState
from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy, Trigger, without_future_times
from pyade.errors import PolicyError

T0 = datetime(2025, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTES_15 = timedelta(minutes=15)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
POLICY = SyncPolicy()

IDLE = SyncState(
    phase=SyncPhase.SYNC,
    cursor="c",
    full_sync=1,
    full_sync_at=T0,
    run_at=T0,
    succeeded_at=T0 + SECOND,
)
LISTING = attrs.evolve(IDLE, phase=SyncPhase.FETCH, listing_since=T0, succeeded_at=None, last_error="reset")
FAILED = attrs.evolve(IDLE, last_error="500", succeeded_at=None)
LOST = attrs.evolve(IDLE, phase=SyncPhase.FETCH, cursor=None)

BOUNDARIES = {
    "a request waits 15 minutes from the start of the last run": (
        IDLE, {}, MINUTES_15, SyncAction.DELTA,
    ),
    "so it does after a failed run": (
        FAILED, {}, MINUTES_15, SyncAction.DELTA,
    ),
    "an automatic run waits 24 hours": (
        IDLE, {"trigger": Trigger.AUTOMATIC}, DAY, SyncAction.DELTA,
    ),
    "so it does after a failed run, too": (
        FAILED, {"trigger": Trigger.AUTOMATIC}, DAY, SyncAction.DELTA,
    ),
    "after a run that never came to an end an automatic one waits for the cooldown only": (
        attrs.evolve(IDLE, succeeded_at=T0 - DAY),
        {"trigger": Trigger.AUTOMATIC}, MINUTES_15, SyncAction.DELTA,
    ),
    "a full sync waits 7 days": (
        IDLE, {"full": True}, WEEK, SyncAction.FULL,
    ),
    "a list that was cut short is resumed after the cooldown": (
        LISTING, {}, MINUTES_15, SyncAction.RESUME_FULL,
    ),
    "asking for a full sync resumes it likewise": (
        LISTING, {"full": True}, MINUTES_15, SyncAction.RESUME_FULL,
    ),
    "a complete list that was not reconciled is resumed": (
        attrs.evolve(IDLE, listing_since=T0), {}, MINUTES_15, SyncAction.RESUME_FULL,
    ),
    "without a cursor a recovery is allowed after the cooldown": (
        LOST, {}, MINUTES_15, SyncAction.RECOVERY,
    ),
    "also if a full sync is asked for": (
        LOST, {"full": True}, MINUTES_15, SyncAction.RECOVERY,
    ),
    "a second recovery waits 24 hours": (
        attrs.evolve(LOST, recovery_at=T0), {}, DAY, SyncAction.RECOVERY,
    ),
    "a full sync that is due comes before a recovery": (
        attrs.evolve(LOST, recovery_at=T0, full_sync_at=T0 - WEEK + timedelta(hours=2)),
        {}, timedelta(hours=2), SyncAction.FULL,
    ),
    "a cursor that is repeated again and again counts as lost": (
        attrs.evolve(IDLE, repeats=3), {}, MINUTES_15, SyncAction.RECOVERY,
    ),
    "also in the middle of a list": (
        attrs.evolve(LISTING, repeats=3), {}, MINUTES_15, SyncAction.RECOVERY,
    ),
    "unless a recovery is not allowed yet": (
        attrs.evolve(IDLE, repeats=3, recovery_at=T0), {}, MINUTES_15, SyncAction.DELTA,
    ),
}  # fmt: skip


@each(("state", "asked", "wait", "action"), BOUNDARIES.values())
def test_boundaries_hold_to_the_second(
    state: SyncState, asked: dict[str, object], wait: timedelta, action: SyncAction
) -> None:
    """One second before, the answer is to wait until then; at that time, it is the action."""
    trigger = asked.get("trigger", Trigger.REQUESTED)
    full = bool(asked.get("full"))
    assert isinstance(trigger, Trigger)
    for early in (SECOND, wait):
        before = POLICY.decide(state, T0 + wait - early, trigger=trigger, full=full, early=False)
        assert (before.action, before.allowed_at) == (SyncAction.WAIT, T0 + wait)
        assert before.reason
    then = POLICY.decide(state, T0 + wait, trigger=trigger, full=full)
    assert (then.action, then.allowed_at) == (action, None)
    assert then.reason


@pytest.mark.parametrize("trigger", Trigger)
def test_the_first_sync_is_a_full_one_immediately(trigger: Trigger) -> None:
    assert POLICY.decide(SyncState(), T0, trigger=trigger).action is SyncAction.FULL


@each(
    ("age", "trigger", "action"),
    [
        (WEEK - SECOND, Trigger.AUTOMATIC, SyncAction.DELTA),
        (WEEK, Trigger.AUTOMATIC, SyncAction.FULL),
        (WEEK - SECOND, Trigger.REQUESTED, SyncAction.DELTA),
        (WEEK, Trigger.REQUESTED, SyncAction.FULL),
    ],
)
def test_a_run_becomes_a_full_one_after_7_days_unless_only_changes_are_wanted(
    age: timedelta, trigger: Trigger, action: SyncAction
) -> None:
    assert POLICY.decide(IDLE, T0 + age, trigger=trigger).action is action
    assert POLICY.decide(IDLE, T0 + age, trigger=trigger, full=False).action is SyncAction.DELTA


def test_without_a_cursor_the_full_list_is_fetched_whatever_is_wanted() -> None:
    assert POLICY.decide(LOST, T0 + WEEK, full=False).action is SyncAction.FULL
    assert POLICY.decide(LOST, T0 + DAY, full=False).action is SyncAction.RECOVERY
    assert POLICY.decide(SyncState(), T0, full=False).action is SyncAction.FULL


@each(
    ("policy", "state", "grace"),
    [
        (POLICY, IDLE, timedelta(minutes=5)),
        (POLICY, FAILED, timedelta(minutes=5)),
        (POLICY, attrs.evolve(FAILED, failures=20), timedelta(minutes=5)),
        (SyncPolicy(automatic_interval=timedelta(hours=1)), IDLE, timedelta(minutes=3)),
        (SyncPolicy(automatic_interval=timedelta(minutes=16)), IDLE, timedelta(seconds=48)),
        (SyncPolicy(automatic_interval=MINUTES_15), IDLE, timedelta(0)),
        (POLICY, attrs.evolve(FAILED, failures=1), timedelta(0)),
        (POLICY, attrs.evolve(FAILED, failures=3), timedelta(0)),
        (POLICY, attrs.evolve(IDLE, not_before=T0 + DAY), timedelta(0)),
        (POLICY, attrs.evolve(IDLE, not_before=T0 + DAY - SECOND), SECOND),
        (POLICY, attrs.evolve(LISTING, succeeded_at=T0 + SECOND), timedelta(minutes=5)),
    ],
)
def test_an_automatic_call_may_come_a_little_early(
    policy: SyncPolicy, state: SyncState, grace: timedelta
) -> None:
    """Five minutes, 5 % of the interval at most, and never within the cooldown or what Apple asked for."""
    asked = policy.decide(state, T0 + SECOND, trigger=Trigger.AUTOMATIC)
    due_at = asked.allowed_at
    assert due_at is not None
    too_early = policy.decide(state, due_at - grace - SECOND, trigger=Trigger.AUTOMATIC)
    assert (too_early.action, too_early.allowed_at) == (SyncAction.WAIT, due_at)
    assert policy.decide(state, due_at - grace, trigger=Trigger.AUTOMATIC).action.sends_requests
    assert policy.next_times(state, due_at - SECOND)[1] == due_at


@each("full", [None, True, False])
def test_no_request_may_come_early(full: bool | None) -> None:
    """Neither within the 15 minutes nor, for a full list, the 7 days."""
    assert POLICY.decide(IDLE, T0 + MINUTES_15 - SECOND, full=full).action is SyncAction.WAIT
    assert POLICY.decide(IDLE, T0 + WEEK - SECOND, full=True).action is SyncAction.WAIT


def test_a_run_is_under_way_until_its_time_limit_and_dead_from_then_on() -> None:
    state = attrs.evolve(IDLE, running_since=T0, succeeded_at=None)
    for age in (timedelta(0), MINUTES_15 - SECOND):
        running = POLICY.decide(state, T0 + age)
        assert running.action is SyncAction.RUNNING
        assert (running.running_since, running.allowed_at) == (T0, T0 + MINUTES_15)
        assert "2025-03-01T12:00:00" in running.reason
    for trigger in Trigger:
        assert POLICY.decide(state, T0 + MINUTES_15, trigger=trigger).action is SyncAction.DELTA


@each("trigger", Trigger)
@each(("state", "action"), [(IDLE, SyncAction.DELTA), (LISTING, SyncAction.RESUME_FULL)])
def test_a_continuation_waits_for_nothing(state: SyncState, action: SyncAction, trigger: Trigger) -> None:
    continued = attrs.evolve(state, continues=True, succeeded_at=None, last_error="")
    assert POLICY.decide(continued, T0 + SECOND, trigger=trigger).action is action


def test_only_the_continuation_is_exempt() -> None:
    """A full sync, or a recovery, is no continuation."""
    continued = attrs.evolve(IDLE, continues=True, full_sync_at=T0 - WEEK)
    assert POLICY.decide(continued, T0 + SECOND, full=True).allowed_at == T0 + MINUTES_15
    assert POLICY.decide(continued, T0 + SECOND, trigger=Trigger.AUTOMATIC).action is SyncAction.DELTA
    lost = attrs.evolve(LOST, continues=True)
    assert POLICY.decide(lost, T0 + SECOND).allowed_at == T0 + MINUTES_15


def test_the_next_times_of_both_triggers() -> None:
    assert POLICY.next_times(IDLE, T0 + SECOND) == (T0 + MINUTES_15, T0 + DAY)
    assert POLICY.next_times(IDLE, T0 + WEEK) == (T0 + WEEK, T0 + WEEK)


@each(
    ("state", "now", "action", "allowed_at"),
    [
        (LOST, T0, SyncAction.RECOVERY, None),
        (LOST, T0 + WEEK, SyncAction.FULL, None),
        (attrs.evolve(LOST, recovery_at=T0), T0 + SECOND, SyncAction.WAIT, T0 + DAY),
        (SyncState(), T0, SyncAction.FULL, None),
    ],
)
def test_a_list_within_a_run_needs_no_cooldown(
    state: SyncState, now: datetime, action: SyncAction, allowed_at: datetime | None
) -> None:
    decision = POLICY.decide_list(state, now)
    assert (decision.action, decision.allowed_at) == (action, allowed_at)


def test_a_clock_that_was_set_back_blocks_for_the_interval_only() -> None:
    """Times from the future count as now, and are stored so once they are too far off to be a skew."""
    future = T0 + timedelta(days=400)
    state = attrs.evolve(
        LISTING,
        full_sync_at=future,
        run_at=future,
        running_since=future,
        succeeded_at=future,
        recovery_at=future,
    )
    assert POLICY.decide(state, T0).allowed_at == T0 + MINUTES_15
    stored = without_future_times(state, T0)
    assert POLICY.decide(stored, T0 + MINUTES_15).action is SyncAction.RESUME_FULL
    assert POLICY.decide(attrs.evolve(stored, listing_since=None), T0 + DAY).action is SyncAction.RECOVERY


def test_a_small_skew_is_left_as_it_is() -> None:
    ahead = attrs.evolve(IDLE, run_at=T0 + timedelta(minutes=5))
    assert without_future_times(ahead, T0) is ahead
    assert POLICY.decide(ahead, T0).allowed_at == T0 + MINUTES_15
    assert (
        without_future_times(attrs.evolve(ahead, run_at=T0 + timedelta(minutes=5, seconds=1)), T0).run_at
        == T0
    )


@each(
    ("name", "value", "allowed"),
    [
        ("full_interval", timedelta(0), "longer than zero"),
        ("time_limit", -SECOND, "longer than zero"),
        ("max_pages_per_run", 0, "1 or more"),
        ("max_repeats", -1, "1 or more"),
    ],
)
def test_impossible_limits_are_refused(name: str, value: object, allowed: str) -> None:
    with pytest.raises(PolicyError, match=f"{name} is {value}.*{allowed}"):
        SyncPolicy(**{name: value})  # type: ignore[arg-type]


def test_of_two_limits_the_one_that_holds_longer_is_the_reason() -> None:
    decision = POLICY.decide(IDLE, T0 + SECOND, full=True)
    assert decision.allowed_at == T0 + WEEK
    assert "7 days" in decision.reason
    assert "15 minutes" in POLICY.decide(IDLE, T0 + SECOND).reason


def test_what_is_allowed_has_no_limit_as_its_reason() -> None:
    assert POLICY.decide(IDLE, T0 + WEEK, full=True).reason == "a full sync was requested"
    lost = attrs.evolve(LOST, recovery_at=T0 - DAY)
    assert POLICY.decide(lost, T0 + MINUTES_15).reason == "there is no usable cursor"
    assert "once in 24 hours" in POLICY.decide(attrs.evolve(LOST, recovery_at=T0), T0 + MINUTES_15).reason


@each(
    ("interval", "text"),
    [
        (timedelta(minutes=20), "20 minutes"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(seconds=90), "0:01:30"),
    ],
)
def test_reasons_name_the_interval_in_words(interval: timedelta, text: str) -> None:
    assert text in SyncPolicy(request_cooldown=interval).decide(IDLE, T0).reason


def test_an_automatic_run_keeps_a_cooldown_that_is_longer_than_its_interval() -> None:
    policy = SyncPolicy(automatic_interval=timedelta(minutes=5))
    decision = policy.decide(IDLE, T0 + timedelta(minutes=5), trigger=Trigger.AUTOMATIC)
    assert decision.allowed_at == T0 + MINUTES_15


# Any sequence of runs


@attrs.define
class World:
    """A model of runs that obey the policy, and of what they sent."""

    now: datetime = T0
    state: SyncState = attrs.Factory(SyncState)
    starts: list[tuple[datetime, SyncAction, Trigger, bool]] = attrs.Factory(list)

    def ask(self, trigger: Trigger, full: bool, outcome: str) -> None:
        decision = POLICY.decide(self.state, self.now, trigger=trigger, full=full)
        if decision.allowed_at is not None:
            later = POLICY.decide(self.state, decision.allowed_at, trigger=trigger, full=full)
            assert later.action is not SyncAction.RUNNING
            if decision.action is SyncAction.WAIT:
                assert decision.allowed_at > self.now
                assert later.action is not SyncAction.WAIT
        if decision.action.sends_requests:
            self.starts.append((self.now, decision.action, trigger, self.state.continues))
            self._run(decision.action, outcome)

    def _run(self, action: SyncAction, outcome: str) -> None:
        state = attrs.evolve(self.state, run_at=self.now, continues=False, last_error="")
        if action in (SyncAction.FULL, SyncAction.RECOVERY):
            state = attrs.evolve(state, phase=SyncPhase.FETCH, cursor=None, listing_since=self.now, repeats=0)
            if action is SyncAction.FULL:
                state = attrs.evolve(state, full_sync_at=self.now)
            else:
                state = attrs.evolve(state, recovery_at=self.now)
        in_list: dict[str, Any] = {"cursor": "c", "running_since": None}
        done = {**in_list, "phase": SyncPhase.SYNC, "listing_since": None, "succeeded_at": self.now}
        gone: dict[str, Any] = {"phase": SyncPhase.FETCH, "cursor": None, "listing_since": None}
        changes: dict[str, dict[str, Any]] = {
            "done": {**done, "repeats": 0},
            "error": {**in_list, "last_error": "500"},
            "killed": {"cursor": "c", "running_since": self.now},
            "interrupted": in_list,
            "time": {**in_list, "continues": True},
            "repeated": {**in_list, "last_error": "repeated", "repeats": state.repeats + 1},
            "lost": {**in_list, **gone, "last_error": "lost"},
        }
        self.state = attrs.evolve(state, **changes[outcome])


ENDINGS = ("done", "error", "killed", "interrupted", "time", "repeated", "lost")
STEPS = st.tuples(
    st.sampled_from([0, 1, 60, 899, 900, 3600, 86_399, 86_400, 3 * 86_400, 604_800]),
    st.sampled_from(Trigger),
    st.booleans(),
    st.sampled_from(ENDINGS),
)


@given(st.lists(STEPS, max_size=40))
def test_no_sequence_of_runs_breaks_a_limit(
    steps: list[tuple[int, Trigger, bool, str]],
) -> None:
    """Whatever is asked for and however runs end, the distances between them hold."""
    world = World()
    for seconds, trigger, full, outcome in steps:
        world.now += timedelta(seconds=seconds)
        world.ask(trigger, full, outcome)
    fulls = [at for at, action, _, _ in world.starts if action is SyncAction.FULL]
    recoveries = [at for at, action, _, _ in world.starts if action is SyncAction.RECOVERY]
    assert all(b - a >= WEEK for a, b in pairwise(fulls))
    assert all(b - a >= DAY for a, b in pairwise(recoveries))
    for (before, _, _, _), (at, action, _, continues) in pairwise(world.starts):
        assert at - before >= MINUTES_15 or (
            continues and action in (SyncAction.DELTA, SyncAction.RESUME_FULL)
        )


@given(st.lists(st.tuples(st.integers(0, 2 * 86_400), st.booleans()), max_size=40))
def test_automatic_runs_that_come_to_an_end_are_a_day_apart(steps: list[tuple[int, bool]]) -> None:
    world = World()
    for seconds, succeeds in steps:
        world.now += timedelta(seconds=seconds)
        world.ask(Trigger.AUTOMATIC, False, "done" if succeeds else "error")
    times = [at for at, *_ in world.starts]
    assert all(b - a >= DAY - timedelta(minutes=5) for a, b in pairwise(times))


DIED = attrs.evolve(IDLE, running_since=T0 + WEEK, run_at=T0 + WEEK, succeeded_at=T0)


@pytest.mark.parametrize("trigger", list(Trigger))
def test_the_holder_of_the_lease_continues_a_run_that_died(trigger: Trigger) -> None:
    """Immediately, as the same run, and not as the full sync that is due meanwhile."""
    now = T0 + WEEK + SECOND
    without = POLICY.decide(DIED, now, trigger=trigger)
    assert (without.action, without.allowed_at) == (SyncAction.RUNNING, T0 + WEEK + MINUTES_15)
    decision = POLICY.decide(DIED, now, trigger=trigger, has_lease=True)
    assert (decision.action, decision.running_since) == (SyncAction.DELTA, T0 + WEEK)
    listing = attrs.evolve(LISTING, running_since=T0)
    assert POLICY.decide(listing, T0 + SECOND, has_lease=True).action is SyncAction.RESUME_FULL


def test_a_run_that_died_longer_ago_than_the_time_limit_is_not_continued() -> None:
    decision = POLICY.decide(DIED, T0 + WEEK + MINUTES_15, full=False, has_lease=True)
    assert (decision.action, decision.running_since) == (SyncAction.DELTA, None)
    automatic = POLICY.decide(
        DIED, T0 + WEEK + MINUTES_15, trigger=Trigger.AUTOMATIC, full=True, has_lease=True
    )
    assert automatic.action is SyncAction.FULL


def test_a_lease_shortens_no_other_wait() -> None:
    assert POLICY.decide(IDLE, T0 + SECOND, has_lease=True).action is SyncAction.WAIT
    lost = attrs.evolve(LOST, running_since=T0, recovery_at=T0)
    assert POLICY.decide(lost, T0 + SECOND, has_lease=True).action is SyncAction.WAIT
    died_listing = attrs.evolve(IDLE, running_since=T0)
    assert POLICY.decide(died_listing, T0 + SECOND, full=True, has_lease=True).action is SyncAction.WAIT


def test_a_complete_list_that_released_nothing_is_resumed_until_a_full_sync_is_due() -> None:
    held = attrs.evolve(IDLE, listing_since=T0)
    assert POLICY.decide(held, T0 + WEEK - SECOND).action is SyncAction.RESUME_FULL
    assert POLICY.decide(held, T0 + WEEK).action is SyncAction.FULL


@each(
    ("unlisted", "fleet", "allowed"),
    [(0, 0, True), (19, 19, True), (20, 20, False), (20, 200, True), (21, 200, False), (100, 1_000, True)],
)
def test_a_release_is_believed_up_to_a_share_or_a_few(unlisted: int, fleet: int, allowed: bool) -> None:
    assert POLICY.may_release(unlisted, fleet) is allowed


@pytest.mark.parametrize("share", [-0.1, 10])
def test_a_share_is_a_part_of_one(share: float) -> None:
    with pytest.raises(PolicyError, match="max_release_share"):
        SyncPolicy(max_release_share=share)
