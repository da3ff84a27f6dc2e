"""The two clients of Apple's device assignment service.

A method here says what is sent and nothing else: ``calls`` describes the endpoints, ``auth`` keeps the
session, ``retries`` repeats, ``flows`` splits batches.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
import httpx

from pyade.apple import calls, flows
from pyade.apple.auth import SessionCache, TokenProvider
from pyade.apple.bodies import bound, bound_async
from pyade.apple.calls import Call
from pyade.apple.connection import (
    BASE_URL,
    PROTOCOL_VERSION,
    TIMEOUT,
    Settings,
    jitter,
    next_cursor,
    utc_now,
)
from pyade.apple.responses import (
    Account,
    AccountDrivenEnrollmentProfile,
    ActivationLockAnswer,
    BetaEnrollmentTokens,
    DefinedProfileAnswer,
    DevicePage,
    ReplacementDetails,
)
from pyade.apple.retries import SendOnce, call_flow
from pyade.builders.dep_profile import definition
from pyade.core.assignment import DeviceResults
from pyade.core.device import Device
from pyade.core.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.errors import ExhaustedCursorError, InvalidRequestError
from pyade.flow import AsyncRunner, Flow, Handlers, RandomNumber, Runner

T = TypeVar("T")
TransportT = TypeVar("TransportT")
WaitT = TypeVar("WaitT")


class _Connecting(Generic[TransportT, WaitT]):
    def __init__(
        self,
        token: Token | TokenProvider,
        *,
        base_url: str = BASE_URL,
        transport: TransportT | None = None,
        sessions: SessionCache | None = None,
        protocol_version: int = PROTOCOL_VERSION,
        user_agent: str | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        retries: int = 3,
        deadline_s: float = 60.0,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], WaitT] | None = None,
        random: Callable[[], float] = jitter,
    ) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            token: The token, or a callable that returns it; asked at each new session, so that a renewed
                token reaches a running client. For the asynchronous class, too, it is an ordinary callable,
                and is asked in a thread.
            base_url: Of the service, of a proxy for it (with its path prefix), or of a fake.
            transport: Any httpx transport; None for the network.
            sessions: Shared between clients; None for a cache of its own.
            protocol_version: ``X-Server-Protocol-Version``, 1 to 10; lower ones hide what Apple added later.
            user_agent: Product and version; None for ``pyade/<version>``. Apple refuses names of HTTP
                libraries.
            timeout: Seconds without a connection or a byte of the answer; or httpx's own object.
            retries: Tries after the first one, for calls that are safe to repeat.
            deadline_s: Seconds from the start of a call within which its last try begins; a longer wait that
                Apple asks for ends the call with ``RateLimitError`` or ``ServerError``.
            clock: Returns the time, UTC.
            sleep: Waits a number of seconds, awaited by the asynchronous class; None waits on this
                machine's clock.
            random: Returns a number from 0 to below 1, for the jitter between tries.

        Raises:
            UserAgentError: ``user_agent`` is empty or not printable.
            InvalidRequestError: ``base_url`` or ``protocol_version`` cannot be used.
        """
        self._settings = Settings.checked(
            token,
            base_url=base_url,
            sessions=sessions,
            protocol_version=protocol_version,
            user_agent=user_agent,
            retries=retries,
            deadline_s=deadline_s,
            clock=clock,
        )
        self._sleep: Callable[[float], WaitT] | None = sleep
        self._random = random
        self._open(transport, timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={str(self._settings.base_url)!r})"

    @property
    def token_name(self) -> str:
        """The name of the token in use."""
        return self._settings.auth.token.name

    def _open(self, transport: TransportT | None, timeout: httpx.Timeout | float) -> None:
        raise NotImplementedError

    def _options(self, timeout: httpx.Timeout | float) -> dict[str, Any]:
        """Return what the HTTP clients of both kinds are made with."""
        return {
            "base_url": self._settings.base_url,
            "headers": self._settings.headers,
            "auth": self._settings.auth,
            "timeout": timeout,
            "follow_redirects": False,
        }


