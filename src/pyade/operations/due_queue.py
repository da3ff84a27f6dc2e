"""The tokens of a scheduler, their retry states, and which of them are due; shared by both schedulers.

The rules of this file:

1. The queue reads the tokens from the store each time; it keeps in memory only which are running, and their
   retry states.
2. The result of a job is ignored if the token was renewed meanwhile, or if a stop ended the job.
3. An assignment that failed for some profiles only is repeated at the normal interval, without a back-off.
4. Work that is due again immediately waits for the first back-off nevertheless.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

import attrs

from pyade.assignment.failures import assignment_errors
from pyade.assignment.report import AssignReport
from pyade.core.arguments import TIME, check_returned
from pyade.core.exports import Exportable
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.schedule import Due, Pace, RetryState, Work, next_due
from pyade.core.fleet.suspension import suspended_reason
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Token
from pyade.errors import DamagedRecordError, PyadeError, StoreError, UnknownTokenError
from pyade.storage.protocol import Store
from pyade.sync.damage import DamageLog, Fleet, read_fleet
from pyade.sync.report import SyncReport
from pyade.sync.suspension import send_reminders_for
from pyade.text import Printed, logger

_log = logger(__name__)

Report: TypeAlias = SyncReport | AssignReport
"""The report of one part of a job."""


class Stage(enum.StrEnum):
    """The stage of a token: waiting until it is due, running, or suspended until an administrator acts."""

    WAITING = "waiting"
    RUNNING = "running"
    SUSPENDED = "suspended"


@attrs.frozen(kw_only=True)
class TokenState(Exportable, Printed):
    """One token of a scheduler; ``print`` shows it in a line.

    Attributes:
        token_name: The token.
        stage: Waiting, running or suspended.
        work: The next work, or the work that is running.
        next_at: When it becomes or became due, UTC; in the past while all places are taken.
        reason: Why it is suspended; else the error that ended the last sync, and the newest error of each
            profile that could not be assigned; "" if there is none.
    """

    token_name: str
    stage: Stage
    work: Work
    next_at: datetime
    reason: str = ""

    def _words(self) -> str:
        text = f"{self.token_name}: {self.stage}, {self.work} from {self.next_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{text} ({self.reason})" if self.reason else text


@attrs.frozen(kw_only=True)
class Job:
    """Work on one token that is due."""

    token: Token
    due: Due


@attrs.frozen(kw_only=True)
class JobOutcome:
    """The outcome of a job.

    Attributes:
        reports: Those of the sync, the assignment, or both.
        error: The error that ended it; None if there was none.
        stopped: True if the stop of the scheduler ended it.
    """

    reports: tuple[Report, ...] = ()
    error: Exception | None = None
    stopped: bool = False


@attrs.define
class _QueueEntry:
    token: Token
    retry_state: RetryState
    running: Due | None = None
    damage: str = ""
    damaged_at: datetime | None = None

    def damage_in(self, state: SyncState) -> str:
        """Return why the last run could not read the store; "" if it could, or if a later sync succeeded."""
        synced_at = state.succeeded_at
        is_over = synced_at is not None and self.damaged_at is not None and synced_at > self.damaged_at
        return "" if is_over else self.damage


class DueQueue:
    """Reads from the store which tokens are due, and keeps the outcome of their jobs. Thread-safe."""

    def __init__(
        self,
        store: Store,
        *,
        policy: SyncPolicy,
        pace: Pace,
        clock: Callable[[], datetime],
        random: Callable[[], float],
        assigns: bool,
    ) -> None:
        self._store = store
        self._policy = policy
        self._pace = pace
        self._clock = clock
        self._random = random
        self._assigns = assigns
        self._lock = threading.Lock()
        self._entries: dict[str, _QueueEntry] = {}
        self._damage = DamageLog()

    def take(self, places: int) -> tuple[list[Job], float]:
        """Return at most *places* due jobs, the longest waiting first, and mark their tokens as running.

        Returns:
            The jobs, and the seconds until the next call, if no job ends before.
        """
        now = self._now()
        try:
            fleet = self._read_fleet(now)
            send_reminders_for(self._store, fleet, now, self._damage)
        except StoreError as error:
            _log.warning("the store cannot be read: %s", error)
            return [], self._pace.look_every.total_seconds()
        with self._lock:
            idle = [
                (self._next_due(name, state, now), self._entries[name])
                for name, state in fleet.states.items()
                if name not in fleet.damaged and name in self._entries and self._entries[name].running is None
            ]
            idle.sort(key=lambda pair: (pair[0].at, pair[1].token.name))
            due = [(work, entry) for work, entry in idle if work.at <= now][:places]
            for work, entry in due:
                entry.running = work
            waiting = (work.at - now for work, _ in idle[len(due) :] if work.at > now)
            pause = min((*waiting, self._pace.look_every))
        return [Job(token=entry.token, due=work) for work, entry in due], pause.total_seconds()

    def finish(self, job: Job, outcome: JobOutcome) -> None:
        """Store the outcome of *job*, and mark its token as no longer running."""
        now = self._now()
        name, error = job.token.name, outcome.error
        # A report before the error means that the sync succeeded and the assignment failed.
        work = Work.ASSIGN if outcome.reports else job.due.work
        if error is not None and not isinstance(error, UnknownTokenError):
            # The text of a foreign error may contain anything.
            text = str(error) if isinstance(error, PyadeError) else ""
            _log.warning("%s: %s failed: %s %s", name, work, type(error).__name__, text)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return
            entry.running = None
            is_outdated = job.token.fingerprint != entry.token.fingerprint
            if outcome.stopped or is_outdated:  # rule 2
                return
            before = entry.retry_state
            entry.damage = ""
            if outcome.reports or error is None:
                entry.retry_state = self._retry_state_after(before, outcome.reports, now)
            if error is not None and partial_report(error) is None:  # rule 3
                entry.retry_state = entry.retry_state.failed(error, work, now, self._pace)
            if isinstance(error, DamagedRecordError):
                # The damaged store may be unable to store that the token is suspended.
                entry.damage, entry.damaged_at = f"{type(error).__name__}: {error}", now
                retry_at = now + self._policy.automatic_interval
                entry.retry_state = attrs.evolve(entry.retry_state, not_before=retry_at)
            if not self._assigns:
                entry.retry_state = attrs.evolve(entry.retry_state, assign_at=None)

    def status(self) -> tuple[TokenState, ...]:
        """Return the state of each token of the store, sorted by name."""
        now = self._now()
        fleet = self._read_fleet(now)
        with self._lock:
            return tuple(self._token_states(fleet, now))

    def _token_states(self, fleet: Fleet, now: datetime) -> Iterator[TokenState]:
        for name in sorted({*fleet.states, *fleet.damaged}):
            error = fleet.damaged.get(name)
            if error is not None:
                yield TokenState(
                    token_name=name,
                    stage=Stage.SUSPENDED,
                    work=Work.SYNC,
                    next_at=now + self._pace.look_every,
                    reason=f"{type(error).__name__}: {error}",
                )
            elif name in self._entries:
                yield self._token_state(name, fleet.states[name], now)

    def _token_state(self, name: str, state: SyncState, now: datetime) -> TokenState:
        entry = self._entries[name]
        due = entry.running or self._next_due(name, state, now)
        suspended = suspended_reason(entry.token, state) or entry.damage_in(state)
        stage = Stage.RUNNING if entry.running else Stage.SUSPENDED if suspended else Stage.WAITING
        errors = filter(None, (state.last_error, *assignment_errors(state)))
        reason = suspended or "; ".join(errors)
        return TokenState(token_name=name, stage=stage, work=due.work, next_at=due.at, reason=reason)

    def _next_due(self, name: str, state: SyncState, now: datetime) -> Due:
        entry = self._entries[name]
        return next_due(entry.token, state, entry.retry_state, policy=self._policy, pace=self._pace, now=now)

    def _retry_state_after(
        self, before: RetryState, reports: tuple[Report, ...], now: datetime
    ) -> RetryState:
        """Return the retry state after a job without an error; another worker may have held the token."""
        assign_at = before.assign_at
        synced = False
        for report in reports:
            if isinstance(report, AssignReport):
                assign_at = _not_before(report.next_due_at, now, self._pace)
            elif not report.action.sends_requests:
                # Not immediately, even if the store allows it.
                retry_at = max(report.allowed_at or now, now + self._pace.look_every)
                return attrs.evolve(before, not_before=retry_at)
            else:
                synced = True
        return before.succeeded(synced=synced, jitter=self._random(), assign_at=assign_at)

    def _now(self) -> datetime:
        return check_returned("clock", self._clock(), TIME)

    def _read_fleet(self, now: datetime) -> Fleet:
        """Read the tokens from the store, and update the entries: new, renewed, damaged and removed."""
        fleet = read_fleet(self._store)  # rule 1
        with self._lock:
            self._damage.update(fleet.damaged)
            for name in self._entries.keys() - fleet.tokens.keys():
                if self._entries[name].running is None:
                    del self._entries[name]
            for token in fleet.tokens.values():
                entry = self._entries.get(token.name)
                if entry is None:
                    retry_state = RetryState(jitter=self._random(), assign_at=now if self._assigns else None)
                    self._entries[token.name] = _QueueEntry(token, retry_state)
                elif entry.token != token:
                    if entry.token.fingerprint != token.fingerprint:
                        entry.retry_state = entry.retry_state.replaced(assigns=self._assigns, now=now)
                        entry.damage = ""
                    entry.token = token
        return fleet


def partial_report(error: Exception) -> AssignReport | None:
    """Return the report of an assignment that raised *error* after everything else was done, else None."""
    report = error.report if isinstance(error, PyadeError) else None
    return report if isinstance(report, AssignReport) and report.is_partial else None


def add_partial_report(error: PyadeError, add_report: Callable[[AssignReport], None]) -> None:
    """Call *add_report* with the report of an assignment that failed in part."""
    report = partial_report(error)
    if report is not None:
        add_report(report)


def may_assign(reports: Sequence[Report]) -> bool:
    """Return True if no sync was prevented by another worker or by the policy."""
    return all(isinstance(report, AssignReport) or report.action.sends_requests for report in reports)


def _not_before(at: datetime | None, now: datetime, pace: Pace) -> datetime | None:
    return None if at is None else max(at, now + pace.first_backoff)  # rule 4
