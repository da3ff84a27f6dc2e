"""The fake of the API for a released client: over real HTTP, with hand-written requests."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pyade.business import ApiAccount
from pyade.testing import FakeApple, FakeBusiness, Fault, FrozenClock, LoopbackServer, Server

AUDIENCE = "https://account.apple.com/auth/oauth2/v2/token"
MONTHS = 180 * 86_400
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
Get = Callable[..., Any]


@pytest.fixture
def business(apple: FakeApple, server: Server) -> FakeBusiness:
    return FakeBusiness(apple)


@pytest.fixture
def served(business: FakeBusiness) -> Iterator[LoopbackServer]:
    with business.serve() as running:
        yield running


@pytest.fixture
def web(served: LoopbackServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.base_url, headers={"Accept": "application/json"}) as client:
        yield client


def form(account: ApiAccount, now: datetime, scope: str) -> dict[str, str]:
    """Return the access request of a client that keeps its assertion for months, with a list as audience."""
    issued = int(now.timestamp())
    head = {"alg": "ES256", "kid": account.key_id, "typ": "JWT"}
    claims = {
        "iss": account.client_id,
        "sub": account.client_id,
        "aud": [AUDIENCE],
        "iat": issued,
        "exp": issued + MONTHS,
        "jti": "one for months",
    }
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims)]
    r, s = decode_dss_signature(account.private_key.sign(b".".join(parts), ec.ECDSA(hashes.SHA256())))
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": b".".join([*parts, base64.urlsafe_b64encode(raw).rstrip(b"=")]).decode(),
        "scope": scope,
    }


@pytest.fixture
def ask_access(web: httpx.Client, business: FakeBusiness, clock: FrozenClock) -> Callable[[], httpx.Response]:
    fields = form(business.add_account(), clock(), "business.api")
    return lambda: web.post("/auth/oauth2/v2/token", data=fields)


@pytest.fixture
def get(web: httpx.Client, ask_access: Callable[[], httpx.Response]) -> Get:
    """Return the JSON of a successful response."""
    web.headers["Authorization"] = f"Bearer {ask_access().json()['access_token']}"

    def ask(address: str, **query: str) -> Any:
        answer = web.get(address, params=query or None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


@pytest.fixture
def start(web: httpx.Client, get: Get) -> Callable[..., httpx.Response]:
    """Return a function that asks for an activity."""

    def post(
        kind: str, serials: list[str], server: Server | None = None, **attributes: Any
    ) -> httpx.Response:
        related: dict[str, Any] = {"devices": {"data": [{"type": "orgDevices", "id": s} for s in serials]}}
        if server is not None:
            related["mdmServer"] = {"data": {"type": "mdmServers", "id": server.server_uuid}}
        data = {
            "type": "orgDeviceActivities",
            "attributes": {"activityType": kind, **attributes},
            "relationships": related,
        }
        return web.post("/v1/orgDeviceActivities", json={"data": data})

    return post


@pytest.fixture
def fleet(
    apple: FakeApple,
    business: FakeBusiness,
    server: Server,
    start: Callable[..., httpx.Response],
    clock: FrozenClock,
) -> dict[str, str]:
    """Return the ids of one resource of each kind."""
    assigned, waiting = apple.add_devices(2, imei=["1"], eid="2", ethernet_mac_address="AA:BB:CC:DD:EE:FF")
    clock.advance(1.5)
    activity = start("ASSIGN_DEVICES", [assigned], server).json()["data"]["id"]
    clock.advance(60)
    business.add_builtin_device("builtin", deviceName="Mac of Ada")
    return {"device": assigned, "waiting": waiting, "server": server.server_uuid, "activity": activity}


PATHS = [
    "/v1/orgDevices",
    "/v1/orgDevices?limit=1",
    "/v1/orgDevices/{device}",
    "/v1/orgDevices/{device}?fields%5BorgDevices%5D=serialNumber%2Cstatus",
    "/v1/orgDevices/{device}/relationships/assignedServer",
    "/v1/orgDevices/{waiting}/relationships/assignedServer",
    "/v1/orgDevices/{device}/assignedServer",
    "/v1/orgDevices/{device}/appleCareCoverage",
    "/v1/orgDevices/{device}/activationLockStatus",
    "/v1/mdmServers",
    "/v1/mdmServers/{server}",
    "/v1/mdmServers/{server}/relationships/devices",
    "/v1/mdmServers/00000000000000000000000000000001",
    "/v1/orgDeviceActivities/{activity}",
    "/v1/mdmDevices",
    "/v1/mdmDevices/builtin/details",
]


def resources(document: Any) -> list[dict[str, Any]]:
    data = document["data"]
    return [one for one in (data if isinstance(data, list) else [data]) if one and "attributes" in one]


def moments(value: Any) -> Iterator[str]:
    """Return every time in a document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name.endswith("DateTime") and inner is not None:
                yield inner
            yield from moments(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from moments(inner)


class TestAssertions:
    def test_assertion_of_exactly_180_days_is_valid_repeatedly_until_its_last_second(
        self, ask_access: Callable[[], httpx.Response], clock: FrozenClock
    ) -> None:
        for days in (0, 30, 149):
            clock.advance(days=days)
            assert ask_access().status_code == 200
        clock.advance(86_400 - 1)
        assert ask_access().status_code == 200
        clock.advance(1)
        assert ask_access().json() == {"error": "invalid_client"}

    def test_the_scheme_of_the_access_token_may_be_written_in_any_case(
        self, web: httpx.Client, ask_access: Callable[[], httpx.Response]
    ) -> None:
        access = ask_access().json()["access_token"]
        for scheme in ("Bearer", "bearer"):
            answer = web.get("/v1/orgDevices", headers={"Authorization": f"{scheme} {access}"})
            assert answer.status_code == 200


class TestLinks:
    @pytest.mark.parametrize("path", PATHS)
    def test_each_document_and_each_resource_contains_its_address(
        self, get: Get, served: LoopbackServer, fleet: dict[str, str], path: str
    ) -> None:
        path = path.format(**fleet)
        document = get(path)
        assert document["links"]["self"] == served.base_url + path
        for one in resources(document):
            assert one["links"]["self"].startswith(served.base_url + "/v1/")

    @pytest.mark.parametrize(
        "path", ["/v1/orgDevices", "/v1/mdmServers", "/v1/orgDeviceActivities/{activity}"]
    )
    def test_links_of_a_resource_lead_to_the_resource_and_its_relations(
        self, get: Get, fleet: dict[str, str], path: str
    ) -> None:
        for one in resources(get(path.format(**fleet))):
            assert get(one["links"]["self"])["data"]["id"] == one["id"]
            for related in one.get("relationships", {}).values():
                for link in related["links"].values():
                    assert urlsplit(get(link)["links"]["self"]).path == urlsplit(link).path

    def test_devices_and_services_have_their_relationships(self, get: Get, fleet: dict[str, str]) -> None:
        device = get(f"/v1/orgDevices/{fleet['device']}")["data"]["relationships"]
        assert device["assignedServer"]["links"].keys() == {"self", "related"}
        assert device["appleCareCoverage"]["links"].keys() == {"related"}
        service = get(f"/v1/mdmServers/{fleet['server']}")["data"]["relationships"]
        assert service["devices"]["links"].keys() == {"self"}

    def test_linkage_contains_the_address_of_the_service(self, get: Get, fleet: dict[str, str]) -> None:
        linkage = get(f"/v1/orgDevices/{fleet['device']}/relationships/assignedServer")
        assert linkage["data"] == {"type": "mdmServers", "id": fleet["server"]}
        assert get(linkage["links"]["related"])["data"]["id"] == fleet["server"]

    @pytest.mark.parametrize("path", ["/v1/orgDevices", "/v1/mdmServers/{server}/relationships/devices"])
    def test_pages_can_be_followed_by_their_addresses_alone(
        self,
        get: Get,
        apple: FakeApple,
        business: FakeBusiness,
        server: Server,
        fleet: dict[str, str],
        path: str,
    ) -> None:
        apple.add_devices(9, server=server)
        business.settings.page_default = 4
        address, seen = path.format(**fleet), list[str]()
        while address:
            page = get(address)
            seen.extend(one["id"] for one in page["data"])
            following = page["links"].get("next", "")
            assert ("nextCursor" in page["meta"]["paging"]) == bool(following)
            assert not following or parse_qs(urlsplit(following).query).keys() == {"cursor"}
            address = following
        assert len(seen) == len(set(seen)) == (11 if path == "/v1/orgDevices" else 10)

    def test_created_activity_contains_its_address(
        self, apple: FakeApple, server: Server, start: Callable[..., httpx.Response], get: Get
    ) -> None:
        made = start("ASSIGN_DEVICES", list(apple.add_devices(1)), server)
        assert made.status_code == 201
        assert made.json()["links"]["self"] == str(made.request.url)
        assert get(made.json()["data"]["links"]["self"])["data"] == made.json()["data"]


class TestAttributes:
    @pytest.mark.parametrize("path", PATHS)
    def test_times_have_milliseconds(self, get: Get, fleet: dict[str, str], path: str) -> None:
        found = list(moments(get(path.format(**fleet))))
        assert [one for one in found if not TIME.fullmatch(one)] == []
        assert found or "fields" in path or "relationships" in path or "Lock" in path or "mdmDevices" in path

    def test_services_contain_their_creation_and_change_times(
        self, web: httpx.Client, get: Get, fleet: dict[str, str], clock: FrozenClock
    ) -> None:
        before = get(f"/v1/mdmServers/{fleet['server']}")["data"]["attributes"]
        clock.advance(0.25)
        change = {"type": "mdmServers", "id": fleet["server"], "attributes": {"serverName": "branch"}}
        after = web.patch(f"/v1/mdmServers/{fleet['server']}", json={"data": change}).json()
        after = after["data"]["attributes"]
        assert after["createdDateTime"] == before["createdDateTime"] == before["updatedDateTime"]
        assert datetime.fromisoformat(after["updatedDateTime"]) == clock()

    def test_a_device_is_described_as_apple_documents_it(self, get: Get, fleet: dict[str, str]) -> None:
        device = get(f"/v1/orgDevices/{fleet['device']}")["data"]["attributes"]
        assert (device["productType"], device["deviceCapacity"]) == ("Mac16,1", "512GB")
        assert (device["imei"], device["eid"]) == (["1"], "2")
        assert device["ethernetMacAddress"] == ["AA:BB:CC:DD:EE:FF"]

    def test_each_change_of_a_device_updates_its_time(
        self, get: Get, apple: FakeApple, server: Server, clock: FrozenClock
    ) -> None:
        (serial,) = apple.add_devices(1)

        def changed() -> tuple[str, str]:
            shown = get(f"/v1/orgDevices/{serial}")["data"]["attributes"]
            return shown["addedToOrgDateTime"], shown["updatedDateTime"]

        seen = [changed()]
        for change in (
            lambda: apple.assign(server, [serial]),
            lambda: apple.edit_device(serial, asset_tag="A-1"),
            lambda: apple.unassign([serial]),
            lambda: apple.edit_device(serial, asset_tag="A-2"),
        ):
            clock.advance(1)
            change()
            seen.append(changed())
        assert len({added for added, _ in seen}) == 1
        assert len({updated for _, updated in seen}) == 5

    def test_a_migration_shows_its_deadline(
        self,
        get: Get,
        apple: FakeApple,
        server: Server,
        start: Callable[..., httpx.Response],
        clock: FrozenClock,
    ) -> None:
        (serial,) = apple.add_devices(1)
        deadline = clock() + timedelta(days=90)
        metadata = {"mdmMigrationDeadlineDateTime": deadline.isoformat().replace("+00:00", "Z")}
        kind = "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE"
        assert start(kind, [serial], server, activityTypeMetadata=metadata).status_code == 201
        shown = get(f"/v1/orgDevices/{serial}")["data"]["attributes"]
        assert datetime.fromisoformat(shown["mdmMigrationDeadlineDateTime"]) == deadline
        assert TIME.fullmatch(shown["mdmMigrationDeadlineDateTime"])

    @pytest.mark.parametrize("allowed", [True, False])
    def test_flag_of_a_service_decides_whether_it_may_disown(
        self, web: httpx.Client, get: Get, server: Server, allowed: bool
    ) -> None:
        attributes = {"enableMdmDisownFlag": allowed}
        data = {"type": "mdmServers", "id": server.server_uuid, "attributes": attributes}
        answer = web.patch(f"/v1/mdmServers/{server.server_uuid}", json={"data": data})
        assert answer.json()["data"]["attributes"]["enableMdmDisownFlag"] is allowed
        assert server.may_disown is allowed

    def test_deleted_service_is_not_found(self, web: httpx.Client, get: Get, apple: FakeApple) -> None:
        spare = apple.add_server("spare")
        answer = web.delete(f"/v1/mdmServers/{spare.server_uuid}")
        assert (answer.status_code, answer.content, "content-length" in answer.headers) == (204, b"", False)


class TestFields:
    DEVICES = (
        "serialNumber,addedToOrgDateTime,releasedFromOrgDateTime,updatedDateTime,deviceModel,productFamily,"
        "productType,deviceCapacity,partNumber,orderNumber,color,status,orderDateTime,imei,meid,eid,"
        "purchaseSourceId,purchaseSourceType,wifiMacAddress,bluetoothMacAddress,ethernetMacAddress,"
        "assignedServer,appleCareCoverage"
    )
    SERVICES = (
        "serverName,enableMdmDisownFlag,defaultProductFamilies,status,serverType,deviceCount,"
        "lastConnectedDateTime,lastConnectedIp,createdDateTime,updatedDateTime,devices"
    )
    COVERAGE = (
        "status,paymentType,description,startDateTime,endDateTime,isRenewable,isCanceled,"
        "contractCancelDateTime,agreementNumber"
    )
    ACTIVITY = "status,subStatus,createdDateTime,completedDateTime,downloadUrl"

    @pytest.mark.parametrize(
        ("path", "kind", "names"),
        [
            ("/v1/orgDevices", "orgDevices", DEVICES),
            ("/v1/orgDevices/{device}", "orgDevices", DEVICES),
            ("/v1/orgDevices/{device}/assignedServer", "mdmServers", SERVICES),
            ("/v1/orgDevices/{device}/appleCareCoverage", "appleCareCoverage", COVERAGE),
            ("/v1/mdmServers", "mdmServers", SERVICES),
            ("/v1/mdmServers/{server}", "mdmServers", SERVICES),
            ("/v1/orgDeviceActivities/{activity}", "orgDeviceActivities", ACTIVITY),
        ],
    )
    def test_only_documented_names_are_accepted(
        self, web: httpx.Client, get: Get, fleet: dict[str, str], path: str, kind: str, names: str
    ) -> None:
        path = path.format(**fleet)
        get(path, **{f"fields[{kind}]": names})
        for name in names.split(","):
            for one in resources(get(path, **{f"fields[{kind}]": name})):
                shown = one["attributes"].keys() | one.get("relationships", {}).keys()
                assert shown <= {name}
        refused = web.get(path, params={f"fields[{kind}]": f"{names},warp"})
        assert refused.status_code == 400
        (error,) = refused.json()["errors"]
        assert (error["code"], error["source"]) == (
            "PARAMETER_ERROR.INVALID",
            {"parameter": f"fields[{kind}]"},
        )

    @pytest.mark.parametrize(
        ("path", "kind"),
        [("/v1/mdmDevices", "mdmDevices"), ("/v1/mdmDevices/builtin/details", "mdmDeviceDetails")],
    )
    def test_devices_in_built_in_management_show_the_requested_fields(
        self, get: Get, fleet: dict[str, str], path: str, kind: str
    ) -> None:
        for name, count in (("deviceName", 1), ("other", 0)):
            (one,) = resources(get(path, **{f"fields[{kind}]": name}))
            assert len(one["attributes"]) == count


class TestLog:
    def test_file_name_is_quoted_in_the_address_and_in_the_response(
        self, get: Get, web: httpx.Client, fleet: dict[str, str]
    ) -> None:
        attributes = get(f"/v1/orgDeviceActivities/{fleet['activity']}")["data"]["attributes"]
        address = attributes["downloadUrl"]
        assert f"filename%3D%22{fleet['activity']}.csv%22" in address
        assert web.get(address).status_code == 400, "an access token came along"
        log = httpx.get(address)
        (disposition,) = parse_qs(urlsplit(address).query)["response-content-disposition"]
        assert log.headers["Content-Disposition"] == disposition
        found = re.search(r'filename="([^"]+)"', disposition)
        assert found is not None
        assert found[1] == f"{fleet['activity']}.csv"
        rows = list(csv.reader(log.text.splitlines()))
        assert [row[0] for row in rows if len(row) == 2] == [
            "OPERATION",
            "ACTIVITY_ID",
            "STARTED AT",
            "ENDED AT",
            "STATUS",
            "SUB_STATUS",
        ]
        assert rows[4:6] == [["STATUS", "COMPLETED"], ["SUB_STATUS", "COMPLETED_WITH_SUCCESS"]]
        table = rows[rows.index([]) + 1 :]
        assert [cell.strip() for cell in table[0]][3] == "operation_status"
        assert (table[1][0], table[1][3]) == (fleet["device"], "SUCCESS")


class TestHttp:
    @pytest.mark.parametrize(
        ("accept", "status"),
        [
            ("application/json", 200),
            ("application/json;charset=utf-8", 200),
            ("application/json, text/plain, */*", 200),
            ("*/*", 200),
            ("application/vnd.api+json", 406),
            ("text/html, application/xml", 406),
        ],
    )
    def test_client_that_accepts_json_gets_json(
        self, web: httpx.Client, get: Get, accept: str, status: int
    ) -> None:
        answer = web.get("/v1/mdmServers", headers={"Accept": accept})
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json"

    def test_responses_contain_the_headers_for_a_support_case(self, web: httpx.Client, get: Get) -> None:
        for path in ("/v1/mdmServers", "/v1/orgDevices/unknown"):
            answer = web.get(path)
            assert re.fullmatch(
                r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.headers["X-Apple-Request-Uuid"]
            )
            assert re.fullmatch(r"[A-Z2-7]{26}", answer.headers["X-Apple-Jingle-Correlation-Key"])
        assert answer.status_code == 404
        (error,) = answer.json()["errors"]
        assert error["id"] == answer.headers["X-Apple-Request-Uuid"]
        assert (error["status"], error["code"]) == ("404", "NOT_FOUND")
        assert {type(error[name]) for name in ("title", "detail")} == {str}

    @pytest.mark.parametrize(
        ("path", "name"),
        [("/v1/mdmServers/{server}/devices", "GET_RELATED"), ("/v1/orgDeviceActivities", "POST")],
    )
    def test_unsupported_path_is_forbidden_and_named(
        self, web: httpx.Client, get: Get, fleet: dict[str, str], path: str, name: str
    ) -> None:
        answer = web.get(path.format(**fleet))
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"]) == (403, "FORBIDDEN_ERROR")
        assert name in error["detail"]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[" * 100_000,
            b'{"data": ' * 50_000,
            b'{"data": "\xff"}',
        ],
    )
    def test_unreadable_body_is_refused(self, web: httpx.Client, get: Get, body: bytes) -> None:
        for method, path in (("POST", "/v1/orgDeviceActivities"), ("POST", "/v1/mdmServers")):
            answer = web.request(method, path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["code"] == "PARAMETER_ERROR.INVALID"

    def test_a_deadline_without_a_time_zone_is_refused(
        self, apple: FakeApple, start: Callable[..., httpx.Response]
    ) -> None:
        metadata = {"mdmMigrationDeadlineDateTime": "2025-01-02T00:00:00"}
        serials = list(apple.add_devices(1))
        answer = start("UPDATE_MDM_MIGRATION_DEADLINE", serials, activityTypeMetadata=metadata)
        assert answer.status_code == 400

    def test_exceeded_limit_returns_a_retry_time(
        self, web: httpx.Client, get: Get, business: FakeBusiness
    ) -> None:
        business.script("*", Fault.rate_limited(7), Fault.rate_limited())
        first, second = web.get("/v1/orgDevices"), web.get("/v1/orgDevices")
        assert (first.status_code, first.headers["Retry-After"]) == (429, "7")
        assert (second.status_code, "Retry-After" in second.headers) == (429, False)
        assert second.json()["errors"][0]["status"] == "429"


def test_school_cannot_read_a_single_service(clock: FrozenClock) -> None:
    apple = FakeApple(clock=clock)
    server = apple.add_server("hq", organization=apple.add_organization("School", org_type="edu"))
    business = FakeBusiness(apple)
    with business.serve() as served, httpx.Client(base_url=served.base_url) as http:
        fields = form(business.add_account(), clock(), "school.api")
        access = http.post("/auth/oauth2/token", data=fields).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {access}"
        assert len(http.get("/v1/mdmServers").json()["data"]) == 2
        answer = http.get(f"/v1/mdmServers/{server.server_uuid}")
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"]) == (403, "FORBIDDEN_ERROR")
        assert "GET_COLLECTION" in error["detail"]
