"""Keep a store in step with Apple: one call is one run within the limits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from pyade.apple.http.connection import utc_now
from pyade.core.arguments import check_arguments
from pyade.core.fleet.sync_policy import SyncPolicy, Trigger
from pyade.errors import LeaseHeldError
from pyade.flow import AsyncRunner, Runner
from pyade.loading import modules_when_asked
from pyade.sync.leases import holding, holding_async
from pyade.sync.runners import AsyncCaller, Caller, async_runner_of, runner_of

if TYPE_CHECKING:
    import anyio

    from pyade.core.fleet.records import DeviceRecord
    from pyade.storage.protocol import Store
    from pyade.sync import details, run
    from pyade.sync.report import SyncReport
    from pyade.sync.runners import Progress
else:
    modules_when_asked(
        globals(),
        anyio="anyio",
        details="pyade.sync.details",
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
        clock: Callable[[], datetime] = utc_now,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            apple: A ``Client``, or for the asynchronous class an ``AsyncClient``; its ``token_name`` is the
                token to sync.
            store: Where the token was added.
            policy: The limits.
            clock: Returns the time, UTC.
            progress: Called after each committed page; by the asynchronous class in the event loop.
        """
        self._apple: CallerT = apple
        self._token_name = apple.token_name
        self._store = store
        self._policy = policy
        # The page at the time limit has its deadline and its commit still to go.
        self._longest = policy.time_limit + timedelta(minutes=5)
        self._clock = clock
        self._progress = progress


@check_arguments
class Syncer(_Syncing[Caller]):
    """Brings what Apple knows about a token's devices into a store.

    Several syncers, threads, processes and machines may share a store: a lease in it lets one run per token
    go on at a time, and the limits are read from the store. A run that died is continued by the next one as
    soon as its lease ended.
    """

    def sync(self, *, full: bool | None = None, automatic: bool = False, force: bool = False) -> SyncReport:
        """Run once, as far as the policy allows, and return what happened.

        Where the policy says that it is too early, or that a run is under way, nothing is sent and nothing is
        raised: the report's ``action`` is ``WAIT`` or ``RUNNING``, with the reason and ``allowed_at``, and
        for ``RUNNING`` with the worker who holds the token.

        Args:
            full: True asks for Apple's full list, which finds what the changes did not mention; None does so
                when the last one is seven days old. False follows the changes as long as Apple accepts the
                cursor.
            automatic: The run was not asked for by a person: it keeps the longer interval, up to five minutes
                less for a nightly job that is not exact.
            force: Release what the full list does not show, however many devices that are, also where that
                was held back in an earlier run; every other limit holds.

        Raises:
            AppleError: Apple refused. Pages that were committed before stay, the next run goes on after them.
            TransportError: No answer came; likewise.
            UnknownTokenError: The token is not in the store.
            StoreError: The store failed.

        Source: specification, "Sync managed devices" and "Sync restrictions".
        """
        work = run.SyncRun(
            self._token_name, self._policy, trigger=_trigger(automatic), full=full, force=force
        )
        with contextlib.ExitStack() as stack:
            try:
                holder = holding(self._runner, self._store, self._token_name, longest=self._longest)
                lease = stack.enter_context(holder)
            except LeaseHeldError as held:
                return self._runner.run(work.refused(held))
            try:
                return self._runner.run(work.steps(lease))
            except Exception:
                raise
            except BaseException:
                # Ctrl-C. If this fails, too, the next run takes this one for one that died.
                with contextlib.suppress(Exception):
                    self._runner.run(work.abandon())
                raise

    def restore(self, serial_number: str) -> DeviceRecord | None:
        """Bring back one device, as Apple's details show it now, and return its record.

        For a device that was deleted here, or that a sync has not mentioned. It needs no sync.

        Args:
            serial_number: Apple's serial number.

        Returns:
            The stored record; None if Apple does not show the device to this token: nothing is stored then.

        Raises:
            AppleError: Apple refused.
            TransportError: No answer came.
            LeaseHeldError: Another worker is busy with the token.
            StoreError: The store failed.
        """
        with holding(self._runner, self._store, self._token_name) as lease:
            return self._runner.run(details.restore_flow(self._token_name, serial_number, lease))

    @property
    def _runner(self) -> Runner:
        return runner_of(self._apple, self._store, self._clock, self._progress)


@check_arguments
class AsyncSyncer(_Syncing[AsyncCaller]):
    """Does what ``Syncer`` does with an ``AsyncClient``; the store works in worker threads."""

    async def sync(
        self, *, full: bool | None = None, automatic: bool = False, force: bool = False
    ) -> SyncReport:
        """Run once, as far as the policy allows, and return what happened; see ``Syncer.sync``."""
        work = run.SyncRun(
            self._token_name, self._policy, trigger=_trigger(automatic), full=full, force=force
        )
        async with contextlib.AsyncExitStack() as stack:
            try:
                holder = holding_async(self._runner, self._store, self._token_name, longest=self._longest)
                lease = await stack.enter_async_context(holder)
            except LeaseHeldError as held:
                return await self._runner.run(work.refused(held))
            try:
                return await self._runner.run(work.steps(lease))
            except Exception:
                raise
            except BaseException:
                # Cancelled. If this fails, too, the next run takes this one for one that died.
                with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                    await self._runner.run(work.abandon())
                raise

    async def restore(self, serial_number: str) -> DeviceRecord | None:
        """Bring back one device, as Apple's details show it now; see ``Syncer.restore``."""
        async with holding_async(self._runner, self._store, self._token_name) as lease:
            return await self._runner.run(details.restore_flow(self._token_name, serial_number, lease))

    @property
    def _runner(self) -> AsyncRunner:
        return async_runner_of(self._apple, self._store, self._clock, self._progress)


def _trigger(automatic: bool) -> Trigger:
    return Trigger.AUTOMATIC if automatic else Trigger.REQUESTED
