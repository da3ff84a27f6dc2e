"""The activities of the fake: their effect on the fleet, their progress and their logs.

Source: Apple, Apple Business API, "Create an OrgDeviceActivity"; the format of the log was observed. The
sub-status of each case is chosen, since only ``INVALID_INPUT`` was observed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

import attrs
import msgspec

from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.model import Organization, OwnedDevice, Server, timestamp
from pyade.testing.business.settings import BusinessSettings
from pyade.testing.business.views import ApiRefusedError, decode, moment
from pyade.testing.http.faults import DeviceFaults

INVALID_INPUT = "INVALID_INPUT"

_TYPES = (
    "ASSIGN_DEVICES",
    "UNASSIGN_DEVICES",
    "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE",
    "UPDATE_MDM_MIGRATION_DEADLINE",
    "CANCEL_MDM_MIGRATION",
    "RELEASE_DEVICES",
)
_WITH_SERVICE = ("ASSIGN_DEVICES", "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE")
_WITH_DEADLINE = ("ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE", "UPDATE_MDM_MIGRATION_DEADLINE")
_MAX_AHEAD = timedelta(days=90)


@attrs.frozen(kw_only=True)
class Row:
    """The row of one device in the log.

    Attributes:
        serial: Its serial number.
        source: Name of the service before; "" for none.
        target: Name of the service after; "" for none.
        sub_status: What failed; "" for a success.
    """

    serial: str
    source: str = ""
    target: str = ""
    sub_status: str = ""


@attrs.frozen(kw_only=True)
class Order:
    """A valid request for an activity.

    Attributes:
        kind: Apple's type of the activity.
        serials: The requested devices.
        server: The target service; None without one.
        deadline: Of the migration, UTC; None without one.
    """

    kind: str
    serials: tuple[str, ...]
    server: Server | None
    deadline: datetime | None


@attrs.define(eq=False, kw_only=True)
class FakeActivity:
    """An activity of a ``FakeBusiness``.

    Attributes:
        id: A UUID in lower case.
        kind: Its type, which Apple never returns.
        started_at: UTC.
        rows: One for each device in the log.
        status: Set it to override the final status; None for the ordinary one.
        sub_status: Set it to override the final sub-status; None for the ordinary one.
    """

    id: str
    kind: str
    started_at: datetime
    rows: tuple[Row, ...]
    status: str | None = None
    sub_status: str | None = None


@attrs.define(eq=False)
class Fleet:
    """What the API stores about devices in addition to the ``FakeApple``.

    Attributes:
        released: Released devices and the time of the release, by serial number.
        migrations: Status of migrations, by serial number.
        moved: The previous service (None for none) and the time of the change, by serial number.
        issues: Scripted failures of activities, with their sub-status.
    """

    released: dict[str, tuple[OwnedDevice, datetime]] = attrs.field(factory=dict)
    migrations: dict[str, str] = attrs.field(factory=dict)
    moved: dict[str, tuple[str | None, datetime]] = attrs.field(factory=dict)
    issues: DeviceFaults = attrs.field(factory=DeviceFaults)


def read_order(body: bytes, find: Callable[[str], Server | None], now: datetime, *, is_school: bool) -> Order:
    """Return the activity that a request body asks for.

    Args:
        body: JSON.
        find: Returns the service with an id.
        now: UTC.
        is_school: True if devices cannot be released.

    Raises:
        ApiRefusedError: It is not valid.
    """
    data = decode(body, _RequestDocument).data
    kind = data.attributes.activityType
    if kind not in _TYPES:
        raise _invalid(f"'{kind}' is not a type", "/data/attributes/activityType")
    if kind == "RELEASE_DEVICES" and is_school:
        raise ApiRefusedError(403, "FORBIDDEN_ERROR", "The operation is not offered")
    named = data.relationships.mdmServer
    server = find(named.data.id) if named else None
    if (named and server is None) or (kind in _WITH_SERVICE and server is None):
        raise _invalid("there is no such service", "/data/relationships/mdmServer/data/id")
    serials = tuple(entry.id for entry in data.relationships.devices.data)
    if not serials:
        raise _invalid("there are no devices", "/data/relationships/devices/data")
    metadata = data.attributes.activityTypeMetadata
    deadline = metadata.mdmMigrationDeadlineDateTime if metadata else None
    if kind in _WITH_DEADLINE and (deadline is None or deadline > now + _MAX_AHEAD):
        pointer = "/data/attributes/activityTypeMetadata/mdmMigrationDeadlineDateTime"
        raise _invalid("the deadline is missing or more than 90 days ahead", pointer)
    return Order(
        kind=kind,
        serials=serials,
        server=server,
        deadline=deadline if kind in _WITH_DEADLINE else None,
    )


def carry_out(
    order: Order, apple: FakeApple, organization: Organization, fleet: Fleet, now: datetime
) -> tuple[Row, ...]:
    """Carry out *order*, and return the log row of each device."""
    rows = []
    for serial in order.serials:
        device = apple.devices.get(serial)
        if device is None or device.organization is not organization:
            rows.append(Row(serial=serial, sub_status=INVALID_INPUT))
            continue
        source = device.server
        issue = fleet.issues.take(serial)
        sub_status = (issue and issue.result) or _change_device(order, apple, device, fleet, now)
        if not sub_status and device.server is not source:
            fleet.moved[serial] = (source.server_uuid if source else None, now)
        rows.append(
            Row(
                serial=serial,
                source=source.name if source else "",
                target=order.server.name if order.server and order.kind != "UNASSIGN_DEVICES" else "",
                sub_status=sub_status,
            )
        )
    return tuple(rows)


def _change_device(order: Order, apple: FakeApple, device: OwnedDevice, fleet: Fleet, now: datetime) -> str:
    """Change one device, and return the sub-status of a failure, "" for none."""
    serial = device.record["serial_number"]
    if order.kind in _WITH_SERVICE:
        if device.server is order.server:
            return INVALID_INPUT
        apple.assign(order.server, [serial])
    elif order.kind == "UNASSIGN_DEVICES":
        if device.server is None or (order.server and device.server is not order.server):
            return INVALID_INPUT
        apple.unassign([serial])
    elif order.kind == "RELEASE_DEVICES":
        apple.release([serial])
        device.server = None
        fleet.released[serial] = (device, now)
    elif serial not in fleet.migrations:
        return INVALID_INPUT
    if order.deadline is not None:
        fleet.migrations[serial] = "REQUESTED"
        apple.edit_device(serial, mdm_migration_deadline=timestamp(order.deadline))
    elif order.kind == "CANCEL_MDM_MIGRATION":
        del fleet.migrations[serial]
        apple.edit_device(serial, mdm_migration_deadline=None)
    return ""


def attributes(
    activity: FakeActivity, now: datetime, settings: BusinessSettings, address: str
) -> dict[str, Any]:
    """Return the attributes of *activity* at *now*; *address* is the URL of its log."""
    shown: dict[str, Any] = {"createdDateTime": moment(activity.started_at)}
    passed = (now - activity.started_at).total_seconds()
    share = passed / settings.activity_seconds if settings.activity_seconds else 1.0
    if share < 1:
        steps = ("SUBMITTED", "PROCESSING", "POST_PROCESSING")
        return shown | {"status": "IN_PROGRESS", "subStatus": steps[max(0, int(share * 3))]}
    ended_at = activity.started_at + timedelta(seconds=settings.activity_seconds)
    status = activity.status or "COMPLETED"
    shown |= {"status": status, "subStatus": _sub_status(activity, settings)}
    if status == "COMPLETED":
        shown["completedDateTime"] = moment(ended_at)
        if settings.writes_log and now >= ended_at + timedelta(seconds=settings.log_lag_seconds):
            shown["downloadUrl"] = address
    return shown


def write_log(activity: FakeActivity, settings: BusinessSettings) -> bytes:
    """Return the log: a preamble, an empty line, and a table whose header cells begin with a space."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["OPERATION", activity.kind])
    writer.writerow(["ACTIVITY_ID", activity.id])
    writer.writerow(["STARTED AT", timestamp(activity.started_at)])
    ended_at = activity.started_at + timedelta(seconds=settings.activity_seconds)
    writer.writerow(["ENDED AT", timestamp(ended_at)])
    writer.writerow(["STATUS", activity.status or "COMPLETED"])
    writer.writerow(["SUB_STATUS", _sub_status(activity, settings)])
    writer.writerow([])
    writer.writerow(
        [
            "serial_number",
            " source_server_name",
            " target_server_name",
            " operation_status",
            " operation_substatus",
            " timestamp",
        ]
    )
    for row in activity.rows:
        status = "ISSUE" if row.sub_status else "SUCCESS"
        stamp = timestamp(activity.started_at)
        writer.writerow([row.serial, row.source, row.target, status, row.sub_status, stamp])
    return text.getvalue().encode()


