"""The records of the Apple School Manager and Apple Business API, and a tolerant reader for them.

Fields have Apple's names in snake case: ``addedToOrgDateTime`` is ``added_to_org_date_time``. A value that
cannot be read does not fail the whole list: it is kept in ``extra`` under Apple's name, as are attributes
that pyade does not know.

Source: Apple, Apple Business API, ``OrgDevice``, ``MdmServer``, ``OrgDeviceActivity``, ``AppleCareCoverage``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import attrs
import msgspec

from pyade.core.fleet.outcomes import ActivityStatus, ActivitySubStatus
from pyade.core.secret import Secret, secret_or_none
from pyade.core.values import OpenStrEnum, check_id, check_storable, parse_time
from pyade.text import short_repr

R = TypeVar("R", bound="Resource")


class AssignmentStatus(OpenStrEnum):
    """Whether a device is assigned to a device management service."""

    ASSIGNED = "ASSIGNED"
    UNASSIGNED = "UNASSIGNED"


class ProductFamily(OpenStrEnum):
    """Apple's product family."""

    IPHONE = "iPhone"
    IPAD = "iPad"
    MAC = "Mac"
    APPLE_TV = "AppleTV"
    WATCH = "Watch"
    VISION = "Vision"


class MigrationStatus(OpenStrEnum):
    """State of the migration of a device to another service."""

    REQUESTED = "REQUESTED"
    STARTED = "STARTED"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class ServiceType(OpenStrEnum):
    """Kind of a device management service."""

    MDM = "MDM"
    APPLE_CONFIGURATOR = "APPLE_CONFIGURATOR"
    APPLE_MDM = "APPLE_MDM"


class ServiceStatus(OpenStrEnum):
    """Whether a device management service is in use."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    DELETED = "DELETED"


@attrs.frozen(kw_only=True)
class Resource:
    """Any record of the API that has an id.

    Attributes:
        id: Opaque; compared exactly. The id of a device is its serial number.
        extra: Attributes that pyade does not know, or whose value it could not read, as Apple sent them.
    """

    id: str
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class OrgDevice(Resource):
    """A device of the organization, whether it is assigned to a service or not.

    Attributes:
        serial_number: The same as the id.
        added_to_org_date_time: When it was added to the organization, UTC.
        released_from_org_date_time: When it was released, UTC; only in the response for a single device.
        updated_date_time: When the record changed last, UTC.
        device_model: Marketing name.
        product_family: Such as ``Mac``.
        product_type: Such as ``MacBookPro14,2``.
        device_capacity: With its unit.
        color: May be empty.
        part_number: Apple's part number.
        order_number: Of the purchase.
        order_date_time: Of the purchase, UTC.
        purchase_source_type: ``APPLE``, ``RESELLER`` or ``MANUALLY_ADDED``.
        purchase_source_id: Customer number or reseller number.
        status: Whether it is assigned to a service.
        imei: All IMEIs.
        meid: All MEIDs.
        eid: Of the eSIM.
        wifi_mac_address: As Apple writes it.
        bluetooth_mac_address: As Apple writes it.
        ethernet_mac_address: Built-in Ethernet only.
        is_mdm_migration_capable: True if it can migrate to another service without being erased.
        mdm_migration_status: None if no migration was requested.
        mdm_migration_deadline_date_time: When a migration is forced, UTC.
        releaser_entity_type: Kind of the account that released it, such as ``API`` (observed).
        releaser_id: Id of the account that released it (observed).
    """

    def __repr__(self) -> str:
        return short_repr(self)

    serial_number: str = ""
    added_to_org_date_time: datetime | None = None
    released_from_org_date_time: datetime | None = None
    updated_date_time: datetime | None = None
    device_model: str | None = None
    product_family: ProductFamily | None = None
    product_type: str | None = None
    device_capacity: str | None = None
    color: str | None = None
    part_number: str | None = None
    order_number: str | None = None
    order_date_time: datetime | None = None
    purchase_source_type: str | None = None
    purchase_source_id: str | None = None
    status: AssignmentStatus | None = None
    imei: tuple[str, ...] = ()
    meid: tuple[str, ...] = ()
    eid: str | None = None
    wifi_mac_address: str | None = None
    bluetooth_mac_address: str | None = None
    ethernet_mac_address: tuple[str, ...] = ()
    is_mdm_migration_capable: bool | None = None
    mdm_migration_status: MigrationStatus | None = None
    mdm_migration_deadline_date_time: datetime | None = None
    releaser_entity_type: str | None = None
    releaser_id: str | None = None


@attrs.frozen(kw_only=True)
class ManagementService(Resource):
    """A device management service; the portal and older documents call it an MDM server.

    Attributes:
        server_name: The name that the portal shows.
        server_type: Every organization also has a service of type ``APPLE_CONFIGURATOR``.
        status: None if Apple did not send it.
        device_count: Often None although there are devices (observed); count ``iter_service_serials``.
        enable_mdm_disown_flag: True if the service itself may release devices permanently.
        default_product_families: New devices of these families are assigned to this service; only in the
            response for a single service.
        last_connected_date_time: When the service last sent a request to Apple, UTC.
        last_connected_ip: The IP address of that request.
        created_date_time: UTC.
        updated_date_time: UTC.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    server_name: str | None = None
    server_type: ServiceType | None = None
    status: ServiceStatus | None = None
    device_count: int | None = None
    enable_mdm_disown_flag: bool | None = None
    default_product_families: tuple[str, ...] | None = None
    last_connected_date_time: datetime | None = None
    last_connected_ip: str | None = None
    created_date_time: datetime | None = None
    updated_date_time: datetime | None = None


