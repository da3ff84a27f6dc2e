"""Keep every token of a store in step with Apple, for as long as the process lives.

The rules of this file:

1. What is due is read from the store again and again (``core.schedule``), so that tokens may come, go and be
   renewed, and other processes may work on the same store.
2. One job per token at a time and ``max_concurrent`` in all. What one token meets concerns no other token.
3. A stop ends each job after the page or chunk that it is busy with, and one that hears nothing from Apple
   within five seconds; the next start goes on there.
4. While jobs run, their end is waited for; ``wait`` is used only when there is nothing to do.

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
from pyade.apple.http.connection import jitter, utc_now
from pyade.apple.http.deadlines import STOP_SECONDS, StopWorkError, heeding
from pyade.apple.http.network import Network
from pyade.assignment.assigner import Assigner, AsyncAssigner
from pyade.assignment.report import AssignReport
from pyade.assignment.rules import AssignmentPolicy
from pyade.core.arguments import check_arguments
from pyade.core.fleet.schedule import Pace, Work
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Token
from pyade.errors import PolicyError, PyadeError
from pyade.operations.due_queue import DueQueue, Job, JobOutcome, Report, TokenState, goes_on, note_part
from pyade.storage.protocol import Store
from pyade.sync.runners import Progress, async_client_of, client_of, through
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
"""Returns the assigner for a client; it reports its progress to the callback, so that it can be stopped."""

AsyncAssignerFactory: TypeAlias = Callable[[AsyncClient, ProgressHook], AsyncRunsAssignments]
"""The same for ``AsyncScheduler``."""


ClientT = TypeVar("ClientT", bound=Client | AsyncClient)
FactoryT = TypeVar("FactoryT", bound=AssignerFactory | AsyncAssignerFactory)
WaitT = TypeVar("WaitT")


@check_arguments
class _Scheduling(Generic[ClientT, FactoryT, WaitT]):
    def __init__(
        self,
        store: Store,
        client_for: Callable[[Token], ClientT],
        *,
        policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
        pace: Pace = Pace(),  # noqa: B008 - frozen
        assign: bool | AssignmentPolicy | FactoryT = True,
        clock: Callable[[], datetime] = utc_now,
        wait: Callable[[float], WaitT] | None = None,
        random: Callable[[], float] = jitter,
        max_concurrent: int = 4,
        progress: ProgressHook | None = None,
        on_report: Callable[[Report], object] | None = None,
        **network: Unpack[Network],
    ) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            store: Where the tokens are; read again every minute.
            client_for: Returns a new client for a token, for the asynchronous class an ``AsyncClient``; it is
                closed when the job is over. Pass ``sessions=`` to the clients to keep sessions between jobs.
            policy: The limits.
            pace: Jitter, back-off, and how often the store is looked at.
            assign: True to hand out profiles after each sync and when a waiting device's time has come; the
                rules to hand them out by, or a factory for an assigner of your own; False to leave that to
                others.
            clock: Returns the time, UTC.
            wait: Waits a number of seconds while nothing is due, awaited by the asynchronous class; left out,
                until then or the stop.
            random: Returns a number from 0 to below 1, for the jitter.
            max_concurrent: How many tokens are worked on at a time, 1 or more.
            progress: Called after each committed page or chunk, in a worker thread; by the asynchronous class
                in the event loop.
            on_report: Called with each ``SyncReport`` and ``AssignReport``, likewise.
            network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to
                ``client_for``.

        Raises:
            PolicyError: ``max_concurrent`` is less than 1.
        """
        self._places = _checked(max_concurrent)
        self._store = store
        self._client_for: Callable[[Token], ClientT] = through(client_for, network)
        self._policy = policy
        self._assign: bool | AssignmentPolicy | FactoryT = assign
        self._clock = clock
        self._wait: Callable[[float], WaitT] | None = wait
        self._progress = progress
        self._on_report = on_report
        self._queue = DueQueue(
            store, policy=policy, pace=pace, clock=clock, random=random, assigns=assign is not False
        )


