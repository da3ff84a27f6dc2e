"""One sync run as a flow of steps.

The rules of this file:

1. A page and its next cursor are stored in one commit. The cursor that was sent and the one that came back
   are compared before anything is stored.
2. The last page of a full list is committed first. Then devices that the list did not show are released in a
   commit of its own; if the process dies in between, the next run does that first. A release that is too
   large to be plausible is held back, while changes are still followed; the end of each run checks it again,
   since it may have become smaller.
3. Every way out of the loop is a ``SyncOutcome``. Nothing repeats without limit: a repeated cursor ends the
   run, a lost cursor leads to at most one full list per run, and pages and time are limited.
4. An error ends the run and is raised to the caller, after it was stored and the run was marked as over.
5. A conflict in the store, or a lost lease, means that another worker took over; the run stops without
   writing again.
6. Records whose order is in doubt (``core.fleet.order``) are stored as ties in the commit of their page, and
   resolved at the end of the run by the device details.
7. The state that ends a run says whether the token needs an administrator or works again, with its event. If
   something stored could not be read, everything stored for the token must be readable before the run
   continues.
8. A list with unreadable records releases nothing, since a device that seems to be missing may be one of
   them: the changes are still followed, and the next full list releases.
9. Use the store's clock, which all workers share, unless the local one differs by more than five minutes.
10. After a full list, the account (server and organization) is read from Apple and stored. A failure to read
    it does not end the run.

::

              cursor lost (once per run, if the policy allows)
            +--------------------------------------------------+
            v                                                  |
          FETCH --last page--> release unlisted --> SYNC --no more--> resolve ties --> caught up
           | ^ |               (too many: not yet)  ^ | ^             release what was held back,
           +-+ |                                    | +-+             if few enough are left
          more |                                    | more
               +------------- exhausted ------------+
                              (releases nothing)

Source: specification, "Sync managed devices" and "Sync restrictions"; Apple, device assignment, "Get a
list of devices" and "Sync the list of devices".
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial

import attrs

from pyade.apple import calls
from pyade.apple.http.calls import SendCall
from pyade.apple.responses import DevicePage
from pyade.core.fleet.events import EventBatch, EventGroup
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.order import implausible_dates
from pyade.core.fleet.records import ChangeCounts, Source, SyncPhase, SyncState
from pyade.core.fleet.suspension import is_damaged, resume, suspend
from pyade.core.fleet.sync_policy import (
    Decision,
    SyncAction,
    SyncPolicy,
    Trigger,
    with_retry_after,
    without_future_times,
)
from pyade.core.problems import Problem
from pyade.core.token import Token
from pyade.errors import (
    CursorError,
    ExhaustedCursorError,
    ExpiredCursorError,
    InvalidCursorError,
    LeaseHeldError,
    LeaseLostError,
    PyadeError,
    StoreConflictError,
    StoreError,
)
from pyade.flow import Flow, ReportProgress, ask
from pyade.storage.protocol import Store
from pyade.sync.damage import check_readable
from pyade.sync.details import resolve_ties_flow
from pyade.sync.leases import StoreTime
from pyade.sync.report import SyncOutcome, SyncReport, implausible_date_problem
from pyade.sync.runners import Progress, ProgressPhase, in_store
from pyade.sync.token_account import account_flow
from pyade.text import logger, pluralize, printable

_MAX_ERROR = 1_000

_log = logger(__name__)


class SyncRun:
    """One run of one token: run ``steps()`` once, and ``abandon()`` if the runner was interrupted."""

    def __init__(
        self,
        token_name: str,
        policy: SyncPolicy,
        *,
        trigger: Trigger,
        full: bool | None,
        force: bool = False,
    ) -> None:
        self._token_name = token_name
        self._policy = policy
        self._trigger = trigger
        self._full = full
        self._force = force
        self._lease: Lease | None = None
        self._state = SyncState()
        self._started_at: datetime | None = None
        self._running_since: datetime | None = None
        self._action = SyncAction.WAIT
        self._reason = ""
        self._pages = 0
        self._devices = 0
        self._changes = ChangeCounts()
        self._notes: list[str] = []
        self._only_listed = 0
        self._unreadable = 0
        self._replaced = 0
        self._held_back = 0
        self._wild: dict[str, datetime] = {}
        self._problems: list[Problem] = []
        self._groups: tuple[EventGroup, ...] = ()
        self._purged = 0
        self._sent: set[str] = set()
        self._has_lost_cursor = False
        self._time = StoreTime()

    def steps(self, lease: Lease | None = None) -> Flow[SyncReport]:
        """Run from the decision to the end, and return the report.

        Args:
            lease: Checked by every write of the run; None if the caller ensures otherwise that no other run
                is under way.

        Raises:
            AppleError: Apple refused; earlier commits stay.
            TransportError: No complete response arrived; earlier commits stay.
            StoreError: The store failed.
        """
        self._lease = lease
        self._time = StoreTime(lease)  # rule 9
        now = yield from self._time.now()
        stored = yield from in_store(lambda store: store.sync_state(self._token_name))
        self._state = stored
        try:
            if (state := without_future_times(stored, now)) is not stored:
                yield from self._save(state)
            decision = self._policy.decide(
                self._state, now, trigger=self._trigger, full=self._full, has_lease=self._lease is not None
            )
            if not decision.action.sends_requests:
                return self._idle(decision, now)
            # Set before the commit: abandon() must recognise this run if the commit is interrupted.
            self._started_at = now
            self._running_since = since = decision.running_since or now
            yield from self._save(self._started(decision, now, since))
            _log.info("%s: %s begins: %s", self._token_name, self._action.label, self._reason)
        except (StoreConflictError, LeaseLostError):
            return (yield from self._overtaken_at_start(now))
        token = None
        try:
            # Read at the start: a renewal during the run is newer than any error that the run meets.
            token = yield from in_store(lambda store: store.token(self._token_name))
            if is_damaged(self._state):  # rule 7
                yield from in_store(partial(check_readable, token_name=self._token_name))
            self._purged = yield from in_store(lambda store: store.purge_released(self._token_name, now=now))
            outcome = yield from self._all_pages(since, now)
            if outcome is not SyncOutcome.TIME_LIMIT:
                if self._state.ties:
                    yield from self._resolve_ties()  # rule 6
                if outcome is SyncOutcome.CAUGHT_UP and self._state.held_back:
                    outcome = yield from self._release_held_back()  # rule 2
                yield from self._read_account(token)  # rule 10
            return (yield from self._finish(outcome))
        except (StoreConflictError, LeaseLostError) as lost:  # rule 5
            return (yield from self._overtaken(lost))
        except Exception as error:  # rule 4
            yield from self._fail(error, token)
            raise

    def abandon(self) -> Flow[None]:
        """Mark the run as over, if it is still the one under way, so that the next does not wait for it.

        For a runner that was interrupted within a step: the state is read again, since the step may have been
        committed.
        """
        if self._running_since is not None:
            state = yield from in_store(lambda store: store.sync_state(self._token_name))
            if state.running_since == self._running_since:
                yield from self._save(attrs.evolve(state, running_since=None))

    def refused(self, held: LeaseHeldError) -> Flow[SyncReport]:
        """Return the report of a run that did not start, since another worker holds the lease."""
        now = yield from self._time.now()
        self._state = yield from in_store(lambda store: store.sync_state(self._token_name))
        reason = "another worker holds the token"
        decision = Decision(
            action=SyncAction.RUNNING,
            reason=reason,
            allowed_at=now + timedelta(seconds=held.remaining_s or 0),
            running_since=self._state.running_since,
        )
        report = self._idle(decision, now)
        requested, automatic = self._policy.next_times(
            self._state, now, held_until=decision.allowed_at, has_lease=True
        )
        return attrs.evolve(report, holder=held.owner, next_allowed_at=requested, next_automatic_at=automatic)

    # Start

    def _started(self, decision: Decision, now: datetime, since: datetime) -> SyncState:
        """Return the state of a run under way; *since* is its start, or that of the dead run it continues."""
        state = attrs.evolve(
            self._state, run_at=since, running_since=since, continues=False, last_error="", not_before=None
        )
        return self._with_action(state, decision, now)

    def _with_action(self, state: SyncState, decision: Decision, now: datetime) -> SyncState:
        """Return *state* for the action of *decision*, and remember the action for the report."""
        self._action, self._reason = decision.action, decision.reason
        if decision.action in (SyncAction.FULL, SyncAction.RECOVERY):
            is_full = decision.action is SyncAction.FULL
            return attrs.evolve(
                state,
                phase=SyncPhase.FETCH,
                cursor=None,
                full_sync=state.full_sync + 1,
                unreadable=0,
                held_back=0,
                full_sync_at=now if is_full else state.full_sync_at,
                recovery_at=state.recovery_at if is_full else now,
                listing_since=now,
                repeats=0,
            )
        if state.phase is SyncPhase.FETCH and state.cursor is None:
            # No page of the list arrived yet: Apple lists what is assigned at the time of the request.
            return attrs.evolve(state, listing_since=now)
        return state

    # Pages

    def _all_pages(self, since: datetime, now: datetime) -> Flow[SyncOutcome]:
        if self._state.phase is SyncPhase.SYNC and self._state.listing_since is not None:
            yield from self._release_unlisted(now)  # rule 2
        while True:
            outcome = yield from self._one_page()
            if outcome is not None:
                return outcome
            if self._pages >= self._policy.max_pages_per_run:  # rule 3
                return SyncOutcome.PAGE_LIMIT
            now = yield from self._time.now()
            if now - since >= self._policy.time_limit:
                return SyncOutcome.TIME_LIMIT

    def _one_page(self) -> Flow[SyncOutcome | None]:
        """Request a page and commit it; return the outcome if the run is over, else None."""
        cursor = self._state.cursor
        try:
            if self._state.phase is SyncPhase.FETCH or cursor is None:
                page = yield from ask(SendCall(calls.fetch_devices(cursor)))
            else:
                page = yield from ask(SendCall(calls.sync_devices(cursor)))
        except ExhaustedCursorError:
            if cursor is None:
                raise
            return (yield from self._exhausted())
        except (ExpiredCursorError, InvalidCursorError) as error:
            if cursor is None or self._has_lost_cursor:
                raise
            return (yield from self._cursor_lost(error))
        return (yield from self._commit(page))

    def _commit(self, page: DevicePage) -> Flow[SyncOutcome | None]:
        before = self._state
        if before.cursor is not None:
            self._sent.add(before.cursor)
        is_repeated = page.more_to_follow and page.cursor in self._sent  # rule 1
        is_last_of_list = before.phase is SyncPhase.FETCH and not page.more_to_follow
        after = attrs.evolve(
            before,
            cursor=page.cursor,
            phase=SyncPhase.SYNC if is_last_of_list else before.phase,
            repeats=0 if is_last_of_list else before.repeats + int(is_repeated),
        )
        source = Source.FETCH if before.phase is SyncPhase.FETCH else Source.SYNC
        if source is Source.FETCH:
            after = attrs.evolve(after, unreadable=before.unreadable + page.unreadable)
        now = yield from self._time.now()
        if source is Source.SYNC:
            self._wild.update(implausible_dates(page.devices, now))
        self._state, changes = yield from in_store(  # rule 1
            lambda store: store.commit_page(
                self._token_name, page.devices, source=source, state=after, now=now, lease=self._lease
            )
        )
        self._pages += 1
        self._devices += len(page.devices)
        self._changes += changes
        self._unreadable += page.unreadable
        self._replaced += page.replaced
        if source is Source.FETCH and before.full_sync > 1:
            self._only_listed += changes.added + changes.returned
        phase = ProgressPhase.FETCH if source is Source.FETCH else ProgressPhase.SYNC
        progress = Progress(
            token_name=self._token_name, phase=phase, pages=self._pages, devices=self._devices
        )
        yield from ask(ReportProgress(progress))
        _log.info("%s", progress)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s", self._token_name, " ".join(device.serial_number for device in page.devices))
        if is_last_of_list:
            yield from self._release_unlisted(now)
            return None
        if is_repeated:
            return SyncOutcome.REPEATED_CURSOR
        return None if page.more_to_follow else SyncOutcome.CAUGHT_UP

    def _release_unlisted(self, now: datetime) -> Flow[None]:
        """Release the devices that the complete list did not show, unless they are too many."""
        state = self._state
        if self._force:
            yield from self._release(state, now)
            return
        unlisted, fleet = yield from in_store(lambda store: _count_unlisted(store, self._token_name, state))
        if state.unreadable:  # rule 8
            # Nothing is checked again later: a missing device may be one of the broken records.
            self._held_back = unlisted
            if unlisted:
                self._notes.append(
                    f"{pluralize(unlisted, 'device')} may be among the records of Apple's list that could"
                    " not be read: none was released"
                )
            yield from self._save(attrs.evolve(state, listing_since=None, unreadable=0))
        elif self._policy.may_release(unlisted, fleet):
            yield from self._release(state, now)
        else:
            yield from self._save(attrs.evolve(state, listing_since=None, held_back=unlisted))

    def _release_held_back(self) -> Flow[SyncOutcome]:
        """Release the devices that the newest list did not show, if forced, or if few enough are left."""
        now = yield from self._time.now()
        state = attrs.evolve(self._state, listing_since=self._state.listed_at)
        unlisted, fleet = yield from in_store(lambda store: _count_unlisted(store, self._token_name, state))
        if self._force or self._policy.may_release(unlisted, fleet):
            yield from self._release(state, now)
            return SyncOutcome.CAUGHT_UP
        self._held_back = unlisted
        self._notes.append(f"{unlisted:,} of {fleet:,} devices are not in Apple's list: none was released")
        self._state = attrs.evolve(self._state, held_back=unlisted)
        return SyncOutcome.RELEASE_HELD

    def _release(self, state: SyncState, now: datetime) -> Flow[None]:
        released = attrs.evolve(state, held_back=0)
        self._state, changes = yield from in_store(
            lambda store: store.finish_full_sync(self._token_name, state=released, now=now, lease=self._lease)
        )
        self._changes += changes

    def _read_account(self, token: Token | None) -> Flow[None]:
        """Read server and organization from Apple after a full list, or if they are unknown (rule 10)."""
        is_known = token is not None and token.server_uuid and not self._state.account_problem
        if token is None or (is_known and self._action is SyncAction.DELTA):
            return
        news = yield from account_flow(self._state, token, self._time)
        self._state, self._groups = news.state, news.groups
        self._problems += news.problems
        if news.note:
            self._notes.append(news.note)

    def _resolve_ties(self) -> Flow[None]:
        number = pluralize(len(self._state.ties), "device")
        self._notes.append(f"{number} with changes in doubt: details were read")
        self._state, changes = yield from resolve_ties_flow(
            self._token_name, self._state, self._lease, self._time
        )
        self._changes += changes

    # Refused cursors

    def _exhausted(self) -> Flow[SyncOutcome | None]:
        """Continue with the changes from the same cursor; end the run if it was following changes already."""
        if self._state.phase is SyncPhase.SYNC:
            return SyncOutcome.CAUGHT_UP
        self._notes.append("Apple ended the full list without a last page: nothing was released")
        yield from self._save(
            attrs.evolve(self._state, phase=SyncPhase.SYNC, listing_since=None, unreadable=0)
        )
        return None

    def _cursor_lost(self, error: CursorError) -> Flow[SyncOutcome | None]:
        """Discard the cursor and start a full list, if the policy allows one now (rule 3)."""
        self._has_lost_cursor = True
        # A new list may use the same cursors again.
        self._sent.clear()
        word = "expired" if isinstance(error, ExpiredCursorError) else "not recognised"
        now = yield from self._time.now()
        lost = attrs.evolve(self._state, phase=SyncPhase.FETCH, cursor=None, listing_since=None, repeats=0)
        decision = self._policy.decide_list(lost, now)
        if not decision.action.sends_requests:
            self._notes.append(f"cursor {word}")
            yield from self._save(lost)
            return SyncOutcome.NO_CURSOR
        self._notes.append(f"cursor {word}: full list fetched")
        yield from self._save(self._with_action(lost, decision, now))
        return None

    # End

    def _finish(self, outcome: SyncOutcome) -> Flow[SyncReport]:
        now = yield from self._time.now()
        is_caught_up = outcome is SyncOutcome.CAUGHT_UP
        is_in_step = is_caught_up or outcome is SyncOutcome.RELEASE_HELD
        is_continued = outcome is SyncOutcome.TIME_LIMIT
        state = attrs.evolve(
            self._state,
            running_since=None,
            continues=is_continued,
            succeeded_at=now if is_in_step else self._state.succeeded_at,
            repeats=self._state.repeats if outcome is SyncOutcome.REPEATED_CURSOR else 0,
            last_error="" if is_caught_up or is_continued else outcome.value,
            failures=0,
        )
        state, groups = resume(state)  # rule 7
        yield from self._save(state, (*self._groups, *groups))
        if groups:
            _log.info("%s: no longer suspended", self._token_name)
        level = logging.WARNING if outcome is SyncOutcome.RELEASE_HELD else logging.INFO
        pages, devices = pluralize(self._pages, "page"), pluralize(self._devices, "record")
        _log.log(level, "%s: %s with %s: %s", self._token_name, pages, devices, outcome)
        return self._report(outcome, now)

    def _fail(self, error: Exception, token: Token | None) -> Flow[None]:
        """Store that the run is over and why; a failure to store it is only noted on *error*."""
        pages = pluralize(self._pages, "page")
        error.add_note(printable(f"{self._token_name}: {pages} committed before the error"))
        _log.info("%s: %s after %s", self._token_name, type(error).__name__, pages)
        # The text of a foreign error may hold anything, also secrets.
        text = f"{type(error).__name__}: {error}" if isinstance(error, PyadeError) else type(error).__name__
        state = attrs.evolve(
            self._state,
            running_since=None,
            last_error=text[:_MAX_ERROR],
            failures=self._state.failures + 1,
        )
        now = yield from self._time.now()
        state, groups = suspend(with_retry_after(state, error, now), token, error)  # rule 7
        if groups:
            _log.warning("%s: suspended, an administrator must act: %s", self._token_name, state.suspended)
        try:
            yield from self._save(state, groups)
        except StoreError as another:
            error.add_note(printable(f"the end of the run could not be stored: {another}"))

    def _idle(self, decision: Decision, now: datetime) -> SyncReport:
        self._action, self._reason = decision.action, decision.reason
        _log.debug("%s: not synced: %s", self._token_name, self._reason)
        report = self._report(SyncOutcome.NOT_STARTED, now)
        return attrs.evolve(report, allowed_at=decision.allowed_at, running_since=decision.running_since)

    def _overtaken_at_start(self, now: datetime) -> Flow[SyncReport]:
        self._state = yield from in_store(lambda store: store.sync_state(self._token_name))
        self._action, self._reason = SyncAction.RUNNING, "another worker started at the same time"
        report = self._report(SyncOutcome.NOT_STARTED, now)
        return attrs.evolve(report, running_since=self._state.running_since)

    def _overtaken(self, lost: StoreError) -> Flow[SyncReport]:
        self._notes.append(lost.reason)
        _log.info("%s: overtaken after %s", self._token_name, pluralize(self._pages, "page"))
        self._state = yield from in_store(lambda store: store.sync_state(self._token_name))
        now = yield from self._time.now()
        return self._report(SyncOutcome.OVERTAKEN, now)

    def _report(self, outcome: SyncOutcome, now: datetime) -> SyncReport:
        next_allowed_at, next_automatic_at = self._policy.next_times(self._state, now)
        notes = list(self._notes)
        if self._only_listed:
            notes.append(f"{pluralize(self._only_listed, 'device')} came only with the full list")
        if self._unreadable:
            notes.append(f"{pluralize(self._unreadable, 'record')} could not be read: left out")
        problems = list(self._problems)
        if self._wild:
            problems.append(implausible_date_problem(self._wild))
        if self._replaced:
            notes.append(f"{pluralize(self._replaced, 'NUL character')} replaced by U+FFFD")
        return SyncReport(
            token_name=self._token_name,
            action=self._action,
            reason=self._reason,
            outcome=outcome,
            pages=self._pages,
            devices=self._devices,
            changes=self._changes,
            started_at=self._started_at or now,
            finished_at=now,
            next_allowed_at=next_allowed_at,
            next_automatic_at=next_automatic_at,
            held_back=self._held_back or self._state.held_back,
            unreadable=self._unreadable,
            purged=self._purged,
            problems=tuple(problems),
            notes=tuple(notes),
        )

    def _save(self, state: SyncState, groups: tuple[EventGroup, ...] = ()) -> Flow[None]:
        events = EventBatch(self._token_name, (yield from self._time.now()), groups) if groups else None
        self._state = yield from in_store(
            lambda store: store.save_sync_state(self._token_name, state, events=events, lease=self._lease)
        )


def _count_unlisted(store: Store, token_name: str, state: SyncState) -> tuple[int, int]:
    """Return how many devices the complete list would release, and how many the store lists."""
    unlisted = store.count_unlisted(token_name, state)
    counts = store.count_devices(token_name)
    return unlisted, sum(counts.values()) - counts["released"]
