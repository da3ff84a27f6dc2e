"""Protocol versions and the account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pyade.testing import FakeApple, FrozenClock, Server

Send = Callable[..., httpx.Response]
NEW_KEYS: dict[str, Any] = {
    "mdm_migration_deadline": "2026-01-01T00:00:00Z",
    "bluetooth_mac_address": "aa",
    "wifi_mac_address": "bb",
    "ethernet_mac_address": "cc",
    "eid": "dd",
    "imei": ["1"],
    "meid": ["2"],
    "is_replacement_device": True,
    "released_by_replacement": True,
}
SINCE = {"device_family": 2, "os": 2, **dict.fromkeys(NEW_KEYS, 10), "mdm_migration_deadline": 8}


@pytest.mark.parametrize("version", [None, 1, 2, 3, 6, 7, 8, 9, 10, 11])
def test_device_keys_appear_with_their_version(
    apple: FakeApple, server: Server, call: Send, version: int | None
) -> None:
    (serial,) = apple.add_devices(1, server=server, **NEW_KEYS)
    fetched = call("POST", "/server/devices", {}, version=version).json()
    details = call("POST", "/devices", {"devices": [serial]}, version=version).json()
    cursor = fetched["cursor"]
    apple.edit_device(serial, asset_tag="A-1")
    synced = call("POST", "/devices/sync", {"cursor": cursor}, version=version).json()
    for record in (fetched["devices"][0], details["devices"][serial], synced["devices"][0]):
        assert {key for key in SINCE if key in record} == {
            key for key in SINCE if SINCE[key] <= (version or 1)
        }


@pytest.mark.parametrize(("version", "shown"), [(2, "iOS"), (6, "iOS"), (7, "iPadOS"), (10, "iPadOS")])
def test_system_of_ipads_depends_on_the_version(
    apple: FakeApple, server: Server, call: Send, version: int, shown: str
) -> None:
    apple.add_devices(1, server=server, family="iPad")
    assert call("POST", "/server/devices", {}, version=version).json()["devices"][0]["os"] == shown


@pytest.mark.parametrize("version", [2, 3])
def test_the_account_shows_more_from_version_3(server: Server, call: Send, version: int) -> None:
    account = call("GET", "/account", version=version).json()
    new = {"org_id", "org_id_hash", "org_type", "org_version", "urls"}
    assert (new & account.keys()) == (new if version == 3 else set())


@pytest.mark.parametrize(("version", "shown"), [(1, False), (2, True)])
def test_profile_keys_appear_with_version_2(
    server: Server, call: Send, define: Callable[..., str], version: int, shown: bool
) -> None:
    keys = {
        "auto_advance_setup": False,
        "await_device_configured": True,
        "is_multi_user": False,
        "support_email_address": "it@contoso.example",
    }
    uuid = define(department="IT", **keys)
    profile = call("GET", "/profile", params={"profile_uuid": uuid}, version=version).json()
    assert {key: profile[key] for key in keys if key in profile} == (keys if shown else {})
    assert profile["department"] == "IT"


@pytest.mark.parametrize(
    ("version", "result", "has_wait"),
    [(8, "FAILED", False), (9, "THROTTLED", False), (10, "THROTTLED", True)],
)
def test_throttling_shows_with_version_9_and_10(
    apple: FakeApple,
    server: Server,
    call: Send,
    clock: FrozenClock,
    define: Callable[..., str],
    version: int,
    result: str,
    has_wait: bool,
) -> None:
    serials = apple.add_devices(1, server=server)
    uuid = define()
    apple.faults.throttle(serials, clock.advance(0).replace(hour=1))
    answer = call(
        "POST", "/profile/devices", {"profile_uuid": uuid, "devices": serials}, version=version
    ).json()
    assert answer["devices"] == {serials[0]: result}
    assert ("retry_after_seconds" in answer) == has_wait


@pytest.mark.parametrize(
    ("version", "params", "status", "code"),
    [
        (9, {"device": "X"}, 404, "NOT_FOUND"),
        (10, {}, 400, "DEVICE_ID_REQUIRED"),
        (10, {"device": "X"}, 404, "DEVICE_NOT_FOUND"),
    ],
)
def test_replacement_details_need_version_10(
    server: Server, call: Send, version: int, params: dict[str, str], status: int, code: str
) -> None:
    answer = call("GET", "/device/replacementDetails", version=version, params=params)
    assert (answer.status_code, answer.text) == (status, code)


@pytest.mark.parametrize(("default", "maximum"), [(1000, 1000), (1000, 5000), (200, 1000)])
def test_limits_are_advertised_for_the_paged_endpoints_only(
    apple: FakeApple, server: Server, call: Send, default: int, maximum: int
) -> None:
    apple.settings.page_default, apple.settings.page_maximum = default, maximum
    urls: list[dict[str, Any]] = call("GET", "/account").json()["urls"]
    limits = {url["uri"]: url["limit"] for url in urls if "limit" in url}
    expected = {"default": default, "maximum": maximum}
    assert limits == {"/server/devices": expected, "/devices/sync": expected}
    assert {"uri": "/profile/devices", "http_method": ["DELETE", "POST", "PUT"]} in urls


def test_identities_are_stable_over_a_renewal(apple: FakeApple, server: Server, call: Send) -> None:
    before = call("GET", "/account").json()
    apple.generate_token(server, change_consumer_key=True)
    after = call("GET", "/account").json()
    assert before["facilitator_id"] == before["admin_id"]
    assert after == before
    assert (after["server_uuid"], after["org_id"]) == (server.server_uuid, server.organization.org_id)
