"""Actions of an administrator on single devices that use the store: refresh, lock, delete, list replacements.

Actions without the store are calls of ``Client``: disown, beta enrollment tokens, the account-driven
enrollment profile.

The rules of this file:

1. A device has one bypass code, stored as the secret ``bypass code of <serial number>`` before Apple is asked
   for the first lock.
2. Every later lock uses the same code until it is removed. So the stored code unlocks the device, even if the
   response to any of the requests was lost.
3. Deleting a device changes the store alone, nothing at Apple.

Source: Apple, device assignment, "Activation lock devices"; Apple, "Creating and using bypass codes";
specification, "Sync restrictions": a device that is deleted without being unassigned comes back with the next
full sync, and released devices may be deleted one by one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar, Final, Generic, TypeVar

import attrs

from pyade.apple import calls
from pyade.apple.batches import distinct
from pyade.apple.http.calls import SendCall
from pyade.apple.responses import ActivationLockResponse, ReplacementDetails
from pyade.core.arguments import check_arguments
from pyade.core.exports import Exportable
from pyade.core.secret import Secret
from pyade.crypto.bypass_code import RAW_BYTES, BypassCode
from pyade.errors import DamagedRecordError, NotFoundError
from pyade.flow import AsyncRunner, Flow, Now, RandomBytes, Runner, ask, clock_of
from pyade.storage.protocol import Store
from pyade.sync.damage import naming_token
from pyade.sync.details import RefreshReport, refresh_flow
from pyade.sync.leases import acquire_and_hold, acquire_and_hold_async, worker_name
from pyade.sync.runners import AsyncCaller, Caller, in_store, runner_of, runner_of_async
from pyade.text import Printed, abbreviate, pluralize

_BATCH: Final = 100
"""Devices per call of the store in a deletion."""


@check_arguments
def bypass_code_name(serial_number: str) -> str:
    """Return the name of the secret that stores the code of a device."""
    return f"bypass code of {serial_number}"


@check_arguments
def bypass_code(store: Store, serial_number: str) -> BypassCode | None:
    """Return the code that unlocks a device; None if the store has none.

    A stored code does not prove that the device is locked.

    Args:
        store: Where ``DeviceActions.lock`` stored it.
        serial_number: Apple's serial number.

    Raises:
        BypassCodeError: The stored secret is no code: another program wrote it.
        StoreError: The store failed, or cannot decrypt it.
    """
    text = store.secret(bypass_code_name(serial_number))
    return None if text is None else BypassCode.parse(text)


@check_arguments
def forget_bypass_code(store: Store, serial_number: str) -> None:
    """Remove the code of a device that is unlocked, so that the next lock makes a new one.

    Remove a code after telling it to a user, since it is no longer secret. Never remove the code of a locked
    device: nothing else in pyade unlocks it.
    """
    store.save_secret(bypass_code_name(serial_number), None)


def lock_flow(token_name: str, serial_number: str, lost_message: str | None) -> Flow[ActivationLockResponse]:
    """Store a new code if there is none yet, then ask Apple for the lock (rule 1)."""
    new_code = BypassCode((yield from ask(RandomBytes(RAW_BYTES))))
    owner = yield from worker_name()
    code = yield from in_store(
        lambda store: _read_or_store_code(store, token_name, serial_number, new_code, owner)
    )
    call = calls.activation_lock(serial_number, code.escrow_key, lost_message)
    return (yield from ask(SendCall(call)))


def _read_or_store_code(
    store: Store, token_name: str, serial_number: str, new_code: BypassCode, owner: str
) -> BypassCode:
    with naming_token(token_name):
        code = bypass_code(store, serial_number)
    if code is not None:
        return code  # rule 2
    # Two workers that lock one device must not overwrite each other's code.
    lease = store.acquire_lease(token_name, owner)
    try:
        code = bypass_code(store, serial_number)
        if code is None:
            code = new_code
            store.save_secret(bypass_code_name(serial_number), Secret(code.text))  # rule 1
    finally:
        store.release_lease(lease)
    return code


class Deletion(enum.StrEnum):
    """Outcome of the deletion of one device.

    Attributes:
        HIDDEN: Apple still lists the device, so it is hidden here until the next full sync, or until its
            details are read.
        PURGED: The device was released, or its record could not be read: the record was removed.
        UNKNOWN: The token has no such device; nothing was done.
    """

    HIDDEN = "hidden"
    PURGED = "purged"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True, repr=False)
class DeletionReport(Exportable, Printed):
    """Outcome of a deletion; ``print`` shows it.

    Attributes:
        token_name: The token.
        results: Outcome for each device, in the order of the call.
    """

    token_name: str
    results: Mapping[str, Deletion] = attrs.field(hash=False)

    _EXPORTED: ClassVar[str] = "token_name is_complete results"

    @property
    def unknown(self) -> tuple[str, ...]:
        """The serial numbers for which the token has no device."""
        return self.serials(Deletion.UNKNOWN)

    @property
    def is_complete(self) -> bool:
        """True if every device of the call is deleted."""
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
    """Delete each of *serials*, and return the outcome for each."""
    wanted = distinct("delete devices", serials)
    results: dict[str, Deletion] = {}
    now = yield from ask(Now())
    for start in range(0, max(len(wanted), 1), _BATCH):
        batch = wanted[start : start + _BATCH]
        results |= yield from in_store(partial(_delete, token_name=token_name, serials=batch, now=now))
    return DeletionReport(token_name=token_name, results=results)


def _delete(store: Store, token_name: str, serials: Sequence[str], now: datetime) -> dict[str, Deletion]:
    store.sync_state(token_name)  # raises for an unknown token, also without serial numbers
    found: dict[str, Deletion] = {}
    for serial in serials:
        found[serial] = _deletion_of(store, token_name, serial)
        if found[serial] is not Deletion.UNKNOWN:
            store.delete_device(token_name, serial, now=now)  # rule 3
    return found


def _deletion_of(store: Store, token_name: str, serial: str) -> Deletion:
    try:
        record = store.device(token_name, serial)
    except DamagedRecordError:
        return Deletion.PURGED  # deleting a damaged record is how to fetch it again from Apple
    if record is None:
        return Deletion.UNKNOWN
    return Deletion.PURGED if record.is_released else Deletion.HIDDEN


CallerT = TypeVar("CallerT", bound=Caller | AsyncCaller)


@check_arguments
class _Acting(Generic[CallerT]):
    def __init__(self, apple: CallerT, store: Store, *, clock: Callable[[], datetime] | None = None) -> None:
        """Configure the actions.

        Args:
            apple: A ``Client``, or for ``AsyncDeviceActions`` an ``AsyncClient``; its ``token_name`` is the
                token.
            store: Where the token was added.
            clock: Returns the time, UTC; None for the clock of *apple*.
        """
        self._apple: CallerT = apple
        self._token_name = apple.token_name
        self._store = store
        self._clock: Callable[[], datetime] = clock_of(clock, apple, store)


@check_arguments(but=("serials",))
class DeviceActions(_Acting[Caller]):
    """Refreshes, locks and deletes single devices of a token, and lists replacements."""

    def refresh(self, serials: Iterable[str]) -> RefreshReport:
        """Read what Apple knows about these devices now, and store it; needs no sync.

        A device that was deleted here comes back. What was stored before an error stays.

        Args:
            serials: Serial numbers; also ones that the store does not know.

        Returns:
            The outcome for each device.

        Raises:
            AppleError: Apple refused.
            TransportError: No complete response arrived.
            InvalidRequestError: *serials* is a single string.
            LeaseHeldError: Another worker holds the token's lease.
            StoreError: The store failed.

        Source: Apple, device assignment, "Get device details".
        """
        with acquire_and_hold(self._runner, self._store, self._token_name) as lease:
            return self._runner.run(refresh_flow(self._token_name, serials, lease))

    def lock(self, serial_number: str, *, lost_message: str | None = None) -> ActivationLockResponse:
        """Lock one device with a bypass code that is stored first; check ``result`` of the response.

        ``bypass_code(store, serial_number)`` returns the code. After a lost response call again: the same
        code is used, and ``DEVICE_ALREADY_LOCKED`` may then mean that the first request worked.

        Args:
            serial_number: The device.
            lost_message: Text on the locked screen.

        Raises:
            AppleError: Apple refused; the code stays stored.
            TransportError: No complete response arrived; Apple may have locked the device with the stored
                code.
            LeaseHeldError: There is no code yet, and another worker holds the token's lease: call again.
            BypassCodeError: The stored secret is no code.
            StoreError: The store failed; nothing was sent.

        Source: Apple, device assignment, "Activation lock devices".
        """
        flow = lock_flow(self._token_name, serial_number, lost_message)
        return self._runner.run(flow)

    def delete(self, serials: Iterable[str]) -> DeletionReport:
        """Delete these devices here, and return the outcome for each; nothing changes at Apple.

        A device that Apple still lists is hidden until the next full sync, ``refresh`` or ``restore``; a
        released one is purged immediately. No request is sent to Apple. Each device is a transaction of its
        own.

        Args:
            serials: Serial numbers.

        Returns:
            The outcome for each device; ``UNKNOWN`` if the token has no such device.

        Raises:
            InvalidRequestError: *serials* is a single string.
            UnknownTokenError: The token is not in the store.
            StoreError: The store failed; what was deleted before stays deleted.

        Source: specification, "Sync restrictions".
        """
        return self._runner.run(delete_flow(self._token_name, serials))

    def replacements(self) -> tuple[ReplacementDetails, ...]:
        """Return which device each replacement among the token's devices replaces.

        Sends one request per replacement that the store lists; those without a record at Apple are left out.

        Raises:
            AppleError: Apple refused.
            TransportError: No complete response arrived.
            StoreError: The store failed.

        Source: Apple, device assignment, "Get replacement details"; protocol version 10.
        """
        return self._runner.run(replacements_flow(self._token_name))

    @property
    def _runner(self) -> Runner:
        return runner_of(self._apple, self._store, self._clock)


@check_arguments(but=("serials",))
class AsyncDeviceActions(_Acting[AsyncCaller]):
    """``DeviceActions`` for an ``AsyncClient``; the store is called in worker threads."""

    async def refresh(self, serials: Iterable[str]) -> RefreshReport:
        """Read what Apple knows about these devices now, and store it; see ``DeviceActions.refresh``."""
        async with acquire_and_hold_async(self._runner, self._store, self._token_name) as lease:
            return await self._runner.run(refresh_flow(self._token_name, serials, lease))

    async def lock(self, serial_number: str, *, lost_message: str | None = None) -> ActivationLockResponse:
        """Lock one device with a bypass code that is stored first; see ``DeviceActions.lock``."""
        flow = lock_flow(self._token_name, serial_number, lost_message)
        return await self._runner.run(flow)

    async def delete(self, serials: Iterable[str]) -> DeletionReport:
        """Delete these devices here, and return the outcome for each; see ``DeviceActions.delete``."""
        return await self._runner.run(delete_flow(self._token_name, serials))

    async def replacements(self) -> tuple[ReplacementDetails, ...]:
        """Return which device each replacement replaces; see ``DeviceActions.replacements``."""
        return await self._runner.run(replacements_flow(self._token_name))

    @property
    def _runner(self) -> AsyncRunner:
        return runner_of_async(self._apple, self._store, self._clock)


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