def _sub_status(activity: FakeActivity, settings: BusinessSettings) -> str:
    if activity.sub_status is not None:
        return activity.sub_status
    if not settings.writes_log:
        return "COMPLETED_POST_PROCESSING_FAILED"
    has_issue = any(row.sub_status for row in activity.rows)
    return "COMPLETED_WITH_ERROR" if has_issue else "COMPLETED_WITH_SUCCESS"


def _invalid(detail: str, pointer: str) -> ApiRefusedError:
    return ApiRefusedError(409, "ENTITY_ERROR.ATTRIBUTE.INVALID", detail, pointer=pointer)


class _WireId(msgspec.Struct):
    id: str
    type: str


class _WireOne(msgspec.Struct):
    data: _WireId


class _WireMany(msgspec.Struct):
    data: list[_WireId]


class _WireRelationships(msgspec.Struct):
    devices: _WireMany
    mdmServer: _WireOne | None = None  # noqa: N815 - Apple's name


class _WireMetadata(msgspec.Struct):
    mdmMigrationDeadlineDateTime: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # noqa: N815 - Apple's name


class _WireAttributes(msgspec.Struct):
    activityType: str  # noqa: N815 - Apple's name
    activityTypeMetadata: _WireMetadata | None = None  # noqa: N815 - Apple's name


class _WireData(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    attributes: _WireAttributes
    relationships: _WireRelationships


class _RequestDocument(msgspec.Struct):
    data: _WireData
