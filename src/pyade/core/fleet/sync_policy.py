"""Decide when a token may be synced, and how: the limits of Apple and Intune as one pure function.

The rules of this file:

1. The cooldown counts from the start of the last run that sent Apple a request, whatever triggered it and
   however it ended. A run that Apple refused counts, too, even if the token was renewed since: the
   specification limits how often a sync is initiated, not how often one succeeds, and names no exception.
   Automatic runs keep the longer automatic interval from that same start; a call that is a little early, as
   that of a nightly job, is allowed (``EARLY``).
2. A run that reached its time limit is continued: its continuation waits for neither. After a run that never
   ended (the process died or was interrupted) only the cooldown counts, also for automatic runs. After a run
   that ended with an error the cooldown doubles with each further error, up to the automatic interval; if
   only an administrator can resolve the error, it is the whole interval immediately.
3. The first run is a full one. After that a full list is a *full sync* once in the full interval: in a run
   that finds it due and is not limited to the changes, or in one that asks for it. Continuing a list that was
   cut short is part of the same full sync.
4. Without a usable cursor changes cannot be followed. Then a *recovery* fetch is allowed before the full
   interval has passed, once in the recovery interval, counted apart from the full syncs.
5. One run at a time. The worker that holds the lease of the token knows that a run that is marked as under
   way has died, and continues it as the same run: with its start and its time limit, without a cooldown.
   Without a lease a run is presumed dead when it is older than the time limit: a live one ends at its next
   page.
6. A stored time in the future (the clock was set back) counts as now, so that it does not block.
7. A complete list that would release a large part of the fleet is not believed without an administrator: its
   release waits until it is forced or a new full list was fetched. The changes are followed meanwhile.
8. If Apple asked for no request before a time, no trigger sends one before it.

Source: specification, "Sync restrictions".
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.durations import CLOCK_TOLERANCE, check_positive
from pyade.errors import AppleError, PolicyError
from pyade.loading import lazy_modules
from pyade.text import short_repr

if TYPE_CHECKING:
    from pyade.core.fleet import records
    from pyade.core.fleet.records import SyncState
else:
    lazy_modules(globals(), records="pyade.core.fleet.records")

LONGEST_RETRY_AFTER = timedelta(hours=24)
"""The longest wait, whatever Apple asked for."""

EARLY = timedelta(minutes=5)
"""How early an automatic call may be; ``EARLY_SHARE`` of the interval if that is less."""

EARLY_SHARE = 0.05
"""The share of the automatic interval by which a call may be early."""


class Trigger(enum.StrEnum):
    """Why a sync is considered: a caller requested it, or its interval is over."""

    REQUESTED = "requested"
    AUTOMATIC = "automatic"


class SyncAction(enum.StrEnum):
    """What a run may do.

    Attributes:
        FULL: Fetch Apple's full list, which counts toward the full interval.
        RESUME_FULL: Continue a full list that was cut short.
        DELTA: Ask for the changes since the cursor.
        RECOVERY: Fetch the full list because the cursor was lost; counted apart.
        WAIT: Nothing yet.
        RUNNING: Nothing, because a run is under way.
    """

    FULL = "full"
    RESUME_FULL = "resume_full"
    DELTA = "delta"
    RECOVERY = "recovery"
    WAIT = "wait"
    RUNNING = "running"

    @property
    def label(self) -> str:
        """The action in words."""
        words = {"RESUME_FULL": "full sync, continued", "RECOVERY": "full list, as the cursor was lost"}
        return words.get(self.name, f"{self.value} sync")

    @property
    def sends_requests(self) -> bool:
        """True if a run with this action sends Apple requests."""
        return self not in (SyncAction.WAIT, SyncAction.RUNNING)


@attrs.frozen(kw_only=True)
class Decision:
    """What a run may do, and why.

    Attributes:
        action: What to do.
        reason: Why, in words.
        allowed_at: For ``WAIT`` when it will be allowed, for ``RUNNING`` when the other run is presumed dead
            at the latest, UTC; None if it is allowed now.
        running_since: For ``RUNNING`` when the run under way began, UTC; for a run that continues one that
            died when that one began.
    """

    action: SyncAction
    reason: str
    allowed_at: datetime | None = None
    running_since: datetime | None = None


def _share(_instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise PolicyError(f"{attribute.name} is {value}: it must be from 0 to 1, such as 0.1 for 10 %")


def _at_least_one(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise PolicyError(f"{attribute.name} is {value}: it must be 1 or more")


@check_arguments
@attrs.frozen(kw_only=True)
class SyncPolicy:
    """The limits of a sync; the defaults are those of Intune.

    Attributes:
        full_interval: A full sync at most once in this time.
        automatic_interval: An automatic run at most once in this time.
        request_cooldown: Any run at most once in this time.
        time_limit: A run ends at the first page boundary after this time, and the next one continues.
        recovery_interval: A full list because the cursor was lost, at most once in this time.
        max_pages_per_run: Pages after which a run ends, also if Apple has more.
        max_repeats: After so many consecutive runs in which Apple repeated a cursor, the cursor counts as
            lost.
        max_release_share: A full list may release this share of the devices, 0 to 1, without being forced.
        min_release_count: A release of fewer devices is never held back, whatever their share.

    Source: specification, "Sync restrictions": 7 days, 24 hours, 15 minutes, 15 minutes. The others are
    pyade's own bounds, for a server that repeats its cursor, one that forgets it, and one whose list was
    short.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    full_interval: timedelta = attrs.field(default=timedelta(days=7), validator=check_positive)
    automatic_interval: timedelta = attrs.field(default=timedelta(hours=24), validator=check_positive)
    request_cooldown: timedelta = attrs.field(default=timedelta(minutes=15), validator=check_positive)
    time_limit: timedelta = attrs.field(default=timedelta(minutes=15), validator=check_positive)
    recovery_interval: timedelta = attrs.field(default=timedelta(hours=24), validator=check_positive)
    max_pages_per_run: int = attrs.field(default=2_000, validator=_at_least_one)
    max_repeats: int = attrs.field(default=3, validator=_at_least_one)
    max_release_share: float = attrs.field(default=0.1, validator=_share)
    min_release_count: int = attrs.field(default=20, validator=_at_least_one)

    def decide(
        self,
        state: SyncState,
        now: datetime,
        *,
        trigger: Trigger = Trigger.REQUESTED,
        full: bool | None = None,
        has_lease: bool = False,
        early: bool = True,
    ) -> Decision:
        """Return what a run may do at *now*.

        Args:
            state: The stored sync state of the token.
            now: UTC.
            trigger: Whether a caller requested it or its interval is over.
            full: True wants Apple's full list, False only the changes as long as a cursor is usable; None
                wants the full list when the full interval is over.
            has_lease: True if the caller holds the lease of the token, so that no other run is alive.
            early: True allows an automatic call that is a little early. False for a caller that asks for the
                time itself.

        Returns:
            The action; for ``WAIT`` with the time at which the decision will be another one at the latest.
        """
        # Rule 6
        state = without_future_times(state, now, tolerance=timedelta(0))
        since = state.running_since
        if since is not None and now >= since + self.time_limit:
            since = None
        if since is not None and not has_lease:  # rule 5
            text = f"a run is under way since {since.isoformat(timespec='seconds')}"
            return Decision(
                action=SyncAction.RUNNING,
                reason=text,
                allowed_at=since + self.time_limit,
                running_since=since,
            )
        if since is not None:
            state = attrs.evolve(state, continues=True)
        action, reason, due_at = self._wanted(state, now, full=full)
        if state.continues and action in (SyncAction.RESUME_FULL, SyncAction.DELTA):  # rule 2
            text = (
                "continues the run that reached its time limit"
                if since is None
                else "takes over a run that died"
            )
            return Decision(action=action, reason=text, running_since=since)
        pace_at, pace = self._pace(state, trigger)
        earliest = self._earliest(state, pace_at, trigger) if early else pace_at  # rule 1
        if now < max(earliest, due_at):
            # Of two limits the one that lasts longer is the reason: it explains the time.
            return Decision(
                action=SyncAction.WAIT,
                reason=reason if due_at > pace_at else pace,
                allowed_at=max(pace_at, due_at),
            )
        return Decision(action=action, reason=reason)

    def decide_list(self, state: SyncState, now: datetime) -> Decision:
        """Return whether Apple's full list may be fetched within a run that found its cursor lost.

        Args:
            state: The stored sync state of the token.
            now: UTC.

        Returns:
            ``FULL``, ``RECOVERY``, or ``WAIT`` with the time at which one of them will be allowed.
        """
        action, reason, due_at = self._list_without_cursor(
            without_future_times(state, now, tolerance=timedelta(0)), now
        )
        if now < due_at:
            return Decision(action=SyncAction.WAIT, reason=reason, allowed_at=due_at)
        return Decision(action=action, reason=reason)

    def may_release(self, unlisted: int, fleet: int) -> bool:
        """Return whether a complete list may release *unlisted* of *fleet* devices without being forced."""
        return unlisted < self.min_release_count or unlisted <= fleet * self.max_release_share  # rule 7

    def next_times(
        self, state: SyncState, now: datetime, *, held_until: datetime | None = None, has_lease: bool = False
    ) -> tuple[datetime, datetime]:
        """Return when a request and an automatic run will be allowed; *now* if it is allowed already.

        Args:
            state: The stored sync state of the token.
            now: UTC.
            held_until: Until when another worker holds the lease of the token, UTC; None if none does.
            has_lease: True if the holder of the lease is known, so that a run that is marked as under way
                either has it or has died.
        """
        requested, automatic = (
            self.decide(state, now, trigger=trigger, has_lease=has_lease, early=False).allowed_at or now
            for trigger in Trigger
        )
        held_until = held_until or now
        return max(requested, held_until), max(automatic, held_until)

    def _wanted(
        self, state: SyncState, now: datetime, *, full: bool | None
    ) -> tuple[SyncAction, str, datetime]:
        """Return the action that fits the state, why, and from when its own limit allows it."""
        has_cursor = state.cursor is not None and state.phase is records.SyncPhase.SYNC
        is_listing = state.listing_since is not None
        if state.repeats >= self.max_repeats:
            action, reason, due_at = self._list_without_cursor(state, now)
            if due_at <= now:
                return action, f"Apple repeated its cursor in {state.repeats} runs; {reason}", due_at
        due_at = state.full_sync_at + self.full_interval if state.full_sync_at is not None else now
        if is_listing:
            # A complete list whose release was held back for so long is fetched again: rule 7.
            action = SyncAction.FULL if has_cursor and due_at <= now else SyncAction.RESUME_FULL
            return action, "a full list was cut short", now
        if not has_cursor:
            return self._list_without_cursor(state, now)
        if full:
            limit = f"a full sync is allowed once in {_in_one_unit(self.full_interval)}"
            return SyncAction.FULL, "a full sync was requested" if due_at <= now else limit, due_at  # rule 3
        if full is None and due_at <= now and not state.continues:
            reason = f"the last full sync is {_in_one_unit(self.full_interval)} old or older"
            return SyncAction.FULL, reason, due_at
        return SyncAction.DELTA, "changes since the cursor", now

    def _list_without_cursor(self, state: SyncState, now: datetime) -> tuple[SyncAction, str, datetime]:
        if state.full_sync_at is None:
            return SyncAction.FULL, "the first sync is a full one", now
        full_at = state.full_sync_at + self.full_interval
        if full_at <= now:
            return SyncAction.FULL, "there is no usable cursor, and a full sync is due", full_at
        recovery_at = now if state.recovery_at is None else state.recovery_at + self.recovery_interval
        due_at, reason = min(full_at, recovery_at), "there is no usable cursor"
        if due_at > now:
            reason += f", and a full list for that is allowed once in {_in_one_unit(self.recovery_interval)}"
        return SyncAction.RECOVERY, reason, due_at  # rule 4

    def _pace(self, state: SyncState, trigger: Trigger) -> tuple[datetime, str]:
        """Return when the interval since the last run is over, and the rule in words."""
        if state.run_at is None:
            return datetime.min.replace(tzinfo=UTC), ""
        pace_at, reason = self._pace_of_runs(state, state.run_at, trigger)
        if state.not_before is not None and state.not_before > pace_at:
            # Rules 6 and 8: after the clock was set back this must not be longer than it can have been.
            return min(state.not_before, state.run_at + LONGEST_RETRY_AFTER), "Apple asked for a pause"
        return pace_at, reason

    def _earliest(self, state: SyncState, pace_at: datetime, trigger: Trigger) -> datetime:
        """Return the earliest time of a call that is due at *pace_at*."""
        interval = max(self.automatic_interval, self.request_cooldown)
        if trigger is Trigger.REQUESTED or state.run_at is None or pace_at != state.run_at + interval:
            return pace_at
        earliest = pace_at - min(EARLY, self.automatic_interval * EARLY_SHARE)
        return min(max(earliest, state.run_at + self.request_cooldown, state.not_before or earliest), pace_at)

    def _pace_of_runs(self, state: SyncState, run_at: datetime, trigger: Trigger) -> tuple[datetime, str]:
        has_ended = state.last_error or (state.succeeded_at is not None and state.succeeded_at >= run_at)
        if trigger is Trigger.AUTOMATIC and has_ended:
            interval = max(self.automatic_interval, self.request_cooldown)
            if state.failures and not state.suspended:
                # More than 20 doublings of a second are more than a day, and many more would overflow.
                doubled: timedelta = self.request_cooldown * (1 << min(state.failures - 1, 20))
                wait = min(doubled, interval)
                return run_at + wait, f"a sync that failed is repeated after {_in_one_unit(wait)}"
            return run_at + interval, f"an automatic sync runs once in {_in_one_unit(interval)}"
        return run_at + self.request_cooldown, f"a sync runs once in {_in_one_unit(self.request_cooldown)}"


