"""Details, profiles and assignment."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pyade.testing import FakeApple, FrozenClock, Server

Send = Callable[..., httpx.Response]
Pages = Callable[..., list[dict[str, Any]]]
GOOD = {"profile_name": "Standard", "url": "https://mdm.example/enroll"}


@pytest.fixture
def assign(call: Send) -> Callable[..., dict[str, Any]]:
    """Assign a profile and return the answer's JSON."""

    def send(profile_uuid: str, serials: Any, **keys: Any) -> dict[str, Any]:
        answer = call("POST", "/profile/devices", {"profile_uuid": profile_uuid, "devices": serials}, **keys)
        assert answer.status_code == 200, answer.text
        value: dict[str, Any] = answer.json()
        return value

    return send


def test_details_are_a_map_by_distinct_serial(apple: FakeApple, call: Send) -> None:
    apple.add_server("hq")
    apple.add_server("branch")
    (ours,), (theirs,) = apple.add_devices(1, server="hq"), apple.add_devices(1, server="branch")
    asked = [ours, ours, theirs, "UNKNOWN", ours.lower()]
    devices = call("POST", "/devices", {"devices": asked}, server="hq").json()["devices"]
    assert list(devices) == [ours, theirs, "UNKNOWN", ours.lower()]
    assert devices[ours]["response_status"] == "SUCCESS"
    assert devices[ours]["serial_number"] == ours
    assert {"op_type", "op_date"}.isdisjoint(devices[ours])
    assert all(devices[serial] == {"response_status": "NOT_ACCESSIBLE"} for serial in asked[2:])


@pytest.mark.parametrize("devices", [{}, {"devices": None}, {"devices": []}])
def test_a_device_list_is_required_except_to_define(
    server: Server, call: Send, define: Callable[..., str], devices: dict[str, Any]
) -> None:
    uuid = define(**devices)
    for method, path in (("POST", "/devices"), ("POST", "/profile/devices"), ("DELETE", "/profile/devices")):
        answer = call(method, path, {"profile_uuid": uuid, **devices})
        assert (answer.status_code, answer.text) == (400, "DEVICE_ID_REQUIRED")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"profile_name": None}, "CONFIG_NAME_REQUIRED"),
        ({"profile_name": ""}, "CONFIG_NAME_INVALID"),
        ({"profile_name": "n" * 126}, "CONFIG_NAME_INVALID"),
        ({"url": None}, "CONFIG_URL_REQUIRED"),
        ({"url": ""}, "CONFIG_URL_INVALID"),
        ({"url": "https://mdm.example/" + "x" * 1981}, "CONFIG_URL_INVALID"),
        ({"url": "mdm.example/enroll"}, "CONFIG_URL_INVALID"),
        ({"url": "https://mdm.example/en roll"}, "CONFIG_URL_INVALID"),
        ({"url": "https://mdm.example/%zz"}, "CONFIG_URL_INVALID"),
        ({"url": "https://[::1"}, "CONFIG_URL_INVALID"),
        ({"department": ""}, "DEPARTMENT_INVALID"),
        ({"department": "d" * 126}, "DEPARTMENT_INVALID"),
        ({"org_magic": ""}, "MAGIC_INVALID"),
        ({"org_magic": "m" * 257}, "MAGIC_INVALID"),
        ({"support_phone_number": ""}, "SUPPORT_PHONE_INVALID"),
        ({"support_phone_number": "1" * 51}, "SUPPORT_PHONE_INVALID"),
        ({"support_email_address": ""}, "SUPPORT_EMAIL_INVALID"),
        ({"support_email_address": "e" * 251}, "SUPPORT_EMAIL_INVALID"),
        ({"language": "English"}, "LOCALE_INVALID"),
        ({"language": ""}, "LOCALE_INVALID"),
        ({"region": "us"}, "LOCALE_INVALID"),
        ({"is_mdm_removable": False}, "FLAGS_INVALID"),
        ({"is_mdm_removable": False, "is_supervised": False}, "FLAGS_INVALID"),
        # The order in which several mistakes are found.
        ({"profile_name": "", "url": "", "department": ""}, "CONFIG_NAME_INVALID"),
        ({"url": "", "department": "", "region": "x"}, "CONFIG_URL_INVALID"),
        ({"department": "", "org_magic": "", "is_mdm_removable": False}, "DEPARTMENT_INVALID"),
        ({"region": "x", "is_mdm_removable": False}, "LOCALE_INVALID"),
    ],
)
def test_invalid_profile_gets_one_code(
    apple: FakeApple, server: Server, call: Send, changes: dict[str, Any], code: str
) -> None:
    answer = call("POST", "/profile", {**GOOD, **changes})
    assert (answer.status_code, answer.text) == (400, code)
    assert not server.profiles


