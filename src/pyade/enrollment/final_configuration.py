"""Read the messages of Macs that await their final configuration, send their commands, and release them.

::

    body of a check-in or a result --> received --> state of the Mac, in the store
                                                        |
    the Mac asks for a command -----> next_command <----+---- work_left, release
                                          |
                    AccountConfiguration, then DeviceConfigured

The rules of this file:

1. The Mac's certificate identifies the sender of a message, the message does not: the caller verifies the
   certificate first.
2. Messages of up to 16 MiB are read: a list of 120 applications has 64 KiB. Only the few keys that are used
   here are read, which takes a second for 16 MiB.

Source: specification, "Create an Apple enrollment profile", Await final configuration; Apple, check-in
messages ``Authenticate``, ``TokenUpdate`` and ``CheckOut``; "Sending MDM commands". That servers take up to
16 MiB is observed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Final, TypeVar

import anyio.to_thread
import attrs

from pyade.core.arguments import check_arguments
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.input_limits import malformed
from pyade.core.plist import MAX_LARGE_BYTES, read_top
from pyade.enrollment.final_configuration_flow import (
    AccountHooks,
    AdministratorHook,
    Command,
    DeviceName,
    VariablesHook,
    WaitingMac,
    answered_flow,
    authenticated_flow,
    next_command_flow,
    progress_flow,
    release_flow,
    token_updated_flow,
    waiting_mac,
    work_left_flow,
)
from pyade.enrollment.final_configuration_state import AwaitProgress
from pyade.enrollment.steps import audit, in_store
from pyade.errors import DamagedRecordError
from pyade.flow import AsyncRunner, Compute, Flow, Now, Runner, ask, clock_of
from pyade.hooks import check_hook
from pyade.storage.protocol import EnrollmentStore
from pyade.text import logger

T = TypeVar("T")

MAX_MESSAGE_BYTES: Final = MAX_LARGE_BYTES
_PAGE: Final = 500
_NAMES: Final = {
    "MessageType": "message_type",
    "Status": "status",
    "CommandUUID": "command_uuid",
    "UDID": "udid",
    "SerialNumber": "serial_number",
}
_TYPES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_NAMES, ("string",)),
    "AwaitingConfiguration": ("true", "false"),
    "UserID": ("string",),
}

_log = logger(__name__)


@attrs.frozen(kw_only=True)
class DeviceMessage:
    """A check-in message, or the result of a command.

    Attributes:
        message_type: ``Authenticate``, ``TokenUpdate`` and others; "" for the result of a command.
        status: ``Acknowledged``, ``Error``, ``NotNow``, ``Idle`` and others; "" for a check-in message.
        command_uuid: UUID of the command whose result this is; "" if it is not the result of a command.
        udid: Hardware UUID, as the Mac says.
        serial_number: Serial number, as the Mac says; only ``Authenticate`` has one, else "".
        awaiting: True if the Mac awaits its configuration, as ``TokenUpdate`` says.
        is_user_channel: True if the message comes from the channel of a user, not of the device.
        is_too_large: True if it has more than 16 MiB: it was not read, and all other attributes are empty.
    """

    message_type: str = ""
    status: str = ""
    command_uuid: str = ""
    udid: str = ""
    serial_number: str = ""
    awaiting: bool = False
    is_user_channel: bool = False
    is_too_large: bool = False

    @property
    def asks_for_command(self) -> bool:
        """True if the device channel asks for a command in the response to this message."""
        is_result = bool(self.status) and not self.message_type
        return is_result and self.status != "NotNow" and not self.is_user_channel


@check_arguments
def read_message(body: bytes) -> DeviceMessage:
    """Read what a Mac sent to the check-in URL or the server URL of its profile.

    Args:
        body: The property list in XML. One with more than 16 MiB is not read; see ``is_too_large``.

    Raises:
        TrustError: It is not such a message, or a key has the wrong type.

    Source: Apple, check-in; "Sending MDM commands".
    """
    if len(body) > MAX_MESSAGE_BYTES:  # rule 2
        return DeviceMessage(is_too_large=True)
    top = read_top(body, _TYPES)
    for key, value in top.items():
        if value.kind not in _TYPES[key]:
            raise malformed(f"{key} has the type {value.kind}, {_TYPES[key][0]} is needed")
    facts: dict[str, Any] = {name: top[key].text for key, name in _NAMES.items() if key in top}
    if not facts.get("message_type") and not facts.get("status"):
        raise malformed("the property list is neither a check-in message nor the result of a command")
    awaiting = "AwaitingConfiguration" in top and top["AwaitingConfiguration"].kind == "true"
    is_user_channel = "UserID" in top and bool(top["UserID"].text)
    return DeviceMessage(**facts, awaiting=awaiting, is_user_channel=is_user_channel)


@check_arguments
class _FinalConfiguration:
    _asynchronous: ClassVar[str] = "AsyncFinalConfiguration"

    def __init__(
        self,
        store: EnrollmentStore,
        *,
        administrator: AdministratorHook = None,
        variables: VariablesHook = None,
        device_name: DeviceName = "",
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Validate the settings, the same for the synchronous and the asynchronous class.

        Args:
            store: The store of the enrollment service.
            administrator: Called with the ``Enrollment`` of a Mac whose profile has an administrator; returns
                that account with a password for this Mac only, or None for the account of the profile. It may
                be called again for the same Mac, also by two workers at the same time: always return the
                first escrowed password of the Mac. If it keeps failing for five minutes, the Mac gets the
                account of the profile.
            variables: Called with the ``Enrollment`` of a Mac that gets accounts; returns other values for
                the variables in their names, such as ``{"username": enrollment.user.full_name}``, or None for
                the default values; see ``NameVariables``.
            device_name: The value of ``{{managedDeviceName}}``: a text, which may contain
                ``{{serialNumber}}`` and the variables of the user, or a function that is called with the
                ``Enrollment``. "" gives it no value, so that the user at the Mac types such a name.
            clock: Returns the time, UTC; None for the clock of *store*.

        Raises:
            PolicyError: *device_name* holds another variable; or a hook does not take one enrollment, or is a
                coroutine function in the synchronous class.
        """
        self._store = store
        self._clock: Callable[[], datetime] = clock_of(clock, store)
        self._hooks = AccountHooks(administrator=administrator, variables=variables, device_name=device_name)
        for name, hook in self._hooks.functions().items():
            check_hook(name, hook, "enrollment", asynchronous=self._asynchronous)