class Client(_Connecting[httpx.BaseTransport, object]):
    """Apple's device assignment service, for one server token.

    Safe for several threads. Use it as a context manager, or call ``close``.

    Every method raises ``AppleError`` where Apple refuses and ``TransportError`` where no answer comes; an
    answer that goes on after 64 MiB is a ``ResponseError``. No secret is in any of them; but httpcore's own
    debug log prints response headers, so keep it off.
    """

    def _open(self, transport: httpx.BaseTransport | None, timeout: httpx.Timeout | float) -> None:
        hooks = {"response": [bound]}
        self._http = httpx.Client(transport=transport, event_hooks=hooks, **self._options(timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, call: Call[T]) -> T:
        """Send *call*, with a session and with retries, and return its answer."""
        return self.drive(call_flow(call, self._settings.policy, self._settings.memory))

    def drive(self, flow: Flow[T]) -> T:
        """Run a flow that yields ``SendCall`` and common steps, and return its result."""
        return self._runner.run(flow)

    @property
    def _runner(self) -> Runner:
        handlers: Handlers = {
            flows.SendCall: lambda step: self.call(step.call),
            SendOnce: lambda step: self._attempt(step.call),
            RandomNumber: lambda _: self._random(),
        }
        return Runner(handlers, clock=self._settings.clock, sleep=self._sleep or time.sleep)

    def _attempt(self, call: Call[Any]) -> bytes:
        request = self._settings.request(self._http.build_request, call)
        try:
            response = self._http.send(request)
        except httpx.RequestError as error:
            failure, cause = self._settings.no_answer(call, request, error)
            raise failure from cause
        return self._settings.body(call, response)

    def account(self) -> Account:
        """Return the MDM server, its organization and the page limits, which are used from then on."""
        return self.call(calls.account())

    def fetch_devices(self, cursor: str | None = None, limit: int | None = None) -> DevicePage:
        """Return one page of the full list.

        Args:
            cursor: Of the page before; None for the first one.
            limit: Devices per page; None for what ``account`` advertised, else 1000. Never above the maximum.

        Raises:
            CursorError: Apple does not accept the cursor.
        """
        return self.call(calls.fetch_devices(cursor, limit))

    def sync_devices(self, cursor: str, limit: int | None = None) -> DevicePage:
        """Return one page of the changes since *cursor*.

        Args:
            cursor: Of the last page of a fetch, or of the sync before.
            limit: As for ``fetch_devices``.

        Raises:
            CursorError: Apple does not accept the cursor.
        """
        return self.call(calls.sync_devices(cursor, limit))

    def iter_devices(self, limit: int | None = None) -> Iterator[Device]:
        """Iterate over the full list, a page in memory at a time.

        Raises:
            ResponseError: Apple repeated a cursor: the list is incomplete.
        """
        cursor: str | None = None
        while True:
            try:
                page = self.fetch_devices(cursor, limit)
            except ExhaustedCursorError:
                return
            yield from page.devices
            cursor = next_cursor(cursor, page, "fetch devices")
            if cursor is None:
                return

    def iter_changes(self, cursor: str, limit: int | None = None) -> Iterator[DevicePage]:
        """Iterate over the pages of changes since *cursor*; store each page with its own cursor.

        Raises:
            CursorError: Expired or invalid: a full fetch is needed.
            ResponseError: Apple repeated a cursor: every page that it sent was handed out before.
        """
        following: str | None = cursor
        while following is not None:
            try:
                page = self.sync_devices(following, limit)
            except ExhaustedCursorError:
                return
            yield page
            following = next_cursor(following, page, "sync devices")

    def device_details(self, serials: Iterable[str]) -> dict[str, Device]:
        """Return what Apple knows now about each of *serials*, in their order.

        A device whose ``response_status`` is not ``SUCCESS`` carries no other data that counts.
        """
        return self.drive(flows.details_flow(serials))

    def define_profile(self, profile: EnrollmentProfile | Mapping[str, Any]) -> DefinedProfileAnswer:
        """Store a new profile at Apple, which never changes; give it to devices with ``assign_profile``.

        Args:
            profile: A profile, or Apple's JSON for one.

        Raises:
            InvalidRequestError: Apple does not accept a setting; ``code`` says which.
            TransportError: No answer came: perhaps a profile exists now that nothing uses, which is harmless.
        """
        body = definition(profile) if isinstance(profile, EnrollmentProfile) else profile
        return self.call(calls.define_profile(body))

    def profile(self, profile_uuid: str) -> dict[str, Any]:
        """Return a profile's JSON as Apple keeps it; ``builders.dep_profile.from_apple`` reads it.

        Raises:
            NotFoundError: Apple has no such profile for this token.
        """
        return self.call(calls.profile(profile_uuid))

    def assign_profile(self, profile_uuid: str, serials: Iterable[str]) -> DeviceResults:
        """Assign a profile to any number of devices and return what Apple did for each.

        Assigning what a device has already counts toward Apple's throttling: compare first. A lost answer is
        read back, and only the difference is sent again.

        Raises:
            NotFoundError: Apple has no such profile for this token.
            BatchError: A later chunk of 1000 failed; ``outcome`` holds what is known about every device.
        """
        return self.drive(flows.assign_flow(profile_uuid, serials))

    def remove_profile(self, serials: Iterable[str]) -> DeviceResults:
        """Take the assigned profile from any number of devices and return what Apple did for each.

        A device that has fetched its profile keeps it until it is erased.

        Raises:
            BatchError: A later chunk of 1000 failed; ``outcome`` holds what is known about every device.
        """
        return self.drive(flows.remove_flow(serials))

    def disown_devices(self, serials: Iterable[str], *, confirm: bool) -> DeviceResults:
        """Give devices up for ever: they leave the organization, not only this server.

        Only devices that were added with Apple Configurator can come back. No device is sent twice: after a
        lost answer the details are read, and those that Apple shows no longer are ``NOT_ACCESSIBLE``.

        Args:
            serials: The devices.
            confirm: Must be True.

        Raises:
            InvalidRequestError: ``confirm`` is not True; nothing was sent.
            BatchError: An answer was lost, or a later chunk of 1000 failed; ``outcome`` holds what is known
                about every device, and ``REQUEST_FAILED`` in it means that nothing is.
        """
        if confirm is not True:
            raise InvalidRequestError(*flows.NOT_CONFIRMED)
        return self.drive(flows.disown_flow(serials))

    def activation_lock(
        self, serial_number: str, *, escrow_key: str | None = None, lost_message: str | None = None
    ) -> ActivationLockAnswer:
        """Lock one device; look at the answer's ``result``.

        Args:
            serial_number: The device.
            escrow_key: ``BypassCode.escrow_key``, 64 hex digits; without it the lock is bound to the person
                who made the MDM server in the portal.
            lost_message: Text on the locked screen.

        Store the bypass code first, as ``DeviceActions.lock`` does: after a lost answer it is the only way to
        unlock the device.

        Raises:
            InvalidRequestError: ``escrow_key`` is no such hash; nothing was sent.
        """
        return self.call(calls.activation_lock(serial_number, escrow_key, lost_message))

    def replacement_details(self, serial_number: str) -> ReplacementDetails:
        """Return which device *serial_number* replaces; ask only where ``is_replacement_device`` is true.

        Raises:
            NotFoundError: No replacement is on record, or the protocol version is below 10.
        """
        return self.call(calls.replacement_details(serial_number))

    def beta_enrollment_tokens(self) -> BetaEnrollmentTokens:
        """Return the tokens of Apple's beta programmes; ``is_allowed`` is False where they are turned off."""
        return self.call(calls.beta_enrollment_tokens())

    def set_account_driven_enrollment_profile(self, mdm_service_discovery_url: str) -> None:
        """Set the address for account-driven enrollment, which must be ``https``."""
        self.call(calls.set_account_driven_enrollment_profile(mdm_service_discovery_url))

    def get_account_driven_enrollment_profile(self) -> AccountDrivenEnrollmentProfile:
        """Return the address for account-driven enrollment.

        Raises:
            NotFoundError: None is set.
        """
        return self.call(calls.get_account_driven_enrollment_profile())

    def remove_account_driven_enrollment_profile(self) -> None:
        """Remove the address for account-driven enrollment."""
        self.call(calls.remove_account_driven_enrollment_profile())


class AsyncClient(_Connecting[httpx.AsyncBaseTransport, Awaitable[object]]):
    """Apple's device assignment service, for one server token.

    Arguments and methods are those of ``Client``. A client is for one event loop, asyncio's or trio's.
    """

    def _open(self, transport: httpx.AsyncBaseTransport | None, timeout: httpx.Timeout | float) -> None:
        hooks = {"response": [bound_async]}
        self._http = httpx.AsyncClient(transport=transport, event_hooks=hooks, **self._options(timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, call: Call[T]) -> T:
        """Send *call*, with a session and with retries, and return its answer."""
        return await self.drive(call_flow(call, self._settings.policy, self._settings.memory))

    async def drive(self, flow: Flow[T]) -> T:
        """Run a flow that yields ``SendCall`` and common steps, and return its result."""
        return await self._runner.run(flow)

    @property
    def _runner(self) -> AsyncRunner:
        handlers: Handlers = {
            flows.SendCall: lambda step: self.call(step.call),
            SendOnce: lambda step: self._attempt(step.call),
            RandomNumber: lambda _: self._random(),
        }
        return AsyncRunner(handlers, clock=self._settings.clock, sleep=self._sleep or anyio.sleep)

    async def _attempt(self, call: Call[Any]) -> bytes:
        request = self._settings.request(self._http.build_request, call)
        try:
            response = await self._http.send(request)
        except httpx.RequestError as error:
            failure, cause = self._settings.no_answer(call, request, error)
            raise failure from cause
        return self._settings.body(call, response)

    async def account(self) -> Account:
        """Return the MDM server, its organization and the page limits, which are used from then on."""
        return await self.call(calls.account())

    async def fetch_devices(self, cursor: str | None = None, limit: int | None = None) -> DevicePage:
        """Return one page of the full list."""
        return await self.call(calls.fetch_devices(cursor, limit))

    async def sync_devices(self, cursor: str, limit: int | None = None) -> DevicePage:
        """Return one page of the changes since *cursor*."""
        return await self.call(calls.sync_devices(cursor, limit))

    async def iter_devices(self, limit: int | None = None) -> AsyncIterator[Device]:
        """Iterate over the full list, a page in memory at a time."""
        cursor: str | None = None
        while True:
            try:
                page = await self.fetch_devices(cursor, limit)
            except ExhaustedCursorError:
                return
            for device in page.devices:
                yield device
            cursor = next_cursor(cursor, page, "fetch devices")
            if cursor is None:
                return

    async def iter_changes(self, cursor: str, limit: int | None = None) -> AsyncIterator[DevicePage]:
        """Iterate over the pages of changes since *cursor*; store each page with its own cursor."""
        following: str | None = cursor
        while following is not None:
            try:
                page = await self.sync_devices(following, limit)
            except ExhaustedCursorError:
                return
            yield page
            following = next_cursor(following, page, "sync devices")

    async def device_details(self, serials: Iterable[str]) -> dict[str, Device]:
        """Return what Apple knows now about each of *serials*, in their order."""
        return await self.drive(flows.details_flow(serials))

    async def define_profile(self, profile: EnrollmentProfile | Mapping[str, Any]) -> DefinedProfileAnswer:
        """Store a new profile at Apple, which never changes; give it to devices with ``assign_profile``."""
        body = definition(profile) if isinstance(profile, EnrollmentProfile) else profile
        return await self.call(calls.define_profile(body))

    async def profile(self, profile_uuid: str) -> dict[str, Any]:
        """Return a profile's JSON as Apple keeps it; ``builders.dep_profile.from_apple`` reads it."""
        return await self.call(calls.profile(profile_uuid))

    async def assign_profile(self, profile_uuid: str, serials: Iterable[str]) -> DeviceResults:
        """Assign a profile to any number of devices and return what Apple did for each."""
        return await self.drive(flows.assign_flow(profile_uuid, serials))

    async def remove_profile(self, serials: Iterable[str]) -> DeviceResults:
        """Take the assigned profile from any number of devices and return what Apple did for each."""
        return await self.drive(flows.remove_flow(serials))

    async def disown_devices(self, serials: Iterable[str], *, confirm: bool) -> DeviceResults:
        """Give devices up for ever: they leave the organization, not only this server."""
        if confirm is not True:
            raise InvalidRequestError(*flows.NOT_CONFIRMED)
        return await self.drive(flows.disown_flow(serials))

    async def activation_lock(
        self, serial_number: str, *, escrow_key: str | None = None, lost_message: str | None = None
    ) -> ActivationLockAnswer:
        """Lock one device; look at the answer's ``result``."""
        return await self.call(calls.activation_lock(serial_number, escrow_key, lost_message))

    async def replacement_details(self, serial_number: str) -> ReplacementDetails:
        """Return which device *serial_number* replaces; ask only where ``is_replacement_device`` is true."""
        return await self.call(calls.replacement_details(serial_number))

    async def beta_enrollment_tokens(self) -> BetaEnrollmentTokens:
        """Return the tokens of Apple's beta programmes; ``is_allowed`` is False where they are turned off."""
        return await self.call(calls.beta_enrollment_tokens())

    async def set_account_driven_enrollment_profile(self, mdm_service_discovery_url: str) -> None:
        """Set the address for account-driven enrollment, which must be ``https``."""
        await self.call(calls.set_account_driven_enrollment_profile(mdm_service_discovery_url))

    async def get_account_driven_enrollment_profile(self) -> AccountDrivenEnrollmentProfile:
        """Return the address for account-driven enrollment."""
        return await self.call(calls.get_account_driven_enrollment_profile())

    async def remove_account_driven_enrollment_profile(self) -> None:
        """Remove the address for account-driven enrollment."""
        await self.call(calls.remove_account_driven_enrollment_profile())
