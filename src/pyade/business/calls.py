"""One function per endpoint of the Apple School Manager and Apple Business API; each returns a ``Call``.

Source: Apple, Apple Business API, the endpoint pages; "Business only" where Apple announced an endpoint for
Apple Business and not for Apple School Manager.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pyade.apple.http.calls import Call
from pyade.apple.http.json_bodies import decode_json, read_nothing
from pyade.business.paging import Page, read_page
from pyade.business.resources import (
    ActivationLockStatus,
    Activity,
    AppleCareCoverage,
    ManagementService,
    OrgDevice,
    Resource,
    read_identifier,
    read_resource,
)
from pyade.core.fleet.outcomes import ActivityRequest
from pyade.errors import InvalidRequestError

R = TypeVar("R", bound=Resource)

MAX_LIMIT = 1000
"""Maximum number of records per page, and the default. Source: Apple, "Get Org Devices"."""


def list_devices(
    cursor: str | None = None, limit: int | None = None, fields: Iterable[str] = ()
) -> Call[Page[OrgDevice]]:
    """Return the call for one page of the organization's devices.

    Args:
        cursor: ``next_cursor`` of the previous page; None for the first one.
        limit: Devices per page, 1 to 1000; None for 1000.
        fields: Apple's names of the attributes to return; empty for all. Only all of them include migrations.
    """
    params = _params("list devices", cursor, limit, "orgDevices", fields)
    return _list("list devices", "/v1/orgDevices", params, partial(read_resource, cls=OrgDevice))


def device(serial_number: str) -> Call[OrgDevice]:
    """Return the call that reads one device."""
    return _get("read a device", f"/v1/orgDevices/{_id(serial_number)}", OrgDevice)


def assigned_service_id(serial_number: str) -> Call[str | None]:
    """Return the call that reads the id of the service that a device is assigned to; None if to none."""
    path = f"/v1/orgDevices/{_id(serial_number)}/relationships/assignedServer"
    return _call("read the service of a device", "GET", path, _read_linkage)


def assigned_service(serial_number: str) -> Call[ManagementService | None]:
    """Return the call that reads the service that a device is assigned to; None if to none."""
    path = f"/v1/orgDevices/{_id(serial_number)}/assignedServer"
    return _call("read the service of a device", "GET", path, _read_related)


def apple_care(serial_number: str) -> Call[Page[AppleCareCoverage]]:
    """Return the call that reads the warranty and plans of one device."""
    path = f"/v1/orgDevices/{_id(serial_number)}/appleCareCoverage"
    read = partial(read_resource, cls=AppleCareCoverage)
    return _list("read AppleCare coverage", path, {"limit": str(MAX_LIMIT)}, read)


def activation_lock_status(serial_number: str) -> Call[ActivationLockStatus]:
    """Return the call that reads whether one device is locked."""
    path = f"/v1/orgDevices/{_id(serial_number)}/activationLockStatus"
    return _get("read the activation lock", path, ActivationLockStatus)


def list_services(
    cursor: str | None = None, limit: int | None = None, fields: Iterable[str] = ()
) -> Call[Page[ManagementService]]:
    """Return the call for one page of the device management services; arguments as for ``list_devices``."""
    params = _params("list services", cursor, limit, "mdmServers", fields)
    return _list("list services", "/v1/mdmServers", params, partial(read_resource, cls=ManagementService))


def service(service_id: str) -> Call[ManagementService]:
    """Return the call that reads one service; Business only."""
    return _get("read a service", f"/v1/mdmServers/{_id(service_id)}", ManagementService)


def create_service(
    server_name: str,
    certificate_pem: bytes,
    *,
    certificate_name: str = "certificate.pem",
    enable_mdm_disown_flag: bool | None = None,
) -> Call[ManagementService]:
    """Return the call that creates a service; Business only.

    Args:
        server_name: The name that the portal shows.
        certificate_pem: Certificate of the key pair that will decrypt the server token.
        certificate_name: The file name that the portal shows.
        enable_mdm_disown_flag: True if the service may release devices permanently; None for Apple's default.
    """
    operation = "create a service"
    attributes = {
        "serverName": server_name,
        "serverCertificate": _certificate(operation, certificate_pem, certificate_name),
        "enableMdmDisownFlag": enable_mdm_disown_flag,
    }
    body = _service_body(attributes)
    return _call(operation, "POST", "/v1/mdmServers", _reader(ManagementService), json=body, repeatable=False)


def update_service(
    service_id: str,
    *,
    server_name: str | None = None,
    certificate_pem: bytes | None = None,
    certificate_name: str = "certificate.pem",
    enable_mdm_disown_flag: bool | None = None,
    default_product_families: Iterable[str] | None = None,
) -> Call[ManagementService]:
    """Return the call that changes a service; Business only. None leaves a value unchanged.

    Args:
        service_id: The id of the service.
        server_name: The name that the portal shows.
        certificate_pem: A new certificate; the next server token is encrypted for it.
        certificate_name: The file name that the portal shows.
        enable_mdm_disown_flag: True if the service may release devices permanently.
        default_product_families: Families whose new devices are assigned to this service, such as ``MAC``;
            empty for none. Remove a family from its old service first, or Apple answers 409 (observed).
    """
    operation = "change a service"
    families = None if default_product_families is None else list(default_product_families)
    certificate = certificate_pem and _certificate(operation, certificate_pem, certificate_name)
    attributes = {
        "serverName": server_name,
        "serverCertificate": certificate or None,
        "enableMdmDisownFlag": enable_mdm_disown_flag,
        "defaultProductFamilies": families,
    }
    body = _service_body(attributes, service_id)
    path = f"/v1/mdmServers/{_id(service_id)}"
    return _call(operation, "PATCH", path, _reader(ManagementService), json=body)


def delete_service(service_id: str, *, confirm: bool) -> Call[None]:
    """Return the call that deletes a service without devices, together with its server token; Business only.

    Raises:
        InvalidRequestError: *confirm* is not True.
    """
    if confirm is not True:
        step = "this also deletes the server token of the service: pass confirm=True"
        raise InvalidRequestError("delete a service", 0, "", "confirm is not True", step)
    return _call("delete a service", "DELETE", f"/v1/mdmServers/{_id(service_id)}", read_nothing)


def list_service_serials(
    service_id: str, cursor: str | None = None, limit: int | None = None
) -> Call[Page[str]]:
    """Return the call for one page of the serial numbers that are assigned to a service."""
    operation = "list the devices of a service"
    path = f"/v1/mdmServers/{_id(service_id)}/relationships/devices"
    return _list(operation, path, _params(operation, cursor, limit), read_identifier)


def create_activity(request: ActivityRequest, serials: Iterable[str]) -> Call[Activity]:
    """Return the call that starts an activity.

    Check whether it took effect before sending it again.
    """
    return _call(
        f"start {request.activity_type}",
        "POST",
        "/v1/orgDeviceActivities",
        _reader(Activity),
        json=request.body(serials),
        repeatable=False,
    )


def activity(activity_id: str) -> Call[Activity]:
    """Return the call that reads the status of an activity; Apple keeps it for 30 days."""
    return _get("read an activity", f"/v1/orgDeviceActivities/{_id(activity_id)}", Activity)


def list_builtin_devices(cursor: str | None = None, limit: int | None = None) -> Call[Page[Resource]]:
    """Return the call for one page of the devices in Apple's built-in management; Business only."""
    operation = "list devices in built-in management"
    params = _params(operation, cursor, limit)
    return _list(operation, "/v1/mdmDevices", params, partial(read_resource, cls=Resource))