@check_arguments(but=("names",))
class FinalConfiguration(_FinalConfiguration):
    """Leads Macs through the end of Setup Assistant; safe for several threads, and for workers on one store.

    Each method raises ``PolicyError`` for a Mac to which no profile was ever issued, and ``StoreError`` if
    the store failed: the Mac asks again.
    """

    def received(self, serial_number: str, body: bytes) -> DeviceMessage:
        """Read a check-in message or the result of a command, and record what it says about the wait.

        Args:
            serial_number: The Mac, from its verified certificate.
            body: The unchanged body; up to 16 MiB are read. A larger one is recorded as an event: send an
                empty response, as for a message that does not ask for a command.

        Raises:
            TrustError: It cannot be read; nothing was recorded.
        """
        return self._run(_received_flow(serial_number, body))

    def authenticated(self, serial_number: str) -> None:
        """Record ``Authenticate``, the first message of each enrollment."""
        self._run(authenticated_flow(serial_number))

    def token_updated(self, serial_number: str, *, awaiting: bool) -> None:
        """Record a ``TokenUpdate`` of the device channel; do not report those of user channels.

        Args:
            serial_number: The Mac.
            awaiting: ``AwaitingConfiguration``; False where the key is absent.
        """
        self._run(token_updated_flow(serial_number, awaiting=awaiting))

    def answered(self, serial_number: str, command_uuid: str, status: str) -> None:
        """Record the result of a command; results of commands that pyade did not send change nothing.

        Args:
            serial_number: The Mac.
            command_uuid: ``CommandUUID``.
            status: ``Status``.
        """
        self._run(answered_flow(serial_number, command_uuid, status))

    def work_left(self, serial_number: str, names: Iterable[str]) -> None:
        """Record what is still to be installed; the Mac waits until *names* is empty.

        ``Authenticate`` clears it: report it after the first ``TokenUpdate``.

        Args:
            serial_number: The Mac.
            names: Display names of what is missing; empty if everything is installed.

        Raises:
            PolicyError: A name is empty or not a text.
        """
        self._run(work_left_flow(serial_number, names))

    def release(self, serial_number: str) -> None:
        """Release a Mac without waiting for the work any longer; accounts are still made."""
        self._run(release_flow(serial_number))

    def next_command(self, serial_number: str) -> Command | None:
        """Return the command for a Mac that asks for its next one, after all other commands of the caller.

        The command is stored as sent before it is returned. Call this only when the Mac itself asks, on its
        device channel: a command without a result is repeated, after a minute at the earliest.

        Returns:
            None if there is nothing to send now.
        """
        return self._run(next_command_flow(serial_number, self._hooks))

    def progress(self, serial_number: str) -> AwaitProgress:
        """Return what a Mac waits for, with a problem for each error and for a wait that takes too long."""
        return self._run(progress_flow(serial_number))

    def waiting(self, *, due: bool = False) -> Iterator[WaitingMac]:
        """Iterate lazily over the Macs that wait, by serial number.

        A stored enrollment that cannot be read is skipped and logged as a warning.

        Args:
            due: True for only the Macs to which a command can be sent now, such as a release at its time
                limit: a push makes the Mac ask for it.
        """
        for enrollment in self._store.enrollments(damaged=_log_damaged):
            mac = waiting_mac(enrollment, self._clock(), due=due)
            if mac is not None:
                yield mac

    def _run(self, flow: Flow[T]) -> T:
        return self._runner.run(flow)

    @property
    def _runner(self) -> Runner:
        return Runner(store=self._store, clock=self._clock, asynchronous=self._asynchronous)


