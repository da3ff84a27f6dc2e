"""Macs that await their final configuration: what to send to each, and when to let it go.

::

    body of a check-in or a result --> received --> state of the Mac, in the store
                                                        |
    the Mac asks for a command -----> next_command <----+---- work_left, release
                                          |
                    AccountConfiguration, then DeviceConfigured

Source: specification, "Create an Apple enrollment profile", Await final configuration.

What a managed Mac sends that matters while it waits: check-in messages and results of commands.

Who sent a message is told by the Mac's certificate, not by the message: verify that before. Results are
large: 120 applications have 64 KiB. Of 16 MiB the few keys are read that matter here, in a second.

Source: Apple, check-in messages ``Authenticate``, ``TokenUpdate`` and ``CheckOut``; "Sending MDM commands".
That servers take up to 16 MiB is observed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Final, TypeVar

import anyio.to_thread
import attrs

from pyade.apple.http.connection import utc_now
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
from pyade.flow import AsyncRunner, Compute, Flow, Now, Runner, ask
from pyade.hooks import check_hook
from pyade.storage.protocol import EnrollmentStore
from pyade.text import logger


@attrs.frozen(kw_only=True)
class DeviceMessage:
    """A check-in message, or the result of a command.

    Attributes:
        message_type: ``Authenticate``, ``TokenUpdate`` and others; "" for the result of a command.
        status: ``Acknowledged``, ``Error``, ``NotNow``, ``Idle`` and others; "" for a check-in message.
        command_uuid: Of the command that this is the result of; "" if it is of none.
        udid: Hardware UUID, as the Mac says.
        serial_number: As the Mac says; only ``Authenticate`` has one, else "".
        awaiting: True if the Mac awaits its configuration, as ``TokenUpdate`` says.
        is_user_channel: True if a user of the Mac is concerned, not the Mac.
        is_too_large: True if it has more than 16 MiB: nothing of it was read, and nothing else is said here.
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
        """True if the Mac, not one of its users, wants a command in the answer to this message."""
        is_result = bool(self.status) and not self.message_type
        return is_result and self.status != "NotNow" and not self.is_user_channel


@check_arguments
def read_message(body: bytes) -> DeviceMessage:
    """Return what a Mac sent to the check-in or the server URL of its profile.

    Args:
        body: The property list in XML. Of one with more than 16 MiB only that is said.

    Raises:
        TrustError: It is something else, or a key has the wrong type.

    Source: Apple, check-in; "Sending MDM commands".
    """
    if len(body) > MAX_MESSAGE_BYTES:
        return DeviceMessage(is_too_large=True)
    top = read_top(body, _KINDS)
    for key, value in top.items():
        if value.kind not in _KINDS[key]:
            raise malformed(f"{key} has the type {value.kind}, {_KINDS[key][0]} is needed")
    facts: dict[str, Any] = {name: top[key].text for key, name in _NAMES.items() if key in top}
    if not facts.get("message_type") and not facts.get("status"):
        raise malformed("the property list is neither a check-in message nor the result of a command")
    awaiting = "AwaitingConfiguration" in top and top["AwaitingConfiguration"].kind == "true"
    is_user_channel = "UserID" in top and bool(top["UserID"].text)
    return DeviceMessage(**facts, awaiting=awaiting, is_user_channel=is_user_channel)


MAX_MESSAGE_BYTES: Final = MAX_LARGE_BYTES
_NAMES: Final = {
    "MessageType": "message_type",
    "Status": "status",
    "CommandUUID": "command_uuid",
    "UDID": "udid",
    "SerialNumber": "serial_number",
}
_KINDS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_NAMES, ("string",)),
    "AwaitingConfiguration": ("true", "false"),
    "UserID": ("string",),
}


T = TypeVar("T")

_PAGE: Final = 500

