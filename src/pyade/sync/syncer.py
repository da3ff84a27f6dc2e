"""Keep a store in step with Apple: one call is one run within the limits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime

import anyio

from pyade.apple.connection import utc_now
from pyade.core.flow import drive, drive_async
from pyade.core.policy import SyncPolicy, Trigger
from pyade.storage.protocol import Store
from pyade.sync.drivers import AsyncCaller, AsyncPerformer, Caller, Performer
from pyade.sync.flow import SyncRun
from pyade.sync.report import SyncReport
from pyade.sync.steps import Progress


class Syncer:
    """Brings what Apple knows about a token's devices into a store.

    Several syncers, threads and processes may share a store: one run per token goes on at a time, and the
    limits are read from the store.

    Args:
        apple: A ``Client``; its ``token_name`` is the token to sync.
        store: Where the token was added.
        policy: The limits.
        clock: Returns the time, UTC.
        progress: Called after each committed page.
    """

    def __init__(
        self,
        apple: Caller,
        store: Store,
        *,
        policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
        clock: Callable[[], datetime] = utc_now,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._token_name = apple.token_name
        self._policy = policy
        self._perform = Performer(apple, store, clock, progress)

    def sync(self, *, full: bool = False, automatic: bool = False) -> SyncReport:
        """Run once, as far as the policy allows, and return what happened.

        Where the policy says that it is too early, or that a run is under way, nothing is sent and nothing is
        raised: the report's ``action`` is ``WAIT`` or ``RUNNING``, with the reason and ``allowed_at``.

        Args:
            full: Ask for Apple's full list, which finds what the changes did not mention.
            automatic: The run was not asked for by a person: it keeps the longer interval, and becomes a full
                one when that is due.

        Raises:
            AppleError: Apple refused. Pages that were committed before stay, the next run goes on after them.
            TransportError: No answer came; likewise.
            UnknownTokenError: The token is not in the store.
            StoreError: The store failed.

        Source: specification, "Sync managed devices" and "Sync restrictions".
        """
        run = SyncRun(self._token_name, self._policy, trigger=_trigger(automatic), full=full)
        try:
            return drive(run.steps(), self._perform)
        except Exception:
            raise
        except BaseException:
            # Ctrl-C. If this fails, too, the run is presumed dead after the time limit.
            with contextlib.suppress(Exception):
                drive(run.abandon(), self._perform)
            raise


class AsyncSyncer:
    """Does what ``Syncer`` does with an ``AsyncClient``; the store works in worker threads.

    Args:
        apple: An ``AsyncClient``; its ``token_name`` is the token to sync.
        store: Where the token was added.
        policy: The limits.
        clock: Returns the time, UTC.
        progress: Called after each committed page, in the event loop.
    """

    def __init__(
        self,
        apple: AsyncCaller,
        store: Store,
        *,
        policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
        clock: Callable[[], datetime] = utc_now,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._token_name = apple.token_name
        self._policy = policy
        self._perform = AsyncPerformer(apple, store, clock, progress)

    async def sync(self, *, full: bool = False, automatic: bool = False) -> SyncReport:
        """Run once, as far as the policy allows, and return what happened; see ``Syncer.sync``."""
        run = SyncRun(self._token_name, self._policy, trigger=_trigger(automatic), full=full)
        try:
            return await drive_async(run.steps(), self._perform)
        except Exception:
            raise
        except BaseException:
            # Cancelled. If this fails, too, the run is presumed dead after the time limit.
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await drive_async(run.abandon(), self._perform)
            raise


def _trigger(automatic: bool) -> Trigger:
    return Trigger.AUTOMATIC if automatic else Trigger.REQUESTED