def builtin_device_details(device_id: str) -> Call[Resource]:
    """Return the call that reads details of a device in Apple's built-in management; Business only."""
    path = f"/v1/mdmDevices/{_id(device_id)}/details"
    return _get("read a device in built-in management", path, Resource)


def _call(operation: str, method: str, path: str, decode: Any, **more: Any) -> Call[Any]:
    return Call(operation=operation, method=method, path=path, decode=decode, **{"repeatable": True, **more})


def _get(operation: str, path: str, cls: type[R]) -> Call[R]:
    return _call(operation, "GET", path, _reader(cls))


def _list(operation: str, path: str, params: Mapping[str, str], read: Any) -> Call[Page[Any]]:
    limit = int(params["limit"])
    decode = partial(read_page, read=read, limit=limit)
    return _call(operation, "GET", path, decode, params=params, max_records=limit)


def _reader(cls: type[R]) -> Any:
    return lambda content: read_resource(decode_json(content, _WireDocument).data, cls)


def _read_linkage(content: bytes) -> str | None:
    # Observed for a device without a service: null, or an identifier whose id is empty or null.
    data = decode_json(content, _WireDocument).data
    return read_identifier(data) if data and data.get("id") else None


def _read_related(content: bytes) -> ManagementService | None:
    data = decode_json(content, _WireDocument).data
    return read_resource(data, ManagementService) if data and data.get("id") else None


def _params(
    operation: str,
    cursor: str | None,
    limit: int | None,
    kind: str = "",
    fields: Iterable[str] = (),
) -> dict[str, str]:
    if limit is not None and not 1 <= limit <= MAX_LIMIT:
        detail = f"limit {limit}: 1 to {MAX_LIMIT} is allowed"
        raise InvalidRequestError(operation, 0, "", detail, f"omit limit for {MAX_LIMIT}")
    params = {"limit": str(limit or MAX_LIMIT)}
    if names := ",".join([fields] if isinstance(fields, str) else fields):
        params[f"fields[{kind}]"] = names
    if cursor is not None:
        params["cursor"] = cursor
    return params


def _id(value: str) -> str:
    # An id with a slash or dots would address another path, an empty one the list.
    if value.isprintable() and value.strip(" ."):
        return quote(value, safe="")
    raise InvalidRequestError(
        "name a record", 0, "", f"id {value!r} is not usable", "pass the id that Apple gave"
    )


def _certificate(operation: str, pem: bytes, name: str) -> dict[str, str]:
    try:
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except (ValueError, TypeError) as error:
        detail = f"the certificate cannot be read: {type(error).__name__}"
    else:
        return {"name": name, "data": base64.b64encode(der).decode()}
    raise InvalidRequestError(operation, 0, "", detail, "pass certificate_pem of the TokenKeypair")


def _service_body(attributes: Mapping[str, Any], service_id: str | None = None) -> dict[str, Any]:
    given = {key: value for key, value in attributes.items() if value is not None}
    data: dict[str, Any] = {"type": "mdmServers", "attributes": given}
    return {"data": {**data, "id": service_id} if service_id else data}


class _WireDocument(msgspec.Struct):
    data: dict[str, Any] | None = None
