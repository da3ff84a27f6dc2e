"""The synchronous client of the Apple School Manager and Apple Business API.

A method here says what is sent and nothing else: ``calls`` describes the endpoints, the flows think.

How both clients of the Apple School Manager and Apple Business API are made.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from pyade.apple.http.calls import Call
from pyade.apple.http.connection import (
    Connection,
    SyncConnection,
    checked_url,
    checked_user_agent,
    jitter,
    utc_now,
)
from pyade.apple.http.network import TIMEOUT
from pyade.apple.http.service import RetryPolicy
from pyade.business import activities, calls
from pyade.business.account import AUDIENCE, BUSINESS_URL, TOKEN_URL, AccountProvider, ApiAccount
from pyade.business.activities import DEADLINE_S, Download
from pyade.business.paging import Page, Walk
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
from pyade.flow import Flow, Step

TransportT = TypeVar("TransportT")
WaitT = TypeVar("WaitT")


@check_arguments(but=("retries", "deadline_s", "proxy", "verify", "limits", "timeout"))
class BusinessConnection(Connection[TransportT, WaitT]):
    """What both clients are made from."""

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
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            account: The API account, or a callable that returns it; asked for each access token, so that a
                new key reaches a running client. The asynchronous class asks it in a thread, or awaits it.
            base_url: Of the service, of a proxy for it, or of a fake; None for that of the account.
            token_url: What is asked for access tokens.
            audience: What client assertions name as their reader, whatever ``token_url`` is.
            scope: ``business.api`` or ``school.api``; None for that of the account.
            transport: Any httpx transport; None for the network, with the following four.
            proxy: Address of a proxy; None for what ``HTTPS_PROXY`` and its like say. An address of this
                machine is asked without those.
            verify: The certificates to trust, a file or folder, or an ``ssl.SSLContext``, which may hold a
                client certificate, too; True for those of httpx, or of ``SSL_CERT_FILE``.
            limits: How many connections are open and kept; None for those of httpx.
            http2: True to offer HTTP/2, which needs ``httpx[http2]``.
            user_agent: Product and version; None for ``pyade/<version>``.
            timeout: Seconds without a connection or a byte of the answer, or httpx's own object; None for
                what is left of ``deadline_s``.
            retries: Tries after the first one, for calls that are safe to repeat.
            deadline_s: Seconds within which a call must end, with its access token, its tries and the last
                byte of its answer.
            clock: Returns the time, UTC.
            sleep: Waits a number of seconds, awaited by the asynchronous class; None waits on this
                machine's clock.
            random: Returns a number from 0 to below 1, for the jitter between tries.

        Raises:
            UserAgentError: ``user_agent`` is empty or not printable.
            InvalidRequestError: An argument, or a variable of the environment, cannot be used.
        """
        url = None if base_url is None else checked_url(base_url, "base_url", BUSINESS_URL)
        checked_url(token_url, "token_url", TOKEN_URL)
        server = AuthorizationServer(url=token_url, audience=audience, scope=scope)
        self._api = BusinessApi(
            AccessTokens(account, server),
            base_url=url,
            user_agent=checked_user_agent(user_agent),
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


T = TypeVar("T")


@check_arguments(but=("serials", "confirm", "mdm_migration_deadline"))
class BusinessClient(BusinessConnection[httpx.BaseTransport, object], SyncConnection):
    """Apple School Manager or Apple Business: which devices there are, and which service manages them.

    Safe for several threads, which share one access token. Use it as a context manager, or call ``close``.

    Every method raises ``AppleError`` where Apple refuses and ``TransportError`` where no answer comes.
    """

    def _walk(self, call: Call[Page[T]]) -> Iterator[T]:
        walk = Walk(call)
        while walk.call is not None:
            yield from walk.take(self.call(walk.call))

    # Devices

    def list_devices(
        self, cursor: str | None = None, limit: int | None = None, fields: Iterable[str] = ()
    ) -> Page[OrgDevice]:
        """Return one page of the organization's devices.

        Args:
            cursor: Of the page before; None for the first one.
            limit: Devices per page, 1 to 1000; None for 1000.
            fields: Apple's names of the attributes wanted; empty for all, which alone shows migrations.
        """
        return self.call(calls.list_devices(cursor, limit, fields))

    def iter_devices(self, limit: int | None = None, fields: Iterable[str] = ()) -> Iterator[OrgDevice]:
        """Iterate over the organization's devices, a page in memory at a time.

        Raises:
            ResponseError: Apple's cursors lead nowhere: the list is incomplete.
        """
        return self._walk(calls.list_devices(None, limit, fields))

    def device(self, serial_number: str) -> OrgDevice:
        """Return one device.

        Raises:
            NotFoundError: It is not in the organization (yet).
        """
        return self.call(calls.device(serial_number))

    def assigned_service_id(self, serial_number: str) -> str | None:
        """Return the id of the service that a device is assigned to; None if to none.

        Late by some seconds after an activity (observed).

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
        """Return warranty and plans of one device; Apple offers no call for several."""
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
        return self._walk(calls.list_services(None, limit, fields))

    def find_service(self, name: str) -> ManagementService:
        """Return the service with that name, in any letter case.

        Raises:
            NotFoundError: There is none; the error lists those that are there.
            ConflictError: There are several.
        """
        return self.drive(activities.find_service_flow(name))

    def service(self, service_id: str) -> ManagementService:
        """Return one service; Business only.

        Raises:
            NotFoundError: There is none of that id.
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
        """Make a service, and return it; Business only.

        Its server token still has to be downloaded in the portal, for there is no call for it.

        Args:
            server_name: For the portal.
            certificate_pem: Of the key pair that will decrypt the server token.
            certificate_name: A file name for the portal.
            enable_mdm_disown_flag: True if it may release devices for ever; None for Apple's default.

        Raises:
            TransportError: No answer came: look for it with ``find_service`` before trying again.
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
        """Change a service, and return it; Business only. None leaves a value as it is.

        Args:
            service_id: Which one.
            server_name: For the portal.
            certificate_pem: A new certificate; the next server token is encrypted for it.
            certificate_name: A file name for the portal.
            enable_mdm_disown_flag: True if it may release devices for ever.
            default_product_families: Families whose new devices go here, such as ``MAC``; empty for none.

        Raises:
            ConflictError: Another service is the default of a product family: take it from there first.
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
        """Delete a service, and its server token with it; Business only.

        Args:
            service_id: Which one.
            confirm: Must be True.

        Raises:
            InvalidRequestError: ``confirm`` is not True; nothing was sent.
            ConflictError: It has devices.
        """
        self.call(calls.delete_service(service_id, confirm=confirm))

    def list_service_serials(
        self, service_id: str, cursor: str | None = None, limit: int | None = None
    ) -> Page[str]:
        """Return one page of the serial numbers that are assigned to a service."""
        return self.call(calls.list_service_serials(service_id, cursor, limit))

    def iter_service_serials(self, service_id: str, limit: int | None = None) -> Iterator[str]:
        """Iterate over the serial numbers that are assigned to a service."""
        return self._walk(calls.list_service_serials(service_id, None, limit))

    def iter_builtin_devices(self, limit: int | None = None) -> Iterator[Resource]:
        """Iterate over the devices in Apple's built-in management; Business only."""
        return self._walk(calls.list_builtin_devices(None, limit))

    def builtin_device_details(self, device_id: str) -> Resource:
        """Return details of a device in Apple's built-in management; Business only."""
        return self.call(calls.builtin_device_details(device_id))

    # Activities

    def assign_devices(
        self, service_id: str, serials: Iterable[str], *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Assign any number of devices to a service and return what became of each.

        Look at ``failed``: an activity that ended may have done nothing.

        Args:
            service_id: Where they go.
            serials: The devices.
            deadline_s: Seconds within which it must end.

        Raises:
            ConflictError: Apple lacks the service or a serial number; nothing was done.
            ActivityError: It did not end in time, or was lost; ``resume_activity`` goes on.
        """
        return self._start(ActivityType.ASSIGN_DEVICES, serials, deadline_s, service_id=service_id)

    def unassign_devices(
        self, service_id: str, serials: Iterable[str], *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Take any number of devices from the service that they are on, and return what became of each.

        Args:
            service_id: Where they are.
            serials: The devices; they stay in the organization.
            deadline_s: Seconds within which it must end.

        Raises:
            ConflictError: As for ``assign_devices``; so are the others.
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
        """Assign devices to another service, to which they move without being erased; return the outcome.

        Args:
            service_id: Where they go.
            serials: The devices.
            mdm_migration_deadline: Until when people may postpone it, at most 90 days ahead, UTC.
            deadline_s: Seconds within which the assignment must end.

        Raises:
            InvalidRequestError: The deadline has no time zone or is too far ahead; nothing was sent.
            ConflictError: As for ``assign_devices``; so are the others.
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
        """Change until when the migration of devices may be postponed, and return what became of each.

        Args:
            serials: The devices.
            mdm_migration_deadline: At most 90 days ahead, UTC. A time that has passed starts the migration at
                once, and takes the right to postpone it away.
            deadline_s: Seconds within which it must end.

        Raises:
            InvalidRequestError: As for ``migrate_devices``; so are the others.
        """
        kind = ActivityType.UPDATE_MDM_MIGRATION_DEADLINE
        return self._start(kind, serials, deadline_s, mdm_migration_deadline=mdm_migration_deadline)

    def cancel_migration(self, serials: Iterable[str], *, deadline_s: float = DEADLINE_S) -> ActivityOutcome:
        """Cancel the migration of devices, and return what became of each.

        Raises:
            ConflictError: As for ``assign_devices``; so are the others.
        """
        return self._start(ActivityType.CANCEL_MDM_MIGRATION, serials, deadline_s)

    def release_devices(
        self, serials: Iterable[str], *, confirm: bool, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Release devices from the organization for ever, and return what became of each; Business only.

        Never sent twice, whatever happens.

        Args:
            serials: The devices.
            confirm: Must be True.
            deadline_s: Seconds within which it must end.

        Raises:
            InvalidRequestError: ``confirm`` is not True; nothing was sent.
            AccessDeniedError: Apple School Manager does not offer it.
            ActivityError: As for ``assign_devices``.
        """
        return self._start(ActivityType.RELEASE_DEVICES, serials, deadline_s, confirm=confirm)

    def resume_activity(self, outcome: ActivityOutcome, *, deadline_s: float = DEADLINE_S) -> ActivityOutcome:
        """Go on with what had not ended, and return what became of each device; nothing is sent again.

        Args:
            outcome: Of an ``ActivityError``.
            deadline_s: Seconds within which it must end.

        Raises:
            ActivityError: It has still not ended.
        """
        return self.drive(activities.resume_flow(outcome, deadline_s=deadline_s))

    def activity(self, activity_id: str) -> Activity:
        """Return how far an activity is; Apple keeps it for 30 days.

        Raises:
            NotFoundError: Apple does not know it (any more).
        """
        return self.call(calls.activity(activity_id))

    def activity_log(self, activity: Activity) -> Mapping[str, DeviceOutcome]:
        """Return what the log of an ended activity says about each device; empty if it has none."""
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
