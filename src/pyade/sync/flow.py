"""One sync run as a flow of steps.

The rules of this file:

1. A page and the cursor that follows it are one commit. The cursor that was sent and the one that came back
   are two things: they are compared before anything is stored.
2. The last page of a full list is committed as such. Only then, and in a commit of its own, is what the list
   did not show released. If the process dies in between, the next run does that first.
3. Every way out of the loop is an ``Ending``. Nothing repeats without bound: a cursor that comes back ends
   the run, a lost cursor leads to one full list per run, and pages and time are limited.
4. An error ends the run and comes back to the caller, after it was stored and the run was marked as over.
5. A conflict in the store means that another worker is at it: this run stops and touches nothing more.

::

              cursor lost (once per run, if the policy allows)
            +--------------------------------------------------+
            v                                                  |
          FETCH --last page--> release the rest --> SYNC --no more--> caught up
           | ^ |                                    ^ | ^
           +-+ +------------- exhausted ------------+ +-+
          more                (releases nothing)      more

Source: specification, "Sync managed devices" and "Sync restrictions"; Apple, device assignment, "Get a
list of devices" and "Sync the list of devices".
"""

from __future__ import annotations

from datetime import datetime

import attrs

from pyade.apple import calls
from pyade.apple.flows import SendCall
from pyade.apple.responses import DevicePage
from pyade.core.flow import Flow, Now, ask
from pyade.core.inventory import ChangeCounts, Source, SyncPhase, SyncState
from pyade.core.policy import Decision, SyncAction, SyncPolicy, Trigger, corrected
from pyade.errors import (
    CursorError,
    ExhaustedCursorError,
    ExpiredCursorError,
    InvalidCursorError,
    PyadeError,
    StoreConflictError,
    StoreError,
)
from pyade.sync.report import Ending, SyncReport
from pyade.sync.steps import InStore, Progress, ProgressPhase, Tell

_LONGEST_ERROR = 1_000


