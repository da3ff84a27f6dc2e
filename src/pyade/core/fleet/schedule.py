"""Decide what is due next for a token, and when, from the stored sync state and a scheduler's retry state.

The rules of this file, all pure:

1. The store decides. ``SyncPolicy`` says from when an automatic run is allowed, also after failures; a
   scheduler only ever runs later than that, by its jitter or by a back-off of its own. It does not use the
   minutes by which a call may be early: a scheduler that checks every minute would be early every day.
2. A token that was never synced, or whose run was left unfinished at its time limit, is due immediately,
   without jitter.
3. A token that waits for an administrator is suspended, in the store: it is tried again at the normal
   interval, with a sync, and not sooner until the store has another token. Then an administrator has acted,
   and the interval of a request counts.
4. After a failure that is not in the store the token waits for a back-off that doubles up to a bound, and at
   least as long as Apple asked for.
5. If the clock was set back, no remembered time makes a token wait for longer than the longest wait.

Source: specification, "Sync restrictions"; the limits themselves are in ``fleet.sync_policy``.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.durations import check_not_negative, check_positive
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.suspension import SUSPENDING_ERRORS, suspended_reason, was_renewed
from pyade.core.fleet.sync_policy import LONGEST_RETRY_AFTER, SyncPolicy, Trigger
from pyade.core.token import Token
from pyade.errors import AppleError


class Work(enum.StrEnum):
    """What a scheduler does for a token: a sync, which an assignment follows, or an assignment alone."""

    SYNC = "sync"
    ASSIGN = "assign"


@check_arguments
@attrs.frozen(kw_only=True)
class Pace:
    """How a scheduler spreads and repeats its work.

    Attributes:
        jitter: Each interval is longer by a random part of this, so that tokens do not run together.
        first_backoff: How long a token waits after a failure; doubled with each further one.
        longest_backoff: The longest such wait.
        look_every: How often the store is checked for tokens that are new, renewed or removed.
    """

    jitter: timedelta = attrs.field(default=timedelta(minutes=15), validator=check_not_negative)
    first_backoff: timedelta = attrs.field(default=timedelta(minutes=15), validator=check_positive)
    longest_backoff: timedelta = attrs.field(default=timedelta(hours=24), validator=check_positive)
    look_every: timedelta = attrs.field(default=timedelta(minutes=1), validator=check_positive)

    def backoff(self, failures: int) -> timedelta:
        """Return how long to wait after so many consecutive failures, 1 or more."""
        # More than 20 doublings of a second are more than a day, and many more would overflow.
        doubled: timedelta = self.first_backoff * (1 << min(failures - 1, 20))
        return min(doubled, self.longest_backoff)  # rule 4


@attrs.frozen(kw_only=True)
class RetryState:
    """What a scheduler remembers about a token; lost with the process, which breaks no limit.

    Attributes:
        jitter: The part of ``Pace.jitter`` that is added this time, 0 to 1.
        failures: Consecutive failures.
        not_before: No work for this token before then, UTC.
        renewed: The token was changed in the store, and no run has used it yet.
        assign_at: When an assignment is due, UTC; None if the next sync brings one.
    """

    jitter: float = 0.0
    failures: int = 0
    not_before: datetime | None = None
    renewed: bool = False
    assign_at: datetime | None = None

    def succeeded(self, *, synced: bool, jitter: float, assign_at: datetime | None) -> RetryState:
        """Return the state after work without an error; an assignment leaves the next sync as it was."""
        if not synced:
            return RetryState(jitter=self.jitter, renewed=self.renewed, assign_at=assign_at)
        return RetryState(jitter=jitter, assign_at=assign_at)

    def failed(self, error: Exception, work: Work, now: datetime, pace: Pace) -> RetryState:
        """Return the state after *error* in *work*, with a back-off.

        A failed assignment does not delay the next sync. An assignment that was due, or was to follow the
        sync, is due after the wait.
        """
        failures = self.failures + 1
        again_at = now + max(pace.backoff(failures), _asked_for(error))
        return attrs.evolve(
            self,
            failures=failures,
            not_before=again_at if work is Work.SYNC else self.not_before,
            renewed=self.renewed and not isinstance(error, SUSPENDING_ERRORS),
            assign_at=again_at,
        )

    def replaced(self, *, assigns: bool, now: datetime) -> RetryState:
        """Return the state of a token that was renewed in the store: as that of a new one, for a request."""
        return RetryState(jitter=self.jitter, renewed=True, assign_at=now if assigns else None)


@attrs.frozen(kw_only=True)
class Due:
    """The next work for a token.

    Attributes:
        work: A sync or an assignment.
        at: When it may start, UTC; not before now.
        automatic: False if an administrator acted, so that the interval of a request counts.
    """

    work: Work
    at: datetime
    automatic: bool = True


def next_due(
    token: Token,
    state: SyncState,
    retry_state: RetryState,
    *,
    policy: SyncPolicy,
    pace: Pace,
    now: datetime,
    early: bool = False,
) -> Due:
    """Return what is due next for a token, and when.

    Args:
        token: The token as it is in the store now.
        state: The stored sync state of the token.
        retry_state: What the scheduler remembers.
        policy: The limits.
        pace: How the scheduler spreads its work.
        now: UTC.
        early: True for a caller that runs once a day: work that ``SyncPolicy`` allows a little early is due
            now.
    """
    is_renewed = retry_state.renewed or was_renewed(token, state)
    trigger = Trigger.REQUESTED if is_renewed else Trigger.AUTOMATIC  # rule 3
    delay = timedelta(0) if is_renewed else pace.jitter * retry_state.jitter
    # Asking the policy about an earlier time makes every interval longer by the delay. No time of the state
    # may be after that time, or it would count as written before the clock was set back.
    moment = now - delay
    if state.run_at is not None and moment < state.run_at <= now:
        moment = state.run_at
    # A run that is marked as under way may have died: only an attempt shows whether its lease is free.
    allowed_at = policy.decide(state, moment, trigger=trigger, has_lease=True, early=early).allowed_at
    sync_at = now if allowed_at is None else max(allowed_at + delay, now)  # rules 1 and 2
    blocked_until = _blocked_until(retry_state, policy, pace, now)
    if retry_state.assign_at is not None and not suspended_reason(token, state):
        assign_at = max(retry_state.assign_at, blocked_until)
        if assign_at < sync_at:
            return Due(work=Work.ASSIGN, at=assign_at, automatic=not is_renewed)
    return Due(work=Work.SYNC, at=max(sync_at, blocked_until), automatic=not is_renewed)


def _asked_for(error: Exception) -> timedelta:
    """Return how long Apple asked to wait."""
    seconds = error.retry_after_s if isinstance(error, AppleError) else None
    return timedelta(0) if seconds is None else min(timedelta(seconds=seconds), LONGEST_RETRY_AFTER)


def _blocked_until(retry_state: RetryState, policy: SyncPolicy, pace: Pace, now: datetime) -> datetime:
    if retry_state.not_before is None:
        return now
    longest = max(policy.automatic_interval, pace.longest_backoff)
    return max(now, min(retry_state.not_before, now + longest))  # rule 5