@pytest.mark.parametrize(
    "changes",
    [
        {"profile_name": "é" * 125},
        {"url": "https://mdm.example/" + "x" * 1980},
        {"url": "https://[::1]:8443/a%20b?c=d#e"},
        {"department": "d" * 125, "org_magic": "m" * 256, "support_phone_number": "1" * 50},
        {"support_email_address": "(Optional) support@example.com"},
        {"language": "de", "region": "CH"},
        {"language": "haw"},
        {"is_mdm_removable": False, "is_supervised": True},
        {"skip_setup_items": ["Siri", "Android", "NotYetKnown"], "anchor_certs": ["AAAA"]},
    ],
)
def test_valid_profile_is_stored(server: Server, call: Send, changes: dict[str, Any]) -> None:
    assert call("POST", "/profile", {**GOOD, **changes}).status_code == 200


def test_each_definition_has_a_new_id_and_may_assign(apple: FakeApple, server: Server, call: Send) -> None:
    (serial,) = apple.add_devices(1, server=server)
    answers = [call("POST", "/profile", {**GOOD, "devices": [serial, "UNKNOWN"]}).json() for _ in range(2)]
    assert answers[0]["profile_uuid"] != answers[1]["profile_uuid"]
    assert all(re.fullmatch("[0-9A-F]{32}", answer["profile_uuid"]) for answer in answers)
    assert all(answer["devices"] == {serial: "SUCCESS", "UNKNOWN": "NOT_ACCESSIBLE"} for answer in answers)
    assert apple.device(serial)["profile_uuid"] == answers[1]["profile_uuid"]
    assert call("POST", "/profile", GOOD).json()["devices"] == {}


def test_profile_is_returned_as_defined(server: Server, call: Send) -> None:
    given = {
        **GOOD,
        "skip_setup_items": ["Siri"],
        "is_supervised": True,
        "department": None,
        "x_unknown": {"a": 1},
    }
    sent = {**given, "devices": [], "profile_uuid": "of my own"}
    uuid = call("POST", "/profile", sent).json()["profile_uuid"]
    stored = call("GET", "/profile", params={"profile_uuid": uuid}).json()
    assert stored == {
        **{key: value for key, value in given.items() if value is not None},
        "profile_uuid": uuid,
    }


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "PROFILE_UUID_REQUIRED"),
        ({"profile_uuid": ""}, "PROFILE_UUID_REQUIRED"),
        ({"profile_uuid": "0"}, "NOT_FOUND"),
    ],
)
def test_an_unknown_or_missing_id_gets_400(
    server: Server, call: Send, params: dict[str, str], code: str
) -> None:
    answer = call("GET", "/profile", params=params)
    assert (answer.status_code, answer.text) == (400, code)


@pytest.mark.parametrize(
    ("uuid", "status", "code"),
    [
        (None, 400, "PROFILE_UUID_REQUIRED"),
        ("", 400, "PROFILE_UUID_REQUIRED"),
        ("0" * 32, 404, "PROFILE_NOT_FOUND"),
    ],
)
def test_assign_needs_a_known_profile(
    apple: FakeApple, server: Server, call: Send, uuid: str | None, status: int, code: str
) -> None:
    serials = apple.add_devices(1, server=server)
    body = {"devices": serials} if uuid is None else {"profile_uuid": uuid, "devices": serials}
    answer = call("POST", "/profile/devices", body)
    assert (answer.status_code, answer.text) == (status, code)


