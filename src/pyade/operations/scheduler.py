"""Sync every token of a store and assign its profiles, until the scheduler is stopped.

The rules of this file:

1. The due tokens are read from the store repeatedly, so tokens may be added, removed and renewed, and other
   processes may work on the same store.
2. At most one job per token and ``max_concurrent`` jobs in all run at a time. An error of one token does not
   affect other tokens.
3. A stop ends each job after its current page or chunk, and within five seconds if Apple does not respond;
   the next start continues there.
4. While jobs run, the scheduler waits for one of them to end; ``wait`` is only called when none runs.

Source: specification, "Sync restrictions": "A sync is run automatically every 24 hours."
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from datetime import datetime
from typing import Generic, Protocol, TypeAlias, TypeVar, Unpack

import anyio
import anyio.abc
import anyio.to_thread

from pyade.apple.client import AsyncClient, Client
from pyade.apple.http.connection import jitter
from pyade.apple.http.deadlines import STOP_SECONDS, StopWorkError, stop_when_set
from pyade.apple.http.network import Network
from pyade.assignment.assigner import Assigner, AsyncAssigner
from pyade.assignment.report import AssignReport
from pyade.assignment.rules import AssignmentPolicy
from pyade.core.arguments import check_arguments
from pyade.core.fleet.schedule import Pace, Work
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Token
from pyade.errors import PolicyError, PyadeError
from pyade.flow import clock_of
from pyade.operations.due_queue import (
    DueQueue,
    Job,
    JobOutcome,
    Report,
    TokenState,
    add_partial_report,
    may_assign,
)
from pyade.storage.protocol import Store
from pyade.sync.runners import Progress, client_of, client_of_async, with_network
from pyade.sync.syncer import AsyncSyncer, Syncer

ProgressHook: TypeAlias = Callable[[Progress], None]


class RunsAssignments(Protocol):
    """The part of ``Assigner`` that is used here."""

    def run(self) -> AssignReport:
        """Send what differs."""
        ...


class AsyncRunsAssignments(Protocol):
    """The part of ``AsyncAssigner`` that is used here."""

    async def run(self) -> AssignReport:
        """Send what differs."""
        ...


AssignerFactory: TypeAlias = Callable[[Client, ProgressHook], RunsAssignments]
"""Returns the assigner for a client; it must call the progress callback, which raises to stop it."""

AsyncAssignerFactory: TypeAlias = Callable[[AsyncClient, ProgressHook], AsyncRunsAssignments]
"""The same for ``AsyncScheduler``."""


ClientT = TypeVar("ClientT", bound=Client | AsyncClient)
FactoryT = TypeVar("FactoryT", bound=AssignerFactory | AsyncAssignerFactory)
WaitT = TypeVar("WaitT")


@check_arguments
class _BaseScheduler(Generic[ClientT, FactoryT, WaitT]):
    def __init__(
        self,
        store: Store,
        client_for: Callable[[Token], ClientT],
        *,
        policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
        pace: Pace = Pace(),  # noqa: B008 - frozen
        assign: bool | AssignmentPolicy | FactoryT = True,
        clock: Callable[[], datetime] | None = None,
        wait: Callable[[float], WaitT] | None = None,
        random: Callable[[], float] = jitter,
        max_concurrent: int = 4,
        progress: ProgressHook | None = None,
        on_report: Callable[[Report], object] | None = None,
        **network: Unpack[Network],
    ) -> None:
        """Configure the scheduler.

        Args:
            store: The store with the tokens; read again every minute.
            client_for: Returns a new client for a token, for ``AsyncScheduler`` an ``AsyncClient``; it is
                closed when the job is over. Pass ``sessions=`` to the clients to keep sessions between jobs.
            policy: The limits.
            pace: Jitter, back-off, and how often the store is read.
            assign: True to assign profiles after each sync and when a waiting device is due; a policy to do
                so by its rules; a factory for an assigner of your own; False to assign none.
            clock: Returns the time, UTC; None for the clock of *store*.
            wait: Waits a number of seconds while nothing is due; ``AsyncScheduler`` awaits it. None
                waits until then or the stop.
            random: Returns a number from 0 to below 1, for the jitter.
            max_concurrent: How many jobs may run at a time, 1 or more.
            progress: Called after each committed page or chunk, in a worker thread; ``AsyncScheduler`` calls
                it in the event loop.
            on_report: Called with each ``SyncReport`` and ``AssignReport``, in the same thread as
                ``progress``.
            network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to
                ``client_for``.

        Raises:
            PolicyError: ``max_concurrent`` is less than 1.
        """
        self._places = _validate_max_concurrent(max_concurrent)
        self._store = store
        self._client_for: Callable[[Token], ClientT] = with_network(client_for, network)
        self._policy = policy
        self._assign: bool | AssignmentPolicy | FactoryT = assign
        self._clock: Callable[[], datetime] = clock_of(clock, store)
        self._wait: Callable[[float], WaitT] | None = wait
        self._progress = progress
        self._on_report = on_report
        self._queue = DueQueue(
            store, policy=policy, pace=pace, clock=self._clock, random=random, assigns=assign is not False
        )


class _JobReporter:
    """Passes the progress and the reports of one job to the hooks, and ends the job once it is to stop.

    Attributes:
        reports: The reports of the job so far.
    """

    def __init__(
        self,
        progress: ProgressHook | None,
        on_report: Callable[[Report], object] | None,
        is_stopped: Callable[[], bool],
    ) -> None:
        self.reports: list[Report] = []
        self._progress = progress
        self._on_report = on_report
        self._is_stopped = is_stopped

    def report_progress(self, progress: Progress) -> None:
        if self._progress is not None:
            self._progress(progress)
        if self._is_stopped():
            raise StopWorkError  # rule 3

    def add_report(self, report: Report) -> None:
        self.reports.append(report)
        if self._on_report is not None:
            self._on_report(report)


@check_arguments
class Scheduler(_BaseScheduler[Client, AssignerFactory, object]):
    """Syncs every token of a store when it is due, and gives its Macs their profiles, until it is stopped.

    Each token is synced every 24 hours plus a jitter, within the limits of the policy. The times are read
    from the store, so a restarted scheduler continues where it was. A token that needs an administrator is
    suspended with its reason, tried again at the same interval, and sooner after it was renewed in the store.
    """

    def run(self, stop: threading.Event) -> None:
        """Work until *stop* is set; returns when all running jobs have ended.

        Each ends within one page, and within five seconds if Apple does not respond; with a custom transport,
        at its timeout.
        """
        wait = self._wait or stop.wait
        running: dict[Future[JobOutcome], Job] = {}
        with ThreadPoolExecutor(self._places, thread_name_prefix="pyade-scheduler") as pool:
            try:
                while not stop.is_set():
                    jobs, pause = self._queue.take(self._places - len(running))  # rules 1 and 2
                    running |= {pool.submit(self._work, job, stop): job for job in jobs}
                    if running:
                        done, _ = wait_for(running, timeout=pause, return_when=FIRST_COMPLETED)
                        for future in done:
                            self._queue.finish(running.pop(future), future.result())
                    else:
                        wait(pause)  # rule 4
            finally:
                # Also after Ctrl-C in this thread: the pool waits for its jobs, which end at their next page.
                stop.set()  # rule 3
                for future, job in running.items():
                    self._queue.finish(job, future.result())

    def status(self) -> tuple[TokenState, ...]:
        """Return the state of each token, sorted by name; may be called from any thread, at any time.

        Raises:
            StoreError: The store cannot be read.
        """
        return self._queue.status()

    def _work(self, job: Job, stop: threading.Event) -> JobOutcome:
        reporter = _JobReporter(self._progress, self._on_report, stop.is_set)
        progress = reporter.report_progress
        try:
            with stop_when_set(stop), client_of(self._client_for, job.token) as client:
                if job.due.work is Work.SYNC:
                    syncer = Syncer(
                        client, self._store, policy=self._policy, clock=self._clock, progress=progress
                    )
                    reporter.add_report(syncer.sync(automatic=job.due.automatic))
                if may_assign(reporter.reports) and not stop.is_set() and self._assign is not False:
                    self._run_assigner(self._assigner(client, progress), reporter.add_report)
        except StopWorkError:
            return JobOutcome(reports=tuple(reporter.reports), stopped=True)
        except Exception as error:  # noqa: BLE001 - rule 2: other jobs must go on
            return JobOutcome(reports=tuple(reporter.reports), error=error)
        return JobOutcome(reports=tuple(reporter.reports))

    def _run_assigner(self, assigner: RunsAssignments, add_report: Callable[[Report], None]) -> None:
        try:
            add_report(assigner.run())
        except PyadeError as error:
            add_partial_report(error, add_report)
            raise

    def _assigner(self, client: Client, report_progress: ProgressHook) -> RunsAssignments:
        if callable(self._assign):
            return self._assign(client, report_progress)
        rules = rules_of(self._assign)
        return Assigner(client, self._store, policy=rules, clock=self._clock, progress=report_progress)


@check_arguments
class AsyncScheduler(_BaseScheduler[AsyncClient, AsyncAssignerFactory, Awaitable[object]]):
    """Does what ``Scheduler`` does with ``AsyncClient``, on asyncio and trio; the store works in threads."""

    _running: int = 0
    _job_ended: anyio.Event

    async def run(self, stop: anyio.Event) -> None:
        """Work until *stop* is set; see ``Scheduler.run``. Cancellation ends the jobs immediately."""
        self._scopes: set[anyio.CancelScope] = set()
        self._job_ended = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._wake_on_stop, stop)
            while not stop.is_set():
                self._job_ended = anyio.Event()
                jobs, pause = await anyio.to_thread.run_sync(self._queue.take, self._places - self._running)
                for job in jobs:
                    self._running += 1
                    group.start_soon(self._run_job, job, stop)
                if self._running or self._job_ended.is_set():
                    with anyio.move_on_after(pause):
                        await self._job_ended.wait()
                elif self._wait is not None:
                    await self._wait(pause)
                else:
                    with anyio.move_on_after(pause):
                        await stop.wait()
            with anyio.move_on_after(STOP_SECONDS):
                while self._running:
                    self._job_ended = anyio.Event()
                    await self._job_ended.wait()
            for scope in self._scopes:
                scope.cancel()

    async def status(self) -> tuple[TokenState, ...]:
        """Return the state of each token, sorted by name; see ``Scheduler.status``."""
        return await anyio.to_thread.run_sync(self._queue.status)

    async def _wake_on_stop(self, stop: anyio.Event) -> None:
        await stop.wait()
        self._job_ended.set()

    async def _run_job(self, job: Job, stop: anyio.Event) -> None:
        outcome, scope = JobOutcome(stopped=True), anyio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                outcome = await self._work(job, stop)
        finally:
            self._scopes.discard(scope)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._queue.finish, job, outcome)
            self._running -= 1
            self._job_ended.set()

    async def _work(self, job: Job, stop: anyio.Event) -> JobOutcome:
        reporter = _JobReporter(self._progress, self._on_report, stop.is_set)
        progress = reporter.report_progress
        try:
            async with client_of_async(self._client_for, job.token) as client:
                if job.due.work is Work.SYNC:
                    syncer = AsyncSyncer(
                        client, self._store, policy=self._policy, clock=self._clock, progress=progress
                    )
                    reporter.add_report(await syncer.sync(automatic=job.due.automatic))
                if may_assign(reporter.reports) and not stop.is_set() and self._assign is not False:
                    await self._run_assigner(self._assigner(client, progress), reporter.add_report)
        except StopWorkError:
            return JobOutcome(reports=tuple(reporter.reports), stopped=True)
        except Exception as error:  # noqa: BLE001 - rule 2: other jobs must go on
            return JobOutcome(reports=tuple(reporter.reports), error=error)
        return JobOutcome(reports=tuple(reporter.reports))

    async def _run_assigner(
        self, assigner: AsyncRunsAssignments, add_report: Callable[[Report], None]
    ) -> None:
        try:
            add_report(await assigner.run())
        except PyadeError as error:
            add_partial_report(error, add_report)
            raise

    def _assigner(self, client: AsyncClient, report_progress: ProgressHook) -> AsyncRunsAssignments:
        if callable(self._assign):
            return self._assign(client, report_progress)
        return AsyncAssigner(
            client, self._store, policy=rules_of(self._assign), clock=self._clock, progress=report_progress
        )


def rules_of(assign: object) -> AssignmentPolicy:
    """Return the policy that was passed as ``assign``; one without rules for anything else."""
    return assign if isinstance(assign, AssignmentPolicy) else AssignmentPolicy()


def _validate_max_concurrent(max_concurrent: int) -> int:
    if max_concurrent < 1:
        raise PolicyError(f"max_concurrent is {max_concurrent}: it must be 1 or more")
    return max_concurrent
