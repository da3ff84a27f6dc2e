"""The public classes that sync a store with Apple: one call is one run within the policy's limits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from pyade.core.arguments import check_arguments
from pyade.core.fleet.sync_policy import SyncPolicy, Trigger
from pyade.errors import LeaseHeldError
from pyade.flow import AsyncRunner, Runner, clock_of
from pyade.loading import lazy_modules
from pyade.sync.leases import acquire_and_hold, acquire_and_hold_async
from pyade.sync.runners import AsyncCaller, Caller, runner_of, runner_of_async

if TYPE_CHECKING:
    import anyio

    from pyade.core.fleet.records import DeviceRecord
    from pyade.storage.protocol import Store
    from pyade.sync import details, progress_bars, run
    from pyade.sync.report import SyncReport
    from pyade.sync.runners import Progress
else:
    lazy_modules(
        globals(),
        anyio="anyio",
        details="pyade.sync.details",
        progress_bars="pyade.sync.progress_bars",
        run="pyade.sync.run",
    )

CallerT = TypeVar("CallerT", bound=Caller | AsyncCaller)


@check_arguments
class _Syncing(Generic[CallerT]):
    def __init__(
        self,
        apple: CallerT,
        store: Store,
        *,
        policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
        clock: Callable[[], datetime] | None = None,
        progress: Callable[[Progress], None] | bool | None = None,
    ) -> None:
        """Configure the syncer.

        Args:
            apple: A ``Client``, or for ``AsyncSyncer`` an ``AsyncClient``; its ``token_name`` is the token to
                sync.
            store: Where the token was added.
            policy: The limits.
            clock: Returns the time, UTC; None for the clock of *apple*.
            progress: Called after each committed page; ``AsyncSyncer`` calls it in the event loop. True shows
                it on standard error: as a bar if ``tqdm`` or ``rich`` is installed, else as text.
        """
        self._apple: CallerT = apple
        self._token_name = apple.token_name
        self._store = store
        self._policy = policy
        # At the time limit a last page may still be requested and committed.
        self._longest = policy.time_limit + timedelta(minutes=5)
        self._clock: Callable[[], datetime] = clock_of(clock, apple, store)
        self._progress = progress


@check_arguments
class Syncer(_Syncing[Caller]):
    """Copies what Apple knows about a token's devices into a store.

    Several syncers, threads, processes and machines may share a store: a lease in it allows one run per token
    at a time, and the limits are read from the store. The next run continues one that died, as soon as its
    lease ended.
    """

    def sync(self, *, full: bool | None = None, automatic: bool = False, force: bool = False) -> SyncReport:
        """Run once, within the policy, and return the report.

        If it is too early for a run, or one is under way, nothing is sent and nothing is raised: the report's
        ``action`` is ``WAIT`` or ``RUNNING``, with the reason and ``allowed_at``, and for ``RUNNING`` with
        the worker that holds the lease.

        Args:
            full: True fetches Apple's full list, which finds devices that the changes did not mention; None
                does so if the last one is seven days old. False follows the changes as long as Apple accepts
                the cursor.
            automatic: True if no user requested the run: the longer interval applies, with a tolerance of
                five minutes for an inexact nightly job.
            force: Release all devices that the full list does not show, no matter how many, also those held
                back in an earlier run; all other limits apply.

        Raises:
            AppleError: Apple refused. Committed pages stay, and the next run continues after them.
            TransportError: No complete response arrived. Committed pages stay, and the next run continues
                after them.
            UnknownTokenError: The token is not in the store.
            StoreError: The store failed.

        Source: specification, "Sync managed devices" and "Sync restrictions".
        """
        work = run.SyncRun(
            self._token_name, self._policy, trigger=_trigger(automatic), full=full, force=force
        )
        with contextlib.ExitStack() as stack:
            runner = stack.enter_context(self._runner())
            try:
                holder = acquire_and_hold(runner, self._store, self._token_name, longest=self._longest)
                lease = stack.enter_context(holder)
            except LeaseHeldError as held:
                return runner.run(work.refused(held))
            try:
                return runner.run(work.steps(lease))
            except Exception:
                raise
            except BaseException:
                # Ctrl-C. If this fails, too, the next run treats this one as dead.
                with contextlib.suppress(Exception):
                    runner.run(work.abandon())
                raise

    def restore(self, serial_number: str) -> DeviceRecord | None:
        """Store one device as Apple's details show it now, and return its record.

        For a device that was deleted here, or that no sync has reported. It needs no sync.

        Args:
            serial_number: Apple's serial number.

        Returns:
            The stored record; None if Apple does not show the device to this token, then nothing is stored.

        Raises:
            AppleError: Apple refused.
            TransportError: No complete response arrived.
            LeaseHeldError: Another worker holds the token's lease.
            StoreError: The store failed.
        """
        with self._runner() as runner, acquire_and_hold(runner, self._store, self._token_name) as lease:
            return runner.run(details.restore_flow(self._token_name, serial_number, lease))

    @contextlib.contextmanager
    def _runner(self) -> Iterator[Runner]:
        with progress_bars.showing(self._progress, self._clock) as progress:
            yield runner_of(self._apple, self._store, self._clock, progress)


@check_arguments
class AsyncSyncer(_Syncing[AsyncCaller]):
    """``Syncer`` for an ``AsyncClient``; the store is called in worker threads."""

    async def sync(
        self, *, full: bool | None = None, automatic: bool = False, force: bool = False
    ) -> SyncReport:
        """Run once, within the policy, and return the report; see ``Syncer.sync``."""
        work = run.SyncRun(
            self._token_name, self._policy, trigger=_trigger(automatic), full=full, force=force
        )
        async with contextlib.AsyncExitStack() as stack:
            runner = stack.enter_context(self._runner())
            try:
                holder = acquire_and_hold_async(runner, self._store, self._token_name, longest=self._longest)
                lease = await stack.enter_async_context(holder)
            except LeaseHeldError as held:
                return await runner.run(work.refused(held))
            try:
                return await runner.run(work.steps(lease))
            except Exception:
                raise
            except BaseException:
                # Cancelled. If this fails, too, the next run treats this one as dead.
                with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                    await runner.run(work.abandon())
                raise

    async def restore(self, serial_number: str) -> DeviceRecord | None:
        """Store one device as Apple's details show it now; see ``Syncer.restore``."""
        with self._runner() as runner:
            async with acquire_and_hold_async(runner, self._store, self._token_name) as lease:
                return await runner.run(details.restore_flow(self._token_name, serial_number, lease))

    @contextlib.contextmanager
    def _runner(self) -> Iterator[AsyncRunner]:
        with progress_bars.showing(self._progress, self._clock) as progress:
            yield runner_of_async(self._apple, self._store, self._clock, progress)


def _trigger(automatic: bool) -> Trigger:
    return Trigger.AUTOMATIC if automatic else Trigger.REQUESTED
