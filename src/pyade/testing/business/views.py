"""JSON:API documents of the fake: resources, pages and errors.

Source: Apple, Apple Business API, ``OrgDevice``, ``MdmServer`` and the allowed values of ``fields``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from pyade.testing.apple.model import PRODUCT_TYPES, OwnedDevice, Server
from pyade.testing.business.settings import BusinessSettings
from pyade.testing.http.wire import UNREADABLE, WireRequest, WireResponse, json_response

T = TypeVar("T")


class ApiRefusedError(Exception):
    """Raised inside the fake to answer with a JSON:API error.

    Args:
        status: Status code.
        code: Apple's, such as ``NOT_FOUND``.
        detail: Human-readable text.
        pointer: JSON pointer to the wrong value in the body.
        parameter: Name of the wrong query parameter.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, pointer: str = "", parameter: str = ""
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.parameter = parameter

    def response(self, request_id: str) -> WireResponse:
        """Return the error response."""
        error: dict[str, Any] = {
            "id": request_id,
            "status": str(self.status),
            "code": self.code,
            "title": self.code.replace("_", " ").replace(".", ", ").capitalize(),
            "detail": self.detail,
        }
        if self.pointer:
            error["source"] = {"pointer": self.pointer}
        elif self.parameter:
            error["source"] = {"parameter": self.parameter}
        return document({"errors": [error]}, status=self.status)


def document(value: Any, *, status: int = 200) -> WireResponse:
    """Return a response with *value* as JSON."""
    return json_response(value, status=status, content_type="application/json")


def decode(body: bytes | str, kind: type[T]) -> T:
    """Decode JSON as *kind*.

    Raises:
        ApiRefusedError: It is not JSON, or not of that type.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise ApiRefusedError(400, "PARAMETER_ERROR.INVALID", str(error)) from error


def moment(when: datetime) -> str:
    """Return *when* in Apple's form: UTC, milliseconds, ``Z``."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def not_found(kind: str, value: str) -> ApiRefusedError:
    """Return the error for a record that does not exist."""
    return ApiRefusedError(404, "NOT_FOUND", f"There is no resource of type '{kind}' with id '{value}'")


_FIELDS = {
    "orgDevices": """
        serialNumber addedToOrgDateTime releasedFromOrgDateTime updatedDateTime deviceModel productFamily
        productType deviceCapacity partNumber orderNumber color status orderDateTime imei meid eid
        purchaseSourceId purchaseSourceType wifiMacAddress bluetoothMacAddress ethernetMacAddress
        assignedServer appleCareCoverage
    """,
    "mdmServers": """
        serverName enableMdmDisownFlag defaultProductFamilies status serverType deviceCount
        lastConnectedDateTime lastConnectedIp createdDateTime updatedDateTime devices
    """,
    "orgDeviceActivities": "status subStatus createdDateTime completedDateTime downloadUrl",
    "appleCareCoverage": """
        status paymentType description startDateTime endDateTime isRenewable isCanceled
        contractCancelDateTime agreementNumber
    """,
}
MAX_LIMIT = 1000

_LINKS = {
    "orgDevices": {
        "assignedServer": {"self": "/relationships/assignedServer", "related": "/assignedServer"},
        "appleCareCoverage": {"related": "/appleCareCoverage"},
        "activationLockStatus": {"related": "/activationLockStatus"},
    },
    "mdmServers": {"devices": {"self": "/relationships/devices"}},
}


def origin(request: WireRequest) -> str:
    """Return the scheme and host of *request*, the start of every link."""
    return f"{request.scheme}://{request.host}"