@check_arguments(but=("names",))
class AsyncFinalConfiguration(_FinalConfiguration):
    """``FinalConfiguration`` for asyncio: hooks may be coroutine functions, the store runs in threads."""

    _asynchronous: ClassVar[str] = ""

    async def received(self, serial_number: str, body: bytes) -> DeviceMessage:
        """Read a message of a Mac and record what it says; see ``FinalConfiguration.received``."""
        return await self._run(_received_flow(serial_number, body))

    async def authenticated(self, serial_number: str) -> None:
        """Record ``Authenticate``; see ``FinalConfiguration.authenticated``."""
        await self._run(authenticated_flow(serial_number))

    async def token_updated(self, serial_number: str, *, awaiting: bool) -> None:
        """Record a ``TokenUpdate`` of the device channel; see ``FinalConfiguration.token_updated``."""
        await self._run(token_updated_flow(serial_number, awaiting=awaiting))

    async def answered(self, serial_number: str, command_uuid: str, status: str) -> None:
        """Record the result of a command; see ``FinalConfiguration.answered``."""
        await self._run(answered_flow(serial_number, command_uuid, status))

    async def work_left(self, serial_number: str, names: Iterable[str]) -> None:
        """Record what is still to be installed; see ``FinalConfiguration.work_left``."""
        await self._run(work_left_flow(serial_number, names))

    async def release(self, serial_number: str) -> None:
        """Release a Mac without waiting for the work; see ``FinalConfiguration.release``."""
        await self._run(release_flow(serial_number))

    async def next_command(self, serial_number: str) -> Command | None:
        """Return the next command for a Mac that asks; see ``FinalConfiguration.next_command``."""
        return await self._run(next_command_flow(serial_number, self._hooks))

    async def progress(self, serial_number: str) -> AwaitProgress:
        """Return what a Mac waits for; see ``FinalConfiguration.progress``."""
        return await self._run(progress_flow(serial_number))

    async def waiting(self, *, due: bool = False) -> AsyncIterator[WaitingMac]:
        """Iterate lazily over the Macs that wait; see ``FinalConfiguration.waiting``."""
        enrollments = self._store.enrollments(damaged=_log_damaged)
        while page := await anyio.to_thread.run_sync(partial(_next_page, enrollments)):
            for enrollment in page:
                mac = waiting_mac(enrollment, self._clock(), due=due)
                if mac is not None:
                    yield mac

    async def _run(self, flow: Flow[T]) -> T:
        return await self._runner.run(flow)

    @property
    def _runner(self) -> AsyncRunner:
        return AsyncRunner(store=self._store, clock=self._clock)


def _log_damaged(error: DamagedRecordError) -> None:
    _log.warning("skipped an enrollment that cannot be read: %s", error)


def _next_page(enrollments: Iterator[Enrollment]) -> list[Enrollment]:
    return list(islice(enrollments, _PAGE))


def _received_flow(serial_number: str, body: bytes) -> Flow[DeviceMessage]:
    """Read a message and record what it says; asyncio reads it in a thread, as 16 MiB take a second."""
    message = yield from ask(Compute(lambda: read_message(body)))
    if message.is_too_large:
        yield from _too_large_flow(serial_number, len(body))
    elif (flow := _message_flow(serial_number, message)) is not None:  # rule 1: not message.serial_number
        yield from flow
    return message


def _too_large_flow(serial_number: str, size: int) -> Flow[None]:
    """Log that a message was ignored, and store an event about it."""
    now = yield from ask(Now())
    _log.warning("a message of %d bytes from %s was ignored: more than 16 MiB", size, serial_number[:40])
    enrollment = yield from in_store(lambda store: store.enrollment(serial_number))
    group = EventGroup(EventKind.MESSAGE_TOO_LARGE, (serial_number,), {"bytes": size})
    yield from audit(EventBatch(enrollment.token_name if enrollment else "", now, (group,)))


def _message_flow(serial_number: str, message: DeviceMessage) -> Flow[None] | None:
    """Return the flow that records *message*; None if it says nothing about the wait."""
    if message.is_user_channel:
        return None
    if message.message_type in ("Authenticate", "CheckOut"):
        return authenticated_flow(serial_number, checks_out=message.message_type == "CheckOut")
    if message.message_type == "TokenUpdate":
        return token_updated_flow(serial_number, awaiting=message.awaiting)
    if message.command_uuid:
        return answered_flow(serial_number, message.command_uuid, message.status)
    return None