def test_a_profile_belongs_to_its_server(apple: FakeApple, call: Send, define: Callable[..., str]) -> None:
    apple.add_server("hq")
    apple.add_server("branch")
    serials = apple.add_devices(1, server="branch")
    body = {"profile_uuid": define("hq"), "devices": serials}
    assert call("POST", "/profile/devices", body, server="branch").status_code == 404


def test_the_letter_case_of_an_id_does_not_matter(
    apple: FakeApple, server: Server, call: Send, define: Callable[..., str]
) -> None:
    serials = apple.add_devices(1, server=server)
    uuid = define()
    answer = call("POST", "/profile/devices", {"profile_uuid": uuid.lower(), "devices": serials})
    assert (answer.status_code, answer.json()["profile_uuid"]) == (200, uuid)


def test_an_assignment_changes_the_device_and_shows_in_sync(
    apple: FakeApple,
    server: Server,
    pages: Pages,
    clock: FrozenClock,
    define: Callable[..., str],
    assign: Callable[..., dict[str, Any]],
) -> None:
    (serial,) = apple.add_devices(1, server=server)
    uuid, cursor = define(), pages()[-1]["cursor"]
    clock.advance(30)
    assert assign(uuid, [serial]) == {"profile_uuid": uuid, "devices": {serial: "SUCCESS"}}
    (record,) = pages("/devices/sync", cursor)[0]["devices"]
    expected = {
        "op_type": "modified",
        "op_date": "2025-01-01T00:00:30Z",
        "profile_status": "assigned",
        "profile_uuid": uuid,
        "profile_assign_time": "2025-01-01T00:00:30Z",
    }
    assert expected.items() <= record.items()
    apple.edit_device(
        serial, announce=False, profile_status="pushed", profile_push_time="2025-01-01T00:00:31Z"
    )
    (again,) = pages("/devices/sync", cursor)
    assert assign(uuid, [serial, serial])["devices"] == {serial: "SUCCESS"}
    (once,) = pages("/devices/sync", again["cursor"])[0]["devices"]
    assert (once["profile_status"], "profile_push_time" in once) == ("assigned", False)


def test_serial_of_another_organization_does_not_stop_the_others(
    apple: FakeApple, define: Callable[..., str], assign: Callable[..., dict[str, Any]]
) -> None:
    apple.add_server("hq")
    apple.add_server("branch")
    ours, (theirs,) = apple.add_devices(2, server="hq"), apple.add_devices(1, server="branch")
    results = assign(define("hq"), [ours[0], theirs, "UNKNOWN", ours[1]], server="hq")["devices"]
    assert results == {
        ours[0]: "SUCCESS",
        theirs: "NOT_ACCESSIBLE",
        "UNKNOWN": "NOT_ACCESSIBLE",
        ours[1]: "SUCCESS",
    }
    assert apple.device(theirs)["profile_status"] == "empty"


@pytest.mark.parametrize("extends", [True, False])
def test_a_device_that_changes_too_often_is_throttled(
    apple: FakeApple,
    server: Server,
    clock: FrozenClock,
    define: Callable[..., str],
    assign: Callable[..., dict[str, Any]],
    extends: bool,
) -> None:
    apple.settings.throttle_changes, apple.settings.throttle_extends = 3, extends
    busy, calm = apple.add_devices(2, server=server)
    uuids = [define(), define()]
    for number in range(3):
        assert assign(uuids[number % 2], [busy])["devices"] == {busy: "SUCCESS"}
        clock.advance(1)
    refused = assign(uuids[1], [busy, calm])
    assert refused == {
        "profile_uuid": uuids[1],
        "devices": {busy: "THROTTLED", calm: "SUCCESS"},
        "retry_after_seconds": 86400,
    }
    assert apple.device(busy)["profile_uuid"] == uuids[0]
    clock.advance(hours=23)
    assert assign(uuids[1], [busy])["retry_after_seconds"] == (86400 if extends else 3600)
    clock.advance(hours=1)
    assert assign(uuids[1], [busy])["devices"] == {busy: "THROTTLED" if extends else "SUCCESS"}


