"""Every endpoint of both services with a valid response, collected from the modules that describe them.

Requests for a session, an access token and the log of an activity are endpoints as well.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import attrs
from tests.keys import RSA_KEYS, keypair_of

from pyade.apple import AsyncClient
from pyade.apple import calls as apple_calls
from pyade.business import Activity
from pyade.business import calls as business_calls
from pyade.core.fleet.outcomes import ActivityRequest, ActivityStatus, ActivityType

SERIALS = ("C02A", "C02B")
LARGE_PAGE = "apple.fetch_devices of an account with 5,000 per page"
_RESULTS = {"profile_uuid": "P1", "devices": {"C02A": "SUCCESS", "C02B": "NOT_ACCESSIBLE"}}
_PAGE = {
    "devices": [
        {
            "serial_number": "C02A",
            "model": "MacBook Pro",
            "op_type": "added",
            "op_date": "2026-01-02T03:04:05Z",
        },
        {"serial_number": "C02B", "model": "Mac mini", "profile_status": "empty"},
    ],
    "cursor": "c1",
    "more_to_follow": False,
    "fetched_until": "2026-01-02T03:04:05Z",
}
_DISCOVERY = "https://mdm.contoso.com/.well-known/com.apple.remotemanagement"


def _resource(kind: str, identifier: str, **attributes: Any) -> dict[str, Any]:
    return {"type": kind, "id": identifier, "attributes": attributes}


_DEVICE = _resource("orgDevices", "C02A", serialNumber="C02A", productFamily="Mac", imei=["1"])
_OTHER_DEVICE = _resource(
    "orgDevices", "C02B", serialNumber="C02B", addedToOrgDateTime="2026-01-02T03:04:05Z"
)
_SERVICE = _resource("mdmServers", "S1", serverName="hq", serverType="MDM", deviceCount=2)
_ACTIVITY = _resource("orgDeviceActivities", "A1", status="IN_PROGRESS", subStatus="SUBMITTED")
_LOG = b"serial_number,operation_status,operation_substatus\r\nC02A,SUCCESS,\r\n"


def _listed(*records: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "data": records,
        "links": {"self": "/v1"},
        "meta": {"paging": {"total": len(records), "limit": 2}},
    }


@attrs.frozen
class Example:
    """The arguments of an endpoint, and a valid response."""

    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict)
    good: Any = None


APPLE: Mapping[str, Example] = {
    "account": Example(
        good={
            "server_name": "dev",
            "server_uuid": "U1",
            "admin_id": "it@contoso.com",
            "org_name": "Contoso",
            "org_type": "org",
            "urls": [
                {
                    "uri": "/server/devices",
                    "http_method": ["POST"],
                    "limit": {"default": 5000, "maximum": 5000},
                }
            ],
        }
    ),
    "fetch_devices": Example(good=_PAGE),
    "sync_devices": Example(("c0",), good=_PAGE),
    "device_details": Example(
        (SERIALS,), good={"devices": {one: {"response_status": "SUCCESS"} for one in SERIALS}}
    ),
    "disown_devices": Example((SERIALS,), good=_RESULTS),
    "define_profile": Example(({"profile_name": "Standard", "devices": list(SERIALS)},), good=_RESULTS),
    "profile": Example(
        ("P1",), good={"profile_uuid": "P1", "profile_name": "Standard", "is_mandatory": True}
    ),
    "assign_profile": Example(("P1", SERIALS), good=_RESULTS),
    "remove_profile": Example((SERIALS,), good=_RESULTS),
    "activation_lock": Example(("C02A",), good={"serial_number": "C02A", "response_status": "SUCCESS"}),
    "replacement_details": Example(
        ("C02A",),
        good={
            "serial_number": "C02A",
            "original_device_serial_number": "C02B",
            "replacement_date": "2026-01-02",
        },
    ),
    "beta_enrollment_tokens": Example(
        good={"betaEnrollmentTokens": [{"token": "B1", "os": "OSX", "title": "Beta"}]}
    ),
    "set_account_driven_enrollment_profile": Example((_DISCOVERY,)),
    "get_account_driven_enrollment_profile": Example(
        good={
            "mdm_service_discovery_url": _DISCOVERY,
            "last_updated_timestamp": "2026-01-02T03:04:05Z",
        }
    ),
    "remove_account_driven_enrollment_profile": Example(),
}
BUSINESS: Mapping[str, Example] = {
    "list_devices": Example(good=_listed(_DEVICE, _OTHER_DEVICE)),
    "device": Example(("C02A",), good={"data": _DEVICE}),
    "assigned_service_id": Example(("C02A",), good={"data": {"type": "mdmServers", "id": "S1"}}),
    "assigned_service": Example(("C02A",), good={"data": _SERVICE}),
    "apple_care": Example(
        ("C02A",), good=_listed(_resource("appleCareCoverage", "W1", description="Limited", isCanceled=False))
    ),
    "activation_lock_status": Example(
        ("C02A",), good={"data": _resource("activationLockStatuses", "C02A", isLocked=False)}
    ),
    "list_services": Example(good=_listed(_SERVICE)),
    "service": Example(("S1",), good={"data": _SERVICE}),
    "create_service": Example(("hq", keypair_of(RSA_KEYS[0]).certificate_pem), good={"data": _SERVICE}),
    "update_service": Example(("S1",), {"server_name": "hq"}, good={"data": _SERVICE}),
    "delete_service": Example(("S1",), {"confirm": True}),
    "list_service_serials": Example(("S1",), good=_listed({"type": "orgDevices", "id": "C02A"})),
    "create_activity": Example(
        (ActivityRequest(activity_type=ActivityType.ASSIGN_DEVICES, service_id="S1"), SERIALS),
        good={"data": _ACTIVITY},
    ),
    "activity": Example(("A1",), good={"data": _ACTIVITY}),
    "list_builtin_devices": Example(good=_listed(_resource("mdmDevices", "D1"))),
    "builtin_device_details": Example(("D1",), good={"data": _resource("mdmDevices", "D1", osVersion="26")}),
}


@attrs.frozen(kw_only=True)
class Endpoint:
    """A call of a client to one of the services.

    Attributes:
        name: With its service, such as ``apple.account``.
        ask: Calls it, given the client and the address of the server.
        method: HTTP method.
        path: From the base URL.
        good: The body of a valid response.
        attacks_session: True if the attacked request is the one for the session before the call.
        needs_body: False if any body but a page is valid, since Apple documents none.
        attacks_page: True if only the page is attacked, and not the requests before it.
        is_log: True for the log of an activity: without one the result is empty, and no error is raised.
    """

    name: str
    ask: Callable[[Any, str], Any]
    method: str
    path: str
    good: bytes = b""
    attacks_session: bool = False
    needs_body: bool = True
    attacks_page: bool = False
    is_log: bool = False

    @property
    def attacked(self) -> str:
        """Return the attacked request, as used in the address."""
        return "session" if self.attacks_session else "page" if self.attacks_page else "call"

    @property
    def service(self) -> str:
        """``apple`` or ``business``."""
        return self.name.partition(".")[0]


def described(module: ModuleType) -> list[str]:
    """Return the names of all functions of *module* that describe an endpoint."""
    return [
        name
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and str(function.__annotations__.get("return")).startswith("Call[")
    ]


def _ask(call: Any, client: Any, base_url: str) -> Any:
    return client.call(call)


def _endpoints(service: str, module: ModuleType, examples: Mapping[str, Example]) -> list[Endpoint]:
    found = []
    for name in described(module):
        example = examples[name]
        call = getattr(module, name)(*example.arguments, **example.options)
        found.append(
            Endpoint(
                name=f"{service}.{name}",
                ask=partial(_ask, call),
                method=call.method,
                path=call.path,
                good=b"" if example.good is None else json.dumps(example.good).encode(),
                needs_body=example.good is not None,
            )
        )
    first = found[0]
    session = attrs.evolve(first, name=f"{service}.session", attacks_session=True, needs_body=True)
    return [*found, session]


def _ask_large_page(client: Any, base_url: str) -> Any:
    """Fetch a page of the largest size that the account allows."""
    if isinstance(client, AsyncClient):
        return _ask_large_page_async(client)
    client.account()
    return client.fetch_devices()


async def _ask_large_page_async(client: AsyncClient) -> Any:
    await client.account()
    return await client.fetch_devices()


def _ask_log(client: Any, base_url: str) -> Any:
    url = f"{base_url}/log"
    return client.activity_log(Activity(id="A1", status=ActivityStatus.COMPLETED, download_url=url))


_ENDPOINTS = [
    *_endpoints("apple", apple_calls, APPLE),
    *_endpoints("business", business_calls, BUSINESS),
    Endpoint(
        name=LARGE_PAGE,
        ask=_ask_large_page,
        method="POST",
        path="/server/devices",
        good=json.dumps(_PAGE).encode(),
        attacks_page=True,
    ),
    Endpoint(name="business.log", ask=_ask_log, method="GET", path="/log", good=_LOG, is_log=True),
]
ENDPOINTS: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in _ENDPOINTS}
GOOD: Mapping[tuple[str, str], bytes] = {
    **{(endpoint.method, endpoint.path): endpoint.good for endpoint in _ENDPOINTS},
    ("PUT", "/profile/devices"): json.dumps(_RESULTS).encode(),
}
SAMPLE = frozenset(
    {
        "apple.session",
        "apple.fetch_devices",
        "apple.assign_profile",
        "business.session",
        "business.list_devices",
        "business.create_activity",
        "business.log",
    }
)
"""The endpoints for one of many similar kinds: a read, a write and a session of each service."""

SESSIONS = frozenset({"apple.session", "business.session"})
PAGES = frozenset({"apple.fetch_devices", "apple.sync_devices", LARGE_PAGE})
LISTS = PAGES | {
    "business.list_devices",
    "business.list_services",
    "business.list_service_serials",
    "business.list_builtin_devices",
}
