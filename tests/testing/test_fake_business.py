"""The fake of the API, with hand-written requests: only its account object comes from pyade.apple."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pyade.business import ApiAccount
from pyade.testing import FakeApple, FakeBusiness, Fault, FrozenClock, PortalError, Server

API = "https://api-business.apple.com"
TOKEN_URL = "https://account.apple.com/auth/oauth2/token"
AUDIENCE = "https://account.apple.com/auth/oauth2/v2/token"
DAY = 86_400


@pytest.fixture
def business(apple: FakeApple, server: Server) -> FakeBusiness:
    return FakeBusiness(apple)


@pytest.fixture
def account(business: FakeBusiness) -> ApiAccount:
    return business.add_account()


@pytest.fixture
def web(business: FakeBusiness) -> Iterator[httpx.Client]:
    with httpx.Client(transport=business.transport(), headers={"Accept": "application/json"}) as client:
        yield client


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def assertion(account: ApiAccount, clock: FrozenClock) -> Callable[..., str]:
    """Return a client assertion written by hand; a keyword replaces a claim, None leaves it out."""

    def make(*, header: dict[str, Any] | None = None, der: bool = False, **changes: Any) -> str:
        now = int(clock().timestamp())
        claims = {
            "iss": account.client_id,
            "sub": account.client_id,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "jti": str(uuid.uuid4()),
            **changes,
        }
        head = {"alg": "ES256", "kid": account.key_id, **(header or {})}
        present = {key: value for key, value in claims.items() if value is not None}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (head, present))
        signature = account.private_key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signature)
        raw = signature if der else r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{signed}.{base64url(raw)}"

    return make


@pytest.fixture
def ask(
    web: httpx.Client, account: ApiAccount, assertion: Callable[..., str]
) -> Callable[..., httpx.Response]:
    def post(given: str | None = None, url: str = TOKEN_URL, **changes: str) -> httpx.Response:
        fields = {
            "grant_type": "client_credentials",
            "client_id": account.client_id,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": given or assertion(),
            "scope": "business.api",
            **changes,
        }
        return web.post(url, data=fields)

    return post


@pytest.fixture
def bearer(ask: Callable[..., httpx.Response]) -> dict[str, str]:
    return {"Authorization": f"Bearer {ask().json()['access_token']}"}


class TestTokenEndpoint:
    def test_valid_request_gets_an_access_token_on_both_paths(
        self, ask: Callable[..., httpx.Response]
    ) -> None:
        for url in (TOKEN_URL, AUDIENCE):
            answer = ask(url=url)
            assert answer.status_code == 200
            assert answer.json()["token_type"] == "Bearer"
            assert (answer.json()["expires_in"], answer.json()["scope"]) == (3600, "business.api")

    def test_parameters_may_be_in_the_query(
        self, web: httpx.Client, account: ApiAccount, assertion: Callable[..., str]
    ) -> None:
        query = {
            "grant_type": "client_credentials",
            "client_id": account.client_id,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion(iss=None),
            "scope": "business.api",
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert web.post(TOKEN_URL, params=query, headers=headers).status_code == 200
        assert web.post(TOKEN_URL, params=query).json() == {"error": "invalid_request"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"der": True},
            {"header": {"alg": "none"}},
            {"header": {"alg": "HS256"}},
            {"header": {"kid": "other"}},
            {"aud": TOKEN_URL},
            {"aud": [AUDIENCE, AUDIENCE]},
            {"aud": []},
            {"header": {"kid": ["x"]}},
            {"sub": "BUSINESSAPI.other"},
            {"iss": "BUSINESSAPI.other"},
            {"jti": None},
            {"exp": 1},
            {"exp": int(1735689600 + 180 * DAY + 1)},
            {"iat": 1735689600 + 600, "exp": 1735689600 + 900},
        ],
    )
    def test_invalid_assertion_is_refused(
        self, ask: Callable[..., httpx.Response], assertion: Callable[..., str], changes: dict[str, Any]
    ) -> None:
        answer = ask(assertion(**changes))
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_client"})

    @pytest.mark.parametrize("given", ["x", "a.b.c", "..", "e30.e30.AA"])
    def test_malformed_assertion_is_refused(self, ask: Callable[..., httpx.Response], given: str) -> None:
        assert ask(given).json() == {"error": "invalid_client"}

    def test_assertion_can_be_limited_to_one_use(
        self, ask: Callable[..., httpx.Response], assertion: Callable[..., str], business: FakeBusiness
    ) -> None:
        used = assertion()
        assert [ask(used).status_code for _ in range(2)] == [200, 200]
        business.settings.single_use_assertions = True
        assert ask(used).json() == {"error": "invalid_client"}
        assert ask().status_code == 200

    def test_other_errors_have_their_own_texts(self, ask: Callable[..., httpx.Response]) -> None:
        assert ask(scope="school.api").json() == {"error": "invalid_scope"}
        assert ask(grant_type="password").json() == {"error": "unsupported_grant_type"}
        assert ask(client_assertion_type="x").json() == {"error": "invalid_request"}

    def test_log_contains_no_assertion(
        self, ask: Callable[..., httpx.Response], business: FakeBusiness
    ) -> None:
        ask()
        assert "eyJ" not in repr(business.requests)


class TestApi:
    def test_access_token_is_required_and_expires(
        self, web: httpx.Client, bearer: dict[str, str], business: FakeBusiness, clock: FrozenClock
    ) -> None:
        url = f"{API}/v1/orgDevices"
        assert web.get(url).status_code == 401
        assert web.get(url, headers={"Authorization": "Bearer x"}).status_code == 401
        assert web.get(url, headers=bearer).status_code == 200
        clock.advance(seconds=3600)
        refused = web.get(url, headers=bearer)
        assert refused.json()["errors"][0]["status"] == "401"

    @pytest.mark.parametrize(
        ("accept", "status"), [("*/*", 200), ("application/vnd.api+json", 406), ("text/html", 406)]
    )
    def test_media_type_is_checked(
        self, web: httpx.Client, bearer: dict[str, str], accept: str, status: int
    ) -> None:
        answer = web.get(f"{API}/v1/orgDevices", headers={**bearer, "Accept": accept})
        assert answer.status_code == status

    def test_address_of_the_next_page_contains_no_limit(
        self, web: httpx.Client, bearer: dict[str, str], apple: FakeApple
    ) -> None:
        apple.add_devices(150)
        first = web.get(f"{API}/v1/orgDevices", params={"limit": "20"}, headers=bearer).json()
        assert first["meta"]["paging"] == {"limit": 20, "total": 150, "nextCursor": "c20"}
        assert first["links"]["next"] == f"{API}/v1/orgDevices?cursor=c20"
        assert len(web.get(first["links"]["next"], headers=bearer).json()["data"]) == 100

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=1001", "limit=x", "cursor=x", "fields%5BorgDevices%5D=deviceCount"]
    )
    def test_a_bad_parameter_is_refused(self, web: httpx.Client, bearer: dict[str, str], query: str) -> None:
        answer = web.get(f"{API}/v1/orgDevices?{query}", headers=bearer)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["source"]["parameter"]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/mdmServers/x/devices", 403),
            ("GET", "/v1/orgDeviceActivities", 403),
            ("POST", "/v1/orgDevices", 403),
            ("GET", "/v1/nothing", 404),
            ("GET", "/auth/oauth2/token", 404),
        ],
    )
    def test_paths_that_apple_does_not_offer_are_refused(
        self, web: httpx.Client, bearer: dict[str, str], method: str, path: str, status: int
    ) -> None:
        assert web.request(method, API + path, headers=bearer).status_code == status

    def test_activity_passes_its_states_and_its_log_needs_no_access_token(
        self,
        web: httpx.Client,
        bearer: dict[str, str],
        apple: FakeApple,
        server: Server,
        clock: FrozenClock,
    ) -> None:
        (serial,) = apple.add_devices(1)
        data = {
            "type": "orgDeviceActivities",
            "attributes": {"activityType": "ASSIGN_DEVICES"},
            "relationships": {
                "devices": {"data": [{"type": "orgDevices", "id": serial}]},
                "mdmServer": {"data": {"type": "mdmServers", "id": server.server_uuid}},
            },
        }
        url = f"{API}/v1/orgDeviceActivities"
        started = web.post(url, json={"data": data}, headers=bearer)
        assert started.status_code == 201
        identity, seen = started.json()["data"]["id"], [started.json()["data"]["attributes"]["subStatus"]]
        for _ in range(3):
            clock.advance(4)
            shown = web.get(f"{url}/{identity}", headers=bearer).json()["data"]["attributes"]
            seen.append(shown["subStatus"])
        assert seen == ["SUBMITTED", "PROCESSING", "POST_PROCESSING", "COMPLETED_WITH_SUCCESS"]
        log = shown["downloadUrl"]
        assert httpx.URL(log).host != httpx.URL(API).host
        assert web.get(log, headers=bearer).status_code == 400
        text = web.get(log).text
        assert text.startswith(f"OPERATION,ASSIGN_DEVICES\r\nACTIVITY_ID,{identity}\r\n")
        assert f"{serial},,hq,SUCCESS,," in text
        clock.advance(minutes=6)
        assert web.get(log).status_code == 403

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"attributes": {"activityType": "EXPLODE"}}, 409),
            (
                {
                    "attributes": {"activityType": "ASSIGN_DEVICES"},
                    "relationships": {"devices": {"data": []}},
                },
                409,
            ),
            ({"attributes": {"activityType": "UPDATE_MDM_MIGRATION_DEADLINE"}}, 409),
            ({"id": "mine"}, 400),
            ({"relationships": {}}, 400),
        ],
    )
    def test_a_bad_activity_is_refused(
        self,
        web: httpx.Client,
        bearer: dict[str, str],
        apple: FakeApple,
        change: dict[str, Any],
        status: int,
    ) -> None:
        (serial,) = apple.add_devices(1)
        data = {
            "type": "orgDeviceActivities",
            "attributes": {"activityType": "CANCEL_MDM_MIGRATION"},
            "relationships": {"devices": {"data": [{"type": "orgDevices", "id": serial}]}},
            **change,
        }
        answer = web.post(f"{API}/v1/orgDeviceActivities", json={"data": data}, headers=bearer)
        assert answer.status_code == status

    def test_portal_assignments_are_visible_immediately(
        self,
        web: httpx.Client,
        bearer: dict[str, str],
        business: FakeBusiness,
        apple: FakeApple,
        server: Server,
    ) -> None:
        (serial,) = apple.add_devices(1)
        url = f"{API}/v1/orgDevices/{serial}/relationships/assignedServer"
        assert web.get(url, headers=bearer).json()["data"] == {"type": "mdmServers", "id": ""}
        business.settings.unassigned_answer = "null"
        assert web.get(url, headers=bearer).json()["data"] is None
        apple.assign(server, [serial])
        assert web.get(url, headers=bearer).json()["data"]["id"] == server.server_uuid

    @pytest.mark.parametrize(
        ("attributes", "pointer"),
        [
            ({"serverName": "lab"}, "/data/attributes/serverCertificate"),
            ({"serverCertificate": {"name": "c", "data": "AA=="}}, "/data/attributes/serverName"),
            (
                {"serverName": "hq", "serverCertificate": {"name": "c", "data": "AA=="}},
                "/data/attributes/serverName",
            ),
        ],
    )
    def test_a_bad_service_is_refused(
        self,
        web: httpx.Client,
        bearer: dict[str, str],
        server: Server,
        attributes: dict[str, Any],
        pointer: str,
    ) -> None:
        body = {"data": {"type": "mdmServers", "attributes": attributes}}
        answer = web.post(f"{API}/v1/mdmServers", json=body, headers=bearer)
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["source"] == {"pointer": pointer}
        assert web.post(f"{API}/v1/mdmServers", json={}, headers=bearer).status_code == 400

    def test_unknown_family_is_refused(
        self, web: httpx.Client, bearer: dict[str, str], server: Server
    ) -> None:
        body = {"data": {"type": "mdmServers", "attributes": {"defaultProductFamilies": ["TOASTER"]}}}
        url = f"{API}/v1/mdmServers/{server.server_uuid}"
        assert web.patch(url, json=body, headers=bearer).status_code == 409

    def test_scripts_and_limits_work_as_in_the_other_fake(
        self, web: httpx.Client, bearer: dict[str, str], business: FakeBusiness
    ) -> None:
        business.script("GET /v1/orgDevices", Fault.rate_limited(9))
        answer = web.get(f"{API}/v1/orgDevices", headers=bearer)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "9")
        assert answer.json()["errors"][0]["code"] == "TOO_MANY_REQUESTS"
        with pytest.raises(PortalError, match="a method and a path"):
            business.script("orgDevices")


def test_the_same_seed_gives_the_same_account(clock: FrozenClock) -> None:
    one, other = (FakeBusiness(FakeApple(clock=clock, seed=3)).add_account() for _ in range(2))
    assert one == other
    assert one.private_key.private_numbers() == other.private_key.private_numbers()


def test_released_device_is_unknown_to_the_portal(apple: FakeApple, server: Server) -> None:
    taken, free = *apple.add_devices(1, server=server), *apple.add_devices(1)
    apple.release([taken, free])
    assert not apple.devices
    assert [operation.op_type for operation in server.operations] == ["added", "deleted"]
    with pytest.raises(PortalError, match="no device"):
        apple.release([taken])