def device_attributes(
    device: OwnedDevice, *, released_at: datetime | None, migration: str | None
) -> dict[str, Any]:
    """Return the attributes of a device.

    Args:
        device: A device of the fleet.
        released_at: When it was released, UTC; None if it was not.
        migration: Status of its migration; None without one.
    """
    record = device.record
    capacity = re.findall(r"\b[0-9]{1,9}[GT]B", record.get("description", ""))
    attributes: dict[str, Any] = {
        "serialNumber": record["serial_number"],
        "addedToOrgDateTime": moment(device.bought_at),
        "releasedFromOrgDateTime": moment(released_at) if released_at else None,
        "updatedDateTime": moment(device.changed_at),
        "deviceModel": record.get("model"),
        "productFamily": record.get("device_family"),
        "productType": PRODUCT_TYPES.get(record.get("model", "")),
        "deviceCapacity": capacity[-1] if capacity else None,
        "color": record.get("color", ""),
        "status": "UNASSIGNED" if device.server is None else "ASSIGNED",
        "orderNumber": "W0000000001",
        "orderDateTime": moment(device.bought_at),
        "purchaseSourceType": "APPLE",
        "purchaseSourceId": "1001",
        "wifiMacAddress": record.get("wifi_mac_address"),
        "bluetoothMacAddress": record.get("bluetooth_mac_address"),
        "isMdmMigrationCapable": True,
    }
    if "eid" in record:
        attributes["eid"] = record["eid"]
    for ours, theirs in (("imei", "imei"), ("meid", "meid"), ("ethernet_mac_address", "ethernetMacAddress")):
        if ours in record:
            # Device assignment returns a single Ethernet address as a string.
            attributes[theirs] = [record[ours]] if isinstance(record[ours], str) else list(record[ours])
    if migration is not None:
        attributes["mdmMigrationStatus"] = migration
        if deadline := record.get("mdm_migration_deadline"):
            attributes["mdmMigrationDeadlineDateTime"] = moment(datetime.fromisoformat(deadline))
    return attributes


def service_attributes(server: Server, extra: Mapping[str, Any], *, is_single: bool) -> dict[str, Any]:
    """Return the attributes of a service; lists leave out its families (observed)."""
    attributes = {
        "serverName": server.name,
        "serverType": "MDM",
        "status": "ACTIVE",
        "deviceCount": None,
        "enableMdmDisownFlag": server.may_disown,
        "lastConnectedDateTime": None,
        "lastConnectedIp": None,
        "createdDateTime": moment(server.created_at),
        "updatedDateTime": moment(server.created_at),
        **extra,
    }
    if not is_single:
        attributes.pop("defaultProductFamilies", None)
    return attributes


def resource(
    request: WireRequest,
    kind: str,
    identity: str,
    attributes: Mapping[str, Any],
    *,
    path: str = "",
) -> dict[str, Any]:
    """Return a resource object with the requested fields; *path* overrides the path of its type."""
    text = dict(request.query).get(f"fields[{kind}]", "")
    fields = frozenset(filter(None, text.split(",")))
    address = origin(request) + (path or f"/v1/{kind}/{identity}")
    shown: dict[str, Any] = {
        "type": kind,
        "id": identity,
        "attributes": {key: value for key, value in attributes.items() if not fields or key in fields},
        "links": {"self": address},
    }
    related = {
        name: {"links": {form: address + end for form, end in links.items()}}
        for name, links in _LINKS.get(kind, {}).items()
        if not fields or name in fields
    }
    if related:
        shown["relationships"] = related
    return shown


def check_fields(request: WireRequest) -> None:
    """Check the field names in the query of *request*.

    Raises:
        ApiRefusedError: One of them does not exist.
    """
    for parameter, text in request.query:
        known = _FIELDS.get(parameter.removeprefix("fields[").removesuffix("]"), "").split()
        for name in filter(None, text.split(",") if known else ()):
            if name not in known:
                detail = f"'{name}' is not a valid field name"
                raise ApiRefusedError(400, "PARAMETER_ERROR.INVALID", detail, parameter=parameter)


def single(
    request: WireRequest, data: Any, *, status: int = 200, links: Mapping[str, str] | None = None
) -> WireResponse:
    """Return the document of one resource or linkage, with the URL of *request*."""
    shown = {"self": origin(request) + request.target, **(links or {})}
    return document({"data": data, "links": shown}, status=status)


def page(
    request: WireRequest,
    records: Iterable[Any],
    settings: BusinessSettings,
    show: Callable[[Any], dict[str, Any]],
) -> WireResponse:
    """Return the collection document of one page of *records*.

    Raises:
        ApiRefusedError: ``limit`` or ``cursor`` is not valid.
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
    links: dict[str, Any] = {"self": origin(request) + request.target}
    paging: dict[str, Any] = {"limit": limit, "total": len(everything)}
    if start + limit < len(everything):
        paging["nextCursor"] = f"c{start + limit}"
        # Without the limit, as in Apple's examples.
        query = {"cursor": paging["nextCursor"]}
        links["next"] = f"{settings.next_link_origin or origin(request)}{request.path}?{urlencode(query)}"
    shown = [show(record) for record in everything[start : start + limit]]
    return document({"data": shown, "links": links, "meta": {"paging": paging}})
