"""What an administrator does with single devices, where a store has a part in it.

What needs no store is one call of ``Client``: disown, beta enrollment tokens, the account-driven enrollment
profile.

Lock devices, and keep the codes that unlock them.

A device has one code, kept as the store's secret ``bypass code of <serial number>`` before Apple is asked for
the first lock. Every later lock uses the same one until it is forgotten: so whichever of two answers was
lost, the code that is kept unlocks the device.

Source: Apple, device assignment, "Activation lock devices"; Apple, "Creating and using bypass codes".

Delete single devices here; nothing changes at Apple.

Source: specification, "Sync restrictions": a device that is deleted without being unassigned comes back with
the next full sync, and released devices may be deleted one by one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Generic, TypeVar

import attrs

from pyade.apple import calls
from pyade.apple.batches import distinct
from pyade.apple.http.calls import SendCall
from pyade.apple.http.connection import utc_now
from pyade.apple.responses import ActivationLockResponse, ReplacementDetails
from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret
from pyade.crypto.bypass_code import RAW_BYTES, BypassCode
from pyade.errors import DamagedRecordError, NotFoundError
from pyade.flow import AsyncRunner, Flow, Now, RandomBytes, Runner, ask
from pyade.storage.protocol import Store
from pyade.sync.damage import belonging_to
from pyade.sync.details import RefreshReport, refresh_flow
from pyade.sync.leases import holding, holding_async, worker_name
from pyade.sync.report import abbreviate, pluralize
from pyade.sync.runners import AsyncCaller, Caller, async_runner_of, in_store, runner_of
from pyade.text import Printed


@check_arguments
def bypass_code_name(serial_number: str) -> str:
    """Return the name of the secret under which the code of a device is kept."""
    return f"bypass code of {serial_number}"


@check_arguments
def bypass_code(store: Store, serial_number: str) -> BypassCode | None:
    """Return the code that unlocks a device; None if this store never asked to lock it.

    That there is a code does not prove that the device is locked.

    Args:
        store: Where ``DeviceActions.lock`` kept it.
        serial_number: Apple's serial number.

    Raises:
        BypassCodeError: What is kept is no code: somebody else wrote it.
        StoreError: The store failed, or cannot decrypt it.
    """
    text = store.secret(bypass_code_name(serial_number))
    return None if text is None else BypassCode.parse(text)


@check_arguments
def forget_bypass_code(store: Store, serial_number: str) -> None:
    """Remove the code of a device that is unlocked, so that the next lock makes a new one.

    A code that somebody was told is no secret any more. Never forget the code of a locked device: nothing
    else of ours unlocks it.
    """
    store.save_secret(bypass_code_name(serial_number), None)


def lock_flow(token_name: str, serial_number: str, lost_message: str | None) -> Flow[ActivationLockResponse]:
    """Keep a code, a new one if there is none yet, then ask Apple for the lock."""
    new_code = BypassCode((yield from ask(RandomBytes(RAW_BYTES))))
    owner = yield from worker_name()
    code = yield from in_store(lambda store: _kept(store, token_name, serial_number, new_code, owner))
    call = calls.activation_lock(serial_number, code.escrow_key, lost_message)
    return (yield from ask(SendCall(call)))


def _kept(store: Store, token_name: str, serial_number: str, new_code: BypassCode, owner: str) -> BypassCode:
    with belonging_to(token_name):
        code = bypass_code(store, serial_number)
    if code is not None:
        return code
    # Two workers that lock one device must not overwrite each other's code.
    lease = store.acquire_lease(token_name, owner)
    try:
        code = bypass_code(store, serial_number)
        if code is None:
            code = new_code
            store.save_secret(bypass_code_name(serial_number), Secret(code.text))
    finally:
        store.release_lease(lease)
    return code


_SLICE: Final = 100


class Deletion(enum.StrEnum):
    """What became of a device that was to be deleted.

    Attributes:
        HIDDEN: Apple still lists it, so it is kept out of sight here until the next full sync, or until its
            details are asked for.
        PURGED: It was released, or its record could not be read: it is removed.
        UNKNOWN: The token has no such device; nothing was done.
    """

    HIDDEN = "hidden"
    PURGED = "purged"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class DeletionReport(Printed):
    """What a deletion did; ``print`` shows it.

    Attributes:
        token_name: The token.
        results: What became of each device, in the order in which they were named.
    """

    token_name: str
    results: Mapping[str, Deletion] = attrs.field(hash=False)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The serial numbers that the token has no device of."""
        return self.serials(Deletion.UNKNOWN)

    @property
    def is_complete(self) -> bool:
        """True if every device that was named is deleted."""
        return not self.unknown

    def serials(self, *wanted: Deletion) -> tuple[str, ...]:
        """Return the serial numbers with one of these results."""
        return tuple(serial for serial, result in self.results.items() if result in wanted)

    def _words(self) -> list[str]:
        hidden, purged = len(self.serials(Deletion.HIDDEN)), len(self.serials(Deletion.PURGED))
        lines = [f"{self.token_name}: {pluralize(hidden + purged, 'device')} deleted here"]
        if hidden:
            lines.append(f"  {hidden:,} hidden until the next full sync, as Apple still lists them")
        if purged:
            lines.append(f"  {purged:,} purged")
        if self.unknown:
            lines.append(
                f"  {len(self.unknown):,} unknown: {abbreviate([repr(serial) for serial in self.unknown])}"
            )
        return lines


def delete_flow(token_name: str, serials: Iterable[str]) -> Flow[DeletionReport]:
    """Delete each of *serials*, and say what became of it."""
    wanted = distinct("delete devices", serials)
    results: dict[str, Deletion] = {}
    now = yield from ask(Now())
    for start in range(0, max(len(wanted), 1), _SLICE):
        some = wanted[start : start + _SLICE]
        results |= yield from in_store(partial(_delete, token_name=token_name, serials=some, now=now))
    return DeletionReport(token_name=token_name, results=results)


def _delete(store: Store, token_name: str, serials: Sequence[str], now: datetime) -> dict[str, Deletion]:
    store.sync_state(token_name)  # also without devices a token that is not stored is told
    found: dict[str, Deletion] = {}
    for serial in serials:
        found[serial] = _fate(store, token_name, serial)
        if found[serial] is not Deletion.UNKNOWN:
            store.delete_device(token_name, serial, now=now)
    return found


def _fate(store: Store, token_name: str, serial: str) -> Deletion:
    try:
        record = store.device(token_name, serial)
    except DamagedRecordError:
        return Deletion.PURGED  # to delete it is the way to get it anew from Apple
    if record is None:
        return Deletion.UNKNOWN
    return Deletion.PURGED if record.is_released else Deletion.HIDDEN


CallerT = TypeVar("CallerT", bound=Caller | AsyncCaller)


@check_arguments
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


@check_arguments(but=("serials",))
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

    def lock(self, serial_number: str, *, lost_message: str | None = None) -> ActivationLockResponse:
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


@check_arguments(but=("serials",))
class AsyncDeviceActions(_Acting[AsyncCaller]):
    """Does what ``DeviceActions`` does with an ``AsyncClient``; the store works in worker threads."""

    async def refresh(self, serials: Iterable[str]) -> RefreshReport:
        """Read what Apple knows about these devices now, and store it; see ``DeviceActions.refresh``."""
        async with holding_async(self._runner, self._store, self._token_name) as lease:
            return await self._runner.run(refresh_flow(self._token_name, serials, lease))

    async def lock(self, serial_number: str, *, lost_message: str | None = None) -> ActivationLockResponse:
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