class SyncRun:
    """One run of one token: ``steps()`` once, and ``abandon()`` if the driver was interrupted meanwhile."""

    def __init__(self, token_name: str, policy: SyncPolicy, *, trigger: Trigger, full: bool) -> None:
        self._token_name = token_name
        self._policy = policy
        self._trigger = trigger
        self._full = full
        self._state = SyncState()
        self._started_at: datetime | None = None
        self._action = SyncAction.WAIT
        self._reason = ""
        self._pages = 0
        self._devices = 0
        self._changes = ChangeCounts()
        self._notes: list[str] = []
        self._only_listed = 0
        self._unreadable = 0
        self._sent: set[str] = set()
        self._has_lost_cursor = False

    def steps(self) -> Flow[SyncReport]:
        """Return the report of a run from the decision to the end.

        Raises:
            AppleError: Apple refused; what was committed before stays.
            TransportError: No answer came; likewise.
            StoreError: The store failed.
        """
        now = yield from ask(Now())
        stored = yield from ask(InStore(lambda store: store.sync_state(self._token_name)))
        self._state = stored
        try:
            if (state := corrected(stored, now)) is not stored:
                yield from self._save(state)
            decision = self._policy.decide(self._state, now, trigger=self._trigger, full=self._full)
            if not decision.action.sends_requests:
                return self._idle(decision, now)
            # Set before the commit: whoever is interrupted in the middle of it must recognise the run as his.
            self._started_at = now
            yield from self._save(self._begun(decision, now))
        except StoreConflictError:
            return (yield from self._overtaken_at_start(now))
        try:
            ending = yield from self._pages_to_the_end(now)
            return (yield from self._finish(ending))
        except StoreConflictError:
            return (yield from self._overtaken())
        except Exception as error:
            yield from self._fail(error)
            raise

    def abandon(self) -> Flow[None]:
        """Mark the run as over, if it is still the one under way, so that the next need not wait for it.

        For a driver that was interrupted in the middle of a step: the state is read again, since the step may
        have been committed.
        """
        if self._started_at is not None:
            state = yield from ask(InStore(lambda store: store.sync_state(self._token_name)))
            if state.running_since == self._started_at:
                yield from self._save(attrs.evolve(state, running_since=None))

    # Start

    def _begun(self, decision: Decision, now: datetime) -> SyncState:
        state = attrs.evolve(self._state, run_at=now, running_since=now, continues=False, last_error="")
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

    def _pages_to_the_end(self, started_at: datetime) -> Flow[Ending]:
        if self._state.phase is SyncPhase.SYNC and self._state.listing_since is not None:
            yield from self._release_the_rest(started_at)
        while True:
            ending = yield from self._one_page()
            if ending is not None:
                return ending
            if self._pages >= self._policy.max_pages_per_run:
                return Ending.PAGE_LIMIT
            now = yield from ask(Now())
            if now - started_at >= self._policy.time_limit:
                return Ending.TIME_LIMIT

    def _one_page(self) -> Flow[Ending | None]:
        """Ask for a page and commit it; an ending if the run is over."""
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

    def _commit(self, page: DevicePage) -> Flow[Ending | None]:
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
        now = yield from ask(Now())
        self._state, changes = yield from ask(
            InStore(
                lambda store: store.commit_page(
                    self._token_name, page.devices, source=source, state=after, now=now
                )
            )
        )
        self._pages += 1
        self._devices += len(page.devices)
        self._changes += changes
        self._unreadable += page.unreadable
        if source is Source.FETCH and before.full_sync > 1:
            self._only_listed += changes.added + changes.returned
        phase = ProgressPhase.FETCH if source is Source.FETCH else ProgressPhase.SYNC
        yield from ask(
            Tell(Progress(token_name=self._token_name, phase=phase, pages=self._pages, devices=self._devices))
        )
        if is_last_of_list:
            yield from self._release_the_rest(now)
            return None
        if is_repeated:
            return Ending.REPEATED_CURSOR
        return None if page.more_to_follow else Ending.CAUGHT_UP

    def _release_the_rest(self, now: datetime) -> Flow[None]:
        state = self._state
        self._state, changes = yield from ask(
            InStore(lambda store: store.finish_full_sync(self._token_name, state=state, now=now))
        )
        self._changes += changes

    # Cursors that Apple refuses

    def _exhausted(self) -> Flow[Ending | None]:
        """Go on to the changes with the same cursor; for them it means that there is nothing new."""
        if self._state.phase is SyncPhase.SYNC:
            return Ending.CAUGHT_UP
        self._notes.append("Apple ended the full list without a last page: nothing was released")
        yield from self._save(attrs.evolve(self._state, phase=SyncPhase.SYNC, listing_since=None))
        return None

    def _cursor_lost(self, error: CursorError) -> Flow[Ending | None]:
        """Forget the cursor and begin a full list, if the policy allows one now."""
        self._has_lost_cursor = True
        # A list that begins anew may well go through the same cursors.
        self._sent.clear()
        word = "expired" if isinstance(error, ExpiredCursorError) else "not recognised"
        now = yield from ask(Now())
        lost = attrs.evolve(self._state, phase=SyncPhase.FETCH, cursor=None, listing_since=None, repeats=0)
        decision = self._policy.decide_list(lost, now)
        if not decision.action.sends_requests:
            self._notes.append(f"cursor {word}")
            yield from self._save(lost)
            return Ending.NO_CURSOR
        self._notes.append(f"cursor {word}: full list fetched")
        yield from self._save(self._with_action(lost, decision, now))
        return None

    # End

    def _finish(self, ending: Ending) -> Flow[SyncReport]:
        now = yield from ask(Now())
        is_caught_up = ending is Ending.CAUGHT_UP
        is_continued = ending is Ending.TIME_LIMIT
        yield from self._save(
            attrs.evolve(
                self._state,
                running_since=None,
                continues=is_continued,
                succeeded_at=now if is_caught_up else self._state.succeeded_at,
                repeats=self._state.repeats if ending is Ending.REPEATED_CURSOR else 0,
                last_error="" if is_caught_up or is_continued else ending.value,
            )
        )
        return self._report(ending, now)

    def _fail(self, error: Exception) -> Flow[None]:
        """Store that the run is over and why; the error itself matters more than whether that works."""
        error.add_note(f"{self._token_name}: {self._pages} pages were committed before")
        # The text of an error that is not ours may hold anything.
        text = f"{type(error).__name__}: {error}" if isinstance(error, PyadeError) else type(error).__name__
        try:
            yield from self._save(
                attrs.evolve(self._state, running_since=None, last_error=text[:_LONGEST_ERROR])
            )
        except StoreError as another:
            error.add_note(f"the end of the run could not be stored: {another}")

    def _idle(self, decision: Decision, now: datetime) -> SyncReport:
        self._action, self._reason = decision.action, decision.reason
        report = self._report(Ending.NOT_STARTED, now)
        return attrs.evolve(report, allowed_at=decision.allowed_at, running_since=decision.running_since)

    def _overtaken_at_start(self, now: datetime) -> Flow[SyncReport]:
        self._state = yield from ask(InStore(lambda store: store.sync_state(self._token_name)))
        self._action, self._reason = SyncAction.RUNNING, "another worker started at the same time"
        report = self._report(Ending.NOT_STARTED, now)
        return attrs.evolve(report, running_since=self._state.running_since)

    def _overtaken(self) -> Flow[SyncReport]:
        self._state = yield from ask(InStore(lambda store: store.sync_state(self._token_name)))
        now = yield from ask(Now())
        return self._report(Ending.OVERTAKEN, now)

    def _report(self, ending: Ending, now: datetime) -> SyncReport:
        next_allowed_at, next_automatic_at = self._policy.next_times(self._state, now)
        notes = list(self._notes)
        if self._only_listed:
            notes.append(f"{self._only_listed:,} devices came only with the full list")
        if self._unreadable:
            notes.append(f"{self._unreadable:,} records without a serial number were left out")
        return SyncReport(
            token_name=self._token_name,
            action=self._action,
            reason=self._reason,
            ending=ending,
            pages=self._pages,
            devices=self._devices,
            changes=self._changes,
            started_at=self._started_at or now,
            finished_at=now,
            next_allowed_at=next_allowed_at,
            next_automatic_at=next_automatic_at,
            notes=tuple(notes),
        )

    def _save(self, state: SyncState) -> Flow[None]:
        self._state = yield from ask(InStore(lambda store: store.save_sync_state(self._token_name, state)))
