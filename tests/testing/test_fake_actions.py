"""Disown, activation lock, beta tokens and the account-driven enrollment profile of the fake."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import pytest

from pyade.testing import FakeApple, FrozenClock, PortalError, Server

Send: TypeAlias = Callable[..., httpx.Response]

DISCOVERY = "/account-driven-enrollment/profile"
LOCK = "/device/activationlock"
SEEDS = "/os-beta-enrollment/tokens"
CODE = "3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA4"
ESCROW_KEY = "6ab40d5eabe7218ec04182f461005600c7e3426bddd82cdb405bde9a1e0014b5"


class TestDisown:
    def test_disowned_device_leaves_the_organization_permanently(
        self, apple: FakeApple, server: Server, call: Send
    ) -> None:
        gone, stays = apple.add_devices(2, server=server)
        cursor = call("POST", "/server/devices", {}).json()["cursor"]
        answer = call("POST", "/devices/disown", {"devices": [gone, gone, "UNKNOWN"]})
        assert answer.json() == {"devices": {gone: "SUCCESS", "UNKNOWN": "NOT_ACCESSIBLE"}}
        details = call("POST", "/devices", {"devices": [gone, stays]}).json()["devices"]
        assert details[gone] == {"response_status": "NOT_ACCESSIBLE"}
        assert details[stays]["response_status"] == "SUCCESS"
        (news,) = call("POST", "/devices/sync", {"cursor": cursor}).json()["devices"]
        assert (news["serial_number"], news["op_type"]) == (gone, "deleted")
        uuid = call("POST", "/profile", {"profile_name": "x", "url": "https://x.example"}).json()
        body = {"profile_uuid": uuid["profile_uuid"], "devices": [gone]}
        assert call("POST", "/profile/devices", body).json()["devices"] == {gone: "NOT_ACCESSIBLE"}
        again = call("POST", "/devices/disown", {"devices": [gone]}).json()["devices"]
        assert again == {gone: "NOT_ACCESSIBLE"}
        with pytest.raises(PortalError, match="no device"):
            apple.assign(server, [gone])
        with pytest.raises(PortalError, match="cannot be undone"):
            apple.add_devices(serials=[gone], server=server)

    def test_device_of_another_server_is_unchanged(
        self, apple: FakeApple, server: Server, call: Send
    ) -> None:
        (theirs,) = apple.add_devices(1, server=apple.add_server("branch"))
        answer = call("POST", "/devices/disown", {"devices": [theirs]}, server=server)
        assert answer.json()["devices"] == {theirs: "NOT_ACCESSIBLE"}
        assert theirs in apple.devices

    def test_throttling_does_not_apply_to_disown(self, apple: FakeApple, server: Server, call: Send) -> None:
        (serial,) = apple.add_devices(1, server=server)
        apple.settings.throttle_changes = 0
        assert call("POST", "/devices/disown", {"devices": [serial]}).json()["devices"] == {serial: "SUCCESS"}

    @pytest.mark.parametrize("body", [{}, {"devices": []}])
    def test_disown_without_devices_is_refused(
        self, server: Server, call: Send, body: dict[str, Any]
    ) -> None:
        answer = call("POST", "/devices/disown", body)
        assert (answer.status_code, answer.text) == (400, "DEVICE_ID_REQUIRED")

    def test_a_server_may_be_forbidden_to_disown(self, apple: FakeApple, server: Server, call: Send) -> None:
        (serial,) = apple.add_devices(1, server=server)
        server.may_disown = False
        answer = call("POST", "/devices/disown", {"devices": [serial, "UNKNOWN"]}).json()
        assert answer["devices"] == {serial: "FAILED", "UNKNOWN": "NOT_ACCESSIBLE"}
        apple.settings.disown_refusal = "ACCESS_DENIED"
        refused = call("POST", "/devices/disown", {"devices": [serial]})
        assert (refused.status_code, refused.text) == (403, "ACCESS_DENIED")
        assert serial in apple.devices

    def test_result_of_a_device_can_be_set(self, apple: FakeApple, server: Server, call: Send) -> None:
        silent, odd = apple.add_devices(2, server=server)
        apple.faults.device_result([silent], None)
        apple.faults.device_result([odd], "NEW_RESULT")
        answer = call("POST", "/devices/disown", {"devices": [silent, odd]})
        assert answer.json() == {"devices": {odd: "NEW_RESULT"}}
        assert {silent, odd} <= apple.devices.keys()


class TestLock:
    def test_only_the_code_of_the_hash_unlocks(self, apple: FakeApple, server: Server, call: Send) -> None:
        (serial,) = apple.add_devices(1, server=server)
        body = {"device": serial, "escrow_key": ESCROW_KEY.upper(), "lost_message": "Call 555"}
        answer = call("POST", LOCK, body)
        assert answer.json() == {"serial_number": serial, "response_status": "SUCCESS"}
        assert call("POST", LOCK, body).json()["response_status"] == "DEVICE_ALREADY_LOCKED"
        for wrong in ("", ESCROW_KEY, CODE[:-1], CODE[:-1] + "8", "00000-00000-0000-0000-0000-0000"):
            assert not apple.unlock(serial, wrong)
        assert apple.unlock(serial, CODE.replace("-", ""))
        with pytest.raises(PortalError, match="not locked"):
            apple.unlock(serial, CODE)
        assert call("POST", LOCK, {"device": serial}).json()["response_status"] == "SUCCESS"
        assert not apple.unlock(serial, CODE), "bound to a person"

    def test_hash_of_any_code_is_the_hash_of_its_raw_bytes(
        self, apple: FakeApple, server: Server, call: Send
    ) -> None:
        """An independent encoder: the bits as text, five at a time."""
        symbols = "0123456789ACDEFGHJKLMNPQRTUVWXYZ"
        for serial in apple.add_devices(5, server=server):
            raw = random.Random(serial).randbytes(16)
            bits = "".join(f"{byte:08b}" for byte in raw)
            code = "".join(symbols[int(bits[at : at + 5], 2)] for at in range(0, 128, 5))
            escrow_key = hashlib.pbkdf2_hmac("sha256", raw, b"\0" * 4, 50_000).hex()
            call("POST", LOCK, {"device": serial, "escrow_key": escrow_key})
            assert apple.unlock(serial, code)

    def test_failed_lock_returns_its_reason(self, apple: FakeApple, server: Server, call: Send) -> None:
        (television,) = apple.add_devices(1, server=server, family="AppleTV")
        (mac,) = apple.add_devices(1, server=server)

        def status(serial: str) -> str:
            result: str = call("POST", LOCK, {"device": serial}).json()["response_status"]
            return result

        assert status(television) == "DEVICE_NOT_SUPPORTED"
        assert status("UNKNOWN") == "NOT_ACCESSIBLE"
        apple.faults.device_result([mac], "FAILED")
        assert status(mac) == "FAILED"
        server.organization.allows_activation_lock = False
        assert status(mac) == "ORG_NOT_SUPPORTED"

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "DEVICE_ID_REQUIRED"),
            ({"device": ""}, "DEVICE_ID_REQUIRED"),
            ({"device": 1}, "MALFORMED_REQUEST_BODY"),
            ({"device": "A", "escrow_key": CODE}, "MALFORMED_REQUEST_BODY"),
            ({"device": "A", "escrow_key": ESCROW_KEY + "0"}, "MALFORMED_REQUEST_BODY"),
            ({"device": "A", "lost_message": ["x"]}, "MALFORMED_REQUEST_BODY"),
        ],
    )
    def test_a_malformed_request_is_refused(
        self, server: Server, call: Send, body: dict[str, Any], code: str
    ) -> None:
        answer = call("POST", LOCK, body)
        assert (answer.status_code, answer.text) == (400, code)

    def test_empty_texts_count_as_missing_as_a_released_client_sends_them(
        self, apple: FakeApple, server: Server, call: Send
    ) -> None:
        (serial,) = apple.add_devices(1, server=server)
        body = {"device": serial, "escrow_key": "", "lost_message": ""}
        assert call("POST", LOCK, body).json()["response_status"] == "SUCCESS"
        lock = apple.devices[serial].activation_lock
        assert lock is not None
        assert (lock.escrow_key, lock.person) == (None, server.admin_id)

    def test_hash_is_not_shown(self, apple: FakeApple, server: Server, call: Send) -> None:
        (serial,) = apple.add_devices(1, server=server)
        call("POST", LOCK, {"device": serial, "escrow_key": ESCROW_KEY})
        assert ESCROW_KEY not in repr((apple.devices[serial], apple.requests))


class TestBetaTokens:
    @pytest.mark.parametrize("key", ["betaEnrollmentTokens", "seedBuildTokens"])
    def test_the_tokens_of_an_organization_stay_the_same(
        self, apple: FakeApple, server: Server, call: Send, key: Any
    ) -> None:
        apple.settings.beta_tokens_key = key
        first = call("GET", SEEDS).json()
        assert first == call("GET", SEEDS).json()
        assert list(first) == [key]
        assert all(entry.keys() == {"os", "title", "token"} for entry in first[key])
        other = apple.add_server("branch", organization=apple.add_organization("Fabrikam"))
        assert call("GET", SEEDS, server=other).json() != first

    def test_beta_access_may_be_turned_off(self, server: Server, call: Send) -> None:
        server.organization.allows_beta_access = False
        answer = call("GET", SEEDS)
        assert (answer.status_code, answer.text) == (403, "APPLE_SEED_FOR_IT_TURNED_OFF")


class TestAccountDrivenEnrollment:
    def test_profile_is_set_read_and_removed(self, server: Server, call: Send, clock: FrozenClock) -> None:
        url = "https://mdm.example.com/discovery"
        assert (call("GET", DISCOVERY).status_code, call("GET", DISCOVERY).text) == (404, "NOT_FOUND")
        stored = call("POST", DISCOVERY, {"mdm_service_discovery_url": url})
        assert (stored.status_code, stored.content) == (200, b"")
        assert call("GET", DISCOVERY).json() == {
            "mdm_service_discovery_url": url,
            "last_updated_timestamp": f"{clock():%Y-%m-%dT%H:%M:%SZ}",
        }
        removed = call("DELETE", DISCOVERY)
        assert (removed.status_code, removed.content) == (200, b"")
        assert call("GET", DISCOVERY).status_code == 404
        assert call("DELETE", DISCOVERY).status_code == 200

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "MDM_SERVICE_DISCOVERY_URL_REQUIRED"),
            ({"mdm_service_discovery_url": None}, "MDM_SERVICE_DISCOVERY_URL_REQUIRED"),
            ({"mdm_service_discovery_url": "http://x.example"}, "MDM_SERVICE_DISCOVERY_URL_NOT_VALID"),
            ({"mdm_service_discovery_url": "https://"}, "MDM_SERVICE_DISCOVERY_URL_NOT_VALID"),
            ({"mdm_service_discovery_url": "https://[x"}, "MDM_SERVICE_DISCOVERY_URL_NOT_VALID"),
            ({"mdm_service_discovery_url": 1}, "MALFORMED_REQUEST_BODY"),
        ],
    )
    def test_a_wrong_url_is_refused(
        self, server: Server, call: Send, body: dict[str, Any], code: str
    ) -> None:
        answer = call("POST", DISCOVERY, body)
        assert (answer.status_code, answer.text) == (400, code)

    def test_organization_without_the_right_is_refused(self, server: Server, call: Send) -> None:
        server.organization.allows_account_driven_enrollment = False
        for method in ("GET", "POST", "DELETE"):
            answer = call(method, DISCOVERY, {"mdm_service_discovery_url": "https://x.example"})
            assert (answer.status_code, answer.text) == (400, "ORG_NOT_SUPPORTED")
