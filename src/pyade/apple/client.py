"""The two clients of Apple's device assignment service.

A method here only names the call to send: ``calls`` describes the endpoints, ``service`` opens sessions,
``http`` sends and retries, ``batches`` splits long lists of devices.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from pyade.apple.http.calls import Cursors
from pyade.apple.http.connection import (
    AsyncConnection,
    Connection,
    SyncConnection,
    jitter,
    validate_url,
    validate_user_agent,
)
from pyade.apple.http.network import CONFIGURE, TIMEOUT
from pyade.apple.http.service import RetryPolicy
from pyade.apple.http.sessions import SessionCache
from pyade.core.arguments import check_arguments
from pyade.errors import ExhaustedCursorError, InvalidRequestError
from pyade.flow import utc_now
from pyade.loading import lazy_modules

if TYPE_CHECKING:
    from pyade.apple import batches, calls, service
    from pyade.apple.responses import (
        Account,
        AccountDrivenEnrollmentProfile,
        ActivationLockResponse,
        BetaEnrollmentTokens,
        DefineProfileResponse,
        DevicePage,
        ReplacementDetails,
    )
    from pyade.apple.service import TokenProvider
    from pyade.builders import dep_profile
    from pyade.core.fleet.device import Device
    from pyade.core.fleet.outcomes import DeviceResults
    from pyade.core.profile.profile import EnrollmentProfile
    from pyade.core.token import Token
else:
    lazy_modules(
        globals(),
        calls="pyade.apple.calls",
        dep_profile="pyade.builders.dep_profile",
        batches="pyade.apple.batches",
        service="pyade.apple.service",
    )

BASE_URL = "https://mdmenrollment.apple.com"
PROTOCOL_VERSION = 10

TransportT = TypeVar("TransportT")
WaitT = TypeVar("WaitT")


@check_arguments(but=("retries", "deadline_s", "proxy", "verify", "limits", "timeout"))
class _Connecting(Connection[TransportT, WaitT]):
    def __init__(
        self,
        token: Token | TokenProvider,
        *,
        base_url: str = BASE_URL,
        transport: TransportT | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        verify: bool | str | Path | ssl.SSLContext = True,
        limits: httpx.Limits | None = None,
        http2: bool = False,
        sessions: SessionCache | None = None,
        protocol_version: int = PROTOCOL_VERSION,
        user_agent: str | None = None,
        timeout: httpx.Timeout | float | None = TIMEOUT,
        retries: int = 3,
        deadline_s: float = 60.0,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], WaitT] | None = None,
        random: Callable[[], float] = jitter,
    ) -> None:
        """Configure the client.

        Args:
            token: The token, or a callable that returns it. The callable is called for each new session, so
                that a running client uses a renewed token; ``AsyncClient`` awaits it or calls it in a thread.
            base_url: Address of the service, of a proxy for it (with its path prefix), or of a fake.
            transport: Any httpx transport; None for the network, configured by the following four.
            proxy: Address of a proxy; None for the proxies of the environment, such as ``HTTPS_PROXY``, which
                are not used for an address of this machine.
            verify: The certificates to trust: a file or folder, or an ``ssl.SSLContext``, which may also hold
                a client certificate; True for those of httpx, or of ``SSL_CERT_FILE``.
            limits: How many connections are open and kept; None for the limits of httpx.
            http2: True to offer HTTP/2, which needs ``httpx[http2]``.
            sessions: A cache shared between clients; None for a cache of this client alone.
            protocol_version: ``X-Server-Protocol-Version``, 1 to 10; lower versions hide what Apple added
                later.
            user_agent: Product and version; None for ``pyade/<version>``. Apple refuses names of HTTP
                libraries.
            timeout: Seconds without a connection or without a byte of the response, or an ``httpx.Timeout``;
                None for the rest of ``deadline_s``.
            retries: Tries after the first one, for calls that are safe to repeat.
            deadline_s: Seconds within which a call must end, including its session, all tries and the last
                byte of the response. If Apple asks for a longer wait, the call ends with ``RateLimitError``
                or ``ServerError``.
            clock: Returns the time, UTC.
            sleep: Waits a number of seconds, awaited by ``AsyncClient``; None for a real wait.
            random: Returns a number from 0 to below 1, for the jitter between tries.

        Raises:
            UserAgentError: ``user_agent`` is empty or not printable.
            InvalidRequestError: An argument, or a variable of the environment, cannot be used.
        """
        agent = validate_user_agent(user_agent)
        if protocol_version < 1:
            detail = f"protocol_version {protocol_version}: 1 to {PROTOCOL_VERSION} is known"
            raise InvalidRequestError(CONFIGURE, 0, "", detail, f"leave it out for {PROTOCOL_VERSION}")
        url = validate_url(base_url, "base_url", BASE_URL)
        self._sessions = service.TokenSessions(token, url, sessions or SessionCache())
        self._connect(
            service.DeviceAssignment(
                self._sessions,
                base_url=url,
                user_agent=agent,
                protocol_version=protocol_version,
                policy=RetryPolicy.checked(retries, deadline_s),
            ),
            transport=transport,
            timeout=timeout,
            network={"proxy": proxy, "verify": verify, "limits": limits, "http2": http2},
            clock=clock,
            sleep=sleep,
            random=random,
        )

    @property
    def token_name(self) -> str:
        """The name of the token in use."""
        return self._sessions.token.name


@check_arguments(but=("serials", "confirm"))
class Client(_Connecting[httpx.BaseTransport, object], SyncConnection):
    """Client of Apple's device assignment service, for one server token.

    Safe for several threads. Use it as a context manager, or call ``close``.

    Every method raises ``AppleError`` if Apple refuses, ``TransportError`` if no complete response arrives in
    time, and ``ResponseError`` if the response exceeds its size limit. No error contains a secret.
    """

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
        """Iterate over the full list, holding one page in memory.

        Raises:
            ResponseError: Apple repeats a cursor or sends only empty pages: the list is incomplete.
        """
        cursors, cursor = Cursors("fetch devices"), None
        while True:
            try:
                page = self.fetch_devices(cursor, limit)
            except ExhaustedCursorError:
                return
            yield from page.devices
            if not page.more_to_follow:
                return
            cursor = cursors.follow(page.cursor, brought_something=bool(page.devices or page.unreadable))

    def iter_changes(self, cursor: str, limit: int | None = None) -> Iterator[DevicePage]:
        """Iterate over the pages of changes since *cursor*; store each page with its own cursor.

        Raises:
            CursorError: The cursor is expired or invalid: a full fetch is needed.
            ResponseError: Apple repeats a cursor or sends only empty pages; every page that arrived was
                yielded before.
        """
        cursors = Cursors("sync devices", cursor)
        while True:
            try:
                page = self.sync_devices(cursor, limit)
            except ExhaustedCursorError:
                return
            yield page
            if not page.more_to_follow:
                return
            cursor = cursors.follow(page.cursor, brought_something=bool(page.devices or page.unreadable))

    def device_details(self, serials: Iterable[str]) -> dict[str, Device]:
        """Return what Apple knows now about each of *serials*, in their order.

        If the ``response_status`` of a device is not ``SUCCESS``, ignore its other attributes.
        """
        return self.drive(batches.details_flow(serials))

    def define_profile(self, profile: EnrollmentProfile | Mapping[str, Any]) -> DefineProfileResponse:
        """Store a new, immutable profile at Apple; give it to devices with ``assign_profile``.

        Args:
            profile: A profile, or Apple's JSON for one.

        Raises:
            InvalidRequestError: Apple does not accept a setting; ``code`` says which.
            TransportError: No response arrived. Apple may have stored a profile that nothing uses, which is
                harmless.
        """
        body = profile if isinstance(profile, Mapping) else dep_profile.definition(profile)
        return self.call(calls.define_profile(body))

    def profile(self, profile_uuid: str) -> dict[str, Any]:
        """Return a profile's JSON as Apple stores it; ``builders.dep_profile.from_apple`` parses it.

        Raises:
            NotFoundError: Apple has no such profile for this token.
        """
        return self.call(calls.profile(profile_uuid))

    def assign_profile(self, profile_uuid: str, serials: Iterable[str]) -> DeviceResults:
        """Assign a profile to any number of devices and return what Apple did for each.

        Assigning the profile that a device already has counts toward Apple's throttling: compare first. After
        a lost response the client reads the devices and sends only the difference again.

        Raises:
            NotFoundError: Apple has no such profile for this token.
            BatchError: A later chunk of 1000 failed; ``outcome`` holds what is known about every device.
        """
        return self.drive(batches.assign_flow(profile_uuid, serials))

    def remove_profile(self, serials: Iterable[str]) -> DeviceResults:
        """Remove the assigned profile from any number of devices and return what Apple did for each.

        A device that has fetched its profile keeps it until it is erased.

        Raises:
            BatchError: A later chunk of 1000 failed; ``outcome`` holds what is known about every device.
        """
        return self.drive(batches.remove_flow(serials))

    def disown_devices(self, serials: Iterable[str], *, confirm: bool) -> DeviceResults:
        """Disown devices permanently: they leave the organization, not only this server.

        Only devices that were added with Apple Configurator can come back. No device is sent twice: after a
        lost response the client reads the details, and a device that Apple no longer shows is
        ``NOT_ACCESSIBLE``.

        Args:
            serials: The devices.
            confirm: Must be True.

        Raises:
            InvalidRequestError: ``confirm`` is not True; nothing was sent.
            BatchError: A response was lost, or a later chunk of 1000 failed; ``outcome`` holds what is known
                about every device, and ``REQUEST_FAILED`` in it means that nothing is known.
        """
        if confirm is not True:
            raise InvalidRequestError(*batches.NOT_CONFIRMED)
        return self.drive(batches.disown_flow(serials))

    def activation_lock(
        self, serial_number: str, *, escrow_key: str | None = None, lost_message: str | None = None
    ) -> ActivationLockResponse:
        """Lock one device; check ``result`` of the response.

        Args:
            serial_number: The device.
            escrow_key: ``BypassCode.escrow_key``, 64 hex digits; without it the lock is bound to the portal
                user who created the MDM server.
            lost_message: Text on the locked screen.

        Store the bypass code first, as ``DeviceActions.lock`` does: after a lost response it is the only way
        to unlock the device.

        Raises:
            InvalidRequestError: ``escrow_key`` is not 64 hex digits; nothing was sent.
        """
        return self.call(calls.activation_lock(serial_number, escrow_key, lost_message))

    def replacement_details(self, serial_number: str) -> ReplacementDetails:
        """Return which device *serial_number* replaces; call only if ``is_replacement_device`` is true.

        Raises:
            NotFoundError: No replacement is on record, or the protocol version is below 10.
        """
        return self.call(calls.replacement_details(serial_number))

    def beta_enrollment_tokens(self) -> BetaEnrollmentTokens:
        """Return the tokens of Apple's beta programmes; ``is_allowed`` is False if they are turned off."""
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


