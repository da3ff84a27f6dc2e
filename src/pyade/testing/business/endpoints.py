"""Route requests of the API to their handlers, and answer them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

import attrs

from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.model import Identifiers, Organization, OwnedDevice, Server
from pyade.testing.business import activities, views
from pyade.testing.business.services import Services
from pyade.testing.business.settings import BusinessSettings
from pyade.testing.business.views import ApiRefusedError, moment, not_found
from pyade.testing.http.wire import WireRequest, WireResponse


@attrs.frozen
class ApiCall:
    """A request with a valid access token.

    Attributes:
        request: As it arrived.
        now: UTC.
        identity: The id in its path; "" if it has none.
    """

    request: WireRequest
    now: datetime
    identity: str


Handler: TypeAlias = Callable[[ApiCall], WireResponse]
JsonObject: TypeAlias = dict[str, Any]

CONFIGURATOR_ID = "00000000000000000000000000000001"
LOG_HOST = "activity-logs.example"
"""The host of activity logs, unless the request came over loopback; not the host of the API."""

_LOG_SECONDS = 300  # not published: how long the URL of a log is valid
_LOCAL = ("127.0.0.1", "localhost")
_BUSINESS_ONLY = ("service", "create_service", "update_service", "delete_service", "builtin")


class Endpoints:
    """Routes requests with a valid access token to their handlers.

    Attributes:
        fleet: What the API stores about devices in addition to the ``FakeApple``.
        activities: The activities by id, oldest first.
        coverage: AppleCare plans by serial number, by Apple's keys.
        locks: Activation lock states by serial number, by Apple's keys.
        builtin: Devices of Apple's built-in management by id, by Apple's keys.
    """

    def __init__(
        self,
        apple: FakeApple,
        identifiers: Identifiers,
        organization: Organization,
        settings: BusinessSettings,
    ) -> None:
        self.fleet: activities.Fleet = activities.Fleet()
        self.activities: dict[str, activities.FakeActivity] = {}
        self.coverage: dict[str, list[dict[str, Any]]] = {}
        self.locks: dict[str, dict[str, Any]] = {}
        self.builtin: dict[str, dict[str, Any]] = {}
        self._apple, self._identifiers = apple, identifiers
        self._organization = organization
        self._settings = settings
        self._services = Services(apple, organization)
        self._opened_at = apple.clock()
        self._routes: list[tuple[str, re.Pattern[str], str, Handler]] = [
            (method, re.compile("/v1" + path.replace("{}", "([^/]+)")), name, handler)
            for method, path, name, handler in (
                ("GET", "/orgDevices", "", self._devices),
                ("GET", "/orgDevices/{}", "", self._device),
                ("GET", "/orgDevices/{}/relationships/assignedServer", "", self._linkage),
                ("GET", "/orgDevices/{}/assignedServer", "", self._assigned),
                ("GET", "/orgDevices/{}/appleCareCoverage", "", self._coverage),
                ("GET", "/orgDevices/{}/activationLockStatus", "", self._lock),
                ("GET", "/mdmServers", "", self._list_services),
                ("POST", "/mdmServers", "create_service", self._create_service),
                ("GET", "/mdmServers/{}", "service", self._service),
                ("PATCH", "/mdmServers/{}", "update_service", self._update_service),
                ("DELETE", "/mdmServers/{}", "delete_service", self._delete_service),
                ("GET", "/mdmServers/{}/relationships/devices", "", self._serials),
                ("GET", "/mdmServers/{}/devices", "", _refuse_related),
                ("POST", "/orgDeviceActivities", "", self._create_activity),
                ("GET", "/orgDeviceActivities/{}", "", self._activity),
                ("GET", "/mdmDevices", "builtin", self._builtin_devices),
                ("GET", "/mdmDevices/{}/details", "builtin", self._builtin),
            )
        ]

    def perform(self, request: WireRequest, now: datetime) -> WireResponse:
        """Carry out *request* and return its response.

        Raises:
            ApiRefusedError: It is not valid.
        """
        views.check_fields(request)
        for method, path, name, handler in self._routes:
            found = path.fullmatch(request.path)
            if found and method == request.method:
                if name in _BUSINESS_ONLY and self._is_school:
                    raise _not_offered(method, "GET_COLLECTION" if name == "service" else "none")
                return handler(ApiCall(request, now, found[1] if path.groups else ""))
        if any(path.fullmatch(request.path) for _, path, _, _ in self._routes):
            offered = sorted(method for method, path, _, _ in self._routes if path.fullmatch(request.path))
            raise _not_offered(request.method, ", ".join(offered))
        raise not_found("path", request.path)

    def log(self, request: WireRequest, now: datetime) -> WireResponse:
        """Answer a request for a log; refuse one with an access token, as a blob store does."""
        found = re.fullmatch(r"/logs/([0-9a-f-]+)\.csv", request.path)
        activity = self.activities.get(found[1]) if found else None
        until = dict(request.query).get("expires", "0")
        if "authorization" in request.headers or request.method != "GET":
            return WireResponse(status=400, body=b"<Error><Code>InvalidArgument</Code></Error>")
        if activity is None or not until.isdecimal() or now.timestamp() > int(until):
            return WireResponse(status=403, body=b"<Error><Code>AccessDenied</Code></Error>")
        headers = {"Content-Type": "text/csv", "Content-Disposition": _disposition(activity)}
        return WireResponse(body=activities.write_log(activity, self._settings), headers=headers)

    @property
    def _is_school(self) -> bool:
        return self._organization.org_type == "edu"

    # Devices

    def _find_device(self, serial: str) -> OwnedDevice:
        device = self._apple.devices.get(serial)
        if device is None or device.organization is not self._organization:
            raise not_found("orgDevices", serial)
        return device

    def _show_device(self, request: WireRequest, device: OwnedDevice) -> JsonObject:
        serial = device.record["serial_number"]
        _, released_at = self.fleet.released.get(serial, (None, None))
        shown = views.device_attributes(
            device, released_at=released_at, migration=self.fleet.migrations.get(serial)
        )
        return views.resource(request, "orgDevices", serial, shown)

    def _devices(self, call: ApiCall) -> WireResponse:
        owned = [
            device for device in self._apple.devices.values() if device.organization is self._organization
        ]
        show = partial(self._show_device, call.request)
        return views.page(call.request, owned, self._settings, show)

    def _device(self, call: ApiCall) -> WireResponse:
        released = self.fleet.released.get(call.identity)
        device = (
            released[0]
            if released and call.identity not in self._apple.devices
            else self._find_device(call.identity)
        )
        return views.single(call.request, self._show_device(call.request, device))

    def _server_of(self, serial: str, now: datetime) -> Server | None:
        """Return the service of a device for ``assignedServer``, which may lag behind.

        Raises:
            ApiRefusedError: 404 for a device without a service, if the settings say so.
        """
        server = self._find_device(serial).server
        before, changed_at = self.fleet.moved.get(serial, (None, None))
        lag = timedelta(seconds=self._settings.assigned_server_lag_seconds)
        if changed_at is not None and now < changed_at + lag:
            server = self._services.find(before) if before else None
        if server is None and self._settings.unassigned_answer == "missing":
            raise not_found("mdmServers", "null")
        return server

    def _linkage(self, call: ApiCall) -> WireResponse:
        server = self._server_of(call.identity, call.now)
        empty = {"type": "mdmServers", "id": ""} if self._settings.unassigned_answer == "empty" else None
        data = {"type": "mdmServers", "id": server.server_uuid} if server else empty
        related = f"{views.origin(call.request)}/v1/orgDevices/{call.identity}/assignedServer"
        return views.single(call.request, data, links={"related": related})

    def _assigned(self, call: ApiCall) -> WireResponse:
        server = self._server_of(call.identity, call.now)
        shown = self._show_service(call.request, server, is_single=False) if server else None
        return views.single(call.request, shown)

    def _coverage(self, call: ApiCall) -> WireResponse:
        bought_at = self._find_device(call.identity).bought_at
        warranty = {
            "status": "ACTIVE",
            "paymentType": "NONE",
            "description": "Limited Warranty",
            "startDateTime": moment(bought_at),
            "endDateTime": moment(bought_at + timedelta(days=365)),
            "isRenewable": False,
            "isCanceled": False,
            "contractCancelDateTime": None,
            "agreementNumber": None,
        }
        plans = [warranty, *self.coverage.get(call.identity, [])]

        def show(plan: Mapping[str, Any]) -> JsonObject:
            identity = plan.get("agreementNumber") or call.identity
            path = call.request.path
            return views.resource(call.request, "appleCareCoverage", identity, plan, path=path)

        return views.page(call.request, plans, self._settings, show)

    def _lock(self, call: ApiCall) -> WireResponse:
        self._find_device(call.identity)
        lock = self.locks.get(call.identity, {"isLocked": False})
        kind, path = "activationLockStatus", call.request.path
        return views.single(call.request, views.resource(call.request, kind, call.identity, lock, path=path))

    # Services

    def _show_service(self, request: WireRequest, server: Server, *, is_single: bool) -> JsonObject:
        shown = views.service_attributes(server, self._services.more(server), is_single=is_single)
        return views.resource(request, "mdmServers", server.server_uuid, shown)

    def _show_configurator(self, request: WireRequest) -> JsonObject:
        """Return the service of Apple Configurator, which every organization has."""
        opened_at = moment(self._opened_at)
        shown = {
            "serverName": "Apple Configurator",
            "serverType": "APPLE_CONFIGURATOR",
            "status": "ACTIVE",
            "createdDateTime": opened_at,
            "updatedDateTime": opened_at,
        }
        return views.resource(request, "mdmServers", CONFIGURATOR_ID, shown)

    def _list_services(self, call: ApiCall) -> WireResponse:
        shown = [self._show_service(call.request, server, is_single=False) for server in self._services.all]
        shown.append(self._show_configurator(call.request))
        return views.page(call.request, shown, self._settings, dict)

    def _find_service(self, service_id: str) -> Server:
        server = self._services.find(service_id)
        if server is None:
            raise not_found("mdmServers", service_id)
        return server

    def _service(self, call: ApiCall) -> WireResponse:
        if call.identity == CONFIGURATOR_ID:
            return views.single(call.request, self._show_configurator(call.request))
        return self._single_service(call, self._find_service(call.identity))

    def _single_service(self, call: ApiCall, server: Server, *, status: int = 200) -> WireResponse:
        shown = self._show_service(call.request, server, is_single=True)
        return views.single(call.request, shown, status=status)

    def _create_service(self, call: ApiCall) -> WireResponse:
        return self._single_service(call, self._services.create(call.request.body), status=201)

    def _update_service(self, call: ApiCall) -> WireResponse:
        return self._single_service(
            call, self._services.update(self._find_service(call.identity), call.request.body)
        )

    def _delete_service(self, call: ApiCall) -> WireResponse:
        self._services.delete(self._find_service(call.identity))
        return WireResponse(status=204)

    def _serials(self, call: ApiCall) -> WireResponse:
        devices = [] if call.identity == CONFIGURATOR_ID else list(self._find_service(call.identity).devices)

        def show(serial: str) -> JsonObject:
            return {"type": "orgDevices", "id": serial}

        return views.page(call.request, devices, self._settings, show)

    # Activities

    def _create_activity(self, call: ApiCall) -> WireResponse:
        order = activities.read_order(
            call.request.body, self._services.find, call.now, is_school=self._is_school
        )
        unknown = [
            serial
            for serial in order.serials
            if getattr(self._apple.devices.get(serial), "organization", None) is not self._organization
        ]
        if unknown and self._settings.unknown_serials == "refused":
            pointer = f"/data/relationships/devices/data/{order.serials.index(unknown[0])}/id"
            detail = f"'{unknown[0]}' is not a valid serial number"
            raise ApiRefusedError(409, "ENTITY_ERROR.RELATIONSHIP.INVALID", detail, pointer=pointer)
        rows = activities.carry_out(order, self._apple, self._organization, self.fleet, call.now)
        if self._settings.unknown_serials == "silent":
            rows = tuple(row for row in rows if row.serial not in unknown)
        identity = self._identifiers.uuid("activity")
        self.activities[identity] = activities.FakeActivity(
            id=identity, kind=order.kind, started_at=call.now, rows=rows
        )
        return views.single(call.request, self._show_activity(call, self.activities[identity]), status=201)

    def _activity(self, call: ApiCall) -> WireResponse:
        activity = self.activities.get(call.identity)
        if activity is None or call.now > activity.started_at + timedelta(days=30):
            raise not_found("orgDeviceActivities", call.identity)
        return views.single(call.request, self._show_activity(call, activity))

    def _show_activity(self, call: ApiCall, activity: activities.FakeActivity) -> JsonObject:
        request = call.request
        is_local = request.host.partition(":")[0] in _LOCAL
        query = urlencode(
            {
                "expires": int(call.now.timestamp()) + _LOG_SECONDS,
                "response-content-disposition": _disposition(activity),
            },
            quote_via=quote,
        )
        place = views.origin(request) if is_local else f"{request.scheme}://{LOG_HOST}"
        address = f"{place}/logs/{activity.id}.csv?{query}"
        shown = activities.attributes(activity, call.now, self._settings, address)
        return views.resource(request, "orgDeviceActivities", activity.id, shown)

    # Apple's built-in management

    def _builtin_devices(self, call: ApiCall) -> WireResponse:

        def show(identity: str) -> JsonObject:
            return views.resource(call.request, "mdmDevices", identity, self.builtin[identity])

        return views.page(call.request, self.builtin, self._settings, show)

    def _builtin(self, call: ApiCall) -> WireResponse:
        if call.identity not in self.builtin:
            raise not_found("mdmDevices", call.identity)
        kind, path = "mdmDeviceDetails", call.request.path
        shown = self.builtin[call.identity]
        return views.single(call.request, views.resource(call.request, kind, call.identity, shown, path=path))


def _refuse_related(call: ApiCall) -> WireResponse:
    raise _not_offered("GET_RELATED", f"GET /v1/mdmServers/{call.identity}/relationships/devices")


def _not_offered(operation: str, offered: str) -> ApiRefusedError:
    return ApiRefusedError(403, "FORBIDDEN_ERROR", f"'{operation}' is not offered here; offered: {offered}")


def _disposition(activity: activities.FakeActivity) -> str:
    return f'attachment;filename="{activity.id}.csv"'
