"""The synchronous client of the Apple School Manager and Apple Business API, and what both clients share.

A method only names the call or the flow to run: ``calls`` describes the endpoints, ``activities`` holds the
logic.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from pyade.apple.http.calls import Call
from pyade.apple.http.connection import Connection, SyncConnection, jitter, validate_url, validate_user_agent
from pyade.apple.http.network import TIMEOUT
from pyade.apple.http.service import RetryPolicy
from pyade.business import activities, calls
from pyade.business.account import AUDIENCE, BUSINESS_URL, TOKEN_URL, AccountProvider, ApiAccount
from pyade.business.activities import DEADLINE_S, Download
from pyade.business.paging import Page, PageReader
from pyade.business.resources import (
    ActivationLockStatus,
    Activity,
    AppleCareCoverage,
    ManagementService,
    OrgDevice,
    Resource,
)
from pyade.business.service import AccessTokens, AuthorizationServer, BusinessApi
from pyade.core.arguments import check_arguments
from pyade.core.fleet.outcomes import ActivityOutcome, ActivityRequest, ActivityType, DeviceOutcome
from pyade.flow import Flow, Step, utc_now

T = TypeVar("T")

TransportT = TypeVar("TransportT")
WaitT = TypeVar("WaitT")


@check_arguments(but=("retries", "deadline_s", "proxy", "verify", "limits", "timeout"))
class BusinessConnection(Connection[TransportT, WaitT]):
    """Validated settings shared by ``BusinessClient`` and ``AsyncBusinessClient``."""

    def __init__(
        self,
        account: ApiAccount | AccountProvider,
        *,
        base_url: str | None = None,
        token_url: str = TOKEN_URL,
        audience: str = AUDIENCE,
        scope: str | None = None,
        transport: TransportT | None = None,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        verify: bool | str | Path | ssl.SSLContext = True,
        limits: httpx.Limits | None = None,
        http2: bool = False,
        user_agent: str | None = None,
        timeout: httpx.Timeout | float | None = TIMEOUT,
        retries: int = 3,
        deadline_s: float = 120.0,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], WaitT] | None = None,
        random: Callable[[], float] = jitter,
    ) -> None:
        """Validate the settings.

        Args:
            account: The API account, or a callable that returns it. It is called before each access token,
                so a new key reaches a running client. The asynchronous class calls it in a thread, or awaits
                it.
            base_url: Address of the service, of a proxy for it, or of a fake; None for that of the account.
            token_url: Address of the authorization server.
            audience: The ``aud`` claim of client assertions, independent of ``token_url``.
            scope: ``business.api`` or ``school.api``; None for that of the account.
            transport: Any httpx transport; None for the network, with the following four settings.
            proxy: Address of a proxy; None reads ``HTTPS_PROXY`` and the related variables, which are
                ignored for an address of this machine.
            verify: The certificates to trust: a file or folder, or an ``ssl.SSLContext``, which may also
                hold a client certificate; True for those of httpx, or of ``SSL_CERT_FILE``.
            limits: How many connections may be open and kept alive; None for the defaults of httpx.
            http2: True to offer HTTP/2, which needs ``httpx[http2]``.
            user_agent: Product and version; None for ``pyade/<version>``.
            timeout: Seconds to wait for a connection or for the next byte of the response, or an
                ``httpx.Timeout``; None for what is left of ``deadline_s``.
            retries: Tries after the first one, for calls that are safe to repeat.
            deadline_s: Seconds within which a call must end, including its access token, its tries and the
                last byte of its response.
            clock: Returns the current time, UTC.
            sleep: Waits a number of seconds; the asynchronous class awaits it. None waits in real time.
            random: Returns a number from 0 to below 1, for the jitter between tries.

        Raises:
            UserAgentError: ``user_agent`` is empty or not printable.
            InvalidRequestError: An argument, or a variable of the environment, cannot be used.
        """
        url = None if base_url is None else validate_url(base_url, "base_url", BUSINESS_URL)
        validate_url(token_url, "token_url", TOKEN_URL)
        server = AuthorizationServer(url=token_url, audience=audience, scope=scope)
        self._api = BusinessApi(
            AccessTokens(account, server),
            base_url=url,
            user_agent=validate_user_agent(user_agent),
            policy=RetryPolicy.checked(retries, deadline_s),
        )
        self._connect(
            self._api,
            transport=transport,
            timeout=timeout,
            network={"proxy": proxy, "verify": verify, "limits": limits, "http2": http2},
            clock=clock,
            sleep=sleep,
            random=random,
        )

    @property
    def _flows(self) -> dict[type[Step[Any]], Callable[[Any], Flow[Any]]]:
        return {**super()._flows, Download: lambda step: self._api.download_flow(step.address)}


@check_arguments(but=("serials", "confirm", "mdm_migration_deadline"))
class BusinessClient(BusinessConnection[httpx.BaseTransport, object], SyncConnection):
    """Lists the devices of Apple School Manager or Apple Business, and assigns them to services.

    Safe for several threads, which share one access token. Use it as a context manager, or call ``close``.

    Every method raises ``AppleError`` if Apple refuses the request and ``TransportError`` if no response
    arrives.
    """

    def _iter_pages(self, call: Call[Page[T]]) -> Iterator[T]:
        pages = PageReader(call)
        while pages.call is not None:
            yield from pages.take(self.call(pages.call))

    # Devices

    def list_devices(
        self, cursor: str | None = None, limit: int | None = None, fields: Iterable[str] = ()
    ) -> Page[OrgDevice]:
        """Return one page of the organization's devices.

        Args:
            cursor: ``next_cursor`` of the previous page; None for the first one.
            limit: Devices per page, 1 to 1000; None for 1000.
            fields: Apple's names of the attributes to return; empty for all. Only all of them include
                migrations.
        """
        return self.call(calls.list_devices(cursor, limit, fields))

    def iter_devices(self, limit: int | None = None, fields: Iterable[str] = ()) -> Iterator[OrgDevice]:
        """Iterate over the organization's devices; only one page is in memory at a time.

        Raises:
            ResponseError: Apple's cursors repeat or make no progress: the list is incomplete.
        """
        return self._iter_pages(calls.list_devices(None, limit, fields))

    def device(self, serial_number: str) -> OrgDevice:
        """Return one device.

        Raises:
            NotFoundError: The device is not in the organization (yet).
        """
        return self.call(calls.device(serial_number))

    def assigned_service_id(self, serial_number: str) -> str | None:
        """Return the id of the service that a device is assigned to; None if to none.

        After an activity the result is some seconds late (observed).

        Raises:
            NotFoundError: The device is not in the organization.
        """
        return self.drive(activities.service_flow(calls.assigned_service_id(serial_number), serial_number))

    def assigned_service(self, serial_number: str) -> ManagementService | None:
        """Return the service that a device is assigned to; None if to none.

        Raises:
            NotFoundError: The device is not in the organization.
        """
        return self.drive(activities.service_flow(calls.assigned_service(serial_number), serial_number))

    def apple_care(self, serial_number: str) -> tuple[AppleCareCoverage, ...]:
        """Return the warranty and plans of one device; Apple offers no call for several devices."""
        return self.call(calls.apple_care(serial_number)).items

    def activation_lock_status(self, serial_number: str) -> ActivationLockStatus:
        """Return whether one device is locked."""
        return self.call(calls.activation_lock_status(serial_number))

    # Device management services

    def list_services(
        self, cursor: str | None = None, limit: int | None = None, fields: Iterable[str] = ()
    ) -> Page[ManagementService]:
        """Return one page of the device management services; arguments as for ``list_devices``."""
        return self.call(calls.list_services(cursor, limit, fields))

    def iter_services(
        self, limit: int | None = None, fields: Iterable[str] = ()
    ) -> Iterator[ManagementService]:
        """Iterate over the device management services."""
        return self._iter_pages(calls.list_services(None, limit, fields))

    def find_service(self, name: str) -> ManagementService:
        """Return the service with that name, in any letter case.

        Raises:
            NotFoundError: There is no such service; the error lists the existing ones.
            ConflictError: There are several services with that name.
        """
        return self.drive(activities.find_service_flow(name))

    def service(self, service_id: str) -> ManagementService:
        """Return one service; Business only.

        Raises:
            NotFoundError: There is no service with that id.
            AccessDeniedError: Apple School Manager does not offer it.
        """
        return self.call(calls.service(service_id))

    def create_service(
        self,
        server_name: str,
        certificate_pem: bytes,
        *,
        certificate_name: str = "certificate.pem",
        enable_mdm_disown_flag: bool | None = None,
    ) -> ManagementService:
        """Create a service, and return it; Business only.

        Its server token still has to be downloaded in the portal, because there is no call for it.

        Args:
            server_name: The name that the portal shows.
            certificate_pem: Certificate of the key pair that will decrypt the server token.
            certificate_name: The file name that the portal shows.
            enable_mdm_disown_flag: True if the service may release devices permanently; None for Apple's
                default.

        Raises:
            TransportError: No response arrived: look for the service with ``find_service`` before trying
                again.
        """
        return self.call(
            calls.create_service(
                server_name,
                certificate_pem,
                certificate_name=certificate_name,
                enable_mdm_disown_flag=enable_mdm_disown_flag,
            )
        )

    def update_service(
        self,
        service_id: str,
        *,
        server_name: str | None = None,
        certificate_pem: bytes | None = None,
        certificate_name: str = "certificate.pem",
        enable_mdm_disown_flag: bool | None = None,
        default_product_families: Iterable[str] | None = None,
    ) -> ManagementService:
        """Change a service, and return it; Business only. None leaves a value unchanged.

        Args:
            service_id: The id of the service.
            server_name: The name that the portal shows.
            certificate_pem: A new certificate; the next server token is encrypted for it.
            certificate_name: The file name that the portal shows.
            enable_mdm_disown_flag: True if the service may release devices permanently.
            default_product_families: Families whose new devices are assigned to this service, such as
                ``MAC``; empty for none.

        Raises:
            ConflictError: Another service is the default of a product family: remove it there first.
        """
        return self.call(
            calls.update_service(
                service_id,
                server_name=server_name,
                certificate_pem=certificate_pem,
                certificate_name=certificate_name,
                enable_mdm_disown_flag=enable_mdm_disown_flag,
                default_product_families=default_product_families,
            )
        )

    def delete_service(self, service_id: str, *, confirm: bool) -> None:
        """Delete a service together with its server token; Business only.

        Args:
            service_id: The id of the service.
            confirm: Must be True.

        Raises:
            InvalidRequestError: ``confirm`` is not True; nothing was sent.
            ConflictError: The service has devices.
        """
        self.call(calls.delete_service(service_id, confirm=confirm))

    def list_service_serials(
        self, service_id: str, cursor: str | None = None, limit: int | None = None
    ) -> Page[str]:
        """Return one page of the serial numbers that are assigned to a service."""
        return self.call(calls.list_service_serials(service_id, cursor, limit))

    def iter_service_serials(self, service_id: str, limit: int | None = None) -> Iterator[str]:
        """Iterate over the serial numbers that are assigned to a service."""
        return self._iter_pages(calls.list_service_serials(service_id, None, limit))

    def iter_builtin_devices(self, limit: int | None = None) -> Iterator[Resource]:
        """Iterate over the devices in Apple's built-in management; Business only."""
        return self._iter_pages(calls.list_builtin_devices(None, limit))

    def builtin_device_details(self, device_id: str) -> Resource:
        """Return details of a device in Apple's built-in management; Business only."""
        return self.call(calls.builtin_device_details(device_id))

    # Activities

    def assign_devices(
        self, service_id: str, serials: Iterable[str], *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Assign any number of devices to a service and return the outcome of each.

        Check ``failed``: a completed activity may have changed nothing.

        Args:
            service_id: The service to assign them to.
            serials: Serial numbers of the devices.
            deadline_s: Seconds within which the activity must end.

        Raises:
            ConflictError: Apple does not know the service or a serial number; nothing was changed.
            ActivityError: The activity did not end in time, or its response was lost; ``resume_activity``
                continues it.
        """
        return self._start(ActivityType.ASSIGN_DEVICES, serials, deadline_s, service_id=service_id)

    def unassign_devices(
        self, service_id: str, serials: Iterable[str], *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Unassign any number of devices from their service, and return the outcome of each.

        Args:
            service_id: The service that they are assigned to.
            serials: Serial numbers of the devices; they stay in the organization.
            deadline_s: Seconds within which the activity must end.

        Raises:
            ConflictError: This and the other errors are as for ``assign_devices``.
        """
        return self._start(ActivityType.UNASSIGN_DEVICES, serials, deadline_s, service_id=service_id)

    def migrate_devices(
        self,
        service_id: str,
        serials: Iterable[str],
        mdm_migration_deadline: datetime,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> ActivityOutcome:
        """Migrate devices to another service without erasing them, and return the outcome of each.

        Args:
            service_id: The service to migrate to.
            serials: Serial numbers of the devices.
            mdm_migration_deadline: Until when users may postpone it, at most 90 days ahead, UTC.
            deadline_s: Seconds within which the assignment must end.

        Raises:
            InvalidRequestError: The deadline has no time zone or is too far ahead; nothing was sent.
            ConflictError: This and the other errors are as for ``assign_devices``.
        """
        kind = ActivityType.ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE
        return self._start(
            kind,
            serials,
            deadline_s,
            service_id=service_id,
            mdm_migration_deadline=mdm_migration_deadline,
        )

    def update_migration_deadline(
        self, serials: Iterable[str], mdm_migration_deadline: datetime, *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Change until when users may postpone the migration of devices, and return the outcome of each.

        Args:
            serials: Serial numbers of the devices.
            mdm_migration_deadline: At most 90 days ahead, UTC. A time in the past starts the migration
                immediately, and users can no longer postpone it.
            deadline_s: Seconds within which the activity must end.

        Raises:
            InvalidRequestError: This and the other errors are as for ``migrate_devices``.
        """
        kind = ActivityType.UPDATE_MDM_MIGRATION_DEADLINE
        return self._start(kind, serials, deadline_s, mdm_migration_deadline=mdm_migration_deadline)

    def cancel_migration(self, serials: Iterable[str], *, deadline_s: float = DEADLINE_S) -> ActivityOutcome:
        """Cancel the migration of devices, and return the outcome of each.

        Raises:
            ConflictError: This and the other errors are as for ``assign_devices``.
        """
        return self._start(ActivityType.CANCEL_MDM_MIGRATION, serials, deadline_s)

    def release_devices(
        self, serials: Iterable[str], *, confirm: bool, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Release devices from the organization permanently; return the outcome of each; Business only.

        The request is never sent twice, whatever happens.

        Args:
            serials: Serial numbers of the devices.
            confirm: Must be True.
            deadline_s: Seconds within which the activity must end.

        Raises:
            InvalidRequestError: ``confirm`` is not True; nothing was sent.
            AccessDeniedError: Apple School Manager does not offer it.
            ActivityError: As for ``assign_devices``.
        """
        return self._start(ActivityType.RELEASE_DEVICES, serials, deadline_s, confirm=confirm)

    def resume_activity(self, outcome: ActivityOutcome, *, deadline_s: float = DEADLINE_S) -> ActivityOutcome:
        """Continue to wait for unfinished activities, and return the outcome of each device.

        No change is sent again.

        Args:
            outcome: ``outcome`` of an ``ActivityError``.
            deadline_s: Seconds within which the activities must end.

        Raises:
            ActivityError: They have still not ended.
        """
        return self.drive(activities.resume_flow(outcome, deadline_s=deadline_s))

    def activity(self, activity_id: str) -> Activity:
        """Return the status of an activity; Apple keeps it for 30 days.

        Raises:
            NotFoundError: Apple does not know the activity (any more).
        """
        return self.call(calls.activity(activity_id))

    def activity_log(self, activity: Activity) -> Mapping[str, DeviceOutcome]:
        """Return the outcome of each device from the log of an ended activity; empty if it has no log."""
        return self.drive(activities.log_flow(activity))

    def _start(
        self,
        activity_type: ActivityType,
        serials: Iterable[str],
        deadline_s: float,
        *,
        confirm: bool = False,
        **what: Any,
    ) -> ActivityOutcome:
        request = ActivityRequest(activity_type=activity_type, **what)
        flow = activities.activity_flow(request, serials, deadline_s=deadline_s, confirm=confirm)
        return self.drive(flow)