_log = logger(__name__)


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
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            store: Where the enrollment service keeps what it issued.
            administrator: Called with the ``Enrollment`` of a Mac whose profile has an administrator; returns
                that account with a password of this Mac's own, None for the one of the profile. It may be
                called again for the same Mac, also by two workers at once: return what was escrowed for it
                first. If it fails until the patience of five minutes ends, the Mac gets the one of the
                profile.
            variables: Called with the ``Enrollment`` of a Mac that gets accounts; returns other values for
                the variables in their names, such as ``{"username": enrollment.user.full_name}``, None for
                the usual ones; see ``NameVariables``.
            device_name: What ``{{managedDeviceName}}`` stands for: a text, in which ``{{serialNumber}}`` and
                the variables of the user may be, or a function that is called with the ``Enrollment``; ""
                leaves it without a value, so that the person at the Mac types such a name.
            clock: Returns the time, UTC.

        Raises:
            PolicyError: *device_name* holds another variable; or a hook takes other arguments than an
                enrollment, or is a coroutine function and the class is not the asynchronous one.
        """
        self._store = store
        self._clock = clock
        self._hooks = AccountHooks(administrator=administrator, variables=variables, device_name=device_name)
        for name, hook in self._hooks.functions().items():
            check_hook(name, hook, "enrollment", asynchronous=self._asynchronous)


@check_arguments(but=("names",))
class FinalConfiguration(_FinalConfiguration):
    """Leads Macs through the end of Setup Assistant; safe for several threads, and for workers on one store.

    Each method raises ``PolicyError`` for a Mac that was never given a profile, and ``StoreError`` if the
    store failed: the Mac asks again.
    """

    def received(self, serial_number: str, body: bytes) -> DeviceMessage:
        """Read a check-in message or the result of a command, and note what it says about the wait.

        Args:
            serial_number: The Mac, as its verified certificate tells.
            body: As it came; up to 16 MiB are read. A larger one is noted as such: answer it with nothing,
                as one that does not ask for a command.

        Raises:
            TrustError: It cannot be read; nothing was noted.
        """
        return self._run(_received_flow(serial_number, body))

    def authenticated(self, serial_number: str) -> None:
        """Note ``Authenticate``, with which each enrollment begins."""
        self._run(authenticated_flow(serial_number))

    def token_updated(self, serial_number: str, *, awaiting: bool) -> None:
        """Note a ``TokenUpdate`` of the device channel; those of users say nothing here.

        Args:
            serial_number: The Mac.
            awaiting: ``AwaitingConfiguration``; False where the key is absent.
        """
        self._run(token_updated_flow(serial_number, awaiting=awaiting))

    def answered(self, serial_number: str, command_uuid: str, status: str) -> None:
        """Note the result of a command; those of others change nothing.

        Args:
            serial_number: The Mac.
            command_uuid: ``CommandUUID``.
            status: ``Status``.
        """
        self._run(answered_flow(serial_number, command_uuid, status))

    def work_left(self, serial_number: str, names: Iterable[str]) -> None:
        """Note what is still to be installed; the Mac waits until that was said to be nothing.

        ``Authenticate`` forgets it: say it after the first ``TokenUpdate``.

        Args:
            serial_number: The Mac.
            names: As shown to people; none if all of it is there.

        Raises:
            PolicyError: A name is no text, or an empty one.
        """
        self._run(work_left_flow(serial_number, names))

    def release(self, serial_number: str) -> None:
        """Let a Mac go without waiting for the work any longer; accounts are still made."""
        self._run(release_flow(serial_number))

    def next_command(self, serial_number: str) -> Command | None:
        """Return what to send to a Mac that asks for its next command, after everything else.

        That it is sent is stored before it is returned. Call this only when the Mac itself asks, on its
        device channel: a command without an answer is repeated, after a minute and later.

        Returns:
            None if there is nothing to send now.
        """
        return self._run(next_command_flow(serial_number, self._hooks))

    def progress(self, serial_number: str) -> AwaitProgress:
        """Return what a Mac waits for, with problems where it takes too long or went wrong."""
        return self._run(progress_flow(serial_number))

    def waiting(self, *, due: bool = False) -> Iterator[WaitingMac]:
        """Iterate lazily over the Macs that wait, by serial number.

        An enrollment that is stored and cannot be read is left out, with a warning in the log.

        Args:
            due: True for those only to which something can be sent now, such as a release whose time has
                come: a push makes the Mac ask for it.
        """
        for enrollment in self._store.enrollments(damaged=_left_out):
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
    """Does what ``FinalConfiguration`` does; the hook may be a coroutine function, the store uses threads."""

    _asynchronous: ClassVar[str] = ""

    async def received(self, serial_number: str, body: bytes) -> DeviceMessage:
        """Read a message of a Mac and note what it says; see ``FinalConfiguration.received``."""
        return await self._run(_received_flow(serial_number, body))

    async def authenticated(self, serial_number: str) -> None:
        """Note ``Authenticate``; see ``FinalConfiguration.authenticated``."""
        await self._run(authenticated_flow(serial_number))

    async def token_updated(self, serial_number: str, *, awaiting: bool) -> None:
        """Note a ``TokenUpdate`` of the device channel; see ``FinalConfiguration.token_updated``."""
        await self._run(token_updated_flow(serial_number, awaiting=awaiting))

    async def answered(self, serial_number: str, command_uuid: str, status: str) -> None:
        """Note the result of a command; see ``FinalConfiguration.answered``."""
        await self._run(answered_flow(serial_number, command_uuid, status))

    async def work_left(self, serial_number: str, names: Iterable[str]) -> None:
        """Note what is still to be installed; see ``FinalConfiguration.work_left``."""
        await self._run(work_left_flow(serial_number, names))

    async def release(self, serial_number: str) -> None:
        """Let a Mac go without waiting for the work; see ``FinalConfiguration.release``."""
        await self._run(release_flow(serial_number))

    async def next_command(self, serial_number: str) -> Command | None:
        """Return what to send to a Mac that asks; see ``FinalConfiguration.next_command``."""
        return await self._run(next_command_flow(serial_number, self._hooks))

    async def progress(self, serial_number: str) -> AwaitProgress:
        """Return what a Mac waits for; see ``FinalConfiguration.progress``."""
        return await self._run(progress_flow(serial_number))

    async def waiting(self, *, due: bool = False) -> AsyncIterator[WaitingMac]:
        """Iterate lazily over the Macs that wait; see ``FinalConfiguration.waiting``."""
        enrollments = self._store.enrollments(damaged=_left_out)
        while page := await anyio.to_thread.run_sync(partial(_page, enrollments)):
            for enrollment in page:
                mac = waiting_mac(enrollment, self._clock(), due=due)
                if mac is not None:
                    yield mac

    async def _run(self, flow: Flow[T]) -> T:
        return await self._runner.run(flow)

    @property
    def _runner(self) -> AsyncRunner:
        return AsyncRunner(store=self._store, clock=self._clock)


def _left_out(error: DamagedRecordError) -> None:
    _log.warning("left out of the Macs that wait: %s", error)


def _page(enrollments: Iterator[Enrollment]) -> list[Enrollment]:
    return list(islice(enrollments, _PAGE))


def _received_flow(serial_number: str, body: bytes) -> Flow[DeviceMessage]:
    """Read a message, in a worker thread where there is an event loop: a large one takes a moment."""
    message = yield from ask(Compute(lambda: read_message(body)))
    if message.is_too_large:
        yield from _too_large_flow(serial_number, len(body))
    elif (flow := _noting(serial_number, message)) is not None:
        yield from flow
    return message


def _too_large_flow(serial_number: str, size: int) -> Flow[None]:
    """Note that a message was left out, where a person looks: in the log and among the events."""
    now = yield from ask(Now())
    _log.warning("a message of %d bytes from %s was left out: more than 16 MiB", size, serial_number[:40])
    enrollment = yield from in_store(lambda store: store.enrollment(serial_number))
    group = EventGroup(EventKind.MESSAGE_TOO_LARGE, (serial_number,), {"bytes": size})
    yield from audit(EventBatch(enrollment.token_name if enrollment else "", now, (group,)))


def _noting(serial_number: str, message: DeviceMessage) -> Flow[None] | None:
    """Return what notes *message*; None if it says nothing about the wait."""
    if message.is_user_channel:
        return None
    if message.message_type in ("Authenticate", "CheckOut"):
        return authenticated_flow(serial_number, checks_out=message.message_type == "CheckOut")
    if message.message_type == "TokenUpdate":
        return token_updated_flow(serial_number, awaiting=message.awaiting)
    if message.command_uuid:
        return answered_flow(serial_number, message.command_uuid, message.status)
    return None
