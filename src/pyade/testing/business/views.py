"""The fleet of a ``FakeApple`` as the API shows it.

Source: Apple, Apple Business API, ``OrgDevice``, ``MdmServer``; which fields may be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from pyade.testing.apple.model import OwnedDevice, Server, timestamp
from pyade.testing.business.answers import ApiRefusedError
from pyade.testing.business.settings import BusinessSettings
from pyade.testing.http.wire import WireRequest

DEVICE_FIELDS = frozenset(
    [
        "serialNumber",
        "addedToOrgDateTime",
        "releasedFromOrgDateTime",
        "updatedDateTime",
        "deviceModel",
        "productFamily",
        "productType",
        "deviceCapacity",
        "partNumber",
        "orderNumber",
        "color",
        "status",
        "orderDateTime",
        "imei",
        "meid",
        "eid",
        "purchaseSourceId",
        "purchaseSourceType",
        "wifiMacAddress",
        "bluetoothMacAddress",
        "ethernetMacAddress",
        "assignedServer",
        "appleCareCoverage",
    ]
)
SERVICE_FIELDS = frozenset(
    [
        "serverName",
        "enableMdmDisownFlag",
        "defaultProductFamilies",
        "status",
        "serverType",
        "lastConnectedDateTime",
        "lastConnectedIp",
        "createdDateTime",
        "updatedDateTime",
        "devices",
    ]
)
MAX_LIMIT = 1000


def device_attributes(
    device: OwnedDevice,
    added_at: datetime,
    *,
    released_at: datetime | None,
    migration: str | None,
) -> dict[str, Any]:
    """Return the attributes of a device.

    Args:
        device: Of the fleet.
        added_at: When the organization got it, UTC.
        released_at: When it left, UTC.
        migration: Status of its migration, if one was asked for.
    """
    record = device.record
    changed = device.last_operation.op_date if device.last_operation else timestamp(added_at)
    attributes: dict[str, Any] = {
        "serialNumber": record["serial_number"],
        "addedToOrgDateTime": timestamp(added_at),
        "releasedFromOrgDateTime": timestamp(released_at) if released_at else None,
        "updatedDateTime": changed,
        "deviceModel": record.get("model"),
        "productFamily": record.get("device_family"),
        "color": record.get("color", ""),
        "status": "UNASSIGNED" if device.server is None else "ASSIGNED",
        "orderNumber": "W0000000001",
        "orderDateTime": timestamp(added_at),
        "purchaseSourceType": "APPLE",
        "purchaseSourceId": "1001",
        "wifiMacAddress": record.get("wifi_mac_address"),
        "bluetoothMacAddress": record.get("bluetooth_mac_address"),
        "isMdmMigrationCapable": True,
    }
    for ours, theirs in (("imei", "imei"), ("meid", "meid"), ("ethernet_mac_address", "ethernetMacAddress")):
        if ours in record:
            attributes[theirs] = list(record[ours])
    if migration is not None:
        attributes["mdmMigrationStatus"] = migration
        attributes["mdmMigrationDeadlineDateTime"] = record.get("mdm_migration_deadline")
    return attributes


def service_attributes(server: Server, extra: Mapping[str, Any], *, is_single: bool) -> dict[str, Any]:
    """Return the attributes of a service; only a single one shows its families (observed)."""
    attributes = {
        "serverName": server.name,
        "serverType": "MDM",
        "status": "ACTIVE",
        "deviceCount": None,
        **extra,
    }
    if not is_single:
        attributes.pop("defaultProductFamilies", None)
    return attributes


def resource(
    kind: str, identity: str, attributes: Mapping[str, Any], fields: frozenset[str]
) -> dict[str, Any]:
    """Return a resource object with the wanted fields; none wanted means all."""
    shown = {key: value for key, value in attributes.items() if not fields or key in fields}
    return {
        "type": kind,
        "id": identity,
        "attributes": shown,
        "links": {"self": f"/v1/{kind}/{identity}"},
    }


def wanted_fields(request: WireRequest, kind: str, allowed: frozenset[str]) -> frozenset[str]:
    """Return the fields that *request* asks for.

    Raises:
        ApiRefusedError: One of them does not exist.
    """
    name = f"fields[{kind}]"
    text = dict(request.query).get(name, "")
    fields = frozenset(filter(None, text.split(",")))
    if unknown := sorted(fields - allowed):
        detail = f"'{unknown[0]}' is not a valid field name"
        raise ApiRefusedError(400, "PARAMETER_ERROR.INVALID", detail, parameter=name)
    return fields


def page(
    request: WireRequest,
    records: Sequence[Any] | Iterable[Any],
    settings: BusinessSettings,
    show: Callable[[Any], dict[str, Any]],
) -> dict[str, Any]:
    """Return the collection document for one page of *records*.

    Raises:
        ApiRefusedError: ``limit`` or ``cursor`` is not acceptable.
    """
    query = dict(request.query)
    limit_text, cursor = query.get("limit", str(settings.page_default)), query.get("cursor", "c0")
    if not limit_text.isdecimal() or not 1 <= int(limit_text) <= MAX_LIMIT:
        detail = f"'{limit_text}' is not between 1 and {MAX_LIMIT}"
        raise ApiRefusedError(400, "PARAMETER_ERROR.INVALID", detail, parameter="limit")
    if not (cursor.startswith("c") and cursor[1:].isdecimal()):
        raise ApiRefusedError(400, "PARAMETER_ERROR.INVALID", "not a cursor", parameter="cursor")
    everything = list(records)
    limit, start = int(limit_text), int(cursor[1:])
    origin = f"{request.scheme}://{request.host}"
    links: dict[str, Any] = {"self": f"{origin}{request.target}"}
    paging: dict[str, Any] = {"limit": limit, "total": len(everything)}
    if start + limit < len(everything):
        paging["nextCursor"] = f"c{start + limit}"
        # Without the limit, as in Apple's examples.
        query = {"cursor": paging["nextCursor"]}
        links["next"] = f"{settings.next_link_origin or origin}{request.path}?{urlencode(query)}"
    shown = [show(record) for record in everything[start : start + limit]]
    return {"data": shown, "links": links, "meta": {"paging": paging}}
