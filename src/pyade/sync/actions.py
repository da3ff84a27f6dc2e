"""What an administrator does with single devices, where a store has a part in it.

What needs no store is one call of ``Client``: disown, beta enrollment tokens, the account-driven enrollment
profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Generic, TypeVar

from pyade.apple import calls
from pyade.apple.http.calls import SendCall
from pyade.apple.http.connection import utc_now
from pyade.apple.responses import ActivationLockAnswer, ReplacementDetails
from pyade.core.kinds import checks_kinds
from pyade.errors import NotFoundError
from pyade.flow import AsyncRunner, Flow, Runner, ask
from pyade.storage.protocol import Store
from pyade.sync.activation_lock import lock_flow
from pyade.sync.deletion import DeletionReport, delete_flow
from pyade.sync.leases import holding, holding_async
from pyade.sync.refresh import RefreshReport, refresh_flow
from pyade.sync.runners import AsyncCaller, Caller, async_runner_of, runner_of
from pyade.sync.steps import in_store

CallerT = TypeVar("CallerT", bound=Caller | AsyncCaller)


@checks_kinds
class _Acting(Generic[CallerT]):
    def __init__(self, apple: CallerT, store: Store, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            apple: A ``Client``, or for the asynchronous class an ``AsyncClient``; its ``token_name`` is the
                token.
            store: Where the token was added.
            clock: Returns the time, UTC.
        """
        self._apple: CallerT = apple
        self._token_name = apple.token_name
        self._store = store
        self._clock = clock


@checks_kinds(but=("serials",))
class DeviceActions(_Acting[Caller]):
    """Refreshes, locks, deletes and explains single devices of a token."""

    def refresh(self, serials: Iterable[str]) -> RefreshReport:
        """Read what Apple knows about these devices now, and store it; needs no sync.

        A device that was deleted here comes back. What was stored before an error stays.

        Args:
            serials: Serial numbers; also ones that the store does not know.

        Returns:
            What became of each device.

        Raises:
            AppleError: Apple refused.
            TransportError: No answer came.
            InvalidRequestError: *serials* is one text and not a list.
            LeaseHeldError: Another worker is busy with the token.
            StoreError: The store failed.

        Source: Apple, device assignment, "Get device details".
        """
        with holding(self._runner, self._store, self._token_name) as lease:
            return self._runner.run(refresh_flow(self._token_name, serials, lease))

    def lock(self, serial_number: str, *, lost_message: str | None = None) -> ActivationLockAnswer:
        """Lock one device with a bypass code that is kept first; look at the answer's ``result``.

        ``bypass_code(store, serial_number)`` returns the code. After a lost answer ask again: the same code
        is used, and ``DEVICE_ALREADY_LOCKED`` may then mean that the first request worked.

        Args:
            serial_number: The device.
            lost_message: Text on the locked screen.

        Raises:
            AppleError: Apple refused; a code is kept all the same.
            TransportError: No answer came; Apple may have locked the device with the code that is kept.
            LeaseHeldError: There is no code yet, and another worker is busy with the token: ask again.
            BypassCodeError: What is kept as the code is none.
            StoreError: The store failed; nothing was sent.

        Source: Apple, device assignment, "Activation lock devices".
        """
        flow = lock_flow(self._token_name, serial_number, lost_message)
        return self._runner.run(flow)

    def delete(self, serials: Iterable[str]) -> DeletionReport:
        """Delete these devices here, one by one, and return what became of each; nothing changes at Apple.

        A device that Apple still lists is hidden until the next full sync, ``refresh`` or ``restore``; a
        released one is removed at once. It needs no request, and asks Apple nothing.

        Args:
            serials: Serial numbers.

        Returns:
            The result for each device; a serial number that the token has no device of is ``UNKNOWN``.

        Raises:
            InvalidRequestError: *serials* is one text and not a list.
            UnknownTokenError: The token is not in the store.
            StoreError: The store failed; what was deleted before stays deleted.

        Source: specification, "Sync restrictions".
        """
        return self._runner.run(delete_flow(self._token_name, serials))

    def replacements(self) -> tuple[ReplacementDetails, ...]:
        """Return which device each replacement among the token's devices took the place of.

        One request per replacement that the store lists; those without a record at Apple are left out.

        Raises:
            AppleError: Apple refused.
            TransportError: No answer came.
            StoreError: The store failed.

        Source: Apple, device assignment, "Get replacement details"; protocol version 10.
        """
        return self._runner.run(replacements_flow(self._token_name))

    @property
    def _runner(self) -> Runner:
        return runner_of(self._apple, self._store, self._clock)


@checks_kinds(but=("serials",))
class AsyncDeviceActions(_Acting[AsyncCaller]):
    """Does what ``DeviceActions`` does with an ``AsyncClient``; the store works in worker threads."""

    async def refresh(self, serials: Iterable[str]) -> RefreshReport:
        """Read what Apple knows about these devices now, and store it; see ``DeviceActions.refresh``."""
        async with holding_async(self._runner, self._store, self._token_name) as lease:
            return await self._runner.run(refresh_flow(self._token_name, serials, lease))

    async def lock(self, serial_number: str, *, lost_message: str | None = None) -> ActivationLockAnswer:
        """Lock one device with a bypass code that is kept first; see ``DeviceActions.lock``."""
        flow = lock_flow(self._token_name, serial_number, lost_message)
        return await self._runner.run(flow)

    async def delete(self, serials: Iterable[str]) -> DeletionReport:
        """Delete these devices here, and return what became of each; see ``DeviceActions.delete``."""
        return await self._runner.run(delete_flow(self._token_name, serials))

    async def replacements(self) -> tuple[ReplacementDetails, ...]:
        """Return which device each replacement took the place of; see ``DeviceActions.replacements``."""
        return await self._runner.run(replacements_flow(self._token_name))

    @property
    def _runner(self) -> AsyncRunner:
        return async_runner_of(self._apple, self._store, self._clock)


def replacements_flow(token_name: str) -> Flow[tuple[ReplacementDetails, ...]]:
    """Ask Apple about each device of the store that is a replacement."""

    def replacements(store: Store) -> list[str]:
        groups = store.device_groups(token_name)
        wanted = [group for group in groups if group.is_listed and group.is_replacement]
        return list(store.serials_in(token_name, wanted))

    serials = yield from in_store(replacements)
    found: list[ReplacementDetails] = []
    for serial in serials:
        try:
            found.append((yield from ask(SendCall(calls.replacement_details(serial)))))
        except NotFoundError:
            continue
    return tuple(found)