def test_changes_outside_the_window_do_not_count(
    apple: FakeApple,
    server: Server,
    clock: FrozenClock,
    define: Callable[..., str],
    assign: Callable[..., dict[str, Any]],
    call: Send,
) -> None:
    apple.settings.throttle_changes = 2
    serials = apple.add_devices(1, server=server)
    uuid = define()
    for _ in range(4):
        assert assign(uuid, serials)["devices"] == {serials[0]: "SUCCESS"}
        clock.advance(minutes=30)
    call("DELETE", "/profile/devices", {"devices": serials})
    assert assign(uuid, serials)["devices"] == {serials[0]: "THROTTLED"}
    apple.faults.throttle(serials, clock())
    apple.settings.throttle_changes = None
    assert assign(uuid, serials)["devices"] == {serials[0]: "SUCCESS"}


def test_results_can_be_set(
    apple: FakeApple,
    server: Server,
    define: Callable[..., str],
    assign: Callable[..., dict[str, Any]],
    call: Send,
) -> None:
    failed, missing, odd, fine = apple.add_devices(4, server=server)
    uuid = define()
    apple.faults.device_result([failed], "FAILED", times=2)
    apple.faults.device_result([missing], None)
    apple.faults.device_result([odd], "POSTPONED", times=None)
    everyone = [failed, missing, odd, fine]
    assert assign(uuid, everyone)["devices"] == {failed: "FAILED", odd: "POSTPONED", fine: "SUCCESS"}
    assert [apple.device(serial)["profile_status"] for serial in everyone] == [
        "empty",
        "empty",
        "empty",
        "assigned",
    ]
    removed = call("DELETE", "/profile/devices", {"devices": everyone}).json()["devices"]
    assert removed == {failed: "FAILED", missing: "SUCCESS", odd: "POSTPONED", fine: "SUCCESS"}
    apple.faults.device_result([odd], None, times=0)
    assert set(assign(uuid, everyone)["devices"].values()) == {"SUCCESS"}


def test_more_than_1000_devices_are_accepted_and_recorded(
    apple: FakeApple, server: Server, call: Send, define: Callable[..., str]
) -> None:
    serials = apple.add_devices(1001, server=server)
    answer = call("POST", "/profile/devices", {"profile_uuid": define(), "devices": serials})
    assert answer.status_code == 200
    assert len(apple.requests[-1].body["devices"]) == 1001


def test_remove_keeps_the_id_and_shows_in_sync(
    apple: FakeApple,
    server: Server,
    pages: Pages,
    call: Send,
    define: Callable[..., str],
    assign: Callable[..., dict[str, Any]],
) -> None:
    with_profile, without = apple.add_devices(2, server=server)
    uuid = define()
    assign(uuid, [with_profile])
    cursor = pages()[-1]["cursor"]
    asked = [with_profile, without, "UNKNOWN", with_profile]
    answer = call("DELETE", "/profile/devices", {"devices": asked, "profile_uuid": "ignored"}).json()
    assert answer == {"devices": {with_profile: "SUCCESS", without: "SUCCESS", "UNKNOWN": "NOT_ACCESSIBLE"}}
    (record,) = pages("/devices/sync", cursor)[0]["devices"]
    assert (record["op_type"], record["profile_status"], record["profile_uuid"]) == (
        "modified",
        "removed",
        uuid,
    )
    assert "profile_assign_time" in record
    assert apple.device(without)["profile_status"] == "empty"