def with_retry_after(state: SyncState, error: Exception, now: datetime) -> SyncState:
    """Return *state* with the time before which Apple, with *error*, asked for no request, if it did."""
    if not isinstance(error, AppleError) or error.retry_after_s is None:
        return state
    wait = min(timedelta(seconds=error.retry_after_s), LONGEST_RETRY_AFTER)
    return attrs.evolve(state, not_before=now + wait)


def without_future_times(
    state: SyncState, now: datetime, *, tolerance: timedelta = CLOCK_TOLERANCE
) -> SyncState:
    """Return *state* with every time that is more than *tolerance* in the future set to *now*.

    The clock was set back, or was fast on another machine. Uncorrected, such a time would block until it is
    reached; stored as corrected it blocks for its own interval.
    """
    ahead: dict[str, Any] = {
        name: now
        for name in _TIMES
        if (value := getattr(state, name)) is not None and value > now + tolerance
    }
    return attrs.evolve(state, **ahead) if ahead else state


def _in_one_unit(value: timedelta) -> str:
    for unit, name in (
        (timedelta(days=1), "day"),
        (timedelta(hours=1), "hour"),
        (timedelta(minutes=1), "minute"),
    ):
        if value % unit == timedelta(0) and value > unit:
            return f"{value // unit} {name}s"
    return str(value)


_TIMES = (
    "full_sync_at",
    "recovery_at",
    "listing_since",
    "listed_at",
    "run_at",
    "running_since",
    "succeeded_at",
)