@check_arguments
class Scheduler(_Scheduling[Client, AssignerFactory, object]):
    """Syncs every token of a store when it is due, and gives its Macs their profiles, until it is stopped.

    Each token is synced every 24 hours and a jitter, within the limits of the policy, which are read from the
    store: after a restart it goes on where it was. A token that needs a person is suspended with its reason,
    tried again at the same interval, and sooner when it was renewed in the store.
    """

    def run(self, stop: threading.Event) -> None:
        """Work until *stop* is set; returns when the jobs under way have ended.

        Each ends within one page, and within five seconds where Apple does not answer; with a transport of
        the caller's, at its timeout.
        """
        wait = self._wait or stop.wait
        running: dict[Future[JobOutcome], Job] = {}
        with ThreadPoolExecutor(self._places, thread_name_prefix="pyade-scheduler") as pool:
            try:
                while not stop.is_set():
                    jobs, pause = self._queue.take(self._places - len(running))
                    running |= {pool.submit(self._work, job, stop): job for job in jobs}
                    if running:
                        done, _ = wait_for(running, timeout=pause, return_when=FIRST_COMPLETED)
                        for future in done:
                            self._queue.finish(running.pop(future), future.result())
                    else:
                        wait(pause)
            finally:
                # Also after Ctrl-C in this thread: the pool waits for its jobs, which end at their next page.
                stop.set()
                for future, job in running.items():
                    self._queue.finish(job, future.result())

    def status(self) -> tuple[TokenState, ...]:
        """Return where each token stands, by name; from any thread, also while nothing runs.

        Raises:
            StoreError: The store cannot be read.
        """
        return self._queue.status()

    def _work(self, job: Job, stop: threading.Event) -> JobOutcome:
        def tell(progress: Progress) -> None:
            if self._progress is not None:
                self._progress(progress)
            if stop.is_set():
                raise StopWorkError

        reports: list[Report] = []

        def note(report: Report) -> None:
            reports.append(report)
            if self._on_report is not None:
                self._on_report(report)

        try:
            with heeding(stop), client_of(self._client_for, job.token) as client:
                if job.due.work is Work.SYNC:
                    syncer = Syncer(
                        client, self._store, policy=self._policy, clock=self._clock, progress=tell
                    )
                    note(syncer.sync(automatic=job.due.automatic))
                if goes_on(reports) and not stop.is_set() and self._assign is not False:
                    self._run_assigner(self._assigner(client, tell), note)
        except StopWorkError:
            return JobOutcome(reports=tuple(reports), stopped=True)
        except Exception as error:  # noqa: BLE001 - one token's trouble must not end the others' work
            return JobOutcome(reports=tuple(reports), error=error)
        return JobOutcome(reports=tuple(reports))

    def _run_assigner(self, assigner: RunsAssignments, note: Callable[[Report], None]) -> None:
        try:
            note(assigner.run())
        except PyadeError as error:
            note_part(error, note)
            raise

    def _assigner(self, client: Client, tell: ProgressHook) -> RunsAssignments:
        if callable(self._assign):
            return self._assign(client, tell)
        rules = rules_of(self._assign)
        return Assigner(client, self._store, policy=rules, clock=self._clock, progress=tell)


@check_arguments
class AsyncScheduler(_Scheduling[AsyncClient, AsyncAssignerFactory, Awaitable[object]]):
    """Does what ``Scheduler`` does with ``AsyncClient``, on asyncio and trio; the store works in threads."""

    _running: int = 0
    _ended: anyio.Event

    async def run(self, stop: anyio.Event) -> None:
        """Work until *stop* is set; see ``Scheduler.run``. Cancelling ends the jobs where they are."""
        self._scopes: set[anyio.CancelScope] = set()
        self._ended = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._wake_at, stop)
            while not stop.is_set():
                self._ended = anyio.Event()
                jobs, pause = await anyio.to_thread.run_sync(self._queue.take, self._places - self._running)
                for job in jobs:
                    self._running += 1
                    group.start_soon(self._run_job, job, stop)
                if self._running or self._ended.is_set():
                    with anyio.move_on_after(pause):
                        await self._ended.wait()
                elif self._wait is not None:
                    await self._wait(pause)
                else:
                    with anyio.move_on_after(pause):
                        await stop.wait()
            with anyio.move_on_after(STOP_SECONDS):
                while self._running:
                    self._ended = anyio.Event()
                    await self._ended.wait()
            for scope in self._scopes:
                scope.cancel()

    async def status(self) -> tuple[TokenState, ...]:
        """Return where each token stands, by name; see ``Scheduler.status``."""
        return await anyio.to_thread.run_sync(self._queue.status)

    async def _wake_at(self, stop: anyio.Event) -> None:
        await stop.wait()
        self._ended.set()

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
            self._ended.set()

    async def _work(self, job: Job, stop: anyio.Event) -> JobOutcome:
        def tell(progress: Progress) -> None:
            if self._progress is not None:
                self._progress(progress)
            if stop.is_set():
                raise StopWorkError

        reports: list[Report] = []

        def note(report: Report) -> None:
            reports.append(report)
            if self._on_report is not None:
                self._on_report(report)

        try:
            async with async_client_of(self._client_for, job.token) as client:
                if job.due.work is Work.SYNC:
                    syncer = AsyncSyncer(
                        client, self._store, policy=self._policy, clock=self._clock, progress=tell
                    )
                    note(await syncer.sync(automatic=job.due.automatic))
                if goes_on(reports) and not stop.is_set() and self._assign is not False:
                    await self._run_assigner(self._assigner(client, tell), note)
        except StopWorkError:
            return JobOutcome(reports=tuple(reports), stopped=True)
        except Exception as error:  # noqa: BLE001 - one token's trouble must not end the others' work
            return JobOutcome(reports=tuple(reports), error=error)
        return JobOutcome(reports=tuple(reports))

    async def _run_assigner(self, assigner: AsyncRunsAssignments, note: Callable[[Report], None]) -> None:
        try:
            note(await assigner.run())
        except PyadeError as error:
            note_part(error, note)
            raise

    def _assigner(self, client: AsyncClient, tell: ProgressHook) -> AsyncRunsAssignments:
        if callable(self._assign):
            return self._assign(client, tell)
        return AsyncAssigner(
            client, self._store, policy=rules_of(self._assign), clock=self._clock, progress=tell
        )


def rules_of(assign: object) -> AssignmentPolicy:
    """Return the rules that were given as ``assign``, none if it is something else."""
    return assign if isinstance(assign, AssignmentPolicy) else AssignmentPolicy()


def _checked(max_concurrent: int) -> int:
    if max_concurrent < 1:
        raise PolicyError(f"max_concurrent is {max_concurrent}: it must be 1 or more")
    return max_concurrent
