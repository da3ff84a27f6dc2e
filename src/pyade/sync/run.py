"""One sync run as a flow of steps.

The rules of this file:

1. A page and the cursor that follows it are one commit. The cursor that was sent and the one that came back
   are two things: they are compared before anything is stored.
2. The last page of a full list is committed as such. Only then, and in a commit of its own, is what the list
   did not show released. If the process dies in between, the next run does that first. A release that cannot
   be believed is held back, and nothing else: the changes are followed, and at the end of each run it is
   looked at again, as it may have become smaller meanwhile.
3. Every way out of the loop is a ``SyncOutcome``. Nothing repeats without bound: a cursor that comes back
   ends the run, a lost cursor leads to one full list per run, and pages and time are limited.
4. An error ends the run and comes back to the caller, after it was stored and the run was marked as over.
5. A conflict in the store, or a lost lease, means that another worker is at it: this run stops and touches
   nothing more.
6. Words of Apple's whose order is in doubt (``core.order``) are noted in the commit of their page, and
   settled at the end by the details.
7. That a token needs a person, or works again, is part of the state that ends a run, with its event. Where
   something stored could not be read, all that is stored of the token must be readable before it goes on.
8. A list with records that could not be read releases nothing, since what it seems to lack may be one of
   them: the changes are followed all the same, and the next full list releases.
9. A run goes by the store's clock, which all workers share, as long as their own is close to it.
10. What Apple says of the server and the organization is asked for after a full list, and stored. That it
    could not be asked ends no run.

::

              cursor lost (once per run, if the policy allows)
            +--------------------------------------------------+
            v                                                  |
          FETCH --last page--> release the rest --> SYNC --no more--> settle ties --> caught up
           | ^ |               (too many: not yet)  ^ | ^             release what was held back,
           +-+ |                                    | +-+             if it can be believed by now
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
from pyade.core.fleet.order import wild_dates
from pyade.core.fleet.records import ChangeCounts, Source, SyncPhase, SyncState
from pyade.core.fleet.suspension import is_damaged, resume, suspend
from pyade.core.fleet.sync_policy import Decision, SyncAction, SyncPolicy, Trigger, corrected, left_alone
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
from pyade.sync.details import settle_flow
from pyade.sync.leases import StoreTime
from pyade.sync.report import SyncOutcome, SyncReport, pluralize, wild_date_problem
from pyade.sync.runners import Progress, ProgressPhase, in_store
from pyade.sync.token_account import account_flow
from pyade.text import logger, printable

_LONGEST_ERROR = 1_000

_log = logger("pyade.sync")


class SyncRun:
    """One run of one token: ``steps()`` once, and ``abandon()`` if the runner was interrupted meanwhile."""

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
        """Return the report of a run from the decision to the end.

        Args:
            lease: The right to write, carried by every write of the run; None if the caller sees to it
                otherwise that no other run is under way.

        Raises:
            AppleError: Apple refused; what was committed before stays.
            TransportError: No answer came; likewise.
            StoreError: The store failed.
        """
        self._lease = lease
        self._time = StoreTime(lease)
        now = yield from self._time.now()
        stored = yield from in_store(lambda store: store.sync_state(self._token_name))
        self._state = stored
        try:
            if (state := corrected(stored, now)) is not stored:
                yield from self._save(state)
            decision = self._policy.decide(
                self._state, now, trigger=self._trigger, full=self._full, has_lease=self._lease is not None
            )
            if not decision.action.sends_requests:
                return self._idle(decision, now)
            # Set before the commit: whoever is interrupted in the middle of it must recognise the run as his.
            self._started_at = now
            self._running_since = since = decision.running_since or now
            yield from self._save(self._begun(decision, now, since))
            _log.info("%s: %s begins: %s", self._token_name, self._action.label, self._reason)
        except (StoreConflictError, LeaseLostError):
            return (yield from self._overtaken_at_start(now))
        token = None
        try:
            # As it is now: if somebody renews it meanwhile, that counts as done after what this run meets.
            token = yield from in_store(lambda store: store.token(self._token_name))
            if is_damaged(self._state):
                yield from in_store(partial(check_readable, token_name=self._token_name))
            self._purged = yield from in_store(lambda store: store.purge_released(self._token_name, now=now))
            outcome = yield from self._pages_to_the_end(since, now)
            if outcome is not SyncOutcome.TIME_LIMIT:
                if self._state.ties:
                    yield from self._settle_ties()
                if outcome is SyncOutcome.CAUGHT_UP and self._state.held_back:
                    outcome = yield from self._release_what_was_held()
                yield from self._ask_for_account(token)
            return (yield from self._finish(outcome))
        except (StoreConflictError, LeaseLostError) as lost:
            return (yield from self._overtaken(lost))
        except Exception as error:
            yield from self._fail(error, token)
            raise

    def abandon(self) -> Flow[None]:
        """Mark the run as over, if it is still the one under way, so that the next need not wait for it.

        For a runner that was interrupted in the middle of a step: the state is read again, since the step may
        have been committed.
        """
        if self._running_since is not None:
            state = yield from in_store(lambda store: store.sync_state(self._token_name))
            if state.running_since == self._running_since:
                yield from self._save(attrs.evolve(state, running_since=None))

    def refused(self, held: LeaseHeldError) -> Flow[SyncReport]:
        """Return the report of a run that did not begin, since another worker holds the token."""
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

    def _begun(self, decision: Decision, now: datetime, since: datetime) -> SyncState:
        """Return the state of a run under way; one that takes over began when the one that died did."""
        state = attrs.evolve(
            self._state, run_at=since, running_since=since, continues=False, last_error="", not_before=None
        )
        return self._with_action(state, decision, now)

    def _with_action(self, state: SyncState, decision: Decision, now: datetime) -> SyncState:
        """Return *state* with what *decision* starts, and remember the action for the report."""
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
            # No page of the list ever came: Apple lists what is assigned when it is asked.
            return attrs.evolve(state, listing_since=now)
        return state

    # Pages

    def _pages_to_the_end(self, since: datetime, now: datetime) -> Flow[SyncOutcome]:
        if self._state.phase is SyncPhase.SYNC and self._state.listing_since is not None:
            yield from self._release_the_rest(now)
        while True:
            outcome = yield from self._one_page()
            if outcome is not None:
                return outcome
            if self._pages >= self._policy.max_pages_per_run:
                return SyncOutcome.PAGE_LIMIT
            now = yield from self._time.now()
            if now - since >= self._policy.time_limit:
                return SyncOutcome.TIME_LIMIT

    def _one_page(self) -> Flow[SyncOutcome | None]:
        """Ask for a page and commit it; an outcome if the run is over."""
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
        is_repeated = page.more_to_follow and page.cursor in self._sent
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
            self._wild.update(wild_dates(page.devices, now))
        self._state, changes = yield from in_store(
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
        told = Progress(token_name=self._token_name, phase=phase, pages=self._pages, devices=self._devices)
        yield from ask(ReportProgress(told))
        _log.info("%s", told)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s", self._token_name, " ".join(device.serial_number for device in page.devices))
        if is_last_of_list:
            yield from self._release_the_rest(now)
            return None
        if is_repeated:
            return SyncOutcome.REPEATED_CURSOR
        return None if page.more_to_follow else SyncOutcome.CAUGHT_UP

    def _release_the_rest(self, now: datetime) -> Flow[None]:
        """Release what the complete list did not show, unless that cannot be believed."""
        state = self._state
        if self._force:
            yield from self._release(state, now)
            return
        unlisted, fleet = yield from in_store(lambda store: _count_unlisted(store, self._token_name, state))
        if state.unreadable:
            # The place is not kept: what is not in this list may be one of the broken records for good.
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

    def _release_what_was_held(self) -> Flow[SyncOutcome]:
        """Release what the newest list did not show, if it is forced, or few enough are left by now."""
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

    def _ask_for_account(self, token: Token | None) -> Flow[None]:
        """Ask Apple for the server and the organization after a full list, or where they are not known."""
        is_known = token is not None and token.server_uuid and not self._state.account_problem
        if token is None or (is_known and self._action is SyncAction.DELTA):
            return
        news = yield from account_flow(self._state, token, self._time)
        self._state, self._groups = news.state, news.groups
        self._problems += news.problems
        if news.note:
            self._notes.append(news.note)

    def _settle_ties(self) -> Flow[None]:
        number = pluralize(len(self._state.ties), "device")
        self._notes.append(f"{number} with changes in doubt: details were read")
        self._state, changes = yield from settle_flow(self._token_name, self._state, self._lease, self._time)
        self._changes += changes

    # Cursors that Apple refuses

    def _exhausted(self) -> Flow[SyncOutcome | None]:
        """Go on to the changes with the same cursor; for them it means that there is nothing new."""
        if self._state.phase is SyncPhase.SYNC:
            return SyncOutcome.CAUGHT_UP
        self._notes.append("Apple ended the full list without a last page: nothing was released")
        yield from self._save(
            attrs.evolve(self._state, phase=SyncPhase.SYNC, listing_since=None, unreadable=0)
        )
        return None

    def _cursor_lost(self, error: CursorError) -> Flow[SyncOutcome | None]:
        """Forget the cursor and begin a full list, if the policy allows one now."""
        self._has_lost_cursor = True
        # A list that begins anew may well go through the same cursors.
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
        state, groups = resume(state)
        yield from self._save(state, (*self._groups, *groups))
        if groups:
            _log.info("%s: no longer suspended", self._token_name)
        level = logging.WARNING if outcome is SyncOutcome.RELEASE_HELD else logging.INFO
        pages, devices = pluralize(self._pages, "page"), pluralize(self._devices, "record")
        _log.log(level, "%s: %s with %s: %s", self._token_name, pages, devices, outcome)
        return self._report(outcome, now)

    def _fail(self, error: Exception, token: Token | None) -> Flow[None]:
        """Store that the run is over and why; the error itself matters more than whether that works."""
        error.add_note(printable(f"{self._token_name}: {self._pages} pages were committed before"))
        _log.info("%s: %s after %s", self._token_name, type(error).__name__, pluralize(self._pages, "page"))
        # The text of an error that is not ours may hold anything.
        text = f"{type(error).__name__}: {error}" if isinstance(error, PyadeError) else type(error).__name__
        state = attrs.evolve(
            self._state,
            running_since=None,
            last_error=text[:_LONGEST_ERROR],
            failures=self._state.failures + 1,
        )
        now = yield from self._time.now()
        state, groups = suspend(left_alone(state, error, now), token, error)
        if groups:
            _log.warning("%s: suspended, a person must act: %s", self._token_name, state.suspended)
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
            notes.append(f"{self._only_listed:,} devices came only with the full list")
        if self._unreadable:
            notes.append(f"{pluralize(self._unreadable, 'record')} could not be read: left out")
        problems = list(self._problems)
        if self._wild:
            problems.append(wild_date_problem(self._wild))
        if self._replaced:
            notes.append(f"{self._replaced:,} NUL characters were replaced by U+FFFD")
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
