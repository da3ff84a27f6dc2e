"""Route requests of device assignment to their handlers, and answer the account and detail endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import attrs
import msgspec

from pyade.testing.apple.actions import DeviceActions
from pyade.testing.apple.answers import RefusedError
from pyade.testing.apple.lifecycle import Replacement
from pyade.testing.apple.model import AppleSettings, Server
from pyade.testing.apple.paging import Pager, visible_account, visible_device
from pyade.testing.apple.profiles import Profiles, device_list
from pyade.testing.http.wire import UNREADABLE, WireRequest, reason


@attrs.frozen(kw_only=True)
class Call:
    """A request with an accepted session.

    Attributes:
        server: The server that the session belongs to.
        version: The protocol version of the request.
        now: UTC.
        body: The parsed JSON object; empty for GET.
        query: The decoded query.
        repeat_cursor: True if the page must carry the cursor of the request.
    """

    server: Server
    version: int
    now: datetime
    body: dict[str, Any]
    query: Mapping[str, str]
    repeat_cursor: bool = False

    @property
    def arguments(self) -> tuple[Server, dict[str, Any], int, datetime]:
        """The arguments of most handlers: server, body, version, time."""
        return self.server, self.body, self.version, self.now


Handler: TypeAlias = Callable[[Call], dict[str, Any] | None]

_WITH_BODY = ("POST", "PUT")
_ANY_AGENT = ("/session", "/account")
# Start of the User-Agent, and the lowest protocol version that refuses it. Not published; user agents of HTTP
# libraries were refused after the version was raised.
_DENIED_AGENTS = {"python-httpx": 9, "python-requests": 9, "Go-http-client": 9}


class Endpoints:
    """Routes requests to their handlers."""

    def __init__(
        self,
        settings: AppleSettings,
        pager: Pager,
        profiles: Profiles,
        actions: DeviceActions,
        replacements: Mapping[str, Replacement],
    ) -> None:
        self._settings = settings
        self._replacements = replacements
        self._handlers: dict[str, dict[str, Handler]] = {
            "/account": {"GET": self._account},
            "/server/devices": {
                "POST": lambda call: pager.fetch(*call.arguments, repeat_cursor=call.repeat_cursor)
            },
            "/devices/sync": {
                "POST": lambda call: pager.sync(*call.arguments, repeat_cursor=call.repeat_cursor)
            },
            "/devices": {"POST": self._details},
            "/profile": {
                "GET": lambda call: profiles.read(
                    call.server, call.query.get("profile_uuid", ""), call.version
                ),
                "POST": lambda call: profiles.define(*call.arguments),
            },
            "/profile/devices": {
                "DELETE": lambda call: profiles.remove(call.server, call.body, call.now),
                "POST": lambda call: profiles.assign(*call.arguments),
                "PUT": lambda call: profiles.assign(*call.arguments),
            },
            "/devices/disown": {"POST": lambda call: actions.disown(call.server, call.body)},
            "/device/activationlock": {"POST": lambda call: actions.lock(call.server, call.body)},
            "/device/replacementDetails": {"GET": self._replacement},
            "/os-beta-enrollment/tokens": {"GET": lambda call: actions.beta_tokens(call.server)},
            "/account-driven-enrollment/profile": {
                "DELETE": lambda call: actions.remove_discovery(call.server),
                "GET": lambda call: actions.read_discovery(call.server),
                "POST": lambda call: actions.set_discovery(call.server, call.body, call.now),
            },
        }

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the allowed methods of *path*; an empty tuple for an unknown path."""
        if path == "/session":
            return ("GET",)
        return tuple(self._handlers.get(path, {}))

    def check_agent(self, request: WireRequest) -> None:
        """Check the ``User-Agent`` on the endpoints where Apple does.

        Raises:
            RefusedError: It is missing or on the deny list.
        """
        if request.path in _ANY_AGENT:
            return
        agent = request.headers.get("user-agent", "").strip()
        if not agent:
            raise RefusedError(400, "USER_AGENT_MISSING")
        for denied, since in _DENIED_AGENTS.items():
            if agent.lower().startswith(denied.lower()) and request.protocol_version >= since:
                raise RefusedError(400, "USER_AGENT_INVALID")

    def perform(
        self, request: WireRequest, server: Server, now: datetime, *, repeat_cursor: bool
    ) -> dict[str, Any] | None:
        """Carry out *request* for *server* and return the JSON of its success; None for an empty body.

        Raises:
            RefusedError: The request is not valid.
        """
        body: dict[str, Any] = {}
        if _has_body(request):
            if self._settings.requires_json_type and request.media_type != "application/json":
                raise RefusedError(415, reason(415))
            body = _json_object(request.body)
        call = Call(
            server=server,
            version=request.protocol_version,
            now=now,
            body=body,
            query=dict(request.query),
            repeat_cursor=repeat_cursor,
        )
        return self._handlers[request.path][request.method](call)

    def _account(self, call: Call) -> dict[str, Any]:
        organization = call.server.organization
        account: dict[str, Any] = {
            "server_name": call.server.name,
            "server_uuid": call.server.server_uuid,
            "admin_id": call.server.admin_id,
            "facilitator_id": call.server.admin_id,
            "org_name": organization.name,
            "org_email": organization.email,
            "org_phone": organization.phone,
            "org_address": organization.address,
            "org_id": organization.org_id,
            "org_id_hash": organization.org_id_hash,
            "org_type": organization.org_type,
            "org_version": organization.org_version,
            "urls": self._urls(),
        }
        return visible_account(account, call.version)

    def _urls(self) -> list[dict[str, Any]]:
        urls: list[dict[str, Any]] = []
        for path in self._handlers:
            url: dict[str, Any] = {"uri": path, "http_method": sorted(self.methods(path))}
            if path in ("/server/devices", "/devices/sync"):
                url["limit"] = {
                    "default": self._settings.page_default,
                    "maximum": self._settings.page_maximum,
                }
            urls.append(url)
        return urls

    def _details(self, call: Call) -> dict[str, Any]:
        details: dict[str, Any] = {}
        for serial in device_list(call.body):
            device = call.server.devices.get(serial)
            if device is None:
                details[serial] = {"response_status": "NOT_ACCESSIBLE"}
            else:
                details[serial] = {
                    **visible_device(device.record, call.version),
                    "response_status": "SUCCESS",
                }
        return {"devices": details}

    def _replacement(self, call: Call) -> dict[str, Any]:
        """Return which device another one replaced; refuse below protocol version 10."""
        if call.version < 10:
            raise RefusedError(404, "NOT_FOUND")
        serial = call.query.get("device")
        if not serial:
            raise RefusedError(400, "DEVICE_ID_REQUIRED")
        known = self._replacements.get(serial)
        if known is None or serial not in call.server.devices:
            raise RefusedError(404, "DEVICE_NOT_FOUND")
        return {
            "serial_number": serial,
            "original_device_serial_number": known.original_serial_number,
            "replacement_date": known.day,
        }


def _has_body(request: WireRequest) -> bool:
    return request.method in _WITH_BODY or request.endpoint == "DELETE /profile/devices"


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        value = None
    if not isinstance(value, dict):
        raise RefusedError(400, "MALFORMED_REQUEST_BODY")
    return value