@attrs.frozen(kw_only=True)
class Activity(Resource):
    """A change of many devices that Apple carries out; Apple keeps its record for 30 days.

    Attributes:
        status: ``COMPLETED`` does not mean success.
        sub_status: Whether all devices were processed.
        created_date_time: UTC.
        completed_date_time: UTC; None while it is in progress.
        download_url: Secret. Address of the log: valid for a short time, without other credentials.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    status: ActivityStatus | None = None
    sub_status: ActivitySubStatus | None = None
    created_date_time: datetime | None = None
    completed_date_time: datetime | None = None
    download_url: Secret | None = attrs.field(default=None, repr=False, converter=secret_or_none)

    @property
    def is_in_progress(self) -> bool:
        """True while Apple processes it; an unknown status counts as ended, to avoid endless polling."""
        return self.status == ActivityStatus.IN_PROGRESS


@attrs.frozen(kw_only=True)
class AppleCareCoverage(Resource):
    """A warranty or a plan of one device; a device may have several, and the id is not unique per device.

    Attributes:
        status: ``ACTIVE`` or ``INACTIVE``.
        payment_type: Such as ``PAID_UP_FRONT`` or ``NONE``.
        description: Such as "Limited Warranty".
        start_date_time: UTC.
        end_date_time: UTC; None for a subscription without an end.
        is_renewable: True for a plan that can be renewed.
        is_canceled: True for a plan that was canceled.
        contract_cancel_date_time: UTC.
        agreement_number: Of the plan.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    status: str | None = None
    payment_type: str | None = None
    description: str | None = None
    start_date_time: datetime | None = None
    end_date_time: datetime | None = None
    is_renewable: bool | None = None
    is_canceled: bool | None = None
    contract_cancel_date_time: datetime | None = None
    agreement_number: str | None = None


@attrs.frozen(kw_only=True)
class ActivationLockStatus(Resource):
    """Whether one device is locked to an account or an organization.

    Attributes:
        is_locked: None if Apple did not send it.
        lock_type: Such as ``MDM``; other values are not documented.
    """

    is_locked: bool | None = None
    lock_type: str | None = None


def read_resource(record: Any, cls: type[R]) -> R:
    """Return the resource of a JSON:API resource object.

    Raises:
        msgspec.ValidationError: *record* is not an object, has no id, an empty id or one of more than 200
            characters, or is nested deeper than 32 levels.
    """
    wire = _wire(record)
    check_storable(wire.attributes)
    readers = _READERS[cls]
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in (wire.attributes or {}).items():
        reader = readers.get(key)
        if reader is None:
            extra[key] = value
        elif value is not None:
            try:
                fields[reader.field] = reader.read(value)
            except (msgspec.ValidationError, OverflowError):
                extra[key] = value
    if cls is OrgDevice and not fields.get("serial_number", "").strip():
        fields["serial_number"] = wire.id
    return cls(id=wire.id, extra=extra, **fields)


def read_identifier(record: Any) -> str:
    """Return the id of a JSON:API resource identifier.

    Raises:
        msgspec.ValidationError: *record* is not an object, or has no id, an empty id or one of more than 200
            characters.
    """
    return _wire(record).id


def _wire(record: Any) -> _WireResource:
    wire = msgspec.convert(record, _WireResource)
    check_id(wire.id, "id")
    return wire


class _WireResource(msgspec.Struct):
    id: str
    attributes: dict[str, Any] | None = None


@attrs.frozen
class _Reader:
    """Converts the value of one attribute."""

    field: str
    hint: Any
    is_time: bool
    is_list: bool
    is_secret: bool

    def read(self, value: Any) -> Any:
        """Return *value* converted to the type of the field.

        Raises:
            msgspec.ValidationError: *value* has another type.
            OverflowError: The time is before the year 1 in UTC.
        """
        if self.is_time:
            return parse_time(msgspec.convert(value, str))
        if self.is_list and isinstance(value, str):
            # Up to version 1.1 of the API this was one text, now it is a list.
            return (value,) if value else ()
        if self.is_secret:
            return Secret(msgspec.convert(value, str))
        return msgspec.convert(value, self.hint)


def _readers_of(cls: type[Resource]) -> Mapping[str, _Reader]:
    """Return a reader for each attribute, keyed by Apple's name."""
    attrs.resolve_types(cls)
    return {
        re.sub("_(.)", lambda found: found[1].upper(), field.name): _Reader(
            field.name,
            field.type,
            field.type == datetime | None,
            "tuple" in str(field.type),
            field.type == Secret | None,
        )
        for field in attrs.fields(cls)
        if field.name not in ("id", "extra")
    }


_READERS: Mapping[type[Resource], Mapping[str, _Reader]] = {
    cls: _readers_of(cls)
    for cls in (
        Resource,
        OrgDevice,
        ManagementService,
        Activity,
        AppleCareCoverage,
        ActivationLockStatus,
    )
}
