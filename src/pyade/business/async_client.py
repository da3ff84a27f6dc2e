"""The asynchronous client of the Apple School Manager and Apple Business API.

A method only names the call or the flow to run: ``calls`` describes the endpoints, ``activities`` holds the
logic.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import httpx

from pyade.apple.http.calls import Call
from pyade.apple.http.connection import AsyncConnection
from pyade.business import activities, calls
from pyade.business.activities import DEADLINE_S
from pyade.business.client import BusinessConnection
from pyade.business.paging import Page, PageReader
from pyade.business.resources import (
    ActivationLockStatus,
    Activity,
    AppleCareCoverage,
    ManagementService,
    OrgDevice,
    Resource,
)
from pyade.core.arguments import check_arguments
from pyade.core.fleet.outcomes import ActivityOutcome, ActivityRequest, ActivityType, DeviceOutcome

T = TypeVar("T")


@check_arguments(but=("serials", "confirm", "mdm_migration_deadline"))
class AsyncBusinessClient(BusinessConnection[httpx.AsyncBaseTransport, Awaitable[object]], AsyncConnection):
    """Lists the devices of Apple School Manager or Apple Business, and assigns them to services.

    Arguments and methods are those of ``BusinessClient``. A client works in one event loop, of asyncio or
    trio.
    """

    async def _iter_pages(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        pages = PageReader(call)
        while pages.call is not None:
            for item in pages.take(await self.call(pages.call)):
                yield item

    # Devices

    async def list_devices(
        self, cursor: str | None = None, limit: int | None = None, fields: Iterable[str] = ()
    ) -> Page[OrgDevice]:
        """Return one page of the organization's devices."""
        return await self.call(calls.list_devices(cursor, limit, fields))

    def iter_devices(self, limit: int | None = None, fields: Iterable[str] = ()) -> AsyncIterator[OrgDevice]:
        """Iterate over the organization's devices; only one page is in memory at a time."""
        return self._iter_pages(calls.list_devices(None, limit, fields))

    async def device(self, serial_number: str) -> OrgDevice:
        """Return one device."""
        return await self.call(calls.device(serial_number))

    async def assigned_service_id(self, serial_number: str) -> str | None:
        """Return the id of the service that a device is assigned to; None if to none."""
        return await self.drive(
            activities.service_flow(calls.assigned_service_id(serial_number), serial_number)
        )

    async def assigned_service(self, serial_number: str) -> ManagementService | None:
        """Return the service that a device is assigned to; None if to none."""
        return await self.drive(activities.service_flow(calls.assigned_service(serial_number), serial_number))

    async def apple_care(self, serial_number: str) -> tuple[AppleCareCoverage, ...]:
        """Return the warranty and plans of one device; Apple offers no call for several devices."""
        return (await self.call(calls.apple_care(serial_number))).items

    async def activation_lock_status(self, serial_number: str) -> ActivationLockStatus:
        """Return whether one device is locked."""
        return await self.call(calls.activation_lock_status(serial_number))

    # Device management services

    async def list_services(
        self, cursor: str | None = None, limit: int | None = None, fields: Iterable[str] = ()
    ) -> Page[ManagementService]:
        """Return one page of the device management services; arguments as for ``list_devices``."""
        return await self.call(calls.list_services(cursor, limit, fields))

    def iter_services(
        self, limit: int | None = None, fields: Iterable[str] = ()
    ) -> AsyncIterator[ManagementService]:
        """Iterate over the device management services."""
        return self._iter_pages(calls.list_services(None, limit, fields))

    async def find_service(self, name: str) -> ManagementService:
        """Return the service with that name, in any letter case."""
        return await self.drive(activities.find_service_flow(name))

    async def service(self, service_id: str) -> ManagementService:
        """Return one service; Business only."""
        return await self.call(calls.service(service_id))

    async def create_service(
        self,
        server_name: str,
        certificate_pem: bytes,
        *,
        certificate_name: str = "certificate.pem",
        enable_mdm_disown_flag: bool | None = None,
    ) -> ManagementService:
        """Create a service, and return it; Business only."""
        return await self.call(
            calls.create_service(
                server_name,
                certificate_pem,
                certificate_name=certificate_name,
                enable_mdm_disown_flag=enable_mdm_disown_flag,
            )
        )

    async def update_service(
        self,
        service_id: str,
        *,
        server_name: str | None = None,
        certificate_pem: bytes | None = None,
        certificate_name: str = "certificate.pem",
        enable_mdm_disown_flag: bool | None = None,
        default_product_families: Iterable[str] | None = None,
    ) -> ManagementService:
        """Change a service, and return it; Business only. None leaves a value unchanged."""
        return await self.call(
            calls.update_service(
                service_id,
                server_name=server_name,
                certificate_pem=certificate_pem,
                certificate_name=certificate_name,
                enable_mdm_disown_flag=enable_mdm_disown_flag,
                default_product_families=default_product_families,
            )
        )

    async def delete_service(self, service_id: str, *, confirm: bool) -> None:
        """Delete a service together with its server token; Business only."""
        await self.call(calls.delete_service(service_id, confirm=confirm))

    async def list_service_serials(
        self, service_id: str, cursor: str | None = None, limit: int | None = None
    ) -> Page[str]:
        """Return one page of the serial numbers that are assigned to a service."""
        return await self.call(calls.list_service_serials(service_id, cursor, limit))

    def iter_service_serials(self, service_id: str, limit: int | None = None) -> AsyncIterator[str]:
        """Iterate over the serial numbers that are assigned to a service."""
        return self._iter_pages(calls.list_service_serials(service_id, None, limit))

    def iter_builtin_devices(self, limit: int | None = None) -> AsyncIterator[Resource]:
        """Iterate over the devices in Apple's built-in management; Business only."""
        return self._iter_pages(calls.list_builtin_devices(None, limit))

    async def builtin_device_details(self, device_id: str) -> Resource:
        """Return details of a device in Apple's built-in management; Business only."""
        return await self.call(calls.builtin_device_details(device_id))

    # Activities

    async def assign_devices(
        self, service_id: str, serials: Iterable[str], *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Assign any number of devices to a service and return the outcome of each."""
        return await self._start(ActivityType.ASSIGN_DEVICES, serials, deadline_s, service_id=service_id)

    async def unassign_devices(
        self, service_id: str, serials: Iterable[str], *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Unassign any number of devices from their service, and return the outcome of each."""
        return await self._start(ActivityType.UNASSIGN_DEVICES, serials, deadline_s, service_id=service_id)

    async def migrate_devices(
        self,
        service_id: str,
        serials: Iterable[str],
        mdm_migration_deadline: datetime,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> ActivityOutcome:
        """Migrate devices to another service without erasing them, and return the outcome of each."""
        kind = ActivityType.ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE
        return await self._start(
            kind,
            serials,
            deadline_s,
            service_id=service_id,
            mdm_migration_deadline=mdm_migration_deadline,
        )

    async def update_migration_deadline(
        self, serials: Iterable[str], mdm_migration_deadline: datetime, *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Change until when users may postpone the migration of devices, and return the outcome of each."""
        kind = ActivityType.UPDATE_MDM_MIGRATION_DEADLINE
        return await self._start(kind, serials, deadline_s, mdm_migration_deadline=mdm_migration_deadline)

    async def cancel_migration(
        self, serials: Iterable[str], *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Cancel the migration of devices, and return the outcome of each."""
        return await self._start(ActivityType.CANCEL_MDM_MIGRATION, serials, deadline_s)

    async def release_devices(
        self, serials: Iterable[str], *, confirm: bool, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Release devices from the organization permanently; return the outcome of each; Business only."""
        return await self._start(ActivityType.RELEASE_DEVICES, serials, deadline_s, confirm=confirm)

    async def resume_activity(
        self, outcome: ActivityOutcome, *, deadline_s: float = DEADLINE_S
    ) -> ActivityOutcome:
        """Continue to wait for unfinished activities, and return the outcome of each device."""
        return await self.drive(activities.resume_flow(outcome, deadline_s=deadline_s))

    async def activity(self, activity_id: str) -> Activity:
        """Return the status of an activity; Apple keeps it for 30 days."""
        return await self.call(calls.activity(activity_id))

    async def activity_log(self, activity: Activity) -> Mapping[str, DeviceOutcome]:
        """Return the outcome of each device from the log of an ended activity; empty if it has no log."""
        return await self.drive(activities.log_flow(activity))

    async def _start(
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
        return await self.drive(flow)
