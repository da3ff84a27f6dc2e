"""What the devices themselves say about a change, and about their service.

Source: Apple, Apple Business API, the linkage endpoints; that a device without a service is answered with 404
or with an empty id is observed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pyade.apple.http.calls import Call, SendCall
from pyade.business import calls
from pyade.business.paging import Page, Walk
from pyade.business.resources import (
    AssignmentStatus,
    ManagementService,
    MigrationStatus,
    OrgDevice,
)
from pyade.core.activity import ActivityRequest, ActivityType
from pyade.errors import ConflictError, NotFoundError
from pyade.flow import Flow, ask

T = TypeVar("T")

FEW = 20
"""Up to so many devices are asked one by one; for more the list of the service is read."""

_ASSIGNING = (
    ActivityType.ASSIGN_DEVICES,
    ActivityType.ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE,
)


def shown(request: ActivityRequest, serials: Iterable[str]) -> Flow[frozenset[str]]:
    """Return which of *serials* are as *request* wants them, as far as Apple shows it yet."""
    asked = tuple(serials)
    if request.activity_type in _ASSIGNING and request.service_id is not None and len(asked) > FEW:
        listed = yield from _whole_list(calls.list_service_serials(request.service_id))
        return frozenset(asked).intersection(listed)
    found: set[str] = set()
    for serial in asked:
        if (yield from _is_as_wanted(request, serial)):
            found.add(serial)
    return frozenset(found)


def service_flow(call: Call[T | None], serial_number: str) -> Flow[T | None]:
    """Return the service of a device, read with *call*; None if it has none.

    Raises:
        NotFoundError: The device is not in the organization.
    """
    try:
        return (yield from ask(SendCall(call)))
    except NotFoundError:
        # Said of a device without a service, too: the device itself tells which it is.
        yield from ask(SendCall(calls.device(serial_number)))
        return None


def find_service_flow(name: str) -> Flow[ManagementService]:
    """Return the service with that name, in any letter case.

    Raises:
        NotFoundError: There is none; the error lists those that are there.
        ConflictError: There are several.
    """
    services = yield from _whole_list(calls.list_services())
    found = [service for service in services if (service.server_name or "").casefold() == name.casefold()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(repr(service.server_name) for service in services[:20]) or "none"
    if not found:
        raise NotFoundError(
            "find a service", 0, "", f"no service {name!r}; there are {names}", "check the name"
        )
    ids = ", ".join(service.id for service in found)
    raise ConflictError("find a service", 0, "", f"{len(found)} services {name!r}: {ids}", "use the id")


def _whole_list(call: Call[Page[T]]) -> Flow[list[T]]:
    found: list[T] = []
    walk = Walk(call)
    while walk.call is not None:
        found.extend(walk.take((yield from ask(SendCall(walk.call)))))
    return found


def _is_as_wanted(request: ActivityRequest, serial: str) -> Flow[bool]:
    try:
        if request.activity_type in _ASSIGNING:
            assigned = yield from ask(SendCall(calls.assigned_service_id(serial)))
            return assigned == request.service_id
        device = yield from ask(SendCall(calls.device(serial)))
    except NotFoundError:
        return False
    return _shows(request, device)


def _shows(request: ActivityRequest, device: OrgDevice) -> bool:
    match request.activity_type:
        case ActivityType.UNASSIGN_DEVICES:
            return device.status == AssignmentStatus.UNASSIGNED
        case ActivityType.UPDATE_MDM_MIGRATION_DEADLINE:
            shows, wanted = device.mdm_migration_deadline_date_time, request.mdm_migration_deadline
            return shows is not None and wanted is not None and abs((shows - wanted).total_seconds()) < 1
        case ActivityType.CANCEL_MDM_MIGRATION:
            return device.mdm_migration_status not in (MigrationStatus.REQUESTED, MigrationStatus.STARTED)
        case ActivityType.RELEASE_DEVICES:
            return device.released_from_org_date_time is not None
    return False