@check_arguments(but=("serials", "confirm"))
class AsyncClient(_Connecting[httpx.AsyncBaseTransport, Awaitable[object]], AsyncConnection):
    """Asynchronous client of Apple's device assignment service, for one server token; see ``Client``.

    A client belongs to one event loop, of asyncio or trio.
    """

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
        """Iterate over the full list, holding one page in memory."""
        cursors, cursor = Cursors("fetch devices"), None
        while True:
            try:
                page = await self.fetch_devices(cursor, limit)
            except ExhaustedCursorError:
                return
            for device in page.devices:
                yield device
            if not page.more_to_follow:
                return
            cursor = cursors.follow(page.cursor, brought_something=bool(page.devices or page.unreadable))

    async def iter_changes(self, cursor: str, limit: int | None = None) -> AsyncIterator[DevicePage]:
        """Iterate over the pages of changes since *cursor*; store each page with its own cursor."""
        cursors = Cursors("sync devices", cursor)
        while True:
            try:
                page = await self.sync_devices(cursor, limit)
            except ExhaustedCursorError:
                return
            yield page
            if not page.more_to_follow:
                return
            cursor = cursors.follow(page.cursor, brought_something=bool(page.devices or page.unreadable))

    async def device_details(self, serials: Iterable[str]) -> dict[str, Device]:
        """Return what Apple knows now about each of *serials*, in their order."""
        return await self.drive(batches.details_flow(serials))

    async def define_profile(self, profile: EnrollmentProfile | Mapping[str, Any]) -> DefineProfileResponse:
        """Store a new, immutable profile at Apple; give it to devices with ``assign_profile``."""
        body = profile if isinstance(profile, Mapping) else dep_profile.definition(profile)
        return await self.call(calls.define_profile(body))

    async def profile(self, profile_uuid: str) -> dict[str, Any]:
        """Return a profile's JSON as Apple stores it; ``builders.dep_profile.from_apple`` parses it."""
        return await self.call(calls.profile(profile_uuid))

    async def assign_profile(self, profile_uuid: str, serials: Iterable[str]) -> DeviceResults:
        """Assign a profile to any number of devices and return what Apple did for each."""
        return await self.drive(batches.assign_flow(profile_uuid, serials))

    async def remove_profile(self, serials: Iterable[str]) -> DeviceResults:
        """Remove the assigned profile from any number of devices and return what Apple did for each."""
        return await self.drive(batches.remove_flow(serials))

    async def disown_devices(self, serials: Iterable[str], *, confirm: bool) -> DeviceResults:
        """Disown devices permanently: they leave the organization, not only this server."""
        if confirm is not True:
            raise InvalidRequestError(*batches.NOT_CONFIRMED)
        return await self.drive(batches.disown_flow(serials))

    async def activation_lock(
        self, serial_number: str, *, escrow_key: str | None = None, lost_message: str | None = None
    ) -> ActivationLockResponse:
        """Lock one device; check ``result`` of the response."""
        return await self.call(calls.activation_lock(serial_number, escrow_key, lost_message))

    async def replacement_details(self, serial_number: str) -> ReplacementDetails:
        """Return which device *serial_number* replaces; call only if ``is_replacement_device`` is true."""
        return await self.call(calls.replacement_details(serial_number))

    async def beta_enrollment_tokens(self) -> BetaEnrollmentTokens:
        """Return the tokens of Apple's beta programmes; ``is_allowed`` is False if they are turned off."""
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
